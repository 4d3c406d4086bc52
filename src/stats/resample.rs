//! The stratified percentile bootstrap. The draws are the same every time.

use rand::RngCore;
use rayon::prelude::*;

use wninit_core::rng;

use crate::describe::quantile;
use crate::interval::Interval;

/// The fewest seeds in a cell for which a bootstrap is drawn: below, its intervals are too narrow.
pub const BOOTSTRAP_MIN: usize = 10;

/// Bootstrap resamples; a quarter as many for more than [`MANY`] values, which draw longer and need
/// fewer, as the interval is narrow then.
const RESAMPLES: usize = 2000;
const MANY: usize = 5000;

/// The cells, if each has enough values.
fn enough<C: AsRef<[f64]>>(cells: &[C]) -> Option<Vec<&[f64]>> {
    let cells: Vec<&[f64]> = cells.iter().map(AsRef::as_ref).collect();
    let few = cells.is_empty() || cells.iter().any(|cell| cell.len() < BOOTSTRAP_MIN);
    (!few).then_some(cells)
}

/// A statistic of each resample of `n` values.
fn resampled<T: Send>(n: usize, statistic: impl Fn(&mut rng::Stream) -> T + Sync) -> Vec<T> {
    let resamples = if n > MANY { RESAMPLES / 4 } else { RESAMPLES };
    let one = |index| statistic(&mut rng::stream(0, "bootstrap", index as u64));
    (0..resamples).into_par_iter().map(one).collect()
}

/// An index below `n`: Lemire's multiply-shift, whose bias is below n / 2³².
fn draw(stream: &mut rng::Stream, n: usize) -> usize {
    ((u64::from(stream.next_u32()) * n as u64) >> 32) as usize
}

fn percentiles(values: &[f64], level: f64) -> Option<Interval> {
    let end = |p| quantile(values, p);
    Some(Interval { low: end(0.5 - level / 2.0)?, high: end(0.5 + level / 2.0)? })
}

/// The percentile bootstrap interval of the interquartile mean over all cells, stratified by cell:
/// each resample draws every cell's runs (its seeds) with replacement from that cell, and takes the
/// interquartile mean of all that was drawn (Agarwal et al. 2021, and their library rliable). `None`
/// where a cell has fewer than [`BOOTSTRAP_MIN`] values.
pub(crate) fn interquartile_mean_interval<C: AsRef<[f64]>>(
    cells: &[C],
    level: f64,
) -> Option<Interval> {
    let cells = enough(cells)?;
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
    let means = resampled(n, |stream| {
        let mut counts = vec![0_u32; n];
        let mut rest = ranks.as_slice();
        for cell in &cells {
            let (own, later) = rest.split_at(cell.len());
            rest = later;
            for _ in own {
                counts[own[draw(stream, own.len())] as usize] += 1;
            }
        }
        trimmed_mean_of_counts(&sorted, &counts, cut, n - cut)
    });
    percentiles(&means, level)
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

/// For each τ the percentile bootstrap interval of the share of values that are at least τ, stratified
/// by cell as in [`interquartile_mean_interval`] (the bands of Agarwal et al. 2021): pointwise, not
/// for the whole curve at once. `taus` ascend, and are fewer than 65,536. `None` where a cell has fewer
/// than [`BOOTSTRAP_MIN`] values.
pub(crate) fn performance_profile_interval<C: AsRef<[f64]>>(
    cells: &[C],
    taus: &[f64],
    level: f64,
) -> Option<Vec<Interval>> {
    let cells = enough(cells)?;
    // The number of τ that a value reaches is all that matters of it.
    let reach = |x: &f64| taus.partition_point(|tau| tau <= x);
    let n: usize = cells.iter().map(|cell| cell.len()).sum();
    let mut fixed = vec![0_usize; taus.len() + 1];
    let mut drawn: Vec<Vec<u16>> = Vec::new();
    for cell in cells {
        let reached: Vec<u16> = cell.iter().map(|x| reach(x) as u16).collect();
        if reached.iter().all(|&r| r == reached[0]) {
            fixed[usize::from(reached[0])] += reached.len(); // every resample is the same
        } else {
            drawn.push(reached);
        }
    }
    let shares = resampled(n, |stream| {
        let mut counts = fixed.clone();
        for cell in &drawn {
            for _ in cell {
                counts[usize::from(cell[draw(stream, cell.len())])] += 1;
            }
        }
        // From the number that reaches exactly so many τ to the share that reaches at least each.
        let mut above = 0;
        let mut shares = vec![0.0; taus.len()];
        for (share, count) in shares.iter_mut().zip(&counts[1..]).rev() {
            above += count;
            *share = above as f64 / n as f64;
        }
        shares
    });
    (0..taus.len())
        .into_par_iter()
        .map(|i| percentiles(&shares.iter().map(|shares| shares[i]).collect::<Vec<_>>(), level))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::describe::performance_profile;
    use crate::interval::LEVEL;
    use crate::testing::*;

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
    fn the_band_of_a_profile_holds_the_share_and_knows_what_cannot_vary() {
        let spread: Vec<f64> = (0..20).map(|i| f64::from(i) / 20.0).collect();
        let cells = [spread.clone(), vec![0.1; 20]];
        let taus = [0.0, 0.1, 0.5, 0.96];
        let shares = performance_profile(&cells.concat(), &taus).unwrap();
        let band = performance_profile_interval(&cells, &taus, LEVEL).unwrap();
        assert!(shares.iter().zip(&band).all(|(share, band)| contains(*band, *share)), "{band:?}");
        assert_eq!((band[0].low, band[0].high), (1.0, 1.0)); // all reach nothing
        assert_eq!((band[3].low, band[3].high), (0.0, 0.0));
        // Half of one cell's twenty, beside twenty that never reach it: Binomial(20, 1/2)/40, whose
        // 2.5 % and 97.5 % quantiles are 6 and 14 (scipy.stats.binom.ppf).
        let [low, high] = [band[2].low, band[2].high].map(|x| x * 40.0);
        assert!((low - 6.0).abs() < 0.5 && (high - 14.0).abs() < 0.5, "{low} {high}");
        assert_eq!(performance_profile_interval(&[spread[..9].to_vec()], &taus, LEVEL), None);
    }
}
