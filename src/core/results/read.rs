//! Reading a sweep's folder, shards included, at any time and without a lock.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::columns::{
    INIT_RULE, RESULT_COLUMNS, epoch_columns, failure_columns, plan_columns, run_columns,
};
use super::csv_file::{CsvFile, Row};
use super::{
    EPOCHS, EpochRow, FAILURES, Failure, INSTRUCTION_SET, JOB_ID, Outcome, PLAN, PROCESSOR,
    Provenance, RUNS, Record, ResultsError, TEST_LARGEST_CLASS, validate,
};
use crate::job::{Draft, FIELDS, Field, Init, Job, JobId, Value};

/// Two rows of one job with different results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The job.
    pub id: JobId,
    /// File and line of the row that counts.
    pub first: String,
    /// File and line of the other one.
    pub second: String,
    /// Columns that differ, with the two cells.
    pub differences: Vec<(&'static str, String, String)>,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "conflict: job {} has different results in {} and {}:",
            self.id, self.first, self.second
        )?;
        for (name, first, second) in &self.differences {
            write!(f, " {name} {first:?} and {second:?};")?;
        }
        write!(f, " the first one counts; delete the row that is wrong")
    }
}

/// The finished jobs of a sweep.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    /// In the order of the files: `runs.csv`, then the shards'. Their `epochs` are empty:
    /// [`read_epochs`] has them.
    pub records: Vec<Record>,
    /// The ids of their jobs.
    pub ids: Vec<JobId>,
    /// Jobs with several rows that differ; the first row is among the records.
    pub conflicts: Vec<Conflict>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

/// The columns of `runs.csv` in which two results of one job differ, timing and provenance
/// aside, with the two cells.
pub fn differences(a: &Record, b: &Record) -> Vec<(&'static str, String, String)> {
    RESULT_COLUMNS
        .iter()
        .take_while(|column| column.name != "train_seconds")
        .map(|column| (column.name, (column.value)(a).csv(), (column.value)(b).csv()))
        .filter(|(_, a, b)| a != b)
        .collect()
}

/// Whether two records of the same job are equal in every column of `runs.csv`, timing and
/// provenance aside. Curves are not compared.
pub fn equal_results(a: &Record, b: &Record) -> bool {
    a.job == b.job && differences(a, b).is_empty()
}

/// A sweep's folder and those of its shards, `shards/<i>-of-<n>/`, in the order of their names.
///
/// # Errors
/// A folder cannot be listed.
pub fn folders(dir: &Path) -> Result<Vec<PathBuf>, ResultsError> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let shards = dir.join("shards");
    let error = |source| ResultsError::io("list", &shards, source);
    let entries = match fs::read_dir(&shards) {
        Err(e) if matches!(e.kind(), NotFound | NotADirectory) => return Ok(vec![dir.to_owned()]),
        entries => entries.map_err(error)?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.map_err(error)?;
        if shard(&entry.file_name().to_string_lossy()).is_some() && entry.path().is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort_by_cached_key(|path| {
        path.file_name().and_then(|name| shard(&name.to_string_lossy()))
    });
    folders.insert(0, dir.to_owned());
    Ok(folders)
}

/// `n` and `i` of a folder that is named `<i>-of-<n>`.
fn shard(name: &str) -> Option<(u32, u32)> {
    let (i, n) = name.split_once("-of-")?;
    Some((n.parse().ok()?, i.parse().ok()?))
}

/// The finished jobs of a sweep and of its shards.
///
/// # Errors
/// A file lacks a column or has a row that fails validation: it is incomplete, a cell is invalid,
/// or its fields do not match `job_id`.
pub fn read_runs(dir: &Path) -> Result<Runs, ResultsError> {
    let mut all = Gathered::default();
    for folder in folders(dir)? {
        if let Some(table) = CsvFile::load(&folder.join(RUNS))? {
            all.add(&table)?;
        }
    }
    Ok(all.runs)
}

