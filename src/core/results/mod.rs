//! A sweep's files: a [`Record`] is a row of `runs.csv` and its rows of `epochs.csv`, a [`Failure`]
//! a row of `failures.csv`.
//!
//! [`Journal`] writes them, one process at a time; [`read_runs`] and its siblings read them, at any
//! time. `columns.rs` declares the columns of the CSV files and of `columns.json`. A row becomes
//! durable in [`Journal::append`], which syncs the epochs, then the runs; other files are replaced
//! as a whole by [`write_atomically`](crate::atomic::write_atomically).

mod appender;
mod aside;
mod columns;
mod csv_file;
mod curvature;
mod error;
mod journal;
mod merge;
mod read;
mod record;
mod signal;
mod validate;

use std::sync::LazyLock;

pub use columns::{
    EPOCH_COLUMNS, FAILURE_COLUMNS, RESULT_COLUMNS, columns_json, describe_columns,
    document_columns, field_doc, plan_csv,
};
pub use curvature::{
    CURVATURE, CURVATURE_COLUMNS, Curvature, CurvatureMethod, CurvatureQuestion, best_curvatures,
    curvature_docs, read_curvatures, write_curvatures,
};
pub use error::ResultsError;
pub use journal::{Holder, Journal, holder};
pub use merge::{Merged, is_mergeable, merge};
pub use read::{
    Conflict, Runs, differences, equal_results, finished_ids, folders, planned_ids, planned_jobs,
    read_epochs, read_failures, read_outcomes, read_runs,
};
pub use record::{EpochRow, Failure, FailureReason, Outcome, Provenance, Record, failure_lines};
pub use signal::{
    LayerSignal, ProbedNetwork, SIGNALS, Signal, read_signals, signal_docs, signals_csv,
};

/// An error with its causes in one line. A cause that the text already contains is not repeated.
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

/// The model of the CPU, such as `AMD EPYC family 26 model 17 stepping 0`; `None` where there is no
/// `/proc/cpuinfo` of x86. Clouds give many models one name and one host name many machines.
pub fn processor() -> Option<String> {
    static KNOWN: LazyLock<Option<String>> = LazyLock::new(read_processor);
    KNOWN.clone()
}

fn read_processor() -> Option<String> {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let value = |key: &str| {
        let mut cells = cpus.lines().filter_map(|line| line.split_once(':'));
        cells.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned())
    };
    let number = |key: &str| value(key).map(|value| format!("{} {value}", key.replace("cpu ", "")));
    let numbers = ["cpu family", "model", "stepping"].into_iter().filter_map(number);
    Some(std::iter::once(value("model name")?).chain(numbers).collect::<Vec<_>>().join(" "))
}

/// The file with every job of a sweep.
pub const PLAN: &str = "plan.csv";
const RUNS: &str = "runs.csv";
const EPOCHS: &str = "epochs.csv";
const FAILURES: &str = "failures.csv";
const JOB_ID: &str = "job_id";
const INSTRUCTION_SET: &str = "instruction_set";
const PROCESSOR: &str = "processor";
const TEST_LARGEST_CLASS: &str = "test_largest_class";
