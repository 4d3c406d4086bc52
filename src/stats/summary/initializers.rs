//! Robustness of each initializer (arm) over the whole sweep.

use super::arms::{Arm, Arms};
use super::cells::{Cells, Counts};
use super::columns;
use super::compare::{alone, estimate};
use crate::describe;
use crate::interval::Estimate;
use wninit_core::columns;
use wninit_core::grid::Metric;
use wninit_core::table::Column;

/// The fields that a practitioner tunes. The remaining axes, without the arm's, are the task.
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
    /// Runs that train, and runs that count.
    pub trained: (usize, usize),
    /// The share of seeds that train, over all cells.
    pub success: Option<Estimate>,
    /// The same at the learning rates chosen on validation.
    pub trained_chosen: (usize, usize),
    pub lr_band_decades: Option<f64>,
    /// Contexts in which some learning rate has no run that counts.
    pub lr_bands_left_out: usize,
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
    "n_left_out": "jobs", columns::LEFT_OUT, "" => |s| s.counts.left_out;
    "seeds_min": "seeds", "fewest jobs of a cell that count", "" => |s| s.seeds_min;
    "seeds_max": "seeds", "most jobs of a cell that count", "" => |s| s.seeds_max;
    "n": "jobs", columns::COUNTED, "" => |s| s.trained.1;
    "n_trained": "jobs", columns::TRAINED, "" => |s| s.trained.0;
    "success": "fraction", "share of seeds that train, mean over all cells", "no seed counts in every cell"
        => |s| s.success.map(|e| e.value);
    "success_low": "fraction", "lower end of its 95 % interval: Clopper-Pearson, over several cells Gaffke's bound over seeds", "as success"
        => |s| s.success.map(|e| e.interval.low);
    "success_high": "fraction", "upper end of its 95 % interval", "as success"
        => |s| s.success.map(|e| e.interval.high);
    "n_chosen": "jobs", "jobs that count at the lr that validation chose in each context", "" => |s| s.trained_chosen.1;
    "n_trained_chosen": "jobs", "those of them that train", "" => |s| s.trained_chosen.0;
    "lr_band_decades": "decades", "log10 of the ratio of the ends of the widest range of neighbouring learning rates at which most seeds train, mean over contexts with a finished seed at every rate; 0 for one learning rate or none", "lr does not vary, or no such context"
        => |s| s.lr_band_decades;
];

impl Arms {
    pub(super) fn initializers(&self, sweep: &Cells) -> Vec<InitializerSummary> {
        let bands = self.lr_bands(sweep);
        let success = |cells: &mut dyn Iterator<Item = usize>| {
            cells.map(|i| sweep.cells[i].success()).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
        };
        let summary = |(i, arm): (usize, &Arm)| {
            let cells: Vec<usize> =
                (0..sweep.cells.len()).filter(|&cell| self.of_cell[cell] == i).collect();
            let counted = || cells.iter().map(|&cell| sweep.cells[cell].counted().count());
            InitializerSummary {
                at: arm.at.clone(),
                label: arm.label.clone(),
                is_baseline: self.baseline == Some(i),
                n_cells: cells.len(),
                counts: cells.iter().map(|&cell| Counts::of(&sweep.cells[cell])).sum(),
                seeds_min: counted().min().unwrap_or(0),
                seeds_max: counted().max().unwrap_or(0),
                trained: success(&mut cells.iter().copied()),
                success: estimate(&alone(sweep, Metric::Success, &cells, &self.axes).1),
                trained_chosen: success(
                    &mut self.chosen().filter(|(arm, _)| *arm == i).map(|(_, cell)| cell),
                ),
                lr_band_decades: describe::mean(&bands[i].decades),
                lr_bands_left_out: bands[i].left_out,
            }
        };
        self.arms.iter().enumerate().map(summary).collect()
    }

    /// For each arm, over its contexts, the learning rates at which most runs train.
    fn lr_bands(&self, sweep: &Cells) -> Vec<Bands> {
        let mut bands = vec![Bands::default(); self.arms.len()];
        if self.lr.is_none() {
            return bands;
        }
        for cells in sweep.group(&self.contexts_and_arms()).into_values() {
            let band = &mut bands[self.of_cell[cells[0]]];
            let rates: Option<Vec<(f64, bool)>> = cells
                .into_iter()
                .map(|i| Some((sweep.cells[i].job.lr, sweep.cells[i].trains()?)))
                .collect();
            let Some(rates) = rates else {
                band.left_out += 1;
                continue;
            };
            // The widest run of neighbouring rates; cells come with rates ascending.
            let widest = rates
                .chunk_by(|a, b| a.1 == b.1)
                .filter(|chunk| chunk[0].1 && chunk[0].0 > 0.0)
                .map(|chunk| (chunk[chunk.len() - 1].0 / chunk[0].0).log10())
                .fold(0.0, f64::max);
            band.decades.push(widest);
        }
        bands
    }
}

#[derive(Clone, Debug, Default)]
struct Bands {
    /// The widest band of each context.
    decades: Vec<f64>,
    /// Contexts that lack a rate.
    left_out: usize,
}
