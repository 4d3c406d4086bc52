//! The mean of bounded values of any distribution.

use std::f64::consts::PI;

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
/// The literature draws w at random. Here the probability is computed: with wᵢ = Eᵢ / ΣE of independent
/// exponentials it is P(Σ Eᵢ(vᵢ − bound) ≤ 0), by `race` for few values and by `contour` for many.
pub fn p_above(values: &[f64], range: Interval, bound: f64) -> f64 {
    if bound < range.low {
        return 0.0;
    }
    if bound >= range.high {
        return 1.0;
    }
    let distances =
        values.iter().chain([&range.low]).map(|v| v.clamp(range.low, range.high) - bound);
    let (above, below): (Vec<f64>, Vec<f64>) =
        distances.filter(|d| *d != 0.0).partition(|d| *d > 0.0);
    match above.len() * below.len() {
        0..=10_000 => race(&above, &below),
        _ => contour(&above, &below),
    }
}

/// P(Σ Eᵢaᵢ + Σ Eⱼbⱼ ≤ 0) of independent exponentials, for aᵢ > 0 > bⱼ, in as many steps as there are
/// pairs. It is a race between the terms above and below: as exponentials have no memory, term i
/// above finishes before term j below with probability |bⱼ| / (aᵢ + |bⱼ|), independently of the past.
fn race(above: &[f64], below: &[f64]) -> f64 {
    // first[j]: the probability that the terms above from i on finish before those below from j on.
    let mut first = vec![1.0; below.len() + 1];
    for a in above.iter().rev() {
        first[below.len()] = 0.0;
        for (j, b) in below.iter().enumerate().rev() {
            first[j] = (-b * first[j] + a * first[j + 1]) / (a - b);
        }
    }
    first[0]
}

