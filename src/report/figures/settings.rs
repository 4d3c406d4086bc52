//! Each arm's settings of the hyper-parameters, the best first (the paper's figure of robustness to them).

use maud::html;

use super::{Figure, Figures, charts};
use crate::report::chart::{ChartAxis, Drawing, Lines, Point};

const FEWEST: usize = 8;

impl Figures<'_> {
    pub(super) fn sorted_settings(&self) -> Option<Figure> {
        let tuned = self.tuned_axes();
        let columns = ["panel", "init", "rank", "mean", "runs", "setting"];
        let axes = self.task_axes(&[]);
        let (panels, data) = self.panels(&columns, &axes, self.all_cells(), |group, row| {
            let means = group.cells.iter().filter_map(|&i| Some((self.cell(i).mean?, i)));
            let mut ranked: Vec<(f64, usize)> = means.collect();
            ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
            if ranked.len() < FEWEST {
                return None;
            }
            let points = ranked.iter().enumerate().map(|(rank, &(mean, i))| {
                let setting = self.by(&tuned, [i]).pop().map(|(name, _)| name).unwrap_or_default();
                let runs = self.cell(i).runs.len();
                row(vec![(rank + 1).into(), mean.into(), runs.into(), setting.as_str().into()]);
                let tooltip = format!("{mean:.3}: {setting}");
                Point { x: (rank + 1) as f64, y: mean, interval: None, tooltip }
            });
            Some(points.collect())
        });
        let panels = charts(panels, |panel| {
            let most = panel.arms.iter().map(|(_, points)| points.len()).max()?;
            Some(Lines {
                title: panel.title,
                x: ChartAxis::whole("setting, the best first (rank)", 1.0, most as f64),
                y: ChartAxis::fraction_to("mean test accuracy (fraction)", self.most),
                rule: self.guess(),
                series: self.series(panel.arms),
                drawing: Drawing::Bands,
            })
        });
        let names: Vec<&str> =
            tuned.iter().map(|&axis| self.summary.axes[axis].field.name).collect();
        let text = html! {
            "Every setting of " (names.join(", ")) " that was tried, sorted by its mean test accuracy over all \
             runs (one that does not train counts as a guess) for each initializer. The longer a curve stays high, the less tuning the initializer needs. Ranks use the test accuracy, so the left end is optimistic."
        };
        Some(self.figure("Sorted hyper-parameter settings", text, self.all_cells(), panels, data))
    }
}
