//! Means of roughly normal values: Student's and Welch's t, by seed and over settings.

use std::collections::{BTreeMap, BTreeSet};

use statrs::function::beta::beta_reg;

use crate::describe;

/// Values that differ by no more than this are equal: equal differences of fractions often differ
/// in the last bits.
pub const EQUAL: f64 = 1e-9;

/// An estimate that follows a t distribution around its parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    /// The estimate.
    pub value: f64,
    /// Its standard error.
    pub error: f64,
    /// Its degrees of freedom.
    pub df: f64,
}

impl Mean {
    /// The mean over settings of each setting's mean over seeds. Its standard error is the
    /// delete-one-seed jackknife (Efron & Tibshirani 1993, eq. 11.5): a seed is left out of all
    /// settings at once, as it acts on all of them. With one setting, or the same seeds in all, it is
    /// that of the seeds' means. The degrees of freedom are those of the setting with the fewest
    /// seeds. `None` if a setting has fewer than two.
    pub fn over(settings: &[BTreeMap<u64, f64>]) -> Option<Mean> {
        let least = settings.iter().map(BTreeMap::len).min().filter(|least| *least >= 2)?;
        let sums: Vec<(&BTreeMap<u64, f64>, f64)> =
            settings.iter().map(|values| (values, values.values().sum())).collect();
        let mean_without = |left_out: Option<u64>| {
            let of_setting = |(values, sum): &(&BTreeMap<u64, f64>, f64)| match left_out
                .and_then(|seed| values.get(&seed))
            {
                Some(value) => (sum - value) / (values.len() - 1) as f64,
                None => sum / values.len() as f64,
            };
            sums.iter().map(of_setting).sum::<f64>() / settings.len() as f64
        };
        let seeds: BTreeSet<u64> = settings.iter().flat_map(|s| s.keys().copied()).collect();
        let partial: Vec<f64> = seeds.iter().map(|seed| mean_without(Some(*seed))).collect();
        let n = partial.len() as f64;
        let variance = (n - 1.0).powi(2) / n * describe::sd(&partial)?.powi(2);
        Some(Mean { value: mean_without(None), error: variance.sqrt(), df: least as f64 - 1.0 })
    }

    /// The difference of independent means (Welch 1947), with the degrees of freedom of
    /// Satterthwaite (1946).
    pub fn minus(self, other: Mean) -> Mean {
        let (a, b) = (self.error.powi(2), other.error.powi(2));
        let df = match a + b {
            0.0 => self.df.min(other.df),
            sum => sum.powi(2) / (a.powi(2) / self.df + b.powi(2) / other.df),
        };
        Mean { value: self.value - other.value, error: (a + b).sqrt(), df }
    }

    /// Whether the values have no spread, so that t is undefined.
    pub fn is_constant(self) -> bool {
        self.error < EQUAL
    }

    /// The one-sided p value of "the parameter is at most `bound`".
    pub fn p_above(self, bound: f64) -> f64 {
        let t = (self.value - bound) / self.error;
        let outside = beta_reg(self.df / 2.0, 0.5, self.df / (self.df + t * t)) / 2.0;
        if t > 0.0 { outside } else { 1.0 - outside }
    }

    /// The one-sided p value of "the parameter is at least `bound`".
    pub fn p_below(self, bound: f64) -> f64 {
        1.0 - self.p_above(bound)
    }
}

/// The two-sided p value of the sign-flip test that differences are symmetric about 0 (Fisher 1935,
/// §21): the share of the 2ⁿ choices of signs whose sum is as far from 0. For differences of successes it
/// is McNemar's exact test. Exact to 40 differences, by meeting in the middle; `None` above.
pub fn sign_flip(differences: &[f64]) -> Option<f64> {
    const MOST: usize = 40;
    // A difference of 0 has the same sum with either sign.
    let moving: Vec<f64> = differences.iter().copied().filter(|d| d.abs() > EQUAL).collect();
    if moving.len() > MOST || differences.is_empty() {
        return None;
    }
    let sums = |part: &[f64]| {
        let mut sums = vec![0.0];
        for d in part {
            sums = sums.iter().flat_map(|sum| [sum + d, sum - d]).collect();
        }
        sums.sort_by(f64::total_cmp);
        sums
    };
    let (first, second) = moving.split_at(moving.len() / 2);
    let (first, second) = (sums(first), sums(second));
    let least = moving.iter().sum::<f64>().abs() - EQUAL;
    if least <= 0.0 {
        return Some(1.0);
    }
    // Sums of `least` or more; by symmetry, as many are −`least` or below.
    let mut from = second.len();
    let mut count = 0;
    for sum in first {
        while from > 0 && sum + second[from - 1] >= least {
            from -= 1;
        }
        count += second.len() - from;
    }
    Some((2.0 * count as f64 / 2.0_f64.powi(moving.len() as i32)).min(1.0))
}
