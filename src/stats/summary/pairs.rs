//! Each arm against the baseline, setting by setting.

use std::collections::BTreeMap;

use super::arms::Arms;
use super::cells::Cells;
use super::columns::{self, readable_p};
use super::compare::Comparison;
use crate::verdict::{Decision, adjust};
use rayon::prelude::*;
use wninit_core::columns;
use wninit_core::grid::Metric;
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
    /// Arm − baseline, with Holm's correction over all pairs.
    pub difference: Comparison,
}

fn low(decision: &Decision) -> Option<f64> {
    decision.interval().map(|i| i.low)
}

fn high(decision: &Decision) -> Option<f64> {
    decision.interval().map(|i| i.high)
}

const NO_SUCCESS: &str = "no run of either trains, or no seed in common";
const NO_ACC: &str = "fewer than two seeds in which both train";

/// The columns of `pairs.csv`.
pub(super) static COLUMNS: &[Column<PairSummary>] = columns![PairSummary;
    "init": "", columns::INIT, "" => |p| p.init.as_str();
    "baseline": "", "initializer that it is compared with", "" => |p| p.baseline.as_str();
    "lr": "", "learning rate of init, the best on validation in this context", "" => |p| p.lr;
    "baseline_lr": "", "learning rate of baseline, the best on validation in this context", "" => |p| p.baseline_lr;
    "success_n": "seeds", "seeds that both have", "" => |p| p.difference.success.n;
    "success_diff": "fraction", "share of seeds that train, mean over lrs, init - baseline", NO_SUCCESS
        => |p| p.difference.success.estimate;
    "success_low": "fraction", "lower end of its 95 % interval: exact unconditional; over several lrs Gaffke's bound", NO_SUCCESS
        => |p| low(&p.difference.success);
    "success_high": "fraction", "upper end of its 95 % interval", NO_SUCCESS => |p| high(&p.difference.success);
    "success_p": "", "two-sided p value of no difference", NO_SUCCESS => |p| p.difference.success.p.map(readable_p);
    "success_p_holm": "", "the same after Holm's correction over the rows of this file", NO_SUCCESS
        => |p| p.difference.success.p_holm.map(readable_p);
    "acc_n": "seeds", "seeds in which both train at the chosen lrs", "" => |p| p.difference.accuracy.n;
    "acc_diff": "fraction", "mean difference in test accuracy init - baseline over these seeds", NO_ACC
        => |p| p.difference.accuracy.estimate;
    "acc_sd": "fraction", "standard deviation (n - 1) of the differences", NO_ACC => |p| p.difference.accuracy.sd;
    "acc_low": "fraction", "lower end of the 95 % paired t interval of acc_diff, widened for the choice of lrs", NO_ACC
        => |p| low(&p.difference.accuracy);
    "acc_high": "fraction", "upper end of the same", NO_ACC => |p| high(&p.difference.accuracy);
    "acc_p": "", "two-sided p value of no difference, times the number of lrs to choose from", NO_ACC
        => |p| p.difference.accuracy.p.map(readable_p);
    "acc_p_holm": "", "the same after Holm's correction over the rows of this file", NO_ACC
        => |p| p.difference.accuracy.p_holm.map(readable_p);
];

impl Arms {
    pub(super) fn pairs(&self, sweep: &Cells, success: Metric) -> Vec<PairSummary> {
        let Some(baseline) = self.baseline else {
            return Vec::new();
        };
        let groups = sweep.group(&self.contexts_and_arms());
        let cells_of = |context: &[usize], arm: usize| {
            &groups[&[context, self.arms[arm].at.as_slice()].concat()][..]
        };
        let with_baseline = |(context, chosen): (&'_ Vec<usize>, &'_ BTreeMap<usize, usize>)| {
            let base = *chosen.get(&baseline)?;
            let rivals = chosen.iter().filter(|(arm, _)| **arm != baseline);
            Some(rivals.map(|(&arm, &cell)| (context.clone(), arm, cell, base)).collect::<Vec<_>>())
        };
        let all: Vec<_> = self.chosen.iter().filter_map(with_baseline).flatten().collect();
        let mut pairs: Vec<PairSummary> = all
            .into_par_iter()
            .map(|(context, arm, cell, base)| {
                let cells = [arm, baseline].map(|arm| cells_of(&context, arm));
                PairSummary {
                    difference: Comparison::new(sweep, success, cells, &self.axes, 1),
                    context,
                    arm,
                    init: self.arms[arm].label.clone(),
                    baseline: self.arms[baseline].label.clone(),
                    lr: sweep.cells[cell].job.lr,
                    baseline_lr: sweep.cells[base].job.lr,
                }
            })
            .collect();
        let accuracies = pairs.iter_mut().map(|p| &mut p.difference.accuracy);
        adjust(&mut accuracies.collect::<Vec<_>>());
        adjust(&mut pairs.iter_mut().map(|p| &mut p.difference.success).collect::<Vec<_>>());
        pairs
    }
}
