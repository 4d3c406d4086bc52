//! The outcomes of the runs.

use maud::html;

use super::{Figure, FigureData, Figures};
use crate::report::chart::{Bars, Look, PARTS};
use wninit_core::table::Datum;

impl Figures<'_> {
    pub(super) fn outcomes(&self) -> Figure {
        let mut data =
            FigureData::new(&["init", "trained", "at_chance", "diverged", "failed", "missing"]);
        let mut bars = Vec::new();
        for (arm, s) in self.summary.initializers.iter().enumerate() {
            let counts = s.counts;
            let trained = counts.ok.saturating_sub(counts.at_chance);
            let parts = [trained, counts.at_chance, counts.diverged, counts.failed, counts.missing];
            data.rows.push(
                [s.label.as_str().into()].into_iter().chain(parts.map(Datum::from)).collect(),
            );
            bars.push((Look(arm), s.label.clone(), parts));
        }
        let text = html! {
            "Every planned run, at every learning rate. " em { "Trained" } ": converged to better \
             than guessing. " em { "Diverged" } ": a loss or a parameter became infinite; that is a \
             result. " em { "Failed" } ": the machine cut it short."
        };
        let panels = if bars.is_empty() { Vec::new() } else { vec![Bars { bars }.svg()] };
        let legend = html! {
            @for (outcome, class) in PARTS {
                span.key {
                    svg.patch viewBox="0 0 14 12" aria-hidden="true" {
                        rect class=(class) x="1" y="1" width="12" height="10" {}
                    }
                    (outcome)
                }
            }
        };
        Figure { title: "What became of the runs", text, legend, panels, data }
    }
}
