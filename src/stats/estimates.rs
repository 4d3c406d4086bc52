//! Intervals and tests: pure functions of numbers.
//!
//! Every function takes finite numbers and says which formula it computes and where that stands
//! in the literature. What cannot be computed (an sd of one value, an interval without spread)
//! is `None`, never NaN. Intervals are two-sided and equal-tailed.
//!
//! # Without spread
//! Runs that all ended the same way (every seed diverged, say) have a standard deviation of 0. A t
//! interval would then be a point after two seeds, which is more certainty than two seeds can
//! give. Here the order-statistic interval of the median takes its place: n equal values cover it
//! with confidence 1 − 2·2⁻ⁿ, so from 6 of them on the 95 % interval is that point, and before
//! there is none. The p value goes with it: 2·2⁻ⁿ, the two-sided sign test.

use rand::RngCore;
use rayon::prelude::*;
use statrs::distribution::{ContinuousCDF, FisherSnedecor, Normal, StudentsT};
use statrs::function::beta::beta_reg;
use statrs::function::gamma::ln_gamma;

use wninit_core::rng;

/// The confidence level of every interval that the program prints.
pub const LEVEL: f64 = 0.95;

/// The probability with which the seeds that [`required_seeds`] asks for decide a claim.
pub(crate) const POWER: f64 = 0.8;

/// The fewest seeds in a cell for which a bootstrap is drawn: below, its intervals are too narrow.
pub const BOOTSTRAP_MIN: usize = 10;

/// Bootstrap resamples; a quarter as many for more than 5,000 values, which draw longer and need
/// fewer, as the interval is narrow then.
pub(crate) const RESAMPLES: usize = 2000;

/// Values from which on there are fewer [`RESAMPLES`].
const MANY: usize = 5000;

/// A confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Interval {
    /// Whether the value lies in it, ends included.
    pub(crate) fn contains(self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// The arithmetic mean; `None` for no values.
pub fn mean(values: &[f64]) -> Option<f64> {
    match all_equal(values) {
        // Not the sum over n, which may differ from the value in the last digit.
        Some(value) => Some(value),
        None if values.is_empty() => None,
        None => Some(values.iter().sum::<f64>() / values.len() as f64),
    }
}

/// The sample variance, with n − 1 in the denominator; `None` for fewer than two values.
pub(crate) fn variance(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    Some(squares / (values.len() - 1) as f64)
}

/// The sample standard deviation, with n − 1 in the denominator; `None` for fewer than two values.
pub fn sd(values: &[f64]) -> Option<f64> {
    variance(values).map(f64::sqrt)
}

/// The p-quantile, 0 ≤ p ≤ 1, interpolated linearly between order statistics: type 7 of Hyndman &
/// Fan (1996), the default of NumPy and R. `None` for no values.
pub fn quantile(values: &[f64], p: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len().checked_sub(1)?) as f64 * p.clamp(0.0, 1.0);
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    Some(below + (above - below) * at.fract())
}

/// The median; `None` for no values.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The interquartile mean: the mean of what is left when ⌊n/4⌋ values are cut off at each end
/// (Agarwal et al. 2021, "Deep RL at the edge of the statistical precipice"; `trim_mean` with 0.25
/// in SciPy). `None` for no values.
pub(crate) fn interquartile_mean(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let cut = sorted.len() / 4;
    mean(&sorted[cut..sorted.len() - cut])
}

/// The Wilson score interval of a proportion, without continuity correction (Wilson 1927).
/// `None` for no trials.
pub fn wilson(successes: usize, trials: usize, level: f64) -> Option<Interval> {
    if trials == 0 {
        return None;
    }
    let (n, z) = (trials as f64, normal_quantile(0.5 + level / 2.0));
    let p = successes as f64 / n;
    let scale = 1.0 + z * z / n;
    let centre = (p + z * z / (2.0 * n)) / scale;
    let half = z / scale * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    // At 0 and n the ends are 0 and 1 but for rounding.
    let low = if successes == 0 { 0.0 } else { centre - half };
    let high = if successes == trials { 1.0 } else { centre + half };
    Some(Interval { low, high })
}

