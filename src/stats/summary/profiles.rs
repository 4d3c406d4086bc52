//! Performance profiles: the share of an arm's runs that reach each accuracy.

use super::arms::Arms;
use super::cells::Cells;
use super::columns;
use crate::interval::{Interval, LEVEL};
use crate::{describe, resample};
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
    /// `None` below [`BOOTSTRAP_MIN`](crate::resample::BOOTSTRAP_MIN) seeds in a cell.
    pub band: Option<Interval>,
    pub n: usize,
}

/// The columns of `profiles.csv`.
pub(super) static COLUMNS: &[Column<ProfilePoint>] = columns![ProfilePoint;
    "init": "", columns::INIT, "" => |p| p.init.as_str();
    "tau": "fraction", "a test accuracy", "" => |p| p.tau;
    "share": "fraction", "share of the finished jobs, over all cells, with a test accuracy of at least tau, diverged ones at chance", ""
        => |p| p.share;
    "low": "fraction", "lower end of the 95 % bootstrap interval of share, stratified by cell", "a cell has fewer than 10 finished jobs"
        => |p| p.band.map(|i| i.low);
    "high": "fraction", "upper end of the 95 % bootstrap interval of share", "as low" => |p| p.band.map(|i| i.high);
    "n": "jobs", "finished jobs", "" => |p| p.n;
];

impl Arms {
    pub(super) fn profiles(&self, sweep: &Cells) -> Vec<Profile> {
        let taus: Vec<f64> = (0..=100).map(|percent| f64::from(percent) / 100.0).collect();
        let mut cells: Vec<Vec<Vec<f64>>> = vec![Vec::new(); self.arms.len()];
        for (arm, cell) in self.cells(sweep) {
            cells[arm].push(cell.accuracies());
        }
        let profile = |(arm, cells): (usize, &Vec<Vec<f64>>)| {
            let values = cells.concat();
            let shares = describe::performance_profile(&values, &taus)?;
            let band = resample::performance_profile_interval(cells, &taus, LEVEL);
            let point = |i: usize| ProfilePoint {
                init: self.arms[arm].label.clone(),
                tau: taus[i],
                share: shares[i],
                band: band.as_ref().map(|band| band[i]),
                n: values.len(),
            };
            Some(Profile { arm, points: (0..taus.len()).map(point).collect() })
        };
        cells.iter().enumerate().filter_map(profile).collect()
    }
}
