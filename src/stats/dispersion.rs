//! Compares how much the results of two arms vary between seeds.

use std::collections::{BTreeMap, BTreeSet};

use crate::describe;
use crate::interval::{self, Estimate, Interval};

/// The ratio of two arms' sds within settings, pooled over settings, with the interval of the
/// delete-one-seed jackknife of its logarithm (Miller 1968, "Jackknifing variances"). A seed is
/// left out of all settings and both arms at once. Unlike the F interval it requires neither normal
/// values nor equal sds in all settings. A setting counts if both arms have three seeds.
///
/// `None` for fewer than six seeds, for which the jackknife is too narrow, and if an arm has no
/// spread, or none without one of its seeds.
pub fn sd_ratio(
    a: &[BTreeMap<u64, f64>],
    b: &[BTreeMap<u64, f64>],
    level: f64,
) -> Option<Estimate> {
    const FEWEST: usize = 6;
    let kept: Vec<_> = a.iter().zip(b).filter(|(a, b)| a.len() >= 3 && b.len() >= 3).collect();
    let seeds: BTreeSet<u64> =
        kept.iter().flat_map(|(a, b)| a.keys().chain(b.keys())).copied().collect();
    let n = seeds.len();
    if n < FEWEST {
        return None;
    }
    let ln_ratio = |left_out: Option<u64>| {
        let variance = |arm: &dyn Fn(usize) -> BTreeMap<u64, f64>| {
            let (mut squares, mut df) = (0.0, 0.0);
            for setting in 0..kept.len() {
                let values: Vec<f64> = arm(setting)
                    .into_iter()
                    .filter(|(seed, _)| Some(*seed) != left_out)
                    .map(|(_, value)| value)
                    .collect();
                let freedom = values.len() as f64 - 1.0;
                squares += describe::sd(&values)?.powi(2) * freedom;
                df += freedom;
            }
            let sd = (squares / df).sqrt();
            (sd > crate::student::EQUAL).then(|| sd.ln())
        };
        let of_a = variance(&|setting| kept[setting].0.clone())?;
        let of_b = variance(&|setting| kept[setting].1.clone())?;
        Some(of_a - of_b)
    };
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
