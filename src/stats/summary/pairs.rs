//! Each arm against the baseline, setting by setting.

use super::arms::{Arms, common_seeds};
use super::cells::Cells;
use super::columns;
use crate::describe;
use crate::interval::{self, Estimate, LEVEL, Paired};
use wninit_core::columns;
use wninit_core::table::Column;

/// An arm against the baseline in one context, each at its own learning rate: a row of `pairs.csv`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // COLUMNS documents each
pub struct PairSummary {
    /// The index of its value on each of the context axes.
    pub context: Vec<usize>,
    /// The arm, an index into the summary's `initializers`.
    pub arm: usize,
    pub init: String,
    pub baseline: String,
    pub lr: f64,
    pub baseline_lr: f64,
    pub n_arm: usize,
    pub n_baseline: usize,
    pub mean_arm: Option<f64>,
    pub mean_baseline: Option<f64>,
    /// Arm − baseline over the seeds that both have.
    pub difference: Option<Paired>,
    pub p_holm: Option<f64>,
    pub better: Option<Estimate>,
}

/// The columns of `pairs.csv`.
pub(super) static COLUMNS: &[Column<PairSummary>] = columns![PairSummary;
    "init": "", columns::INIT, "" => |p| p.init.as_str();
    "baseline": "", "initializer that it is compared with", "" => |p| p.baseline.as_str();
    "lr": "", "learning rate of init, the best on validation in this context", "" => |p| p.lr;
    "baseline_lr": "", "learning rate of baseline, the best on validation in this context", "" => |p| p.baseline_lr;
    "n": "seeds", "finished jobs of init at lr", "" => |p| p.n_arm;
    "baseline_n": "seeds", "finished jobs of baseline at baseline_lr", "" => |p| p.n_baseline;
    "mean": "fraction", "mean test accuracy of init at lr, a diverged job at chance", "not measured" => |p| p.mean_arm;
    "baseline_mean": "fraction", "mean test accuracy of baseline at baseline_lr, a diverged job at chance", "not measured"
        => |p| p.mean_baseline;
    "diff_n": "seeds", "seeds that both have", "none" => |p| p.difference.map(|d| d.n);
    "diff": "fraction", "mean difference init - baseline over these seeds", "no seed in common"
        => |p| p.difference.map(|d| d.mean);
    "diff_sd": "fraction", "standard deviation (n - 1) of the differences", "fewer than two seeds"
        => |p| p.difference.and_then(|d| d.sd);
    "diff_low": "fraction", "lower end of the 95 % Student t interval of diff", columns::NO_INTERVAL
        => |p| p.difference.and_then(|d| d.interval).map(|i| i.low);
    "diff_high": "fraction", "upper end of the 95 % Student t interval of diff", columns::NO_INTERVAL
        => |p| p.difference.and_then(|d| d.interval).map(|i| i.high);
    "p": "", "two-sided p value of the paired t test; of the sign test where all differences are equal", "fewer than two seeds"
        => |p| p.difference.and_then(|d| d.p);
    "p_holm": "", "p adjusted for all rows of this file (Holm)", "fewer than two seeds" => |p| p.p_holm;
    "p_better": "", "probability that a run of init beats one of baseline, ties half (Mann-Whitney)", "not measured"
        => |p| p.better.map(|b| b.value);
    "p_better_low": "", "lower end of its 95 % interval (Newcombe 2006, method 5)", "not measured"
        => |p| p.better.map(|b| b.interval.low);
    "p_better_high": "", "upper end of its 95 % interval (Newcombe 2006, method 5)", "not measured"
        => |p| p.better.map(|b| b.interval.high);
];

impl Arms {
    pub(super) fn pairs(&self, sweep: &Cells) -> Vec<PairSummary> {
        let Some(baseline) = self.baseline else {
            return Vec::new();
        };
        let mut pairs = Vec::new();
        for (context, cells) in &self.chosen {
            let Some(base) = cells.get(&baseline).map(|&i| &sweep.cells[i]) else {
                continue;
            };
            for (&arm, cell) in cells.iter().filter(|(arm, _)| **arm != baseline) {
                let cell = &sweep.cells[*cell];
                let (ours, theirs) = (cell.accuracies(), base.accuracies());
                let shared: Vec<(f64, f64)> =
                    common_seeds(cell, base).into_iter().map(|(_, pair)| pair).collect();
                pairs.push(PairSummary {
                    context: context.clone(),
                    arm,
                    init: self.arms[arm].label.clone(),
                    baseline: self.arms[baseline].label.clone(),
                    lr: cell.job.lr,
                    baseline_lr: base.job.lr,
                    n_arm: ours.len(),
                    n_baseline: theirs.len(),
                    mean_arm: describe::mean(&ours),
                    mean_baseline: describe::mean(&theirs),
                    difference: interval::paired(&shared, LEVEL),
                    p_holm: None,
                    better: interval::probability_of_improvement(&ours, &theirs, LEVEL),
                });
            }
        }
        let tested: Vec<usize> = (0..pairs.len()).filter(|&i| p_of(&pairs[i]).is_some()).collect();
        let p: Vec<f64> = tested.iter().filter_map(|&i| p_of(&pairs[i])).collect();
        for (i, adjusted) in tested.into_iter().zip(interval::holm(&p)) {
            pairs[i].p_holm = Some(adjusted);
        }
        pairs
    }
}

fn p_of(pair: &PairSummary) -> Option<f64> {
    pair.difference.and_then(|d| d.p)
}
