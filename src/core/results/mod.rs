//! What a sweep leaves on disk: a [`Record`] is a row of `runs.csv` and its rows of
//! `epochs.csv`, a [`Failure`] one of `failures.csv`.
//!
//! [`Journal`] writes them, one process at a time; [`read_runs`] and its siblings read them, at
//! any time. The tables of columns in this file decide what the CSV files and `columns.json` say.

/// Lists columns as `name: unit, meaning, empty => cell`.
macro_rules! columns {
    ($record:ty; $($name:literal: $unit:literal, $meaning:literal, $empty:literal => $cell:expr;)+) => {
        &[$($crate::results::Column::<$record> { name: $name, unit: $unit, meaning: $meaning, empty: $empty, cell: $cell },)+]
    };
}

mod appender;
mod aside;
mod believable;
mod curvature;
mod journal;
mod merge;
mod read;
mod table;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use chrono::{DateTime, Utc};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::job::{FIELDS, Field, Job, JobId, SCHEMA};
use table::{count, free_text, instant, number};

pub use curvature::{
    CURVATURE, CURVATURE_COLUMNS, Curvature, CurvatureMethod, CurvatureQuestion, SIGNALS,
    best_curvatures, curvature_docs, read_curvatures, write_curvatures,
};
pub use journal::{Holder, Journal, holder};
pub use merge::{Merged, is_mergeable, merge};
pub use read::{
    Conflict, Runs, differences, equal_results, finished_ids, folders, planned_ids, planned_jobs,
    read_epochs, read_failures, read_outcomes, read_runs,
};
pub use table::{Column, write_atomically};

/// How a finished job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Trained to its last epoch with finite losses and parameters.
    Ok,
    /// A loss or a parameter became infinite or NaN. A result like any other.
    Diverged,
}

impl Outcome {
    /// The word for it in `runs.csv`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Diverged => "diverged",
        }
    }
}

impl FromStr for Outcome {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Outcome::Ok, Outcome::Diverged]
            .into_iter()
            .find(|o| o.name() == text)
            .ok_or_else(|| crate::job::unknown("outcome", text, ["ok", "diverged"]))
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

impl FailureReason {
    /// Every reason.
    pub(crate) const ALL: [FailureReason; 5] = [
        FailureReason::Memory,
        FailureReason::Device,
        FailureReason::Data,
        FailureReason::Io,
        FailureReason::Panic,
    ];

