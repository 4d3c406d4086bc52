//! Performance profiles.

use maud::html;

use super::{Figure, FigureData, Figures};
use crate::report::chart::{ChartAxis, Drawing, Lines, Point};
use wninit_core::fmt::percent;
use wninit_stats::interval::LEVEL;

impl Figures<'_> {
    pub(super) fn profiles(&self) -> Option<Figure> {
        let profiles = &self.summary.profiles;
        if profiles.len() < 2 {
            return None; // nothing to compare
        }
        let points = || profiles.iter().flat_map(|profile| &profile.points);
        let mut data = FigureData::new(&["init", "accuracy", "share", "low", "high", "seeds"]);
        data.rows.extend(points().map(|p| {
            let (low, high) = (p.band.low, p.band.high);
            let name = p.init.as_str();
            vec![name.into(), p.tau.into(), p.share.into(), low.into(), high.into(), p.n.into()]
        }));
        let arms = profiles.iter().map(|profile| {
            let points = profile.points.iter().map(|p| Point {
                x: p.tau,
                y: p.share,
                interval: Some((p.band.low, p.band.high)),
                tooltip: format!("{}: {} of runs reach {:.2}", p.init, percent(p.share), p.tau),
            });
            (profile.arm, points.collect())
        });
        let lines = Lines {
            title: String::new(),
            x: ChartAxis::fraction("test accuracy τ (fraction)"),
            y: ChartAxis::fraction("share of runs with at least τ"),
            rule: None,
            series: self.series(arms.collect()),
            drawing: Drawing::Steps,
        };
        let text = html! {
            "The share of runs, at every learning rate, that reach an accuracy. A curve above another is better at \
             that accuracy; a run that does not train counts as a guess. The bands are " (percent(LEVEL))
            " intervals at each accuracy alone, of the seeds' shares (Gaffke's bound)."
        };
        Some(self.figure("Performance profile", text, self.all_cells(), vec![lines.chart()], data))
    }
}
