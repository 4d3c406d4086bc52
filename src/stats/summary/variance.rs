//! The spread between seeds.

use std::collections::{BTreeMap, BTreeSet};

use super::Seed;
use super::arms::Arms;
use super::cells::{Cells, RunEnding, place};
use super::columns;
use crate::interval::{Estimate, LEVEL};
use crate::{describe, dispersion};
use wninit_core::columns;
use wninit_core::table::Column;

/// The spread between the seeds that train, pooled over cells: a row of `variance.csv`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // COLUMNS documents each
pub struct VarianceSummary {
    /// The arm, an index into the summary's `initializers`.
    pub arm: usize,
    pub init: String,
    pub n_cells: usize,
    pub sd: Option<f64>,
    pub df: Option<usize>,
    /// Cells in which both this arm and the baseline have at least three such runs.
    pub n_common: usize,
    /// Seeds in those cells.
    pub n_seeds: usize,
    /// Ratio over those cells.
    pub ratio: Option<Estimate>,
}

const NO_RATIO: &str =
    "the baseline itself, fewer than 6 seeds, no such cell, or one seed makes all of a spread";

/// The columns of `variance.csv`.
pub(super) static COLUMNS: &[Column<VarianceSummary>] = columns![VarianceSummary;
    "init": "", columns::INIT, "" => |v| v.init.as_str();
    "n_cells": "cells", "cells in which two jobs or more train", "" => |v| v.n_cells;
    "sd": "fraction", "standard deviation between seeds of the test accuracy of the jobs that train, pooled over these cells", "no such cell"
        => |v| v.sd;
    "df": "", "its degrees of freedom", "no such cell" => |v| v.df;
    "n_common": "cells", "cells in which three jobs or more train, here and of the baseline; the ratio is taken over them", "" => |v| v.n_common;
    "n_seeds": "seeds", "seeds that train in one of those", "" => |v| v.n_seeds;
    "ratio": "", "sd divided by the baseline's", NO_RATIO => |v| v.ratio.map(|r| r.value);
    "ratio_low": "", "lower end of its 95 % interval, the jackknife over seeds", NO_RATIO => |v| v.ratio.map(|r| r.interval.low);
    "ratio_high": "", "upper end of its 95 % interval", NO_RATIO => |v| v.ratio.map(|r| r.interval.high);
];

impl Arms {
    pub(super) fn variance(&self, sweep: &Cells) -> Vec<VarianceSummary> {
        let elsewhere: Vec<usize> = sweep.axes_without(&self.axes);
        let all = sweep.cells.iter().flat_map(|cell| cell.runs.iter().map(|run| run.seed));
        let number: BTreeMap<Seed, u64> =
            all.collect::<BTreeSet<_>>().into_iter().zip(0..).collect();
        let mut by_arm: Vec<BTreeMap<Vec<usize>, BTreeMap<u64, f64>>> =
            vec![BTreeMap::new(); self.arms.len()];
        for (arm, cell) in self.cells(sweep) {
            let trained = cell.counted().filter(|run| run.ending == RunEnding::Success);
            let values: BTreeMap<u64, f64> =
                trained.filter_map(|run| Some((number[&run.seed], run.accuracy?))).collect();
            if values.len() > 1 {
                by_arm[arm].insert(place(cell, &elsewhere), values);
            }
        }
        let row = |(arm, cells): (usize, &BTreeMap<Vec<usize>, BTreeMap<u64, f64>>)| {
            let base = self.baseline.filter(|&b| b != arm).map(|b| &by_arm[b]);
            let pair = |(at, own): (&Vec<usize>, &BTreeMap<u64, f64>)| {
                let theirs = base?.get(at)?;
                (own.len() > 2 && theirs.len() > 2).then(|| (own.clone(), theirs.clone()))
            };
            let (own, theirs): (Vec<_>, Vec<_>) = cells.iter().filter_map(pair).unzip();
            let values: Vec<Vec<f64>> =
                cells.values().map(|cell| cell.values().copied().collect()).collect();
            let pooled = describe::pooled_sd(values.iter().map(Vec::as_slice));
            let seeds = own.iter().chain(&theirs).flat_map(BTreeMap::keys);
            VarianceSummary {
                arm,
                init: self.arms[arm].label.clone(),
                n_cells: cells.len(),
                sd: pooled.map(|(sd, _)| sd),
                df: pooled.map(|(_, df)| df),
                n_common: own.len(),
                n_seeds: seeds.collect::<BTreeSet<_>>().len(),
                ratio: dispersion::sd_ratio(&own, &theirs, LEVEL),
            }
        };
        by_arm.iter().enumerate().map(row).collect()
    }
}
