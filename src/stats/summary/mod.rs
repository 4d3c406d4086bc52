//! Robustness, seed variance and claims: records in, tables out.
//!
//! A sweep is a box whose *axes* are the fields that take more than one value in its plan. The
//! seed fields aside, a point of the box is a [`Cell`]; its runs differ in their seeds alone, and the
//! seed is the unit of replication everywhere. Along the axes, the initializer (with the norm
//! that it is for, and a warm-up that only some have) is the *arm*, the thing that is compared; `lr` is chosen for each arm on
//! validation accuracy, never on test accuracy; what is left is the *context* of a comparison.
//!
//! No run drops out in silence. A diverged run predicts nothing, so wherever an accuracy is
//! asked of it, it counts as a guess, 1/classes; a run that the machine cut short is no result and
//! is counted as failed; what was planned and is not there is counted as missing. Means over
//! converged runs alone are named so.

mod claims;
mod columns;
mod initializers;
mod recommend;
#[cfg(test)]
mod testing;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rayon::prelude::*;

use crate::estimates::{self, Interval, LEVEL};
use wninit_core::grid::{Claim, Published};
use wninit_core::job::{Dataset, FIELDS, Field, Init, Job, JobId, SEED_FIELDS, Value};
use wninit_core::results::{Curvature, Outcome, Record};
use wninit_core::table::{Datum, Table};

pub use claims::{ClaimResult, PublishedResult, Verdict, duration};
pub use columns::{COLUMNS, documentation};
pub use initializers::{
    HYPERPARAMETERS, InitializerSummary, NEAR_BEST, PairSummary, Profile, Scope, VarianceSummary,
};
pub use recommend::{Advice, Recommendation, Rival};

/// The probability with which a network that guesses is recognised as one: a test accuracy at or
/// below this quantile of Binomial(test images, 1/classes) is called *at chance*.
pub(crate) const CHANCE_CONFIDENCE: f64 = 0.9999;

/// What a summary is made of.
#[derive(Clone, Copy, Default)]
pub struct Input<'a> {
    /// The plan; where it is empty, the finished jobs are taken for it.
    pub planned: &'a [(JobId, Job)],
    /// The finished jobs.
    pub records: &'a [Record],
    /// How curved the loss is where jobs start, the best row of each job
    /// ([`best_curvatures`](wninit_core::results::best_curvatures)).
    pub curvatures: &'a [Curvature],
    /// Jobs of which an attempt failed. Those that were finished later do not count as failed.
    pub failed: &'a [JobId],
    /// What the sweep is meant to show.
    pub claims: &'a [Claim],
    /// Numbers from elsewhere.
    pub published: &'a [Published],
    /// What the others are compared with; by default the default gain, else the data-dependent one.
    pub baseline: Option<Init>,
}

/// Why there is no summary.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SummaryError {
    /// The baseline that was asked for is not in the sweep.
    #[error("the baseline \"{asked}\" is not in this sweep; it has {present}")]
    NoSuchBaseline {
        /// What was asked for.
        asked: &'static str,
        /// What there is.
        present: String,
    },
}

/// A field that takes more than one value in the sweep.
#[derive(Clone)]
pub struct Axis {
    /// The field.
    pub field: &'static Field,
    /// Its values: numbers ascending, words in the order in which the plan has them. `None` is "does not apply".
    pub values: Vec<Option<Value>>,
}

impl Axis {
    /// The value's text; empty for "does not apply".
    pub fn label(&self, at: usize) -> String {
        self.values[at].as_ref().map(Value::to_string).unwrap_or_default()
    }

    fn datum(&self, at: usize) -> Datum {
        match &self.values[at] {
            None => Datum::Empty,
            Some(Value::Integer(n)) if *n >= 0 => Datum::Count(*n as usize),
            Some(Value::Integer(n)) => Datum::Number(*n as f64),
            Some(Value::Float(x)) => Datum::Number(*x),
            Some(other) => Datum::Text(other.to_string()),
        }
    }
}

/// (init_seed, data_seed): what tells the runs of a cell apart.
pub type Seed = (u64, u64);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It converged to something better than guessing.
    Success,
    /// It converged, and its test accuracy is no better than guessing ([`CHANCE_CONFIDENCE`]).
    AtChance,
    /// It diverged.
    Diverged,
}

/// A finished run in its cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    /// The run.
    pub record: &'a Record,
    /// Its job's id.
    pub id: JobId,
    /// Its seeds.
    pub seed: Seed,
    /// How it ended.
    pub ending: Ending,
    /// Test accuracy, 1/classes if it diverged; `None` if it was not measured.
    pub accuracy: Option<f64>,
}

impl Run<'_> {
    fn summary(&self) -> RunSummary {
        RunSummary {
            id: self.id,
            seed: self.seed,
            ending: self.ending,
            accuracy: self.accuracy,
            epochs_done: self.record.epochs_done,
        }
    }

    /// The best validation accuracy; 1/classes if the run diverged. This chooses learning rates.
    fn validation(&self) -> Option<f64> {
        match self.ending {
            Ending::Diverged => Some(chance(&self.record.job)),
            _ => self.record.best_val_acc.filter(|x| x.is_finite()),
        }
    }
}

/// The accuracy of a guess.
pub fn chance(job: &Job) -> f64 {
    1.0 / job.dataset.classes() as f64
}

/// The runs that differ in their seeds alone.
#[derive(Clone, Debug)]
pub(crate) struct Cell<'a> {
    /// The index of its value on each axis.
    pub at: Vec<usize>,
    /// One of its jobs.
    pub job: &'a Job,
    /// Jobs of the plan.
    pub planned: usize,
    /// Jobs that were tried, failed, and are not finished.
    pub failed: usize,
    /// Finished jobs, by seed.
    pub runs: Vec<Run<'a>>,
    /// How curved the loss is where its jobs start, trained or not.
    pub curvatures: BTreeMap<Seed, &'a Curvature>,
}

