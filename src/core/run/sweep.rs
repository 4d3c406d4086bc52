//! Opens a sweep's folder: records the plan and finds the jobs that are left.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use crate::atomic::write_atomically;
use crate::job::{Job, JobId};
use crate::plan::PlannedJob;
use crate::plan::shard::Shard;
use crate::results::{Journal, PLAN, ResultsError, finished_ids, folders, plan_csv, planned_ids};

/// The difference between a new plan and that of a folder. No results are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanChange {
    /// Jobs in both plans.
    pub kept: usize,
    /// Those that are finished.
    pub kept_finished: usize,
    /// Jobs only in the new plan.
    pub new: usize,
    /// Jobs only in the old plan.
    pub orphaned: usize,
    /// Those that are finished; their rows stay.
    pub orphaned_finished: usize,
}

impl PlanChange {
    /// Compares the jobs of a plan with those of a folder's plan; `None` if there is none, or the same.
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
            "the grid changed: {} jobs are kept ({} of them finished), {} are new,\n{} are no longer planned",
            self.kept, self.kept_finished, self.new, self.orphaned
        )?;
        match self.orphaned_finished {
            0 => Ok(()),
            n => write!(f, " ({n} of them finished; their rows stay in runs.csv)"),
        }
    }
}

/// A sweep's folder, locked by this process.
pub struct SweepFolder {
    /// The writer of results.
    pub journal: Journal,
    /// Unfinished jobs, in the plan's order.
    pub remaining: Vec<Job>,
    /// The number of finished jobs of this part.
    pub finished: usize,
    /// All jobs that are finished in the sweep's folder or in that of any shard.
    pub finished_anywhere: HashSet<JobId>,
    /// How the plan differs from the folder's previous one.
    pub change: Option<PlanChange>,
}

impl SweepFolder {
    /// Continues with a larger plan, all of whose jobs are for this process.
    ///
    /// # Errors
    /// As [`describe`].
    pub fn extend(&mut self, grid_toml: &str, plan: &[PlannedJob]) -> Result<(), ResultsError> {
        describe(self.journal.dir(), grid_toml, plan)?;
        self.finished_anywhere.extend(self.journal.finished());
        self.remaining = left(plan, &self.finished_anywhere);
        self.finished = plan.len() - self.remaining.len();
        Ok(())
    }
}

/// Locks a sweep's folder (or a shard's) and writes `grid.toml`, `plan.csv` and `columns.json`. `plan`
/// is every job of the sweep, `part` those of this process: all, or a shard's.
///
/// A job that is finished in any shard of the sweep is not trained again. Call it only with a
/// validated plan: an invalid grid must not change the disk.
///
/// # Errors
/// Another process has the lock, a file fails validation, a write fails, or the grid must not replace the folder's: it
/// fixes the number of seeds where the claims did, or a user's file has changed.
pub fn open(
    dir: &Path,
    shard: Option<Shard>,
    grid_toml: &str,
    plan: &[PlannedJob],
    part: &[PlannedJob],
) -> Result<SweepFolder, ResultsError> {
    refuse(dir, grid_toml)?;
    let journal = Journal::open(&shard.map_or_else(|| dir.to_owned(), |shard| shard.folder(dir)))?;
    // The journal has already read its own folder; most sweeps have no other.
    let finished = match folders(dir)?.as_slice() {
        [only] if only == journal.dir() => journal.finished().clone(),
        _ => finished_ids(dir)?,
    };
    let text = plan_csv(plan);
    let change = if holds(&dir.join(PLAN), &text) {
        None
    } else {
        let ids: HashSet<JobId> = plan.iter().map(|planned| planned.id).collect();
        PlanChange::of(dir, &ids, &finished)?
    };
    write(dir, grid_toml, &text)?;
    let remaining = left(part, &finished);
    Ok(SweepFolder {
        journal,
        finished: part.len() - remaining.len(),
        remaining,
        finished_anywhere: finished,
        change,
    })
}

fn left(plan: &[PlannedJob], finished: &HashSet<JobId>) -> Vec<Job> {
    let left = plan.iter().filter(|planned| !finished.contains(&planned.id));
    left.map(|planned| planned.job.clone()).collect()
}

/// Writes `grid.toml` and `plan.csv`. Several processes may do so at once, as shards do.
///
/// # Errors
/// A write fails, or the grid must not replace the folder's, as in [`open`].
pub fn describe(dir: &Path, grid_toml: &str, plan: &[PlannedJob]) -> Result<(), ResultsError> {
    write(dir, grid_toml, &plan_csv(plan))
}

fn write(dir: &Path, grid_toml: &str, plan_csv: &str) -> Result<(), ResultsError> {
    refuse(dir, grid_toml)?;
    replace(&dir.join("grid.toml"), grid_toml)?;
    replace(&dir.join(PLAN), plan_csv)
}

/// An error if a grid must not replace the folder's: if the folder's seeds were added until its claims
/// were decided and the new grid has no such rule, because a number of seeds that depended on the
/// results is not fixed; or if one of its files has changed.
fn refuse(dir: &Path, grid_toml: &str) -> Result<(), ResultsError> {
    let table = |text: &str| text.parse::<toml::Table>().unwrap_or_default();
    let old = table(&std::fs::read_to_string(dir.join("grid.toml")).unwrap_or_default());
    let new = table(grid_toml);
    if old.contains_key("until_decided") && !new.contains_key("until_decided") {
        return Err(ResultsError::Sequential(dir.to_owned()));
    }
    fn files(table: &toml::Table) -> impl Iterator<Item = (&str, &str)> {
        let files = table.get("data").and_then(toml::Value::as_array).into_iter().flatten();
        files.filter_map(|file| Some((file.get("path")?.as_str()?, file.get("hash")?.as_str()?)))
    }
    for (file, before) in files(&old) {
        if let Some((_, now)) = files(&new).find(|(path, now)| *path == file && *now != before) {
            let [file, before, now] = [file, before, now].map(str::to_owned);
            return Err(ResultsError::DataChanged { dir: dir.to_owned(), file, before, now });
        }
    }
    Ok(())
}

/// Writes a file unless it has these contents, so that notebooks that watch it are not triggered.
fn replace(path: &Path, text: &str) -> Result<(), ResultsError> {
    if !holds(path, text) {
        write_atomically(path, text.as_bytes())?;
    }
    Ok(())
}

fn holds(path: &Path, text: &str) -> bool {
    std::fs::read(path).is_ok_and(|found| found == text.as_bytes())
}
