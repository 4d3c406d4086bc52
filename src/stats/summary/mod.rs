//! Robustness, seed variance and claims: records in, tables out.
//!
//! The *axes* of a sweep are the fields with more than one value in its plan. A *cell* is a
//! combination of values of all axes except the seeds; its runs differ only in their seeds, and the
//! seed is the unit of replication everywhere. The initializer (with its norm, and a warm-up that
//! only some have) is the *arm*, which is compared. `lr` is chosen for each arm on validation
//! accuracy, never on test accuracy. The remaining axes are the *context* of a comparison.
//!
//! Three numbers are separate everywhere: how many runs train, how accurate those are, and the
//! composite mean over all runs, in which a failed run counts as a guess, 1/classes. All tests and
//! intervals are those of [`verdict`](crate::verdict) and [`inference`](crate::inference). Every
//! run is counted: a run that the machine cut short as failed, a planned run without a result as
//! missing, and a run whose seed is not finished in every arm of its setting as left out.

mod arms;
mod cells;
mod choice;
mod claims;
mod columns;
mod compare;
mod headline;
mod initializers;
mod notes;
mod pairs;
mod profiles;
mod published;
mod ranking;
mod sample;
mod until_decided;
mod variance;

use rayon::prelude::*;

use crate::verdict::{Decision, adjust};
use arms::Arms;
use cells::Cells;
use wninit_core::grid::{Claim, Explored, Metric, Published, UntilDecided};
use wninit_core::job::{Direction, Gain, Init, Job, JobId, Value};
use wninit_core::results::{Curvature, Record, field_doc};
use wninit_core::table::{Column, Table};

pub use cells::{CellSummary, Counts, RunEnding, RunSummary, Seed, SweepAxis, chance};
pub use choice::{Choice, Edge, choices, named};
pub use claims::{ClaimResult, SettingResult};
pub use compare::{Comparison, detectable};
pub use headline::Headline;
pub use initializers::{HYPERPARAMETERS, InitializerSummary};
pub use notes::Note;
pub use pairs::PairSummary;
pub use profiles::Profile;
pub use published::PublishedResult;
pub use ranking::{Ranked, Standing};
pub use until_decided::SequentialPlan;
pub use variance::VarianceSummary;

/// The input of a summary.
#[derive(Clone, Copy, Default)]
pub struct Input<'a> {
    /// The plan; if it is empty, the finished jobs are used instead.
    pub planned: &'a [(JobId, Job)],
    /// The finished jobs.
    pub records: &'a [Record],
    /// Curvature of the loss at initialization, the best row of each job
    /// ([`best_curvatures`](wninit_core::results::best_curvatures)).
    pub curvatures: &'a [Curvature],
    /// Jobs with a failed attempt. Those that finished later do not count as failed.
    pub failed: &'a [JobId],
    /// The claims of the sweep.
    pub claims: &'a [Claim],
    /// The rule for adding seeds until the claims are decided; `None` if their number is fixed.
    pub until_decided: Option<UntilDecided>,
    /// Published numbers.
    pub published: &'a [Published],
    /// The sweep that chose its learning rates, if one did.
    pub explored: Option<&'a Explored>,
    /// The baseline; by default the default gain, else the data-dependent one.
    pub baseline: Option<&'a str>,
}

/// Why there is no summary: the requested baseline is not in the sweep.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the baseline \"{asked}\" is not in this sweep; it has {present}")]
pub struct SummaryError {
    asked: String,
    present: String,
}

/// A sweep's answers.
#[derive(Clone)]
pub struct Summary {
    /// The fields that vary.
    pub axes: Vec<SweepAxis>,
    /// Fields of interest that do not vary, with their value.
    pub constants: Vec<(&'static str, String)>,
    /// Totals.
    pub counts: Counts,
    /// Jobs whose curvature at initialization is measured, which needs no training.
    pub measured: usize,
    /// Every cell, in the order of the axes.
    pub cells: Vec<CellSummary>,
    /// Indices of the cells at the learning rate chosen on validation for their context.
    pub chosen: Vec<usize>,
    /// The axes that distinguish the arms: those of `norm` and `init` that vary, and
    /// `warmup_epochs` if only some arms have a warm-up.
    pub arm_axes: Vec<usize>,
    /// The arm that the others are compared with; an index into `initializers`.
    pub baseline: Option<usize>,
    /// The arms of each task, the best first.
    pub ranking: Vec<Ranked>,
    /// The metric of success in `ranking` and `pairs`: `success`, or `diverged` if the claims are
    /// about that.
    pub success_metric: Metric,
    /// Each arm over the whole sweep.
    pub initializers: Vec<InitializerSummary>,
    /// Each arm against the baseline, context by context.
    pub pairs: Vec<PairSummary>,
    /// Performance profiles.
    pub profiles: Vec<Profile>,
    /// Seed variance.
    pub variance: Vec<VarianceSummary>,
    /// The claims with their verdicts.
    pub claims: Vec<ClaimResult>,
    /// Published numbers beside ours.
    pub published: Vec<PublishedResult>,
    /// Limits of the numbers that a reader must know.
    pub notes: Vec<Note>,
}

impl Summary {
    /// Makes a summary; the sweep need not be finished.
    ///
    /// # Errors
    /// The requested baseline is not in the sweep.
    pub fn new(input: &Input) -> Result<Summary, SummaryError> {
        let sweep = Cells::new(input);
        let arms = Arms::new(&sweep, input.baseline)?;
        let with_arms = sweep.cells.par_iter().zip(&arms.of_cell);
        let success_metric = ranking::success_metric(input.claims);
        let settle = |claim: &Claim| claims::settle(&sweep, claim, input.until_decided);
        let (mut claims, (ranking, (pairs, (profiles, variance)))) = rayon::join(
            || input.claims.par_iter().map(settle).collect::<Vec<ClaimResult>>(),
            || {
                let others = || rayon::join(|| arms.profiles(&sweep), || arms.variance(&sweep));
                let pairs = || arms.pairs(&sweep, success_metric);
                rayon::join(|| arms.ranking(&sweep, success_metric), || rayon::join(pairs, others))
            },
        );
        let mut decisions: Vec<&mut Decision> =
            claims.iter_mut().map(|claim| &mut claim.answer.overall).collect();
        adjust(&mut decisions);
        let initializers = arms.initializers(&sweep);
        let mut chosen: Vec<usize> = arms.chosen().map(|(_, cell)| cell).collect();
        chosen.sort_unstable();
        let mut notes = notes::notes(&sweep, &arms, &initializers, &claims);
        notes.extend(input.until_decided.map(until_decided::in_words));
        Ok(Summary {
            constants: notes::constants(&sweep),
            counts: sweep.cells.iter().map(Counts::of).sum(),
            measured: sweep.cells.iter().map(|cell| cell.curvatures.len()).sum(),
            cells: with_arms.map(|(cell, &arm)| CellSummary::of(cell, arm)).collect(),
            chosen,
            ranking,
            success_metric,
            pairs,
            profiles,
            variance,
            notes,
            initializers,
            claims,
            published: input
                .published
                .iter()
                .map(|p| published::beside(&sweep, &arms.of_cell, p))
                .collect(),
            baseline: arms.baseline,
            arm_axes: arms.axes,
            axes: sweep.axes,
        })
    }

