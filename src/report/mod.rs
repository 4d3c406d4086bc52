//! The report of a sweep, as one HTML page, and its figures as files.
//!
//! The page needs no network and no fonts but the reader's: charts are inline SVG, each with its
//! data as a CSV link. It is well-formed XML as well as HTML, for any names, and is readable on a
//! phone, in dark mode, on paper and without its script.

mod answer;
mod chart;
mod claims;
mod figure;
mod figures;
mod gaps;
mod markup;
mod provenance;
mod robustness;
pub mod signal;
mod theme;

use std::collections::HashMap;

use maud::{Markup, html};

pub use figure::Figure;
use figures::Figures;
use markup::{csv_link, document, fold};
pub use theme::Theme;
use wninit_core::fmt::plural;
use wninit_core::grid::Explored;
use wninit_core::job::JobId;
use wninit_core::results::{EpochRow, Record};
use wninit_core::table::Table;
use wninit_stats::summary::Summary;

pub struct ReportInput<'a> {
    pub name: &'a str,
    pub about: Option<&'a str>,
    pub summary: &'a Summary,
    pub curves: &'a HashMap<JobId, Vec<EpochRow>>,
    pub records: &'a [Record],
    pub explored: Option<&'a Explored>,
}

/// The figures of a sweep, the most important first. With `display`, initializers have their names
/// in words.
pub fn figures(
    summary: &Summary,
    curves: &HashMap<JobId, Vec<EpochRow>>,
    display: bool,
) -> Vec<Figure> {
    Figures::new(summary, curves, display).all()
}

/// The figures on the first screen.
const KEY: usize = 2;

/// The report, an HTML page. The same results give the same page.
pub fn page(input: &ReportInput) -> String {
    let summary = input.summary;
    let tables = summary.tables();
    let figures = figures(summary, input.curves, false);
    let any = summary.counts.finished > 0;
    let (key, others) = figures.split_at(figures.len().min(KEY));
    let main = html! {
        header {
            h1 { (input.name) }
            @if let Some(about) = input.about { p.about { (about) } }
        }
        (answer::headline(summary))
        div.key-figures {
            @for (i, figure) in key.iter().enumerate() {
                section id=(figure.slug()) style={ "--panels:" (figure.panels.len()) } { (figure.on_page(i + 1)) }
            }
        }
        (claims::chips(summary))
        (counts(summary))
        (contents(summary, others))
        @if any { (answer::section(summary, &tables)) }
        (claims::claims(summary, &tables))
        (gaps::section(summary))
        div.figures {
            @for (i, figure) in others.iter().enumerate() {
                div.single[figure.panels.len() == 1].several[figure.panels.len() > 1] {
                    (fold(&figure.slug(), &figure.title, &figure.on_page(KEY + i + 1)))
                }
            }
        }
        @if any { (robustness::section(summary, &tables)) }
        @if any { (provenance::section(input.records, input.explored)) }
        (footer(summary, &tables))
    };
    document(input.name, &main)
}

/// What became of the planned runs, and what they have in common.
fn counts(summary: &Summary) -> Markup {
    let counts = summary.counts;
    let of = [
        (counts.finished, "finished", ""),
        (counts.diverged, "diverged", "bad"),
        (counts.at_chance, "at chance", "bad"),
        (counts.failed, "failed", "bad"),
        (counts.missing, "missing", "bad"),
    ];
    html! {
        p.counts {
            b { (counts.planned) } " planned"
            @for (n, what, class) in of { @if n > 0 { ", " b class=(class) { (n) } " " (what) } }
            "."
            @if !summary.constants.is_empty() {
                " Throughout: "
                @for (i, (name, value)) in summary.constants.iter().enumerate() {
                    @if i > 0 { ", " }
                    (name) " " b { (value) }
                }
                "."
            }
        }
    }
}

fn contents(summary: &Summary, figures: &[Figure]) -> Markup {
    let any = summary.counts.finished > 0;
    html! {
        nav aria-label="Contents" {
            @if any { a href="#ranking" { "Which initializer?" } " " }
            @if !summary.claims.is_empty() { a href="#claims" { (plural(summary.claims.len(), "claim")) } " " }
            a href="#gaps" { "What was not measured" } " "
            @for figure in figures { a href={ "#" (figure.slug()) } { (figure.title) } " " }
            @if any { a href="#robustness" { "Robustness" } " " a href="#provenance" { "How it was made" } }
        }
    }
}

fn footer(summary: &Summary, tables: &[Table]) -> Markup {
    html! {
        footer {
            p {
                "Accuracies are fractions of the test set at the best validation epoch, of the runs that train: that \
                 neither diverged nor have a test accuracy that needs no look at the image. The seed is the unit of replication, and learning rates are chosen on \
                 validation."
                @if let Some(b) = summary.baseline { " The baseline is " (summary.initializers[b].label) "." }
                " Point at a mark, touch it, or step through a chart with the arrow keys to read its numbers; point at \
                 a key to highlight an initializer, press it to hide it."
            }
            p.data {
                "All tables: "
                @for table in tables { (table_link(tables, table.name)) " " }
            }
            p { "Made by wninit " (env!("CARGO_PKG_VERSION")) "." }
        }
    }
}

/// A link that contains a table of the summary, unless it is empty.
fn table_link(tables: &[Table], name: &str) -> Markup {
    let table = tables.iter().find(|table| table.name == name && !table.rows.is_empty());
    html! { @if let Some(table) = table { (csv_link(name, &format!("{name}.csv"), &table.csv())) } }
}
