//! The columns of the results' CSV files, and `columns.json`, which documents them.

use std::iter;
use std::path::Path;

use chrono::{DateTime, SecondsFormat, Utc};
use rayon::prelude::*;

use super::csv_file;
use super::{
    EPOCHS, EpochRow, FAILURES, Failure, INSTRUCTION_SET, JOB_ID, PLAN, PROCESSOR, RUNS, Record,
    ResultsError, TEST_LARGEST_CLASS,
};
use crate::atomic::write_atomically;
use crate::columns;
use crate::job::{Definition, FIELDS, Field, Job, JobId, SCHEMA};
use crate::plan::PlannedJob;
use crate::table::{Column, ColumnDoc, Datum};

/// When cells are empty. [`validate`](super::validate) holds rows to it.
pub(super) const IF_DIVERGED: &str = "the job diverged";
pub(super) const IF_OK: &str = "the outcome is ok";
pub(super) const IF_NO_EPOCH: &str = "no epoch was whole";
const BEFORE: &str = "written by a version that did not record it";
pub(super) const IF_NO_TEST: &str = "the job diverged before an epoch was whole, or the row is from a version that did not test diverged jobs";

/// A measured number; empty if there is none.
pub(super) fn float(value: impl Into<Option<f64>>) -> Datum {
    value.into().map_or(Datum::Empty, Datum::Float)
}

/// RFC 3339 in UTC, to the millisecond.
pub(super) fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The columns of `runs.csv` after `job_id` and the job's [`FIELDS`]. Those from `train_seconds` on,
/// timing and provenance, may differ between two runs of a job.
pub static RESULT_COLUMNS: &[Column<Record>] = columns![Record;
    "outcome": "", "ok (trained to the last epoch), or diverged (a loss or a parameter became infinite or NaN)", ""
        => |r| r.outcome.name();
    "reason": "", "what was not finite in a diverged job: loss, validation loss, test loss or parameters", IF_OK
        => |r| r.reason.as_deref();
    "epochs_done": "epochs", "whole epochs with finite losses", ""
        => |r| r.epochs_done;
    "diverged_epoch": "epoch", "the epoch, counted from 1, in which the job diverged", IF_OK
        => |r| r.diverged_epoch;
    "diverged_step": "step", "the step of that epoch, counted from 1, whose loss was not finite",
        "the outcome is ok, or no loss of a step showed it"
        => |r| r.diverged_step;
    "train_loss": "nats", "mean cross-entropy over the last epoch's training images, each when it was trained on",
        IF_DIVERGED
        => |r| float(r.train_loss);
    "train_acc": "fraction", "accuracy over the last epoch's training images, each when it was trained on",
        IF_DIVERGED
        => |r| float(r.train_acc);
    "val_loss": "nats", "mean cross-entropy over the validation images after the last epoch", IF_DIVERGED
        => |r| float(r.val_loss);
    "val_acc": "fraction", "accuracy over the validation images after the last epoch", IF_DIVERGED
        => |r| float(r.val_acc);
    "best_val_acc": "fraction", "the best validation accuracy of all whole epochs", IF_NO_EPOCH
        => |r| float(r.best_val_acc);
    "best_epoch": "epoch", "the first epoch, counted from 1, that reached best_val_acc", IF_NO_EPOCH
        => |r| r.best_epoch;
    "test_loss": "nats", "mean cross-entropy over the test images with the parameters of best_epoch", IF_NO_TEST
        => |r| float(r.test_loss);
    "test_acc": "fraction", "accuracy over the test images with the parameters of best_epoch", IF_NO_TEST
        => |r| float(r.test_acc);
    "train_seconds": "seconds", "wall-clock time of the cohort, divided by its jobs", "not measured"
        => |r| float(r.train_seconds);
    "images_per_second": "images per second", "training images of this job per second of train_seconds", "not measured"
        => |r| float(r.images_per_second);
    "test_largest_class": "fraction", "share of the test images that are of their largest class: the accuracy of a network that always answers with it",
        BEFORE => |r| float(r.test_largest_class);
    "device": "", "device of the training: cpu, or cuda:0 and the GPU's name", ""
        => |r| r.provenance.device.as_str();
    "cohort_size": "jobs", "size of the cohort at its start, this job included", ""
        => |r| r.provenance.cohort_size;
    "instruction_set": "", "CPU instruction set that libtorch used, with environment variables that limit it", BEFORE
        => |r| r.provenance.instruction_set.as_deref();
    "processor": "", "model of the CPU, as /proc/cpuinfo names it", "not known, or written by a version that did not record it"
        => |r| r.provenance.processor.as_deref();
    "libtorch": "", "version of libtorch", ""
        => |r| r.provenance.libtorch.as_str();
    "git_sha": "", "commit of the program, with -dirty if its sources had changes", ""
        => |r| r.provenance.git_sha.as_str();
    "hostname": "", "name of the machine", ""
        => |r| r.provenance.hostname.as_str();
    "started_at": "RFC 3339, UTC", "when the cohort started", ""
        => |r| instant(r.provenance.started_at);
    "finished_at": "RFC 3339, UTC", "when the job ended", ""
        => |r| instant(r.provenance.finished_at);
];

