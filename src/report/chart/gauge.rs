//! Gauges: an estimate with its interval, against a claim.

use maud::html;

use super::axis::tick_label;
use super::{Chart, Scale, WIDTH, titled};
use crate::report::markup::px;

#[derive(Clone, Debug)]
pub struct Gauge {
    /// For screen readers.
    pub description: String,
    pub label: String,
    pub estimate: Option<f64>,
    pub interval: Option<(f64, f64)>,
    /// A shaded region; an end may be infinite.
    pub wanted: Option<(f64, f64)>,
    /// The minimum range of the axis.
    pub extent: (f64, f64),
}

impl Gauge {
    pub fn chart(&self) -> Chart {
        let ends = [self.interval, self.wanted].into_iter().flatten().flat_map(|(a, b)| [a, b]);
        let shown = ends.chain(self.estimate).filter(|x| x.is_finite());
        let (low, high) = shown.fold(self.extent, |(low, high), x| (low.min(x), high.max(x)));
        let room = (high - low).max(1e-9) * 0.04;
        let scale = Scale::Linear(low - room, high + room);
        let at = |x: f64| 8.0 + scale.share(x).clamp(0.0, 1.0) * (WIDTH - 16.0);
        let body = html! {
            @if let Some((from, to)) = self.wanted {
                rect.wanted x=(px(at(from))) y="2" width=(px((at(to) - at(from)).max(1.0))) height="20" {
                    title { "where the claim holds" }
                }
            }
            path.axis d="M8 22H352" {}
            @for tick in scale.ticks() {
                path.tick d={ "M" (px(at(tick))) " 22v4" } {}
                text x=(px(at(tick))) y="37" text-anchor="middle" { (tick_label(tick)) }
            }
            @if let Some((low, high)) = self.interval {
                path.ours d={ "M" (px(at(low))) " 12H" (px(at(high))) } {}
            }
            @if let Some(estimate) = self.estimate {
                circle.ours cx=(px(at(estimate))) cy="12" r="4.5" {}
            }
            text x="180" y="52" text-anchor="middle" { (self.label) }
        };
        Chart { label: self.description.clone(), ..titled("", 58.0, body) }
    }
}
