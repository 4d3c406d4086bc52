//! Test accuracy over depth, and over the learning rate.

use maud::html;

use super::{Figure, Figures, OVER_DEPTH, OVER_RATE, Over, charts};
use crate::report::chart::{ChartAxis, Drawing, Lines, Point};
use wninit_core::fmt::percent;
use wninit_stats::describe;
use wninit_stats::inference::Inference;
use wninit_stats::interval::{FRACTION, LEVEL};

impl Figures<'_> {
    pub(super) fn accuracy_over_depth(&self) -> Option<Figure> {
        if !self.depth_varies() {
            return None;
        }
        let rates = match self.summary.axis("lr") {
            Some(_) => ", each at the learning rate with the best validation accuracy",
            None => "",
        };
        let (title, over) = ("Test accuracy over depth", &OVER_DEPTH);
        let axes = self.task_axes(&["depth", "blocks"]);
        self.accuracy(title, over, rates, &["lr"], &self.summary.chosen, &axes)
    }

    /// If depth varies, the heat maps show this.
    pub(super) fn accuracy_over_rate(&self) -> Option<Figure> {
        self.summary.axis("lr")?;
        if self.depth_varies() {
            return None;
        }
        let (title, over) = ("Test accuracy over learning rate", &OVER_RATE);
        let cells: Vec<usize> = self.all_cells().collect();
        let mut axes = self.task_axes(&[]);
        axes.extend(self.warmup_axis());
        self.accuracy(title, over, "", &["lr", "warmup_epochs"], &cells, &axes)
    }

    fn accuracy(
        &self,
        title: &str,
        over: &Over,
        rates: &str,
        shown: &[&str],
        cells: &[usize],
        axes: &[usize],
    ) -> Option<Figure> {
        let x = self.axis_over(over, cells.iter().copied())?;
        let columns =
            ["panel", "init", over.column, "trained", "runs", "mean", "low", "high", "seeds"];
        let (panels, data) = self.panels(&columns, axes, cells.iter().copied(), |group, row| {
            let points = self.by_value(over, group.cells).filter_map(|(x, cells)| {
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
            ". No point: no run trains." (self.averaged("Averaged", shown))
        };
        Some(self.figure(title, text, cells.iter().copied(), panels, data))
    }
}
