//! Dots: numbers with intervals beside published ones, one row each.

use maud::{Markup, html};

use super::axis::tick_label;
use super::{Chart, ChartAxis, GLYPHS, Look, SMALL, WIDTH, fitted, titled};
use crate::report::markup::px;

/// Rows of numbers on one axis.
#[derive(Clone, Debug)]
pub struct Dots {
    pub x: ChartAxis,
    /// From the top.
    pub rows: Vec<Dot>,
}

/// A row of a [`Dots`].
#[derive(Clone, Debug)]
pub struct Dot {
    /// The arm that it is about, if it is about one.
    pub look: Option<Look>,
    /// A line above it.
    pub name: String,
    /// The same with the numbers, for readers that see no picture.
    pub tooltip: String,
    /// Our number and its interval.
    pub ours: Option<(f64, Option<(f64, f64)>)>,
    /// The published number: a hollow diamond.
    pub published: f64,
    /// Whether the two may be compared; the diamond is dashed if not.
    pub comparable: bool,
}

const ROW: f64 = 32.0;
const LEFT: f64 = 10.0;
const RIGHT: f64 = 16.0;

impl Dots {
    pub fn chart(&self) -> Chart {
        let high = ROW * self.rows.len() as f64;
        let body = html! {
            @for &tick in &self.x.ticks {
                @let x = px(self.at(tick));
                path.grid d={ "M" (x) " 0V" (px(high)) } {}
                text x=(x) y=(px(high + 15.0)) text-anchor="middle" { (tick_label(tick)) }
            }
            @for (i, row) in self.rows.iter().enumerate() { (self.row(row, i as f64 * ROW)) }
            text x=(px(WIDTH / 2.0)) y=(px(high + 32.0)) text-anchor="middle" { (self.x.label) }
        };
        titled("", high + 38.0, body)
    }

    fn at(&self, x: f64) -> f64 {
        LEFT + self.x.scale.share(x).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn row(&self, row: &Dot, top: f64) -> Markup {
        let y = top + 22.0;
        html! {
            g data-arm=[row.look.map(|look| look.0)] {
                title { (row.tooltip) }
                text class="small halo" x=(px(LEFT)) y=(px(top + 11.0)) textLength=[fitted(&row.name, SMALL)]
                    lengthAdjust=[fitted(&row.name, SMALL).map(|_| GLYPHS)] { (row.name) }
                path.grid d={ "M" (px(LEFT)) " " (px(y)) "H" (px(WIDTH - RIGHT)) } {}
                @if let Some((ours, interval)) = row.ours {
                    @if let Some((low, high)) = interval {
                        path d={ "M" (px(self.at(low))) " " (px(y)) "H" (px(self.at(high))) } fill="none"
                            stroke=(row.look.map_or_else(|| "var(--ink)".to_owned(), Look::colour)) stroke-width="2.5" {}
                    }
                    @match row.look {
                        Some(look) => (look.marker(self.at(ours), y, 4.0)),
                        None => circle cx=(px(self.at(ours))) cy=(px(y)) r="4" fill="var(--ink)" {},
                    }
                }
                @let x = self.at(row.published);
                path class=(if row.comparable { "theirs" } else { "theirs apart" })
                    d={ "M" (px(x - 7.0)) " " (px(y)) "L" (px(x)) " " (px(y - 7.0)) "L" (px(x + 7.0)) " " (px(y)) "L" (px(x)) " " (px(y + 7.0)) "Z" } {}
            }
        }
    }
}
