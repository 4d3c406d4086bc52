//! `wninit merge DIR`: the shards of a sweep as one.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::results::{Journal, Record, folders, read_epochs, read_failures, read_runs};

/// Copy what the shards of a sweep finished into the sweep's own runs.csv, epochs.csv and
/// failures.csv.
///
/// The shards stay as they are; a merge can be repeated, also while shards are still running. A job
/// that has different results in two places is reported, and nothing is overwritten.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The sweep's folder, such as results/depth
    pub dir: PathBuf,
}

/// Rows that are written as one group.
const GROUP: usize = 10_000;

/// Merges; the exit code is 1 if there are conflicts.
///
/// # Errors
/// The folder has no shards, another process writes to it, or a file cannot be read or written.
pub fn run(args: &Args) -> Result<u8> {
    let dir = &args.dir;
    let shards = folders(dir)?.len() - 1;
    if shards == 0 {
        bail!(
            "{} has no shards: there is no folder {}/<i>-of-<n>",
            dir.display(),
            dir.join("shards").display()
        );
    }
    let mut journal = Journal::open(dir)?;
    let runs = read_runs(dir)?;
    for warning in journal.warnings().iter().chain(&runs.warnings) {
        eprintln!("warning: {warning}");
    }
    let new: Vec<Record> = runs
        .records
        .into_iter()
        .filter(|record| !journal.finished().contains(&record.job.id()))
        .collect();
    let mut epochs = if new.is_empty() { Default::default() } else { read_epochs(dir)? };
    let merged = new.len();
    let mut new = new.into_iter().peekable();
    while new.peek().is_some() {
        let mut group: Vec<Record> = new.by_ref().take(GROUP).collect();
        for record in &mut group {
            record.epochs = epochs.remove(&record.job.id()).unwrap_or_default();
        }
        journal.append(&group)?;
    }
    let mut known: HashSet<_> =
        journal.failures()?.iter().map(|f| (f.id, f.attempt, f.at)).collect();
    let failures: Vec<_> =
        read_failures(dir)?.into_iter().filter(|f| known.insert((f.id, f.attempt, f.at))).collect();
    journal.append_failures(&failures)?;

    println!(
        "{}: {merged} finished jobs and {} failed attempts from {shards} shards",
        dir.display(),
        failures.len()
    );
    for conflict in &runs.conflicts {
        eprintln!("{conflict}");
    }
    Ok(u8::from(!runs.conflicts.is_empty()))
}
