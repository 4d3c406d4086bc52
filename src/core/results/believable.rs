//! What a result cannot be, whatever was trained. A row that says so was not written by this
//! program, or not as it stands.

use super::{EpochRow, Outcome, Record};
use crate::plan::cohort::Shape;

/// Why no training ends like that.
pub(super) fn record(record: &Record) -> Result<(), String> {
    let Record { job, outcome, epochs_done, .. } = record;
    let (done, last) = (u64::from(*epochs_done), u64::from(job.epochs));
    counts("epochs_done", Some(done), 0, last, "`epochs` of the job")?;
    counts("best_epoch", record.best_epoch.map(u64::from), 1, done, "`epochs_done`")?;
    let steps = Shape::of(job).steps() as u64;
    counts("diverged_epoch", record.diverged_epoch.map(u64::from), 1, last, "`epochs` of the job")?;
    counts("diverged_step", record.diverged_step, 1, steps, "the steps of an epoch of the job")?;
    counts("cohort_size", Some(record.provenance.cohort_size.into()), 1, u64::MAX, "")?;
    for (column, accuracy) in [
        ("train_acc", record.train_acc),
        ("val_acc", record.val_acc),
        ("best_val_acc", record.best_val_acc),
        ("test_acc", record.test_acc),
    ] {
        fraction(column, accuracy)?;
    }
    for (column, number) in [
        ("train_loss", record.train_loss),
        ("val_loss", record.val_loss),
        ("test_loss", record.test_loss),
        ("train_seconds", Some(record.train_seconds)),
        ("images_per_second", record.images_per_second),
    ] {
        not_negative(column, number)?;
    }

    // What only a job that was trained to its end has, and what only one that diverged has.
    let ended = [
        ("train_loss", record.train_loss.is_some()),
        ("train_acc", record.train_acc.is_some()),
        ("val_loss", record.val_loss.is_some()),
        ("val_acc", record.val_acc.is_some()),
        ("test_loss", record.test_loss.is_some()),
        ("test_acc", record.test_acc.is_some()),
    ];
    let diverged =
        [("reason", record.reason.is_some()), ("diverged_epoch", record.diverged_epoch.is_some())];
    let best = [
        ("best_val_acc", record.best_val_acc.is_some()),
        ("best_epoch", record.best_epoch.is_some()),
    ];
    let is_ok = *outcome == Outcome::Ok;
    for (column, there) in ended {
        presence(*outcome, column, there, is_ok)?;
    }
    for (column, there) in diverged {
        presence(*outcome, column, there, !is_ok)?;
    }
    if is_ok {
        presence(*outcome, "diverged_step", record.diverged_step.is_some(), false)?;
        counts("epochs_done", Some(done), 1, last, "`epochs` of the job")?;
    }
    for (column, there) in best {
        if there != (done > 0) {
            let is = if there { "has a value" } else { "is empty" };
            return Err(format!("the column `{column}` {is}, but `epochs_done` is {done}"));
        }
    }
    Ok(())
}

/// Why no epoch is like that.
pub(super) fn epoch(row: &EpochRow) -> Result<(), String> {
    counts("epoch", Some(row.epoch.into()), 1, u64::MAX, "")?;
    for (column, accuracy) in [("train_acc", row.train_acc), ("val_acc", row.val_acc)] {
        fraction(column, Some(accuracy))?;
    }
    for (column, number) in [
        ("lr", row.lr),
        ("train_loss", row.train_loss),
        ("val_loss", row.val_loss),
        ("seconds", row.seconds),
    ] {
        not_negative(column, Some(number))?;
    }
    Ok(())
}

fn presence(outcome: Outcome, column: &str, there: bool, wanted: bool) -> Result<(), String> {
    if there == wanted {
        return Ok(());
    }
    let is = if there { "has a value" } else { "is empty" };
    Err(format!("the column `{column}` {is}, but the outcome is {}", outcome.name()))
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

// A cell that is empty where nothing was measured is read as NaN; the text "nan" is refused before.

fn fraction(column: &str, x: Option<f64>) -> Result<(), String> {
    match x {
        Some(x) if !(0.0..=1.0).contains(&x) && !x.is_nan() => {
            Err(format!("{x} in the column `{column}` is no fraction from 0 to 1"))
        }
        _ => Ok(()),
    }
}

fn not_negative(column: &str, x: Option<f64>) -> Result<(), String> {
    match x {
        Some(x) if x < 0.0 => Err(format!("{x} in the column `{column}` is negative")),
        _ => Ok(()),
    }
}
