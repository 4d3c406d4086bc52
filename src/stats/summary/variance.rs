//! The spread between seeds.

use std::collections::BTreeMap;

use super::arms::Arms;
use super::cells::{Cells, Run, RunEnding, place};
use super::columns;
use crate::describe;
use crate::interval::{self, Estimate, LEVEL};
use wninit_core::columns;
use wninit_core::table::Column;

/// Which runs a variance is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All finished runs, diverged ones at chance.
    All,
    /// The runs that converged to better than chance.
    Success,
}

impl Scope {
    /// The value in `variance.csv`.
    pub fn name(self) -> &'static str {
        match self {
            Scope::All => "all",
            Scope::Success => "success",
        }
    }
}

/// The spread between seeds, pooled over cells: a row of `variance.csv`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // COLUMNS documents each
pub struct VarianceSummary {
    /// The arm, an index into the summary's `initializers`.
    pub arm: usize,
    pub init: String,
    pub scope: Scope,
    pub n_cells: usize,
    pub pooled: Option<describe::Pooled>,
    /// Cells that both this arm and the baseline have with two runs or more.
    pub n_common: usize,
    /// Over those cells.
    pub ratio: Option<Estimate>,
}

/// The columns of `variance.csv`.
pub(super) static COLUMNS: &[Column<VarianceSummary>] = columns![VarianceSummary;
    "init": "", columns::INIT, "" => |v| v.init.as_str();
    "scope": "", "all: all finished jobs, diverged ones at chance; success: those that neither diverged nor are at chance", ""
        => |v| v.scope.name();
    "n_cells": "cells", "cells with two such jobs or more", "" => |v| v.n_cells;
    "sd": "fraction", "standard deviation between seeds, pooled over these cells", "no such cell"
        => |v| v.pooled.map(|p| p.sd);
    "df": "", "its degrees of freedom", "no such cell" => |v| v.pooled.map(|p| p.df);
    "n_common": "cells", "those of them that the baseline has, too; the ratio is taken over them", "" => |v| v.n_common;
    "ratio": "", "sd divided by the baseline's", "the baseline itself, no such cell, or an sd of 0"
        => |v| v.ratio.map(|r| r.value);
    "ratio_low": "", "lower end of its 95 % F interval", "as ratio" => |v| v.ratio.map(|r| r.interval.low);
    "ratio_high": "", "upper end of its 95 % F interval", "as ratio" => |v| v.ratio.map(|r| r.interval.high);
];

impl Arms {
    pub(super) fn variance(&self, sweep: &Cells) -> Vec<VarianceSummary> {
        let elsewhere: Vec<usize> = sweep.axes_without(&self.axes);
        let mut rows = Vec::new();
        for scope in [Scope::All, Scope::Success] {
            let mut by_arm: Vec<BTreeMap<Vec<usize>, Vec<f64>>> =
                vec![BTreeMap::new(); self.arms.len()];
            for (arm, cell) in self.cells(sweep) {
                let taken = |run: &&Run| scope == Scope::All || run.ending == RunEnding::Success;
                let values: Vec<f64> =
                    cell.runs.iter().filter(taken).filter_map(|run| run.accuracy).collect();
                if values.len() > 1 {
                    by_arm[arm].insert(place(cell, &elsewhere), values);
                }
            }
            for (arm, cells) in by_arm.iter().enumerate() {
                let base = self.baseline.filter(|&b| b != arm).map(|b| &by_arm[b]);
                let common: Vec<(&Vec<f64>, &Vec<f64>)> = base
                    .map(|base| {
                        cells.iter().filter_map(|(at, own)| Some((own, base.get(at)?))).collect()
                    })
                    .unwrap_or_default();
                let (own, theirs): (Vec<&Vec<f64>>, Vec<&Vec<f64>>) =
                    common.iter().copied().unzip();
                let ratio = describe::pooled_sd(&own)
                    .zip(describe::pooled_sd(&theirs))
                    .and_then(|(own, theirs)| interval::sd_ratio(own, theirs, LEVEL));
                rows.push(VarianceSummary {
                    arm,
                    init: self.arms[arm].label.clone(),
                    scope,
                    n_cells: cells.len(),
                    pooled: describe::pooled_sd(&cells.values().collect::<Vec<_>>()),
                    n_common: common.len(),
                    ratio,
                });
            }
        }
        rows
    }
}
