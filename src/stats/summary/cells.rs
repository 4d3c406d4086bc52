//! The cells of a sweep: groups of runs that differ only in their seeds.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::iter::Sum;
use std::ops::Deref;

use rayon::prelude::*;

use super::arms::arm_axes;
use super::{Input, columns};
use crate::describe;
use crate::inference::Inference;
use crate::interval::{self, Estimate, FRACTION, Interval};
use wninit_core::columns;
use wninit_core::job::{Field, Init, Job, JobId, SEED_FIELDS, Value};
use wninit_core::plan::varying;
use wninit_core::results::{Curvature, Outcome, Record};
use wninit_core::table::{Column, Datum};

/// The probability that a network which does not look at the image is recognised as such.
const CHANCE_CONFIDENCE: f64 = 0.9999;

/// The largest accuracy on so many images of a network that does not look at them, which does best
/// if it always answers with the largest class: the quantile of Binomial(images, `share`).
pub(super) fn chance_bound(images: usize, share: f64) -> f64 {
    interval::binomial_bound(images, share, CHANCE_CONFIDENCE)
}

/// The share of the test images that are of their largest class.
pub(super) fn largest_class(record: &Record) -> f64 {
    record.test_largest_class.unwrap_or(record.job.dataset.largest_class())
}

/// A field with more than one value in the sweep.
#[derive(Clone)]
pub struct SweepAxis {
    /// The field.
    pub field: &'static Field,
    /// Its values: numbers ascending, words in the order in which the plan has them. `None` is "does not apply".
    pub values: Vec<Option<Value>>,
}

impl SweepAxis {
    /// The value's text; empty for "does not apply". Own initializers of one name have a part of
    /// their definition's hash behind it.
    pub fn label(&self, at: usize) -> String {
        let text = self.values[at].as_ref().map(Value::in_words).unwrap_or_default();
        match &self.values[at] {
            Some(Value::Init(Init::Own { rule, .. }))
                if self.values.iter().flatten().filter(|v| v.to_string() == text).count() > 1 =>
            {
                format!("{text}@{}", rule.fingerprint())
            }
            _ => text,
        }
    }

    /// The field with the value: `depth 10`, `k none`.
    pub(super) fn in_words(&self, at: usize) -> String {
        let label = self.label(at);
        format!("{} {}", self.field.name, if label.is_empty() { "none" } else { &label })
    }

    pub(super) fn datum(&self, at: usize) -> Datum {
        match &self.values[at] {
            None => Datum::Empty,
            Some(Value::Integer(n)) if *n >= 0 => Datum::Count(*n as u64),
            Some(Value::Integer(n)) => Datum::Number(*n as f64),
            Some(Value::Float(x)) => Datum::Number(*x),
            Some(_) => Datum::Text(self.label(at)),
        }
    }
}

/// (init_seed, data_seed), which distinguishes the runs of a cell.
pub type Seed = (u64, u64);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnding {
    /// It finished with a test accuracy better than any network that does not look at the image.
    Success,
    /// It finished with a test accuracy that needs no look at the image.
    AtChance,
    /// It diverged.
    Diverged,
}

/// A finished run in its cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    pub record: &'a Record,
    pub summary: RunSummary,
    /// Whether its seed is finished in every arm, at every learning rate, of its context. Runs that
    /// diverge end first, so the runs of an unfinished sweep are a biased sample.
    pub whole: bool,
}

impl Deref for Run<'_> {
    type Target = RunSummary;
    fn deref(&self) -> &RunSummary {
        &self.summary
    }
}

impl Run<'_> {
    /// The test accuracy; that of a guess if the run failed.
    pub(super) fn composite(&self) -> Option<f64> {
        match self.ending {
            RunEnding::Success => self.accuracy,
            _ => Some(chance(&self.record.job)),
        }
    }

    /// The test accuracy by the convention of the paper's authors, who stop training at divergence
    /// and test the best checkpoint; a guess only if there is none.
    pub(super) fn best_checkpoint(&self) -> Option<f64> {
        match (self.ending, self.record.epochs_done) {
            (RunEnding::Diverged, 0) => Some(chance(&self.record.job)),
            (RunEnding::Diverged, _) => self.record.test_acc.filter(is_fraction),
            _ => self.accuracy,
        }
    }

    /// The best validation accuracy; 1/classes if the run diverged. This chooses learning rates.
    pub(super) fn validation(&self) -> Option<f64> {
        match self.ending {
            RunEnding::Diverged => Some(chance(&self.record.job)),
            _ => self.record.best_val_acc.filter(is_fraction),
        }
    }
}