impl Cell<'_> {
    /// Runs that ended so.
    pub(crate) fn count(&self, ending: Ending) -> usize {
        self.runs.iter().filter(|run| run.ending == ending).count()
    }

    /// The test accuracies of all finished runs, a diverged one at chance.
    pub(crate) fn accuracies(&self) -> Vec<f64> {
        self.runs.iter().filter_map(|run| run.accuracy).collect()
    }

    /// Whether most of its finished runs succeeded.
    pub(crate) fn trains(&self) -> bool {
        2 * self.count(Ending::Success) > self.runs.len()
    }

    fn validation(&self) -> Option<f64> {
        estimates::mean(&self.runs.iter().filter_map(Run::validation).collect::<Vec<_>>())
    }
}

/// A finished run, as a picture shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunSummary {
    /// Its job's id.
    pub id: JobId,
    /// Its seeds.
    pub seed: Seed,
    /// How it ended.
    pub ending: Ending,
    /// Test accuracy, 1/classes if it diverged; `None` if it was not measured.
    pub accuracy: Option<f64>,
    /// Whole epochs before it ended.
    pub epochs_done: u32,
}

/// What is said of a cell: a row of `cells.csv`, whose columns [`COLUMNS`] documents.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // COLUMNS documents each
pub struct CellSummary {
    /// The index of its value on each axis.
    pub at: Vec<usize>,
    /// The arm, an index into the summary's `initializers`.
    pub arm: usize,
    /// One of its jobs, for what they share.
    pub job: Job,
    /// Its finished runs, by seed.
    pub runs: Vec<RunSummary>,
    pub n_planned: usize,
    pub n_finished: usize,
    pub n_ok: usize,
    pub n_diverged: usize,
    pub n_at_chance: usize,
    pub n_failed: usize,
    pub n_missing: usize,
    pub success_rate: Option<f64>,
    pub success: Option<Interval>,
    pub mean: Option<f64>,
    pub sd: Option<f64>,
    pub min: Option<f64>,
    pub median: Option<f64>,
    pub max: Option<f64>,
    pub mean_interval: Option<Interval>,
    pub mean_converged: Option<f64>,
    pub sd_converged: Option<f64>,
}

impl CellSummary {
    fn of(cell: &Cell, arm: usize) -> CellSummary {
        let accuracies = cell.accuracies();
        let converged: Vec<f64> = cell
            .runs
            .iter()
            .filter(|run| run.ending != Ending::Diverged)
            .filter_map(|run| run.accuracy)
            .collect();
        let n_finished = cell.runs.len();
        let successes = cell.count(Ending::Success);
        let n_diverged = cell.count(Ending::Diverged);
        CellSummary {
            at: cell.at.clone(),
            arm,
            job: cell.job.clone(),
            runs: cell.runs.iter().map(Run::summary).collect(),
            n_planned: cell.planned,
            n_finished,
            n_ok: n_finished - n_diverged,
            n_diverged,
            n_at_chance: cell.count(Ending::AtChance),
            n_failed: cell.failed,
            n_missing: cell.planned.saturating_sub(n_finished + cell.failed),
            success_rate: (n_finished > 0).then(|| successes as f64 / n_finished as f64),
            success: estimates::wilson(successes, n_finished, LEVEL),
            mean: estimates::mean(&accuracies),
            sd: estimates::sd(&accuracies),
            min: estimates::quantile(&accuracies, 0.0),
            median: estimates::median(&accuracies),
            max: estimates::quantile(&accuracies, 1.0),
            mean_interval: estimates::mean_interval(&accuracies, LEVEL),
            mean_converged: estimates::mean(&converged),
            sd_converged: estimates::sd(&converged),
        }
    }
}

/// Totals over the sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // as in CellSummary
pub struct Counts {
    pub planned: usize,
    pub finished: usize,
    pub diverged: usize,
    pub at_chance: usize,
    pub failed: usize,
    pub missing: usize,
}

/// A sweep's answers.
#[derive(Clone)]
pub struct Summary {
    /// The fields that vary.
    pub axes: Vec<Axis>,
    /// Fields of interest that do not, with their value.
    pub constants: Vec<(&'static str, String)>,
    /// Totals.
    pub counts: Counts,
    /// Every cell, in the order of the axes.
    pub cells: Vec<CellSummary>,
    /// Indices of the cells whose learning rate is the one chosen on validation for their context.
    pub chosen: Vec<usize>,
    /// The axes that tell the arms apart: of `norm`, `init` and, where it goes with some of them only,
    /// `warmup_epochs` those that vary.
    pub arm_axes: Vec<usize>,
    /// The arm that the others are compared with; an index into `initializers`.
    pub baseline: Option<usize>,
    /// Which arm to use at each depth.
    pub recommendations: Vec<Recommendation>,
    /// Each arm over the whole sweep.
    pub initializers: Vec<InitializerSummary>,
    /// Each arm against the baseline, context by context.
    pub pairs: Vec<PairSummary>,
    /// Performance profiles.
    pub profiles: Vec<Profile>,
    /// Seed variance.
    pub variance: Vec<VarianceSummary>,
    /// What was claimed, and what came of it.
    pub claims: Vec<ClaimResult>,
    /// Published numbers beside ours.
    pub published: Vec<PublishedResult>,
    /// What a reader must know before he believes the numbers, a sentence each.
    pub notes: Vec<String>,
}

/// The records in their cells.
struct Sweep<'a> {
    axes: Vec<Axis>,
    /// Sorted by `at`.
    cells: Vec<Cell<'a>>,
    duplicates: usize,
    strangers: usize,
}

