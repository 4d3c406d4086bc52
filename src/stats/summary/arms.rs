//! The arms of a sweep, which are compared with each other.

use std::collections::{BTreeMap, BTreeSet};

use super::SummaryError;
use super::cells::{Cell, Cells, place};
use wninit_core::job::{Gain, Init, Norm};

/// The arms of a sweep.
pub(super) struct Arms {
    /// The axes that distinguish them.
    pub axes: Vec<usize>,
    /// Their places on those axes.
    pub arms: Vec<Arm>,
    /// Index into `arms`.
    pub baseline: Option<usize>,
    /// All axes but the arm's and `lr`.
    pub context: Vec<usize>,
    pub lr: Option<usize>,
    /// The arm of each of the sweep's cells.
    pub of_cell: Vec<usize>,
    /// For each context and arm, the cell with the learning rate chosen on validation.
    pub chosen: BTreeMap<Vec<usize>, BTreeMap<usize, usize>>,
}

/// One arm.
pub(super) struct Arm {
    pub at: Vec<usize>,
    pub label: String,
    init: Init,
    norm: Norm,
}

impl Arms {
    pub(super) fn new(sweep: &Cells, asked: Option<&str>) -> Result<Arms, SummaryError> {
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
                let mut label = match sweep.axis("init") {
                    Some(axis) => sweep.axes[axis].label(sweep.cells[cells[0]].at[axis]),
                    None => job.init.to_string(),
                };
                label += match job.norm {
                    Norm::Batch if several_norms => "+batchnorm",
                    Norm::None if several_norms => "+nonorm",
                    _ => "",
                };
                if let Some(axis) = sweep.axis("branch_scale") {
                    match sweep.axes[axis].label(sweep.cells[cells[0]].at[axis]).as_str() {
                        "" => {}
                        scale => label += &format!("+scale{scale}"),
                    }
                }
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
                Some(first(&arms, |arm| arm.init.name() == init).ok_or_else(|| {
                    let present: BTreeSet<&str> = arms.iter().map(|arm| arm.init.name()).collect();
                    SummaryError {
                        asked: init.to_owned(),
                        present: present.into_iter().collect::<Vec<_>>().join(", "),
                    }
                })?)
            }
            _ => first(&arms, |arm| arm.init.gain() == Some(Gain::Default))
                .or_else(|| first(&arms, |arm| arm.init.gain() == Some(Gain::Datadep)))
                .or_else(|| first(&arms, |_| true)),
        };
        let mut all = Arms { axes, arms, baseline, context, lr, of_cell, chosen: BTreeMap::new() };
        for (key, cells) in sweep.group(&all.contexts_and_arms()) {
            if let Some(best) = sweep.best(cells.into_iter().filter(|&i| !sweep.is_not_chosen(i))) {
                let context = key[..all.context.len()].to_vec();
                let arm = all.of_cell[best];
                all.chosen.entry(context).or_default().insert(arm, best);
            }
        }
        Ok(all)
    }

    pub(super) fn contexts_and_arms(&self) -> Vec<usize> {
        self.context.iter().chain(&self.axes).copied().collect()
    }

    /// Every cell with its arm.
    pub(super) fn cells<'s, 'a>(
        &self,
        sweep: &'s Cells<'a>,
    ) -> impl Iterator<Item = (usize, &'s Cell<'a>)> {
        self.of_cell.iter().copied().zip(&sweep.cells)
    }

    /// The chosen cells of every context, with their arm.
    pub(super) fn chosen(&self) -> impl Iterator<Item = (usize, usize)> {
        self.chosen.values().flatten().map(|(&arm, &cell)| (arm, cell))
    }
}

/// The axes that distinguish arms: the initializer, its norm and scale, and the warm-up if only some
/// initializers have it. A warm-up that varies alike for all arms is an ordinary hyper-parameter.
pub(super) fn arm_axes(sweep: &Cells) -> Vec<usize> {
    let mut axes = sweep.axes_among(&["norm", "init", "branch_scale"]);
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

/// Of several norms, weight normalisation comes first.
fn first(arms: &[Arm], wanted: impl Fn(&Arm) -> bool) -> Option<usize> {
    let position = |norm: Option<Norm>| {
        arms.iter().position(|arm| wanted(arm) && norm.is_none_or(|norm| arm.norm == norm))
    };
    position(Some(Norm::Weight)).or_else(|| position(None))
}
