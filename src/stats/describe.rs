//! Descriptions of samples: means, quantiles, spreads, profiles.
//!
//! Values are finite. What cannot be computed, such as an sd of one value, is `None`, never NaN.

/// The arithmetic mean; `None` for no values.
pub fn mean(values: &[f64]) -> Option<f64> {
    let (&first, rest) = values.split_first()?;
    // Not the sum over n, which may differ from the value in the last digit.
    let equal = rest.iter().all(|x| *x == first);
    Some(if equal { first } else { values.iter().sum::<f64>() / values.len() as f64 })
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

/// The value that all of them have, but for rounding ([`EQUAL`](crate::student::EQUAL)).
pub(crate) fn all_equal(values: &[f64]) -> Option<f64> {
    let (&first, rest) = values.split_first()?;
    rest.iter().all(|x| (x - first).abs() <= crate::student::EQUAL).then_some(first)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::*;

    #[test]
    fn means_and_quantiles_are_those_of_scipy() {
        for case in reference("one_sample") {
            let x = floats(&case["x"]);
            close(mean(&x).unwrap(), float(&case["mean"]));
            close(sd(&x).unwrap(), float(&case["sd"]));
            close(median(&x).unwrap(), float(&case["median"]));
            close(interquartile_mean(&x).unwrap(), float(&case["iqm"]));
            for (p, theirs) in [0.025, 0.25, 0.9].into_iter().zip(floats(&case["quantiles"])) {
                close(quantile(&x, p).unwrap(), theirs);
            }
        }
    }

    #[test]
    fn what_cannot_be_computed_is_none_and_never_nan() {
        assert_eq!((mean(&[]), median(&[]), interquartile_mean(&[])), (None, None, None));
        assert_eq!((sd(&[1.0]), performance_profile(&[], &[0.5])), (None, None));
        assert_eq!(pooled_sd(&[vec![1.0], vec![]]), None);
    }

    #[test]
    fn a_profile_is_the_share_of_values_that_reach_each_tau() {
        let values = [0.1, 0.5, 0.5, 0.9];
        assert_eq!(
            performance_profile(&values, &[0.0, 0.5, 0.51, 1.0]),
            Some(vec![1.0, 0.75, 0.25, 0.0])
        );
    }
}