impl<'a> Sweep<'a> {
    fn new(input: &Input<'a>) -> Sweep<'a> {
        let ids: Vec<JobId> = input.records.par_iter().map(|record| record.job.id()).collect();
        let plan: Vec<(JobId, &Job)> = if input.planned.is_empty() {
            ids.iter().copied().zip(input.records.iter().map(|record| &record.job)).collect()
        } else {
            input.planned.iter().map(|(id, job)| (*id, job)).collect()
        };

        let (axes, places) = axes(&plan);
        let mut cell_at: HashMap<&[usize], usize> = HashMap::new();
        let mut cell_of: HashMap<JobId, usize> = HashMap::with_capacity(plan.len());
        let mut cells: Vec<Cell> = Vec::new();
        for (&(id, job), at) in plan.iter().zip(&places) {
            let index = *cell_at.entry(at).or_insert_with(|| {
                cells.push(Cell {
                    at: at.clone(),
                    job,
                    planned: 0,
                    failed: 0,
                    runs: Vec::new(),
                    curvatures: BTreeMap::new(),
                });
                cells.len() - 1
            });
            if cell_of.insert(id, index).is_none() {
                cells[index].planned += 1;
            }
        }

        let mut bounds: HashMap<Dataset, f64> = HashMap::new();
        let mut seen: HashSet<JobId> = HashSet::with_capacity(ids.len());
        let (mut duplicates, mut strangers) = (0, 0);
        for (&id, record) in ids.iter().zip(input.records) {
            let Some(&cell) = cell_of.get(&id) else {
                strangers += 1;
                continue;
            };
            if !seen.insert(id) {
                duplicates += 1;
                continue;
            }
            let job = &record.job;
            let bound = *bounds.entry(job.dataset).or_insert_with(|| {
                estimates::binomial_bound(job.tested(), chance(job), CHANCE_CONFIDENCE)
            });
            let measured = record.test_acc.filter(|x| x.is_finite());
            let (ending, accuracy) = match (record.outcome, measured) {
                (Outcome::Diverged, _) => (Ending::Diverged, Some(chance(job))),
                (Outcome::Ok, Some(x)) if x > bound => (Ending::Success, Some(x)),
                (Outcome::Ok, measured) => (Ending::AtChance, measured),
            };
            cells[cell].runs.push(Run {
                record,
                id,
                seed: (job.init_seed, job.data_seed),
                ending,
                accuracy,
            });
        }
        for curvature in input.curvatures {
            if let Some(&cell) = cell_of.get(&curvature.job.id()) {
                let seed = (curvature.job.init_seed, curvature.job.data_seed);
                cells[cell].curvatures.insert(seed, curvature);
            }
        }
        for id in input.failed.iter().collect::<BTreeSet<_>>() {
            if let Some(&cell) = cell_of.get(id)
                && !seen.contains(id)
            {
                cells[cell].failed += 1;
            }
        }
        cells.sort_by(|a, b| a.at.cmp(&b.at));
        for cell in &mut cells {
            cell.runs.sort_by_key(|run| run.seed);
        }
        Sweep { axes, cells, duplicates, strangers }
    }

    fn axis(&self, name: &str) -> Option<usize> {
        self.axes.iter().position(|axis| axis.field.name == name)
    }

    /// The axes with these names, in the order of the axes.
    fn axes_among(&self, names: &[&str]) -> Vec<usize> {
        (0..self.axes.len()).filter(|&i| names.contains(&self.axes[i].field.name)).collect()
    }

    /// All axes but these.
    fn axes_without(&self, without: &[usize]) -> Vec<usize> {
        (0..self.axes.len()).filter(|i| !without.contains(i)).collect()
    }

    /// Cells, by their place on some of the axes.
    fn group(&self, by: &[usize]) -> BTreeMap<Vec<usize>, Vec<usize>> {
        let mut groups: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
        for (index, cell) in self.cells.iter().enumerate() {
            groups.entry(place(cell, by)).or_default().push(index);
        }
        groups
    }

    /// Of some cells that differ in their learning rate, the one with the best mean validation
    /// accuracy, a diverged run at chance; of equals the first. `None` if none has a run.
    fn best(&self, cells: impl IntoIterator<Item = usize>) -> Option<usize> {
        let mut best: Option<(f64, usize)> = None;
        for index in cells {
            if let Some(score) = self.cells[index].validation()
                && best.is_none_or(|(highest, _)| score > highest)
            {
                best = Some((score, index));
            }
        }
        best.map(|(_, index)| index)
    }

    fn counts(&self, cells: &[CellSummary]) -> Counts {
        let mut counts = Counts::default();
        for cell in cells {
            counts.planned += cell.n_planned;
            counts.finished += cell.n_finished;
            counts.diverged += cell.n_diverged;
            counts.at_chance += cell.n_at_chance;
            counts.failed += cell.n_failed;
            counts.missing += cell.n_missing;
        }
        counts
    }

    fn runs(&self) -> impl Iterator<Item = &Run<'a>> {
        self.cells.iter().flat_map(|cell| &cell.runs)
    }
}

fn place(cell: &Cell, axes: &[usize]) -> Vec<usize> {
    axes.iter().map(|&axis| cell.at[axis]).collect()
}

