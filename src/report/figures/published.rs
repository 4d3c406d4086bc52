//! Published numbers beside ours.

use std::collections::BTreeSet;

use maud::html;

use super::{Figure, FigureData, Figures};
use crate::report::chart::{ChartAxis, Dot, Dots, Look, Scale};
use wninit_core::fmt::percent;
use wninit_core::grid::Metric;
use wninit_stats::interval::LEVEL;
use wninit_stats::summary::PublishedResult;

/// The maximum number of sources in the caption; `published.csv` has them all.
const MOST_SOURCES: usize = 3;

/// The maximum number of rows of a panel.
const MOST_ROWS: usize = 12;

impl Figures<'_> {
    /// A panel for each metric, or several.
    pub(super) fn published(&self) -> Option<Figure> {
        let all = &self.summary.published;
        let metrics: BTreeSet<&str> = all.iter().map(|number| number.metric.name()).collect();
        let metric = metrics
            .iter()
            .filter_map(|name| all.iter().map(|n| n.metric).find(|m| m.name() == *name));
        let panels = metric.flat_map(|metric| {
            let rows: Vec<&PublishedResult> = all.iter().filter(|n| n.metric == metric).collect();
            let x = axis(metric, &rows);
            let rows = rows.into_iter().map(|number| self.dot(number)).collect::<Vec<Dot>>();
            let parts = rows.len().div_ceil(MOST_ROWS).max(1);
            let panels = rows.chunks(rows.len().div_ceil(parts).max(1));
            panels
                .map(|rows| Dots { x: x.clone(), rows: rows.to_vec() }.chart())
                .collect::<Vec<_>>()
        });
        let columns = [
            "where",
            "metric",
            "published",
            "ours",
            "low",
            "high",
            "seeds",
            "trained",
            "runs",
            "differs",
        ];
        let mut data = FigureData::new(&columns);
        data.rows.extend(all.iter().map(|p| {
            vec![
                p.r#where.as_str().into(),
                p.metric.name().into(),
                p.published.into(),
                p.mean.into(),
                p.interval.map(|i| i.low).into(),
                p.interval.map(|i| i.high).into(),
                p.n.into(),
                p.success.0.into(),
                p.success.1.into(),
                p.differs.join("; ").into(),
            ]
        }));
        let differs: BTreeSet<&str> =
            all.iter().flat_map(|number| number.differs.iter().map(String::as_str)).collect();
        let sources: BTreeSet<&str> = all.iter().filter_map(|n| n.source.as_deref()).collect();
        let text = html! {
            "Diamond: the published number. Dot and bar: our mean over seeds and its " (percent(LEVEL)) " interval, "
            @if all.iter().any(|number| number.metric != Metric::LogSpectralNorm) {
                "at the learning rate that validation chose; test_acc is of the seeds that train."
            } @else {
                "at initialization."
            }
            @if !differs.is_empty() {
                " Dashed diamond: " em { "not comparable" } ", because the published experiment differs in: "
                (differs.into_iter().collect::<Vec<_>>().join("; ")) "."
            }
            @if (1..=MOST_SOURCES).contains(&sources.len()) {
                " Sources: " (sources.into_iter().collect::<Vec<_>>().join("; ")) "."
            }
        };
        let panels: Vec<_> = panels.collect();
        let legend = None;
        (!all.is_empty()).then(|| Figure {
            title: "Published beside ours".to_owned(),
            text,
            legend,
            panels,
            data,
        })
    }

    fn dot(&self, number: &PublishedResult) -> Dot {
        let place = if number.briefly.is_empty() { "all runs" } else { &number.briefly };
        let interval = number.interval.map(|i| format!(" {i:.3}")).unwrap_or_default();
        let (trained, runs) = number.success;
        let ours = match number.mean {
            _ if runs == 0 => "not measured".to_owned(),
            None => format!("{trained} of {runs} train"),
            Some(mean) => format!("{mean:.3}{interval}, n = {}", number.n),
        };
        let spread = number.spread.map(|spread| format!(" ± {spread}")).unwrap_or_default();
        let comparable = number.differs.is_empty();
        let caveat = if comparable { "" } else { ": not comparable" };
        Dot {
            look: number.arm.map(Look),
            name: match number.mean {
                Some(_) => place.to_owned(),
                None => format!("{place}: {ours}"),
            },
            tooltip: format!(
                "{place}: published {}{spread}, ours {ours}{caveat}",
                number.published
            ),
            ours: number.mean.map(|mean| (mean, number.interval.map(|i| (i.low, i.high)))),
            published: number.published,
            comparable,
        }
    }
}

/// An axis for all numbers: from 0 to 1 for a fraction.
fn axis(metric: Metric, rows: &[&PublishedResult]) -> ChartAxis {
    let label = metric.name().replace('_', " ");
    if metric.is_fraction() {
        return ChartAxis::fraction(label);
    }
    let ends = |n: &PublishedResult| n.interval.map_or([n.published; 2], |i| [i.low, i.high]);
    let values = rows.iter().flat_map(|n| ends(n).into_iter().chain([n.published]).chain(n.mean));
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    let room = ((high - low) * 0.05).max(1e-9);
    ChartAxis::new(label, Scale::Linear(low - room, high + room))
}