/// Whether an accuracy is from 0 to 1.
pub(super) fn is_fraction(x: &f64) -> bool {
    (0.0..=1.0).contains(x)
}

/// The accuracy of a guess.
pub fn chance(job: &Job) -> f64 {
    1.0 / job.dataset.classes() as f64
}

/// Runs that differ only in their seeds.
#[derive(Clone, Debug)]
pub(crate) struct Cell<'a> {
    /// The index of its value on each axis.
    pub at: Vec<usize>,
    /// One of its jobs.
    pub job: &'a Job,
    /// The seeds in the plan.
    pub planned: BTreeSet<Seed>,
    /// Jobs that were tried, failed, and are not finished.
    pub failed: usize,
    /// Finished jobs, by seed.
    pub runs: Vec<Run<'a>>,
    /// Curvature of the loss at initialization, by seed; its jobs need not be trained.
    pub curvatures: BTreeMap<Seed, &'a Curvature>,
}

impl Cell<'_> {
    /// The planned seeds without a run.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = Seed> {
        let is_finished = |seed| self.runs.binary_search_by_key(&seed, |run| run.seed).is_ok();
        let all = self.runs.len() == self.planned.len();
        self.planned.iter().copied().filter(move |&seed| !all && !is_finished(seed))
    }

    /// The runs that count in tables and figures.
    pub(super) fn counted(&self) -> impl Iterator<Item = &Run<'_>> {
        self.runs.iter().filter(|run| run.whole)
    }

    /// The test accuracies of the counted runs that train.
    pub(super) fn trained(&self) -> Vec<f64> {
        let trained = self.counted().filter(|run| run.ending == RunEnding::Success);
        trained.filter_map(|run| run.accuracy).collect()
    }

    /// Counted runs that train, and counted runs.
    pub(super) fn success(&self) -> (usize, usize) {
        let trained = self.counted().filter(|run| run.ending == RunEnding::Success);
        (trained.count(), self.counted().count())
    }

    /// Whether most of its runs train; `None` if none counts.
    pub(super) fn trains(&self) -> Option<bool> {
        let (k, n) = self.success();
        (n > 0).then_some(2 * k > n)
    }

    pub(super) fn validation(&self) -> Option<f64> {
        describe::mean(&self.counted().filter_map(Run::validation).collect::<Vec<_>>())
    }
}

/// A finished run, for figures.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct RunSummary {
    pub id: JobId,
    pub seed: Seed,
    pub ending: RunEnding,
    /// Test accuracy, 1/classes if it diverged; `None` if it was not measured.
    pub accuracy: Option<f64>,
    /// Whole epochs before it ended.
    pub epochs_done: u32,
}

/// Jobs by outcome: `finished = ok + diverged`; those at chance are `ok`, and those left out are
/// `finished`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // COLUMNS documents each
pub struct Counts {
    pub planned: usize,
    pub finished: usize,
    pub ok: usize,
    pub diverged: usize,
    pub at_chance: usize,
    pub failed: usize,
    pub missing: usize,
    pub left_out: usize,
}

