//! Intervals, and shared tests.

use std::fmt;

use statrs::distribution::{ContinuousCDF, StudentsT};

/// The probability of a wrong decision.
pub const ALPHA: f64 = 0.05;

/// The confidence level of every interval that the program prints.
pub const LEVEL: f64 = 1.0 - ALPHA;

/// A confidence interval, or another range; an end may be infinite.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Interval {
    /// All numbers.
    pub(crate) const ANY: Interval = Interval { low: f64::NEG_INFINITY, high: f64::INFINITY };

    /// Whether both ends are finite.
    pub(crate) fn is_bounded(self) -> bool {
        self.low.is_finite() && self.high.is_finite()
    }
}

impl fmt::Display for Interval {
    /// `[0.100, 0.200]`; both ends in the requested format.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("[")?;
        self.low.fmt(f)?;
        f.write_str(", ")?;
        self.high.fmt(f)?;
        f.write_str("]")
    }
}

/// The range of accuracies and of shares.
pub const FRACTION: Interval = Interval { low: 0.0, high: 1.0 };

/// An estimate with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Estimate {
    pub value: f64,
    pub interval: Interval,
}

/// Narrows the interval in which a condition that holds at its lower end ceases to hold, by halving it
/// sixty times.
pub(crate) fn bisect(mut low: f64, mut high: f64, holds: impl Fn(f64) -> bool) -> Interval {
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if holds(middle) { low = middle } else { high = middle }
    }
    Interval { low, high }
}

/// Holm's (1979) step-down adjustment of p values, in the order given.
pub(crate) fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&i, &j| p[i].total_cmp(&p[j]));
    let mut adjusted = vec![0.0; p.len()];
    let mut running = 0.0_f64;
    for (rank, &i) in order.iter().enumerate() {
        running = running.max((p.len() - rank) as f64 * p[i]).min(1.0);
        adjusted[i] = running;
    }
    adjusted
}

/// The largest accuracy that chance explains: the smallest k / n with P(X ≤ k) ≥ `confidence` for X
/// ~ Binomial(n, p). A classifier that is right about each of n test images with probability p,
/// whatever is in it, stays at or below it with that probability.
pub(crate) fn binomial_bound(n: usize, p: f64, confidence: f64) -> f64 {
    if n == 0 || p >= 1.0 {
        return 1.0;
    }
    let mut ln_mass = n as f64 * (-p).ln_1p();
    let mut below = ln_mass.exp();
    let mut k = 0;
    while below < confidence && k < n {
        ln_mass += ((n - k) as f64 / (k + 1) as f64 * p / (1.0 - p)).ln();
        below += ln_mass.exp();
        k += 1;
    }
    k as f64 / n as f64
}

/// The p-quantile of Student's t distribution, for p > 1/2.
pub(crate) fn t_quantile(p: f64, df: f64) -> f64 {
    StudentsT::new(0.0, 1.0, df).map_or(f64::INFINITY, |t| t.inverse_cdf(p))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::*;

    #[test]
    fn holms_adjustment_is_that_of_statsmodels() {
        for case in reference("holm") {
            let (ours, theirs) = (holm(&floats(&case["p"])), floats(&case["adjusted"]));
            assert_eq!(ours.len(), theirs.len());
            ours.into_iter().zip(theirs).for_each(|(ours, theirs)| close(ours, theirs));
        }
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn guessing_stays_below_the_binomial_bound() {
        for case in reference("binomial") {
            let ours = binomial_bound(count(&case["n"]), float(&case["p"]), 0.9999);
            close(ours, float(&case["bound"]));
        }
        assert_eq!(binomial_bound(0, 0.1, 0.9999), 1.0);
        assert_eq!(binomial_bound(50, 1.0, 0.9999), 1.0, "of one class, every answer is right");
    }
}
