//! How many seeds a decision needs, and which differences a number of seeds can detect.

use crate::describe;
use crate::inference::Inference;
use crate::interval::{ALPHA, Interval, LEVEL, bisect};
use crate::power::{self, Design, POWER, required_seeds};

/// The largest number of seeds that is reported. An effect that needs more is too small to pursue.
const MOST: usize = 1000;

/// How many seeds, in all, a t test needs for a decision with probability `POWER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedsNeeded {
    /// At the observed mean and sd; `None` for more than 1,000.
    pub n: Option<usize>,
    /// At the upper end of the interval of the standardised effect.
    pub low: Option<usize>,
    /// At its lower end.
    pub high: Option<usize>,
}

/// How many fresh seeds decide whether the mean of roughly normal values is in `wanted`; `low` and
/// `high` come from [`effect_interval`]. `None` for fewer than two values, no spread, or no finite
/// end.
pub fn seeds_needed(values: &[f64], wanted: Interval) -> Option<SeedsNeeded> {
    let mean = describe::mean(values)?;
    let far = |end: f64| (mean - end).abs();
    let nearer = if far(wanted.low) <= far(wanted.high) { wanted.low } else { wanted.high };
    let likely = effect_interval(values, nearer)?;
    let needed = |effect: f64| required_seeds(effect.max(0.0), LEVEL, MOST);
    let observed = far(nearer) / describe::sd(values)?;
    Some(SeedsNeeded { n: needed(observed), low: needed(likely.high), high: needed(likely.low) })
}

/// The same for values that are all at the ends of `range` (success or failure), by the exact test
/// of a share: at the observed share, and at the ends of its interval. `None` if a value is between
/// the ends, or no end of `wanted` is.
pub(crate) fn share_seeds_needed(
    values: &[f64],
    range: Interval,
    wanted: Interval,
) -> Option<SeedsNeeded> {
    let share = |x: f64| (x - range.low) / (range.high - range.low);
    let wanted = Interval { low: share(wanted.low), high: share(wanted.high) };
    let n = values.len();
    if n == 0 || values.iter().any(|x| *x != range.low && *x != range.high) {
        return None;
    }
    let k = values.iter().filter(|x| **x == range.high).count();
    let observed = k as f64 / n as f64;
    let far = |end: f64| (observed - end).abs();
    let end = if far(wanted.low) <= far(wanted.high) { wanted.low } else { wanted.high };
    if !(0.0..=1.0).contains(&end) {
        return None;
    }
    let above = observed > end || (observed == end && end == wanted.low);
    // Shares below the bound are those of failures above its mirror.
    let (end, mirror) = if above { (end, 0.0) } else { (1.0 - end, 1.0) };
    let needed = |share: f64| {
        let share: f64 = (share - mirror).abs();
        if share <= end {
            return None;
        }
        (1..=MOST).find(|&m| {
            let rejects = |k: usize| crate::proportion::p_above(k, m, end) <= ALPHA / 2.0;
            let counts: Vec<usize> = (0..=m).collect();
            let least = counts.partition_point(|&k| !rejects(k));
            least <= m && crate::proportion::p_above(least, m, share) >= POWER
        })
    };
    let likely = Inference::Share { k, n }.interval(ALPHA / 2.0, ALPHA / 2.0);
    let (near, far) = if above { (likely.low, likely.high) } else { (likely.high, likely.low) };
    Some(SeedsNeeded { n: needed(observed), low: needed(far), high: needed(near) })
}

/// The interval of the distance between the mean and a margin, in sds, on the observed side: the
/// values at which the noncentral t distribution gives the observed statistic the tail
/// probabilities (Hedges & Olkin 1985, §5.E; Cumming & Finch 2001). `None` for fewer than two
/// values or no spread.
pub fn effect_interval(values: &[f64], margin: f64) -> Option<Interval> {
    let (mean, sd, n) = (describe::mean(values)?, describe::sd(values)?, values.len());
    if sd < crate::student::EQUAL || margin.is_infinite() {
        return None;
    }
    let root = (n as f64).sqrt();
    let t = (mean - margin).abs() / sd * root;
    let effect = |below: f64| {
        let more = |effect| power::noncentral_t_cdf(t, n as f64 - 1.0, effect) > below;
        let Interval { low, high } = bisect(-37.0, 37.0, more);
        f64::midpoint(low, high) / root
    };
    let tail = (1.0 - LEVEL) / 2.0;
    Some(Interval { low: effect(1.0 - tail), high: effect(tail) })
}

/// The smallest distance to a margin that the t test of `n` seeds at `level` decides with probability `POWER`,
/// if their values (of paired arms the differences) have this sd. `None` for fewer than two.
pub fn detectable_mean(n: usize, sd: f64, level: f64) -> Option<f64> {
    const MOST: f64 = 37.0;
    let misses = |effect| power::power(effect, n, Design::Paired, level) < POWER;
    (n >= 2 && !misses(MOST)).then(|| bisect(0.0, MOST, misses).high * sd)
}
