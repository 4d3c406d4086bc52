//! `wninit run`: trains the jobs of a grid that are not finished.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::measure;
use crate::device;
use crate::train::checkpoint::{self, Checkpoint};
use crate::train::{CheckpointConfig, Libtorch};
use wninit_core::cache;
use wninit_core::cli::run::Args;
use wninit_core::cli::{Ended, Written};
use wninit_core::console::{alert, detail, say, warn};
use wninit_core::data::{self, Sources};
use wninit_core::fmt::count;
use wninit_core::grid::{Grid, GridError};
use wninit_core::job::{Job, JobId, Precision};
use wninit_core::plan::Plan;
use wninit_core::plan::cohort::{self, Cohort, Shape};
use wninit_core::plan::shard;
use wninit_core::plan::speed::Speeds;
use wninit_core::results::{ResultsError, finished_ids, folders, holder, read_runs};
use wninit_core::run::pool::{self, EXIT_UNFINISHED, PoolOptions};
use wninit_core::run::sweep::SweepFolder;
use wninit_core::run::until_decided::{self, Looks};
use wninit_core::run::{interrupt, sweep};
use wninit_core::usage::{UsageError, usage};

/// The looks of a grid that adds seeds until its claims are decided; `None` for any other. They
/// need statistics, which are not part of this crate.
pub type LooksOf = fn(&Grid) -> Result<Option<Box<dyn Looks>>, GridError>;

/// # Errors
/// The grid or the command line is invalid, or the results folder cannot be used. Nothing has been
/// written then.
pub(crate) fn run(args: &Args, commit: &'static str, looks: LooksOf) -> anyhow::Result<Ended> {
    let began = Instant::now();
    let (mut grid, dir) = args.grid.load(&args.options.results)?;
    let args = &args.options;
    args.until_decided.apply(&mut grid)?;
    let mut looks = looks(&grid)?;
    if looks.is_some() && args.shard.is_some() {
        return Err(usage(
            "--shard trains a fixed part of a sweep, but seeds that are added until claims are decided \
             depend on all of it; leave --shard or until_decided out",
        ));
    }
    let plan = Plan::of(&grid)?;
    detail(&format!("planned {} in {:.1?}", count(plan.jobs.len(), "job"), began.elapsed()));
    let devices =
        device::workers(&args.device, args.workers.map(usize::from)).map_err(UsageError)?;
    if let Some(job) = plan.jobs.iter().find(|planned| planned.job.precision == Precision::Tf32)
        && devices.iter().any(|device| !device.is_cuda())
    {
        return Err(usage(format!(
            "job {} has precision = \"tf32\", which needs a GPU, and none is in use; \
             set fp32 or bf16, or use --device cuda on a machine with a GPU",
            job.id
        )));
    }
    warn(&plan.warnings);
    let part =
        args.shard.map(|s| shard::partition(&plan.jobs, s.count).swap_remove(s.index as usize - 1));
    let mut jobs = plan.jobs;
    let part = part.map(|part| part.into_iter().map(|i| jobs[i].clone()).collect::<Vec<_>>());
    let stop = interrupt::install()?;
    if let Some(looks) = &mut looks {
        until_decided::catch_up(looks.as_mut(), &read_runs(&dir)?.records);
        jobs = looks.jobs();
    }
    let part = part.as_deref().unwrap_or(&jobs);
    let data_dir = args.data.clone().unwrap_or_else(data::default_dir);
    let known = finished_ids(&dir)?;
    let left = part.iter().filter(|planned| !known.contains(&planned.id));
    detail(&format!("data: {}", data_dir.display()));
    if let Some(folder) = cache::folder() {
        detail(&format!("measured speeds: {}", folder.display()));
    }
    let sources =
        Sources::new(data_dir, grid.files.clone()).checked(left.map(|planned| &planned.job))?;
    let mut sweep = match sweep::open(&dir, args.shard, &grid.to_toml(), &jobs, part) {
        // The same exit code as when the disk fills up later: the same command will continue.
        Err(error) if error.is_full_disk() => {
            alert(&format!("error: {error}"));
            return Ok(Ended::Exit(EXIT_UNFINISHED));
        }
        opened => opened?,
    };
    if args.shard.is_none() {
        warn_of_shards(&dir)?;
    }
    // Jobs that a look added are not a change.
    if let Some(change) = sweep.change.filter(|c| looks.is_none() || c.orphaned > 0) {
        say(&change.to_string());
    }

    warn(sweep.journal.warnings().iter().chain(&sweep.journal.left_aside()?));

    let checkpoints = sweep.journal.dir().join("checkpoints");
    let mut saved = checkpoint::scan(&checkpoints, |warning| warn([warning]))?;
    let mut trainer = Libtorch::new(devices.clone(), sources, Arc::clone(&stop), commit);
    trainer.recompute = args.recompute;
    let mut speeds = Speeds::of(&device::model(devices[0]), devices.len());
    let width = args.cohort_width.map(usize::from);
    let deadline = args.budget.map(|budget| Instant::now() + budget);
    let names: Vec<String> = devices.into_iter().map(device::name).collect();
    detail(&format!("workers: {}", names.join(", ")));

    let durable = |cohort: &Cohort| {
        // If it stays, the next run deletes it: its jobs are finished.
        let _ = std::fs::remove_file(checkpoints.join(checkpoint::file_name(cohort)));
    };
    let mut train = |sweep: &mut SweepFolder| {
        let saved = std::mem::take(&mut saved);
        let (mut cohorts, found) = resumable(&sweep.remaining, &sweep.finished_anywhere, saved);
        let resumed: Vec<Arc<Checkpoint>> = found.values().cloned().collect();
        let fresh = sweep.remaining.iter().filter(|job| !found.contains_key(&job.id())).cloned();
        let fresh: Vec<Job> = fresh.collect();
        let (dir, every) = (checkpoints.clone(), args.checkpoint_every);
        trainer.checkpoints = Some(CheckpointConfig { dir, every, found });

        if width.is_none() {
            measure::widths(&trainer, &fresh, &mut speeds);
        }
        let mut fresh =
            cohort::cohorts(fresh, |shape| width.unwrap_or_else(|| speeds.width(shape)));
        if width.is_none() {
            fresh = cohort::spread(fresh, names.len());
        }
        if names.len() > 1 {
            cohort::costliest_first(&mut fresh, |c| speeds.seconds(&c.shape(), c.jobs().len()));
        }
        cohorts.extend(fresh);
        for cohort in &cohorts {
            detail(&format!(
                "cohort: {} of {}",
                count(cohort.jobs().len(), "job"),
                cohort.shape().arch
            ));
        }
        let training = Instant::now();

        let cost = |job: &Job| {
            let shape = Shape::of(job);
            let width = speeds.width(&shape);
            speeds.seconds(&shape, width) / width as f64
        };
        let options = PoolOptions {
            cost: &cost,
            durable: &durable,
            deadline,
            finished_before: sweep.finished,
            ..PoolOptions::new(names.clone(), &stop)
        };
        let summary = pool::run(cohorts, &trainer, &mut sweep.journal, &options);
        detail(&format!("trained in {:.1?}", training.elapsed()));
        for saved in resumed {
            // A cohort that was resumed in halves has written other files.
            if saved.ids.iter().all(|id| sweep.journal.finished().contains(id)) {
                let _ = std::fs::remove_file(&saved.path);
            }
        }
        summary
    };
    let summary = match &mut looks {
        Some(looks) => {
            match until_decided::run(&mut sweep, &grid.to_toml(), looks.as_mut(), train) {
                Err(error) if error.is_full_disk() => {
                    alert(&format!("error: {error}"));
                    return Ok(Ended::Exit(EXIT_UNFINISHED));
                }
                trained => trained?,
            }
        }
        None => train(&mut sweep),
    };
    say(&format!("{}: {summary}", sweep.journal.dir().display()));
    let code = summary.exit_code();
    if args.summary {
        return Ok(Ended::Written(Written { dir, code }));
    }
    Ok(Ended::Exit(code))
}

