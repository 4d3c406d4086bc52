//! `wninit status DIR`: the progress of a sweep.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use chrono::Utc;

use wninit_core::console;
use wninit_core::fmt::duration;
use wninit_core::grid::{Grid, Overrides};
use wninit_core::job::JobId;
use wninit_core::results::{
    Failure, Holder, Outcome, failure_lines, folders, holder, planned_ids, read_failures,
    read_outcomes, read_runs,
};
use wninit_core::run::progress::RunProgress;
use wninit_core::run::until_decided::{self, Looks};
use wninit_stats::summary;

/// Show the progress of a sweep, and its failures.
///
/// Reads the sweep's files, even while it runs.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The sweep's folder, such as results/depth
    pub dir: PathBuf,
    /// Exit with 3 unless every job of the plan is finished and no claim needs more seeds
    #[arg(long)]
    pub check: bool,
}

/// Prints the state of a sweep.
///
/// # Errors
/// The folder is not a sweep's, or its files cannot be read.
pub fn run(args: &Args) -> Result<u8> {
    let status = Status::of(&args.dir)?;
    console::print(&status.to_string())?;
    let complete = status.failed == 0 && status.missing == 0 && !status.open;
    Ok(if args.check && !complete { 3 } else { 0 })
}

/// A process that works on a sweep, or on a shard of it.
#[derive(Clone, Debug)]
pub struct Process {
    /// The shard's folder name; `None` for the whole sweep.
    pub shard: Option<String>,
    pub holder: Holder,
    pub progress: Option<RunProgress>,
}

#[derive(Clone, Debug)]
pub struct Status {
    pub dir: PathBuf,
    pub planned: usize,
    pub ok: usize,
    pub diverged: usize,
    /// Jobs that failed and have not finished since.
    pub failed: usize,
    /// Jobs without a result, in-flight ones included.
    pub missing: usize,
    /// Finished jobs that are no longer in the plan.
    pub orphaned: usize,
    /// Whether a claim needs more seeds than are planned so far.
    pub open: bool,
    /// Why jobs failed, by the last attempt at each.
    pub reasons: Vec<String>,
    pub runs: Vec<Process>,
}

impl Status {
    /// The state of the sweep in a folder.
    ///
    /// # Errors
    /// The folder is not a sweep's, or its files cannot be read.
    pub fn of(dir: &Path) -> Result<Status> {
        if !dir.is_dir() {
            bail!(
                "there is no folder {}; a sweep's folder is ROOT/NAME, such as results/depth",
                dir.display()
            );
        }
        let Some(plan) = planned_ids(dir)? else {
            bail!(
                "{} holds no plan.csv, so it is not a sweep's folder; name one such as results/depth",
                dir.display()
            );
        };
        let outcomes = read_outcomes(dir)?;
        let plan: HashSet<JobId> = plan.into_iter().collect();
        let mut last: HashMap<JobId, Failure> = HashMap::new();
        for failure in read_failures(dir)? {
            let open = plan.contains(&failure.id) && !outcomes.contains_key(&failure.id);
            // By attempt first, because a clock may be set back.
            let when = |failure: &Failure| (failure.attempt, failure.at);
            if open && last.get(&failure.id).is_none_or(|other| when(other) <= when(&failure)) {
                last.insert(failure.id, failure);
            }
        }
        let mut runs = Vec::new();
        for folder in folders(dir)? {
            let held =
                holder(&folder).with_context(|| "cannot tell whether the sweep is running")?;
            if let Some(holder) = held {
                let shard = (folder != dir)
                    .then(|| folder.file_name().unwrap_or_default().to_string_lossy().into_owned());
                // An earlier process may have left its progress report.
                let progress = RunProgress::read(&folder)
                    .filter(|p| (p.pid, &p.host) == (holder.pid, &holder.host));
                runs.push(Process { shard, holder, progress });
            }
        }
        let count = |outcome| plan.iter().filter(|id| outcomes.get(id) == Some(&outcome)).count();
        let (ok, diverged) = (count(Outcome::Ok), count(Outcome::Diverged));
        Ok(Status {
            dir: dir.to_owned(),
            planned: plan.len(),
            ok,
            diverged,
            failed: last.len(),
            missing: plan.len() - ok - diverged - last.len(),
            open: ok + diverged == plan.len() && needs_seeds(dir)?,
            orphaned: outcomes.len() - ok - diverged,
            reasons: failure_lines(last.values()),
            runs,
        })
    }
}

/// Whether a claim of a sweep whose jobs are finished needs more seeds.
fn needs_seeds(dir: &Path) -> Result<bool> {
    let grid = Grid::load(&dir.join("grid.toml"), &Overrides::default());
    let Some(mut path) =
        grid.ok().and_then(|grid| summary::SequentialPlan::of(&grid).ok()).flatten()
    else {
        return Ok(false);
    };
    let records = read_runs(dir)?.records;
    until_decided::catch_up(&mut path, &records);
    let finished: HashSet<JobId> = records.iter().map(|record| record.job.id()).collect();
    Ok(path.jobs().iter().any(|job| !finished.contains(&job.id())))
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |n: usize| 100.0 * n as f64 / self.planned.max(1) as f64;
        let finished = self.ok + self.diverged;
        writeln!(f, "{}: {} jobs planned", self.dir.display(), self.planned)?;
        writeln!(
            f,
            "  finished {finished:>9}  ({:.1} %): {} ok, {} diverged",
            share(finished),
            self.ok,
            self.diverged
        )?;
        if self.failed > 0 {
            writeln!(f, "  failed   {:>9}  (the next run tries them again)", self.failed)?;
        }
        writeln!(f, "  missing  {:>9}", self.missing)?;
        if self.orphaned > 0 {
            writeln!(
                f,
                "  {} more finished jobs are in runs.csv that are no longer in the plan",
                self.orphaned
            )?;
        }
        for line in &self.reasons {
            writeln!(f, "  {line}")?;
        }
        if self.runs.is_empty() {
            return match finished == self.planned {
                true if self.open => {
                    writeln!(f, "claims are open: the next `wninit run` adds seeds")
                }
                true => writeln!(f, "complete"),
                false => writeln!(f, "not running"),
            };
        }
        for run in &self.runs {
            match &run.shard {
                Some(shard) => write!(f, "running, shard {shard}: {}", run.holder)?,
                None => write!(f, "running: {}", run.holder)?,
            }
            if let Some(progress) = &run.progress {
                write!(
                    f,
                    "; {} jobs at work, {:.1} % of its work done",
                    progress.running,
                    100.0 * progress.fraction
                )?;
                if let Some(eta) = progress.eta_seconds {
                    write!(f, ", about {} left", duration(eta))?;
                }
                let silent = (Utc::now() - progress.updated_at).num_seconds();
                if silent > 60 {
                    write!(f, "; no progress report for {}", duration(silent as f64))?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
