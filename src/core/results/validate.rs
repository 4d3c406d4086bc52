//! Checks of a row that hold for every training. A row that fails them was damaged, or edited by hand.

use super::columns::{EPOCH_COLUMNS, IF_DIVERGED, IF_NO_EPOCH, IF_NO_TEST, IF_OK, RESULT_COLUMNS};
use super::{EpochRow, Outcome, Record};
use crate::plan::cohort::Shape;
use crate::table::{Column, Datum};

/// Returns why no training can produce this row.
pub(super) fn record(record: &Record) -> Result<(), String> {
    let Record { job, outcome, epochs_done, .. } = record;
    let is_ok = *outcome == Outcome::Ok;
    let (done, last) = (u64::from(*epochs_done), u64::from(job.epochs));
    counts("epochs_done", Some(done), 0, last, "`epochs` of the job")?;
    counts("best_epoch", record.best_epoch.map(u64::from), 1, done, "`epochs_done`")?;
    let steps = Shape::of(job).steps() as u64;
    counts("diverged_epoch", record.diverged_epoch.map(u64::from), 1, last, "`epochs` of the job")?;
    counts("diverged_step", record.diverged_step, 1, steps, "the steps of an epoch of the job")?;
    counts("cohort_size", Some(record.provenance.cohort_size.into()), 1, u64::MAX, "")?;
    numbers(RESULT_COLUMNS, record)?;
    for column in RESULT_COLUMNS {
        let there = (column.value)(record) != Datum::Empty;
        let wanted = match column.empty {
            IF_DIVERGED => is_ok,
            IF_OK => !is_ok,
            IF_NO_EPOCH => done > 0,
            IF_NO_TEST => is_ok || (there && done > 0),
            _ => there && !(is_ok && column.name == "diverged_step"),
        };
        if there != wanted {
            let is = if there { "has a value" } else { "is empty" };
            let but = match column.empty {
                _ if column.empty == IF_NO_EPOCH || (column.empty == IF_NO_TEST && !is_ok) => {
                    format!("`epochs_done` is {done}")
                }
                _ => format!("the outcome is {outcome}"),
            };
            return Err(format!("the column `{}` {is}, but {but}", column.name));
        }
    }
    counts("epochs_done", Some(done), u64::from(is_ok), last, "")
}

/// Returns why no epoch can produce this row.
pub(super) fn epoch(row: &EpochRow) -> Result<(), String> {
    counts("epoch", Some(row.epoch.into()), 1, u64::MAX, "")?;
    numbers(EPOCH_COLUMNS, row)
}

fn counts(column: &str, n: Option<u64>, least: u64, most: u64, which: &str) -> Result<(), String> {
    match n {
        Some(n) if n < least => Err(format!("{n} in the column `{column}` is less than {least}")),
        Some(n) if n > most => {
            Err(format!("{n} in the column `{column}` is more than {most}, {which}"))
        }
        _ => Ok(()),
    }
}

/// An empty cell in a column that is never empty is read as NaN; the text "nan" is an error
/// earlier.
fn numbers<T>(columns: &[Column<T>], row: &T) -> Result<(), String> {
    for column in columns {
        let Datum::Float(x) = (column.value)(row) else { continue };
        let name = column.name;
        if column.unit == "fraction" && x != x.clamp(0.0, 1.0) && !x.is_nan() {
            return Err(format!("{x} in the column `{name}` is not a fraction from 0 to 1"));
        }
        if x < 0.0 {
            return Err(format!("{x} in the column `{name}` is negative"));
        }
    }
    Ok(())
}