/// Student's t interval of a mean, x̄ ± t₍ₙ₋₁₎·s/√n; see the module's head for values without
/// spread. `None` for fewer than two values.
pub fn mean_interval(values: &[f64], level: f64) -> Option<Interval> {
    let (mean, sd, n) = (mean(values)?, sd(values)?, values.len());
    if let Some(value) = all_equal(values) {
        let enough = 1.0 - sign_test_p(n) >= level;
        return enough.then_some(Interval { low: value, high: value });
    }
    let half = t_quantile(0.5 + level / 2.0, (n - 1) as f64) * sd / (n as f64).sqrt();
    Some(Interval { low: mean - half, high: mean + half })
}

/// A difference between two treatments that were given to the same seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paired {
    /// Pairs.
    pub n: usize,
    /// The mean of a − b.
    pub mean: f64,
    /// The sd of a − b; `None` for one pair.
    pub sd: Option<f64>,
    /// The t interval of the mean ([`mean_interval`]).
    pub interval: Option<Interval>,
    /// The two-sided p value of the paired t test of no difference; the sign test's where there
    /// is no spread. `None` for one pair.
    pub p: Option<f64>,
}

/// The difference a − b of paired values with a t interval and the p value of the paired t test
/// (Student 1908). `None` for no pairs.
pub(crate) fn paired(pairs: &[(f64, f64)], level: f64) -> Option<Paired> {
    let differences: Vec<f64> = pairs.iter().map(|(a, b)| a - b).collect();
    let (n, mean) = (differences.len(), mean(&differences)?);
    let sd = sd(&differences);
    let p = match (all_equal(&differences), sd) {
        (_, None) => None,
        (Some(0.0), _) => Some(1.0),
        (Some(_), _) => Some(sign_test_p(n)),
        (None, Some(sd)) => Some(t_two_sided(mean / (sd / (n as f64).sqrt()), (n - 1) as f64)),
    };
    Some(Paired { n, mean, sd, interval: mean_interval(&differences, level), p })
}

/// An estimate with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// Its interval.
    pub interval: Interval,
}

