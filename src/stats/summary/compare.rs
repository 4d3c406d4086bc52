//! Compares two arms: how many runs train, and how accurate those are.

use super::cells::Cells;
use super::claims::Measure;
use super::sample::{Sides, Wanted, sides};
use crate::interval::{Estimate, Interval};
use crate::planning;
use crate::verdict::{ALPHA, Decision, Verdict};
use wninit_core::grid::Metric;

/// An arm minus another one, over the settings that both have.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Difference of the shares of seeds that train, at every learning rate that both have.
    pub success: Decision,
    /// Difference of the test accuracies of those that train, each arm at its learning rate chosen
    /// on validation.
    pub accuracy: Decision,
}

impl Comparison {
    /// The cells `a` minus the cells `b`, which differ in their place on `besides`; p values and intervals
    /// are those of one of `pairs` comparisons (Bonferroni).
    pub(super) fn new(
        sweep: &Cells,
        success: Metric,
        [a, b]: [&[usize]; 2],
        besides: &[usize],
        pairs: usize,
    ) -> Comparison {
        let difference = |metric: Metric| {
            let wanted = [a, b].map(|cells| Wanted::of(sweep, cells.iter().copied()));
            let sides = sides(sweep, metric, &wanted, besides);
            let positive = Interval { low: 0.0, high: f64::INFINITY };
            one_of(pairs, Measure::of(metric).ask(sweep, &sides, positive).overall)
        };
        Comparison { success: difference(success), accuracy: difference(Metric::TestAcc) }
    }
}

/// The number of some cells' counted runs, over their settings; `besides` distinguishes arms.
pub(super) fn alone(
    sweep: &Cells,
    metric: Metric,
    cells: &[usize],
    besides: &[usize],
) -> (Sides, Decision) {
    let sides = sides(sweep, metric, &[Wanted::of(sweep, cells.iter().copied())], besides);
    let decision = Measure::of(metric).ask(sweep, &sides, Interval::ANY).overall;
    (sides, decision)
}

pub(super) fn estimate(decision: &Decision) -> Option<Estimate> {
    Some(Estimate { value: decision.estimate?, interval: decision.interval()? })
}

fn one_of(pairs: usize, mut decision: Decision) -> Decision {
    let pairs = pairs as f64;
    decision.choices.0 *= pairs;
    decision.choices.1 *= pairs;
    decision.p = decision.p.map(|p| (p * pairs).min(1.0));
    if decision.verdict.is_decided() && decision.p.is_some_and(|p| p > ALPHA) {
        decision.verdict = Verdict::Undecided;
    }
    decision
}

/// The smallest difference in accuracy that this number of seeds detects with probability 0.8, at
/// the observed sd. `None` if unknown.
pub fn detectable(accuracy: &Decision) -> Option<f64> {
    let level = 1.0 - ALPHA / accuracy.choices.0.max(accuracy.choices.1);
    planning::detectable_mean(accuracy.n, accuracy.sd?, level).filter(|x| *x > 0.0)
}
