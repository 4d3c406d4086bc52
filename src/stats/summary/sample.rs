//! The runs that a claim or a published number is about, by setting and seed.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Seed;
use super::cells::{Cells, Run, RunEnding, chance, highest, is_fraction};
use super::claims::Measure;
use crate::describe;
use crate::interval::Interval;
use crate::verdict::Arm;
use wninit_core::grid::{Condition, Metric};
use wninit_core::job::Job;

/// The value of a metric for a run that trained; `None` if it was not measured.
fn measure(metric: Metric, run: &Run) -> Option<f64> {
    let record = run.record;
    match metric {
        Metric::TestAcc | Metric::CompositeAcc => run.accuracy,
        Metric::ValAcc => record.val_acc.filter(is_fraction),
        Metric::BestValAcc => record.best_val_acc.filter(is_fraction),
        Metric::TrainAcc => record.train_acc.filter(is_fraction),
        Metric::TestLoss => record.test_loss.filter(|x| x.is_finite()),
        Metric::ValLoss => record.val_loss.filter(|x| x.is_finite()),
        Metric::TrainLoss => record.train_loss.filter(|x| x.is_finite()),
        Metric::EpochsDone => Some(f64::from(record.epochs_done)),
        Metric::BestEpoch => record.best_epoch.map(f64::from),
        Metric::TrainSeconds => Some(record.train_seconds).filter(|x| x.is_finite()),
        Metric::ImagesPerSecond => record.images_per_second.filter(|x| x.is_finite()),
        // Counted by `outcome`, and measured before training.
        Metric::Diverged | Metric::Success | Metric::LogSpectralNorm => None,
    }
}

/// The axes of a setting: all but `besides` and a learning rate that validation chooses. Validation
/// does not choose a learning rate that the claim compares, nor one for a metric of how many runs
/// train, unless an earlier sweep chose.
fn contexts(sweep: &Cells, metric: Metric, besides: &[usize], names_lr: bool) -> Vec<usize> {
    let every_one = metric.is_binary() && (names_lr || sweep.not_chosen.is_none());
    let lr = sweep.axis("lr").filter(|lr| !besides.contains(lr) && !every_one);
    sweep.axes_without(&besides.iter().copied().chain(lr).collect::<Vec<_>>())
}

/// Whether a filter names learning rates.
pub(super) fn names_lr(filter: &[Condition]) -> bool {
    filter.iter().any(|condition| condition.field.name == "lr")
}

/// The jobs of a side.
pub(super) struct Wanted<'c> {
    cells: BTreeSet<usize>,
    seeds: Vec<&'c Condition>,
    /// Only runs whose seed is finished in every arm.
    whole: bool,
    /// Whether the filter names learning rates. If it does not and an earlier sweep chose them,
    /// only jobs with the chosen one are wanted.
    names_lr: bool,
}

impl<'c> Wanted<'c> {
    /// The jobs that a filter accepts.
    pub(super) fn by(sweep: &Cells, filter: &'c [Condition]) -> Wanted<'c> {
        let (seeds, settings): (Vec<&Condition>, Vec<&Condition>) =
            filter.iter().partition(|condition| condition.is_about_seeds());
        let names_lr = names_lr(filter);
        let cells = (0..sweep.cells.len())
            .filter(|&i| names_lr || !sweep.is_not_chosen(i))
            .filter(|&i| settings.iter().all(|condition| condition.holds(sweep.cells[i].job)))
            .collect();
        Wanted { cells, seeds, whole: false, names_lr }
    }

    /// The counted runs of some cells.
    pub(super) fn of(sweep: &Cells, cells: impl IntoIterator<Item = usize>) -> Wanted<'c> {
        let cells = cells.into_iter().filter(|&i| !sweep.is_not_chosen(i)).collect();
        Wanted { cells, seeds: Vec::new(), whole: true, names_lr: false }
    }

    /// Whether any job is planned that the side is about.
    pub(super) fn has_jobs(&self) -> bool {
        !self.cells.is_empty()
    }