/// The columns of `epochs.csv` after `job_id`.
pub static EPOCH_COLUMNS: &[Column<EpochRow>] = columns![EpochRow;
    "epoch": "epoch", "counted from 1", "" => |e| e.epoch;
    "lr": "", "learning rate of the epoch's last step", "" => |e| float(e.lr);
    "train_loss": "nats", "mean cross-entropy over the epoch's training images, each when it was trained on",
        "not measured" => |e| float(e.train_loss);
    "train_acc": "fraction", "accuracy over the epoch's training images, each when it was trained on",
        "not measured" => |e| float(e.train_acc);
    "val_loss": "nats", "mean cross-entropy over the validation images after the epoch", "not measured"
        => |e| float(e.val_loss);
    "val_acc": "fraction", "accuracy over the validation images after the epoch", "not measured"
        => |e| float(e.val_acc);
    "seconds": "seconds", "wall-clock time of the epoch, evaluation included, for the whole cohort", "not measured"
        => |e| float(e.seconds);
];

/// The columns of `failures.csv` after `job_id`.
pub static FAILURE_COLUMNS: &[Column<Failure>] = columns![Failure;
    "attempt": "", "the number of the attempt at the job, counted from 1", "" => |f| f.attempt;
    "reason": "", "memory, device, data, io or panic (a bug)", "" => |f| f.reason.name();
    "message": "", "what happened", "" => |f| f.message.as_str();
    "device": "", "the device of the worker on which it happened", "" => |f| f.device.as_str();
    "hostname": "", "name of the machine on which it happened", "" => |f| f.hostname.as_str();
    "at": "RFC 3339, UTC", "when it happened", "" => |f| instant(f.at);
];

/// The column after the job's fields: the definition of an own initializer, whose name is in `init`.
pub(super) const INIT_RULE: &str = "init_rule";

/// Whether files of earlier versions lack the column; its cells count as empty there.
pub(super) fn is_later(column: &str) -> bool {
    [INSTRUCTION_SET, PROCESSOR, TEST_LARGEST_CLASS, INIT_RULE].contains(&column)
        || Field::named(column).is_some_and(|field| field.as_before.is_some())
}

/// The header of `runs.csv`.
pub(super) fn run_columns() -> impl Iterator<Item = &'static str> {
    plan_columns().chain(RESULT_COLUMNS.iter().map(|c| c.name))
}

/// The header of `plan.csv`.
pub(super) fn plan_columns() -> impl Iterator<Item = &'static str> {
    iter::once(JOB_ID).chain(FIELDS.iter().map(|field| field.name)).chain([INIT_RULE])
}

pub(super) fn epoch_columns() -> impl Iterator<Item = &'static str> {
    iter::once(JOB_ID).chain(EPOCH_COLUMNS.iter().map(|c| c.name))
}

pub(super) fn failure_columns() -> impl Iterator<Item = &'static str> {
    iter::once(JOB_ID).chain(FAILURE_COLUMNS.iter().map(|c| c.name))
}

pub(super) fn job_cells(id: JobId, job: &Job) -> impl Iterator<Item = String> {
    let fields = FIELDS
        .iter()
        .map(|field| field.get(job).map_or_else(String::new, |value| value.to_string()));
    let rule = job.init.rule().map_or_else(String::new, Definition::to_string);
    iter::once(id.to_string()).chain(fields).chain([rule])
}

/// The cells of a row in these columns.
pub(super) fn cells<T>(columns: &[Column<T>], row: &T) -> impl Iterator<Item = String> {
    columns.iter().map(move |column| (column.value)(row).csv())
}

pub(super) fn run_cells(id: JobId, record: &Record) -> Vec<String> {
    job_cells(id, &record.job).chain(cells(RESULT_COLUMNS, record)).collect()
}

