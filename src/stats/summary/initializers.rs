//! The initializers (arms) of a sweep: how robust each is, alone and against the baseline.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cell, Ending, Run, Seed, Summary, SummaryError, Sweep, ends, place};
use crate::estimates::{self, Estimate, Interval, LEVEL, Paired};
use wninit_core::job::{Gain, Init, Norm};
use wninit_core::table::{Datum, Table};

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

/// An arm over the whole sweep: a row of `initializers.csv`, whose columns
/// [`COLUMNS`](super::COLUMNS) documents.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // COLUMNS documents each
pub struct InitializerSummary {
    /// The index of its value on each of the arm axes.
    pub at: Vec<usize>,
    /// Its name, unique in the sweep.
    pub label: String,
    pub is_baseline: bool,
    pub n_cells: usize,
    pub n_planned: usize,
    pub n_finished: usize,
    pub n_ok: usize,
    pub n_diverged: usize,
    pub n_at_chance: usize,
    pub n_failed: usize,
    pub n_missing: usize,
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

/// An arm against the baseline in one context, each at its own learning rate: a row of `pairs.csv`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // COLUMNS documents each
pub struct PairSummary {
    /// The index of its value on each of `axes`.
    pub context: Vec<usize>,
    /// The axes of the context.
    pub axes: Vec<usize>,
    /// The arm, an index into the summary's `initializers`.
    pub arm: usize,
    pub lr: f64,
    pub baseline_lr: f64,
    pub n_arm: usize,
    pub n_baseline: usize,
    pub mean_arm: Option<f64>,
    pub mean_baseline: Option<f64>,
    /// Arm − baseline over the seeds that both have.
    pub difference: Option<Paired>,
    pub p_holm: Option<f64>,
    pub better: Option<Estimate>,
}

/// The share of an arm's runs that reach each accuracy: rows of `profiles.csv`.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The arm, an index into the summary's `initializers`.
    pub arm: usize,
    /// Finished runs.
    pub n: usize,
    /// (τ, share of runs with a test accuracy of at least τ).
    pub points: Vec<(f64, f64)>,
    /// The bootstrap interval of each share; `None` below
    /// [`BOOTSTRAP_MIN`](crate::estimates::BOOTSTRAP_MIN) seeds in a cell.
    pub band: Option<Vec<Interval>>,
}

/// Which runs a variance is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All finished runs, diverged ones at chance.
    All,
    /// The runs that converged to better than chance.
    Success,
}

impl Scope {
    /// Its word in `variance.csv`.
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
    pub scope: Scope,
    pub n_cells: usize,
    pub pooled: Option<estimates::Pooled>,
    /// Cells that both this arm and the baseline have with two runs or more.
    pub n_common: usize,
    /// Over those cells.
    pub ratio: Option<Estimate>,
}

/// The arms of a sweep.
pub(super) struct Arms {
    /// The axes that tell them apart.
    pub axes: Vec<usize>,
    /// Their places on those axes.
    pub arms: Vec<Arm>,
    /// Index into `arms`.
    pub baseline: Option<usize>,
    /// All axes but the arm's and `lr`.
    context: Vec<usize>,
    lr: Option<usize>,
    /// The arm of each of the sweep's cells.
    pub(super) of_cell: Vec<usize>,
    /// For each context and arm the cell with the learning rate that validation chooses.
    pub(super) chosen: BTreeMap<Vec<usize>, BTreeMap<usize, usize>>,
}

/// One arm.
pub(super) struct Arm {
    at: Vec<usize>,
    label: String,
    init: Init,
    norm: Norm,
}