impl Counts {
    pub(super) fn of(cell: &Cell) -> Counts {
        let count = |ending| cell.runs.iter().filter(|run| run.ending == ending).count();
        let (finished, diverged) = (cell.runs.len(), count(RunEnding::Diverged));
        Counts {
            planned: cell.planned.len(),
            finished,
            ok: finished - diverged,
            diverged,
            at_chance: count(RunEnding::AtChance),
            failed: cell.failed,
            missing: cell.planned.len().saturating_sub(finished + cell.failed),
            left_out: finished - cell.counted().count(),
        }
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Counts>>(counts: I) -> Counts {
        counts.fold(Counts::default(), |a, b| Counts {
            planned: a.planned + b.planned,
            finished: a.finished + b.finished,
            ok: a.ok + b.ok,
            diverged: a.diverged + b.diverged,
            at_chance: a.at_chance + b.at_chance,
            failed: a.failed + b.failed,
            missing: a.missing + b.missing,
            left_out: a.left_out + b.left_out,
        })
    }
}

/// A cell's statistics: a row of `cells.csv`, which `COLUMNS` documents.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // COLUMNS documents each
pub struct CellSummary {
    /// The index of its value on each axis.
    pub at: Vec<usize>,
    /// The arm, an index into the summary's `initializers`.
    pub arm: usize,
    /// One of its jobs, for the shared fields.
    pub job: Job,
    /// Its runs that count, by seed.
    pub runs: Vec<RunSummary>,
    pub counts: Counts,
    /// Runs that train.
    pub trained: usize,
    pub success: Option<Estimate>,
    /// The mean test accuracy of the runs that train.
    pub accuracy: Option<f64>,
    pub accuracy_sd: Option<f64>,
    pub accuracy_interval: Option<Interval>,
    /// The mean over all runs; a run that fails counts as a guess.
    pub mean: Option<f64>,
    pub sd: Option<f64>,
    pub mean_interval: Option<Interval>,
    /// The mean over all runs; a run that diverges counts with its best checkpoint.
    pub best_checkpoint: Option<f64>,
}

impl CellSummary {
    pub(super) fn of(cell: &Cell, arm: usize) -> CellSummary {
        let all: Vec<f64> = cell.counted().filter_map(|run| run.composite()).collect();
        let best_checkpoint: Option<Vec<f64>> = cell.counted().map(Run::best_checkpoint).collect();
        let trained = cell.trained();
        let (k, n) = cell.success();
        let composite = Inference::Bounded(all.clone(), FRACTION);
        CellSummary {
            at: cell.at.clone(),
            arm,
            job: cell.job.clone(),
            runs: cell.counted().map(|run| run.summary).collect(),
            counts: Counts::of(cell),
            trained: k,
            success: (n > 0).then(|| Inference::Share { k, n }.with_interval()),
            accuracy: describe::mean(&trained),
            accuracy_sd: describe::sd(&trained),
            accuracy_interval: Inference::mean(&trained, FRACTION)
                .map(|mean| mean.with_interval().interval),
            mean: describe::mean(&all),
            sd: describe::sd(&all),
            mean_interval: (all.len() > 1).then(|| composite.with_interval().interval),
            best_checkpoint: best_checkpoint.and_then(|all| describe::mean(&all)),
        }
    }
}

/// The columns of `cells.csv`.
pub(super) static COLUMNS: &[Column<CellSummary>] = columns![CellSummary;
    "n_planned": "jobs", columns::PLANNED, "" => |c| c.counts.planned;
    "n_finished": "jobs", columns::FINISHED, "" => |c| c.counts.finished;
    "n_ok": "jobs", columns::OK, "" => |c| c.counts.ok;
    "n_diverged": "jobs", columns::DIVERGED, "" => |c| c.counts.diverged;
    "n_at_chance": "jobs", columns::AT_CHANCE, "" => |c| c.counts.at_chance;
    "n_failed": "jobs", columns::FAILED, "" => |c| c.counts.failed;
    "n_missing": "jobs", columns::MISSING, "" => |c| c.counts.missing;
    "n_left_out": "jobs", columns::LEFT_OUT, "" => |c| c.counts.left_out;
    "n": "jobs", columns::COUNTED, "" => |c| c.runs.len();
    "n_trained": "jobs", columns::TRAINED, "" => |c| c.trained;
    "success": "fraction", "n_trained / n", columns::NOTHING_FINISHED => |c| c.success.map(|s| s.value);
    "success_low": "fraction", "lower end of its 95 % Clopper-Pearson interval", columns::NOTHING_FINISHED
        => |c| c.success.map(|s| s.interval.low);
    "success_high": "fraction", "upper end of its 95 % Clopper-Pearson interval", columns::NOTHING_FINISHED
        => |c| c.success.map(|s| s.interval.high);
    "acc": "fraction", "mean test accuracy of the n_trained jobs", "none trained" => |c| c.accuracy;
    "acc_sd": "fraction", "standard deviation (n - 1) of the same", "fewer than two trained" => |c| c.accuracy_sd;
    "acc_low": "fraction", "lower end of the 95 % Student t interval of acc within [0, 1] (Gaffke's bound if all are equal)", "fewer than two trained"
        => |c| c.accuracy_interval.map(|i| i.low);
    "acc_high": "fraction", "upper end of the 95 % interval of acc", "as acc_low"
        => |c| c.accuracy_interval.map(|i| i.high);
    "mean": "fraction", "mean test accuracy of the n jobs, with a guess, 1/classes, for those that did not train", columns::NOTHING_FINISHED
        => |c| c.mean;
    "sd": "fraction", "standard deviation (n - 1) of the same", columns::NO_INTERVAL => |c| c.sd;
    "mean_low": "fraction", "lower end of the 95 % interval of mean, Gaffke's bound", columns::NO_INTERVAL
        => |c| c.mean_interval.map(|i| i.low);
    "mean_high": "fraction", "upper end of the 95 % interval of mean", columns::NO_INTERVAL
        => |c| c.mean_interval.map(|i| i.high);
    "mean_best_checkpoint": "fraction", "mean test accuracy of the n jobs by the convention of the paper's authors: for a job that diverged, that of its best epoch, or a guess if no epoch was whole",
        "nothing finished, or the rows are from a version that did not test diverged jobs"
        => |c| c.best_checkpoint;
];

/// The records in their cells.
pub(super) struct Cells<'a> {
    pub axes: Vec<SweepAxis>,
    /// Sorted by `at`.
    pub cells: Vec<Cell<'a>>,
    /// If an earlier sweep chose the learning rates, the cells with other rates. Only claims that
    /// name their learning rate use these cells.
    pub not_chosen: Option<BTreeSet<usize>>,
    /// The planned seeds in their order, so that a run's partner in another cell has its number.
    pub number: HashMap<Seed, u64>,
    /// Further rows of a job.
    pub duplicates: usize,
    /// Finished jobs that are not in the plan.
    pub unplanned: usize,
}

