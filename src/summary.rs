//! Robustness, seed variance and claims: records in, tables out.
//!
//! A sweep is a box whose *axes* are the fields that take more than one value in its plan. The
//! seed fields aside, a point of the box is a [`Cell`]; its runs differ in their seeds alone, and the
//! seed is the unit of replication everywhere. Along the axes, the initializer (with the norm
//! that it is for) is the *arm*, the thing that is compared; `lr` is chosen for each arm on
//! validation accuracy, never on test accuracy; what is left is the *context* of a comparison.
//!
//! No run drops out in silence. A diverged run predicts nothing, so wherever an accuracy is
//! asked of it, it counts as a guess, 1/classes; a run that the machine cut short is no result and
//! is counted as failed; what was planned and is not there is counted as missing. Means over
//! converged runs alone are named so.

mod claims;
mod columns;
mod initializers;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rayon::prelude::*;

use crate::job::{Dataset, FIELDS, Field, Init, Job, JobId, SEED_FIELDS, Value};
use crate::results::{Outcome, Record};
use crate::stats::{self, Interval, LEVEL};
use crate::table::{Datum, Table};

pub use claims::{Claim, ClaimResult, Condition, Expectation, Metric, Published, PublishedResult, Verdict, duration};
pub use columns::{COLUMNS, ColumnDoc};
pub use initializers::{InitializerSummary, NEAR_BEST, PairSummary, Profile, Scope, VarianceSummary};

/// The probability with which a network that guesses is recognised as one: a test accuracy at or
/// below this quantile of Binomial(test images, 1/classes) is called *at chance*.
pub const CHANCE_CONFIDENCE: f64 = 0.9999;

/// What a summary is made of.
#[derive(Clone, Copy, Default)]
pub struct Input<'a> {
    /// The plan; where it is empty, the finished jobs are taken for it.
    pub planned: &'a [(JobId, Job)],
    /// The finished jobs.
    pub records: &'a [Record],
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
pub struct Run<'a> {
    /// The run.
    pub record: &'a Record,
    /// Its seeds.
    pub seed: Seed,
    /// How it ended.
    pub ending: Ending,
    /// Test accuracy, 1/classes if it diverged; `None` if it was not measured.
    pub accuracy: Option<f64>,
}

impl Run<'_> {
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
pub struct Cell<'a> {
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
}

impl Cell<'_> {
    /// Runs that ended so.
    pub fn count(&self, ending: Ending) -> usize {
        self.runs.iter().filter(|run| run.ending == ending).count()
    }

    /// The test accuracies of all finished runs, a diverged one at chance.
    pub fn accuracies(&self) -> Vec<f64> {
        self.runs.iter().filter_map(|run| run.accuracy).collect()
    }

    /// Whether most of its finished runs succeeded.
    pub fn trains(&self) -> bool {
        2 * self.count(Ending::Success) > self.runs.len()
    }

    fn validation(&self) -> Option<f64> {
        stats::mean(&self.runs.iter().filter_map(Run::validation).collect::<Vec<_>>())
    }
}

/// What is said of a cell: a row of `cells.csv`, whose columns [`COLUMNS`] documents.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // COLUMNS documents each
pub struct CellSummary {
    /// The index of its value on each axis.
    pub at: Vec<usize>,
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
    fn of(cell: &Cell) -> CellSummary {
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
            n_planned: cell.planned,
            n_finished,
            n_ok: n_finished - n_diverged,
            n_diverged,
            n_at_chance: cell.count(Ending::AtChance),
            n_failed: cell.failed,
            n_missing: cell.planned.saturating_sub(n_finished + cell.failed),
            success_rate: (n_finished > 0).then(|| successes as f64 / n_finished as f64),
            success: stats::wilson(successes, n_finished, LEVEL),
            mean: stats::mean(&accuracies),
            sd: stats::sd(&accuracies),
            min: stats::quantile(&accuracies, 0.0),
            median: stats::median(&accuracies),
            max: stats::quantile(&accuracies, 1.0),
            mean_interval: stats::mean_interval(&accuracies, LEVEL),
            mean_converged: stats::mean(&converged),
            sd_converged: stats::sd(&converged),
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
    /// The axes that tell the arms apart: none, `norm`, `init` or both.
    pub arm_axes: Vec<usize>,
    /// The arm that the others are compared with; an index into `initializers`.
    pub baseline: Option<usize>,
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
                cells.push(Cell { at: at.clone(), job, planned: 0, failed: 0, runs: Vec::new() });
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
            let bound = *bounds
                .entry(job.dataset)
                .or_insert_with(|| stats::binomial_bound(job.dataset.images().1, chance(job), CHANCE_CONFIDENCE));
            let measured = record.test_acc.filter(|x| x.is_finite());
            let (ending, accuracy) = match (record.outcome, measured) {
                (Outcome::Diverged, _) => (Ending::Diverged, Some(chance(job))),
                (Outcome::Ok, Some(x)) if x > bound => (Ending::Success, Some(x)),
                (Outcome::Ok, measured) => (Ending::AtChance, measured),
            };
            cells[cell].runs.push(Run { record, seed: (job.init_seed, job.data_seed), ending, accuracy });
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
    let Some(&(_, first)) = jobs.first() else { return (axes, places) };
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
            let [a, b] = [a, b].map(|i| values[i].as_ref().map(|v| as_number(v).unwrap_or(f64::INFINITY)));
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
        let cells: Vec<CellSummary> = sweep.cells.par_iter().map(CellSummary::of).collect();
        let arms = initializers::Arms::new(&sweep, input.baseline)?;
        let (claims, published) = claims::settle(&sweep, input.claims, input.published);
        let mut chosen: Vec<usize> = arms.chosen().map(|(_, cell)| cell).collect();
        chosen.sort_unstable();
        Ok(Summary {
            constants: constants(&sweep),
            counts: sweep.counts(&cells),
            chosen,
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
            .chain(COLUMNS.iter().filter(|c| c.table == name).map(|c| c.name))
            .map(str::to_owned)
            .collect();
        Table { name, columns, rows }
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
                [c.n_planned, c.n_finished, c.n_ok, c.n_diverged, c.n_at_chance, c.n_failed, c.n_missing]
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
        "dataset", "train_images", "model", "depth", "width", "blocks", "k", "norm", "init", "precision", "lr",
        "epochs",
    ];
    let Some(cell) = sweep.cells.first() else { return Vec::new() };
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
            notes.push("One seed a cell: no spread, no interval, no test can be computed.".to_owned());
        } else if least < stats::BOOTSTRAP_MIN && arms.any() {
            notes.push(format!(
                "Fewer than {} seeds in a cell: no bootstrap interval of the interquartile mean.",
                stats::BOOTSTRAP_MIN
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
            notes.push(format!("Mixed {what}: {}.", each.chain(rest).collect::<Vec<_>>().join(", ")));
        }
    };
    // Which of a machine's equal GPUs it was does not matter.
    mixed("devices", &|r| match r.provenance.device.split_once(' ') {
        Some((_, name)) => name.to_owned(),
        None => r.provenance.device.split(':').next().unwrap_or_default().to_owned(),
    });
    mixed("libtorch", &|r| r.provenance.libtorch.clone());
    mixed("git commits", &|r| r.provenance.git_sha.clone());
    let dirty = sweep.runs().filter(|run| run.record.provenance.git_sha.ends_with("-dirty")).count();
    if dirty > 0 {
        notes.push(format!("{} from a working tree with uncommitted changes.", plural(dirty, "run")));
    }
    notes
}

/// "1 run", "2 runs".
pub fn plural(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
