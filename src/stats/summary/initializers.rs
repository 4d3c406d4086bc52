//! How robust each initializer (arm) is over the whole sweep.

use std::collections::BTreeMap;

use super::arms::{Arms, common_seeds};
use super::cells::{Cell, Cells, Counts, RunEnding};
use super::{Seed, columns};
use crate::interval::{self, Interval, LEVEL, Paired};
use crate::{describe, resample};
use wninit_core::columns;
use wninit_core::table::Column;

/// How close to the best accuracy of its task a run must come to count as near the best (δ).
pub const NEAR_BEST: f64 = 0.02;

/// The fields that a practitioner tunes. What is left beside them and the arm is the task.
pub const HYPERPARAMETERS: [&str; 8] = [
    "lr",
    "momentum",
    "weight_decay",
    "schedule",
    "warmup_epochs",
    "warmup_lr",
    "batch_size",
    "micro_batch",
];

/// An arm over the whole sweep: a row of `initializers.csv`,
/// whose columns `COLUMNS` documents.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // COLUMNS documents each
pub struct InitializerSummary {
    /// The index of its value on each of the arm axes.
    pub at: Vec<usize>,
    /// Its name, unique in the sweep.
    pub label: String,
    pub is_baseline: bool,
    pub n_cells: usize,
    pub counts: Counts,
    pub seeds_min: usize,
    pub seeds_max: usize,
    pub success_rate: Option<f64>,
    pub iqm: Option<f64>,
    pub iqm_interval: Option<Interval>,
    pub iqm_best_lr: Option<f64>,
    pub iqm_best_lr_interval: Option<Interval>,
    pub near_best: Option<f64>,
    pub lr_usable: Option<f64>,
    pub lr_band_decades: Option<f64>,
    pub deepest: Option<u32>,
    pub deepest_tested: Option<u32>,
    /// The mean over contexts of the difference from the baseline, paired by seed.
    pub difference: Option<Paired>,
}

/// The columns of `initializers.csv`.
pub(super) static COLUMNS: &[Column<InitializerSummary>] = columns![InitializerSummary;
    "init": "", columns::INIT, "" => |s| s.label.as_str();
    "baseline": "", "yes for the initializer that the others are compared with", ""
        => |s| if s.is_baseline { "yes" } else { "no" };
    "n_cells": "cells", "cells (settings without the seed) of the initializer", "" => |s| s.n_cells;
    "n_planned": "jobs", columns::PLANNED, "" => |s| s.counts.planned;
    "n_finished": "jobs", columns::FINISHED, "" => |s| s.counts.finished;
    "n_ok": "jobs", columns::OK, "" => |s| s.counts.ok;
    "n_diverged": "jobs", columns::DIVERGED, "" => |s| s.counts.diverged;
    "n_at_chance": "jobs", columns::AT_CHANCE, "" => |s| s.counts.at_chance;
    "n_failed": "jobs", columns::FAILED, "" => |s| s.counts.failed;
    "n_missing": "jobs", columns::MISSING, "" => |s| s.counts.missing;
    "seeds_min": "seeds", "fewest finished jobs of a cell", "" => |s| s.seeds_min;
    "seeds_max": "seeds", "most finished jobs of a cell", "" => |s| s.seeds_max;
    "success_rate": "fraction", "share of its finished jobs, over all cells, that neither diverged nor are at chance", columns::NOTHING_FINISHED
        => |s| s.success_rate;
    "iqm": "fraction", "interquartile mean of test accuracy over all finished jobs, diverged ones at chance: robustness to everything that varies", columns::NOTHING_FINISHED
        => |s| s.iqm;
    "iqm_low": "fraction", "lower end of its 95 % percentile bootstrap interval, stratified by cell", "a cell has fewer than 10 seeds"
        => |s| s.iqm_interval.map(|i| i.low);
    "iqm_high": "fraction", "upper end of its 95 % percentile bootstrap interval, stratified by cell", "a cell has fewer than 10 seeds"
        => |s| s.iqm_interval.map(|i| i.high);
    "iqm_best_lr": "fraction", "the same over the cells whose lr is the best on validation for their context", columns::NOTHING_FINISHED
        => |s| s.iqm_best_lr;
    "iqm_best_lr_low": "fraction", "lower end of its interval", "a cell has fewer than 10 seeds"
        => |s| s.iqm_best_lr_interval.map(|i| i.low);
    "iqm_best_lr_high": "fraction", "upper end of its interval", "a cell has fewer than 10 seeds"
        => |s| s.iqm_best_lr_interval.map(|i| i.high);
    "near_best": "fraction", "share of its finished jobs whose test accuracy is at least that of the best cell of the same task (depth and all else that is no hyper-parameter; best on validation among all initializers) minus 0.02", columns::NOTHING_FINISHED
        => |s| s.near_best;
    "lr_usable": "fraction", "share of the learning rates tried, over all contexts, at which most seeds succeed", "lr does not vary"
        => |s| s.lr_usable;
    "lr_band_decades": "decades", "log10 of the ratio of the ends of the widest range of neighbouring learning rates at which most seeds succeed, mean over contexts; 0 for one learning rate or none", "lr does not vary"
        => |s| s.lr_band_decades;
    "deepest": "layers", "most layers (hidden layers of an mlp or cnn; 6*blocks+2 of a resnet, 6*blocks+4 of a wrn) with which most seeds of some cell succeed", "none does"
        => |s| s.deepest;
    "deepest_tested": "layers", "most layers of a finished job", columns::NOTHING_FINISHED => |s| s.deepest_tested;
    "diff": "fraction", "test accuracy minus that of the baseline, each at its best lr on validation, paired by seed, mean over contexts", "the baseline itself, or no seed in common"
        => |s| s.difference.map(|d| d.mean);
    "diff_low": "fraction", "lower end of its 95 % Student t interval over seeds", columns::NO_INTERVAL
        => |s| s.difference.and_then(|d| d.interval).map(|i| i.low);
    "diff_high": "fraction", "upper end of its 95 % Student t interval over seeds", columns::NO_INTERVAL
        => |s| s.difference.and_then(|d| d.interval).map(|i| i.high);
    "diff_n": "seeds", "seeds that both have in every context", "the baseline itself, or no seed in common"
        => |s| s.difference.map(|d| d.n);
];

