//! The mean of bounded values of any distribution.

use crate::interval::Interval;

/// The one-sided p value of "the mean is at most `bound`" for independent values in `range`.
///
/// Gaffke (2005, "Three test statistics for a nonparametric one-sided hypothesis on the mean of a
/// nonnegative variable"); as a confidence bound, Learned-Miller & Thomas (2020, "A new confidence
/// interval for the mean of a bounded random variable", Algorithm 1): the distribution of
/// w₀·low + Σ wᵢxᵢ, where w is uniform on the simplex. For values of 0 and 1 it is the Clopper–Pearson
/// p value. That it holds for every distribution is a conjecture without a known
/// counterexample (Phan, Thomas & Learned-Miller 2021, "Towards practical mean bounds for small
/// samples"); `examples/validate.rs` and the tests try skewed mixtures.
///
/// The literature draws w at random. Here the probability is exact: with wᵢ = Eᵢ / ΣE of independent
/// exponentials it is P(Σ Eᵢ(vᵢ − bound) ≤ 0), a race between the terms above and below the
/// bound. As exponentials have no memory, term i above finishes before term j below with
/// probability bⱼ / (aᵢ + bⱼ), independently of the past.
pub fn p_above(values: &[f64], range: Interval, bound: f64) -> f64 {
    if bound < range.low {
        return 0.0;
    }
    if bound >= range.high {
        return 1.0;
    }
    let (mut above, mut below) = (Vec::new(), Vec::new());
    for value in values.iter().chain([&range.low]) {
        let distance = value.clamp(range.low, range.high) - bound;
        match distance {
            d if d > 0.0 => above.push(d),
            d if d < 0.0 => below.push(-d),
            _ => {}
        }
    }
    // first[j]: the probability that the terms above from i on finish before those below from j on.
    let mut first = vec![1.0; below.len() + 1];
    for a in above.iter().rev() {
        first[below.len()] = 0.0;
        for (j, b) in below.iter().enumerate().rev() {
            first[j] = (b * first[j] + a * first[j + 1]) / (a + b);
        }
    }
    first[0]
}

/// The one-sided p value of "the mean is at least `bound`": [`p_above`] of the mirrored values.
pub fn p_below(values: &[f64], range: Interval, bound: f64) -> f64 {
    let mirrored: Vec<f64> = values.iter().map(|x| -x).collect();
    p_above(&mirrored, Interval { low: -range.high, high: -range.low }, -bound)
}