    /// The word for it in `failures.csv`.
    pub const fn name(self) -> &'static str {
        match self {
            FailureReason::Memory => "memory",
            FailureReason::Device => "device",
            FailureReason::Data => "data",
            FailureReason::Io => "io",
            FailureReason::Panic => "panic",
        }
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for FailureReason {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let all = FailureReason::ALL;
        let found = all.into_iter().find(|reason| reason.name() == text);
        found.ok_or_else(|| crate::job::unknown("reason", text, all.map(FailureReason::name)))
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

/// Why a sweep's folder cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// Another process writes to the folder.
    #[error("{} is in use by {holder}; wait for it, stop it, or choose another folder with --results", .dir.display())]
    Held {
        /// The sweep's folder.
        dir: PathBuf,
        /// Who it is.
        holder: Holder,
    },
    /// A file lacks columns.
    #[error("{} lacks the column `{missing}`: it was edited by hand, or written by another version. \
             Put the column back (its cells may be empty only where columns.json says so), or move the \
             file away to begin a new one; nothing was changed", .file.display())]
    Columns {
        /// The file.
        file: PathBuf,
        /// The columns' names.
        missing: String,
    },
    /// A row cannot be believed.
    #[error("{}:{line}: {message}; correct the line, or delete it (its job is then trained again)", .file.display())]
    Row {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// A file that this process is writing is no longer what it wrote.
    #[error("{} was changed by another program while the sweep was running; \
             see that it holds every row that it should, and run the sweep again", .0.display())]
    Changed(PathBuf),
    /// The lock of the folder that this process is writing to is not its own any more.
    #[error("{} was removed or replaced by another program while the sweep was running, so that a second \
             process could have begun to write to the folder; see that nobody else does, and run the sweep again", .0.display())]
    Unlocked(PathBuf),
    /// The operating system refused.
    #[error("cannot {action} {}: {source}{}", .path.display(), hint(.source))]
    Io {
        /// What was tried: `read`, `write`, …
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl ResultsError {
    fn io(action: &'static str, path: &Path, source: std::io::Error) -> ResultsError {
        ResultsError::Io { action, path: path.to_owned(), source }
    }

    /// Whether there was no room on the disk: the same command will do once there is.
    pub fn is_full_disk(&self) -> bool {
        matches!(self, ResultsError::Io { source, .. } if is_full(source))
    }

    /// Whether another program changed the folder under this process, which must not write to it
    /// any more.
    pub fn is_change(&self) -> bool {
        matches!(self, ResultsError::Changed(_) | ResultsError::Unlocked(_))
    }

    fn row(file: &Path, line: usize, message: impl Into<String>) -> ResultsError {
        ResultsError::Row { file: file.to_owned(), line, message: message.into() }
    }
}

fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::*;
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// What to do about an I/O error, where that is known.
fn hint(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::*;
    match error.kind() {
        _ if is_full(error) => "; make room and run the same command again",
        PermissionDenied | ReadOnlyFilesystem => {
            "; make the folder writable, or choose another with --results"
        }
        _ => "",
    }
}

/// An error with its causes in one line. A cause that stands in the text already is not repeated.
pub fn one_line(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| match cause.to_string() {
        cause if text.contains(&cause) => text,
        cause if text.is_empty() => cause,
        cause => format!("{text}: {cause}"),
    })
}

/// The machine's name.
pub fn hostname() -> String {
    let mut name = [0_u8; 256];
    // SAFETY: the buffer is writable and its length is passed along.
    let result = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len()) };
    let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
    match String::from_utf8_lossy(&name[..end]) {
        name if result == 0 && !name.is_empty() => name.into_owned(),
        _ => "unknown".to_owned(),
    }
}

const RUNS: &str = "runs.csv";
const EPOCHS: &str = "epochs.csv";
const FAILURES: &str = "failures.csv";
const JOB_ID: &str = "job_id";
const INSTRUCTION_SET: &str = "instruction_set";
const JOB_ID_MEANING: &str =
    "identity of the job: 12 hexadecimal digits of a hash over all of its fields";

/// The columns of `runs.csv` after `job_id` and the job's [`FIELDS`].
pub static RESULT_COLUMNS: &[Column<Record>] = columns![Record;
    "outcome": "", "ok (trained to the last epoch), or diverged (a loss or a parameter became infinite or NaN)", ""
        => |r| r.outcome.name().to_owned();
    "reason": "", "what was not finite in a diverged job: loss, validation loss, test loss or parameters", "the outcome is ok"
        => |r| r.reason.as_deref().map_or_else(String::new, free_text);
    "epochs_done": "epochs", "whole epochs with finite losses", ""
        => |r| r.epochs_done.to_string();
    "diverged_epoch": "epoch", "the epoch, counted from 1, in which the job diverged", "the outcome is ok"
        => |r| count(r.diverged_epoch);
    "diverged_step": "step", "the step of that epoch, counted from 1, whose loss was not finite",
        "the outcome is ok, or no loss of a step showed it"
        => |r| count(r.diverged_step);
    "train_loss": "nats", "mean cross-entropy over the last epoch's training images, each when it was trained on",
        "the job diverged"
        => |r| number(r.train_loss);
    "train_acc": "fraction", "accuracy over the last epoch's training images, each when it was trained on",
        "the job diverged"
        => |r| number(r.train_acc);
    "val_loss": "nats", "mean cross-entropy over the validation images after the last epoch", "the job diverged"
        => |r| number(r.val_loss);
    "val_acc": "fraction", "accuracy over the validation images after the last epoch", "the job diverged"
        => |r| number(r.val_acc);
    "best_val_acc": "fraction", "the best validation accuracy of all whole epochs", "no epoch was whole"
        => |r| number(r.best_val_acc);
    "best_epoch": "epoch", "the first epoch, counted from 1, that reached best_val_acc", "no epoch was whole"
        => |r| count(r.best_epoch);
    "test_loss": "nats", "mean cross-entropy over the test images with the parameters of best_epoch", "the job diverged"
        => |r| number(r.test_loss);
    "test_acc": "fraction", "accuracy over the test images with the parameters of best_epoch", "the job diverged"
        => |r| number(r.test_acc);
    "train_seconds": "seconds", "wall-clock time of the cohort, divided by its jobs", "not measured"
        => |r| number(r.train_seconds);
    "images_per_second": "images per second", "training images of this job per second of train_seconds", "not measured"
        => |r| number(r.images_per_second);
    "device": "", "what it was trained on: cpu, or cuda:0 and the GPU's name", ""
        => |r| free_text(&r.provenance.device);
    "cohort_size": "jobs", "jobs that were trained together with this one, itself included, at the start", ""
        => |r| r.provenance.cohort_size.to_string();
    "instruction_set": "", "instructions of the CPU that libtorch used, with the environment's variables that change it",
        "a version that did not record it"
        => |r| r.provenance.instruction_set.as_deref().map_or_else(String::new, free_text);
    "libtorch": "", "version of libtorch", ""
        => |r| free_text(&r.provenance.libtorch);
    "git_sha": "", "commit of the program, with -dirty where its sources had changes", ""
        => |r| free_text(&r.provenance.git_sha);
    "hostname": "", "name of the machine", ""
        => |r| free_text(&r.provenance.hostname);
    "started_at": "RFC 3339, UTC", "when the cohort started", ""
        => |r| instant(r.provenance.started_at);
    "finished_at": "RFC 3339, UTC", "when the job ended", ""
        => |r| instant(r.provenance.finished_at);
];

/// The columns of `epochs.csv` after `job_id`.
pub static EPOCH_COLUMNS: &[Column<EpochRow>] = columns![EpochRow;
    "epoch": "epoch", "counted from 1", "" => |e| e.epoch.to_string();
    "lr": "", "learning rate of the epoch's last step", "" => |e| number(e.lr);
    "train_loss": "nats", "mean cross-entropy over the epoch's training images, each when it was trained on",
        "not measured" => |e| number(e.train_loss);
    "train_acc": "fraction", "accuracy over the epoch's training images, each when it was trained on",
        "not measured" => |e| number(e.train_acc);
    "val_loss": "nats", "mean cross-entropy over the validation images after the epoch", "not measured"
        => |e| number(e.val_loss);
    "val_acc": "fraction", "accuracy over the validation images after the epoch", "not measured"
        => |e| number(e.val_acc);
    "seconds": "seconds", "wall-clock time of the epoch, evaluation included, for the whole cohort", "not measured"
        => |e| number(e.seconds);
];

/// The columns of `failures.csv` after `job_id`.
pub static FAILURE_COLUMNS: &[Column<Failure>] = columns![Failure;
    "attempt": "", "which attempt at the job it was, counted from 1", "" => |f| f.attempt.to_string();
    "reason": "", "memory, device, data, io or panic (a bug)", "" => |f| f.reason.name().to_owned();
    "message": "", "what happened", "" => |f| free_text(&f.message);
    "device": "", "the device of the worker on which it happened", "" => |f| free_text(&f.device);
    "hostname": "", "name of the machine on which it happened", "" => |f| free_text(&f.hostname);
    "at": "RFC 3339, UTC", "when it happened", "" => |f| instant(f.at);
];

/// Whether files of earlier versions lack the column; its cells count as empty there.
fn is_later(column: &str) -> bool {
    column == INSTRUCTION_SET || Field::named(column).is_some_and(|field| field.as_before.is_some())
}

/// The header of `runs.csv`.
pub(crate) fn run_columns() -> impl Iterator<Item = &'static str> {
    plan_columns().chain(RESULT_COLUMNS.iter().map(|c| c.name))
}