    fn among(&self, group: &[usize]) -> Vec<usize> {
        group.iter().copied().filter(|i| self.cells.contains(i)).collect()
    }

    fn has_seed(&self, job: &Job) -> bool {
        self.seeds.iter().all(|condition| condition.holds(job))
    }
}

/// Whether a run did what a claim about the metric asks of it: that it does not diverge, or that it trains.
fn succeeded(metric: Metric, run: &Run) -> bool {
    match metric {
        Metric::Diverged => run.ending != RunEnding::Diverged,
        _ => run.ending == RunEnding::Success,
    }
}

/// The outcome of a run in the terms of `verdict`: `None` if it was not measured, `Some(None)` if
/// it failed.
fn outcome(metric: Metric, run: &Run, guess: f64) -> Option<Option<f64>> {
    use Metric::*;
    let succeeded = succeeded(metric, run);
    let turned = |x: f64| Measure::of(metric).turned(Interval { low: x, high: x }).low;
    let own = chance(&run.record.job);
    match metric {
        Success | Diverged => Some(succeeded.then_some(1.0)),
        // If data sets differ in their number of classes, so do guesses.
        CompositeAcc if !succeeded => Some((own != guess).then_some(own)),
        TestAcc | BestValAcc | ValAcc | TrainAcc | TestLoss | ValLoss | TrainLoss if !succeeded => {
            Some(None)
        }
        _ => measure(metric, run).map(|x| Some(turned(x))),
    }
}

/// The sides of a claim: one, or the two that it compares.
#[derive(Default)]
pub(super) struct Sides {
    /// By setting, its name and each side's runs.
    pub settings: Vec<(String, Vec<Arm>)>,
    /// By setting and side, its cells.
    pub cells: Vec<Vec<Vec<usize>>>,
    /// Whether the sides share seeds.
    pub paired: bool,
    /// The accuracy of a guess.
    pub guess: f64,
    /// Of each side, runs that trained (of a claim about divergence, that did not diverge) and all
    /// runs that count.
    pub success: Vec<(usize, usize)>,
    /// Planned runs that are not finished.
    pub missing: usize,
    /// Finished runs whose seed is not finished in every arm.
    pub left_out: usize,
    /// Seconds to train one seed of all settings and sides at the chosen hyperparameters.
    pub seconds_a_seed: f64,
}

/// The runs of each side, setting by setting. A seed counts in a setting if all cells of the
/// setting that the claim is about, with every learning rate that could be chosen, have finished
/// it: runs that diverge end early, so the first finished runs are a biased sample.
pub(super) fn sides(sweep: &Cells, metric: Metric, wanted: &[Wanted], besides: &[usize]) -> Sides {
    let axes = contexts(sweep, metric, besides, wanted.iter().any(|side| side.names_lr));
    let involved: BTreeSet<usize> = wanted.iter().flat_map(|side| &side.cells).copied().collect();
    let groups: BTreeMap<Vec<usize>, Vec<Vec<usize>>> = sweep
        .group_these(involved, &axes)
        .into_iter()
        .map(|(at, group)| (at, wanted.iter().map(|w| w.among(&group)).collect::<Vec<_>>()))
        .filter(|(_, sides)| sides.iter().all(|cells| !cells.is_empty()))
        .collect();
    let varies = |&place: &usize| {
        let values: BTreeSet<usize> = groups.keys().map(|at| at[place]).collect();
        values.len() > 1
    };
    let named: Vec<usize> = (0..axes.len()).filter(varies).collect();
    let first = groups.values().flatten().flatten().next();
    let mut sides = Sides {
        guess: first.map_or(0.0, |&cell| chance(sweep.cells[cell].job)),
        success: vec![(0, 0); wanted.len()],
        ..Sides::default()
    };
    let mut seeds: Vec<BTreeSet<Seed>> = vec![BTreeSet::new(); wanted.len()];
    for (at, groups) in &groups {
        let cells: BTreeSet<usize> = groups.iter().flatten().copied().collect();
        let incomplete: HashSet<Seed> =
            cells.into_iter().flat_map(|i| sweep.cells[i].unfinished()).collect();
        let name = |&place: &usize| sweep.axes[axes[place]].in_words(at[place]);
        let name = named.iter().map(name).collect::<Vec<_>>().join(" ");
        let of_side = |(side, cells): (usize, &Vec<usize>)| {
            seeds[side].extend(cells.iter().flat_map(|&i| &sweep.cells[i].planned));
            if metric == Metric::LogSpectralNorm {
                initial(sweep, cells, &wanted[side], &mut sides)
            } else {
                let side = (side, &wanted[side], &cells[..]);
                trained(sweep, metric, side, &incomplete, &mut sides)
            }
        };
        let arms = groups.iter().enumerate().map(of_side).collect();
        sides.settings.push((name, arms));
    }
    sides.paired = match &seeds[..] {
        [a, b] => !a.is_disjoint(b),
        _ => true,
    };
    sides.cells = groups.into_values().collect();
    sides
}

