//! Power of the t test, and the number of seeds that it needs.

use statrs::distribution::{ContinuousCDF, Normal};
use statrs::function::beta::beta_reg;
use statrs::function::gamma::ln_gamma;

use crate::interval::t_quantile;

/// Whether the arms share seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Design {
    /// They share seeds: differences within seeds.
    Paired,
    /// Each has separate seeds.
    Unpaired,
}

/// The probability that [`required_seeds`] seeds decide a claim.
pub(crate) const POWER: f64 = 0.8;

/// The power of the two-sided t test at `1 − level` of a mean paired difference of n seeds, or of
/// the difference between arms of n seeds each, if the true one is `effect` standard deviations
/// from the margin: the noncentral t distribution (Cohen 1988). 0 for fewer than two seeds.
pub(crate) fn power(effect: f64, n: usize, design: Design, level: f64) -> f64 {
    if n < 2 {
        return 0.0;
    }
    let (df, per_error) = match design {
        Design::Paired => (n as f64 - 1.0, n as f64),
        Design::Unpaired => (2.0 * n as f64 - 2.0, n as f64 / 2.0),
    };
    let shift = effect.abs() * per_error.sqrt();
    let critical = t_quantile(0.5 + level / 2.0, df);
    1.0 - noncentral_t_cdf(critical, df, shift) + noncentral_t_cdf(-critical, df, shift)
}

/// The fewest seeds with which the t test at `1 − level` distinguishes the mean from a margin with
/// probability [`POWER`], if the true mean is `effect` sds between seeds away from it. `None` if
/// more than `most` are needed.
pub(crate) fn required_seeds(effect: f64, level: f64, most: usize) -> Option<usize> {
    let enough = |n| power(effect, n, Design::Paired, level) >= POWER;
    let (mut low, mut high) = (1, most); // low is too few, high is enough
    if !enough(high) {
        return None;
    }
    while high - low > 1 {
        let middle = low.midpoint(high);
        if enough(middle) { high = middle } else { low = middle }
    }
    Some(high)
}

/// The distribution function of the noncentral t: Lenth (1989), AS 243.
pub(crate) fn noncentral_t_cdf(t: f64, df: f64, shift: f64) -> f64 {
    const MAX_TERMS: usize = 1000;
    if t < 0.0 {
        return 1.0 - noncentral_t_cdf(-t, df, -shift);
    }
    let square = shift * shift;
    if square > 1400.0 {
        // The series underflows; so far out the distribution is where its shift is.
        return if shift > 0.0 { 0.0 } else { 1.0 };
    }
    let x = t * t / (t * t + df);
    let normal_part = Normal::standard().cdf(-shift);
    if x <= 0.0 {
        return normal_part;
    }
    let (mut a, b) = (0.5, df / 2.0);
    let mut p = 0.5 * (-square / 2.0).exp();
    let mut q = (2.0 / std::f64::consts::PI).sqrt() * p * shift;
    let mut rest = 0.5 - p;
    let tail = (1.0 - x).powf(b);
    let ln_beta = std::f64::consts::PI.ln() / 2.0 + ln_gamma(b) - ln_gamma(0.5 + b);
    let mut odd = beta_reg(a, b, x);
    let mut odd_step = 2.0 * tail * (a * x.ln() - ln_beta).exp();
    let mut even = 1.0 - tail;
    let mut even_step = b * x * tail;
    let mut sum = p * odd + q * even;
    for term in 1..=MAX_TERMS {
        let k = term as f64;
        a += 1.0;
        odd -= odd_step;
        even -= even_step;
        odd_step *= x * (a + b - 1.0) / a;
        even_step *= x * (a + b - 0.5) / (a + 0.5);
        p *= square / (2.0 * k);
        q *= square / (2.0 * k + 1.0);
        rest -= p;
        sum += p * odd + q * even;
        if k > square / 2.0 && 2.0 * rest * (odd - odd_step) < 1e-13 {
            break;
        }
    }
    (sum + normal_part).clamp(0.0, 1.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::interval::LEVEL;
    use crate::testing::*;

    fn design(case: &serde_json::Value) -> Design {
        if case["design"] == "paired" { Design::Paired } else { Design::Unpaired }
    }

    #[test]
    fn power_and_required_seeds_are_those_of_statsmodels() {
        for case in &reference("power") {
            let (effect, n) = (float(&case["effect"]), count(&case["n"]));
            close(power(effect, n, design(case), LEVEL), float(&case["power"]));
        }
        for case in reference("required").iter().filter(|case| design(case) == Design::Paired) {
            let effect = float(&case["gap"]) / float(&case["sd"]);
            assert_eq!(required_seeds(effect, LEVEL, 10_000), Some(count(&case["n"])), "{case}");
        }
        assert_eq!(required_seeds(0.0, LEVEL, 10_000), None);
    }
}