impl<'a> Cells<'a> {
    pub(super) fn new(input: &Input<'a>) -> Cells<'a> {
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
                    planned: BTreeSet::new(),
                    failed: 0,
                    runs: Vec::new(),
                    curvatures: BTreeMap::new(),
                });
                cells.len() - 1
            });
            if cell_of.insert(id, index).is_none() {
                cells[index].planned.insert((job.init_seed, job.data_seed));
            }
        }

        let mut bounds: HashMap<(usize, u64), f64> = HashMap::new();
        let mut seen: HashSet<JobId> = HashSet::with_capacity(ids.len());
        let (mut duplicates, mut unplanned) = (0, 0);
        for (&id, record) in ids.iter().zip(input.records) {
            let Some(&cell) = cell_of.get(&id) else {
                unplanned += 1;
                continue;
            };
            if !seen.insert(id) {
                duplicates += 1;
                continue;
            }
            let job = &record.job;
            let (images, share) = (job.tested(), largest_class(record));
            let bound = *bounds
                .entry((images, share.to_bits()))
                .or_insert_with(|| chance_bound(images, share));
            let measured = record.test_acc.filter(is_fraction);
            let (ending, accuracy) = match (record.outcome, measured) {
                (Outcome::Diverged, _) => (RunEnding::Diverged, Some(chance(job))),
                (Outcome::Ok, Some(x)) if x > bound => (RunEnding::Success, Some(x)),
                (Outcome::Ok, measured) => (RunEnding::AtChance, measured),
            };
            let seed = (job.init_seed, job.data_seed);
            let epochs_done = record.epochs_done;
            let summary = RunSummary { id, seed, ending, accuracy, epochs_done };
            cells[cell].runs.push(Run { record, summary, whole: true });
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
        let not_chosen = input.explored.map(|explored| {
            let other = |cell: &Cell| {
                explored.chosen_for(cell.job).is_some_and(|chosen| chosen.lr != cell.job.lr)
            };
            (0..cells.len()).filter(|&i| other(&cells[i])).collect()
        });
        let seeds: BTreeSet<Seed> = cells.iter().flat_map(|cell| &cell.planned).copied().collect();
        let number = seeds.into_iter().zip(0..).collect();
        let mut all = Cells { axes, cells, not_chosen, number, duplicates, unplanned };
        all.leave_out_partial_seeds();
        all
    }

    fn leave_out_partial_seeds(&mut self) {
        let tuned: Vec<usize> = arm_axes(self).into_iter().chain(self.axis("lr")).collect();
        for cells in self.group(&self.axes_without(&tuned)).into_values() {
            let mut unfinished: BTreeSet<Seed> = BTreeSet::new();
            for &i in &cells {
                unfinished.extend(self.cells[i].unfinished());
            }
            for i in cells {
                for run in &mut self.cells[i].runs {
                    run.whole = !unfinished.contains(&run.seed);
                }
            }
        }
    }

    pub(super) fn axis(&self, name: &str) -> Option<usize> {
        self.axes.iter().position(|axis| axis.field.name == name)
    }

    /// The axes with these names, in the order of the axes.
    pub(super) fn axes_among(&self, names: &[&str]) -> Vec<usize> {
        (0..self.axes.len()).filter(|&i| names.contains(&self.axes[i].field.name)).collect()
    }

    /// All axes but these.
    pub(super) fn axes_without(&self, without: &[usize]) -> Vec<usize> {
        (0..self.axes.len()).filter(|i| !without.contains(i)).collect()
    }

    /// All cells, by their place on some of the axes.
    pub(super) fn group(&self, by: &[usize]) -> BTreeMap<Vec<usize>, Vec<usize>> {
        self.group_these(0..self.cells.len(), by)
    }

    /// Some cells, by their place on some of the axes.
    pub(super) fn group_these(
        &self,
        cells: impl IntoIterator<Item = usize>,
        by: &[usize],
    ) -> BTreeMap<Vec<usize>, Vec<usize>> {
        let mut groups: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
        for index in cells {
            groups.entry(place(&self.cells[index], by)).or_default().push(index);
        }
        groups
    }

    /// Whether an earlier sweep chose another learning rate than that of the cell.
    pub(super) fn is_not_chosen(&self, cell: usize) -> bool {
        self.not_chosen.as_ref().is_some_and(|cells| cells.contains(&cell))
    }

    /// The cell with the best mean validation accuracy among cells that differ in their learning
    /// rate; a diverged run counts as a guess, and the first of equals is chosen. `None` if none
    /// has a run.
    pub(super) fn best(&self, cells: impl IntoIterator<Item = usize>) -> Option<usize> {
        let scored = cells.into_iter().filter_map(|i| Some((self.cells[i].validation()?, i)));
        highest(scored).map(|(_, index)| index)
    }

    pub(super) fn runs(&self) -> impl Iterator<Item = &Run<'a>> {
        self.cells.iter().flat_map(|cell| &cell.runs)
    }
}