impl Arms {
    pub(super) fn initializers(&self, sweep: &Cells) -> Vec<InitializerSummary> {
        let mut cells_of: Vec<Vec<&Cell>> = vec![Vec::new(); self.arms.len()];
        for (arm, cell) in self.cells(sweep) {
            cells_of[arm].push(cell);
        }
        let mut chosen_of: Vec<Vec<&Cell>> = vec![Vec::new(); self.arms.len()];
        for (arm, cell) in self.chosen() {
            chosen_of[arm].push(&sweep.cells[cell]);
        }
        let near = self.near_best(sweep);
        let bands = self.lr_bands(sweep);
        self.arms
            .iter()
            .enumerate()
            .map(|(i, arm)| {
                let cells = &cells_of[i];
                let successes = cells.iter().map(|c| c.count(RunEnding::Success)).sum();
                let counts: Counts = cells.iter().map(|cell| Counts::of(cell)).sum();
                let finished_of = || cells.iter().map(|c| c.runs.len());
                let share = |n: usize, of: usize| (of > 0).then(|| n as f64 / of as f64);
                let (iqm, iqm_interval) = pooled_iqm(cells);
                let (iqm_best_lr, iqm_best_lr_interval) = pooled_iqm(&chosen_of[i]);
                let layers = |cell: &&Cell| cell.job.arch.layers();
                InitializerSummary {
                    at: arm.at.clone(),
                    label: arm.label.clone(),
                    is_baseline: self.baseline == Some(i),
                    n_cells: cells.len(),
                    counts,
                    seeds_min: finished_of().min().unwrap_or(0),
                    seeds_max: finished_of().max().unwrap_or(0),
                    success_rate: share(successes, counts.finished),
                    iqm,
                    iqm_interval,
                    iqm_best_lr,
                    iqm_best_lr_interval,
                    near_best: share(near[i].0, near[i].1),
                    lr_usable: share(bands[i].usable, bands[i].tried),
                    lr_band_decades: describe::mean(&bands[i].decades),
                    deepest: cells.iter().filter(|c| c.trains()).map(layers).max(),
                    deepest_tested: cells.iter().filter(|c| !c.runs.is_empty()).map(layers).max(),
                    difference: self.overall_difference(sweep, i),
                }
            })
            .collect()
    }