/// The fields that vary among the jobs, and each job's place on them.
fn axes(jobs: &[(JobId, &Job)]) -> (Vec<Axis>, Vec<Vec<usize>>) {
    let mut axes = Vec::new();
    let mut places = vec![Vec::new(); jobs.len()];
    let Some(&(_, first)) = jobs.first() else {
        return (axes, places);
    };
    for field in FIELDS.iter().filter(|field| !SEED_FIELDS.contains(&field.name)) {
        let head = field.get(first);
        if jobs.iter().all(|(_, job)| field.get(job) == head) {
            continue;
        }
        // Values in the order in which they first occur, then in their own.
        let mut number: HashMap<String, usize> = HashMap::new();
        let mut values: Vec<Option<Value>> = Vec::new();
        let found: Vec<usize> = jobs
            .iter()
            .map(|(_, job)| {
                let value = field.get(job);
                let text = value.as_ref().map(Value::to_string).unwrap_or_default();
                *number.entry(text).or_insert_with(|| {
                    values.push(value);
                    values.len() - 1
                })
            })
            .collect();
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| {
            let [a, b] =
                [a, b].map(|i| values[i].as_ref().map(|v| as_number(v).unwrap_or(f64::INFINITY)));
            a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal)
        });
        let mut rank = vec![0; order.len()];
        for (new, &old) in order.iter().enumerate() {
            rank[old] = new;
        }
        for (place, old) in places.iter_mut().zip(found) {
            place.push(rank[old]);
        }
        axes.push(Axis { field, values: order.iter().map(|&old| values[old].clone()).collect() });
    }
    (axes, places)
}

fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(n) => Some(*n as f64),
        Value::Float(x) => Some(*x),
        _ => None,
    }
}

impl Summary {
    /// Makes a summary. A sweep that is partly or not at all finished has one, too.
    ///
    /// # Errors
    /// If a baseline is asked for that is not in the sweep.
    pub fn new(input: &Input) -> Result<Summary, SummaryError> {
        let sweep = Sweep::new(input);
        let arms = initializers::Arms::new(&sweep, input.baseline)?;
        let with_arms = sweep.cells.par_iter().zip(&arms.of_cell);
        let cells: Vec<CellSummary> =
            with_arms.map(|(cell, &arm)| CellSummary::of(cell, arm)).collect();
        let (claims, published) = claims::settle(&sweep, input.claims, input.published);
        let mut chosen: Vec<usize> = arms.chosen().map(|(_, cell)| cell).collect();
        chosen.sort_unstable();
        Ok(Summary {
            constants: constants(&sweep),
            counts: sweep.counts(&cells),
            chosen,
            recommendations: arms.recommendations(&sweep),
            initializers: arms.initializers(&sweep),
            pairs: arms.pairs(&sweep),
            profiles: arms.profiles(&sweep),
            variance: arms.variance(&sweep),
            claims,
            published,
            notes: notes(&sweep, &arms),
            baseline: arms.baseline,
            arm_axes: arms.axes.clone(),
            axes: sweep.axes,
            cells,
        })
    }

    /// Every table, in the order in which a reader wants them.
    pub fn tables(&self) -> Vec<Table> {
        vec![
            self.cells_table(),
            self.initializers_table(),
            self.pairs_table(),
            self.profiles_table(),
            self.variance_table(),
            self.claims_table(),
            self.published_table(),
        ]
    }

    fn table(&self, name: &'static str, axes: &[usize], rows: Vec<Vec<Datum>>) -> Table {
        let columns = axes
            .iter()
            .map(|&i| self.axes[i].field.name)
            .chain(COLUMNS.iter().filter(|(table, _)| *table == name).map(|(_, c)| c.name))
            .map(str::to_owned)
            .collect();
        Table { name, columns, rows }
    }

    /// The axis of that name.
    pub fn axis(&self, name: &str) -> Option<usize> {
        self.axes.iter().position(|axis| axis.field.name == name)
    }

    /// The values of a place on some axes.
    fn place(&self, axes: &[usize], at: &[usize]) -> Vec<Datum> {
        axes.iter().zip(at).map(|(&axis, &value)| self.axes[axis].datum(value)).collect()
    }

    fn cells_table(&self) -> Table {
        let all: Vec<usize> = (0..self.axes.len()).collect();
        let rows = self.cells.iter().map(|c| {
            let mut row = self.place(&all, &c.at);
            row.extend(
                [
                    c.n_planned,
                    c.n_finished,
                    c.n_ok,
                    c.n_diverged,
                    c.n_at_chance,
                    c.n_failed,
                    c.n_missing,
                ]
                .map(Datum::from),
            );
            row.push(c.success_rate.into());
            row.extend(ends(c.success));
            row.extend([c.mean, c.sd, c.min, c.median, c.max].map(Datum::from));
            row.extend(ends(c.mean_interval));
            row.extend([c.mean_converged, c.sd_converged].map(Datum::from));
            row
        });
        self.table("cells", &all, rows.collect())
    }
}

/// The two cells of an interval.
fn ends(interval: Option<Interval>) -> [Datum; 2] {
    [interval.map(|i| i.low).into(), interval.map(|i| i.high).into()]
}

/// What the sweep is about, where it does not vary.
fn constants(sweep: &Sweep) -> Vec<(&'static str, String)> {
    const OF_INTEREST: [&str; 12] = [
        "dataset",
        "train_images",
        "model",
        "depth",
        "width",
        "blocks",
        "k",
        "norm",
        "init",
        "precision",
        "lr",
        "epochs",
    ];
    let Some(cell) = sweep.cells.first() else {
        return Vec::new();
    };
    FIELDS
        .iter()
        .filter(|field| OF_INTEREST.contains(&field.name) && sweep.axis(field.name).is_none())
        .filter_map(|field| Some((field.name, field.get(cell.job)?.to_string())))
        .collect()
}

