//! A figure: charts side by side, with a legend, a caption and its data, on a page or in files.

use maud::{Markup, html};

use super::chart::{Chart, Legend, WIDTH};
use super::markup::{csv_link, px, slug, svg_link};
use super::theme::Theme;
use wninit_core::table::{Datum, csv};

/// A figure.
pub struct Figure {
    pub title: String,
    /// Its content and how to read it.
    pub text: Markup,
    /// What its marks mean; `None` if it shows one thing only.
    pub legend: Option<Legend>,
    pub panels: Vec<Chart>,
    pub data: FigureData,
}

/// The data of a figure.
pub struct FigureData {
    pub columns: Vec<&'static str>,
    pub rows: Vec<Vec<Datum>>,
}

impl FigureData {
    pub fn new(columns: &[&'static str]) -> FigureData {
        FigureData { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub fn csv(&self) -> Vec<u8> {
        csv(self.columns.iter().copied(), &self.rows)
    }
}

/// The space around a picture's content, and between its panels.
const MARGIN: f64 = 8.0;
const GAP: f64 = 20.0;

impl Figure {
    /// Its name in links and files.
    pub fn slug(&self) -> String {
        slug(&self.title)
    }

    /// As a part of a page: `<figure>`, with its number.
    pub fn on_page(&self, number: usize) -> Markup {
        html! {
            figure {
                @if let Some(legend) = &self.legend { (legend.paragraph()) }
                div.panels { @for panel in &self.panels { (panel) } }
                figcaption.fine { b { "Figure " (number) ". " (self.title) ". " } (self.text) }
                p.data {
                    (csv_link(&self.slug(), "Data (CSV)", &self.data.csv())) " "
                    (svg_link(&self.slug(), "Picture (SVG)", &self.svg(Theme::Light)))
                }
            }
        }
    }

    /// As an SVG file of its own: without title and caption, with the theme's colours, on no
    /// background. The width is that of up to three panels, 360 units each.
    pub fn svg(&self, theme: Theme) -> String {
        let columns = match self.panels.len() {
            n @ 0..=3 => n.max(1),
            4 => 2,
            _ => 3,
        };
        let inner = columns as f64 * (WIDTH + GAP) - GAP;
        let (legend, mut y) = match &self.legend {
            Some(legend) => legend.rows(inner),
            None => (html! {}, 0.0),
        };
        y += MARGIN;
        let head = y;
        let mut rows = Vec::new();
        for row in self.panels.chunks(columns) {
            rows.push((y, row));
            y += row.iter().map(Chart::height).fold(0.0, f64::max) + GAP;
        }
        let (width, height) = (inner + 2.0 * MARGIN, y - GAP + MARGIN);
        let picture = html! {
            svg xmlns="http://www.w3.org/2000/svg" width=(px(width)) height=(px(height))
                viewBox={ "0 0 " (px(width)) " " (px(height)) } role="img" aria-label=(self.title) {
                style { (include_str!("chart.css").trim_end()) }
                @if head > MARGIN {
                    g transform={ "translate(" (px(MARGIN)) " " (px(MARGIN)) ")" } { (legend) }
                }
                @for (y, row) in rows {
                    @for (i, panel) in row.iter().enumerate() {
                        g transform={ "translate(" (px(MARGIN + i as f64 * (WIDTH + GAP))) " " (px(y)) ")" } {
                            (panel.content())
                        }
                    }
                }
            }
        };
        theme.resolve(&without_titles(&picture.into_string())) + "\n"
    }

    /// The title and the text, in one line without markup.
    pub fn caption(&self) -> String {
        let plain = |piece: Piece| match piece {
            Piece::Text(text) => text,
            Piece::Emphasis(_) => String::new(),
        };
        format!("{}. {}", self.title, pieces(&self.text).map(plain).collect::<String>())
    }

    /// A LaTeX float that includes `slug.pdf`, for the packages graphicx and hyperref or without.
    pub fn latex(&self, sweep: &str) -> String {
        let text: String = pieces(&self.text)
            .map(|piece| match piece {
                Piece::Text(text) => escaped(&text),
                Piece::Emphasis(true) => r"\emph{".to_owned(),
                Piece::Emphasis(false) => "}".to_owned(),
            })
            .collect();
        let (title, slug) = (escaped(&self.title), self.slug());
        format!(
            "\\begin{{figure}}\n  \\centering\n  \\includegraphics[width=\\linewidth]{{{slug}.pdf}}\n  \
             \\caption{{\\textbf{{{title}.}} {text}}}\n  \\label{{fig:{}-{slug}}}\n\\end{{figure}}\n",
            super::markup::slug(sweep)
        )
    }
}

/// A picture without the tooltips of its marks, which only a page shows.
fn without_titles(svg: &str) -> String {
    let mut parts = svg.split("<title>");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |svg, part| svg + part.split_once("</title>").map_or("", |(_, rest)| rest))
}

/// A piece of a text with markup.
enum Piece {
    Text(String),
    /// The start or the end of what is emphasised.
    Emphasis(bool),
}

/// The pieces of a text whose only elements are `<em>` and ones that do not matter in print.
fn pieces(text: &Markup) -> impl Iterator<Item = Piece> {
    let mut pieces = Vec::new();
    for (i, part) in text.0.split('<').enumerate() {
        let (tag, words) =
            if i == 0 { ("", part) } else { part.split_once('>').unwrap_or((part, "")) };
        match tag {
            "em" => pieces.push(Piece::Emphasis(true)),
            "/em" => pieces.push(Piece::Emphasis(false)),
            _ => {}
        }
        let words = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&amp;", "&")]
            .into_iter()
            .fold(words.to_owned(), |words, (from, to)| words.replace(from, to));
        pieces.push(Piece::Text(words));
    }
    pieces.into_iter()
}

/// A text as LaTeX prints it.
fn escaped(text: &str) -> String {
    let mut latex = String::new();
    for c in text.chars() {
        match c {
            '\\' => latex.push_str(r"\textbackslash{}"),
            '~' => latex.push_str(r"\textasciitilde{}"),
            '^' => latex.push_str(r"\textasciicircum{}"),
            '<' => latex.push_str(r"\textless{}"),
            '>' => latex.push_str(r"\textgreater{}"),
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => latex.extend(['\\', c]),
            'τ' => latex.push_str(r"$\tau$"),
            c => latex.push(c),
        }
    }
    latex
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::chart::{Bars, Look};

    fn figure() -> Figure {
        Figure {
            title: "What & why_not <50 %".to_owned(),
            text: html! { "A " em { "div" } " & 5 % of he_datadep." },
            legend: Some(Legend::Outcomes),
            panels: vec![
                Bars { bars: vec![(Look(0), "a & b".to_owned(), [1, 2, 3, 4, 5])] }.chart();
                5
            ],
            data: FigureData::new(&[]),
        }
    }

    #[test]
    fn a_picture_needs_no_page_around_it() {
        for theme in [Theme::Light, Theme::Dark] {
            let svg = figure().svg(theme);
            assert!(!svg.contains("var(") && !svg.contains("<title"), "{svg}");
            let picture = roxmltree::Document::parse(&svg).unwrap();
            let root = picture.root_element();
            assert_eq!(root.tag_name().namespace(), Some("http://www.w3.org/2000/svg"));
            assert_eq!(root.attribute("width"), Some("1136")); // three panels, two gaps and the margins
            assert!(svg.contains(theme.colour("ink").unwrap()));
        }
    }

    #[test]
    fn a_caption_is_text_and_in_latex_nothing_of_it_is_a_command() {
        assert_eq!(figure().caption(), "What & why_not <50 %. A div & 5 % of he_datadep.");
        let latex = figure().latex("my_sweep");
        assert!(
            latex.contains(r"\includegraphics[width=\linewidth]{what-why-not-50.pdf}"),
            "{latex}"
        );
        assert!(latex.contains(
            r"\caption{\textbf{What \& why\_not \textless{}50 \%.} A \emph{div} \& 5 \% of he\_datadep.}"
        ), "{latex}");
        assert!(latex.contains(r"\label{fig:my-sweep-what-why-not-50}"), "{latex}");
    }
}
