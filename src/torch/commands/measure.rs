//! `wninit plan --measure`: times the networks of a plan that have not been timed on this machine.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Once};
use std::thread::ScopedJoinHandle;

use crate::device;
use crate::train::Libtorch;
use anyhow::{Context, anyhow};
use wninit_core::cli::Written;
use wninit_core::cli::plan::Args;
use wninit_core::console::{say, warn};
use wninit_core::data::{self, Sources};
use wninit_core::execution::{DeviceChoice, NO_THREAD};
use wninit_core::job::Job;
use wninit_core::plan::Plan;
use wninit_core::plan::cohort::{self, Cohort, Shape};
use wninit_core::plan::cost;
use wninit_core::plan::speed::{self, Speed, Speeds};
use wninit_core::results::finished_ids;
use wninit_core::results::one_line;
use wninit_core::run::interrupt;
use wninit_core::run::trainer::Stop;

/// Times a few steps of each network and number of members, on all workers at once, as in a sweep.
///
/// # Errors
/// A grid is invalid, or the measured speeds cannot be written.
pub(crate) fn run(args: &Args, commit: &'static str) -> anyhow::Result<Written> {
    let mut remaining: Vec<Job> = Vec::new();
    let mut files = Vec::new();
    for path in &args.grids {
        let (grid, dir) = args.results.grid(path, &args.overrides)?;
        let finished = finished_ids(&dir)?;
        let plan = Plan::of(&grid)?;
        remaining.extend(plan.remaining(&finished).map(|planned| planned.job.clone()));
        files.extend(grid.files);
    }
    let devices = device::workers(&DeviceChoice::Auto, None)?;
    let (name, workers) = (device::model(devices[0]), devices.len());
    let mut speeds = Speeds::of(&name, workers);
    let stop = interrupt::install()?;
    let sources = Sources::new(data::default_dir(), files);
    let trainer = Libtorch::new(devices, sources, Arc::clone(&stop), commit);
    widths(&trainer, &remaining, &mut speeds);
    let cohorts = cohort::spread(cohort::cohorts(remaining, |shape| speeds.width(shape)), workers);
    let mut seen = HashSet::new();
    let new = |cohort: &Cohort| {
        let (shape, members) = (cohort.shape(), cohort.jobs().len());
        !speeds.knows(&shape, members) && seen.insert(speed::key(&shape, members))
    };
    let cohorts: Vec<Cohort> = cohorts.into_iter().filter(new).collect();
    for (i, cohort) in cohorts.iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let shape = cohort.shape();
        say(&format!(
            "timing network {} of {}: {}, {} members",
            i + 1,
            cohorts.len(),
            shape.arch,
            cohort.jobs().len()
        ));
        match together(&trainer, workers, cohort) {
            Ok(speed) => {
                speeds.insert(&name, workers, &shape, cohort.jobs().len(), speed);
                keep(&speeds);
            }
            Err(error) => warn([format!("not timed: {error}")]),
        }
    }
    // Not through the cache, which may not be writable.
    let dir = tempfile::tempdir()?.keep();
    speeds.hand_over(&dir)?;
    Ok(Written { dir, code: 0 })
}

/// Saves the speeds to the cache; warns once if that fails. They are then measured again next time.
fn keep(speeds: &Speeds) {
    static WARNING: Once = Once::new();
    if let Err(error) = speeds.save() {
        WARNING.call_once(|| {
            warn([format!("the measured speeds are not kept: {}", one_line(&error))]);
        });
    }
}

/// Measures, for each network, how many jobs to train together on a GPU.
pub(crate) fn widths<'j>(
    trainer: &Libtorch,
    jobs: impl IntoIterator<Item = &'j Job>,
    speeds: &mut Speeds,
) {
    let (device, workers) = (trainer.devices[0], trainer.devices.len());
    if !device.is_cuda() {
        return;
    }
    let mut shapes: Vec<(Shape, Vec<&Job>)> = Vec::new();
    for job in jobs {
        let shape = Shape::of(job);
        match shapes.iter_mut().find(|(known, _)| *known == shape) {
            Some((_, jobs)) => jobs.push(job),
            None => shapes.push((shape, vec![job])),
        }
    }
    for (shape, jobs) in shapes {
        if trainer.stop.load(Ordering::Relaxed) {
            break;
        }
        let fit = device::free_memory(device).map_or(1, |free| cost::gpu_width(&shape, free));
        let measure = |n: usize| {
            say(&format!("timing {}: {n} together", shape.arch));
            let members = jobs[..n].iter().map(|&job| job.clone()).collect();
            trainer.measure(0, &Cohort::new(members))
        };
        let most = jobs.len().min(fit);
        match speeds.try_widths(&device::model(device), workers, &shape, most, measure) {
            Ok(()) => keep(speeds),
            Err(stop) => warn([format!("not timed: {}", reason(stop))]),
        }
    }
}

fn reason(stop: Stop) -> anyhow::Error {
    match stop {
        Stop::Failed { error, .. } => error,
        Stop::Interrupted => anyhow!("interrupted"),
    }
}

/// Measures on all workers at the same time; returns the mean.
fn together(trainer: &Libtorch, workers: usize, cohort: &Cohort) -> anyhow::Result<Speed> {
    let results: Vec<Result<Speed, Stop>> = std::thread::scope(|scope| {
        let start = |worker| {
            let thread = std::thread::Builder::new();
            thread.spawn_scoped(scope, move || trainer.measure(worker, cohort))
        };
        let threads = (0..workers).map(start).collect::<std::io::Result<Vec<_>>>();
        let threads = threads.with_context(|| format!("cannot start a thread; {NO_THREAD}"))?;
        let join = |thread: ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|_| Err(Stop::Interrupted))
        };
        anyhow::Ok(threads.into_iter().map(join).collect())
    })?;
    let mut mean = Speed { setup: 0.0, step: 0.0, image: 0.0 };
    for result in results {
        let speed = result.map_err(reason)?;
        mean.setup += speed.setup / workers as f64;
        mean.step += speed.step / workers as f64;
        mean.image += speed.image / workers as f64;
    }
    Ok(mean)
}