/// Measurements at initialization. Cells that differ only in their learning rate share them, so any
/// of them is used.
fn initial(sweep: &Cells, cells: &[usize], wanted: &Wanted, sides: &mut Sides) -> Arm {
    let mut arm = Arm { choices: 1, ..Arm::default() };
    let Some(cell) = cells.iter().map(|&i| &sweep.cells[i]).max_by_key(|c| c.curvatures.len())
    else {
        return arm;
    };
    sides.missing += cell.planned.len().saturating_sub(cell.curvatures.len());
    for (seed, measured) in &cell.curvatures {
        if wanted.has_seed(&measured.job)
            && let Some(x) = measured.log_spectral_norm()
        {
            // A smaller one is better.
            arm.seeds.insert(sweep.number[seed], vec![Some(-x)]);
        }
    }
    arm
}

fn trained(
    sweep: &Cells,
    metric: Metric,
    (side, wanted, cells): (usize, &Wanted, &[usize]),
    incomplete: &HashSet<Seed>,
    sides: &mut Sides,
) -> Arm {
    let counts = |run: &Run| !incomplete.contains(&run.seed) && (run.whole || !wanted.whole);
    let mut scored: Vec<(f64, usize)> = Vec::new();
    for &index in cells {
        let cell = &sweep.cells[index];
        sides.missing += cell.planned.len().saturating_sub(cell.runs.len());
        let (kept, left_out): (Vec<&Run>, Vec<&Run>) =
            cell.runs.iter().partition(|run| counts(run));
        sides.left_out += left_out.len();
        let scores: Vec<f64> = kept.iter().filter_map(|run| run.validation()).collect();
        scored.extend(describe::mean(&scores).map(|score| (score, index)));
    }
    let mut arm = Arm { choices: scored.len().max(1), ..Arm::default() };
    let Some((_, best)) = highest(scored.into_iter()) else { return arm };
    let runs: Vec<&Run> = sweep.cells[best]
        .runs
        .iter()
        .filter(|run| counts(run) && wanted.has_seed(&run.record.job))
        .collect();
    let seconds: Vec<f64> =
        runs.iter().filter_map(|run| measure(Metric::TrainSeconds, run)).collect();
    sides.seconds_a_seed += describe::mean(&seconds).unwrap_or(0.0);
    for run in runs {
        let (successes, n) = &mut sides.success[side];
        *successes += usize::from(succeeded(metric, run));
        *n += 1;
        if let Some(value) = outcome(metric, run, sides.guess) {
            arm.seeds.insert(sweep.number[&run.seed], vec![value]);
        }
    }
    arm
}

/// Describes the jobs that a filter accepts.
pub(super) fn in_words(filter: &[Condition]) -> String {
    filter.iter().map(Condition::to_string).collect::<Vec<_>>().join(", ")
}
