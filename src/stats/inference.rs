//! Inference on one number: its estimate, its interval, and p values against bounds.

use std::collections::BTreeMap;

use crate::bounded;
use crate::interval::{Estimate, FRACTION, Interval, LEVEL};
use crate::proportion::{self, Difference};
use crate::sequential;
use crate::student::Mean;

/// An estimate and the test that its interval inverts.
#[derive(Clone, Debug, PartialEq)]
pub enum Inference {
    /// A share of seeds: exact.
    Share {
        /// Successes.
        k: usize,
        /// Seeds.
        n: usize,
    },
    /// A difference between two shares of seeds: exact.
    Difference(Difference),
    /// A mean, or a difference of means, of roughly normal values in a range.
    Student(Mean, Interval),
    /// The mean of values in a range, of any distribution.
    Bounded(Vec<f64>, Interval),
    /// The same, at any number of looks.
    Betting(Vec<f64>, Interval),
    /// The mean of roughly normal values in a range, at any number of looks.
    Mixture(Vec<f64>, Interval),
}

impl Inference {
    /// The mean of roughly normal values in `range`: Student's t; without spread, where t is
    /// undefined, the distribution-free bound. `None` for fewer than two values, and without spread
    /// in an unbounded range.
    pub fn mean(values: &[f64], range: Interval) -> Option<Inference> {
        let by_seed: BTreeMap<u64, f64> = (0..).zip(values.iter().copied()).collect();
        let mean = Mean::over(&[by_seed])?;
        match mean.is_constant() {
            false => Some(Inference::Student(mean, range)),
            true => range.is_bounded().then(|| Inference::Bounded(values.to_vec(), range)),
        }
    }

    /// The estimate with its interval at [`LEVEL`].
    pub fn with_interval(&self) -> Estimate {
        let tail = (1.0 - LEVEL) / 2.0;
        Estimate { value: self.estimate(), interval: self.interval(tail, tail) }
    }

    /// The estimate.
    pub fn estimate(&self) -> f64 {
        match self {
            Inference::Share { k, n } => *k as f64 / *n as f64,
            Inference::Difference(difference) => difference.estimate(),
            Inference::Student(mean, _) => mean.value,
            Inference::Bounded(values, _)
            | Inference::Betting(values, _)
            | Inference::Mixture(values, _) => values.iter().sum::<f64>() / values.len() as f64,
        }
    }

    /// The one-sided p value of "it is at most `bound`".
    pub fn p_above(&self, bound: f64) -> f64 {
        match self {
            Inference::Share { k, n } => proportion::p_above(*k, *n, bound),
            Inference::Difference(difference) => difference.p_above(bound),
            Inference::Student(mean, _) => mean.p_above(bound),
            Inference::Bounded(values, range) => bounded::p_above(values, *range, bound),
            Inference::Betting(values, range) => sequential::p_above(values, *range, bound),
            Inference::Mixture(values, _) => sequential::normal(values, bound).0,
        }
    }

    /// The one-sided p value of "it is at least `bound`".
    pub fn p_below(&self, bound: f64) -> f64 {
        match self {
            Inference::Share { k, n } => proportion::p_below(*k, *n, bound),
            Inference::Difference(difference) => difference.p_below(bound),
            Inference::Student(mean, _) => mean.p_below(bound),
            Inference::Bounded(values, range) => bounded::p_below(values, *range, bound),
            Inference::Betting(values, range) => sequential::p_below(values, *range, bound),
            Inference::Mixture(values, _) => sequential::normal(values, bound).1,
        }
    }

    /// Its possible values.
    pub(crate) fn range(&self) -> Interval {
        match self {
            Inference::Share { .. } => FRACTION,
            Inference::Difference(_) => Interval { low: -1.0, high: 1.0 },
            Inference::Student(_, range)
            | Inference::Bounded(_, range)
            | Inference::Betting(_, range)
            | Inference::Mixture(_, range) => *range,
        }
    }

    /// The bounds that its one-sided tests do not reject at `low` and `high`, within its range.
    pub fn interval(&self, low: f64, high: f64) -> Interval {
        let (range, estimate) = (self.range(), self.estimate());
        Interval {
            low: accepted(range.low, estimate, |bound| self.p_above(bound) > low),
            high: accepted(range.high, estimate, |bound| self.p_below(bound) > high),
        }
    }

    /// Display name of the test.
    pub fn method(&self) -> &'static str {
        match self {
            Inference::Share { .. } => "Clopper-Pearson",
            Inference::Difference(Difference::Paired { .. }) => "exact unconditional, paired",
            Inference::Difference(Difference::Unpaired { .. }) => "exact unconditional",
            Inference::Student(..) => "Student's t",
            Inference::Bounded(..) => "Gaffke's bound",
            Inference::Betting(..) => "betting, anytime-valid",
            Inference::Mixture(..) => "mixture t, anytime-valid",
        }
    }
}

/// The outermost bound between the estimate and `end` that is not rejected. All bounds beyond a
/// rejected one are rejected.
fn accepted(end: f64, estimate: f64, holds: impl Fn(f64) -> bool) -> f64 {
    let mut inner = estimate;
    let mut outer = end;
    if outer.is_infinite() {
        // Walks outwards until a bound is rejected.
        let mut step = estimate.abs().max(1e-3) * end.signum();
        while holds(estimate + step) {
            inner = estimate + step;
            step *= 2.0;
            if step.is_infinite() {
                return end;
            }
        }
        outer = estimate + step;
    } else if holds(end) {
        return end;
    }
    while (outer - inner).abs() > 1e-10 * outer.abs().max(1e-3) {
        let middle = f64::midpoint(inner, outer);
        if middle == inner || middle == outer {
            break;
        }
        if holds(middle) { inner = middle } else { outer = middle }
    }
    outer
}