/// The same probability to nine digits or more, in steps proportional to the number of unlike terms.
///
/// With the moment generating function M(s) = Π 1 / (1 − s dᵢ) it is −1/2πi ∫ M(s)/s ds along Re s = c
/// for a c < 0, and 1 − 1/2πi ∫ M(s)/s ds for a c > 0, where M is finite (Rice 1980, "Distribution of
/// quadratic forms in normal random variables – evaluation by numerical integration"). On the
/// line through the saddle point of M(s)/|s| the integrand has one peak, and the trapezoidal rule
/// converges exponentially (Trefethen & Weideman 2014).
fn contour(above: &[f64], below: &[f64]) -> f64 {
    /// Points of the line that are computed side by side.
    const LANES: usize = 16;
    let mut sorted: Vec<f64> = above.iter().chain(below).copied().collect();
    sorted.sort_by(f64::total_cmp);
    // (a distance, how many terms have it)
    let terms: Vec<(f64, u32)> =
        sorted.chunk_by(|a, b| a == b).map(|equal| (equal[0], equal.len() as u32)).collect();
    let over =
        |f: &dyn Fn(f64) -> f64| -> f64 { terms.iter().map(|(d, n)| f64::from(*n) * f(*d)).sum() };
    // The tail that is the smaller one, so that its digits count.
    let lower = over(&|d| d) > 0.0;
    let pole = match lower {
        true => 1.0 / below.iter().copied().fold(0.0, f64::min),
        false => 1.0 / above.iter().copied().fold(0.0, f64::max),
    };
    // The derivative of ln(M(s)/|s|) rises from the left end of (pole, 0) or (0, pole) to the right.
    let (mut left, mut right) = if lower { (pole, 0.0) } else { (0.0, pole) };
    // Newton's steps, and the middle where one would leave the bracket; any c near the saddle will do.
    let mut c = f64::midpoint(left, right);
    for _ in 0..60 {
        let slope = over(&|d| d / (1.0 - c * d)) - 1.0 / c;
        if slope < 0.0 {
            left = c
        } else {
            right = c
        }
        let curvature = over(&|d| (d / (1.0 - c * d)).powi(2)) + 1.0 / (c * c);
        let next = c - slope / curvature;
        let inside = left < next && next < right;
        let next = if inside { next } else { f64::midpoint(left, right) };
        let near = (next - c).abs() <= 1e-4 * c.abs();
        c = next;
        if near {
            break;
        }
    }
    let tilted = |d: f64| d / (1.0 - c * d);
    let log_m = -over(&|d| (-c * d).ln_1p());
    let deviation = over(&|d| tilted(d).powi(2)).sqrt();
    // M(c + it) / M(c) is Π 1 / (1 − i t eᵢ). What the rule adds are the tails at multiples of 2π / step,
    // which have to be small beside a probability of about M(c) / |c| / deviation.
    let digits = 40.0 + (c.abs() * deviation).ln().max(0.0) - log_m.min(0.0);
    let step = (2.0 * PI * c.abs() / digits).min(0.3 / deviation);
    let (mut sum, mut greatest) = (0.5 / c.abs(), 0.5 / c.abs());
    for block in 0.. {
        let mut t = [0.0; LANES];
        for (k, t) in t.iter_mut().enumerate() {
            *t = (block * LANES + k + 1) as f64 * step;
        }
        let (mut re, mut im) = ([1.0; LANES], [0.0; LANES]);
        for &(d, mut n) in &terms {
            // 1 / (1 − ix)ⁿ by squaring.
            let e = tilted(d);
            let (mut a, mut b) = ([0.0; LANES], [0.0; LANES]);
            for k in 0..LANES {
                let x = t[k] * e;
                a[k] = 1.0 / (1.0 + x * x);
                b[k] = x * a[k];
            }
            loop {
                if n % 2 == 1 {
                    for k in 0..LANES {
                        (re[k], im[k]) = (re[k] * a[k] - im[k] * b[k], im[k] * a[k] + re[k] * b[k]);
                    }
                }
                n /= 2;
                if n == 0 {
                    break;
                }
                for k in 0..LANES {
                    (a[k], b[k]) = (a[k] * a[k] - b[k] * b[k], 2.0 * a[k] * b[k]);
                }
            }
        }
        // The real part of the product over |c + it|², for c's sign.
        let mut last = 0.0;
        for k in 0..LANES {
            let squared = c * c + t[k] * t[k];
            sum += (re[k] * c + im[k] * t[k]) / squared * c.signum();
            last = re[k].hypot(im[k]) / squared.sqrt();
            greatest = f64::max(greatest, last);
        }
        if last < 1e-17 * greatest {
            break;
        }
    }
    let tail = (log_m + (sum * step / PI).ln()).exp();
    if lower { tail } else { 1.0 - tail }
}

/// The one-sided p value of "the mean is at least `bound`": [`p_above`] of the mirrored values.
pub fn p_below(values: &[f64], range: Interval, bound: f64) -> f64 {
    let mirrored: Vec<f64> = values.iter().map(|x| -x).collect();
    p_above(&mirrored, Interval { low: -range.high, high: -range.low }, -bound)
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::{contour, race};

    /// Probabilities from 1e-60 to 1 − 1e-9, of like and of very unlike terms.
    #[test]
    fn the_contour_integral_is_the_race() {
        let mut draw = StdRng::seed_from_u64(7);
        for case in 0..300 {
            let (n, m) = (draw.random_range(3..300), draw.random_range(3..300));
            let (a, b) = (10f64.powf(draw.random_range(-2.0..0.0)), draw.random_range(0.1..1.0));
            let above: Vec<f64> = (0..n).map(|_| a * draw.random::<f64>().max(1e-9)).collect();
            let below: Vec<f64> = (0..m).map(|_| -b * draw.random::<f64>().max(1e-9)).collect();
            let (exact, fast) = (race(&above, &below), contour(&above, &below));
            let error = (fast - exact).abs() / exact;
            assert!(
                error < 1e-9,
                "case {case}: {n} above, {m} below: {fast} for {exact}, {error:e}"
            );
        }
    }

    #[test]
    fn terms_that_are_all_alike() {
        for (above, below) in
            [(vec![1.0; 400], vec![-1.0; 400]), (vec![0.99; 4], vec![-0.01; 3000])]
        {
            let (exact, fast) = (race(&above, &below), contour(&above, &below));
            assert!((fast / exact - 1.0).abs() < 1e-9, "{fast} for {exact}");
        }
    }
}