    /// For each arm: runs within δ of the best of their task, and runs. The best of a task is the
    /// mean test accuracy of the cell that validation prefers among all arms and hyper-parameters.
    fn near_best(&self, sweep: &Cells) -> Vec<(usize, usize)> {
        let mut near = vec![(0, 0); self.arms.len()];
        let tuned = sweep.axes_among(&HYPERPARAMETERS);
        let task = sweep.axes_without(&self.axes.iter().chain(&tuned).copied().collect::<Vec<_>>());
        for cells in sweep.group(&task).into_values() {
            let best = sweep.best(cells.iter().copied());
            let Some(best) = best.and_then(|cell| describe::mean(&sweep.cells[cell].accuracies()))
            else {
                continue;
            };
            for (arm, cell) in cells.into_iter().map(|i| (self.of_cell[i], &sweep.cells[i])) {
                let (within, all) = &mut near[arm];
                *within += cell
                    .runs
                    .iter()
                    .filter(|r| r.accuracy.is_some_and(|x| x >= best - NEAR_BEST))
                    .count();
                *all += cell.runs.len();
            }
        }
        near
    }

    /// For each arm, over its contexts, the learning rates at which most runs succeed.
    fn lr_bands(&self, sweep: &Cells) -> Vec<Band> {
        let mut bands = vec![Band::default(); self.arms.len()];
        if self.lr.is_none() {
            return bands;
        }
        for cells in sweep.group(&self.contexts_and_arms()).into_values() {
            let arm = self.of_cell[cells[0]];
            let cells: Vec<&Cell> =
                cells.into_iter().map(|i| &sweep.cells[i]).filter(|c| !c.runs.is_empty()).collect();
            if cells.is_empty() {
                continue;
            }
            let band = &mut bands[arm];
            band.tried += cells.len();
            band.usable += cells.iter().filter(|c| c.trains()).count();
            // The widest run of neighbouring rates; cells come with rates ascending.
            let widest = cells
                .chunk_by(|a, b| a.trains() == b.trains())
                .filter(|chunk| chunk[0].trains() && chunk[0].job.lr > 0.0)
                .map(|chunk| (chunk[chunk.len() - 1].job.lr / chunk[0].job.lr).log10())
                .fold(0.0, f64::max);
            band.decades.push(widest);
        }
        bands
    }

    /// The difference from the baseline, averaged over contexts within each seed.
    fn overall_difference(&self, sweep: &Cells, arm: usize) -> Option<Paired> {
        let baseline = self.baseline.filter(|&b| b != arm)?;
        let contexts: Vec<(usize, usize)> = self
            .chosen
            .values()
            .filter_map(|arms| Some((*arms.get(&arm)?, *arms.get(&baseline)?)))
            .collect();
        let mut by_seed: BTreeMap<Seed, Vec<(f64, f64)>> = BTreeMap::new();
        for &(a, b) in &contexts {
            for (seed, pair) in common_seeds(&sweep.cells[a], &sweep.cells[b]) {
                by_seed.entry(seed).or_default().push(pair);
            }
        }
        // A seed that lacks a context would compare other contexts than the rest.
        let complete = by_seed.into_values().filter(|pairs| pairs.len() == contexts.len());
        let means: Vec<(f64, f64)> = complete
            .map(|pairs| {
                let n = pairs.len() as f64;
                (
                    pairs.iter().map(|p| p.0).sum::<f64>() / n,
                    pairs.iter().map(|p| p.1).sum::<f64>() / n,
                )
            })
            .collect();
        interval::paired(&means, LEVEL)
    }
}

#[derive(Clone, Debug, Default)]
struct Band {
    tried: usize,
    usable: usize,
    /// The widest band of each context.
    decades: Vec<f64>,
}

/// The interquartile mean over all runs of the cells, with its interval.
fn pooled_iqm(cells: &[&Cell]) -> (Option<f64>, Option<Interval>) {
    let values: Vec<Vec<f64>> = cells.iter().map(|cell| cell.accuracies()).collect();
    (
        describe::interquartile_mean(&values.concat()),
        resample::interquartile_mean_interval(&values, LEVEL),
    )
}
