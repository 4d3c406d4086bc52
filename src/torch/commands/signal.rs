//! `wninit signals`: signal propagation at initialization, layer by layer.

use std::collections::HashSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::shared_out::shared_out;
use crate::device;
use crate::probe::signal::{self, FIG1_INITS, Net};
use crate::train::Libtorch;
use anyhow::Context;
use wninit_core::atomic::write_atomically;
use wninit_core::cli::signal::Args;
use wninit_core::cli::{Ended, Root, Written};
use wninit_core::console::{alert, say, warn};
use wninit_core::data::{self, Sources};
use wninit_core::execution;
use wninit_core::job::{Gain, Init, Job, JobId};
use wninit_core::plan::start::{Start, starts};
use wninit_core::plan::{Plan, PlannedJob, varying};
use wninit_core::results::{
    LayerSignal, ProbedNetwork, SIGNALS, Signal, describe_columns, document_columns, one_line,
    signal_docs, signals_csv,
};
use wninit_core::run::interrupt::{self, EXIT_INTERRUPTED};
use wninit_core::run::pool::EXIT_UNFINISHED;
use wninit_core::run::trainer::Stop;
use wninit_core::usage::{UsageError, usage};

/// Writes `signal.csv` and `columns.json`, from which `wninit` makes a page and a table.
///
/// # Errors
/// The grid or the command line is invalid, or the folder cannot be written.
pub(crate) fn run(args: &Args, commit: &'static str) -> anyhow::Result<Ended> {
    let stop = interrupt::install()?;
    match &args.grid {
        Some(grid) => of_grid(args, grid, &stop, commit),
        None => synthetic(args, &stop),
    }
}

fn synthetic(args: &Args, stop: &AtomicBool) -> anyhow::Result<Ended> {
    if !args.overrides.is_empty() {
        return Err(usage(
            "--set, --only and --profile change a grid, and none is given; \
             the synthetic networks take --seeds",
        ));
    }
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from("results/signal"));
    make(&out)?;
    let mut tasks: Vec<(Net, Init, u64)> = Vec::new();
    for seed in 0..u64::from(args.seeds.map_or(10, u32::from)) {
        for net in Net::fig1() {
            tasks.extend(FIG1_INITS.map(|init| (net, init, seed)));
        }
    }
    let network = |&(net, init, init_seed): &(Net, Init, u64)| {
        let init = match init.gain() {
            Some(Gain::Default) => format!("{}, g = 1", init.name()),
            _ => init.name().to_owned(),
        };
        ProbedNetwork { job: None, net: net.name(), init, init_seed, data_seed: None }
    };
    let networks: Vec<ProbedNetwork> = tasks.iter().map(network).collect();
    let workers = args.workers.map_or_else(execution::cores, usize::from);
    let mut failure = None;
    let measure = |_, i: usize| {
        let (net, init, seed) = tasks[i];
        net.measure(init, seed)
    };
    let found = measure_all(tasks.len(), workers, stop, measure, |_, error| {
        failure = Some(error);
        false
    });
    if let Some(error) = failure {
        return Err(error.context("the synthetic networks could not be measured"));
    }
    let Some(found) = found else { return Ok(Ended::Exit(EXIT_INTERRUPTED)) };
    write_atomically(&out.join(SIGNALS), csv(&networks, &found).as_bytes())?;
    let documented = describe_columns(&[signal_docs()]);
    write_atomically(&out.join("columns.json"), documented.as_bytes())?;
    Ok(Ended::Written(Written { dir: out, code: 0 }))
}

