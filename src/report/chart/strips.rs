//! Strips: single runs, one row per arm, in groups.

use maud::{Markup, html};

use super::axis::tick_label;
use super::{BOLD, Chart, ChartAxis, GLYPHS, Look, WIDTH, fitted, titled};
use crate::report::markup::px;

#[derive(Clone, Debug)]
pub struct Strips {
    pub x: ChartAxis,
    /// A labelled vertical line.
    pub rule: Option<(f64, &'static str)>,
    /// From the top: the name of a group and its rows.
    pub groups: Vec<(String, Vec<Strip>)>,
}

/// A row of a [`Strips`].
#[derive(Clone, Debug)]
pub struct Strip {
    pub look: Look,
    pub tooltip: String,
    pub values: Vec<f64>,
    /// A bold tick among them.
    pub median: Option<f64>,
}

const HEAD: f64 = 17.0;
const ROW: f64 = 13.0;
const LEFT: f64 = 10.0;

impl Strips {
    pub fn chart(&self) -> Chart {
        let high: f64 =
            self.groups.iter().map(|(_, rows)| HEAD + ROW * rows.len() as f64 + 4.0).sum();
        let high = if self.rule.is_some() { high + 12.0 } else { high };
        let mut top = 0.0;
        let mut below = |height: f64| {
            top += height;
            top - height
        };
        let body = html! {
            @for &tick in &self.x.ticks {
                @let x = px(self.at(tick));
                path.grid d={ "M" (x) " 0V" (px(high)) } {}
                text x=(x) y=(px(high + 15.0)) text-anchor="middle" { (tick_label(tick)) }
            }
            @if let Some((x, label)) = self.rule {
                path.rule d={ "M" (px(self.at(x))) " 0V" (px(high)) } {}
                text class="small halo" x=(px(self.at(x) + 3.0)) y=(px(high - 2.0)) { (label) }
            }
            @for (name, rows) in &self.groups {
                text class="group halo" x=(px(LEFT)) y=(px(below(HEAD) + 12.0)) textLength=[fitted(name, BOLD)]
                    lengthAdjust=[fitted(name, BOLD).map(|_| GLYPHS)] { (name) }
                @for row in rows { (self.row(row, below(ROW) + ROW / 2.0)) }
                @let _ = below(4.0);
            }
            text x=(px(WIDTH / 2.0)) y=(px(high + 32.0)) text-anchor="middle" { (self.x.label) }
        };
        titled("", high + 38.0, body)
    }

    fn at(&self, x: f64) -> f64 {
        LEFT + self.x.scale.share(x).clamp(0.0, 1.0) * (WIDTH - LEFT - 16.0)
    }

    fn row(&self, row: &Strip, middle: f64) -> Markup {
        html! {
            g data-arm=(row.look.0) {
                title { (row.tooltip) }
                path.grid d={ "M" (px(LEFT)) " " (px(middle)) "H" (px(WIDTH - 16.0)) } {}
                @if let Some(median) = row.median {
                    path d={ "M" (px(self.at(median))) " " (px(middle - 5.5)) "v11" } stroke=(row.look.colour())
                        stroke-width="2.5" {}
                }
                g opacity="0.75" {
                    @for &value in &row.values { (row.look.marker(self.at(value), middle, 3.0)) }
                }
            }
        }
    }
}