/// The header of `plan.csv`.
pub(crate) fn plan_columns() -> impl Iterator<Item = &'static str> {
    std::iter::once(JOB_ID).chain(FIELDS.iter().map(|field| field.name))
}

fn epoch_columns() -> impl Iterator<Item = &'static str> {
    std::iter::once(JOB_ID).chain(EPOCH_COLUMNS.iter().map(|c| c.name))
}

fn failure_columns() -> impl Iterator<Item = &'static str> {
    std::iter::once(JOB_ID).chain(FAILURE_COLUMNS.iter().map(|c| c.name))
}

fn job_cells(job: &Job) -> impl Iterator<Item = String> {
    let fields = FIELDS
        .iter()
        .map(|field| field.get(job).map_or_else(String::new, |value| value.to_string()));
    std::iter::once(job.id().to_string()).chain(fields)
}

fn run_cells(record: &Record) -> Vec<String> {
    job_cells(&record.job).chain(RESULT_COLUMNS.iter().map(|c| (c.cell)(record))).collect()
}

fn epoch_cells(id: JobId, row: &EpochRow) -> Vec<String> {
    std::iter::once(id.to_string()).chain(EPOCH_COLUMNS.iter().map(|c| (c.cell)(row))).collect()
}

fn failure_cells(failure: &Failure) -> Vec<String> {
    std::iter::once(failure.id.to_string())
        .chain(FAILURE_COLUMNS.iter().map(|c| (c.cell)(failure)))
        .collect()
}

