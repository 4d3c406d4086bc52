//! `wninit run`: train what a grid asks for and is not finished yet.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::UsageError;
use crate::cohort::{self, Cohort};
use crate::cost::{self, Rates};
use crate::device;
use crate::job::{Job, JobId, Precision};
use crate::plan::Plan;
use crate::pool::{self, Options};
use crate::train::checkpoint::{self, Saved};
use crate::train::{Checkpoints, Libtorch};
use crate::{data, interrupt, sweep};

pub use args::Args;

// In a module of its own, so that `wninit` can read the command line without linking libtorch.
mod args {
    use std::path::PathBuf;
    use std::time::Duration;

    use crate::commands::GridArgs;
    use crate::execution::{Choice, Recompute, parse_time};

    /// The command line of `wninit run`.
    #[derive(clap::Args, Debug)]
    pub struct Args {
        #[command(flatten)]
        #[allow(missing_docs)] // it would become the help text
        pub grid: GridArgs,
        /// Where results are kept; this sweep's go to ROOT/<name>
        #[arg(long, value_name = "ROOT", default_value = "results")]
        pub results: PathBuf,
        /// Where to train: auto, cpu, cuda (every GPU) or cuda:0,1
        #[arg(long, value_name = "DEVICE", default_value = "auto")]
        pub device: Choice,
        /// Cohorts trained at a time [default: one a core, or one a GPU]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        pub workers: Option<u16>,
        /// The data folder [default: WNINIT_DATA, else ./data]
        #[arg(long, value_name = "DIR")]
        pub data: Option<PathBuf>,
        /// Start no further cohort after this time, such as 90s, 30m or 2h
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        pub budget: Option<Duration>,
        /// Compute activations again on the way back instead of keeping them: saves memory, costs
        /// time, changes no result
        #[arg(long, value_enum, default_value_t)]
        pub recompute: Recompute,
        /// How often a cohort under way writes a checkpoint, such as 90s, 5m or 1h
        #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "5m")]
        pub checkpoint_every: Duration,
    }
}

/// Trains the jobs that are not finished; the exit code is that of the pool.
///
/// # Errors
/// If the grid or the command line is bad, or the results folder cannot be used. Nothing has been
/// written then.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let grid = args.grid.load()?;
    let plan = Plan::of(&grid)?;
    let (devices, threads) =
        device::workers(&args.device, args.workers.map(usize::from)).map_err(UsageError)?;
    if let Some(job) = plan.jobs.iter().find(|planned| planned.job.precision == Precision::Tf32)
        && devices.iter().any(|device| !device.is_cuda())
    {
        return Err(UsageError(anyhow::anyhow!(
            "job {} has precision = \"tf32\", which needs a GPU, and there is none to use; \
             take fp32 or bf16, or --device cuda on a machine with a GPU",
            job.id
        ))
        .into());
    }
    for warning in &plan.warnings {
        eprintln!("warning: {warning}");
    }
    let jobs: Vec<Job> = plan.jobs.into_iter().map(|planned| planned.job).collect();
    let dir = args.results.join(&grid.name);
    let stop = interrupt::install()?;
    let mut sweep = sweep::open(&dir, None, &grid.to_toml(), &jobs, &jobs)?;
    if let Some(change) = &sweep.change {
        eprintln!("{change}");
    }

    let checkpoints = sweep.journal.dir().join("checkpoints");
    let saved = checkpoint::scan(&checkpoints, |warning| eprintln!("warning: {warning}"))?;
    let (mut cohorts, found) = resumable(&sweep.remaining, saved);
    let fresh = sweep.remaining.iter().filter(|job| !found.contains_key(&job.id())).cloned();
    cohorts.extend(cohort::cohorts(fresh, cost::cpu_width));

    let mut trainer = Libtorch::new(
        devices.clone(),
        threads,
        args.data.clone().unwrap_or_else(data::default_dir),
        Arc::clone(&stop),
    );
    trainer.recompute = args.recompute;
    trainer.checkpoints = Some(Checkpoints { dir: checkpoints, every: args.checkpoint_every, found });

    let rates = if devices[0].is_cuda() { Rates::GPU } else { Rates::CPU };
    let cost = |job: &Job| cost::seconds(&cohort::Shape::of(job), 1, &rates);
    let options = Options {
        cost: &cost,
        deadline: args.budget.map(|budget| Instant::now() + budget),
        finished_before: sweep.finished,
        ..Options::new(devices.into_iter().map(device::name).collect(), &stop)
    };
    let summary = pool::run(cohorts, &trainer, &mut sweep.journal, &options);
    eprintln!("{}: {summary}", dir.display());
    Ok(summary.exit_code())
}

/// The cohorts that earlier checkpoints hold, without their finished members, and the checkpoint
/// of each of their jobs. A checkpoint none of whose jobs is left is deleted.
fn resumable(remaining: &[Job], saved: Vec<Saved>) -> (Vec<Cohort>, HashMap<JobId, Arc<Saved>>) {
    let by_id: HashMap<JobId, &Job> = remaining.iter().map(|job| (job.id(), job)).collect();
    let mut found: HashMap<JobId, Arc<Saved>> = HashMap::new();
    let mut cohorts = Vec::new();
    for saved in saved {
        let left: Vec<JobId> = saved
            .ids
            .iter()
            .copied()
            .filter(|id| by_id.contains_key(id) && !found.contains_key(id))
            .collect();
        let jobs: Vec<Job> = left.iter().map(|id| by_id[id].clone()).collect();
        if jobs.is_empty() {
            // What it holds is finished or no longer asked for.
            if saved.ids.iter().all(|id| !by_id.contains_key(id)) {
                let _ = std::fs::remove_file(&saved.path);
            }
            continue;
        }
        let saved = Arc::new(saved);
        found.extend(left.into_iter().map(|id| (id, Arc::clone(&saved))));
        cohorts.push(Cohort::new(jobs));
    }
    (cohorts, found)
}
