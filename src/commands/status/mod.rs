//! `wninit status DIR`: the progress of a sweep.

mod watch;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use wninit_core::cli::Root;
use wninit_core::cli::json::{self, JsonArgs};
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
use wninit_core::usage::usage;
use wninit_stats::summary;

/// Show the progress of a sweep, and its failures.
///
/// Reads the sweep's files, even while it runs.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  wninit status results/depth
  wninit status sweeps/depth.toml --watch
  wninit status results/depth --json")]
pub struct Args {
    /// The sweep's folder, such as results/depth, or its grid
    #[arg(value_name = "DIR|GRID")]
    pub dir: PathBuf,
    #[command(flatten)]
    pub results: Root,
    #[command(flatten)]
    pub json: JsonArgs,
    /// Exit with 3 unless every job of the plan is finished and no claim needs more seeds
    #[arg(long)]
    pub check: bool,
    /// Show it every 2 s until all jobs are finished
    #[arg(long, conflicts_with_all = ["json", "check"])]
    pub watch: bool,
}

/// Prints the state of a sweep.
///
/// # Errors
/// The folder is not a sweep's, or its files cannot be read.
pub fn run(args: &Args) -> Result<u8> {
    let dir = args.results.folder(&args.dir)?;
    if args.watch {
        return watch::watch(&dir);
    }
    let status = Status::of(&dir)?;
    match args.json.json {
        true => json::print(&status)?,
        false => console::print(&status.to_string())?,
    }
    Ok(if args.check && !status.complete { 3 } else { 0 })
}

/// The progress of a sweep: what `wninit status --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Status {
    /// the sweep's folder
    pub folder: String,
    /// jobs of the plan
    pub planned: usize,
    /// finished jobs: ok + diverged
    pub finished: usize,
    /// jobs that trained to the end
    pub ok: usize,
    /// jobs that diverged
    pub diverged: usize,
    /// jobs that failed and have not finished since; the next run tries them again
    pub failed: usize,
    /// jobs without a result, those at work included
    pub missing: usize,
    /// finished jobs that are no longer in the plan
    pub orphaned: usize,
    /// whether a claim needs more seeds than are planned so far
    pub claims_open: bool,
    /// whether all jobs are finished and no claim needs more seeds
    pub complete: bool,
    /// why jobs failed, by the last attempt at each
    pub failures: Vec<String>,
    /// the processes that train
    pub running: Vec<Process>,
}

/// A process that works on a sweep, or on a shard of it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Process {
    /// the shard's folder name; null for the whole sweep
    pub shard: Option<String>,
    /// its process id; 0 if that is not known
    pub pid: u32,
    /// the machine on which it runs
    pub host: String,
    /// when it started (RFC 3339, UTC)
    #[schemars(with = "String")]
    pub since: DateTime<Utc>,
    /// jobs at work; null before its first report
    pub jobs: Option<usize>,
    /// fraction of its work that is done, weighted by cost
    pub fraction: Option<f64>,
    /// estimated seconds until it ends
    pub eta_seconds: Option<f64>,
    /// when it last reported (RFC 3339, UTC)
    #[schemars(with = "Option<String>")]
    pub updated_at: Option<DateTime<Utc>>,
}

impl Status {
    /// The state of the sweep in a folder.
    ///
    /// # Errors
    /// The folder is not a sweep's, or its files cannot be read.
    pub fn of(dir: &Path) -> Result<Status> {
        if !dir.is_dir() {
            return Err(usage(format!(
                "there is no folder {}; a sweep's folder is ROOT/NAME, such as results/depth",
                dir.display()
            )));
        }
        let Some(plan) = planned_ids(dir)? else {
            return Err(usage(format!(
                "{} holds no plan.csv, so it is not a sweep's folder; name one such as results/depth",
                dir.display()
            )));
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
        let mut running = Vec::new();
        for folder in folders(dir)? {
            let held =
                holder(&folder).with_context(|| "cannot tell whether the sweep is running")?;
            if let Some(holder) = held {
                let shard = (folder != dir)
                    .then(|| folder.file_name().unwrap_or_default().to_string_lossy().into_owned());
                // An earlier process may have left its progress report.
                let progress = RunProgress::read(&folder)
                    .filter(|p| (p.pid, &p.host) == (holder.pid, &holder.host));
                running.push(Process {
                    shard,
                    pid: holder.pid,
                    host: holder.host,
                    since: holder.since,
                    jobs: progress.as_ref().map(|p| p.running),
                    fraction: progress.as_ref().map(|p| p.fraction),
                    eta_seconds: progress.as_ref().and_then(|p| p.eta_seconds),
                    updated_at: progress.map(|p| p.updated_at),
                });
            }
        }
        let count = |outcome| plan.iter().filter(|id| outcomes.get(id) == Some(&outcome)).count();
        let (ok, diverged) = (count(Outcome::Ok), count(Outcome::Diverged));
        let finished = ok + diverged;
        let all = finished == plan.len();
        let claims_open = all && needs_seeds(dir)?;
        Ok(Status {
            folder: dir.display().to_string(),
            planned: plan.len(),
            finished,
            ok,
            diverged,
            failed: last.len(),
            missing: plan.len() - finished - last.len(),
            orphaned: outcomes.len() - finished,
            claims_open,
            complete: all && !claims_open,
            failures: failure_lines(last.values()),
            running,
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
    Ok(path.jobs().iter().any(|job| !finished.contains(&job.id)))
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |n: usize| 100.0 * n as f64 / self.planned.max(1) as f64;
        writeln!(f, "{}: {} jobs planned", self.folder, self.planned)?;
        writeln!(
            f,
            "  finished {:>9}  ({:.1} %): {} ok, {} diverged",
            self.finished,
            share(self.finished),
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
        for line in &self.failures {
            writeln!(f, "  {line}")?;
        }
        if self.running.is_empty() {
            return match self.finished == self.planned {
                true if self.claims_open => {
                    writeln!(f, "claims are open: the next `wninit run` adds seeds")
                }
                true => writeln!(f, "complete"),
                false => writeln!(f, "not running"),
            };
        }
        for run in &self.running {
            let Process { pid, host, since, .. } = run.clone();
            let holder = Holder { pid, host, since };
            match &run.shard {
                Some(shard) => write!(f, "running, shard {shard}: {holder}")?,
                None => write!(f, "running: {holder}")?,
            }
            if let (Some(jobs), Some(fraction), Some(at)) = (run.jobs, run.fraction, run.updated_at)
            {
                write!(f, "; {jobs} jobs at work, {:.1} % of its work done", 100.0 * fraction)?;
                if let Some(eta) = run.eta_seconds {
                    write!(f, ", about {} left", duration(eta))?;
                }
                let silent = (Utc::now() - at).num_seconds();
                if silent > 60 {
                    write!(f, "; no progress report for {}", duration(silent as f64))?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
