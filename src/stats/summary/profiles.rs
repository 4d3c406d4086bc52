//! Performance profiles: the share of an arm's runs that reach each accuracy.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::Seed;
use super::arms::Arms;
use super::cells::Cells;
use super::columns;
use crate::describe;
use crate::inference::Inference;
use crate::interval::{FRACTION, Interval};
use wninit_core::columns;
use wninit_core::table::Column;

/// The profile of an arm.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The arm, an index into the summary's `initializers`.
    pub arm: usize,
    /// By τ, ascending.
    pub points: Vec<ProfilePoint>,
}

/// A row of `profiles.csv`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // COLUMNS documents each
pub struct ProfilePoint {
    pub init: String,
    pub tau: f64,
    pub share: f64,
    pub band: Interval,
    pub n: usize,
}

/// The columns of `profiles.csv`.
pub(super) static COLUMNS: &[Column<ProfilePoint>] = columns![ProfilePoint;
    "init": "", columns::INIT, "" => |p| p.init.as_str();
    "tau": "fraction", "a test accuracy", "" => |p| p.tau;
    "share": "fraction", "share of the jobs, over all cells, with a test accuracy of at least tau, with a guess for those that did not train; mean over seeds", ""
        => |p| p.share;
    "low": "fraction", "lower end of the 95 % interval of share, Gaffke's bound over the seeds, at this tau alone", "" => |p| p.band.low;
    "high": "fraction", "upper end of the 95 % interval of share", "" => |p| p.band.high;
    "n": "seeds", "seeds that are finished in every cell", "" => |p| p.n;
];

impl Arms {
    /// The performance profile (Dolan & Moré 2002; the "score distribution" of Agarwal et al.
    /// 2021). A seed acts on all of its cells at once, so it is the unit: the share of cells that
    /// reach τ is computed for each seed that has every cell.
    pub(super) fn profiles(&self, sweep: &Cells) -> Vec<Profile> {
        let mut by_seed: Vec<BTreeMap<Seed, Vec<f64>>> = vec![BTreeMap::new(); self.arms.len()];
        let mut n_cells = vec![0; self.arms.len()];
        for (arm, cell) in self.cells(sweep) {
            n_cells[arm] += 1;
            for run in cell.counted() {
                by_seed[arm].entry(run.seed).or_default().extend(run.composite());
            }
        }
        let profile = |arm: usize| {
            let seeds: Vec<&Vec<f64>> =
                by_seed[arm].values().filter(|values| values.len() == n_cells[arm]).collect();
            let point = |percent: i32| {
                let tau = f64::from(percent) / 100.0;
                let reached = |values: &&Vec<f64>| {
                    values.iter().filter(|x| **x >= tau).count() as f64 / values.len() as f64
                };
                let shares: Vec<f64> = seeds.iter().map(reached).collect();
                Some(ProfilePoint {
                    init: self.arms[arm].label.clone(),
                    tau,
                    share: describe::mean(&shares)?,
                    n: shares.len(),
                    band: Inference::Bounded(shares, FRACTION).with_interval().interval,
                })
            };
            let points: Vec<ProfilePoint> = (0..=100).into_par_iter().filter_map(point).collect();
            (!points.is_empty()).then_some(Profile { arm, points })
        };
        (0..self.arms.len()).filter_map(profile).collect()
    }
}
