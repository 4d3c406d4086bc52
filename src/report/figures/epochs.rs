//! Over epochs: the share of runs that have not diverged, and validation accuracy.

use maud::html;

use super::{Figure, Figures, charts};
use crate::report::chart::{ChartAxis, Drawing, Lines, Point};
use wninit_core::fmt::{percent, plural};
use wninit_stats::describe;
use wninit_stats::inference::Inference;
use wninit_stats::interval::LEVEL;
use wninit_stats::summary::{RunEnding, chance};

/// The maximum number of epochs drawn of a curve; of longer ones, every second, third, … is drawn.
const MOST_EPOCHS: usize = 120;

/// The epochs to draw, including 0 (before the first) and the last.
fn shown_epochs(epochs: u32) -> impl Iterator<Item = u32> {
    let step = (epochs as usize).div_ceil(MOST_EPOCHS).max(1);
    (0..=epochs).filter(move |epoch| (*epoch as usize).is_multiple_of(step) || *epoch == epochs)
}

impl Figures<'_> {
    fn epochs(&self, cells: &[usize]) -> u32 {
        cells.iter().map(|&i| self.cell(i).job.epochs).max().unwrap_or(0)
    }

    /// The share of runs that have not diverged after each epoch.
    pub(super) fn survival(&self) -> Option<Figure> {
        let epochs = self.summary.cells.iter().map(|cell| cell.job.epochs).max()?;
        if epochs < 2 || self.summary.counts.diverged == 0 {
            return None;
        }
        let mut axes = self.task_axes(&["epochs"]);
        axes.extend(self.warmup_axis());
        axes.extend(self.summary.axis("lr"));
        let columns = ["panel", "init", "epoch", "survivors", "runs", "share", "low", "high"];
        let (panels, data) = self.panels(&columns, &axes, self.all_cells(), |group, row| {
            let points = shown_epochs(self.epochs(group.panel)).filter_map(|epoch| {
                // Only runs planned to train for this many epochs.
                let cells = group.cells.iter().map(|&i| self.cell(i));
                let runs: Vec<bool> = cells
                    .filter(|cell| cell.job.epochs >= epoch)
                    .flat_map(|cell| &cell.runs)
                    .map(|run| run.ending != RunEnding::Diverged || run.epochs_done >= epoch)
                    .collect();
                let (n, alive) = (runs.len(), runs.iter().filter(|alive| **alive).count());
                let interval =
                    (n > 0).then(|| Inference::Share { k: alive, n }.with_interval().interval)?;
                let share = alive as f64 / n as f64;
                row(vec![
                    epoch.into(),
                    alive.into(),
                    n.into(),
                    share.into(),
                    interval.low.into(),
                    interval.high.into(),
                ]);
                let tooltip =
                    format!("{}, epoch {epoch}: {alive} of {n} runs {interval:.2}", group.name);
                Some(Point { x: f64::from(epoch), y: share, interval: None, tooltip })
            });
            Some(points.collect())
        });
        let all = panels.len();
        let panels = charts(panels, |panel| {
            let mut points = panel.arms.iter().flat_map(|(_, points)| points);
            let diverged = points.any(|point| point.y < 1.0);
            diverged.then(|| Lines {
                title: panel.title,
                x: ChartAxis::whole("epoch", 0.0, f64::from(self.epochs(&panel.cells))),
                y: ChartAxis::fraction("share of runs not diverged"),
                rule: None,
                series: self.series(panel.arms),
                drawing: Drawing::Steps,
            })
        });
        let text = html! {
            "The share of finished runs whose losses were still finite after an epoch; the data has Clopper-Pearson "
            (percent(LEVEL)) " intervals, which take runs for independent." (self.averaged("Pooled", &["lr", "warmup_epochs"]))
            @if all > panels.len() {
                " " (plural(all - panels.len(), "panel")) " in which no run diverged: left out."
            }
        };
        Some(self.figure("Survival over epochs", text, self.all_cells(), panels, data))
    }

    /// Validation accuracy over epochs.
    pub(super) fn training_curves(&self) -> Figure {
        let columns = ["panel", "init", "epoch", "median", "low_quartile", "high_quartile", "runs"];
        let chosen = || self.summary.chosen.iter().copied();
        let axes = self.summary.context_axes();
        let (panels, data) = self.panels(&columns, &axes, chosen(), |group, row| {
            let most = self.epochs(group.panel);
            let points =
                shown_epochs(most).filter(|epoch| *epoch > 0 && most > 1).filter_map(|epoch| {
                    let values = self.validation_at(group.cells, epoch);
                    let (median, n) = (describe::median(&values)?, values.len());
                    let quartiles =
                        describe::quantile(&values, 0.25).zip(describe::quantile(&values, 0.75));
                    let (low, high) = (quartiles.map(|q| q.0), quartiles.map(|q| q.1));
                    row(vec![epoch.into(), median.into(), low.into(), high.into(), n.into()]);
                    let tooltip =
                        format!("{}, epoch {epoch}: median {median:.3}, n = {n}", group.name);
                    Some(Point { x: f64::from(epoch), y: median, interval: quartiles, tooltip })
                });
            Some(points.collect())
        });
        let panels = charts(panels, |panel| {
            let any = panel.arms.iter().any(|(_, points)| !points.is_empty());
            any.then(|| Lines {
                title: panel.title,
                x: ChartAxis::whole("epoch", 1.0, f64::from(self.epochs(&panel.cells))),
                y: ChartAxis::fraction_to("validation accuracy (fraction)", self.most),
                rule: self.guess(),
                series: self.series(panel.arms),
                drawing: Drawing::Bands,
            })
        });
        let text = html! {
            "Median over runs with the band between the quartiles, at the learning rate that validation chose. \
             From the epoch in which it diverged, a run counts as a guess."
        };
        self.figure("Training curves", text, chosen(), panels, data)
    }

    /// The validation accuracies of the cells' runs after an epoch.
    fn validation_at(&self, cells: &[usize], epoch: u32) -> Vec<f64> {
        let runs = cells.iter().flat_map(|&i| self.cell(i).runs.iter().map(move |run| (i, run)));
        let accuracy = |(i, run): (usize, &wninit_stats::summary::RunSummary)| {
            // After it has diverged, a network predicts nothing.
            if run.ending == RunEnding::Diverged && run.epochs_done < epoch {
                return Some(chance(&self.cell(i).job));
            }
            let row = self.curves.get(&run.id)?.get(epoch as usize - 1)?;
            Some(row.val_acc).filter(|x| row.epoch == epoch && x.is_finite())
        };
        runs.filter_map(accuracy).collect()
    }
}
