//! Ranks the initializers of each task, with tests of the differences.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::arms::Arms;
use super::cells::{Cells, place};
use super::columns::{self, readable_p};
use super::compare::{Comparison, alone, detectable, estimate};
use super::initializers::HYPERPARAMETERS;
use crate::describe;
use crate::interval::Estimate;
use crate::student::EQUAL;
use crate::verdict::Verdict;
use wninit_core::columns;
use wninit_core::fmt::p_value;
use wninit_core::grid::{Claim, Metric};
use wninit_core::table::Column;

/// The comparison of an arm with the best of its task: success first, then accuracy given success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the best in these seeds.
    First,
    /// None of its runs succeed, but some of the best do.
    NeverTrains {
        /// Whether the difference in success is significant.
        shown: bool,
    },
    /// Fewer of its seeds train.
    TrainsLess,
    /// Its success is not shown to differ; those that train are less accurate.
    LessAccurate,
    /// Its success is not shown to differ; those that train are more accurate.
    MoreAccurate,
    /// Neither is shown to differ.
    Open,
    /// No run of any arm trains.
    NothingTrains,
}

impl Standing {
    /// Whether a test shows that fewer of its runs train than of the first.
    pub(super) fn fails_more(self) -> bool {
        matches!(self, Standing::NeverTrains { shown: true } | Standing::TrainsLess)
    }
}

/// An arm in a task: a row of `ranking.csv`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // COLUMNS documents each
pub struct Ranked {
    /// Its task: the place on each of [`Summary::task_axes`](super::Summary::task_axes).
    pub task: Vec<usize>,
    /// Its place in the task, from 1.
    pub rank: usize,
    /// The arm, an index into the summary's `initializers`.
    pub arm: usize,
    pub init: String,
    pub trained: usize,
    pub runs: usize,
    pub success: Option<Estimate>,
    pub lr: (f64, f64),
    pub accuracy: Option<Estimate>,
    pub n: usize,
    pub standing: Standing,
    /// The best minus this one, for one of all pairs of arms of the task; `None` for the best.
    pub behind: Option<Comparison>,
}

/// The columns of `ranking.csv`.
pub(super) static COLUMNS: &[Column<Ranked>] = columns![Ranked;
    "rank": "", "place among the initializers of the task: by the share of runs that train, then by validation accuracy", "" => |r| r.rank;
    "init": "", columns::INIT, "" => |r| r.init.as_str();
    "n_trained": "jobs", "jobs that trained (did not diverge, if the claims are about diverged), at every lr", "" => |r| r.trained;
    "n": "jobs", columns::COUNTED, "" => |r| r.runs;
    "success": "fraction", "share of seeds that train, mean over lrs and settings", columns::NOTHING_FINISHED
        => |r| r.success.map(|s| s.value);
    "success_low": "fraction", "lower end of its 95 % interval: Clopper-Pearson, over several lrs Gaffke's bound", columns::NOTHING_FINISHED
        => |r| r.success.map(|s| s.interval.low);
    "success_high": "fraction", "upper end of its 95 % interval", columns::NOTHING_FINISHED
        => |r| r.success.map(|s| s.interval.high);
    "lr_low": "", "smallest lr that validation chose", "" => |r| r.lr.0;
    "lr_high": "", "greatest lr that validation chose", "" => |r| r.lr.1;
    "acc": "fraction", "mean test accuracy of the jobs that train, at the chosen lr, over the settings with two of them", "fewer than two trained"
        => |r| r.accuracy.map(|a| a.value);
    "acc_low": "fraction", "lower end of its 95 % interval, widened for the choice of lr", "fewer than two trained"
        => |r| r.accuracy.map(|a| a.interval.low);
    "acc_high": "fraction", "upper end of its 95 % interval", "fewer than two trained"
        => |r| r.accuracy.map(|a| a.interval.high);
    "acc_n": "seeds", "seeds in the mean acc", "" => |r| r.n;
    "against_first": "", "comparison with rank 1: success first, then accuracy of the jobs that train; errors are 5 % for all pairs of a task", ""
        => |r| r.words();
    "success_p": "", "p value of: rank 1 trains as many seeds, times the number of pairs", "rank 1, or nothing trains"
        => |r| r.behind.as_ref().and_then(|c| c.success.p).map(readable_p);
    "acc_behind": "fraction", "mean accuracy of rank 1 minus acc, over seeds in which both train", "rank 1, or fewer than two such seeds"
        => |r| r.behind.as_ref().and_then(|c| c.accuracy.estimate);
    "acc_behind_low": "fraction", "lower end of its 95 % interval, for all pairs of the task", "as acc_behind"
        => |r| r.behind.as_ref().and_then(|c| c.accuracy.interval()).map(|i| i.low);
    "acc_behind_high": "fraction", "upper end of its 95 % interval", "as acc_behind"
        => |r| r.behind.as_ref().and_then(|c| c.accuracy.interval()).map(|i| i.high);
    "acc_p": "", "p value of: the accuracies are equal, times the number of pairs", "as acc_behind"
        => |r| r.behind.as_ref().and_then(|c| c.accuracy.p).map(readable_p);
    "acc_detectable": "fraction", "the difference that this number of seeds detects with probability 0.8", "as acc_behind"
        => |r| r.behind.as_ref().and_then(|c| detectable(&c.accuracy));
];

