//! Descriptions of samples: means, quantiles, spreads, profiles.
//!
//! Values are finite. An undefined result, such as the sd of one value, is `None`, never NaN.

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

/// The standard deviation within cells, pooled over them, √(Σ(nᵢ − 1)sᵢ² / Σ(nᵢ − 1)), and its degrees of
/// freedom. `None` if no cell has two values.
pub(crate) fn pooled_sd<'a>(cells: impl IntoIterator<Item = &'a [f64]>) -> Option<(f64, usize)> {
    let (mut squares, mut df) = (0.0, 0);
    for cell in cells {
        if let Some(variance) = variance(cell) {
            squares += variance * (cell.len() - 1) as f64;
            df += cell.len() - 1;
        }
    }
    (df > 0).then(|| ((squares / df as f64).sqrt(), df))
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
            for (p, theirs) in [0.025, 0.25, 0.9].into_iter().zip(floats(&case["quantiles"])) {
                close(quantile(&x, p).unwrap(), theirs);
            }
        }
    }

    #[test]
    fn what_cannot_be_computed_is_none_and_never_nan() {
        assert_eq!((mean(&[]), median(&[]), sd(&[1.0])), (None, None, None));
        assert_eq!(pooled_sd([&[1.0][..], &[]]), None);
    }

    #[test]
    fn an_sd_is_pooled_over_cells() {
        for case in reference("pooled") {
            let cells: Vec<Vec<f64>> =
                case["cells"].as_array().unwrap().iter().map(floats).collect();
            let (sd, df) = pooled_sd(cells.iter().map(Vec::as_slice)).unwrap();
            close(sd, float(&case["sd"]));
            assert_eq!(df, count(&case["df"]));
        }
    }
}