pub(super) fn epoch_cells(id: JobId, row: &EpochRow) -> Vec<String> {
    iter::once(id.to_string()).chain(cells(EPOCH_COLUMNS, row)).collect()
}

pub(super) fn failure_cells(failure: &Failure) -> Vec<String> {
    iter::once(failure.id.to_string()).chain(cells(FAILURE_COLUMNS, failure)).collect()
}

/// The text of `plan.csv`: every job of a plan, in its order.
pub fn plan_csv(plan: &[PlannedJob]) -> String {
    let line = |planned: &PlannedJob| csv_file::line(job_cells(planned.id, &planned.job));
    let lines: Vec<String> = plan.par_iter().map(line).collect();
    csv_file::line(plan_columns()) + &lines.concat()
}

/// The column of a job's field.
pub fn field_doc(field: &Field) -> ColumnDoc {
    ColumnDoc { name: field.name, unit: field.unit, meaning: field.about, empty: field.empty }
}

/// Documentation of a file's columns: `job_id`, the job's fields if the file has them, and its own.
pub(super) fn docs<T>(with_fields: bool, columns: &[Column<T>]) -> Vec<ColumnDoc> {
    let id = ColumnDoc {
        name: JOB_ID,
        unit: "",
        meaning: "identity of the job: 12 hexadecimal digits of a hash over all of its fields",
        empty: "",
    };
    let rule = ColumnDoc {
        name: INIT_RULE,
        unit: "",
        meaning: "definition of an own initializer, which init names: direction and expressions",
        empty: "the initializer is built in",
    };
    let fields = FIELDS.iter().map(field_doc).chain([rule]).filter(|_| with_fields);
    iter::once(id).chain(fields).chain(columns.iter().map(|column| column.doc)).collect()
}

/// The content of `columns.json`: under the name of each file, its columns.
fn described(files: &[(String, Vec<ColumnDoc>)]) -> serde_json::Map<String, serde_json::Value> {
    let column = |doc: &ColumnDoc| {
        let empty = if doc.empty.is_empty() { "never" } else { doc.empty };
        let about = serde_json::json!({ "unit": doc.unit, "meaning": doc.meaning, "empty": empty });
        (doc.name.to_owned(), about)
    };
    let file =
        |columns: &[ColumnDoc]| serde_json::Value::Object(columns.iter().map(column).collect());
    files.iter().map(|(name, columns)| (name.clone(), file(columns))).collect()
}

/// The text of a `columns.json` for only these files, in a folder that is not a sweep's.
pub fn describe_columns(files: &[(String, Vec<ColumnDoc>)]) -> String {
    format!("{:#}\n", serde_json::Value::Object(described(files)))
}

/// The documentation of the files that a [`Journal`](super::Journal) writes.
fn own_columns() -> serde_json::Map<String, serde_json::Value> {
    let mut all = serde_json::Map::new();
    all.insert("schema".to_owned(), SCHEMA.into());
    all.extend(described(&[
        (PLAN.to_owned(), docs::<Record>(true, &[])),
        (RUNS.to_owned(), docs(true, RESULT_COLUMNS)),
        (EPOCHS.to_owned(), docs(false, EPOCH_COLUMNS)),
        (FAILURES.to_owned(), docs(false, FAILURE_COLUMNS)),
    ]));
    all
}

/// The text of the `columns.json` of a new folder: the unit and the meaning of each column of
/// each file, and what an empty cell means.
pub fn columns_json() -> String {
    format!("{:#}\n", serde_json::Value::Object(own_columns()))
}

/// Brings a folder's `columns.json` up to date, with further files beside the folder's own. Entries
/// of other files are kept.
///
/// # Errors
/// The file cannot be written.
pub fn document_columns(
    dir: &Path,
    files: &[(String, Vec<ColumnDoc>)],
) -> Result<(), ResultsError> {
    let path = dir.join("columns.json");
    let old = std::fs::read(&path).unwrap_or_default();
    // An unreadable file is replaced: all of it can be made again.
    let known: serde_json::Map<_, _> = serde_json::from_slice(&old).unwrap_or_default();
    let mut all = own_columns();
    let new: Vec<_> = known.into_iter().filter(|(name, _)| !all.contains_key(name)).collect();
    all.extend(new);
    all.extend(described(files));
    let json = format!("{:#}\n", serde_json::Value::Object(all));
    if json.as_bytes() != old {
        write_atomically(&path, json.as_bytes())?;
    }
    Ok(())
}
