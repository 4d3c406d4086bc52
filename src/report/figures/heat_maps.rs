//! Test accuracy by learning rate and depth.

use std::collections::BTreeSet;

use maud::html;

use super::{Figure, Figures};
use crate::report::chart::{Heat, Square, heat_legend};
use wninit_stats::describe;
use wninit_stats::summary::Counts;

impl Figures<'_> {
    pub(super) fn heat_maps(&self) -> Option<Figure> {
        let lr = self.summary.axis("lr")?;
        if !self.depth_varies() {
            return None;
        }
        let depths: BTreeSet<u32> =
            self.summary.cells.iter().map(|cell| cell.job.arch.layers()).collect();
        let rates: Vec<String> = (0..self.summary.axes[lr].values.len())
            .map(|row| self.summary.axes[lr].label(row))
            .collect();
        let chosen: BTreeSet<usize> = self.summary.chosen.iter().copied().collect();
        let square = |name: &str, layers: u32, rate: &str, here: &[usize], counts: Counts| {
            let means: Vec<f64> = here.iter().filter_map(|&i| self.cell(i).mean).collect();
            let mean = describe::mean(&means);
            let diverged = 2 * counts.diverged > counts.finished;
            let text = match mean {
                None => "?".to_owned(),
                Some(_) if diverged => "div".to_owned(),
                Some(mean) => format!("{mean:.2}"),
            };
            let accuracy = mean.map_or("not measured".to_owned(), |x| format!("{x:.3}"));
            let square = Square {
                // The colour of a guess would hide the divergence, so there is none.
                value: mean.filter(|_| !diverged),
                text,
                framed: here.iter().any(|i| chosen.contains(i)),
                tooltip: format!(
                    "{name}, {layers} layers, lr {rate}: {accuracy}; {} finished, {} diverged, {} at chance, {} missing",
                    counts.finished,
                    counts.diverged,
                    counts.at_chance,
                    counts.missing + counts.failed
                ),
            };
            (mean, square)
        };
        let columns = [
            "panel",
            "init",
            "layers",
            "lr",
            "mean",
            "finished",
            "diverged",
            "at_chance",
            "missing",
        ];
        let axes = self.task_axes(&["depth", "blocks"]);
        let (panels, data) = self.panels(&columns, &axes, self.all_cells(), |group, row| {
            let squares = rates.iter().enumerate().map(|(at, rate)| {
                let of_depth = |&layers: &u32| {
                    let is_here = |&&i: &&usize| {
                        self.cell(i).at[lr] == at && self.cell(i).job.arch.layers() == layers
                    };
                    let here: Vec<usize> = group.cells.iter().filter(is_here).copied().collect();
                    let counts: Counts = here.iter().map(|&i| self.cell(i).counts).sum();
                    let (mean, square) = square(group.name, layers, rate, &here, counts);
                    if here.is_empty() {
                        return None;
                    }
                    row(vec![
                        layers.into(),
                        rate.as_str().into(),
                        mean.into(),
                        counts.finished.into(),
                        counts.diverged.into(),
                        counts.at_chance.into(),
                        (counts.missing + counts.failed).into(),
                    ]);
                    Some(square)
                };
                depths.iter().map(of_depth).collect::<Vec<_>>()
            });
            Some(squares.collect())
        });
        let heat = |title: &str, arm: usize, squares: Vec<Vec<Option<Square>>>| Heat {
            title: match title {
                "" => self.name(arm).to_owned(),
                panel => format!("{} ({panel})", self.name(arm)),
            },
            x_label: "depth (layers)".to_owned(),
            y_label: "learning rate".to_owned(),
            columns: depths.iter().map(u32::to_string).collect(),
            rows: rates.clone(),
            squares,
        };
        let mut maps = Vec::new();
        for panel in panels {
            let arms = panel.arms.into_iter();
            maps.extend(arms.map(|(arm, squares)| heat(&panel.title, arm, squares).svg()));
        }
        let text = html! {
            "Mean test accuracy over seeds, a run that does not train counted as a guess. " em { "div" } ": most runs \
             diverged. " em { "?" } ": nothing finished yet. Framed: the learning rate that validation chose."
            (self.averaged("Averaged", &["lr"]))
        };
        let mut figure =
            self.figure("Test accuracy by learning rate and depth", text, [], maps, data);
        figure.legend = heat_legend("test accuracy");
        Some(figure)
    }
}
