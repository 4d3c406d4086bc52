//! Jobs and records that need no training.
#![allow(missing_docs, clippy::unwrap_used)]

use chrono::{DateTime, TimeZone, Utc};
use wninit_core::job::{Draft, Job};
use wninit_core::plan::PlannedJob;
use wninit_core::plan::cohort::Cohort;
use wninit_core::results::{EpochRow, Outcome, Provenance, Record};

/// An empty folder, in memory where that is possible: these tests sync thousands of times.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A job of a shape given by `depth`, told from the others by its seed.
pub fn job(depth: u32, seed: u64) -> Job {
    Draft { depth: Some(depth), seed: Some(seed), epochs: Some(2), ..Draft::default() }
        .resolve()
        .unwrap()
}

/// Jobs of one shape.
pub fn jobs(n: u64) -> Vec<Job> {
    (0..n).map(|seed| job(10, seed)).collect()
}

/// Jobs as a plan has them.
pub fn planned(jobs: &[Job]) -> Vec<PlannedJob> {
    jobs.iter().cloned().map(PlannedJob::from).collect()
}

/// Cohorts of `width` jobs.
pub fn cohorts(jobs: &[Job], width: usize) -> Vec<Cohort> {
    jobs.chunks(width).map(|jobs| Cohort::new(jobs.to_vec())).collect()
}

pub fn at(second: i64) -> DateTime<Utc> {
    Utc.timestamp_millis_opt(1_800_000_000_000 + 1000 * second + 7).unwrap()
}

/// What the job results in: the same at any time, different for each job.
pub fn record(job: &Job) -> Record {
    let x = 0.1 + 1.0 / (3.0 + job.init_seed as f64);
    let diverged = job.init_seed % 5 == 4;
    let value = |x: f64| Some(x).filter(|_| !diverged);
    let epoch = |epoch: u32| EpochRow {
        epoch,
        lr: 0.01,
        train_loss: x * f64::from(epoch),
        train_acc: x,
        val_loss: f64::NAN,
        val_acc: x,
        seconds: 1.5,
    };
    Record {
        job: job.clone(),
        outcome: if diverged { Outcome::Diverged } else { Outcome::Ok },
        reason: diverged.then(|| "loss".to_owned()),
        epochs_done: if diverged { 1 } else { 2 },
        diverged_epoch: diverged.then_some(2),
        diverged_step: diverged.then_some(17),
        train_loss: value(x),
        train_acc: value(x),
        val_loss: value(x * 1e-9),
        val_acc: value(x),
        best_val_acc: Some(x),
        best_epoch: Some(1),
        test_loss: value(x),
        test_acc: value(x / 3.0),
        train_seconds: 12.25,
        images_per_second: Some(1000.0),
        test_largest_class: None,
        provenance: Provenance {
            instruction_set: None,
            processor: None,
            device: "cuda:0 Some \"GPU\", 80GB".into(),
            cohort_size: 3,
            libtorch: "2.11.0".into(),
            git_sha: "abc".into(),
            hostname: "=host".into(),
            started_at: at(0),
            finished_at: at(1),
        },
        epochs: (1..=if diverged { 1 } else { 2 }).map(epoch).collect(),
    }
}