fn of_grid(
    args: &Args,
    path: &Path,
    stop: &Arc<AtomicBool>,
    commit: &'static str,
) -> anyhow::Result<Ended> {
    let (grid, dir) = Root::default().grid(path, &args.overrides)?;
    let mut plan = Plan::of(&grid)?;
    chosen(&mut plan.jobs, &args.job)?;
    warn(&plan.warnings);
    let devices =
        device::workers(&args.device, args.workers.map(usize::from)).map_err(UsageError)?;
    let out = args.out.clone().unwrap_or(dir);
    let folder = args.data.clone().unwrap_or_else(data::default_dir);
    let jobs = plan.jobs.iter().map(|planned| &planned.job);
    let sources = Sources::new(folder, grid.files.clone()).checked(jobs)?;
    make(&out)?;
    let starts = starts(plan.jobs.iter().map(|planned| &planned.job));
    let nets = net_names(&starts);
    let networks = starts.iter().zip(nets).map(|(start, net)| ProbedNetwork {
        job: start.jobs.first().map(Job::id),
        net,
        init: start.start.init.name().to_owned(),
        init_seed: start.start.init_seed,
        data_seed: Some(start.start.data_seed),
    });
    let networks: Vec<ProbedNetwork> = networks.collect();
    let workers = devices.len();
    let trainer = Libtorch::new(devices, sources, Arc::clone(stop), commit);
    let measure = |worker, i: usize| signal::of_job(&trainer, worker, &starts[i].start);
    let found = measure_all(starts.len(), workers, stop, measure, |i, error| {
        alert(&format!("failed: job {}: {}", starts[i].jobs[0].id(), one_line(&error)));
        true
    });
    let Some(found) = found else { return Ok(Ended::Exit(EXIT_INTERRUPTED)) };
    if found.iter().all(Option::is_none) {
        say("no network could be measured; nothing was written");
        return Ok(Ended::Exit(EXIT_UNFINISHED));
    }
    write_atomically(&out.join(SIGNALS), csv(&networks, &found).as_bytes())?;
    document_columns(&out, &[signal_docs()])?;
    let code = if found.iter().any(Option::is_none) { EXIT_UNFINISHED } else { 0 };
    Ok(Ended::Written(Written { dir: out, code }))
}

/// The signals of `count` networks, by index; `None` for one that failed. `failed` decides whether to
/// continue. The result is `None` if not all were tried.
fn measure_all(
    count: usize,
    workers: usize,
    stop: &AtomicBool,
    measure: impl Fn(usize, usize) -> Result<Vec<LayerSignal>, Stop> + Sync,
    mut failed: impl FnMut(usize, anyhow::Error) -> bool,
) -> Option<Vec<Option<Vec<LayerSignal>>>> {
    let mut found: Vec<Option<Vec<LayerSignal>>> = vec![None; count];
    let mut done = 0;
    let mut printed = Instant::now();
    let work = |worker, i| (i, measure(worker, i));
    shared_out((0..count).collect(), workers, stop, work, |(i, result)| {
        if !matches!(result, Err(Stop::Interrupted)) {
            done += 1;
        }
        if printed.elapsed() >= Duration::from_secs(5) {
            printed = Instant::now();
            say(&format!("{done}/{count} networks"));
        }
        match result {
            Ok(layers) => found[i] = Some(layers),
            Err(Stop::Failed { error, .. }) => return failed(i, error),
            Err(Stop::Interrupted) => {}
        }
        true
    });
    if done < count {
        if stop.load(Ordering::Relaxed) {
            say("interrupted; nothing was written");
        }
        return None;
    }
    Some(found)
}

/// Keeps the wanted jobs; all, if none is named.
fn chosen(jobs: &mut Vec<PlannedJob>, wanted: &[JobId]) -> anyhow::Result<()> {
    let planned: HashSet<JobId> = jobs.iter().map(|job| job.id).collect();
    if let Some(id) = wanted.iter().find(|id| !planned.contains(id)) {
        return Err(usage(format!(
            "--job {id}: the grid has no such job; `wninit plan GRID --list` lists its jobs"
        )));
    }
    if !wanted.is_empty() {
        jobs.retain(|job| wanted.contains(&job.id));
    }
    Ok(())
}

/// Names of the initial networks: the model and the fields in which they differ, except initializer
/// and seeds.
fn net_names(starts: &[Start]) -> Vec<String> {
    let aside = ["init", "seed", "init_seed", "data_seed", "model"];
    let mut fields = varying(starts.iter().map(|start| &start.start));
    fields.retain(|field| !aside.contains(&field.name));
    let name = |Start { start, .. }: &Start| {
        let mut name = start.arch.name().name().to_owned();
        for field in &fields {
            if let Some(value) = field.get(start) {
                let _ = write!(name, " {}={value}", field.name);
            }
        }
        name
    };
    starts.iter().map(name).collect()
}

fn make(out: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(out).with_context(|| {
        format!("cannot make the folder {}; choose another with --out", out.display())
    })
}

fn csv(networks: &[ProbedNetwork], found: &[Option<Vec<LayerSignal>>]) -> String {
    let mut rows = Vec::new();
    for (network, layers) in networks.iter().zip(found) {
        let signal =
            |layer: &LayerSignal| Signal { network: network.clone(), layer: layer.clone() };
        rows.extend(layers.iter().flatten().map(signal));
    }
    signals_csv(&rows)
}