/// The text of `plan.csv`: every job of a plan, in its order.
pub(crate) fn plan_csv(jobs: &[Job]) -> String {
    let lines: Vec<String> = jobs.par_iter().map(|job| table::line(job_cells(job))).collect();
    table::line(plan_columns()) + &lines.concat()
}

/// What a column of a CSV file means, for `columns.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnDoc {
    /// The header's word for it.
    pub name: &'static str,
    /// Its unit, or an empty string.
    pub unit: &'static str,
    /// What it is, for people.
    pub meaning: &'static str,
    /// What an empty cell means, or an empty string if it is never empty.
    pub empty: &'static str,
}

impl ColumnDoc {
    /// The column of a job's field.
    pub fn of(field: &Field) -> ColumnDoc {
        ColumnDoc { name: field.name, unit: field.unit, meaning: field.about, empty: field.empty }
    }
}

/// What `columns.json` says of files: under the name of each, its columns.
fn described(files: &[(String, Vec<ColumnDoc>)]) -> serde_json::Map<String, serde_json::Value> {
    let column = |c: &ColumnDoc| {
        let empty = if c.empty.is_empty() { "never" } else { c.empty };
        let about = serde_json::json!({ "unit": c.unit, "meaning": c.meaning, "empty": empty });
        (c.name.to_owned(), about)
    };
    let file =
        |columns: &[ColumnDoc]| serde_json::Value::Object(columns.iter().map(column).collect());
    files.iter().map(|(name, columns)| (name.clone(), file(columns))).collect()
}

/// The text of a `columns.json` that speaks of these files alone, for a folder that is no sweep's.
pub fn describe_columns(files: &[(String, Vec<ColumnDoc>)]) -> String {
    format!("{:#}\n", serde_json::Value::Object(described(files)))
}

/// What is said of the files that a [`Journal`] keeps.
fn own_columns() -> serde_json::Map<String, serde_json::Value> {
    fn measured<T>(columns: &[Column<T>]) -> Vec<ColumnDoc> {
        let doc = |c: &Column<T>| ColumnDoc {
            name: c.name,
            unit: c.unit,
            meaning: c.meaning,
            empty: c.empty,
        };
        columns.iter().map(doc).collect()
    }
    let id = vec![ColumnDoc { name: JOB_ID, unit: "", meaning: JOB_ID_MEANING, empty: "" }];
    let job = [id.clone(), FIELDS.iter().map(ColumnDoc::of).collect()].concat();
    let mut all = serde_json::Map::new();
    all.insert("schema".to_owned(), SCHEMA.into());
    all.extend(described(&[
        ("plan.csv".to_owned(), job.clone()),
        (RUNS.to_owned(), [job, measured(RESULT_COLUMNS)].concat()),
        (EPOCHS.to_owned(), [id.clone(), measured(EPOCH_COLUMNS)].concat()),
        (FAILURES.to_owned(), [id, measured(FAILURE_COLUMNS)].concat()),
    ]));
    all
}

/// The text of the `columns.json` of a new folder: the unit and the meaning of each column of
/// each file, and what an empty cell means.
pub fn columns_json() -> String {
    format!("{:#}\n", serde_json::Value::Object(own_columns()))
}

/// Brings a folder's `columns.json` up to date, with further files beside the folder's own. What
/// it says of others stays.
///
/// # Errors
/// The file cannot be written.
pub fn document_columns(
    dir: &Path,
    files: &[(String, Vec<ColumnDoc>)],
) -> Result<(), ResultsError> {
    let path = dir.join("columns.json");
    let old = std::fs::read(&path).unwrap_or_default();
    // A file that is none of ours is no loss: all of it can be made again.
    let known: serde_json::Map<_, _> = serde_json::from_slice(&old).unwrap_or_default();
    let mut all = own_columns();
    let new: Vec<_> = known.into_iter().filter(|(name, _)| !all.contains_key(name)).collect();
    all.extend(new);
    all.extend(described(files));
    let json = format!("{:#}\n", serde_json::Value::Object(all));
    if json.as_bytes() == old { Ok(()) } else { write_atomically(&path, json.as_bytes()) }
}