/// The first with the highest score.
pub(super) fn highest(scored: impl Iterator<Item = (f64, usize)>) -> Option<(f64, usize)> {
    scored.reduce(|best, next| if next.0 > best.0 { next } else { best })
}

/// The place of a cell on some of the axes.
pub(super) fn place(cell: &Cell, axes: &[usize]) -> Vec<usize> {
    axes.iter().map(|&axis| cell.at[axis]).collect()
}

/// The fields that vary among the jobs, and each job's place on them.
pub(super) fn axes(jobs: &[(JobId, &Job)]) -> (Vec<SweepAxis>, Vec<Vec<usize>>) {
    let mut axes = Vec::new();
    let mut places = vec![Vec::new(); jobs.len()];
    let varying = varying(jobs.iter().map(|(_, job)| *job)).into_iter();
    for field in varying.filter(|field| !SEED_FIELDS.contains(&field.name)) {
        // Values in the order in which they first occur, then in their own.
        let mut number: HashMap<String, usize> = HashMap::new();
        let mut values: Vec<Option<Value>> = Vec::new();
        let found: Vec<usize> = jobs
            .iter()
            .map(|(_, job)| {
                let value = field.get(job);
                let text = match &value {
                    Some(Value::Init(Init::Own { rule, .. })) => rule.to_string(),
                    value => value.as_ref().map(Value::to_string).unwrap_or_default(),
                };
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
            a.partial_cmp(&b).unwrap_or(Ordering::Equal)
        });
        let mut rank = vec![0; order.len()];
        for (new, &old) in order.iter().enumerate() {
            rank[old] = new;
        }
        for (place, old) in places.iter_mut().zip(found) {
            place.push(rank[old]);
        }
        axes.push(SweepAxis {
            field,
            values: order.iter().map(|&old| values[old].clone()).collect(),
        });
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
