//! Published numbers beside ours.

use std::collections::BTreeSet;

use super::cells::Cells;
use super::claims::Measure;
use super::sample::{Wanted, in_words, sides};
use crate::interval::Interval;
use wninit_core::columns;
use wninit_core::grid::{Condition, Metric, Published};
use wninit_core::table::Column;

/// A published number beside ours: a row of `published.csv`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // COLUMNS documents each
pub struct PublishedResult {
    pub r#where: String,
    /// The same, short enough for a line of a terminal.
    pub briefly: String,
    pub metric: Metric,
    pub published: f64,
    pub spread: Option<f64>,
    pub source: Option<String>,
    /// Why it is not comparable: each field of the published setup that ours differs in.
    pub differs: Vec<String>,
    /// The arm of all jobs that it is about, an index into the summary's `initializers`; `None` if
    /// there are several.
    pub arm: Option<usize>,
    pub n: usize,
    pub mean: Option<f64>,
    pub sd: Option<f64>,
    pub interval: Option<Interval>,
    /// Runs that trained, and runs.
    pub success: (usize, usize),
    pub difference: Option<f64>,
}

/// The columns of `published.csv`.
pub(super) static COLUMNS: &[Column<PublishedResult>] = columns![PublishedResult;
    "where": "", "the jobs that it is about", "all" => |p| p.r#where.as_str();
    "metric": "", "its metric; our accuracies and losses are those of the jobs that train, except composite_acc", "" => |p| p.metric.name();
    "published": "the metric's", "the published number", "" => |p| p.published;
    "spread": "the metric's", "its uncertainty, as published", "not published" => |p| p.spread;
    "source": "", "where it was published", "not stated" => |p| p.source.as_deref();
    "differs": "", "fields in which our jobs differ from the published experiment, so that the numbers are not comparable", "none of those that the grid states"
        => |p| Some(p.differs.join("; ")).filter(|text| !text.is_empty());
    "n": "seeds", "seeds of ours", "" => |p| p.n;
    "mean": "the metric's", "our mean over seeds, at the best lr on validation", "fewer than two seeds trained, or none is finished" => |p| p.mean;
    "sd": "the metric's", "our standard deviation between seeds", "fewer than two seeds" => |p| p.sd;
    "mean_low": "the metric's", "lower end of the 95 % interval of our mean, widened for the choice of lr", "as mean"
        => |p| p.interval.map(|i| i.low);
    "mean_high": "the metric's", "upper end of the 95 % interval of our mean", "as mean"
        => |p| p.interval.map(|i| i.high);
    "difference": "the metric's", "mean - published", "as mean" => |p| p.difference;
    "n_success": "jobs", "jobs of ours that trained", "" => |p| p.success.0;
    "n_runs": "jobs", "jobs of ours that count", "" => |p| p.success.1;
];

/// `arms` are those of the sweep's cells.
pub(super) fn beside(sweep: &Cells, arms: &[usize], number: &Published) -> PublishedResult {
    let measure = Measure::of(number.metric);
    let sides = sides(sweep, number.metric, &[Wanted::by(sweep, &number.filter)], &[]);
    let ours = measure.ask(sweep, &sides, Interval::ANY).overall;
    let interval = ours.interval().map(|interval| measure.turned(interval));
    let mean = ours.estimate.map(|x| measure.turned(Interval { low: x, high: x }).low);
    let about: Vec<usize> = sides.cells.iter().flatten().flatten().copied().collect();
    let differs = number.setup.iter().filter_map(|condition| {
        let other = |&i: &usize| !condition.holds(sweep.cells[i].job);
        let ours: BTreeSet<String> = about
            .iter()
            .filter(|i| other(i))
            .map(|&i| {
                let value = condition.field.get(sweep.cells[i].job);
                value.map_or_else(|| "none".to_owned(), |value| value.in_words())
            })
            .collect();
        let ours = ours.into_iter().collect::<Vec<_>>().join("/");
        let theirs = condition.values_joined("/");
        (!ours.is_empty()).then(|| format!("{} {ours}, not {theirs}", condition.field.name))
    });
    let arm = about.first().map(|&i| arms[i]);
    PublishedResult {
        differs: differs.collect(),
        arm: arm.filter(|arm| about.iter().all(|&i| arms[i] == *arm)),
        r#where: in_words(&number.filter),
        briefly: briefly(&number.filter),
        metric: number.metric,
        published: number.value,
        spread: number.spread,
        source: number.source.clone(),
        n: ours.n,
        mean,
        sd: ours.sd,
        interval,
        success: sides.success.first().copied().unwrap_or_default(),
        difference: mean.map(|mean| mean - number.value),
    }
}

/// `blocks 1/16 he_proposed`: fields with self-explanatory values without their name.
fn briefly(filter: &[Condition]) -> String {
    const PLAIN: [&str; 5] = ["dataset", "model", "norm", "init", "precision"];
    let words = |condition: &Condition| {
        let values = condition.values_joined("/");
        match condition.field.name {
            name if PLAIN.contains(&name) => values,
            "warmup_epochs" => format!("warm {values}"),
            name => format!("{name} {values}"),
        }
    };
    filter.iter().map(words).collect::<Vec<_>>().join(" ")
}
