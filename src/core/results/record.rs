//! The result of a job: a [`Record`] if it finished, a [`Failure`] for an attempt that was cut
//! short.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::job::{Job, JobId, choices};

choices! {
    /// The outcome of a finished job.
    Outcome, "outcome" {
        /// Trained to its last epoch with finite losses and parameters.
        Ok = "ok",
        /// A loss or a parameter became infinite or NaN. A result like any other.
        Diverged = "diverged",
    }
}

/// One epoch of a job's training curve. Losses in nats, accuracies as fractions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // EPOCH_COLUMNS documents each
pub struct EpochRow {
    pub epoch: u32,
    pub lr: f64,
    pub train_loss: f64,
    pub train_acc: f64,
    pub val_loss: f64,
    pub val_acc: f64,
    pub seconds: f64,
}

/// Where and when a record was made.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // RESULT_COLUMNS documents each
pub struct Provenance {
    pub device: String,
    pub cohort_size: u32,
    pub instruction_set: Option<String>,
    pub processor: Option<String>,
    pub libtorch: String,
    pub git_sha: String,
    pub hostname: String,
    pub started_at: DateTime<Utc>,
    pub finished_at: DateTime<Utc>,
}

/// A finished job: one row of `runs.csv` and its rows of `epochs.csv`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // RESULT_COLUMNS documents each
pub struct Record {
    /// The job.
    pub job: Job,
    pub outcome: Outcome,
    /// Why it is `diverged`: `loss` or `parameters` not finite; `None` for `ok`.
    pub reason: Option<String>,
    pub epochs_done: u32,
    pub diverged_epoch: Option<u32>,
    pub diverged_step: Option<u64>,
    pub train_loss: Option<f64>,
    pub train_acc: Option<f64>,
    pub val_loss: Option<f64>,
    pub val_acc: Option<f64>,
    pub best_val_acc: Option<f64>,
    pub best_epoch: Option<u32>,
    pub test_loss: Option<f64>,
    pub test_acc: Option<f64>,
    pub train_seconds: f64,
    pub images_per_second: Option<f64>,
    pub test_largest_class: Option<f64>,
    /// Where and when.
    pub provenance: Provenance,
    /// The curve: `epochs_done` rows.
    pub epochs: Vec<EpochRow>,
}

choices! {
    /// The cause of a failed attempt. The job is not finished and is retried.
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
#[allow(missing_docs)] // FAILURE_COLUMNS documents each
pub struct Failure {
    pub id: JobId,
    pub attempt: u32,
    pub reason: FailureReason,
    pub message: String,
    pub device: String,
    pub hostname: String,
    pub at: DateTime<Utc>,
}

/// A line for each reason and message of these failures, the most frequent first, at most ten.
pub fn failure_lines<'a>(failures: impl IntoIterator<Item = &'a Failure>) -> Vec<String> {
    const MOST: usize = 10;
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for failure in failures {
        *counts.entry((failure.reason.name(), &failure.message)).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, n)| Reverse(*n));
    let shown = counts.iter().take(MOST);
    let mut lines: Vec<String> =
        shown.map(|((reason, message), n)| format!("{n} x {reason}: {message}")).collect();
    if counts.len() > MOST {
        lines.push(format!("and {} other messages, see failures.csv", counts.len() - MOST));
    }
    lines
}