impl Arms {
    pub(super) fn new(sweep: &Sweep, asked: Option<Init>) -> Result<Arms, SummaryError> {
        let axes = arm_axes(sweep);
        let lr = sweep.axis("lr");
        let context = sweep.axes_without(&axes.iter().copied().chain(lr).collect::<Vec<_>>());
        let several_norms = sweep.axis("norm").is_some();
        let warmup = sweep.axis("warmup_epochs").filter(|axis| axes.contains(axis));
        let arms: Vec<Arm> = sweep
            .group(&axes)
            .into_iter()
            .map(|(at, cells)| {
                let job = sweep.cells[cells[0]].job;
                let mut label = match job.norm {
                    Norm::Weight => job.init.to_string(),
                    Norm::Batch if several_norms => format!("{}+batchnorm", job.init),
                    Norm::None if several_norms => format!("{}+nonorm", job.init),
                    _ => job.init.to_string(),
                };
                if let Some(axis) = warmup {
                    match sweep.axes[axis].label(sweep.cells[cells[0]].at[axis]).as_str() {
                        "" | "0" => {}
                        epochs => label += &format!("+warmup{epochs}"),
                    }
                }
                Arm { at, label, init: job.init, norm: job.norm }
            })
            .collect();
        // Arms are sorted by their place, and each cell's place is an arm's.
        let arm_of = |cell| {
            let at = place(cell, &axes);
            arms.partition_point(|arm| arm.at < at)
        };
        let of_cell = sweep.cells.iter().map(arm_of).collect();
        let baseline = match asked {
            Some(init) if !arms.is_empty() => {
                Some(first(&arms, |arm| arm.init == init).ok_or_else(|| {
                    let present: BTreeSet<&str> = arms.iter().map(|arm| arm.init.name()).collect();
                    SummaryError::NoSuchBaseline {
                        asked: init.name(),
                        present: present.into_iter().collect::<Vec<_>>().join(", "),
                    }
                })?)
            }
            _ => first(&arms, |arm| arm.init.gain == Gain::Default)
                .or_else(|| first(&arms, |arm| arm.init.gain == Gain::Datadep))
                .or_else(|| first(&arms, |_| true)),
        };
        let mut all = Arms { axes, arms, baseline, context, lr, of_cell, chosen: BTreeMap::new() };
        for (key, cells) in sweep.group(&all.contexts_and_arms()) {
            if let Some(best) = sweep.best(cells) {
                let context = key[..all.context.len()].to_vec();
                let arm = all.of_cell[best];
                all.chosen.entry(context).or_default().insert(arm, best);
            }
        }
        Ok(all)
    }

    fn contexts_and_arms(&self) -> Vec<usize> {
        self.context.iter().chain(&self.axes).copied().collect()
    }

    /// Whether there is anything to compare.
    pub(super) fn any(&self) -> bool {
        !self.arms.is_empty()
    }

    /// Every cell with its arm.
    fn cells<'s, 'a>(&self, sweep: &'s Sweep<'a>) -> impl Iterator<Item = (usize, &'s Cell<'a>)> {
        self.of_cell.iter().copied().zip(&sweep.cells)
    }

    /// The chosen cells of every context, with their arm.
    pub(super) fn chosen(&self) -> impl Iterator<Item = (usize, usize)> {
        self.chosen.values().flatten().map(|(&arm, &cell)| (arm, cell))
    }

