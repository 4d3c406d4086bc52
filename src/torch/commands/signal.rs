//! `wninit signal`: how far signals get at initialization, layer by layer.

use std::collections::HashSet;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::device;
use crate::probe::shared_out;
use crate::probe::signal::{self, LayerSignal, Net, Scheme};
use crate::train::Libtorch;
use anyhow::{Context, anyhow};
use wninit_core::cli::signal::Args;
use wninit_core::cli::{Ended, UsageError, Written};
use wninit_core::console::say;
use wninit_core::job::{Job, JobId};
use wninit_core::plan::start::starts;
use wninit_core::plan::{Plan, PlannedJob};
use wninit_core::results::{
    SIGNALS, Signal, describe_columns, document_columns, one_line, signal_docs, signals_csv,
    write_atomically,
};
use wninit_core::run::interrupt::{self, EXIT_INTERRUPTED};
use wninit_core::run::pool::EXIT_UNFINISHED;
use wninit_core::run::trainer::Stop;
use wninit_core::{data, execution};

/// The network of one seed.
struct Measured {
    job: Option<JobId>,
    net: String,
    init: String,
    init_seed: u64,
    data_seed: Option<u64>,
    layers: Vec<LayerSignal>,
}

/// Measures, and writes `signal.csv` and `columns.json`; `wninit` makes a page and a table of them.
///
/// # Errors
/// If the grid or the command line is bad, or the folder cannot be written.
pub(crate) fn run(args: &Args, commit: &'static str) -> anyhow::Result<Ended> {
    let stop = interrupt::install()?;
    match &args.grid {
        Some(_) => of_grid(args, &stop, commit),
        None => synthetic(args, &stop),
    }
}

fn synthetic(args: &Args, stop: &AtomicBool) -> anyhow::Result<Ended> {
    if !args.overrides.is_empty() {
        return Err(UsageError(anyhow!(
            "--set, --only and --profile change a grid, and none is given; \
             the synthetic networks take --seeds"
        ))
        .into());
    }
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from("results/signal"));
    make(&out)?;
    let seeds = args.seeds.map_or(10, u32::from);
    let mut tasks = Vec::new();
    for seed in 0..u64::from(seeds) {
        for net in Net::fig1() {
            tasks.extend(Scheme::ALL.map(|scheme| (net, scheme, seed)));
        }
    }
    let order: Vec<(Net, Scheme, u64)> = tasks.clone();
    let workers = args.workers.map_or_else(execution::cores, usize::from);
    let mut found = Vec::new();
    let mut failure = None;
    let mut progress = Said::new(tasks.len());
    let measure = |_, (net, scheme, seed): (Net, Scheme, u64)| {
        ((net, scheme, seed), net.measure(scheme, seed))
    };
    shared_out(tasks, workers, stop, measure, |(task, result)| {
        progress.one_more();
        match result {
            Ok(layers) => found.push((task, layers)),
            Err(Stop::Failed { error, .. }) => failure = Some(error),
            Err(Stop::Interrupted) => {}
        }
        failure.is_none()
    });
    if let Some(error) = failure {
        return Err(error.context("the synthetic networks could not be measured"));
    }
    if stop.load(Ordering::Relaxed) && found.len() < order.len() {
        say("interrupted; nothing was written");
        return Ok(Ended::Exit(EXIT_INTERRUPTED));
    }
    found.sort_by_key(|(task, _)| order.iter().position(|other| other == task));
    let measured: Vec<Measured> = found
        .into_iter()
        .map(|((net, scheme, seed), layers)| Measured {
            job: None,
            net: net.name(),
            init: scheme.name().to_owned(),
            init_seed: seed,
            data_seed: None,
            layers,
        })
        .collect();
    write_atomically(&out.join(SIGNALS), csv(measured).as_bytes())?;
    let documented = describe_columns(&[signal_docs()]);
    write_atomically(&out.join("columns.json"), documented.as_bytes())?;
    Ok(Ended::Written(Written { dir: out, code: 0 }))
}

