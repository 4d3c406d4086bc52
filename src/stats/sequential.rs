//! Anytime-valid tests, which may be evaluated after every seed: the error holds over the whole
//! path.
//!
//! Each is a test of a bound by a nonnegative process that starts at 1 and whose mean does not grow
//! under the null hypothesis. By Ville's (1939) inequality it ever reaches 1/p with probability at
//! most p, so the reciprocal of its largest value so far is a p value at every look. Values are in
//! the order of their seeds, so the result does not depend on the batches.

use crate::interval::Interval;

/// The anytime-valid one-sided p value of "the mean is at most `bound`" for values in `range`, of
/// any distribution: the capital of a gambler who bets on values above the bound, averaged over a
/// grid of bets (Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by
/// betting", eq. 24 and the grid of appendix B.6, one side of the hedge).
///
/// The bets are quantiles of the arcsine distribution. For differences of successes and a bound
/// of 0 only discordant pairs move the capital, and it is the beta-binomial mixture over
/// one half of Jeffreys' prior (Robbins 1970).
pub fn p_above(values: &[f64], range: Interval, bound: f64) -> f64 {
    const BETS: usize = 64;
    if bound <= range.low {
        // No mean is below the range; it equals the lower end only if every value does.
        return f64::from(u8::from(bound == range.low && values.iter().all(|x| *x <= bound)));
    }
    if bound >= range.high {
        return 1.0;
    }
    // Logarithms of capital, which would overflow after a few hundred consistent seeds.
    let most = 1.0 / (bound - range.low);
    let mut bets: Vec<(f64, f64)> = (0..BETS)
        .map(|i| {
            let quantile = (i as f64 + 0.5) / BETS as f64;
            (most * (quantile * std::f64::consts::FRAC_PI_2).sin(), 0.0)
        })
        .collect();
    let mut best = 0.0_f64;
    for value in values {
        let gain = value.clamp(range.low, range.high) - bound;
        let mut top = f64::NEG_INFINITY;
        for (bet, capital) in &mut bets {
            *capital += (*bet * gain).ln_1p();
            top = top.max(*capital);
        }
        // The mean is at most the largest; exponentials only where that could be a new record.
        if top > best {
            let sum: f64 = bets.iter().map(|(_, capital)| (capital - top).exp()).sum();
            best = best.max(top + (sum / BETS as f64).ln());
        }
    }
    (-best).exp()
}

/// The anytime-valid one-sided p value of "the mean is at least `bound`": [`p_above`] mirrored.
pub fn p_below(values: &[f64], range: Interval, bound: f64) -> f64 {
    let mirrored: Vec<f64> = values.iter().map(|x| -x).collect();
    p_above(&mirrored, Interval { low: -range.high, high: -range.low }, -bound)
}

/// The anytime-valid one-sided p values of "the mean is at most `bound`" and of "at least" for normal
/// values of unknown variance: the t statistic's likelihood ratio, mixed over standardised effects
/// N(0, 1) (Lai 1976; Wang & Ramdas 2025, "Anytime-valid t-tests and confidence sequences for
/// Gaussian means with unknown variance", theorem 4.7 with c = 1; Rouder et al. 2009 give the same
/// ratio). Each side gets half of the error of the two-sided process.
pub fn normal(values: &[f64], bound: f64) -> (f64, f64) {
    let (mut above, mut below) = (1.0_f64, 1.0_f64);
    let (mut n, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for value in values {
        n += 1.0;
        let step = value - mean;
        mean += step / n;
        squares += step * (value - mean);
        if n < 2.0 {
            continue;
        }
        // t²/(n − 1), bounded away from the infinite one of equal values.
        let distance = mean - bound;
        let ratio = n * distance * distance / squares.max(n * crate::student::EQUAL.powi(2));
        let scale = 1.0 + n;
        let ln_e = n / 2.0 * (ratio.ln_1p() - (ratio / scale).ln_1p()) - scale.ln() / 2.0;
        let p = (0.5 * (-ln_e).exp()).min(1.0);
        let side = if distance > 0.0 { &mut above } else { &mut below };
        *side = side.min(p);
    }
    (above, below)
}