/// P(A > B), ties counted half: the Mann–Whitney statistic over all pairs (the "probability of
/// improvement" of Agarwal et al. 2021), with the interval of Newcombe (2006, "Confidence intervals
/// for an effect size measure based on the Mann–Whitney statistic, part 2", method 5), which
/// stays sensible where the groups do not overlap and n is small. The groups count as
/// independent, which errs on the safe side when seeds are shared. `None` if a group is empty.
pub(crate) fn probability_of_improvement(a: &[f64], b: &[f64], level: f64) -> Option<Estimate> {
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let wins: f64 = a
        .iter()
        .flat_map(|x| {
            b.iter().map(move |y| {
                if x > y {
                    1.0
                } else if x == y {
                    0.5
                } else {
                    0.0
                }
            })
        })
        .sum();
    let (m, n) = (a.len() as f64, b.len() as f64);
    let value = wins / (m * n);
    let z = normal_quantile(0.5 + level / 2.0);
    let half_total = (m + n) / 2.0 - 1.0;
    let se = |p: f64| {
        let spread = 1.0 + half_total * ((1.0 - p) / (2.0 - p) + p / (1.0 + p));
        (p * (1.0 - p) * spread / (m * n)).sqrt()
    };
    // The ends are where the estimate is z standard errors away, by the error at that end.
    let low = bisect(0.0, value, |p| p + z * se(p) - value);
    let high = bisect(value, 1.0, |p| p - z * se(p) - value);
    Some(Estimate { value, interval: Interval { low, high } })
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

/// The performance profile: for each τ the share of values that are at least τ (Dolan & Moré 2002;
/// the "score distribution" of Agarwal et al. 2021). `None` for no values.
pub(crate) fn performance_profile(values: &[f64], taus: &[f64]) -> Option<Vec<f64>> {
    if values.is_empty() {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let share = |tau: &f64| {
        (sorted.len() - sorted.partition_point(|x| x < tau)) as f64 / sorted.len() as f64
    };
    Some(taus.iter().map(share).collect())
}

/// For each τ the percentile bootstrap interval of the share of values that are at least τ, stratified
/// by cell as in [`interquartile_mean_interval`] (the bands of Agarwal et al. 2021): pointwise, not
/// for the whole curve at once. `taus` ascend, and are fewer than 65,536. The draws are the same every
/// time. `None` where a cell has fewer than [`BOOTSTRAP_MIN`] values.
pub(crate) fn performance_profile_interval<C: AsRef<[f64]>>(
    cells: &[C],
    taus: &[f64],
    level: f64,
) -> Option<Vec<Interval>> {
    let cells: Vec<&[f64]> = cells.iter().map(AsRef::as_ref).collect();
    if cells.is_empty() || cells.iter().any(|cell| cell.len() < BOOTSTRAP_MIN) {
        return None;
    }
    // How many of the τ each value reaches is all that the shares need to know of it.
    let reach = |x: &f64| taus.partition_point(|tau| tau <= x);
    let n: usize = cells.iter().map(|cell| cell.len()).sum();
    let mut fixed = vec![0_usize; taus.len() + 1];
    let mut drawn: Vec<Vec<u16>> = Vec::new();
    for cell in cells {
        let reached: Vec<u16> = cell.iter().map(|x| reach(x) as u16).collect();
        if reached.iter().all(|&r| r == reached[0]) {
            fixed[usize::from(reached[0])] += reached.len(); // whatever is drawn is the same
        } else {
            drawn.push(reached);
        }
    }
    let resamples = if n > MANY { RESAMPLES / 4 } else { RESAMPLES };
    let resample = |index: usize| {
        let mut stream = rng::stream(0, "bootstrap", index as u64);
        let mut counts = fixed.clone();
        for cell in &drawn {
            for _ in cell {
                // As there: Lemire's multiply-shift.
                let draw = (u64::from(stream.next_u32()) * cell.len() as u64) >> 32;
                counts[usize::from(cell[draw as usize])] += 1;
            }
        }
        // From how many reach exactly so many τ to the share that reaches at least each.
        let mut above = 0;
        let mut shares = vec![0.0; taus.len()];
        for (share, count) in shares.iter_mut().zip(&counts[1..]).rev() {
            above += count;
            *share = above as f64 / n as f64;
        }
        shares
    };
    let shares: Vec<Vec<f64>> = (0..resamples).into_par_iter().map(resample).collect();
    (0..taus.len())
        .into_par_iter()
        .map(|i| {
            let of_tau: Vec<f64> = shares.iter().map(|shares| shares[i]).collect();
            Some(Interval {
                low: quantile(&of_tau, 0.5 - level / 2.0)?,
                high: quantile(&of_tau, 0.5 + level / 2.0)?,
            })
        })
        .collect()
}

/// A standard deviation pooled over cells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pooled {
    /// √(Σ(nᵢ − 1)sᵢ² / Σ(nᵢ − 1)).
    pub sd: f64,
    /// Σ(nᵢ − 1).
    pub df: usize,
}

/// The standard deviation within cells, pooled over them. `None` if no cell has two values.
pub(crate) fn pooled_sd<C: AsRef<[f64]>>(cells: &[C]) -> Option<Pooled> {
    let (mut squares, mut df) = (0.0, 0);
    for cell in cells.iter().map(AsRef::as_ref) {
        if let Some(variance) = variance(cell) {
            squares += variance * (cell.len() - 1) as f64;
            df += cell.len() - 1;
        }
    }
    (df > 0).then(|| Pooled { sd: (squares / df as f64).sqrt(), df })
}

/// The ratio of two standard deviations with the F interval for a ratio of variances of normal
/// samples, √(F̂ / F₍p₎) (Snedecor & Cochran 1989, §6.12). `None` if either is 0.
pub(crate) fn sd_ratio(a: Pooled, b: Pooled, level: f64) -> Option<Estimate> {
    if a.sd <= 0.0 || b.sd <= 0.0 {
        return None;
    }
    let f = FisherSnedecor::new(a.df as f64, b.df as f64).ok()?;
    let value = a.sd / b.sd;
    let end = |p: f64| value / f.inverse_cdf(p).sqrt();
    Some(Estimate {
        value,
        interval: Interval { low: end(0.5 + level / 2.0), high: end(0.5 - level / 2.0) },
    })
}

/// The percentile bootstrap interval of the interquartile mean over all cells, stratified by cell:
/// each of [`RESAMPLES`] resamples draws every cell's runs (its seeds) with replacement from
/// that cell, and takes the interquartile mean of all that was drawn (Agarwal et al. 2021, and
/// their library rliable). The draws are the same every time. `None` where a cell has fewer than
/// [`BOOTSTRAP_MIN`] values.
pub(crate) fn interquartile_mean_interval<C: AsRef<[f64]>>(
    cells: &[C],
    level: f64,
) -> Option<Interval> {
    let cells: Vec<&[f64]> = cells.iter().map(AsRef::as_ref).collect();
    if cells.is_empty() || cells.iter().any(|cell| cell.len() < BOOTSTRAP_MIN) {
        return None;
    }
    // A resample of ranks is a table of counts, and a table of counts is sorted already.
    let n: usize = cells.iter().map(|cell| cell.len()).sum();
    let mut sorted: Vec<(f64, usize)> =
        cells.iter().flat_map(|c| c.iter().copied()).zip(0..).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut ranks = vec![0_u32; n];
    for (rank, &(_, index)) in sorted.iter().enumerate() {
        ranks[index] = rank as u32;
    }
    let cut = n / 4;
    let resample = |counts: &mut Vec<u32>, index: usize| {
        counts.clear();
        counts.resize(n, 0);
        let mut stream = rng::stream(0, "bootstrap", index as u64);
        let mut rest = ranks.as_slice();
        for cell in &cells {
            let (own, later) = rest.split_at(cell.len());
            rest = later;
            for _ in own {
                // Lemire's multiply-shift; the bias is below cell size / 2³².
                let draw = (u64::from(stream.next_u32()) * own.len() as u64) >> 32;
                counts[own[draw as usize] as usize] += 1;
            }
        }
        trimmed_mean_of_counts(&sorted, counts, cut, n - cut)
    };
    let resamples = if n > MANY { RESAMPLES / 4 } else { RESAMPLES };
    let means: Vec<f64> = (0..resamples).into_par_iter().map_init(Vec::new, resample).collect();
    Some(Interval {
        low: quantile(&means, 0.5 - level / 2.0)?,
        high: quantile(&means, 0.5 + level / 2.0)?,
    })
}

/// The mean of the values at positions `from..to` of the sorted resample in which the i-th of
/// `sorted` occurs `counts[i]` times.
fn trimmed_mean_of_counts(sorted: &[(f64, usize)], counts: &[u32], from: usize, to: usize) -> f64 {
    let (mut position, mut sum) = (0, 0.0);
    for (&(value, _), &count) in sorted.iter().zip(counts) {
        let next = position + count as usize;
        let inside = next.min(to).saturating_sub(position.max(from));
        sum += value * inside as f64;
        position = next;
    }
    sum / (to - from) as f64
}

/// What is compared when asking for more seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Design {
    /// Differences within seeds, or one mean: n values.
    Paired,
    /// Two independent groups of n values each.
    Unpaired,
}