fn of_grid(args: &Args, stop: &Arc<AtomicBool>, commit: &'static str) -> anyhow::Result<Ended> {
    let Some(path) = &args.grid else { return Ok(Ended::Exit(0)) };
    let grid = args.overrides.load(path)?;
    let mut plan = Plan::of(&grid)?;
    chosen(&mut plan.jobs, &args.job)?;
    for warning in &plan.warnings {
        say(&format!("warning: {warning}"));
    }
    let (devices, threads) =
        device::workers(&args.device, args.workers.map(usize::from)).map_err(UsageError)?;
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from("results").join(&grid.name));
    make(&out)?;
    let starts = starts(plan.jobs.iter().map(|planned| &planned.job));
    let first: Vec<PlannedJob> =
        starts.iter().map(|s| PlannedJob { id: s.start.id(), job: s.start.clone() }).collect();
    let nets = net_names(&Plan { jobs: first, axes: Vec::new(), warnings: Vec::new() });
    let folder = args.data.clone().unwrap_or_else(data::default_dir);
    let workers = devices.len();
    let trainer = Libtorch::new(devices, threads, folder, Arc::clone(stop), commit);
    let mut found = Vec::new();
    let mut failures = 0;
    let mut progress = Said::new(starts.len());
    let tasks: Vec<(usize, Job)> =
        starts.iter().map(|start| start.start.clone()).enumerate().collect();
    let measure =
        |worker, (place, job): (usize, Job)| (place, signal::of_job(&trainer, worker, &job));
    shared_out(tasks, workers, stop, measure, |(place, result)| {
        progress.one_more();
        match result {
            Ok(layers) => found.push((place, layers)),
            Err(Stop::Failed { error, .. }) => {
                failures += 1;
                say(&format!("failed: job {}: {}", starts[place].jobs[0].id(), one_line(&error)));
            }
            Err(Stop::Interrupted) => {}
        }
        true
    });
    if found.len() + failures < starts.len() {
        say("interrupted; nothing was written");
        return Ok(Ended::Exit(EXIT_INTERRUPTED));
    }
    if found.is_empty() {
        say("no network could be measured; nothing was written");
        return Ok(Ended::Exit(EXIT_UNFINISHED));
    }
    found.sort_by_key(|(place, _)| *place);
    let measured: Vec<Measured> = found
        .into_iter()
        .map(|(place, layers)| {
            let job = &starts[place].start;
            Measured {
                job: starts[place].jobs.first().map(Job::id),
                net: nets[place].clone(),
                init: job.init.name().to_owned(),
                init_seed: job.init_seed,
                data_seed: Some(job.data_seed),
                layers,
            }
        })
        .collect();
    write_atomically(&out.join(SIGNALS), csv(measured).as_bytes())?;
    document_columns(&out, &[signal_docs()])?;
    let code = if failures > 0 { EXIT_UNFINISHED } else { 0 };
    Ok(Ended::Written(Written { dir: out, code }))
}

/// Keeps the jobs that are asked for.
fn chosen(jobs: &mut Vec<PlannedJob>, wanted: &[JobId]) -> anyhow::Result<()> {
    let planned: HashSet<JobId> = jobs.iter().map(|job| job.id).collect();
    if let Some(id) = wanted.iter().find(|id| !planned.contains(id)) {
        return Err(UsageError(anyhow!(
            "--job {id}: the grid has no such job; `wninit plan GRID --list` shows those that it has"
        ))
        .into());
    }
    if !wanted.is_empty() {
        jobs.retain(|job| wanted.contains(&job.id));
    }
    Ok(())
}

/// What tells the networks of starts apart, initializer and seeds aside.
fn net_names(starts: &Plan) -> Vec<String> {
    let aside = ["init", "seed", "init_seed", "data_seed", "model"];
    let mut fields = starts.varying();
    fields.retain(|field| !aside.contains(&field.name));
    starts
        .jobs
        .iter()
        .map(|planned| {
            let mut name = planned.job.arch.name().name().to_owned();
            for field in &fields {
                if let Some(value) = field.get(&planned.job) {
                    let _ = write!(name, " {}={value}", field.name);
                }
            }
            name
        })
        .collect()
}

fn make(out: &std::path::Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(out).with_context(|| {
        format!("cannot make the folder {}; choose another with --out", out.display())
    })
}

/// A row for each layer of the network.
fn rows(run: Measured) -> impl Iterator<Item = Signal> {
    let Measured { job, net, init, init_seed, data_seed, layers } = run;
    layers.into_iter().map(move |layer| Signal {
        job,
        net: net.clone(),
        init: init.clone(),
        init_seed,
        data_seed,
        layer: layer.layer,
        name: layer.name,
        forward_norm: layer.forward_norm,
        forward_ratio: layer.forward_ratio,
        backward_norm: layer.backward_norm,
        backward_ratio: layer.backward_ratio,
    })
}

fn csv(measured: Vec<Measured>) -> String {
    signals_csv(&measured.into_iter().flat_map(rows).collect::<Vec<_>>())
}

/// Says on stderr how far a command is, now and then.
struct Said {
    done: usize,
    all: usize,
    at: std::time::Instant,
}

impl Said {
    fn new(all: usize) -> Said {
        Said { done: 0, all, at: std::time::Instant::now() }
    }

    fn one_more(&mut self) {
        self.done += 1;
        if self.at.elapsed().as_secs() >= 5 {
            self.at = std::time::Instant::now();
            say(&format!("{}/{} networks", self.done, self.all));
        }
    }
}