/// What a reader must know before he believes the numbers.
fn notes(sweep: &Sweep, arms: &initializers::Arms) -> Vec<String> {
    let mut notes = Vec::new();
    if sweep.strangers > 0 {
        notes.push(format!(
            "{} in runs.csv {} to no job of plan.csv (the grid has changed since) and {} left out.",
            plural(sweep.strangers, "finished run"),
            if sweep.strangers == 1 { "belongs" } else { "belong" },
            if sweep.strangers == 1 { "is" } else { "are" },
        ));
    }
    if sweep.duplicates > 0 {
        notes.push(format!(
            "{} for a job that has one already: the first counts.",
            plural(sweep.duplicates, "further row")
        ));
    }
    let finished: Vec<usize> = sweep.cells.iter().map(|cell| cell.runs.len()).collect();
    if let (Some(&least), Some(&most)) = (finished.iter().min(), finished.iter().max())
        && most > 0
    {
        if least != most {
            notes.push(format!("Unequal n: cells have between {least} and {most} finished runs."));
        }
        if most == 1 {
            notes.push(
                "One seed a cell: no spread, no interval, no test can be computed.".to_owned(),
            );
        } else if least < estimates::BOOTSTRAP_MIN && arms.any() {
            notes.push(format!(
                "Fewer than {} seeds in a cell: no bootstrap interval of the interquartile mean.",
                estimates::BOOTSTRAP_MIN
            ));
        }
    }
    let unmeasured = sweep.runs().filter(|run| run.accuracy.is_none()).count();
    if unmeasured > 0 {
        notes.push(format!(
            "{} without a test accuracy: counted as at chance, not part of any mean.",
            plural(unmeasured, "finished run")
        ));
    }
    let seeds: BTreeSet<Seed> = sweep.runs().map(|run| run.seed).collect();
    let firsts: BTreeSet<u64> = seeds.iter().map(|seed| seed.0).collect();
    let seconds: BTreeSet<u64> = seeds.iter().map(|seed| seed.1).collect();
    if firsts.len() > 1 && seconds.len() > 1 && seeds.len() > firsts.len().max(seconds.len()) {
        notes.push(
            "init_seed and data_seed are crossed: runs that share one of them are not independent, \
             and intervals are narrower than they should be."
                .to_owned(),
        );
    }
    if let Some(axis) = sweep.axis("precision") {
        let axis = &sweep.axes[axis];
        let all: Vec<String> = (0..axis.values.len()).map(|i| axis.label(i)).collect();
        notes.push(format!("Mixed precision: {}.", all.join(", ")));
    }
    let mut mixed = |what: &str, of: &dyn Fn(&Record) -> String| {
        let mut values: BTreeMap<String, usize> = BTreeMap::new();
        for run in sweep.runs() {
            *values.entry(of(run.record)).or_default() += 1;
        }
        if values.len() > 1 {
            const SHOWN: usize = 4;
            let each = values.iter().take(SHOWN).map(|(value, n)| format!("{value} ({n} runs)"));
            let rest = values.len().saturating_sub(SHOWN);
            let rest = (rest > 0).then(|| format!("and {rest} more"));
            notes.push(format!(
                "Mixed {what}: {}.",
                each.chain(rest).collect::<Vec<_>>().join(", ")
            ));
        }
    };
    // Which of a machine's equal GPUs it was does not matter.
    mixed("devices", &|r| match r.provenance.device.split_once(' ') {
        Some((_, name)) => name.to_owned(),
        None => r.provenance.device.split(':').next().unwrap_or_default().to_owned(),
    });
    mixed("libtorch", &|r| r.provenance.libtorch.clone());
    mixed("git commits", &|r| r.provenance.git_sha.clone());
    let dirty =
        sweep.runs().filter(|run| run.record.provenance.git_sha.ends_with("-dirty")).count();
    if dirty > 0 {
        notes.push(format!(
            "{} from a working tree with uncommitted changes.",
            plural(dirty, "run")
        ));
    }
    notes
}

