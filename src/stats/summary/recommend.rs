//! Which initializer to use at a depth, and how sure that is.

use std::collections::{BTreeMap, BTreeSet};

use super::Seed;
use super::arms::{Arms, common_seeds};
use super::cells::{Cell, Cells, RunEnding};
use crate::describe;
use crate::interval::{self, Interval, LEVEL, Paired};

/// What to conclude for a depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// The best is shown to be better than every rival.
    Clear,
    /// Some rivals are not shown to be worse.
    Tied,
    /// The best has no rival.
    Alone,
    /// Not even the best trains with most of its seeds.
    NothingTrains,
}

/// An arm that was not chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Rival {
    /// The arm, an index into the summary's `initializers`.
    pub arm: usize,
    /// The best minus this one, paired by seed; its interval holds for all rivals at once
    /// (Bonferroni). `None` if they share no seed.
    pub difference: Option<Paired>,
}

impl Rival {
    /// Whether it is shown to be worse than the best.
    pub fn is_worse(&self) -> bool {
        self.difference.and_then(|d| d.interval).is_some_and(|interval| interval.low > 0.0)
    }
}

/// Which arm to use at a depth. It is chosen on validation accuracy, like its learning rate; the
/// numbers are test accuracies.
#[derive(Clone, Debug, PartialEq)]
pub struct Recommendation {
    /// Layers with weights; `None` where all networks of the sweep have as many.
    pub layers: Option<u32>,
    /// The arm with the best validation accuracy, an index into the summary's `initializers`.
    pub best: usize,
    /// What to conclude.
    pub advice: Advice,
    /// Seeds that `mean` is taken over, those that every setting has.
    pub n: usize,
    /// Settings of this depth (contexts) over which each seed is averaged.
    pub n_contexts: usize,
    /// Its mean test accuracy.
    pub mean: Option<f64>,
    /// The interval of `mean`.
    pub interval: Option<Interval>,
    /// Runs at the chosen learning rates that converged to better than chance …
    pub successes: usize,
    /// … of so many finished ones.
    pub runs: usize,
    /// The chosen learning rates, the least and the greatest.
    pub lr: (f64, f64),
    /// The greatest learning rate tried was chosen somewhere: a greater one may be better.
    pub lr_at_top: bool,
    /// The least learning rate tried was chosen somewhere: a smaller one may be better.
    pub lr_at_bottom: bool,
    /// The others, best validation accuracy first.
    pub rivals: Vec<Rival>,
}

impl Arms {
    /// A recommendation for every depth that has a finished run.
    pub(super) fn recommendations(&self, sweep: &Cells) -> Vec<Recommendation> {
        // By depth, the contexts' chosen cells by arm.
        let mut depths: BTreeMap<u32, Vec<&BTreeMap<usize, usize>>> = BTreeMap::new();
        for arms in self.chosen.values() {
            if let Some(&cell) = arms.values().next() {
                depths.entry(sweep.cells[cell].job.arch.layers()).or_default().push(arms);
            }
        }
        let several = sweep.cells.iter().map(|c| c.job.arch.layers()).collect::<BTreeSet<_>>();
        let several = several.len() > 1;
        depths
            .into_iter()
            .filter_map(|(layers, contexts)| {
                self.recommend(sweep, several.then_some(layers), &contexts)
            })
            .collect()
    }

