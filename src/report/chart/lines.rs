//! Lines: numbers over numbers.

use std::fmt::Write;

use maud::{Markup, html};

use super::axis::tick_label;
use super::{Chart, ChartAxis, Look, WIDTH, titled};
use crate::report::markup::px;

const LEFT: f64 = 46.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 26.0;
const PLOT: f64 = 190.0;
const BOTTOM: f64 = 42.0;

#[derive(Clone, Debug)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    /// The interval around `y`.
    pub interval: Option<(f64, f64)>,
    /// No tooltip if empty.
    pub tooltip: String,
}

#[derive(Clone, Debug)]
pub struct Series {
    pub look: Look,
    pub name: String,
    /// By `x`.
    pub points: Vec<Point>,
}

/// How the points of a [`Lines`] are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawing {
    /// Lines with markers; intervals are bars.
    Markers,
    /// Lines; intervals are bands.
    Bands,
    /// Steps; a value holds until the next.
    Steps,
}

#[derive(Clone, Debug)]
pub struct Lines {
    pub title: String,
    pub x: ChartAxis,
    pub y: ChartAxis,
    /// A labelled horizontal line.
    pub rule: Option<(f64, &'static str)>,
    pub series: Vec<Series>,
    pub drawing: Drawing,
}

impl Lines {
    pub fn chart(&self) -> Chart {
        let body = html! {
            (self.frame())
            @if let Some((y, _)) = self.rule {
                path.rule d={ "M" (px(LEFT)) " " (px(self.at_y(y))) "H" (px(WIDTH - RIGHT)) } {}
            }
            @for (i, series) in self.series.iter().enumerate() {
                g data-arm=(series.look.0) {
                    title { (series.name) }
                    (self.line(i, series))
                }
            }
            @if let Some((y, label)) = self.rule {
                (self.rule_label(y, label))
            }
        };
        titled(&self.title, TOP + PLOT + BOTTOM, body)
    }

    fn at_x(&self, x: f64) -> f64 {
        // Room beside the first and the last point for points drawn side by side.
        let pad = if self.drawing == Drawing::Markers { 12.0 } else { 0.0 };
        LEFT + pad + self.x.scale.share(x) * (WIDTH - LEFT - RIGHT - 2.0 * pad)
    }

    fn at_y(&self, y: f64) -> f64 {
        TOP + PLOT * (1.0 - self.y.scale.share(y).clamp(0.0, 1.0))
    }

    /// Grid lines, their numbers, and the axes' labels.
    fn frame(&self) -> Markup {
        let bottom = TOP + PLOT;
        let mut free_from = f64::NEG_INFINITY;
        let mut fits = |at: f64, label: &str| {
            let half = label.len() as f64 * 3.3;
            let fits = at - half >= free_from && at + half <= WIDTH;
            if fits {
                free_from = at + half + 3.0;
            }
            fits
        };
        html! {
            @for &tick in &self.y.ticks {
                @let y = self.at_y(tick);
                path.grid d={ "M" (px(LEFT)) " " (px(y)) "H" (px(WIDTH - RIGHT)) } {}
                text x=(px(LEFT - 5.0)) y=(px(y + 4.0)) text-anchor="end" { (tick_label(tick)) }
            }
            @for &tick in &self.x.ticks {
                @let (at, label) = (self.at_x(tick), tick_label(tick));
                path.tick d={ "M" (px(at)) " " (px(bottom)) "v4" } {}
                @if fits(at, &label) {
                    text x=(px(at)) y=(px(bottom + 16.0)) text-anchor="middle" { (label) }
                }
            }
            path.axis d={ "M" (px(LEFT)) " " (px(TOP)) "V" (px(bottom)) "H" (px(WIDTH - RIGHT)) } {}
            text x=(px(LEFT + (WIDTH - LEFT - RIGHT) / 2.0)) y=(px(bottom + 34.0)) text-anchor="middle" { (self.x.label) }
            text.small x=(px(LEFT)) y=(px(TOP - 8.0)) dx="-40" { (self.y.label) }
        }
    }

    fn line(&self, i: usize, series: &Series) -> Markup {
        let markers = self.drawing == Drawing::Markers;
        let middle = (self.series.len() as f64 - 1.0) / 2.0;
        let shift = if markers { ((i as f64 - middle) * 4.0).clamp(-10.0, 10.0) } else { 0.0 };
        let places: Vec<(f64, f64)> =
            series.points.iter().map(|p| (self.at_x(p.x) + shift, self.at_y(p.y))).collect();
        // A line without markers gets a few to identify it.
        let every = (places.len() / 4).max(1);
        let offset = i * every / self.series.len().max(1);
        let is_marked = |k: usize| markers || (k + offset).is_multiple_of(every);
        let r = if markers { 3.6 } else { 3.0 };
        let colour = series.look.colour();
        html! {
            @if !markers { (self.band(series)) }
            @if places.len() > 1 {
                path d=(self.path(&places)) fill="none" stroke=(colour) stroke-width="1.8"
                    stroke-dasharray=[series.look.dashes()] {}
            }
            @for (k, (point, &(x, y))) in series.points.iter().zip(&places).enumerate() {
                @if let Some((low, high)) = point.interval.filter(|_| markers) {
                    path.bar d={ "M" (px(x)) " " (px(self.at_y(low))) "V" (px(self.at_y(high))) } stroke=(colour) {}
                }
                @if is_marked(k) {
                    @if point.tooltip.is_empty() {
                        (series.look.marker(x, y, r))
                    } @else {
                        g {
                            title { (point.tooltip) }
                            (series.look.marker(x, y, r))
                        }
                    }
                }
            }
        }
    }

    fn path(&self, places: &[(f64, f64)]) -> String {
        let mut path = String::new();
        for (k, &(x, y)) in places.iter().enumerate() {
            let _ = match (k, self.drawing) {
                (0, _) => write!(path, "M{} {}", px(x), px(y)),
                (_, Drawing::Steps) => write!(path, "H{}V{}", px(x), px(y)),
                _ => write!(path, "L{} {}", px(x), px(y)),
            };
        }
        path
    }

    fn band(&self, series: &Series) -> Markup {
        let intervals = series.points.iter().filter_map(|p| Some((self.at_x(p.x), p.interval?)));
        let (lows, highs): (Vec<_>, Vec<_>) =
            intervals.map(|(x, (low, high))| ((x, self.at_y(low)), (x, self.at_y(high)))).unzip();
        let mut path = self.path(&highs);
        for (k, (x, low)) in lows.iter().enumerate().rev() {
            let _ = match self.drawing {
                Drawing::Steps if k + 1 < lows.len() => write!(path, "V{}H{}", px(*low), px(*x)),
                _ => write!(path, "L{} {}", px(*x), px(*low)),
            };
        }
        html! {
            @if lows.len() > 1 {
                path d={ (path) "Z" } fill=(series.look.colour()) opacity="0.16" {}
            }
        }
    }

    fn rule_label(&self, y: f64, label: &str) -> Markup {
        // Curves start at a guess; over depth or rate they end there.
        let (x, anchor) = match self.drawing {
            Drawing::Markers => (LEFT + 3.0, "start"),
            _ => (WIDTH - RIGHT - 2.0, "end"),
        };
        html! {
            text class="small halo" x=(px(x)) y=(px(self.at_y(y) + 13.0)) text-anchor=(anchor) { (label) }
        }
    }
}
