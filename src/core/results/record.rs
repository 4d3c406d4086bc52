//! What a job leaves: a [`Record`] where it was finished, a [`Failure`] for an attempt that was cut short.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::job::{Job, JobId, choices, unknown};

choices! {
    /// How a finished job ended.
    Outcome, "outcome" {
        /// Trained to its last epoch with finite losses and parameters.
        Ok = "ok",
        /// A loss or a parameter became infinite or NaN. A result like any other.
        Diverged = "diverged",
    }
}

/// One epoch of a job's training curve. Losses in nats, accuracies as fractions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// The CPU's instructions that libtorch used; `None` in rows of versions that did not record it.
    pub instruction_set: Option<String>,
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

choices! {
    /// What cut an attempt short. Such a job is not finished and is tried again.
    FailureReason, "reason" {
        /// Out of memory, on the device or the host.
        Memory = "memory",
        /// The device failed.
        Device = "device",
        /// The data could not be read.
        Data = "data",
        /// A file could not be written.
        Io = "io",
        /// A bug: the trainer panicked.
        Panic = "panic",
    }
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
