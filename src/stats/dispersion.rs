//! Compares how much the results of two arms vary between seeds.

use std::collections::{BTreeMap, BTreeSet};

use crate::describe;
use crate::interval::{self, Estimate, Interval};

/// A setting's values by seed.
type BySeed = BTreeMap<u64, f64>;

/// The squared distances of a setting's values from their mean.
struct Squares<'a> {
    values: &'a BySeed,
    mean: f64,
    sum: f64,
}

impl Squares<'_> {
    fn of(values: &BySeed) -> Squares<'_> {
        let mean = values.values().sum::<f64>() / values.len() as f64;
        let sum = values.values().map(|x| (x - mean).powi(2)).sum();
        Squares { values, mean, sum }
    }

    /// Their sum from the mean of the values that remain without a seed, and its degrees of freedom.
    fn without(&self, seed: Option<u64>) -> (f64, f64) {
        let n = self.values.len() as f64;
        match seed.and_then(|seed| self.values.get(&seed)) {
            Some(x) => ((self.sum - (x - self.mean).powi(2) * n / (n - 1.0)).max(0.0), n - 2.0),
            None => (self.sum, n - 1.0),
        }
    }
}

/// The ratio of two arms' sds within settings, pooled over settings, with the interval of the
/// delete-one-seed jackknife of its logarithm (Miller 1968, "Jackknifing variances"). A seed is
/// left out of all settings and both arms at once. Unlike the F interval it requires neither normal
/// values nor equal sds in all settings. A setting counts if both arms have three seeds.
///
/// `None` for fewer than six seeds, for which the jackknife is too narrow, and if an arm has no
/// spread, or none without one of its seeds.
pub fn sd_ratio(a: &[BySeed], b: &[BySeed], level: f64) -> Option<Estimate> {
    const FEWEST: usize = 6;
    let kept: Vec<_> = a.iter().zip(b).filter(|(a, b)| a.len() >= 3 && b.len() >= 3).collect();
    let seeds: BTreeSet<u64> =
        kept.iter().flat_map(|(a, b)| a.keys().chain(b.keys())).copied().collect();
    let n = seeds.len();
    if n < FEWEST {
        return None;
    }
    let (a, b): (Vec<Squares>, Vec<Squares>) =
        kept.iter().map(|(a, b)| (Squares::of(a), Squares::of(b))).unzip();
    let ln_sd = |arm: &[Squares], left_out: Option<u64>| {
        let without = arm.iter().map(|squares| squares.without(left_out));
        let (sum, df) = without.fold((0.0, 0.0), |(sum, df), one| (sum + one.0, df + one.1));
        let sd = (sum / df).sqrt();
        (sd > crate::student::EQUAL).then(|| sd.ln())
    };
    let ln_ratio = |left_out| Some(ln_sd(&a, left_out)? - ln_sd(&b, left_out)?);
    let whole = ln_ratio(None)?;
    let count = n as f64;
    let pseudo: Option<Vec<f64>> = seeds
        .iter()
        .map(|seed| Some(count * whole - (count - 1.0) * ln_ratio(Some(*seed))?))
        .collect();
    let pseudo = pseudo?;
    let error = describe::sd(&pseudo)? / count.sqrt();
    let half = interval::t_quantile(0.5 + level / 2.0, count - 1.0) * error;
    let centre = describe::mean(&pseudo)?;
    // Around the jackknife's own estimate, which corrects the bias; widened to contain the plain ratio.
    let interval =
        Interval { low: (centre - half).min(whole).exp(), high: (centre + half).max(whole).exp() };
    Some(Estimate { value: whole.exp(), interval })
}
