//! Exact inference on shares of runs and their differences.

use statrs::function::beta::beta_reg;
use statrs::function::factorial::ln_factorial;

use crate::interval::{Interval, bisect};

/// The largest number of seeds in an arm for the exact test of a difference; above it,
/// [`Difference::united`] is used.
const MOST: usize = 200;

/// The error that the range of the nuisance parameter may add (Berger & Boos 1994).
const GAMMA: f64 = 1e-4;

/// P(X ≥ k) for X ~ Binomial(n, p): the one-sided p value of "the share is at most p" (Clopper &
/// Pearson 1934; the incomplete beta function of Johnson, Kemp & Kotz 2005, eq. 3.37).
pub fn p_above(k: usize, n: usize, p: f64) -> f64 {
    match k {
        0 => 1.0,
        _ if p <= 0.0 => 0.0,
        _ if p >= 1.0 => 1.0,
        _ => beta_reg(k as f64, (n - k + 1) as f64, p),
    }
}

/// P(X ≤ k) for X ~ Binomial(n, p): the one-sided p value of "the share is at least p".
pub fn p_below(k: usize, n: usize, p: f64) -> f64 {
    p_above(n - k, n, 1.0 - p)
}

/// The difference between two shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Difference {
    /// The arms share seeds. The difference is P(only a succeeds) − P(only b succeeds).
    Paired {
        /// Seeds.
        n: usize,
        /// Seeds in which only a succeeded.
        only_a: usize,
        /// Seeds in which only b succeeded.
        only_b: usize,
    },
    /// The arms have separate seeds: successes and seeds of each.
    Unpaired {
        /// Of a.
        a: (usize, usize),
        /// Of b.
        b: (usize, usize),
    },
}

impl Difference {
    /// The difference between the observed shares.
    pub fn estimate(self) -> f64 {
        match self {
            Difference::Paired { n, only_a, only_b } => (only_a as f64 - only_b as f64) / n as f64,
            Difference::Unpaired { a, b } => a.0 as f64 / a.1 as f64 - b.0 as f64 / b.1 as f64,
        }
    }

    /// The one-sided p value of "the difference is at least `bound`".
    pub fn p_below(self, bound: f64) -> f64 {
        let swapped = match self {
            Difference::Paired { n, only_a, only_b } => {
                Difference::Paired { n, only_a: only_b, only_b: only_a }
            }
            Difference::Unpaired { a, b } => Difference::Unpaired { a: b, b: a },
        };
        swapped.p_above(-bound)
    }

    /// The one-sided p value of "the difference is at most `bound`": the exact unconditional test by
    /// the score statistic (Chan & Zhang 1999, "Test-based exact confidence intervals for the
    /// difference of two binomial proportions"; paired: Hsueh, Liu & Chen 2001), the largest
    /// probability of a statistic as large as the observed one over the values of the nuisance
    /// parameter in a 1 − γ confidence interval, plus γ (Berger & Boos 1994, eq. 1).
    pub fn p_above(self, bound: f64) -> f64 {
        if bound <= -1.0 {
            // No difference is below −1; it equals −1 only if b alone succeeds in every seed.
            return f64::from(u8::from(bound == -1.0 && self.estimate() == -1.0));
        }
        if bound >= 1.0 {
            return 1.0;
        }
        let (rows, columns) = self.size();
        if rows.max(columns) > MOST {
            return self.united(bound);
        }
        let observed = self.score(bound);
        let tail = Tail::new(self, bound, observed - 1e-9);
        let Some((low, high)) = self.nuisance(bound) else { return GAMMA };
        (largest(low, high, |nuisance| tail.probability(nuisance)) + GAMMA).min(1.0)
    }

    /// The largest counts of a table.
    fn size(self) -> (usize, usize) {
        match self {
            Difference::Paired { n, .. } => (n, n),
            Difference::Unpaired { a, b } => (a.1, b.1),
        }
    }

    /// The table with these counts and the same number of seeds.
    fn with(self, row: usize, column: usize) -> Difference {
        match self {
            Difference::Paired { n, .. } => Difference::Paired { n, only_a: row, only_b: column },
            Difference::Unpaired { a, b } => {
                Difference::Unpaired { a: (row, a.1), b: (column, b.1) }
            }
        }
    }

