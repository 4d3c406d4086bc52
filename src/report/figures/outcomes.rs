//! The outcomes of the runs.

use maud::html;

use super::{Figure, FigureData, Figures};
use crate::report::chart::{Bars, Legend, Look};
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
            "Every planned run, at every learning rate. " em { "Trained" } ": to an accuracy that \
             needs a look at the image. " em { "Diverged" } ": a loss or a parameter became infinite; that is a \
             result. " em { "Failed" } ": the machine cut it short."
        };
        let panels = if bars.is_empty() { Vec::new() } else { vec![Bars { bars }.chart()] };
        let title = "What became of the runs".to_owned();
        Figure { title, text, legend: Some(Legend::Outcomes), panels, data }
    }
}
