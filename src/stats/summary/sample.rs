//! One number a seed, over the runs that a claim or a published number is about.

use std::collections::{BTreeMap, BTreeSet};

use super::Seed;
use super::cells::{Cells, Run, RunEnding, chance};
use crate::describe;
use crate::interval::{self, Interval, LEVEL};
use wninit_core::grid::{Condition, Metric};

/// The value of a metric for a run; `None` if it was not measured. A diverged run predicts nothing, so
/// its accuracies are those of a guess, 1/classes, and its losses ln(classes).
fn measure(metric: Metric, run: &Run) -> Option<f64> {
    let measured = |value: Option<f64>, guess: f64| match run.ending {
        RunEnding::Diverged => Some(guess),
        _ => value.filter(|x| x.is_finite()),
    };
    let record = run.record;
    let chance = chance(&record.job);
    let yes = |truth: bool| Some(f64::from(u8::from(truth)));
    match metric {
        Metric::TestAcc => run.accuracy,
        Metric::ValAcc => measured(record.val_acc, chance),
        Metric::BestValAcc => measured(record.best_val_acc, chance),
        Metric::TrainAcc => measured(record.train_acc, chance),
        Metric::TestLoss => measured(record.test_loss, -chance.ln()),
        Metric::ValLoss => measured(record.val_loss, -chance.ln()),
        Metric::TrainLoss => measured(record.train_loss, -chance.ln()),
        Metric::Diverged => yes(run.ending == RunEnding::Diverged),
        Metric::Success => yes(run.ending == RunEnding::Success),
        Metric::EpochsDone => Some(f64::from(record.epochs_done)),
        Metric::BestEpoch => record.best_epoch.map(f64::from),
        Metric::TrainSeconds => Some(record.train_seconds).filter(|x| x.is_finite()),
        Metric::ImagesPerSecond => record.images_per_second.filter(|x| x.is_finite()),
        // Measured before training, see `Sample::new`.
        Metric::LogSpectralNorm => None,
    }
}

/// One value a seed, averaged over contexts, each at the learning rate that validation chose, or,
/// for a share of runs, over the learning rates as well. Hyperparameters that a side
/// of a comparison does not fix are selected on validation accuracy.
pub(super) struct Sample {
    /// By context, then by seed.
    pub contexts: BTreeMap<Vec<usize>, BTreeMap<Seed, f64>>,
    /// Planned runs that are not finished.
    pub missing: usize,
    /// Seconds of one more seed of everything, learning rates that were not chosen included: the
    /// choice is made anew.
    pub seconds_a_seed: f64,
}

impl Sample {
    pub(super) fn new(
        sweep: &Cells,
        metric: Metric,
        filter: &[Condition],
        besides: &[usize],
    ) -> Sample {
        let (seeds, settings): (Vec<&Condition>, Vec<&Condition>) =
            filter.iter().partition(|condition| condition.is_about_seeds());
        let cells: BTreeSet<usize> = (0..sweep.cells.len())
            .filter(|&i| settings.iter().all(|condition| condition.holds(sweep.cells[i].job)))
            .collect();
        // A learning rate that the claim compares is not for validation to choose; and of how
        // many runs train, every one counts.
        let lr = sweep.axis("lr").filter(|lr| !besides.contains(lr) && !metric.is_binary());
        let context = sweep.axes_without(&besides.iter().copied().chain(lr).collect::<Vec<_>>());
        let mut sample = Sample { contexts: BTreeMap::new(), missing: 0, seconds_a_seed: 0.0 };
        for (at, group) in sweep.group(&context) {
            let group: Vec<usize> = group.into_iter().filter(|i| cells.contains(i)).collect();
            if metric == Metric::LogSpectralNorm {
                // Cells that differ in their learning rate start alike: any of them will do.
                let measured = |&i: &usize| sweep.cells[i].curvatures.len();
                let Some(cell) = group.into_iter().max_by_key(measured) else { continue };
                let cell = &sweep.cells[cell];
                sample.missing += cell.planned.saturating_sub(cell.curvatures.len());
                let chosen = cell.curvatures.iter().filter(|(_, measured)| {
                    seeds.iter().all(|condition| condition.holds(&measured.job))
                });
                let values: BTreeMap<Seed, f64> = chosen
                    .filter_map(|(seed, measured)| Some((*seed, measured.log_spectral_norm()?)))
                    .collect();
                if !values.is_empty() {
                    sample.contexts.insert(at, values);
                }
                continue;
            }
            for cell in group.iter().map(|&i| &sweep.cells[i]) {
                sample.missing += cell.planned.saturating_sub(cell.runs.len());
                let seconds: Vec<f64> =
                    cell.runs.iter().filter_map(|run| measure(Metric::TrainSeconds, run)).collect();
                sample.seconds_a_seed += describe::mean(&seconds).unwrap_or(0.0);
            }
            let Some(best) = sweep.best(group) else {
                continue;
            };
            let values: BTreeMap<Seed, f64> = sweep.cells[best]
                .runs
                .iter()
                .filter(|run| seeds.iter().all(|condition| condition.holds(&run.record.job)))
                .filter_map(|run| Some((run.seed, measure(metric, run)?)))
                .collect();
            if !values.is_empty() {
                sample.contexts.insert(at, values);
            }
        }
        sample
    }

    /// The means over contexts of the seeds that every context has.
    pub(super) fn by_seed(&self) -> BTreeMap<Seed, f64> {
        let mut sums: BTreeMap<Seed, (usize, f64)> = BTreeMap::new();
        for (seed, value) in self.contexts.values().flatten() {
            let (n, sum) = sums.entry(*seed).or_default();
            *n += 1;
            *sum += value;
        }
        let complete = sums.into_iter().filter(|(_, (n, _))| *n == self.contexts.len());
        complete.map(|(seed, (n, sum))| (seed, sum / n as f64)).collect()
    }

    /// Leaves out the contexts that the other lacks.
    pub(super) fn keep_common(&mut self, other: &Sample) {
        self.contexts.retain(|at, _| other.contexts.contains_key(at));
    }
}

/// Wilson's interval for a share of runs in one setting, Student's t for everything else.
pub(super) fn interval_of(values: &[f64], share: bool) -> Option<Interval> {
    if share {
        interval::wilson(values.iter().filter(|x| **x > 0.5).count(), values.len(), LEVEL)
    } else {
        interval::mean_interval(values, LEVEL)
    }
}

/// The jobs that it is about.
pub(super) fn in_words(filter: &[Condition]) -> String {
    filter.iter().map(Condition::to_string).collect::<Vec<_>>().join(", ")
}