/// The runs of one file after the other.
#[derive(Default)]
pub(super) struct Gathered {
    pub runs: Runs,
    /// The index of each job among the records, and the file and line of its first row.
    pub places: HashMap<JobId, (usize, Arc<Path>, usize)>,
}

impl Gathered {
    pub(crate) fn add(&mut self, table: &CsvFile) -> Result<(), ResultsError> {
        table.demand(run_columns())?;
        let fields = fields_in(table);
        let read = |i| {
            let row = table.row(i)?;
            let (id, record) = record(&row, &fields)?;
            Ok((row.line, id, record))
        };
        let rows: Vec<Result<_, ResultsError>> =
            (0..table.len()).into_par_iter().map(read).collect();
        let file: Arc<Path> = table.path.as_path().into();
        let Gathered { runs, places } = self;
        runs.records.reserve(rows.len());
        for row in rows {
            let (line, id, record) = row?;
            match places.entry(id) {
                Entry::Vacant(place) => {
                    place.insert((runs.records.len(), Arc::clone(&file), line));
                    runs.records.push(record);
                    runs.ids.push(id);
                }
                Entry::Occupied(place) => {
                    let (known, first_file, first_line) = place.get();
                    let first = format!("{}:{first_line}", first_file.display());
                    let second = format!("{}:{line}", file.display());
                    let differences = differences(&runs.records[*known], &record);
                    if !differences.is_empty() {
                        runs.conflicts.push(Conflict { id, first, second, differences });
                    } else if *first_file == file {
                        // A merge leaves the same row in two files; within one file it was copied by hand.
                        runs.warnings.push(format!(
                            "{second}: job {id} is also in {first}, with the same results"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

/// A record from its row; `fields` are the positions of [`FIELDS`] in it.
fn record(row: &Row<'_>, fields: &[Option<usize>]) -> Result<(JobId, Record), ResultsError> {
    let written = |text: String| Some(text).filter(|text| !text.is_empty());
    let (id, job) = identified(row, fields, &HashMap::new())?;
    let outcome = row.cell("outcome").parse().map_err(|message: String| row.error(message))?;
    let record = Record {
        job,
        outcome,
        reason: written(row.text("reason")),
        epochs_done: row.required("epochs_done")?,
        diverged_epoch: row.optional("diverged_epoch")?,
        diverged_step: row.optional("diverged_step")?,
        train_loss: row.finite("train_loss")?,
        train_acc: row.finite("train_acc")?,
        val_loss: row.finite("val_loss")?,
        val_acc: row.finite("val_acc")?,
        best_val_acc: row.finite("best_val_acc")?,
        best_epoch: row.optional("best_epoch")?,
        test_loss: row.finite("test_loss")?,
        test_acc: row.finite("test_acc")?,
        train_seconds: row.finite("train_seconds")?.unwrap_or(f64::NAN),
        images_per_second: row.finite("images_per_second")?,
        test_largest_class: row.finite(TEST_LARGEST_CLASS)?,
        provenance: Provenance {
            device: row.text("device"),
            cohort_size: row.required("cohort_size")?,
            instruction_set: written(row.text(INSTRUCTION_SET)),
            processor: written(row.text(PROCESSOR)),
            libtorch: row.text("libtorch"),
            git_sha: row.text("git_sha"),
            hostname: row.text("hostname"),
            started_at: row.required("started_at")?,
            finished_at: row.required("finished_at")?,
        },
        epochs: Vec::new(),
    };
    validate::record(&record).map_err(|message| row.error(message))?;
    Ok((id, record))
}

/// The job of a row, which its `job_id` must name. A known job is copied rather than read.
pub(super) fn identified(
    row: &Row<'_>,
    fields: &[Option<usize>],
    known: &HashMap<JobId, &Job>,
) -> Result<(JobId, Job), ResultsError> {
    let id: JobId = row.required(JOB_ID)?;
    // Fast path: if the cells are as this program wrote them, their hash is the id.
    let rule = row.cell(INIT_RULE);
    let as_hashed = written(row, fields).map(|(field, cell)| match field.name {
        "init" if !rule.is_empty() => (field, rule),
        _ => (field, cell),
    });
    let is_as_written = JobId::of(as_hashed) == id;
    let job = match known.get(&id) {
        Some(&job) if is_as_written => job.clone(),
        _ => job(row, fields)?,
    };
    if !is_as_written && job.id() != id {
        return Err(row.error(format!(
            "the fields are those of job {}, but job_id is {id}: a cell was edited by hand",
            job.id()
        )));
    }
    Ok((id, job))
}

/// The fields that have a value in a row.
fn written<'a>(
    row: &'a Row<'_>,
    fields: &'a [Option<usize>],
) -> impl Iterator<Item = (&'static Field, &'a str)> {
    let cells = FIELDS.iter().zip(fields);
    cells
        .filter_map(|(field, place)| Some((field, row.at((*place)?))))
        .filter(|(_, c)| !c.is_empty())
}

/// The job that a row's fields describe.
fn job(row: &Row<'_>, fields: &[Option<usize>]) -> Result<Job, ResultsError> {
    let mut draft = Draft::default();
    let rule = row.cell(INIT_RULE);
    for (field, cell) in written(row, fields) {
        let value = match field.name {
            "init" if !rule.is_empty() => rule
                .parse()
                .and_then(|rule| Init::own(cell, rule))
                .map(Value::Init)
                .map_err(|message| row.error(format!("{INIT_RULE}: {message}")))?,
            _ => Value::Text(cell.to_owned()),
        };
        let set = field.set(&mut draft, &value);
        set.map_err(|message| row.error(format!("{}: {message}", field.name)))?;
    }
    draft.resolve().map_err(|error| row.error(error.to_string()))
}

/// A value for each row of a file of a sweep and of its shards.
fn each<T: Send>(
    dir: &Path,
    file: &str,
    columns: &[&str],
    value: impl Fn(&Row<'_>) -> Result<T, ResultsError> + Sync,
) -> Result<Vec<T>, ResultsError> {
    let mut values = Vec::new();
    for folder in folders(dir)? {
        if let Some(table) = CsvFile::load(&folder.join(file))? {
            table.demand(columns.iter().copied())?;
            let rows = (0..table.len()).into_par_iter().map(|i| value(&table.row(i)?));
            values.extend(rows.collect::<Result<Vec<T>, _>>()?);
        }
    }
    Ok(values)
}

/// The ids of the finished jobs of a sweep and of its shards. Only `job_id` is read, so this is
/// much faster than [`read_runs`]; a row counts only if it is complete.
///
/// # Errors
/// As [`read_runs`], as far as it reads.
pub fn finished_ids(dir: &Path) -> Result<HashSet<JobId>, ResultsError> {
    Ok(each(dir, RUNS, &[JOB_ID], |row| row.required(JOB_ID))?.into_iter().collect())
}

/// The outcome of each finished job; the rest of its row is not read.
///
/// # Errors
/// As [`read_runs`], as far as it reads.
pub fn read_outcomes(dir: &Path) -> Result<HashMap<JobId, Outcome>, ResultsError> {
    let outcomes = each(dir, RUNS, &[JOB_ID, "outcome"], |row| {
        Ok((row.required(JOB_ID)?, row.required("outcome")?))
    })?;
    // The first row counts, as in `read_runs`.
    Ok(outcomes.into_iter().rev().collect())
}

/// The jobs of a sweep's `plan.csv`, in its order; `None` if there is no such file.
///
/// # Errors
/// The file cannot be read, or has no `job_id`.
pub fn planned_ids(dir: &Path) -> Result<Option<Vec<JobId>>, ResultsError> {
    let Some(table) = CsvFile::load(&dir.join(PLAN))? else {
        return Ok(None);
    };
    table.ids().map(Some)
}

/// The jobs of a sweep's `plan.csv`, as [`planned_ids`], with all of their fields. Those of `runs` are
/// not read a second time.
///
/// # Errors
/// As [`read_runs`].
pub fn planned_jobs(dir: &Path, runs: &Runs) -> Result<Option<Vec<(JobId, Job)>>, ResultsError> {
    let Some(table) = CsvFile::load(&dir.join(PLAN))? else {
        return Ok(None);
    };
    table.demand(plan_columns())?;
    let fields = fields_in(&table);
    let jobs = runs.records.iter().map(|record| &record.job);
    let known: HashMap<JobId, &Job> = runs.ids.iter().copied().zip(jobs).collect();
    let rows = (0..table.len()).into_par_iter();
    let jobs = rows.map(|i| identified(&table.row(i)?, &fields, &known));
    jobs.collect::<Result<_, _>>().map(Some)
}

/// The places of [`FIELDS`] in a table.
pub(super) fn fields_in(table: &CsvFile) -> Vec<Option<usize>> {
    FIELDS.iter().map(|field| table.position(field.name)).collect()
}

/// The failed attempts of a sweep and of its shards, in the order of the files.
///
/// # Errors
/// As [`read_runs`].
pub fn read_failures(dir: &Path) -> Result<Vec<Failure>, ResultsError> {
    each(dir, FAILURES, &failure_columns().collect::<Vec<_>>(), failure)
}

pub(super) fn failures_in(table: &CsvFile) -> Result<Vec<Failure>, ResultsError> {
    table.demand(failure_columns())?;
    table.rows().map(|row| failure(&row?)).collect()
}

fn failure(row: &Row<'_>) -> Result<Failure, ResultsError> {
    Ok(Failure {
        id: row.required(JOB_ID)?,
        attempt: row.required("attempt")?,
        reason: row.required("reason")?,
        message: row.text("message"),
        device: row.text("device"),
        hostname: row.text("hostname"),
        at: row.required("at")?,
    })
}

/// The curves of the jobs of a sweep and of its shards, each in the order of its epochs. A job in
/// several files, as after a merge, has the curve of the first. Unfinished jobs have none.
///
/// # Errors
/// As [`read_runs`].
pub fn read_epochs(dir: &Path) -> Result<HashMap<JobId, Vec<EpochRow>>, ResultsError> {
    let mut curves: HashMap<JobId, Vec<EpochRow>> = HashMap::new();
    for folder in folders(dir)? {
        // Runs first: the epochs of every row in them are on disk already.
        let Some(runs) = CsvFile::load(&folder.join(RUNS))? else {
            continue;
        };
        let finished: HashSet<JobId> = runs.ids()?.into_iter().collect();
        let Some(table) = CsvFile::load(&folder.join(EPOCHS))? else {
            continue;
        };
        let here = curves_in(&table, |id| finished.contains(id) && !curves.contains_key(id))?;
        curves.extend(here);
    }
    Ok(curves)
}

/// The curves of the wanted jobs in a file.
pub(super) fn curves_in(
    table: &CsvFile,
    wanted: impl Fn(&JobId) -> bool,
) -> Result<HashMap<JobId, Vec<EpochRow>>, ResultsError> {
    table.demand(epoch_columns())?;
    let mut curves: HashMap<JobId, Vec<EpochRow>> = HashMap::new();
    for row in table.rows() {
        let row = row?;
        let id = row.required(JOB_ID)?;
        if wanted(&id) {
            curves.entry(id).or_default().push(epoch(&row)?);
        }
    }
    Ok(curves)
}

fn epoch(row: &Row<'_>) -> Result<EpochRow, ResultsError> {
    let number = |column| row.finite(column).map(|x| x.unwrap_or(f64::NAN));
    let epoch = EpochRow {
        epoch: row.required("epoch")?,
        lr: number("lr")?,
        train_loss: number("train_loss")?,
        train_acc: number("train_acc")?,
        val_loss: number("val_loss")?,
        val_acc: number("val_acc")?,
        seconds: number("seconds")?,
    };
    validate::epoch(&epoch).map_err(|message| row.error(message))?;
    Ok(epoch)
}
