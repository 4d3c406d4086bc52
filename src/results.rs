//! What a sweep leaves on disk.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Context;
use chrono::{DateTime, Utc};

use crate::job::{Job, JobId};

/// How a finished job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Trained to its last epoch with finite losses and parameters.
    Ok,
    /// A loss or a parameter became infinite or NaN. A result like any other.
    Diverged,
}

/// One epoch of a job's training curve. Losses in nats, accuracies as fractions.
#[derive(Clone, Debug, PartialEq)]
pub struct EpochRow {
    /// Counted from 1.
    pub epoch: u32,
    /// The learning rate of the epoch's last step.
    pub lr: f64,
    /// Mean over the epoch's training images, each taken when it was trained on.
    pub train_loss: f64,
    /// As `train_loss`.
    pub train_acc: f64,
    /// Mean over the validation images, after the epoch.
    pub val_loss: f64,
    /// As `val_loss`.
    pub val_acc: f64,
    /// Wall-clock seconds of the epoch, evaluation included, for the whole cohort.
    pub seconds: f64,
}

/// Where and when a record was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Provenance {
    /// `cpu`, or `cuda:0 NAME`.
    pub device: String,
    /// Jobs that were trained together with this one, itself included, at the start.
    pub cohort_size: u32,
    /// libtorch's version.
    pub libtorch: String,
    /// The program's commit, with `-dirty` where the tree had changes.
    pub git_sha: String,
    /// The machine's name.
    pub hostname: String,
    /// When the cohort started.
    pub started_at: DateTime<Utc>,
    /// When the job ended.
    pub finished_at: DateTime<Utc>,
}

/// A finished job: one row of `runs.csv` and its rows of `epochs.csv`.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// What was trained.
    pub job: Job,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it is `diverged`: `loss` or `parameters` not finite; `None` for `ok`.
    pub reason: Option<String>,
    /// Whole epochs with finite losses.
    pub epochs_done: u32,
    /// The epoch, counted from 1, in which it diverged.
    pub diverged_epoch: Option<u32>,
    /// The step of that epoch, counted from 1, whose loss was not finite.
    pub diverged_step: Option<u64>,
    /// Of the last epoch; `None` if the job diverged. Likewise the next three.
    pub train_loss: Option<f64>,
    /// See `train_loss`.
    pub train_acc: Option<f64>,
    /// See `train_loss`.
    pub val_loss: Option<f64>,
    /// See `train_loss`.
    pub val_acc: Option<f64>,
    /// The best validation accuracy of all whole epochs.
    pub best_val_acc: Option<f64>,
    /// The first epoch that reached it, counted from 1.
    pub best_epoch: Option<u32>,
    /// On the test set with the parameters of `best_epoch`; `None` if the job diverged.
    pub test_loss: Option<f64>,
    /// See `test_loss`.
    pub test_acc: Option<f64>,
    /// Wall-clock seconds of the cohort, divided by its jobs.
    pub train_seconds: f64,
    /// Training images of this job per second of `train_seconds`.
    pub images_per_second: Option<f64>,
    /// Where and when.
    pub provenance: Provenance,
    /// The curve: `epochs_done` rows.
    pub epochs: Vec<EpochRow>,
}

/// What cut an attempt short. Such a job is not finished and is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureReason {
    /// Out of memory, on the device or the host.
    Memory,
    /// The device failed.
    Device,
    /// The data could not be read.
    Data,
    /// A file could not be written.
    Io,
    /// A bug: the trainer panicked.
    Panic,
}

/// One row of `failures.csv`.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The job that was not finished.
    pub id: JobId,
    /// Which attempt at the job it was, counted from 1.
    pub attempt: u32,
    /// The kind of failure.
    pub reason: FailureReason,
    /// The error chain, in one line.
    pub message: String,
    /// Where it happened.
    pub device: String,
    /// Where it happened.
    pub hostname: String,
    /// When it happened.
    pub at: DateTime<Utc>,
}

/// The ids of the finished jobs in a sweep's folder; none if there is no `runs.csv` yet.
///
/// # Errors
/// If `runs.csv` cannot be read or has no `job_id`.
pub fn finished_ids(dir: &Path) -> anyhow::Result<HashSet<JobId>> {
    let path = dir.join("runs.csv");
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(HashSet::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let mut csv = csv::ReaderBuilder::new().flexible(true).from_reader(file);
    let headers = csv
        .byte_headers()
        .with_context(|| format!("cannot read {}", path.display()))?
        .clone();
    if headers.is_empty() {
        return Ok(HashSet::new());
    }
    let column = headers
        .iter()
        .position(|name| name == b"job_id")
        .with_context(|| format!("{} has no column job_id", path.display()))?;
    let mut ids = HashSet::new();
    let mut row = csv::ByteRecord::new();
    while csv
        .read_byte_record(&mut row)
        .with_context(|| format!("cannot read {}", path.display()))?
    {
        if row.len() < headers.len() {
            continue; // torn off by a crash; not finished
        }
        let id = std::str::from_utf8(&row[column])
            .ok()
            .and_then(|text| text.parse::<JobId>().ok());
        ids.extend(id);
    }
    Ok(ids)
}
