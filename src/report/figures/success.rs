//! The share of runs that train, over depth or over the learning rate.

use maud::html;

use super::{Figure, Figures, OVER_DEPTH, OVER_RATE, Over, charts};
use crate::report::chart::{ChartAxis, Drawing, Lines, Point};
use wninit_core::fmt::percent;
use wninit_core::grid::Metric;
use wninit_stats::inference::Inference;
use wninit_stats::interval::{Interval, LEVEL};
use wninit_stats::summary::{RunEnding, RunSummary};

impl Figures<'_> {
    /// How many runs of each initializer train at each depth, as in the summary's ranking.
    pub(super) fn success_over_depth(&self) -> Option<Figure> {
        if !self.depth_varies() || self.summary.counts.finished == 0 {
            return None;
        }
        let (title, over) = ("Success by depth", &OVER_DEPTH);
        self.success(title, over, &self.task_axes(&["depth", "blocks"]), &[])
    }

    /// The same at each learning rate. If depth varies, the heat maps show this.
    pub(super) fn success_over_rate(&self) -> Option<Figure> {
        self.summary.axis("lr")?;
        if self.depth_varies() {
            return None;
        }
        let (title, over) = ("Success by learning rate", &OVER_RATE);
        let mut axes = self.task_axes(&[]);
        axes.extend(self.warmup_axis());
        self.success(title, over, &axes, &["lr", "warmup_epochs"])
    }

    fn success(&self, title: &str, over: &Over, axes: &[usize], shown: &[&str]) -> Option<Figure> {
        let x = self.axis_over(over, self.all_cells())?;
        let diverged = self.summary.success_metric == Metric::Diverged;
        let (succeed, explained) = match diverged {
            true => ("do not diverge", ""),
            false => (
                "train",
                " A run trains if it neither diverges nor stays at an accuracy that needs no look at the image.",
            ),
        };
        let columns = ["panel", "init", over.column, "trained", "runs", "share", "low", "high"];
        let (panels, data) = self.panels(&columns, axes, self.all_cells(), |group, row| {
            let points = self.by_value(over, group.cells).filter_map(|(x, cells)| {
                let (mut k, mut n) = (0, 0);
                for cell in cells.iter().map(|&i| self.cell(i)) {
                    let succeeds = |run: &&RunSummary| match run.ending {
                        RunEnding::Success => true,
                        RunEnding::AtChance => diverged,
                        RunEnding::Diverged => false,
                    };
                    k += cell.runs.iter().filter(succeeds).count();
                    n += cell.runs.len();
                }
                let share = (n > 0).then(|| k as f64 / n as f64)?;
                let interval = self.share_interval(&cells, (k, n));
                let (low, high) = (interval.map(|i| i.low), interval.map(|i| i.high));
                let (name, label) = (group.name, over.label);
                row(vec![x.into(), k.into(), n.into(), share.into(), low.into(), high.into()]);
                let spread = interval.map(|i| format!(" {i:.2}")).unwrap_or_default();
                Some(Point {
                    x,
                    y: share,
                    interval: low.zip(high),
                    tooltip: format!("{name}, {label} {x}: {k} of {n} runs{spread}"),
                })
            });
            Some(points.collect())
        });
        let panels = charts(panels, |panel| {
            Some(Lines {
                title: panel.title,
                x: x.clone(),
                y: ChartAxis::fraction(format!("share of runs that {succeed}")),
                rule: None,
                series: self.series(panel.arms),
                drawing: Drawing::Markers,
            })
        });
        let text = html! {
            "The share of runs that " (succeed) ", with its " (percent(LEVEL)) " interval over seeds."
            (explained) (self.averaged("Pooled", shown))
        };
        Some(self.figure(title, text, self.all_cells(), panels, data))
    }

    /// The interval of a share of runs: Clopper and Pearson's if each is of another seed, else that
    /// of the ranking, if it has the same runs.
    fn share_interval(&self, cells: &[usize], (k, n): (usize, usize)) -> Option<Interval> {
        if let [_] = cells {
            return Some(Inference::Share { k, n }.with_interval().interval);
        }
        let first = self.cell(*cells.first()?);
        let task = self.summary.task_axes();
        let row = self.summary.ranking.iter().find(|row| {
            row.arm == first.arm
                && (row.trained, row.runs) == (k, n)
                && task.iter().zip(&row.task).all(|(&axis, &at)| first.at[axis] == at)
        })?;
        Some(row.success?.interval)
    }
}
