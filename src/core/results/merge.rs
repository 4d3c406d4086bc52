//! The rows of a sweep's shards into the sweep's own files.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use rayon::prelude::*;

use super::journal::{Appender, Journal};
use super::read::{self, Conflict};
use super::table::{self, Table};
use super::{
    EPOCHS, Failure, JOB_ID, RUNS, Record, ResultsError, epoch_columns, folders, read_failures,
    run_columns,
};
use crate::job::JobId;

/// What a merge did.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    /// Folders of shards.
    pub shards: usize,
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

/// Copies what a sweep's shards finished, and what failed there, into the sweep's own files. Rows
/// are checked as by [`super::read_runs`], and their text is copied as it stands. The shards stay
/// as they are.
///
/// # Errors
/// Another process writes to the sweep's folder, or a file cannot be read, believed or written.
/// What was copied before stays; the same call goes on from there.
pub fn merge(dir: &Path) -> Result<Merged, ResultsError> {
    let mut journal = Journal::open(dir)?;
    let mut merged = Merged { warnings: journal.warnings().to_vec(), ..Merged::default() };
    // The tables that were read, and where in them each job stands first.
    let mut tables: Vec<Table> = Vec::new();
    let mut places: HashMap<JobId, (usize, usize)> = HashMap::new();
    let mut group = Group::default();
    for (number, folder) in folders(dir)?.iter().enumerate() {
        merged.shards = number;
        // Runs first: whatever they hold at this moment, its epochs are there already.
        let Some(table) = Table::load(&folder.join(RUNS))? else { continue };
        let ids = checked_runs(&table)?;
        let mut new = Vec::new();
        for (row, id) in ids.into_iter().enumerate() {
            match places.entry(id) {
                Entry::Vacant(place) => {
                    place.insert((tables.len(), row));
                    if !journal.finished().contains(&id) {
                        new.push((row, id));
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
            let epochs = Table::load(&folder.join(EPOCHS))?;
            copy(&table, epochs.as_ref(), &new, &journal, &mut group)?;
            merged.jobs += new.len();
        }
        if group.ids.len() >= GROUP {
            write(&mut journal, &mut group)?;
        }
        tables.push(table);
    }
    write(&mut journal, &mut group)?;

    let key = |failure: &Failure| (failure.id, failure.attempt, failure.at);
    let mut known: std::collections::HashSet<_> = journal.failures()?.iter().map(key).collect();
    let failures: Vec<Failure> =
        read_failures(dir)?.into_iter().filter(|failure| known.insert(key(failure))).collect();
    journal.append_failures(&failures)?;
    merged.failures = failures.len();
    Ok(merged)
}

fn write(journal: &mut Journal, group: &mut Group) -> Result<(), ResultsError> {
    let Group { ids, runs, epochs } = std::mem::take(group);
    journal.append_text(ids, &runs, &epochs)
}

/// The job of each row, all of which were found sound.
fn checked_runs(table: &Table) -> Result<Vec<JobId>, ResultsError> {
    table.demand(run_columns())?;
    let fields = read::fields_in(table);
    let rows = (0..table.len()).into_par_iter();
    rows.map(|i| read::checked(&table.row(i)?, &fields)).collect()
}

/// What two rows of a job differ in.
fn conflict(
    id: JobId,
    first: (&Table, usize),
    second: (&Table, usize),
) -> Result<Option<Conflict>, ResultsError> {
    let record = |(table, row): (&Table, usize)| -> Result<(Record, String), ResultsError> {
        let row = table.row(row)?;
        let (_, record) = read::record(&row, &read::fields_in(table))?;
        Ok((record, format!("{}:{}", table.path.display(), row.line)))
    };
    let ((a, first), (b, second)) = (record(first)?, record(second)?);
    let differences = read::differences(&a, &b);
    let conflict = || Conflict { id, first, second, differences: differences.clone() };
    Ok((!differences.is_empty()).then(conflict))
}

/// Adds some rows of a shard, and the curves of their jobs, to a group.
fn copy(
    runs: &Table,
    epochs: Option<&Table>,
    new: &[(usize, JobId)],
    journal: &Journal,
    group: &mut Group,
) -> Result<(), ResultsError> {
    for &(row, id) in new {
        copy_row(runs, row, journal.runs(), &mut group.runs)?;
        group.ids.push(id);
    }
    let Some(epochs) = epochs else { return Ok(()) };
    epochs.demand(epoch_columns())?;
    let taken: std::collections::HashSet<JobId> = new.iter().map(|&(_, id)| id).collect();
    let ids: Vec<JobId> = (0..epochs.len())
        .into_par_iter()
        .map(|i| {
            let row = epochs.row(i)?;
            read::epoch(&row)?;
            row.required(JOB_ID)
        })
        .collect::<Result<_, _>>()?;
    for (row, _) in ids.iter().enumerate().filter(|(_, id)| taken.contains(id)) {
        copy_row(epochs, row, journal.epochs(), &mut group.epochs)?;
    }
    Ok(())
}

/// Adds a row to the text that goes into another file, with that file's columns.
fn copy_row(
    from: &Table,
    row: usize,
    to: &Appender,
    text: &mut String,
) -> Result<(), ResultsError> {
    if from.header == to.header() {
        text.push_str(from.line(row)?);
        text.push('\n');
    } else {
        let row = from.row(row)?;
        text.push_str(&table::line(to.header().iter().map(|name| row.cell(name))));
    }
    Ok(())
}