/// Warns if other processes train shards of the sweep, because this one trains all of its jobs.
fn warn_of_shards(dir: &Path) -> Result<(), ResultsError> {
    for folder in folders(dir)?.iter().skip(1) {
        if let Some(holder) = holder(folder)? {
            warn([format!(
                "{} is being trained by {holder}; its unfinished jobs are also trained here",
                folder.display()
            )]);
        }
    }
    Ok(())
}

/// The cohorts of earlier checkpoints, without their finished members, and the checkpoint of each of
/// their jobs; of several, the one furthest along (`saved` is sorted). Deletes checkpoints whose jobs are
/// all finished or further along elsewhere, and keeps those whose jobs are not in this plan.
fn resumable(
    remaining: &[Job],
    finished: &HashSet<JobId>,
    saved: Vec<Checkpoint>,
) -> (Vec<Cohort>, HashMap<JobId, Arc<Checkpoint>>) {
    let by_id: HashMap<JobId, &Job> = remaining.iter().map(|job| (job.id(), job)).collect();
    let mut found: HashMap<JobId, Arc<Checkpoint>> = HashMap::new();
    let mut cohorts = Vec::new();
    for saved in saved {
        let left = saved.ids.iter().filter(|id| !found.contains_key(id));
        let mut jobs: Vec<Job> =
            left.filter_map(|id| by_id.get(id)).map(|&job| job.clone()).collect();
        let Some(shape) = jobs.first().map(Shape::of) else {
            if saved.ids.iter().all(|id| finished.contains(id) || found.contains_key(id)) {
                let _ = std::fs::remove_file(&saved.path);
            }
            continue;
        };
        jobs.retain(|job| Shape::of(job) == shape);
        let saved = Arc::new(saved);
        found.extend(jobs.iter().map(|job| (job.id(), Arc::clone(&saved))));
        cohorts.push(Cohort::new(jobs));
    }
    (cohorts, found)
}
