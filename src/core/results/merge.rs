//! The rows of a sweep's shards into the sweep's own files.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::path::Path;

use rayon::prelude::*;

use super::appender::Appender;
use super::aside::Files;
use super::columns::{epoch_columns, run_columns};
use super::csv_file::{self, CsvFile};
use super::journal::Journal;
use super::read::{self, Conflict};
use super::{Failure, JOB_ID, Record, ResultsError, folders};
use crate::job::JobId;

/// What a merge did.
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
    /// Jobs with several rows that do not agree; the first one counts.
    pub conflicts: Vec<Conflict>,
    /// What looked odd, for the user to read.
    pub warnings: Vec<String>,
}

/// Rows that are written as one group.
const GROUP: usize = 50_000;

/// Rows on their way into the sweep's own files.
#[derive(Default)]
struct Group {
    ids: Vec<JobId>,
    runs: String,
    epochs: String,
}

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

/// Copies what a sweep's shards finished, and what failed there, into the sweep's own files, and
/// so what a run finished but could not write. Rows are checked as by [`super::read_runs`], and
/// their text is copied as it stands. What was read stays as it is.
///
/// # Errors
/// Another process writes to the sweep's folder, or a file cannot be read or written, or has a row that fails validation.
/// Rows copied before the error stay; the same call continues from there.
pub fn merge(dir: &Path) -> Result<Merged, ResultsError> {
    let mut journal = Journal::open(dir)?;
    let mut merged = Merged { warnings: journal.warnings().to_vec(), ..Merged::default() };
    // The tables that were read, and where in them each job stands first.
    let mut tables: Vec<CsvFile> = Vec::new();
    let mut places: HashMap<JobId, (usize, usize)> = HashMap::new();
    let mut group = Group::default();
    merged.shards = folders(dir)?.len() - 1;
    let sources = sources(dir)?;
    merged.unwritten = sources.len() - 1 - merged.shards;
    for files in &sources {
        // Runs first: the epochs of every row in them are on disk already.
        let Some(table) = CsvFile::load(&files.runs)? else { continue };
        if let Some(torn) = &table.torn {
            merged.warnings.push(format!(
                "{}:{}: the last row is not whole and was left out; where its shard still runs, merge again later",
                table.path.display(),
                torn.line
            ));
        }
        let jobs = checked_runs(&table)?;
        let mut new = Vec::new();
        for (row, (id, epochs)) in jobs.into_iter().enumerate() {
            match places.entry(id) {
                Entry::Vacant(place) => {
                    place.insert((tables.len(), row));
                    if !journal.finished().contains(&id) {
                        new.push(New { row, id, epochs });
                    }
                }
                Entry::Occupied(place) => {
                    let &(other, first) = place.get();
                    let other = tables.get(other).unwrap_or(&table);
                    merged.conflicts.extend(conflict(id, (other, first), (&table, row))?);
                }
            }
        }
        if !new.is_empty() {
            let epochs = CsvFile::load(&files.epochs)?;
            let warning = copy(&table, epochs.as_ref(), &new, &journal, &mut group)?;
            merged.warnings.extend(warning.map(|w| format!("{}: {w}", files.epochs.display())));
            merged.jobs += new.len();
        }
        if group.ids.len() >= GROUP {
            write(&mut journal, &mut group)?;
        }
        tables.push(table);
    }
    write(&mut journal, &mut group)?;
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

fn write(journal: &mut Journal, group: &mut Group) -> Result<(), ResultsError> {
    let Group { ids, runs, epochs } = std::mem::take(group);
    journal.append_text(ids, &runs, &epochs)
}

/// Adds the curves of finished jobs that have none. A run whose `epochs.csv` was replaced has kept
/// those of jobs with a row, too.
fn add_curves(sources: &[Files], journal: &mut Journal) -> Result<(), ResultsError> {
    let mut standing = journal.standing();
    for files in sources {
        let Some(table) = CsvFile::load(&files.epochs)? else { continue };
        table.demand(epoch_columns())?;
        let mut text = String::new();
        let mut added: HashMap<JobId, usize> = HashMap::new();
        for i in 0..table.len() {
            let id = table.row(i)?.required(JOB_ID)?;
            if standing.get(&id) == Some(&0) {
                copy_row(&table, i, journal.epochs(), &mut text)?;
                *added.entry(id).or_default() += 1;
            }
        }
        journal.append_text([], "", &text)?;
        standing.extend(added);
    }
    Ok(())
}

/// The job of each row, all of which were found sound, and how many epochs it has.
fn checked_runs(table: &CsvFile) -> Result<Vec<(JobId, usize)>, ResultsError> {
    table.demand(run_columns())?;
    let fields = read::fields_in(table);
    let rows = (0..table.len()).into_par_iter();
    let job = |(id, record): (JobId, Record)| (id, record.epochs_done as usize);
    rows.map(|i| read::record(&table.row(i)?, &fields).map(job)).collect()
}

/// A row that is to be copied: its job, and how many epochs belong to it.
struct New {
    row: usize,
    id: JobId,
    epochs: usize,
}

/// What two rows of a job differ in.
fn conflict(
    id: JobId,
    first: (&CsvFile, usize),
    second: (&CsvFile, usize),
) -> Result<Option<Conflict>, ResultsError> {
    let record = |(table, row): (&CsvFile, usize)| -> Result<(Record, String), ResultsError> {
        let row = table.row(row)?;
        let (_, record) = read::record(&row, &read::fields_in(table))?;
        Ok((record, format!("{}:{}", table.path.display(), row.line)))
    };
    let ((a, first), (b, second)) = (record(first)?, record(second)?);
    let differences = read::differences(&a, &b);
    let conflict = || Conflict { id, first, second, differences: differences.clone() };
    Ok((!differences.is_empty()).then(conflict))
}

/// Adds some rows of a shard, and the curves of their jobs, to a group. Gives a warning if
/// epochs are missing.
fn copy(
    runs: &CsvFile,
    epochs: Option<&CsvFile>,
    new: &[New],
    journal: &Journal,
    group: &mut Group,
) -> Result<Option<String>, ResultsError> {
    let mut missing: HashMap<JobId, usize> = HashMap::new();
    for &New { row, id, epochs } in new {
        copy_row(runs, row, journal.runs(), &mut group.runs)?;
        group.ids.push(id);
        missing.insert(id, epochs);
    }
    if let Some(epochs) = epochs {
        epochs.demand(epoch_columns())?;
        let ids: Vec<JobId> = (0..epochs.len())
            .into_par_iter()
            .map(|i| {
                let row = epochs.row(i)?;
                read::epoch(&row)?;
                row.required(JOB_ID)
            })
            .collect::<Result<_, _>>()?;
        for (row, id) in ids.into_iter().enumerate() {
            if let Some(missing) = missing.get_mut(&id) {
                *missing = missing.saturating_sub(1);
                copy_row(epochs, row, journal.epochs(), &mut group.epochs)?;
            }
        }
    }
    let (jobs, rows) = missing
        .values()
        .filter(|rows| **rows > 0)
        .fold((0, 0), |(jobs, all), rows| (jobs + 1, all + rows));
    Ok((jobs > 0).then(|| {
        format!(
            "{rows} epochs of {jobs} jobs are missing; the jobs were merged, \
             but their curves are not whole"
        )
    }))
}

/// Adds a row to the text that goes into another file, with that file's columns.
fn copy_row(
    from: &CsvFile,
    row: usize,
    to: &Appender,
    text: &mut String,
) -> Result<(), ResultsError> {
    if from.header == to.header() {
        text.push_str(from.line(row)?);
        text.push('\n');
    } else {
        let row = from.row(row)?;
        text.push_str(&csv_file::line(to.header().iter().map(|name| row.cell(name))));
    }
    Ok(())
}