/// "1 run", "2 runs".
pub fn plural(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::testing::*;
    use super::*;
    use wninit_core::grid::{Condition, Expectation, Metric};

    /// The plan of these jobs.
    fn plan(jobs: &[Job]) -> Vec<(JobId, Job)> {
        jobs.iter().map(|job| (job.id(), job.clone())).collect()
    }

    fn of(records: &[Record]) -> Summary {
        Summary::new(&Input { records, ..Input::default() }).unwrap()
    }

    fn seeds(n: i64) -> Vec<Job> {
        (0..n).map(|seed| job(&[whole("seed", seed)])).collect()
    }

    #[test]
    fn a_diverged_run_counts_as_a_guess_in_the_headline_and_is_counted() {
        let jobs = seeds(3);
        let summary = of(&[ok(&jobs[0], 0.9, 0.8), diverged(&jobs[1]), ok(&jobs[2], 0.9, 0.9)]);
        let cell = &summary.cells[0];
        assert_eq!((cell.n_finished, cell.n_ok, cell.n_diverged, cell.n_at_chance), (3, 2, 1, 0));
        assert!((cell.mean.unwrap() - 0.6).abs() < 1e-12);
        assert!((cell.mean_converged.unwrap() - 0.85).abs() < 1e-12);
        assert_eq!((cell.min, cell.median, cell.max), (Some(0.1), Some(0.8), Some(0.9)));
        assert!((cell.success_rate.unwrap() - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_run_that_does_not_beat_guessing_is_at_chance_and_no_success() {
        // Of 360 test images, guessing gets at most 59 right with probability 0.9999.
        let jobs = seeds(3);
        let accuracies = [0.1, 59.0 / 360.0, 60.0 / 360.0];
        let records: Vec<Record> =
            jobs.iter().zip(accuracies).map(|(job, acc)| ok(job, acc, acc)).collect();
        let cell = &of(&records).cells[0];
        assert_eq!((cell.n_ok, cell.n_at_chance), (3, 2));
        assert_eq!(cell.success_rate, Some(1.0 / 3.0));
    }

    #[test]
    fn what_failed_or_is_missing_is_counted_and_what_was_mended_is_not() {
        let jobs = seeds(4);
        let summary = Summary::new(&Input {
            planned: &plan(&jobs),
            records: &[ok(&jobs[0], 0.9, 0.9)],
            failed: &[jobs[0].id(), jobs[1].id(), jobs[1].id()],
            ..Input::default()
        })
        .unwrap();
        let cell = &summary.cells[0];
        assert_eq!((cell.n_planned, cell.n_finished, cell.n_failed, cell.n_missing), (4, 1, 1, 2));
        assert_eq!(summary.counts.missing, 2);
        assert_eq!((cell.mean, cell.sd, cell.mean_interval), (Some(0.9), None, None));
    }

    #[test]
    fn a_sweep_with_no_rows_or_no_plan_at_all_has_a_summary() {
        assert!(of(&[]).tables().iter().all(|table| table.rows.is_empty()));
        let jobs = seeds(2);
        let summary = Summary::new(&Input { planned: &plan(&jobs), ..Input::default() }).unwrap();
        assert_eq!((summary.cells[0].n_missing, summary.cells[0].mean), (2, None));
        assert_eq!(summary.initializers[0].iqm, None);
    }

    #[test]
    fn every_column_is_documented_and_every_row_is_complete() {
        let summary = of(&depth_sweep());
        for table in summary.tables() {
            let named: HashSet<&String> = table.columns.iter().collect();
            assert_eq!(named.len(), table.columns.len(), "{}", table.name);
            assert!(
                table.rows.iter().all(|row| row.len() == table.columns.len()),
                "{}",
                table.name
            );
        }
        let names: Vec<String> = summary.tables().remove(0).columns;
        assert_eq!(
            names.join(", "),
            "depth, init, lr, n_planned, n_finished, n_ok, n_diverged, n_at_chance, n_failed, n_missing, \
             success_rate, success_low, success_high, mean, sd, min, median, max, mean_low, mean_high, \
             mean_converged, sd_converged"
        );
    }

    #[test]
    fn the_learning_rate_is_chosen_on_validation_and_never_on_test() {
        let records: Vec<Record> = (0..3)
            .flat_map(|seed| {
                let at = |rate| job(&[lr(rate), whole("seed", seed)]);
                // The second is better on the test set, which must not matter.
                [ok(&at(0.01), 0.9, 0.7), ok(&at(0.1), 0.8, 0.95)]
            })
            .collect();
        let summary = of(&records);
        assert_eq!(summary.chosen, [0]);
        assert_eq!(summary.initializers[0].iqm_best_lr, Some(0.7));
    }

    #[test]
    fn an_initializer_is_described_by_where_it_trains() {
        let summary = of(&depth_sweep());
        let [default, datadep, proposed] = &summary.initializers[..] else { panic!() };
        assert!(default.is_baseline);
        assert_eq!(
            (default.deepest, proposed.deepest, proposed.deepest_tested),
            (Some(2), Some(50), Some(50))
        );
        assert_eq!((datadep.n_diverged, default.n_at_chance, proposed.n_at_chance), (10, 10, 5));
        assert_eq!(proposed.success_rate, Some(0.75));
        // Both rates at depth 2, one at depth 50: a decade and nothing.
        assert_eq!((proposed.lr_usable, proposed.lr_band_decades), (Some(0.75), Some(0.5)));
        assert_eq!((datadep.lr_usable, datadep.lr_band_decades), (Some(0.5), Some(0.5)));
        // At depth 2 the best is 0.9 or 0.901; at depth 50 it is proposed's own 0.8.
        assert_eq!((default.near_best, proposed.near_best), (Some(0.25), Some(0.5)));
        let difference = proposed.difference.unwrap();
        assert_eq!(difference.n, 5);
        assert!((difference.mean - (0.001 + 0.7) / 2.0).abs() < 1e-9, "{difference:?}");
    }

    #[test]
    fn pairs_are_differences_by_seed_with_holm_over_all_of_them() {
        let summary = of(&depth_sweep());
        assert_eq!(summary.pairs.len(), 4);
        for cell in &summary.cells {
            let at: Vec<usize> = summary.arm_axes.iter().map(|&axis| cell.at[axis]).collect();
            assert_eq!(summary.initializers[cell.arm].at, at, "a cell belongs to its own arm");
        }
        let deep = summary.pairs.iter().find(|p| p.context == [1] && p.arm == 2).unwrap();
        assert_eq!((deep.lr, deep.baseline_lr, deep.n_arm), (0.01, 0.01, 5));
        let difference = deep.difference.unwrap();
        assert!((difference.mean - 0.7).abs() < 1e-9);
        assert!((deep.p_holm.unwrap() - 4.0 * difference.p.unwrap()).abs() < 1e-12);
        assert_eq!(deep.better.unwrap().value, 1.0);
    }

    #[test]
    fn the_baseline_is_the_default_gain_then_datadep_then_what_was_asked_for() {
        let records = depth_sweep();
        let label = |records: &[Record], baseline| {
            let summary = Summary::new(&Input { records, baseline, ..Input::default() })?;
            Ok::<_, SummaryError>(summary.initializers[summary.baseline.unwrap()].label.clone())
        };
        assert_eq!(label(&records, None).unwrap(), "orthogonal");
        let without: Vec<Record> =
            records.iter().filter(|r| r.job.init.name() != "orthogonal").cloned().collect();
        assert_eq!(label(&without, None).unwrap(), "orthogonal_datadep");
        let asked = "orthogonal_proposed".parse().ok();
        assert_eq!(label(&records, asked).unwrap(), "orthogonal_proposed");
        let error = label(&without, "orthogonal".parse().ok()).unwrap_err().to_string();
        assert!(error.contains("orthogonal_datadep, orthogonal_proposed"), "{error}");
    }

    #[test]
    fn two_norms_with_one_initializer_are_two_arms() {
        let mut records = Vec::new();
        for seed in 0..2 {
            for norm in ["weight", "none"] {
                let norm = ("norm", Value::Text(norm.to_owned()));
                records.push(ok(&job(&[init("orthogonal"), norm, whole("seed", seed)]), 0.9, 0.9));
            }
        }
        let summary = of(&records);
        let labels: Vec<&str> = summary.initializers.iter().map(|s| s.label.as_str()).collect();
        assert_eq!(labels, ["orthogonal", "orthogonal+nonorm"]);
        assert_eq!(summary.baseline, Some(0));
    }

    #[test]
    fn a_warm_up_that_only_some_have_makes_an_arm_and_one_that_all_have_does_not() {
        let warm = |name: &str, epochs: i64, seed: i64| {
            let epochs = ("warmup_epochs", Value::Integer(epochs));
            let job = job(&[init(name), whole("epochs", 8), epochs, whole("seed", seed)]);
            ok(&job, 0.9, 0.9)
        };
        let mut records: Vec<Record> = (0..3)
            .flat_map(|seed| {
                [
                    warm("orthogonal", 0, seed),
                    warm("orthogonal_proposed", 0, seed),
                    warm("orthogonal_proposed", 5, seed),
                ]
            })
            .collect();
        let summary = of(&records);
        let labels: Vec<&str> = summary.initializers.iter().map(|s| s.label.as_str()).collect();
        let expected = ["orthogonal", "orthogonal_proposed", "orthogonal_proposed+warmup5"];
        assert_eq!(labels, expected);
        assert_eq!((summary.baseline, summary.recommendations.len()), (Some(0), 1));
        assert_eq!(summary.recommendations[0].rivals.len(), 2);
        assert_eq!(summary.pairs.len(), 2);

        records.extend((0..3).map(|seed| warm("orthogonal", 5, seed)));
        let summary = of(&records);
        assert_eq!((summary.initializers.len(), summary.pairs.len()), (2, 2));
    }

    #[test]
    fn a_claim_that_would_take_thousands_of_seeds_names_no_number() {
        let records = depth_sweep();
        let of = |margin| {
            settle(
                &records,
                claim(
                    Metric::TestAcc,
                    50,
                    compare("orthogonal_proposed", "orthogonal_datadep", margin),
                ),
            )
        };
        let gap = |margin: f64| (of(margin).estimate.unwrap() - margin).abs();
        assert!(gap(0.6999) < 0.001);
        let hopeless = of(0.6999);
        assert_eq!((hopeless.verdict, hopeless.seeds_needed), (Verdict::Undecided, None));
        assert_eq!(hopeless.seconds_needed, None);
        assert!(hopeless.reason().ends_with("more seeds will hardly decide it."));
    }

    #[test]
    fn what_makes_numbers_hard_to_compare_is_said_out_loud() {
        let mut records = depth_sweep();
        records.pop();
        records[0].provenance.device = "cuda:0 NVIDIA H200".to_owned();
        records[1].provenance.device = "cuda:1 NVIDIA H200".to_owned();
        records[2].provenance.git_sha = "def-dirty".to_owned();
        records.push(records[3].clone());
        let jobs: Vec<Job> = records[1..].iter().map(|r| r.job.clone()).collect();
        let summary =
            Summary::new(&Input { planned: &plan(&jobs), records: &records, ..Input::default() })
                .unwrap();
        let notes = summary.notes.join("\n");
        for expected in [
            "Unequal n: cells have between 4 and 5 finished runs.",
            "Mixed devices: NVIDIA H200 (1 runs), cpu (57 runs).",
            "Mixed git commits: abc (57 runs), def-dirty (1 runs).",
            "1 run from a working tree with uncommitted changes.",
            "1 finished run in runs.csv belongs to no job of plan.csv",
            "1 further row for a job that has one already",
            "Fewer than 10 seeds",
        ] {
            assert!(notes.contains(expected), "{expected}\n{notes}");
        }
    }

    #[test]
    fn the_spread_of_an_initializer_that_dies_is_not_taken_for_stability() {
        let summary = of(&depth_sweep());
        let row = |arm, scope| {
            summary.variance.iter().find(|v| v.arm == arm && v.scope == scope).unwrap().clone()
        };
        let datadep = row(1, Scope::Success);
        assert_eq!((datadep.n_cells, datadep.pooled.unwrap().df), (2, 8));
        assert_eq!(row(1, Scope::All).n_cells, 4);
        // Proposed succeeds in three cells, of which the baseline succeeds in two.
        let proposed = row(2, Scope::Success);
        assert_eq!((proposed.n_cells, proposed.n_common), (3, 2));
        assert!((proposed.ratio.unwrap().value - 1.2).abs() < 1e-9);
    }

    fn claim(metric: Metric, depth: i64, expect: Expectation) -> Claim {
        let depth = Condition::new(Field::named("depth").unwrap(), vec![Value::Integer(depth)]);
        Claim::new("It trains.", metric, vec![depth], expect)
    }

    fn compare(better: &str, than: &str, margin: f64) -> Expectation {
        let value = |name: &str| Value::Text(name.to_owned());
        Expectation::compare(Field::named("init").unwrap(), value(better), value(than), margin)
    }

    fn settle(records: &[Record], claim: Claim) -> ClaimResult {
        Summary::new(&Input { records, claims: &[claim], ..Input::default() })
            .unwrap()
            .claims
            .remove(0)
    }

    #[test]
    fn a_claim_is_supported_refuted_or_undecided_by_its_interval() {
        let records = depth_sweep();
        let of = |better, than, margin| {
            settle(&records, claim(Metric::TestAcc, 50, compare(better, than, margin)))
        };
        let supported = of("orthogonal_proposed", "orthogonal_datadep", 0.1);
        assert_eq!(
            (supported.verdict, supported.n, supported.seeds_needed),
            (Verdict::Supported, 5, None)
        );
        assert_eq!(of("orthogonal_datadep", "orthogonal_proposed", 0.1).verdict, Verdict::Refuted);
        assert_eq!(of("orthogonal_proposed", "orthogonal_datadep", 0.8).verdict, Verdict::Refuted);
        let undecided = of("orthogonal_proposed", "orthogonal_datadep", 0.695);
        assert_eq!(undecided.verdict, Verdict::Undecided);
        let needed = estimates::required_seeds(
            0.005,
            undecided.sd.unwrap(),
            estimates::Design::Paired,
            LEVEL,
            estimates::POWER,
        );
        assert_eq!(undecided.seeds_needed, needed);
        // One more seed: two initializers at two learning rates, ten seconds each.
        assert!(
            (undecided.seconds_needed.unwrap() - (needed.unwrap() - 5) as f64 * 40.0).abs() < 1e-9
        );
        assert!(undecided.reason().contains("more seeds"), "{}", undecided.reason());
    }

    #[test]
    fn arms_of_several_fields_are_compared_and_validation_chooses_what_a_side_leaves_open() {
        let records = depth_sweep();
        let condition =
            |name: &str, value: Value| Condition::new(Field::named(name).unwrap(), vec![value]);
        let init = |name: &str| condition("init", Value::Text(name.to_owned()));
        let of = |better: Vec<Condition>| {
            let than = vec![init("orthogonal_datadep")];
            settle(
                &records,
                claim(Metric::TestAcc, 50, Expectation::Compare { better, than, margin: -0.01 }),
            )
        };
        // The other rate than validation's choice, named; then left to validation.
        let rates: BTreeSet<String> =
            records.iter().map(|record| record.job.lr.to_string()).collect();
        let estimates: Vec<f64> = rates
            .iter()
            .map(|lr| Value::Float(lr.parse().unwrap()))
            .map(|lr| of(vec![init("orthogonal_proposed"), condition("lr", lr)]))
            .filter_map(|result| result.estimate)
            .collect();
        assert_eq!(estimates.len(), 2);
        let chosen = of(vec![init("orthogonal_proposed")]).estimate.unwrap();
        assert!(estimates.contains(&chosen) && estimates[0] != estimates[1], "{estimates:?}");
        assert!(of(vec![init("orthogonal_proposed")]).test.ends_with("> -0.01"));

        // Not shown to be better, but no worse by a hundredth.
        let shallow = |margin| {
            let sides = [vec![init("orthogonal_proposed")], vec![init("orthogonal")]];
            let [better, than] = sides;
            let compare = Expectation::Compare { better, than, margin };
            settle(&records, claim(Metric::TestAcc, 2, compare)).verdict
        };
        assert_eq!((shallow(0.0), shallow(-0.01)), (Verdict::Undecided, Verdict::Supported));
    }

    #[test]
    fn of_a_share_of_runs_every_learning_rate_counts() {
        let records: Vec<Record> = seeds(6)
            .iter()
            .flat_map(|job| {
                let high = job.with(&[("lr", Value::Float(0.5))]).unwrap();
                [ok(job, 0.9, 0.9), diverged(&high)]
            })
            .collect();
        let all = Expectation::Within { at_least: None, at_most: Some(0.5) };
        let result = settle(&records, Claim::new("", Metric::Diverged, Vec::new(), all));
        assert_eq!((result.estimate, result.n, result.n_contexts), (Some(0.5), 6, 2));
    }

    #[test]
    fn a_smaller_loss_is_the_better_one() {
        let mut records = depth_sweep();
        for record in &mut records {
            if record.job.init.name() == "orthogonal_proposed" {
                record.test_loss = record.test_acc.map(|acc| 1.0 - acc);
            }
        }
        let result = settle(
            &records,
            claim(Metric::TestLoss, 50, compare("orthogonal_proposed", "orthogonal_datadep", 0.1)),
        );
        assert_eq!(result.verdict, Verdict::Supported);
        // A diverged run's loss is that of a guess.
        assert!((result.estimate.unwrap() - (10.0_f64.ln() - 0.2)).abs() < 1e-9);
    }

    #[test]
    fn a_share_in_one_setting_is_judged_by_wilsons_interval() {
        let records: Vec<Record> = seeds(20).iter().map(|job| ok(job, 0.9, 0.9)).collect();
        let within = |at_least, at_most| {
            Claim::new("", Metric::Diverged, Vec::new(), Expectation::Within { at_least, at_most })
        };
        assert_eq!(settle(&records, within(None, Some(0.2))).verdict, Verdict::Supported);
        assert_eq!(settle(&records, within(Some(0.5), None)).verdict, Verdict::Refuted);
        let undecided = settle(&records, within(None, Some(0.1)));
        assert_eq!((undecided.verdict, undecided.seeds_needed), (Verdict::Undecided, Some(35)));
    }

    #[test]
    fn a_claim_about_jobs_that_do_not_exist_is_undecided() {
        let result =
            settle(&depth_sweep(), claim(Metric::TestAcc, 7, compare("orthogonal", "he", 0.0)));
        assert_eq!((result.verdict, result.n, result.estimate), (Verdict::Undecided, 0, None));
        assert!(result.reason().contains("no finished seeds"));
    }

    #[test]
    fn a_published_number_stands_beside_ours_at_the_rate_that_validation_chose() {
        let condition =
            |name: &str, value| Condition::new(Field::named(name).unwrap(), vec![value]);
        let filter = vec![
            condition("depth", Value::Integer(50)),
            condition("init", Value::Text("orthogonal_proposed".to_owned())),
        ];
        let number = Published::new(filter, Metric::TestAcc, 0.97);
        let records = depth_sweep();
        let summary =
            Summary::new(&Input { records: &records, published: &[number], ..Input::default() })
                .unwrap();
        let row = &summary.published[0];
        assert_eq!((row.n, row.r#where.as_str()), (5, "depth = 50, init = orthogonal_proposed"));
        assert!(
            (row.mean.unwrap() - 0.8).abs() < 1e-9 && (row.difference.unwrap() + 0.17).abs() < 1e-9
        );
    }
}