    /// How many standard errors the difference is above `bound`; the variance is that of the
    /// maximum likelihood estimate under the bound.
    fn score(self, bound: f64) -> f64 {
        let (distance, variance) = match self {
            // Tango (1998), eq. 6 and 7.
            Difference::Paired { n, only_a, only_b } => {
                let (n, b, c) = (n as f64, only_a as f64, only_b as f64);
                let half = -b - c + (2.0 * n - b + c) * bound;
                let last = -c * bound * (1.0 - bound);
                let root = (half * half - 8.0 * n * last).max(0.0).sqrt();
                let only_b = (root - half) / (4.0 * n);
                ((b - c) / n - bound, (2.0 * only_b + bound * (1.0 - bound)) / n)
            }
            // Farrington & Manning (1990), appendix 1.
            Difference::Unpaired { a, b } => {
                let (n, m) = (a.1 as f64, b.1 as f64);
                let (pa, pb) = (a.0 as f64 / n, b.0 as f64 / m);
                let ratio = m / n;
                let cubic = 1.0 + ratio;
                let square = -(1.0 + ratio + pa + ratio * pb + bound * (ratio + 2.0));
                let linear = bound * bound + bound * (2.0 * pa + ratio + 1.0) + pa + ratio * pb;
                let constant = -pa * bound * (1.0 + bound);
                let third = square / (3.0 * cubic);
                let v = third.powi(3) - square * linear / (6.0 * cubic * cubic)
                    + constant / (2.0 * cubic);
                let u = v.signum() * (third * third - linear / (3.0 * cubic)).max(0.0).sqrt();
                let cosine = if u == 0.0 { 0.0 } else { (v / u.powi(3)).clamp(-1.0, 1.0) };
                let w = (std::f64::consts::PI + cosine.acos()) / 3.0;
                let a = (2.0 * u * w.cos() - third).clamp(bound.max(0.0), (1.0 + bound).min(1.0));
                let b = (a - bound).clamp(0.0, 1.0);
                (pa - pb - bound, a * (1.0 - a) / n + b * (1.0 - b) / m)
            }
        };
        match distance {
            d if d.abs() < 1e-12 => 0.0,
            d => d / variance.max(1e-15).sqrt(),
        }
    }

    /// The values that the nuisance parameter may have under the bound: b's share, or the share of
    /// seeds in which one arm succeeds. `None` if the data exclude all of them at [`GAMMA`].
    fn nuisance(self, bound: f64) -> Option<(f64, f64)> {
        let (low, high) = match self {
            Difference::Paired { n, only_a, only_b } => {
                let (low, high) = clopper_pearson(only_a + only_b, n, GAMMA);
                (low.max(bound.abs()), high)
            }
            Difference::Unpaired { a, b } => {
                let (a_low, a_high) = clopper_pearson(a.0, a.1, GAMMA / 2.0);
                let (b_low, b_high) = clopper_pearson(b.0, b.1, GAMMA / 2.0);
                (b_low.max(a_low - bound), b_high.min(a_high - bound))
            }
        };
        (low <= high).then_some((low, high))
    }

    /// A p value that is valid under any dependence: the level at which the Clopper–Pearson bounds
    /// of the two counts, with half of it each, separate.
    fn united(self, bound: f64) -> f64 {
        let ((k, n), (l, m)) = match self {
            Difference::Paired { n, only_a, only_b } => ((only_a, n), (only_b, n)),
            Difference::Unpaired { a, b } => (a, b),
        };
        let lower = |share| p_above(k, n, share + bound) < p_below(l, m, share);
        let high = bisect(0.0, 1.0, lower).high;
        (2.0 * p_above(k, n, high + bound).max(p_below(l, m, high))).min(1.0)
    }
}