    pub(super) fn initializers(&self, sweep: &Sweep) -> Vec<InitializerSummary> {
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
                let count =
                    |of: &dyn Fn(&Cell) -> usize| cells.iter().map(|c| of(c)).sum::<usize>();
                let n_finished = count(&|c| c.runs.len());
                let n_diverged = count(&|c| c.count(Ending::Diverged));
                let n_failed = count(&|c| c.failed);
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
                    n_planned: count(&|c| c.planned),
                    n_finished,
                    n_ok: n_finished - n_diverged,
                    n_diverged,
                    n_at_chance: count(&|c| c.count(Ending::AtChance)),
                    n_failed,
                    n_missing: count(&|c| c.planned.saturating_sub(c.runs.len() + c.failed)),
                    seeds_min: finished_of().min().unwrap_or(0),
                    seeds_max: finished_of().max().unwrap_or(0),
                    success_rate: share(count(&|c| c.count(Ending::Success)), n_finished),
                    iqm,
                    iqm_interval,
                    iqm_best_lr,
                    iqm_best_lr_interval,
                    near_best: share(near[i].0, near[i].1),
                    lr_usable: share(bands[i].usable, bands[i].tried),
                    lr_band_decades: estimates::mean(&bands[i].decades),
                    deepest: cells.iter().filter(|c| c.trains()).map(layers).max(),
                    deepest_tested: cells.iter().filter(|c| !c.runs.is_empty()).map(layers).max(),
                    difference: self.overall_difference(sweep, i),
                }
            })
            .collect()
    }

    /// For each arm: runs within δ of the best of their task, and runs. The best of a task is the
    /// mean test accuracy of the cell that validation prefers among all arms and hyper-parameters.
    fn near_best(&self, sweep: &Sweep) -> Vec<(usize, usize)> {
        let mut near = vec![(0, 0); self.arms.len()];
        let tuned = sweep.axes_among(&HYPERPARAMETERS);
        let task = sweep.axes_without(&self.axes.iter().chain(&tuned).copied().collect::<Vec<_>>());
        for cells in sweep.group(&task).into_values() {
            let best = sweep.best(cells.iter().copied());
            let Some(best) = best.and_then(|cell| estimates::mean(&sweep.cells[cell].accuracies()))
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
    fn lr_bands(&self, sweep: &Sweep) -> Vec<Band> {
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
    fn overall_difference(&self, sweep: &Sweep, arm: usize) -> Option<Paired> {
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
        estimates::paired(&means, LEVEL)
    }

    pub(super) fn pairs(&self, sweep: &Sweep) -> Vec<PairSummary> {
        let Some(baseline) = self.baseline else {
            return Vec::new();
        };
        let mut pairs = Vec::new();
        for (context, cells) in &self.chosen {
            let Some(base) = cells.get(&baseline).map(|&i| &sweep.cells[i]) else {
                continue;
            };
            for (&arm, cell) in cells.iter().filter(|(arm, _)| **arm != baseline) {
                let cell = &sweep.cells[*cell];
                let (ours, theirs) = (cell.accuracies(), base.accuracies());
                let shared: Vec<(f64, f64)> =
                    common_seeds(cell, base).into_iter().map(|(_, pair)| pair).collect();
                pairs.push(PairSummary {
                    context: context.clone(),
                    axes: self.context.clone(),
                    arm,
                    lr: cell.job.lr,
                    baseline_lr: base.job.lr,
                    n_arm: ours.len(),
                    n_baseline: theirs.len(),
                    mean_arm: estimates::mean(&ours),
                    mean_baseline: estimates::mean(&theirs),
                    difference: estimates::paired(&shared, LEVEL),
                    p_holm: None,
                    better: estimates::probability_of_improvement(&ours, &theirs, LEVEL),
                });
            }
        }
        let tested: Vec<usize> = (0..pairs.len()).filter(|&i| p_of(&pairs[i]).is_some()).collect();
        let p: Vec<f64> = tested.iter().filter_map(|&i| p_of(&pairs[i])).collect();
        for (i, adjusted) in tested.into_iter().zip(estimates::holm(&p)) {
            pairs[i].p_holm = Some(adjusted);
        }
        pairs
    }

    pub(super) fn profiles(&self, sweep: &Sweep) -> Vec<Profile> {
        let taus: Vec<f64> = (0..=100).map(|percent| f64::from(percent) / 100.0).collect();
        let mut cells: Vec<Vec<Vec<f64>>> = vec![Vec::new(); self.arms.len()];
        for (arm, cell) in self.cells(sweep) {
            cells[arm].push(cell.accuracies());
        }
        let profile = |(arm, cells): (usize, &Vec<Vec<f64>>)| {
            let values = cells.concat();
            let shares = estimates::performance_profile(&values, &taus)?;
            Some(Profile {
                arm,
                n: values.len(),
                points: taus.iter().copied().zip(shares).collect(),
                band: estimates::performance_profile_interval(cells, &taus, LEVEL),
            })
        };
        cells.iter().enumerate().filter_map(profile).collect()
    }

    pub(super) fn variance(&self, sweep: &Sweep) -> Vec<VarianceSummary> {
        let elsewhere: Vec<usize> = sweep.axes_without(&self.axes);
        let mut rows = Vec::new();
        for scope in [Scope::All, Scope::Success] {
            let mut by_arm: Vec<BTreeMap<Vec<usize>, Vec<f64>>> =
                vec![BTreeMap::new(); self.arms.len()];
            for (arm, cell) in self.cells(sweep) {
                let taken = |run: &&Run| scope == Scope::All || run.ending == Ending::Success;
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
                let ratio = estimates::pooled_sd(&own)
                    .zip(estimates::pooled_sd(&theirs))
                    .and_then(|(own, theirs)| estimates::sd_ratio(own, theirs, LEVEL));
                rows.push(VarianceSummary {
                    arm,
                    scope,
                    n_cells: cells.len(),
                    pooled: estimates::pooled_sd(&cells.values().collect::<Vec<_>>()),
                    n_common: common.len(),
                    ratio,
                });
            }
        }
        rows
    }
}

/// The axes that tell arms apart: the initializer, the norm that it is for, and the warm-up where it
/// goes with some of them only, as in "with warm-up" beside "without". A warm-up that all arms have
/// alike is a hyper-parameter like any other.
fn arm_axes(sweep: &Sweep) -> Vec<usize> {
    let mut axes = sweep.axes_among(&["norm", "init"]);
    if let Some(warmup) = sweep.axis("warmup_epochs") {
        let arms: BTreeSet<Vec<usize>> =
            sweep.cells.iter().map(|cell| place(cell, &axes)).collect();
        let pairs: BTreeSet<(Vec<usize>, usize)> =
            sweep.cells.iter().map(|cell| (place(cell, &axes), cell.at[warmup])).collect();
        if pairs.len() < arms.len() * sweep.axes[warmup].values.len() {
            axes.push(warmup);
            axes.sort_unstable();
        }
    }
    axes
}

#[derive(Clone, Debug, Default)]
struct Band {
    tried: usize,
    usable: usize,
    /// The widest band of each context.
    decades: Vec<f64>,
}

fn p_of(pair: &PairSummary) -> Option<f64> {
    pair.difference.and_then(|d| d.p)
}

/// Of several norms, weight normalisation comes first.
fn first(arms: &[Arm], wanted: impl Fn(&Arm) -> bool) -> Option<usize> {
    let position = |norm: Option<Norm>| {
        arms.iter().position(|arm| wanted(arm) && norm.is_none_or(|norm| arm.norm == norm))
    };
    position(Some(Norm::Weight)).or_else(|| position(None))
}

/// The interquartile mean over all runs of the cells, with its interval.
fn pooled_iqm(cells: &[&Cell]) -> (Option<f64>, Option<Interval>) {
    let values: Vec<Vec<f64>> = cells.iter().map(|cell| cell.accuracies()).collect();
    (
        estimates::interquartile_mean(&values.concat()),
        estimates::interquartile_mean_interval(&values, LEVEL),
    )
}

/// The accuracies of the seeds that both cells have.
pub(super) fn common_seeds(a: &Cell, b: &Cell) -> Vec<(Seed, (f64, f64))> {
    let theirs: BTreeMap<Seed, f64> =
        b.runs.iter().filter_map(|r| Some((r.seed, r.accuracy?))).collect();
    let pair = |run: &Run| Some((run.seed, (run.accuracy?, *theirs.get(&run.seed)?)));
    a.runs.iter().filter_map(pair).collect()
}

impl Summary {
    pub(super) fn initializers_table(&self) -> Table {
        let rows = self.initializers.iter().map(|s| {
            let mut row = vec![Datum::from(s.label.as_str())];
            row.push(if s.is_baseline { "yes" } else { "no" }.into());
            row.extend(
                [
                    s.n_cells,
                    s.n_planned,
                    s.n_finished,
                    s.n_ok,
                    s.n_diverged,
                    s.n_at_chance,
                    s.n_failed,
                    s.n_missing,
                    s.seeds_min,
                    s.seeds_max,
                ]
                .map(Datum::from),
            );
            row.push(s.success_rate.into());
            row.push(s.iqm.into());
            row.extend(ends(s.iqm_interval));
            row.push(s.iqm_best_lr.into());
            row.extend(ends(s.iqm_best_lr_interval));
            row.extend([s.near_best, s.lr_usable, s.lr_band_decades].map(Datum::from));
            row.extend(
                [s.deepest, s.deepest_tested].map(|layers| Datum::from(layers.map(|n| n as usize))),
            );
            row.push(s.difference.map(|d| d.mean).into());
            row.extend(ends(s.difference.and_then(|d| d.interval)));
            row.push(s.difference.map(|d| d.n).into());
            row
        });
        self.table("initializers", &[], rows.collect())
    }

    pub(super) fn pairs_table(&self) -> Table {
        let baseline = self.baseline.map(|b| self.initializers[b].label.as_str());
        let rows = self.pairs.iter().map(|p| {
            let mut row = self.place(&p.axes, &p.context);
            row.push(self.initializers[p.arm].label.as_str().into());
            row.push(baseline.into());
            row.extend([p.lr, p.baseline_lr].map(Datum::from));
            row.extend([p.n_arm, p.n_baseline].map(Datum::from));
            row.extend([p.mean_arm, p.mean_baseline].map(Datum::from));
            let d = p.difference;
            row.push(d.map(|d| d.n).into());
            row.extend([d.map(|d| d.mean), d.and_then(|d| d.sd)].map(Datum::from));
            row.extend(ends(d.and_then(|d| d.interval)));
            row.extend([d.and_then(|d| d.p), p.p_holm].map(Datum::from));
            row.push(p.better.map(|b| b.value).into());
            row.extend(ends(p.better.map(|b| b.interval)));
            row
        });
        self.table("pairs", &self.context_axes(), rows.collect())
    }

    /// All axes but the arm's and the learning rate.
    pub fn context_axes(&self) -> Vec<usize> {
        let lr = self.axis("lr");
        (0..self.axes.len()).filter(|i| !self.arm_axes.contains(i) && Some(*i) != lr).collect()
    }

    pub(super) fn profiles_table(&self) -> Table {
        let rows = self.profiles.iter().flat_map(|profile| {
            profile.points.iter().enumerate().map(|(i, &(tau, share))| {
                let mut row = vec![self.initializers[profile.arm].label.as_str().into()];
                row.extend([Datum::from(tau), share.into()]);
                row.extend(ends(profile.band.as_ref().map(|band| band[i])));
                row.push(profile.n.into());
                row
            })
        });
        self.table("profiles", &[], rows.collect())
    }

    pub(super) fn variance_table(&self) -> Table {
        let rows = self.variance.iter().map(|v| {
            let mut row: Vec<Datum> =
                vec![self.initializers[v.arm].label.as_str().into(), v.scope.name().into()];
            row.push(v.n_cells.into());
            row.push(v.pooled.map(|p| p.sd).into());
            row.push(v.pooled.map(|p| p.df).into());
            row.push(v.n_common.into());
            row.push(v.ratio.map(|r| r.value).into());
            row.extend(ends(v.ratio.map(|r| r.interval)));
            row
        });
        self.table("variance", &[], rows.collect())
    }
}
