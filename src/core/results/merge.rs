//! Copies the rows of a sweep's shards into the sweep's own files.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::aside::Files;
use super::csv_file::CsvFile;
use super::journal::Journal;
use super::read::{self, Conflict, Gathered, curves_in};
use super::{Failure, Record, ResultsError, folders};

/// The result of a merge.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    /// Folders of shards.
    pub shards: usize,
    /// Files of finished jobs that a run could not write.
    pub unwritten: usize,
    /// Jobs whose rows were copied.
    pub jobs: usize,
    /// Failed attempts whose rows were copied.
    pub failures: usize,
    /// Jobs with several rows that differ; the first one counts.
    pub conflicts: Vec<Conflict>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

/// Jobs whose rows are written as one group.
const GROUP: usize = 50_000;

/// The files that a merge reads: those of a sweep's folder and of its shards, each before what a
/// run could not write there.
fn sources(dir: &Path) -> Result<Vec<Files>, ResultsError> {
    let mut sources = Vec::new();
    for folder in folders(dir)? {
        sources.push(Files::of(&folder));
        sources.extend(Files::unwritten(&folder)?);
    }
    Ok(sources)
}

/// Whether there is anything that a merge would copy: shards, or rows that a run could not write.
///
/// # Errors
/// A folder cannot be listed.
pub fn is_mergeable(dir: &Path) -> Result<bool, ResultsError> {
    Ok(sources(dir)?.len() > 1)
}

/// Copies finished jobs and failures of a sweep's shards, and rows that a run could not write, into
/// the sweep's own files. Rows are checked as by [`super::read_runs`]. The sources stay unchanged.
///
/// # Errors
/// Another process writes to the sweep's folder, or a file cannot be read or written, or has a row that fails validation.
/// Rows copied before the error stay; the same call continues from there.
pub fn merge(dir: &Path) -> Result<Merged, ResultsError> {
    let mut journal = Journal::open(dir)?;
    let mut merged = Merged { warnings: journal.warnings().to_vec(), ..Merged::default() };
    merged.shards = folders(dir)?.len() - 1;
    let sources = sources(dir)?;
    merged.unwritten = sources.len() - 1 - merged.shards;
    let mut all = Gathered::default();
    let mut group: Vec<Record> = Vec::new();
    for files in &sources {
        // Runs first: the epochs of every row in them are on disk already.
        let Some(table) = CsvFile::load(&files.runs)? else { continue };
        if let Some(torn) = &table.torn {
            merged.warnings.push(format!(
                "{}:{}: the last row is incomplete and was left out; if its shard still runs, merge again later",
                table.path.display(),
                torn.line
            ));
        }
        let known = all.runs.records.len();
        all.add(&table)?;
        let is_new = |record: &&Record| !journal.finished().contains(&record.job.id());
        let mut new: Vec<Record> =
            all.runs.records[known..].iter().filter(is_new).cloned().collect();
        if new.is_empty() {
            continue;
        }
        let warning = add_epochs(&mut new, &files.epochs)?;
        merged.warnings.extend(warning.map(|w| format!("{}: {w}", files.epochs.display())));
        merged.jobs += new.len();
        group.append(&mut new);
        if group.len() >= GROUP {
            journal.append(&std::mem::take(&mut group))?;
        }
    }
    journal.append(&group)?;
    merged.conflicts = all.runs.conflicts;
    if merged.unwritten > 0 {
        add_curves(&sources[1..], &mut journal)?;
    }

    let key = |failure: &Failure| (failure.id, failure.attempt, failure.at);
    let mut known = HashSet::new();
    let mut failures: Vec<Failure> = Vec::new();
    for (number, files) in sources.iter().enumerate() {
        if let Some(table) = CsvFile::load(&files.failures)? {
            let new = read::failures_in(&table)?.into_iter().filter(|f| known.insert(key(f)));
            failures.extend(new.filter(|_| number > 0)); // the first source is the folder itself
        }
    }
    journal.append_failures(&failures)?;
    merged.failures = failures.len();
    Ok(merged)
}

/// Adds a file's epochs to their jobs. Returns a warning if some are missing.
fn add_epochs(jobs: &mut [Record], path: &Path) -> Result<Option<String>, ResultsError> {
    let table = CsvFile::load(path)?;
    let mut curves =
        table.map_or_else(|| Ok(HashMap::new()), |table| curves_in(&table, |_| true))?;
    let mut missing = Vec::new();
    for record in jobs {
        record.epochs = curves.remove(&record.job.id()).unwrap_or_default();
        missing.push((record.epochs_done as usize).saturating_sub(record.epochs.len()));
    }
    missing.retain(|rows| *rows > 0);
    let (jobs, rows) = (missing.len(), missing.iter().sum::<usize>());
    Ok((jobs > 0).then(|| {
        format!(
            "{rows} epochs of {jobs} jobs are missing; the jobs were merged, \
             but their curves are not whole"
        )
    }))
}

/// Adds the curves of finished jobs that have none. A run whose `epochs.csv` was replaced also set
/// aside curves of jobs with a row.
fn add_curves(sources: &[Files], journal: &mut Journal) -> Result<(), ResultsError> {
    let mut on_disk = journal.rows_on_disk();
    for files in sources {
        let Some(table) = CsvFile::load(&files.epochs)? else { continue };
        let curves = curves_in(&table, |id| on_disk.get(id) == Some(&0))?;
        journal.append_curves(&curves)?;
        on_disk.extend(curves.into_iter().map(|(id, rows)| (id, rows.len())));
    }
    Ok(())
}