/// The interval of a share with error `alpha`, half of it at each end (Clopper & Pearson 1934).
pub fn clopper_pearson(k: usize, n: usize, alpha: f64) -> (f64, f64) {
    let solve = |holds: &dyn Fn(f64) -> bool| {
        let Interval { low, high } = bisect(0.0, 1.0, holds);
        f64::midpoint(low, high)
    };
    let low = if k == 0 { 0.0 } else { solve(&|p| p_above(k, n, p) <= alpha / 2.0) };
    let high = if k == n { 1.0 } else { solve(&|p| p_below(k, n, p) > alpha / 2.0) };
    (low, high)
}

/// The tables whose score is at least the observed one.
struct Tail {
    of: Difference,
    bound: f64,
    /// For each count of the row the exclusive end of the columns that belong to it. The score falls
    /// with the column.
    ends: Vec<usize>,
    /// The logarithm of the number of ways to each table (paired), or to each row and column.
    ways: Vec<Vec<f64>>,
}

impl Tail {
    fn new(of: Difference, bound: f64, least: f64) -> Tail {
        let (rows, columns) = of.size();
        let paired = matches!(of, Difference::Paired { .. });
        let mut end = 0;
        let mut ends = Vec::with_capacity(rows + 1);
        for row in 0..=rows {
            let last = if paired { rows - row } else { columns };
            // The rows above have no fewer columns, but for the triangle of paired tables.
            while end <= last && of.with(row, end).score(bound) >= least {
                end += 1;
            }
            end = end.min(last + 1);
            ends.push(end);
        }
        let choose = |n: usize, k: usize| {
            ln_factorial(n as u64) - ln_factorial(k as u64) - ln_factorial((n - k) as u64)
        };
        let ways = if paired {
            let table = |row: usize| {
                (0..=rows - row)
                    .map(|c| (choose(rows, row) + choose(rows - row, c)).exp())
                    .collect()
            };
            (0..=rows).map(table).collect()
        } else {
            let side = |n: usize| (0..=n).map(|k| choose(n, k).exp()).collect();
            vec![side(rows), side(columns)]
        };
        Tail { of, bound, ends, ways }
    }

    fn probability(&self, nuisance: f64) -> f64 {
        let (rows, columns) = self.of.size();
        let sum = match self.of {
            Difference::Paired { .. } => {
                let a = powers((nuisance + self.bound) / 2.0, rows);
                let b = powers((nuisance - self.bound) / 2.0, rows);
                let rest = powers(1.0 - nuisance, rows);
                let of_row = |row: usize| {
                    let of = |c: usize| self.ways[row][c] * b[c] * rest[rows - row - c];
                    a[row] * (0..self.ends[row]).map(of).sum::<f64>()
                };
                (0..=rows).map(of_row).sum::<f64>()
            }
            Difference::Unpaired { .. } => {
                let masses = |p: f64, n: usize, ways: &[f64]| -> Vec<f64> {
                    let (yes, no) = (powers(p, n), powers(1.0 - p, n));
                    (0..=n).map(|k| ways[k] * yes[k] * no[n - k]).collect()
                };
                let a = masses(nuisance + self.bound, rows, &self.ways[0]);
                let b = masses(nuisance, columns, &self.ways[1]);
                let mut below = vec![0.0];
                below.extend(b.iter().scan(0.0, |sum, mass| {
                    *sum += mass;
                    Some(*sum)
                }));
                a.iter().zip(&self.ends).map(|(mass, end)| mass * below[*end]).sum()
            }
        };
        sum.min(1.0)
    }
}

/// 1, p, p², …, pⁿ.
fn powers(p: f64, n: usize) -> Vec<f64> {
    let p = p.clamp(0.0, 1.0);
    (0..=n).scan(1.0, |power, _| Some(std::mem::replace(power, *power * p))).collect()
}

/// The largest value of a smooth function, from a grid that is refined twice around its best point.
fn largest(mut low: f64, mut high: f64, f: impl Fn(f64) -> f64) -> f64 {
    const POINTS: usize = 32;
    let mut most = 0.0_f64;
    for _ in 0..3 {
        let step = (high - low) / POINTS as f64;
        let mut at = low;
        for i in 0..=POINTS {
            let point = low + step * i as f64;
            let value = f(point);
            if value > most {
                (most, at) = (value, point);
            }
        }
        (low, high) = ((at - step).max(low), (at + step).min(high));
    }
    most
}