/// The power of the two-sided t test at `1 − level` with n seeds (in each group), if the true
/// difference lies `effect` standard deviations from the margin: the noncentral t distribution
/// (Cohen 1988). 0 for fewer than two seeds.
pub(crate) fn power(effect: f64, n: usize, design: Design, level: f64) -> f64 {
    if n < 2 {
        return 0.0;
    }
    let (df, scale) = match design {
        Design::Paired => (n as f64 - 1.0, n as f64),
        Design::Unpaired => (2.0 * n as f64 - 2.0, n as f64 / 2.0),
    };
    let shift = effect.abs() * scale.sqrt();
    let critical = t_quantile(0.5 + level / 2.0, df);
    1.0 - noncentral_t_cdf(critical, df, shift) + noncentral_t_cdf(-critical, df, shift)
}

/// The fewest seeds with which the t test at `1 − level` tells the true difference from a margin with
/// probability `power`, if the difference is `gap` away from it and the sd is `sd` (of the
/// differences where paired, of a group where not). `None` where more than a million would be needed.
pub(crate) fn required_seeds(
    gap: f64,
    sd: f64,
    design: Design,
    level: f64,
    wanted: f64,
) -> Option<usize> {
    const MOST: usize = 1_000_000;
    let enough = |n| power(gap / sd, n, design, level) >= wanted;
    if sd <= 0.0 {
        return (2..64).find(|&n| 1.0 - sign_test_p(n) >= level);
    }
    if gap == 0.0 {
        return None;
    }
    let mut high = 2;
    while !enough(high) {
        high *= 2;
        if high > MOST {
            return None;
        }
    }
    let (mut low, mut high) = (high / 2, high); // low is too few, high is enough
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if enough(middle) { high = middle } else { low = middle }
    }
    Some(high)
}

