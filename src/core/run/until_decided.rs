//! Trains a sweep batch by batch, until its claims are decided.

use std::collections::HashSet;
use std::path::Path;

use super::pool::RunSummary;
use super::sweep::SweepFolder;
use crate::console::say;
use crate::grid::Grid;
use crate::job::JobId;
use crate::plan::{Plan, PlannedJob};
use crate::results::{Record, ResultsError, planned_ids, read_runs};

/// Decides which jobs a sweep needs from those that are finished. The same results always lead to
/// the same jobs: a resumed run repeats every look.
pub trait Looks {
    /// All jobs planned so far, in training order.
    fn jobs(&self) -> Vec<PlannedJob>;

    /// Evaluates the claims on the results of these jobs, and adds jobs that a claim needs. `None`
    /// while one of the jobs is not finished.
    fn look(&mut self, records: &[Record]) -> Option<Look>;
}

/// The result of a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Message for the user: which claims are open, and which have changed.
    pub message: String,
    /// Whether there are more jobs now.
    pub more: bool,
}

/// Repeats the looks of earlier runs at these results.
pub fn catch_up(looks: &mut dyn Looks, records: &[Record]) {
    while looks.look(records).is_some_and(|look| look.more) {}
}

/// Trains the remaining jobs with `train`, then looks, and repeats while a look adds jobs and every
/// job finishes. `sweep` was opened with the jobs of `looks`.
///
/// # Errors
/// The results cannot be read, or the plan cannot be written.
pub fn run(
    sweep: &mut SweepFolder,
    grid_toml: &str,
    looks: &mut dyn Looks,
    mut train: impl FnMut(&mut SweepFolder) -> RunSummary,
) -> Result<RunSummary, ResultsError> {
    let mut total = train(sweep);
    while total.exit_code() == 0 {
        let records = read_runs(sweep.journal.dir())?.records;
        let Some(look) = looks.look(&records) else { break };
        say(&look.message);
        if !look.more {
            break;
        }
        sweep.extend(grid_toml, &looks.jobs())?;
        if !sweep.remaining.is_empty() {
            total = total.and_then(train(sweep));
        }
    }
    Ok(total)
}

/// The jobs of a grid's plan, and the jobs for added seeds in a folder's plan. Without a rule for
/// adding seeds, only those of the grid's plan.
///
/// # Errors
/// The grid does not expand with all of its seeds, or the folder's plan cannot be read.
pub fn asked_for(grid: &Grid, plan: Plan, dir: &Path) -> anyhow::Result<Vec<PlannedJob>> {
    let old = match grid.until_decided {
        Some(_) => planned_ids(dir)?.unwrap_or_default(),
        None => Vec::new(),
    };
    if old.is_empty() {
        return Ok(plan.jobs);
    }
    let asked: HashSet<JobId> =
        old.into_iter().chain(plan.jobs.iter().map(|planned| planned.id)).collect();
    let all = Plan::of(&grid.with_all_seeds()?)?.jobs.into_iter();
    Ok(all.filter(|planned| asked.contains(&planned.id)).collect())
}
