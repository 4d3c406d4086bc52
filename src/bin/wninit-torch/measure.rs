//! `wninit plan --measure`: times the networks of a plan that were not timed here before.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::anyhow;
use wninit::cohort::Cohort;
use wninit::commands::plan::{self, Args};
use wninit::execution::Choice;
use wninit::progress::say;
use wninit::speed::{self, Speed, Speeds};
use wninit::train::{Libtorch, Stop};
use wninit::{data, device, interrupt};

/// Times a few steps of each network and number of members, on all workers at once, as in a sweep.
///
/// # Errors
/// If a grid is bad, or what was measured cannot be kept.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let cohorts = plan::cohorts(args)?;
    let (devices, threads) = device::workers(&Choice::Auto, None)?;
    let (name, workers) = (device::name(devices[0]), devices.len());
    let mut speeds = Speeds::load();
    if speeds.machine().is_some_and(|machine| machine != (&name, workers)) {
        speeds = Speeds::default();
    }
    let mut seen = HashSet::new();
    let new = |cohort: &Cohort| {
        let (shape, members) = (cohort.shape(), cohort.jobs().len());
        !speeds.knows(&shape, members) && seen.insert(speed::key(&shape, members))
    };
    let cohorts: Vec<Cohort> = cohorts.into_iter().filter(new).collect();
    let stop = interrupt::install()?;
    let trainer = Libtorch::new(devices, threads, data::default_dir(), Arc::clone(&stop));
    for (i, cohort) in cohorts.iter().enumerate() {
        if stop.load(std::sync::atomic::Ordering::Relaxed) {
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
                speeds.save()?;
            }
            Err(error) => say(&format!("warning: not timed: {error}")),
        }
    }
    Ok(())
}

/// The mean over workers that measure the same at the same time.
fn together(trainer: &Libtorch, workers: usize, cohort: &Cohort) -> anyhow::Result<Speed> {
    let results: Vec<Result<Speed, Stop>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|worker| scope.spawn(move || trainer.measure(worker, cohort)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(Stop::Interrupted)))
            .collect()
    });
    let mut mean = Speed { setup: 0.0, step: 0.0, image: 0.0 };
    for result in results {
        let speed = result.map_err(|stop| match stop {
            Stop::Failed { error, .. } => error,
            Stop::Interrupted => anyhow!("interrupted"),
        })?;
        mean.setup += speed.setup / workers as f64;
        mean.step += speed.step / workers as f64;
        mean.image += speed.image / workers as f64;
    }
    Ok(mean)
}