    /// Every table, the most important first.
    pub fn tables(&self) -> Vec<Table> {
        let all: Vec<usize> = (0..self.axes.len()).collect();
        let (task, context) = (self.task_axes(), self.context_axes());
        let settings: Vec<_> = self.claims.iter().flat_map(ClaimResult::in_settings).collect();
        let points: Vec<_> = self.profiles.iter().flat_map(|p| p.points.clone()).collect();
        vec![
            self.table_at("ranking", ranking::COLUMNS, &self.ranking, &task, |r| &r.task),
            self.table_at("cells", cells::COLUMNS, &self.cells, &all, |cell| &cell.at),
            Table::new("initializers", initializers::COLUMNS, &self.initializers),
            self.table_at("pairs", pairs::COLUMNS, &self.pairs, &context, |p| &p.context),
            Table::new("profiles", profiles::COLUMNS, &points),
            Table::new("variance", variance::COLUMNS, &self.variance),
            Table::new("claims", claims::COLUMNS, &self.claims),
            Table::new("settings", claims::SETTING_COLUMNS, &settings),
            Table::new("published", published::COLUMNS, &self.published),
            Table::new("notes", notes::COLUMNS, &self.notes),
        ]
    }

    /// A table with a column for each of some axes before its own.
    fn table_at<T>(
        &self,
        name: &'static str,
        columns: &[Column<T>],
        items: &[T],
        axes: &[usize],
        at: impl Fn(&T) -> &Vec<usize>,
    ) -> Table {
        let mut table = Table::new(name, columns, items);
        table.columns.splice(0..0, axes.iter().map(|&axis| field_doc(self.axes[axis].field)));
        for (row, item) in table.rows.iter_mut().zip(items) {
            let place = axes.iter().zip(at(item));
            row.splice(0..0, place.map(|(&axis, &value)| self.axes[axis].datum(value)));
        }
        table
    }

    /// The axis of that name.
    pub fn axis(&self, name: &str) -> Option<usize> {
        self.axes.iter().position(|axis| axis.field.name == name)
    }

    /// The initializers of the paper that the sweep's networks support but did not use.
    pub fn inits_not_tried(&self) -> Vec<&'static str> {
        let tried = |init: &Init| self.cells.iter().any(|cell| cell.job.init == *init);
        let possible = |init: &Init| {
            let value = Value::Text(init.name().to_owned());
            self.cells.iter().any(|cell| cell.job.with(&[("init", value.clone())]).is_ok())
        };
        let of_the_paper = |init: &Init| {
            !matches!(
                init,
                Init::BuiltIn { direction: Direction::DeltaOrthogonal, .. }
                    | Init::BuiltIn { gain: Gain::Lsuv, .. }
            )
        };
        let all = Init::all().filter(of_the_paper);
        all.filter(|init| !tried(init) && possible(init)).map(Init::name).collect()
    }

    /// All axes but the arm's and those of hyper-parameters.
    pub fn task_axes(&self) -> Vec<usize> {
        let tuned = |i: &usize| HYPERPARAMETERS.contains(&self.axes[*i].field.name);
        (0..self.axes.len()).filter(|i| !self.arm_axes.contains(i) && !tuned(i)).collect()
    }

    /// All axes but the arm's and the learning rate.
    pub fn context_axes(&self) -> Vec<usize> {
        let lr = self.axis("lr");
        (0..self.axes.len()).filter(|i| !self.arm_axes.contains(i) && Some(*i) != lr).collect()
    }
}
