//! Intervals and tests.
//!
//! Every function takes finite numbers and names its formula and where that is published. What cannot be
//! computed (an interval without spread) is `None`, never NaN. Intervals are two-sided and equal-tailed.
//!
//! # Without spread
//! Runs that all ended the same way (every seed diverged, say) have a standard deviation of 0. A t
//! interval would then be a point after two seeds, which is more certainty than any number of seeds
//! can give. The bound for values of any shape ([`bounded`](crate::bounded)) takes its place: the seeds that
//! were not tried may lie anywhere in the range.

use std::fmt;

use statrs::distribution::{ContinuousCDF, FisherSnedecor, Normal, StudentsT};
use statrs::function::beta::beta_reg;

use crate::describe::{Pooled, all_equal, mean, sd};
use crate::inference::Inference;

/// The confidence level of every interval that the program prints.
pub const LEVEL: f64 = 0.95;

/// A confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl fmt::Display for Interval {
    /// `[0.100, 0.200]`; both ends in the format that is asked for.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("[")?;
        self.low.fmt(f)?;
        f.write_str(", ")?;
        self.high.fmt(f)?;
        f.write_str("]")
    }
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

/// The range of accuracies and of shares.
pub const FRACTION: Interval = Interval { low: 0.0, high: 1.0 };

/// Student's t interval of a mean, x̄ ± t₍ₙ₋₁₎·s/√n. `None` for fewer than two values, or no spread.
pub fn t_interval(values: &[f64], level: f64) -> Option<Interval> {
    let (mean, sd, n) = (mean(values)?, sd(values)?, values.len());
    if all_equal(values).is_some() {
        return None;
    }
    let half = t_quantile(0.5 + level / 2.0, (n - 1) as f64) * sd / (n as f64).sqrt();
    Some(Interval { low: mean - half, high: mean + half })
}

/// The interval of a mean of values in `range`: Student's t, cut to the range; without spread the bound for
/// values of any shape. `None` for fewer than two values, or no spread and an unbounded range.
pub fn mean_interval(values: &[f64], range: Interval, level: f64) -> Option<Interval> {
    match t_interval(values, level) {
        Some(Interval { low, high }) => {
            Some(Interval { low: low.max(range.low), high: high.min(range.high) })
        }
        None => bounded_interval(values, range, level),
    }
}

/// The interval of the mean of values of any shape in `range` ([`bounded`](crate::bounded)). `None` for fewer
/// than two values, or an unbounded range.
pub fn bounded_interval(values: &[f64], range: Interval, level: f64) -> Option<Interval> {
    if values.len() < 2 || range.low.is_infinite() || range.high.is_infinite() {
        return None;
    }
    let tail = (1.0 - level) / 2.0;
    Some(Inference::Bounded(values.to_vec(), range).interval(tail, tail))
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
    /// The two-sided p value of the paired t test of no difference; that of `interval` where there
    /// is no spread. `None` for one pair.
    pub p: Option<f64>,
}

/// The difference a − b of paired fractions with a t interval and the p value of the paired t test
/// (Student 1908). `None` for no pairs.
pub(crate) fn paired(pairs: &[(f64, f64)], level: f64) -> Option<Paired> {
    let differences: Vec<f64> = pairs.iter().map(|(a, b)| a - b).collect();
    let (n, mean) = (differences.len(), mean(&differences)?);
    let (sd, range) = (sd(&differences), Interval { low: -1.0, high: 1.0 });
    let p = match (all_equal(&differences), sd) {
        (_, None) => None,
        (Some(0.0), _) => Some(1.0), // also where the bound would say so
        (Some(_), _) => {
            let bound = Inference::Bounded(differences.clone(), range);
            Some((2.0 * bound.p_above(0.0).min(bound.p_below(0.0))).min(1.0))
        }
        (None, Some(sd)) => Some(t_two_sided(mean / (sd / (n as f64).sqrt()), (n - 1) as f64)),
    };
    Some(Paired { n, mean, sd, interval: mean_interval(&differences, range, level), p })
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

/// The two-sided p value of the sign test when all n signs agree.
pub(crate) fn sign_test_p(n: usize) -> f64 {
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
    use crate::describe::pooled_sd;
    use crate::testing::*;
    use rand_distr::{Distribution, StandardNormal};
    use serde_json::Value;
    use wninit_core::rng;

    #[test]
    fn what_cannot_be_computed_is_none_and_never_nan() {
        assert_eq!(mean_interval(&[1.0], FRACTION, LEVEL), None);
        assert_eq!(paired(&[], LEVEL), None);
        assert_eq!(paired(&[(1.0, 0.0)], LEVEL).unwrap().p, None);
        assert_eq!(probability_of_improvement(&[], &[1.0], LEVEL), None);
        let zero = Pooled { sd: 0.0, df: 3 };
        assert_eq!(sd_ratio(zero, Pooled { sd: 1.0, df: 3 }, LEVEL), None);
    }

    #[test]
    fn t_intervals_are_those_of_scipy() {
        for case in reference("one_sample") {
            same_interval(t_interval(&floats(&case["x"]), LEVEL), &case["t_interval"]);
        }
    }

    fn pairs(case: &Value) -> Vec<(f64, f64)> {
        floats(&case["a"]).into_iter().zip(floats(&case["b"])).collect()
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
    fn wilson_intervals_are_those_of_statsmodels() {
        for case in reference("wilson") {
            same_interval(wilson(count(&case["k"]), count(&case["n"]), LEVEL), &case["interval"]);
        }
        assert_eq!(wilson(0, 0, LEVEL), None);
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
    fn seeds_that_all_end_alike_give_an_interval_that_is_no_point() {
        for n in [2, 5, 6, 100] {
            // Differences of fractions differ in the last bit.
            let values: Vec<f64> = (0..n).map(|i| 0.1 + f64::from(i % 2) * 1e-16).collect();
            let interval = mean_interval(&values, FRACTION, LEVEL).unwrap();
            assert!(0.0 <= interval.low && interval.low < 0.1 - 1e-3, "{interval:?}");
            assert!(0.1 + 1e-3 < interval.high && interval.high < 1.0, "{interval:?}");
        }
        let unbounded = Interval { low: 0.0, high: f64::INFINITY };
        assert_eq!(mean_interval(&[0.1; 6], unbounded, LEVEL), None);
        assert_eq!(mean_interval(&[0.1, 0.9], FRACTION, LEVEL), Some(FRACTION));
        let three = paired(&[(0.5, 0.1); 3], LEVEL).unwrap();
        assert!(three.interval.unwrap().low < 0.0 && three.p.unwrap() > 0.25, "{three:?}");
        assert_eq!(paired(&[(0.1, 0.1); 3], LEVEL).unwrap().p, Some(1.0));
    }

    #[test]
    fn a_95_percent_t_interval_covers_the_mean_in_95_percent_of_draws() {
        for n in [3, 5, 10] {
            nominal(coverage(|stream| {
                contains(t_interval(&normals(n, stream), LEVEL).unwrap(), 0.0)
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
                contains(wilson(successes, n, LEVEL).unwrap(), p)
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
                contains(interval, 1.0)
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
            contains(sd_ratio(a, b, LEVEL).unwrap().interval, 2.0)
        }));
    }
}