/// The most that chance explains: the smallest k / n with P(X ≤ k) ≥ `confidence` for X ~
/// Binomial(n, p). A classifier that guesses one of 1/p classes for each of n test images stays at
/// or below it with that probability.
pub(crate) fn binomial_bound(n: usize, p: f64, confidence: f64) -> f64 {
    if n == 0 {
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

fn all_equal(values: &[f64]) -> Option<f64> {
    let (&first, rest) = values.split_first()?;
    rest.iter().all(|x| *x == first).then_some(first)
}

/// The two-sided p value of the sign test when all n signs agree.
fn sign_test_p(n: usize) -> f64 {
    2.0 * 0.5_f64.powi(n.min(1000) as i32)
}

fn normal_quantile(p: f64) -> f64 {
    Normal::standard().inverse_cdf(p)
}

/// The p-quantile of Student's t distribution, for p > 1/2.
pub(crate) fn t_quantile(p: f64, df: f64) -> f64 {
    StudentsT::new(0.0, 1.0, df).map_or(f64::INFINITY, |t| t.inverse_cdf(p))
}

fn t_two_sided(t: f64, df: f64) -> f64 {
    beta_reg(df / 2.0, 0.5, df / (df + t * t))
}

/// The distribution function of the noncentral t: Lenth (1989), AS 243.
fn noncentral_t_cdf(t: f64, df: f64, shift: f64) -> f64 {
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

/// The root of a function that changes its sign once between `low` and `high`, to the last digit.
fn bisect(mut low: f64, mut high: f64, f: impl Fn(f64) -> f64) -> f64 {
    for _ in 0..200 {
        let middle = low + (high - low) / 2.0;
        if f(middle) < 0.0 { low = middle } else { high = middle }
    }
    low + (high - low) / 2.0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rand_distr::{Distribution, StandardNormal};
    use serde_json::Value;

    /// Numbers from SciPy and statsmodels, beside the script that asked for them.
    fn reference(what: &str) -> Vec<Value> {
        let all: Value =
            serde_json::from_str(include_str!("../../tests/fixtures/stats/reference.json"))
                .unwrap();
        let cases = all[what].as_array().unwrap().clone();
        assert!(!cases.is_empty(), "{what}");
        cases
    }

    fn float(value: &Value) -> f64 {
        value.as_f64().unwrap()
    }

    fn floats(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(float).collect()
    }

    fn count(value: &Value) -> usize {
        value.as_u64().unwrap() as usize
    }

    #[track_caller]
    fn close(ours: f64, theirs: f64) {
        assert!((ours - theirs).abs() <= 1e-6 * theirs.abs().max(1.0), "{ours} is not {theirs}");
    }

    #[track_caller]
    fn same_interval(ours: Option<Interval>, theirs: &Value) {
        let ours = ours.unwrap();
        close(ours.low, float(&theirs[0]));
        close(ours.high, float(&theirs[1]));
    }

    fn pairs(case: &Value) -> Vec<(f64, f64)> {
        floats(&case["a"]).into_iter().zip(floats(&case["b"])).collect()
    }

    fn design(case: &Value) -> Design {
        if case["design"] == "paired" { Design::Paired } else { Design::Unpaired }
    }

    #[test]
    fn wilson_intervals_are_those_of_statsmodels() {
        for case in reference("wilson") {
            same_interval(wilson(count(&case["k"]), count(&case["n"]), LEVEL), &case["interval"]);
        }
        assert_eq!(wilson(0, 0, LEVEL), None);
    }

    #[test]
    fn means_quantiles_and_t_intervals_are_those_of_scipy() {
        for case in reference("one_sample") {
            let x = floats(&case["x"]);
            close(mean(&x).unwrap(), float(&case["mean"]));
            close(sd(&x).unwrap(), float(&case["sd"]));
            close(median(&x).unwrap(), float(&case["median"]));
            close(interquartile_mean(&x).unwrap(), float(&case["iqm"]));
            for (p, theirs) in [0.025, 0.25, 0.9].into_iter().zip(floats(&case["quantiles"])) {
                close(quantile(&x, p).unwrap(), theirs);
            }
            same_interval(mean_interval(&x, LEVEL), &case["t_interval"]);
        }
    }

    #[test]
    fn paired_differences_and_their_p_values_are_those_of_scipy() {
        for case in reference("paired") {
            let ours = paired(&pairs(&case), LEVEL).unwrap();
            close(ours.mean, float(&case["mean"]));
            close(ours.p.unwrap(), float(&case["p"]));
            same_interval(ours.interval, &case["interval"]);
        }
    }

    #[test]
    fn the_probability_of_improvement_is_mann_whitneys_with_newcombes_interval() {
        for case in reference("improvement") {
            let ours = probability_of_improvement(&floats(&case["a"]), &floats(&case["b"]), LEVEL)
                .unwrap();
            close(ours.value, float(&case["value"]));
            close(ours.interval.low, float(&case["low"]));
            close(ours.interval.high, float(&case["high"]));
        }
    }

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
    fn ratios_of_pooled_sds_have_the_f_interval() {
        let cells =
            |value: &Value| value.as_array().unwrap().iter().map(floats).collect::<Vec<_>>();
        for case in reference("sd_ratio") {
            let (a, b) =
                (pooled_sd(&cells(&case["a"])).unwrap(), pooled_sd(&cells(&case["b"])).unwrap());
            close(a.sd, float(&case["sd"]));
            assert_eq!(a.df, count(&case["df"]));
            let ours = sd_ratio(a, b, LEVEL).unwrap();
            close(ours.value, float(&case["value"]));
            close(ours.interval.low, float(&case["low"]));
            close(ours.interval.high, float(&case["high"]));
        }
    }

    #[test]
    fn the_bootstrap_is_rliables_but_for_the_draw_and_the_same_every_time() {
        for case in reference("bootstrap") {
            let cells: Vec<Vec<f64>> =
                case["cells"].as_array().unwrap().iter().map(floats).collect();
            let ours = interquartile_mean_interval(&cells, LEVEL).unwrap();
            let theirs = floats(&case["interval"]);
            let width = theirs[1] - theirs[0];
            assert!((ours.low - theirs[0]).abs() < 0.06 * width, "{ours:?} {theirs:?}");
            assert!((ours.high - theirs[1]).abs() < 0.06 * width, "{ours:?} {theirs:?}");
            assert_eq!(interquartile_mean_interval(&cells, LEVEL), Some(ours));
        }
    }

    #[test]
    fn there_is_no_bootstrap_below_ten_seeds_in_any_cell() {
        let (nine, ten) = (vec![0.5; 9], (0..10).map(f64::from).collect::<Vec<_>>());
        assert!(interquartile_mean_interval(&[ten.clone(), ten.clone()], LEVEL).is_some());
        assert_eq!(interquartile_mean_interval(&[ten, nine], LEVEL), None);
        assert_eq!(interquartile_mean_interval::<Vec<f64>>(&[], LEVEL), None);
    }

    #[test]
    fn power_and_required_seeds_are_those_of_statsmodels() {
        for case in reference("power") {
            close(
                power(float(&case["effect"]), count(&case["n"]), design(&case), LEVEL),
                float(&case["power"]),
            );
        }
        for case in reference("required") {
            let ours = required_seeds(
                float(&case["gap"]),
                float(&case["sd"]),
                design(&case),
                LEVEL,
                POWER,
            );
            assert_eq!(ours, Some(count(&case["n"])), "{case}");
        }
        assert_eq!(required_seeds(0.0, 0.1, Design::Paired, LEVEL, POWER), None);
        assert_eq!(required_seeds(1e-9, 0.1, Design::Paired, LEVEL, POWER), None);
    }

    #[test]
    fn guessing_stays_below_the_binomial_bound() {
        for case in reference("binomial") {
            close(
                binomial_bound(count(&case["n"]), float(&case["p"]), 0.9999),
                float(&case["bound"]),
            );
        }
        assert_eq!(binomial_bound(0, 0.1, 0.9999), 1.0);
    }

    #[test]
    fn seeds_that_all_end_alike_give_no_certainty_before_there_are_six() {
        assert_eq!(mean_interval(&[0.1; 5], LEVEL), None);
        assert_eq!(mean_interval(&[0.1; 6], LEVEL), Some(Interval { low: 0.1, high: 0.1 }));
        let three = paired(&[(0.5, 0.1); 3], LEVEL).unwrap();
        assert_eq!((three.interval, three.p), (None, Some(0.25)));
        assert_eq!(paired(&[(0.1, 0.1); 3], LEVEL).unwrap().p, Some(1.0));
        assert_eq!(required_seeds(0.4, 0.0, Design::Paired, LEVEL, POWER), Some(6));
    }

    #[test]
    fn what_cannot_be_computed_is_none_and_never_nan() {
        assert_eq!((mean(&[]), median(&[]), interquartile_mean(&[])), (None, None, None));
        assert_eq!((sd(&[1.0]), mean_interval(&[1.0], LEVEL)), (None, None));
        assert_eq!(paired(&[], LEVEL), None);
        assert_eq!(paired(&[(1.0, 0.0)], LEVEL).unwrap().p, None);
        assert_eq!(probability_of_improvement(&[], &[1.0], LEVEL), None);
        assert_eq!(performance_profile(&[], &[0.5]), None);
        assert_eq!(pooled_sd(&[vec![1.0], vec![]]), None);
        let zero = Pooled { sd: 0.0, df: 3 };
        assert_eq!(sd_ratio(zero, Pooled { sd: 1.0, df: 3 }, LEVEL), None);
    }

    #[test]
    fn a_profile_is_the_share_of_values_that_reach_each_tau() {
        let values = [0.1, 0.5, 0.5, 0.9];
        assert_eq!(
            performance_profile(&values, &[0.0, 0.5, 0.51, 1.0]),
            Some(vec![1.0, 0.75, 0.25, 0.0])
        );
    }

    /// The share of 2,000 draws in which an interval covers the truth.
    fn coverage(draw: impl Fn(&mut rng::Stream) -> bool) -> f64 {
        let mut stream = rng::stream(0, "coverage", 0);
        (0..2000).filter(|_| draw(&mut stream)).count() as f64 / 2000.0
    }

    fn normals(n: usize, stream: &mut rng::Stream) -> Vec<f64> {
        StandardNormal.sample_iter(stream).take(n).collect()
    }

    #[track_caller]
    fn nominal(coverage: f64) {
        assert!((0.93..=0.97).contains(&coverage), "covers in {coverage} of the draws");
    }

    #[test]
    fn a_95_percent_t_interval_covers_the_mean_in_95_percent_of_draws() {
        for n in [3, 5, 10] {
            nominal(coverage(|stream| {
                mean_interval(&normals(n, stream), LEVEL).unwrap().contains(0.0)
            }));
        }
    }

    #[test]
    fn a_95_percent_wilson_interval_covers_the_share_in_95_percent_of_draws() {
        use rand::Rng;
        for n in [5, 10, 50] {
            nominal(coverage(|stream| {
                // At a single p the coverage of any such interval oscillates with n and p (Brown,
                // Cai & DasGupta 2001); it is right on average over p.
                let p = stream.random_range(0.02..0.98);
                let successes = (0..n).filter(|_| stream.random_bool(p)).count();
                wilson(successes, n, LEVEL).unwrap().contains(p)
            }));
        }
    }

    #[test]
    fn a_95_percent_paired_interval_covers_the_difference_in_95_percent_of_draws() {
        for n in [3, 5, 10] {
            nominal(coverage(|stream| {
                // What a seed does to both arms must not widen the interval.
                let pairs: Vec<(f64, f64)> = normals(n, stream)
                    .into_iter()
                    .map(|seed| {
                        let own = normals(2, stream);
                        (10.0 * seed + own[0] + 1.0, 10.0 * seed + 0.5 * own[1])
                    })
                    .collect();
                let interval = paired(&pairs, LEVEL).unwrap().interval.unwrap();
                assert!(interval.high - interval.low < 60.0);
                interval.contains(1.0)
            }));
        }
    }

    #[test]
    fn a_95_percent_interval_of_a_ratio_of_sds_covers_it_in_95_percent_of_draws() {
        nominal(coverage(|stream| {
            let mut cells = |scale: f64| -> Vec<Vec<f64>> {
                (0..3).map(|_| normals(4, stream).iter().map(|x| x * scale).collect()).collect()
            };
            let (a, b) = (pooled_sd(&cells(2.0)).unwrap(), pooled_sd(&cells(1.0)).unwrap());
            sd_ratio(a, b, LEVEL).unwrap().interval.contains(2.0)
        }));
    }

    #[test]
    fn the_band_of_a_profile_holds_the_share_and_knows_what_cannot_vary() {
        let spread: Vec<f64> = (0..20).map(|i| f64::from(i) / 20.0).collect();
        let cells = [spread.clone(), vec![0.1; 20]];
        let taus = [0.0, 0.1, 0.5, 0.96];
        let shares = performance_profile(&cells.concat(), &taus).unwrap();
        let band = performance_profile_interval(&cells, &taus, LEVEL).unwrap();
        assert!(shares.iter().zip(&band).all(|(share, band)| band.contains(*share)), "{band:?}");
        assert_eq!((band[0].low, band[0].high), (1.0, 1.0)); // all reach nothing
        assert_eq!((band[3].low, band[3].high), (0.0, 0.0));
        // Half of one cell's twenty, beside twenty that never reach it: Binomial(20, 1/2)/40, whose
        // 2.5 % and 97.5 % quantiles are 6 and 14 (scipy.stats.binom.ppf).
        let [low, high] = [band[2].low, band[2].high].map(|x| x * 40.0);
        assert!((low - 6.0).abs() < 0.5 && (high - 14.0).abs() < 0.5, "{low} {high}");
        assert_eq!(performance_profile_interval(&[spread[..9].to_vec()], &taus, LEVEL), None);
    }
}