    fn recommend(
        &self,
        sweep: &Cells,
        layers: Option<u32>,
        contexts: &[&BTreeMap<usize, usize>],
    ) -> Option<Recommendation> {
        let cells_of = |arm: usize| -> Vec<&Cell> {
            contexts.iter().filter_map(|arms| Some(&sweep.cells[*arms.get(&arm)?])).collect()
        };
        let mut ranking: Vec<(f64, usize)> = (0..self.arms.len())
            .filter_map(|arm| {
                let scores: Vec<f64> =
                    cells_of(arm).iter().filter_map(|c| c.validation()).collect();
                Some((describe::mean(&scores)?, arm))
            })
            .collect();
        ranking.sort_by(|a, b| b.0.total_cmp(&a.0)); // stable: of equals the first
        let &(_, best) = ranking.first()?;
        let rivals = &ranking[1..];
        let level = 1.0 - (1.0 - LEVEL) / rivals.len().max(1) as f64;
        let rivals: Vec<Rival> = rivals
            .iter()
            .map(|&(_, arm)| {
                let pairs = contexts.iter().filter_map(|arms| {
                    let (own, other) = (*arms.get(&best)?, *arms.get(&arm)?);
                    Some(common_seeds(&sweep.cells[own], &sweep.cells[other]))
                });
                Rival { arm, difference: interval::paired(&by_seed(pairs), level) }
            })
            .collect();
        let own = cells_of(best);
        let accuracies = own.iter().map(|cell| {
            cell.runs.iter().filter_map(|r| Some((r.seed, (r.accuracy?, 0.0)))).collect()
        });
        let values: Vec<f64> = by_seed(accuracies).into_iter().map(|(x, _)| x).collect();
        let successes = own.iter().map(|cell| cell.count(RunEnding::Success)).sum();
        let runs = own.iter().map(|cell| cell.runs.len()).sum();
        let rates = || own.iter().map(|cell| cell.job.lr);
        let tried = || sweep.cells.iter().map(|cell| cell.job.lr);
        let (least, greatest) = ends(tried());
        let lr = ends(rates());
        let advice = if 2 * successes <= runs {
            Advice::NothingTrains
        } else if rivals.is_empty() {
            Advice::Alone
        } else if rivals.iter().all(Rival::is_worse) {
            Advice::Clear
        } else {
            Advice::Tied
        };
        Some(Recommendation {
            layers,
            best,
            advice,
            n: values.len(),
            n_contexts: own.len(),
            mean: describe::mean(&values),
            interval: interval::mean_interval(&values, interval::FRACTION, LEVEL),
            successes,
            runs,
            lr,
            lr_at_top: least < greatest && lr.1 >= greatest,
            lr_at_bottom: least < greatest && lr.0 <= least,
            rivals,
        })
    }
}

fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
}

/// For each seed that every context has, the means over contexts of both numbers.
fn by_seed(contexts: impl Iterator<Item = Vec<(Seed, (f64, f64))>>) -> Vec<(f64, f64)> {
    let mut sums: BTreeMap<Seed, (usize, f64, f64)> = BTreeMap::new();
    let mut n_contexts = 0;
    for context in contexts {
        n_contexts += 1;
        for (seed, (a, b)) in context {
            let (n, sum_a, sum_b) = sums.entry(seed).or_default();
            *n += 1;
            *sum_a += a;
            *sum_b += b;
        }
    }
    let complete = sums.into_values().filter(|(n, ..)| *n == n_contexts);
    complete.map(|(n, a, b)| (a / n as f64, b / n as f64)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::summary::testing::*;
    use crate::summary::{Input, Summary};
    use wninit_core::results::Record;

    fn of(records: &[Record]) -> Vec<Recommendation> {
        Summary::new(&Input { records, ..Input::default() }).unwrap().recommendations
    }

    #[test]
    fn where_only_one_initializer_trains_it_is_recommended_and_that_is_sure() {
        let advice = of(&depth_sweep());
        let [shallow, deep] = &advice[..] else { panic!() };
        assert_eq!((shallow.layers, deep.layers), (Some(2), Some(50)));
        assert_eq!((deep.best, deep.advice, deep.n), (2, Advice::Clear, 5));
        assert_eq!((deep.successes, deep.runs, deep.lr), (5, 5, (0.01, 0.01)));
        assert!((deep.mean.unwrap() - 0.8).abs() < 1e-9);
        assert!(deep.rivals.iter().all(Rival::is_worse));
        assert!(deep.lr_at_bottom && !deep.lr_at_top);
        // At depth 2 all validate alike, and the first of equals is taken.
        assert_eq!((shallow.best, shallow.advice), (0, Advice::Tied));
    }

    #[test]
    fn the_choice_is_made_on_validation_and_a_test_score_cannot_turn_it() {
        let mut records = depth_sweep();
        for record in records.iter_mut().filter(|r| r.job.init.name() == "orthogonal_datadep") {
            if record.test_acc.is_some() {
                record.test_acc = Some(1.0);
            }
        }
        assert_eq!(of(&records)[0].best, 0);
    }

    #[test]
    fn where_nothing_trains_nothing_is_recommended() {
        let records: Vec<Record> = depth_sweep()
            .into_iter()
            .filter(|r| r.job.init.name() != "orthogonal_proposed")
            .collect();
        assert_eq!(of(&records)[1].advice, Advice::NothingTrains);
    }

    #[test]
    fn one_seed_shows_nothing_and_one_initializer_has_no_rival() {
        let records: Vec<Record> =
            depth_sweep().into_iter().filter(|r| r.job.init_seed == 0).collect();
        let deep = &of(&records)[1];
        assert_eq!((deep.advice, deep.interval), (Advice::Tied, None));
        let alone: Vec<Record> =
            depth_sweep().into_iter().filter(|r| r.job.init.name() == "orthogonal").collect();
        assert_eq!(of(&alone)[0].advice, Advice::Alone);
    }
}
