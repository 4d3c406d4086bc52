//! Test accuracy over depth, and over the learning rate.

use std::collections::{BTreeMap, BTreeSet};

use maud::html;

use super::{Figure, Figures, charts};
use crate::report::chart::{ChartAxis, Drawing, Lines, Point, Scale};
use wninit_core::fmt::percent;
use wninit_stats::describe;
use wninit_stats::inference::Inference;
use wninit_stats::interval::{FRACTION, LEVEL};
use wninit_stats::summary::CellSummary;

/// The horizontal axis.
struct Over {
    title: &'static str,
    label: &'static str,
    column: &'static str,
    value: fn(&CellSummary) -> f64,
}

impl Figures<'_> {
    pub(super) fn accuracy_over_depth(&self) -> Option<Figure> {
        if !self.depth_varies() {
            return None;
        }
        let rates = match self.summary.axis("lr") {
            Some(_) => ", each at the learning rate with the best validation accuracy",
            None => "",
        };
        let over = Over {
            title: "Test accuracy over depth",
            label: "depth (layers)",
            column: "layers",
            value: |cell| f64::from(cell.job.arch.layers()),
        };
        let axes = self.task_axes(&["depth", "blocks"]);
        self.accuracy(&over, rates, &["lr"], &self.summary.chosen, &axes)
    }

    /// If depth varies, the heat maps show this.
    pub(super) fn accuracy_over_rate(&self) -> Option<Figure> {
        self.summary.axis("lr")?;
        if self.depth_varies() {
            return None;
        }
        let over = Over {
            title: "Test accuracy over learning rate",
            label: "learning rate",
            column: "lr",
            value: |cell| cell.job.lr,
        };
        let cells: Vec<usize> = self.all_cells().collect();
        let mut axes = self.task_axes(&[]);
        axes.extend(self.warmup_axis());
        self.accuracy(&over, "", &["lr", "warmup_epochs"], &cells, &axes)
    }

    fn accuracy(
        &self,
        over: &Over,
        rates: &str,
        shown: &[&str],
        cells: &[usize],
        axes: &[usize],
    ) -> Option<Figure> {
        let xs: BTreeSet<u64> =
            cells.iter().map(|&i| (over.value)(self.cell(i)).to_bits()).collect();
        let xs: Vec<f64> = xs.into_iter().map(f64::from_bits).filter(|x| x.is_finite()).collect();
        if xs.len() < 2 {
            return None;
        }
        let x = ChartAxis::with_ticks(over.label, Scale::over(xs.iter().copied()), xs);
        let columns =
            ["panel", "init", over.column, "trained", "runs", "mean", "low", "high", "seeds"];
        let (panels, data) = self.panels(&columns, axes, cells.iter().copied(), |group, row| {
            let mut at: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
            for &i in group.cells {
                at.entry((over.value)(self.cell(i)).to_bits()).or_default().push(i);
            }
            let points = at.into_iter().filter_map(|(bits, cells)| {
                let x = f64::from_bits(bits);
                let (values, trained, runs) = self.by_seed(&cells);
                let (mean, n) = (describe::mean(&values), values.len());
                let interval =
                    Inference::mean(&values, FRACTION).map(|mean| mean.with_interval().interval);
                let (low, high) = (interval.map(|i| i.low), interval.map(|i| i.high));
                row(vec![
                    x.into(),
                    trained.into(),
                    runs.into(),
                    mean.into(),
                    low.into(),
                    high.into(),
                    n.into(),
                ]);
                let mean = mean?;
                let spread = interval.map(|i| format!(" {i:.3}")).unwrap_or_default();
                let (name, label) = (group.name, over.label);
                Some(Point {
                    x,
                    y: mean,
                    interval: low.zip(high),
                    tooltip: format!("{name}, {label} {x}: {mean:.3}{spread}, n = {n}; {trained} of {runs} runs train"),
                })
            });
            Some(points.collect())
        });
        let panels = charts(panels, |panel| {
            Some(Lines {
                title: panel.title,
                x: x.clone(),
                y: ChartAxis::fraction_to("test accuracy (fraction)", self.most),
                rule: self.guess(),
                series: self.series(panel.arms),
                drawing: Drawing::Markers,
            })
        });
        let text = html! {
            "Mean over the seeds that train, with its " (percent(LEVEL)) " interval (Student's t)" (rates)
            ". No point: no run trains; the table above shows how many do." (self.averaged("Averaged", shown))
        };
        Some(self.figure(over.title, text, cells.iter().copied(), panels, data))
    }
}
