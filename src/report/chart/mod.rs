//! The report's charts, as SVG.
//!
//! A chart is a panel 360 units wide (a phone's width), with text of 11 and 12 units, and is never
//! scaled down. Colours are those of [`Theme`](super::theme::Theme), as CSS variables; arms differ in
//! their dashes and markers as well.

mod axis;
mod bars;
mod dots;
mod gauge;
mod heat;
mod legend;
mod lines;
mod strips;

use maud::{Markup, Render, html};

use super::markup::px;

pub use axis::{ChartAxis, Scale};
pub use bars::Bars;
pub use dots::{Dot, Dots};
pub use gauge::Gauge;
pub use heat::{Heat, Square};
pub use legend::Legend;
pub use lines::{Drawing, Lines, Point, Series};
pub use strips::{Strip, Strips};

/// The width of a chart.
pub const WIDTH: f64 = 360.0;

/// Colours of the palette, `--c0` and so on; after as many arms they repeat, with other dashes.
const COLOURS: usize = 8;

const DASHES: [Option<&str>; 5] = [None, Some("6 3"), Some("2 3"), Some("9 3 2 3"), Some("12 4")];

const DISC: &[(f64, f64)] = &[];
const SQUARE: &[(f64, f64)] = &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)];
const TRIANGLE: &[(f64, f64)] = &[(0.0, -1.2), (1.15, 0.9), (-1.15, 0.9)];
const DIAMOND: &[(f64, f64)] = &[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)];

/// The corners of each marker, and whether it is hollow.
const MARKERS: [(&[(f64, f64)], bool); 7] = [
    (DISC, false),
    (SQUARE, false),
    (TRIANGLE, false),
    (DIAMOND, false),
    (DISC, true),
    (SQUARE, true),
    (DIAMOND, true),
];

/// The appearance of an arm in all figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look(pub usize);

impl Look {
    fn colour(self) -> String {
        format!("var(--c{})", self.0 % COLOURS)
    }

    fn dashes(self) -> Option<&'static str> {
        DASHES[self.0 % DASHES.len()]
    }

    fn marker(self, x: f64, y: f64, r: f64) -> Markup {
        let (corners, hollow) = MARKERS[self.0 % MARKERS.len()];
        let fill = if hollow { "var(--paper)".to_owned() } else { self.colour() };
        let stroke = hollow.then(|| self.colour());
        let width = hollow.then_some("1.6");
        let at = |&(dx, dy): &(f64, f64)| format!("{} {}", px(x + dx * r), px(y + dy * r));
        let path = corners.iter().map(at).collect::<Vec<_>>().join("L");
        html! {
            @if corners.is_empty() {
                circle cx=(px(x)) cy=(px(y)) r=(px(r)) fill=(fill) stroke=[stroke] stroke-width=[width] {}
            } @else {
                path d={ "M" (path) "Z" } fill=(fill) stroke=[stroke] stroke-width=[width] {}
            }
        }
    }

    const WIDTH: f64 = 36.0;

    /// The arm's line and marker, 12 units high.
    fn symbol(self) -> Markup {
        html! {
            path d="M1 6H35" fill="none" stroke=(self.colour()) stroke-width="2" stroke-dasharray=[self.dashes()] {}
            (self.marker(18.0, 6.0, 4.0))
        }
    }

    /// The same beside a name in a table.
    pub fn swatch(self) -> Markup {
        html! { svg.swatch viewBox="0 0 36 12" aria-hidden="true" { (self.symbol()) } }
    }
}

/// A chart, to be shown on a page or in a picture.
#[derive(Clone, Debug)]
pub struct Chart {
    /// The arm that it is about, if it is about one.
    arm: Option<Look>,
    /// A line above it; may be empty.
    title: String,
    /// A description for screen readers.
    label: String,
    /// Without the title's line.
    height: f64,
    body: Markup,
}

impl Chart {
    /// Its height, with the title.
    pub fn height(&self) -> f64 {
        self.height + self.head()
    }

    fn head(&self) -> f64 {
        if self.title.is_empty() { 0.0 } else { 16.0 }
    }

    /// Its content, in a box of [`WIDTH`] by [`Chart::height`].
    pub fn content(&self) -> Markup {
        let title = &self.title;
        html! {
            @if !title.is_empty() {
                text.title x="6" y="13" textLength=[fitted(title, BOLD)] lengthAdjust=[fitted(title, BOLD).map(|_| GLYPHS)] { (title) }
            }
            g transform={ "translate(0 " (px(self.head())) ")" } { (self.body) }
        }
    }
}

impl Render for Chart {
    fn render(&self) -> Markup {
        html! {
            svg.chart viewBox={ "0 0 " (px(WIDTH)) " " (px(self.height())) } role="img" aria-label=(self.label)
                data-arm=[self.arm.map(|look| look.0)] {
                (self.content())
            }
        }
    }
}

/// A chart with a title, which describes it as well.
fn titled(title: &str, height: f64, body: Markup) -> Chart {
    let label = if title.is_empty() { "chart" } else { title };
    Chart { arm: None, title: title.to_owned(), label: label.to_owned(), height, body }
}

const GLYPHS: &str = "spacingAndGlyphs";

/// The length to which a heading of these units a character is compressed if it does not fit the
/// chart.
fn fitted(text: &str, each: f64) -> Option<String> {
    let room = WIDTH - 16.0;
    (text.chars().count() as f64 * each > room).then(|| px(room))
}

/// Units a character of bold and of small text.
const BOLD: f64 = 7.2;
const SMALL: f64 = 6.2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_arms_look_alike() {
        let looks: std::collections::HashSet<String> =
            (0..40).map(|i| Look(i).swatch().into_string()).collect();
        assert_eq!(looks.len(), 40);
    }
}
