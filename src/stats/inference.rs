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
            low: accepted(range.low, estimate, low, |bound| self.p_above(bound)),
            high: accepted(range.high, estimate, high, |bound| self.p_below(bound)),
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

/// The outermost bound between the estimate and `end` at which `p` is above `level`. All bounds beyond a
/// rejected one are rejected.
fn accepted(end: f64, estimate: f64, level: f64, p: impl Fn(f64) -> f64) -> f64 {
    let mut inner = estimate;
    let mut outer = end;
    if outer.is_infinite() {
        // Walks outwards until a bound is rejected.
        let mut step = estimate.abs().max(1e-3) * end.signum();
        while p(estimate + step) > level {
            inner = estimate + step;
            step *= 2.0;
            if step.is_infinite() {
                return end;
            }
        }
        outer = estimate + step;
    } else if p(end) > level {
        return end;
    }
    let (near, far) =
        narrowed(inner, outer, |bound| p(bound).max(f64::MIN_POSITIVE).ln() - level.ln());
    while (outer - inner).abs() > 1e-10 * outer.abs().max(1e-3) {
        let middle = f64::midpoint(inner, outer);
        if middle == inner || middle == outer {
            break;
        }
        let outwards = (outer - inner).signum();
        let holds = match ((middle - near) * outwards, (middle - far) * outwards) {
            (past, _) if past <= 0.0 => true,
            (_, past) if past >= 0.0 => false,
            _ => p(middle) > level,
        };
        if holds { inner = middle } else { outer = middle }
    }
    outer
}

/// A narrower bracket of the root of `f`, which is above 0 at the first end and not at the second. False
/// position, with half the value of an end that stays twice (the Illinois algorithm; Dowell & Jarratt
/// 1971), takes about 12 values of an expensive p where bisection takes 35.
fn narrowed(inner: f64, outer: f64, f: impl Fn(f64) -> f64) -> (f64, f64) {
    let (mut near, mut far) = (inner, outer);
    let (mut above, mut below) = (f(near), f(far));
    if above <= 0.0 || below > 0.0 {
        return (inner, outer);
    }
    let least = 1e-11 * outer.abs().max(1e-3);
    let mut was_above = None;
    for _ in 0..20 {
        let width = (far - near).abs();
        if width <= 2.0 * least {
            break;
        }
        let share = (above / (above - below)).clamp(least / width, 1.0 - least / width);
        let bound = near + share * (far - near);
        let value = f(bound);
        let twice = was_above == Some(value > 0.0);
        let weight = if twice { 0.5 } else { 1.0 };
        if value > 0.0 {
            (near, above, below) = (bound, value, weight * below);
        } else {
            (far, below, above) = (bound, value, weight * above);
        }
        was_above = Some(value > 0.0);
    }
    (near, far)
}

#[cfg(test)]
mod tests {
    use super::accepted;

    /// The same by bisection alone.
    fn bisected(mut outer: f64, mut inner: f64, holds: impl Fn(f64) -> bool) -> f64 {
        while (outer - inner).abs() > 1e-10 * outer.abs().max(1e-3) {
            let middle = f64::midpoint(inner, outer);
            if holds(middle) { inner = middle } else { outer = middle }
        }
        outer
    }

    /// Smooth, heavy-tailed, with steps, with a jump to 0 and constant, towards either end.
    #[test]
    fn an_end_is_that_of_bisection_to_the_last_bit_and_takes_fewer_p_values() {
        let tails: [fn(f64) -> f64; 5] = [
            |z| 0.5 * (-z * z).exp(),
            |z| 0.5 / (1.0 + z).powi(2),
            |z| 0.5 * (-(z * 4.0).floor()).exp(),
            |z| if z > 3.0 { 0.0 } else { 0.4 },
            |_| 0.4,
        ];
        for (case, tail) in tails.into_iter().enumerate() {
            for (end, estimate) in [(0.0, 0.7), (1.0, 0.7), (-1.0, 1e-4), (3.0, 2.999)] {
                for (scale, level) in [(0.1, 0.025), (1e-3, 0.025), (1e-3, 1e-9), (1e-7, 0.1)] {
                    let calls = std::cell::Cell::new(0);
                    let p = |bound: f64| {
                        calls.set(calls.get() + 1);
                        tail((bound - estimate).abs() / scale)
                    };
                    let found = accepted(end, estimate, level, p);
                    let taken = calls.get();
                    let expected = match tail((end - estimate).abs() / scale) > level {
                        true => end,
                        false => bisected(end, estimate, |bound| p(bound) > level),
                    };
                    assert_eq!(found, expected, "case {case}: {end} {estimate} {scale} {level}");
                    assert!(
                        case != 0 || taken <= 25,
                        "{taken} values: {end} {estimate} {scale} {level}"
                    );
                }
            }
        }
    }
}