impl Ranked {
    /// The comparison with the best, with the numbers.
    pub fn words(&self) -> String {
        let p = |p: Option<f64>| p.map(|p| format!(", p = {}", p_value(p))).unwrap_or_default();
        let Some(Comparison { success, accuracy }) = &self.behind else {
            return match self.standing {
                Standing::NothingTrains => "nothing trains".to_owned(),
                _ => "first".to_owned(),
            };
        };
        let gap = accuracy.estimate.map(|x| format!(" by {:.3}", x.abs())).unwrap_or_default();
        match self.standing {
            Standing::First | Standing::NothingTrains => "nothing trains".to_owned(),
            Standing::NeverTrains { shown: true } => format!("always fails{}", p(success.p)),
            Standing::NeverTrains { shown: false } => {
                format!("always fails; few seeds{}", p(success.p))
            }
            Standing::TrainsLess => format!("fails more often{}", p(success.p)),
            Standing::LessAccurate => format!("less accurate{gap}{}", p(accuracy.p)),
            Standing::MoreAccurate => format!("more accurate{gap}{}", p(accuracy.p)),
            Standing::Open if success.settings_disagree || accuracy.settings_disagree => {
                "settings disagree".to_owned()
            }
            Standing::Open if success.estimate.is_some_and(|x| x.abs() > EQUAL) => {
                format!("success undecided{}", p(success.p))
            }
            Standing::Open => match detectable(accuracy) {
                Some(least) => format!("not told apart (detectable: {least:.3})"),
                None => "not told apart".to_owned(),
            },
        }
    }
}

/// The metric of success: `diverged`, if the claims are only about that.
pub(super) fn success_metric(claims: &[Claim]) -> Metric {
    let all = !claims.is_empty() && claims.iter().all(|claim| claim.metric == Metric::Diverged);
    if all { Metric::Diverged } else { Metric::Success }
}

/// The axes of the task: all but the arm's and those of hyper-parameters.
pub(super) fn task_axes(sweep: &Cells, arms: &Arms) -> Vec<usize> {
    let tuned = sweep.axes_among(&HYPERPARAMETERS);
    sweep.axes_without(&arms.axes.iter().chain(&tuned).copied().collect::<Vec<_>>())
}

impl Arms {
    /// The arms of every task that has a run, the best first.
    pub(super) fn ranking(&self, sweep: &Cells, success: Metric) -> Vec<Ranked> {
        let groups = sweep.group(&task_axes(sweep, self));
        let groups: Vec<_> = groups.into_iter().collect();
        let rank = |(at, cells): (Vec<usize>, Vec<usize>)| self.rank(sweep, success, at, &cells);
        groups.into_par_iter().flat_map_iter(rank).collect()
    }

    fn rank(
        &self,
        sweep: &Cells,
        metric: Metric,
        task: Vec<usize>,
        cells: &[usize],
    ) -> Vec<Ranked> {
        let mut by_arm: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for &cell in cells {
            by_arm.entry(self.of_cell[cell]).or_default().push(cell);
        }
        let axes = task_axes(sweep, self);
        let chosen = |arm: usize| {
            self.chosen().filter(move |(a, _)| *a == arm).map(|(_, cell)| &sweep.cells[cell])
        };
        let mut ranked: Vec<(f64, Ranked)> = by_arm
            .iter()
            .filter_map(|(&arm, cells)| {
                let (sides, success) = alone(sweep, metric, cells, &self.axes);
                let (_, accuracy) = alone(sweep, Metric::TestAcc, cells, &self.axes);
                let runs = || {
                    let arms = sides.settings.iter().flat_map(|(_, arms)| arms);
                    arms.flat_map(|arm| arm.seeds.values().flatten())
                };
                let here: Vec<_> = chosen(arm).filter(|cell| place(cell, &axes) == task).collect();
                let rates = || here.iter().map(|cell| cell.job.lr);
                let scores: Vec<f64> = here.iter().filter_map(|c| c.validation()).collect();
                let score = describe::mean(&scores)?;
                let row = Ranked {
                    task: task.clone(),
                    rank: 0,
                    arm,
                    init: self.arms[arm].label.clone(),
                    trained: runs().flatten().count(),
                    runs: runs().count(),
                    success: estimate(&success),
                    lr: (
                        rates().fold(f64::INFINITY, f64::min),
                        rates().fold(f64::NEG_INFINITY, f64::max),
                    ),
                    accuracy: estimate(&accuracy),
                    n: accuracy.n,
                    standing: Standing::First,
                    behind: None,
                };
                Some((score, row))
            })
            .collect();
        let share = |row: &Ranked| row.trained as f64 / row.runs.max(1) as f64;
        ranked.sort_by(|(x, a), (y, b)| share(b).total_cmp(&share(a)).then(y.total_cmp(x)));
        let mut ranked: Vec<Ranked> = ranked.into_iter().map(|(_, row)| row).collect();
        let Some(first) = ranked.first().cloned() else { return ranked };
        let pairs = ranked.len() * (ranked.len() - 1) / 2;
        for (i, row) in ranked.iter_mut().enumerate() {
            row.rank = i + 1;
            if first.trained == 0 {
                row.standing = Standing::NothingTrains;
            } else if i > 0 {
                let cells = [&by_arm[&first.arm][..], &by_arm[&row.arm]];
                let behind = Comparison::new(sweep, metric, cells, &self.axes, pairs);
                row.standing = match (behind.success.verdict, behind.accuracy.verdict) {
                    (verdict, _) if row.trained == 0 => {
                        Standing::NeverTrains { shown: verdict == Verdict::Supported }
                    }
                    (Verdict::Supported, _) => Standing::TrainsLess,
                    (_, Verdict::Supported) => Standing::LessAccurate,
                    (_, Verdict::Refuted) => Standing::MoreAccurate,
                    _ => Standing::Open,
                };
                row.behind = Some(behind);
            }
        }
        ranked
    }
}
