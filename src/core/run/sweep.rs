//! A sweep's folder, from what was asked to what is left to do.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use rayon::prelude::*;

use crate::job::{Job, JobId};
use crate::results::{
    Journal, ResultsError, finished_ids, folders, plan_csv, planned_ids, write_atomically,
};

pub use crate::plan::shard::Shard;

/// What a new plan means for the results that a folder holds. Nothing is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanChange {
    /// Jobs of the new plan that the old one had.
    pub kept: usize,
    /// Those of them that are finished.
    pub kept_finished: usize,
    /// Jobs that the old plan did not have.
    pub new: usize,
    /// Jobs that only the old plan had.
    pub orphaned: usize,
    /// Those of them that are finished; their rows stay.
    pub orphaned_finished: usize,
}

impl PlanChange {
    /// Compares the jobs of a plan with those of a folder's, of which some are finished; `None` if
    /// it has no plan, or the same.
    ///
    /// # Errors
    /// The folder's `plan.csv` cannot be read.
    pub fn of(
        dir: &Path,
        new: &HashSet<JobId>,
        finished: &HashSet<JobId>,
    ) -> Result<Option<PlanChange>, ResultsError> {
        let Some(old) = planned_ids(dir)? else {
            return Ok(None);
        };
        let old: HashSet<JobId> = old.into_iter().collect();
        if old == *new {
            return Ok(None);
        }
        let done = |id: &&JobId| finished.contains(*id);
        Ok(Some(PlanChange {
            kept: new.intersection(&old).count(),
            kept_finished: new.intersection(&old).filter(done).count(),
            new: new.difference(&old).count(),
            orphaned: old.difference(new).count(),
            orphaned_finished: old.difference(new).filter(done).count(),
        }))
    }
}

impl fmt::Display for PlanChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the grid changed: {} jobs are kept ({} of them finished), {} are new,\n{} are no longer asked for",
            self.kept, self.kept_finished, self.new, self.orphaned
        )?;
        match self.orphaned_finished {
            0 => Ok(()),
            n => write!(f, " ({n} of them finished; their rows stay in runs.csv)"),
        }
    }
}

/// A sweep's folder that this process may write to.
pub struct SweepFolder {
    /// Where finished jobs go.
    pub journal: Journal,
    /// The jobs that are left to do, in the plan's order.
    pub remaining: Vec<Job>,
    /// Jobs of this part that were finished before.
    pub finished: usize,
    /// Every job that is finished in the sweep's folder or in that of any shard.
    pub finished_anywhere: HashSet<JobId>,
    /// How the plan differs from the one before.
    pub change: Option<PlanChange>,
}

/// Takes a sweep's folder (or, of a shard, its own) for this process and writes down what was
/// asked: `grid.toml`, `plan.csv` and `columns.json`. `plan` is every job of the sweep, `part`
/// those that this process shall do: all of them, or a shard's.
///
/// A job that is finished in any shard of the sweep is not done again. Call it only with a plan
/// that was validated: an error in a grid must leave no trace on the disk.
///
/// # Errors
/// Another process has the folder, a file in it cannot be believed, or the disk refuses.
pub fn open(
    dir: &Path,
    shard: Option<Shard>,
    grid_toml: &str,
    plan: &[Job],
    part: &[Job],
) -> Result<SweepFolder, ResultsError> {
    let journal = Journal::open(&shard.map_or_else(|| dir.to_owned(), |shard| shard.folder(dir)))?;
    // The journal has read its own folder, and most sweeps have no other.
    let finished = match folders(dir)?.as_slice() {
        [only] if only == journal.dir() => journal.finished().clone(),
        _ => finished_ids(dir)?,
    };
    let ids: HashSet<JobId> = plan.par_iter().map(Job::id).collect();
    let change = PlanChange::of(dir, &ids, &finished)?;
    describe(dir, grid_toml, plan)?;
    let remaining: Vec<Job> =
        part.par_iter().filter(|job| !finished.contains(&job.id())).cloned().collect();
    Ok(SweepFolder {
        journal,
        finished: part.len() - remaining.len(),
        remaining,
        finished_anywhere: finished,
        change,
    })
}

/// Writes down what is asked of a sweep: `grid.toml` and `plan.csv`. Several processes may do so
/// at once, as shards do.
///
/// # Errors
/// The disk refuses.
pub fn describe(dir: &Path, grid_toml: &str, plan: &[Job]) -> Result<(), ResultsError> {
    replace(&dir.join("grid.toml"), grid_toml)?;
    replace(&dir.join("plan.csv"), &plan_csv(plan))
}

/// Puts a file in place, unless it is there already: a notebook that watches it need not wake up.
fn replace(path: &Path, text: &str) -> Result<(), ResultsError> {
    match std::fs::read(path) {
        Ok(found) if found == text.as_bytes() => Ok(()),
        _ => write_atomically(path, text.as_bytes()),
    }
}
