//! The spread between seeds.

use maud::html;

use super::{Figure, Figures};
use crate::report::chart::{ChartAxis, Look, Strip, Strips};
use wninit_stats::describe;
use wninit_stats::summary::RunEnding;

/// The maximum number of points in a row of single runs.
const MOST_POINTS: usize = 150;

const MOST_GROUPS: usize = 10;

impl Figures<'_> {
    pub(super) fn seed_spread(&self) -> Option<Figure> {
        let chosen = self.summary.chosen.iter().copied();
        let cells: Vec<usize> = chosen.filter(|&i| self.cell(i).runs.len() > 1).collect();
        if cells.is_empty() {
            return None;
        }
        let columns = ["setting", "init", "lr", "init_seed", "data_seed", "outcome", "test_acc"];
        let axes = self.summary.context_axes();
        let (groups, data) = self.panels(&columns, &axes, cells.iter().copied(), |group, row| {
            let strips = group.cells.iter().map(|&i| {
                let cell = self.cell(i);
                for run in &cell.runs {
                    let outcome = match run.ending {
                        RunEnding::Success => "trained",
                        RunEnding::AtChance => "at chance",
                        RunEnding::Diverged => "diverged",
                    };
                    let (init_seed, data_seed) = run.seed;
                    let lr = cell.job.lr.into();
                    row(vec![
                        lr,
                        init_seed.into(),
                        data_seed.into(),
                        outcome.into(),
                        run.accuracy.into(),
                    ]);
                }
                let values: Vec<f64> = cell.runs.iter().filter_map(|r| r.accuracy).collect();
                let step = values.len().div_ceil(MOST_POINTS).max(1);
                let sd = cell.accuracy_sd.map(|sd| format!(", sd of those that train {sd:.4}"));
                let sd = sd.unwrap_or_default();
                let (lr, counts) = (cell.job.lr, cell.counts);
                Strip {
                    look: Look(group.arm),
                    tooltip: format!(
                        "{}, lr {lr}: {} runs, {} diverged{sd}",
                        group.name,
                        cell.runs.len(),
                        counts.diverged
                    ),
                    values: values.iter().copied().step_by(step).collect(),
                    median: describe::median(&values),
                }
            });
            Some(strips.collect())
        });
        let n = groups.len();
        let groups: Vec<(String, Vec<Strip>)> = groups
            .into_iter()
            .map(|group| {
                (group.title, group.arms.into_iter().flat_map(|(_, strips)| strips).collect())
            })
            .collect();
        let shown: Vec<(String, Vec<Strip>)> =
            (0..n.min(MOST_GROUPS)).map(|i| groups[i * n / n.min(MOST_GROUPS)].clone()).collect();
        let trained = cells.iter().flat_map(|&i| &self.cell(i).runs);
        let trained: Vec<f64> = trained
            .filter(|run| run.ending == RunEnding::Success)
            .filter_map(|run| run.accuracy)
            .collect();
        let x = ChartAxis::fraction_around("test accuracy (fraction)", &trained, self.most);
        let from_zero = x.scale.share(0.0) >= 0.0;
        let text = html! {
            "A point is a run, at the learning rate that validation chose; the bar is their median. A run that \
             diverged stands at " @if from_zero { "guessing." } @else { "the left edge, below the axis." }
            @if n > MOST_GROUPS {
                " " (MOST_GROUPS) " of " (n) " settings are shown, evenly chosen; the data has them all."
            }
        };
        // Two panels side by side if there is room.
        let half = shown.len().div_ceil(2).max(3);
        let strips = |groups: &[(String, Vec<Strip>)]| Strips {
            x: x.clone(),
            rule: self.guess().filter(|_| from_zero),
            groups: groups.to_vec(),
        };
        let panels = shown.chunks(half).map(|groups| strips(groups).chart()).collect();
        Some(self.figure("Spread between seeds", text, cells, panels, data))
    }
}
