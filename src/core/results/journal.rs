//! The only writer of a sweep's folder. [`Journal::append`] makes rows durable: it writes
//! `epochs.csv`, then `runs.csv`, and syncs each.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::appender::{Appender, is_at};
use super::aside::{self, DROPPED, Files, UNWRITTEN};
use super::columns::{
    document_columns, epoch_cells, epoch_columns, failure_cells, failure_columns, run_cells,
    run_columns,
};
use super::csv_file::CsvFile;
use super::read::{self, Gathered};
use super::{EPOCHS, EpochRow, FAILURES, Failure, JOB_ID, RUNS, Record, ResultsError, hostname};
use crate::atomic::write_atomically;
use crate::job::JobId;
use crate::text::paths;

const LOCK: &str = ".lock";

/// The process that writes to a sweep's folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id; 0 if that is not known.
    pub pid: u32,
    /// The machine on which it runs.
    pub host: String,
    /// When it locked the folder.
    pub since: DateTime<Utc>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pid == 0 {
            return f.write_str("another process");
        }
        let since = self.since.format("%Y-%m-%d %H:%M:%S UTC");
        write!(f, "process {} on {}, since {since}", self.pid, self.host)
    }
}

/// The process that writes to a sweep's folder now, if there is one.
///
/// # Errors
/// The lock file cannot be read.
pub fn holder(dir: &Path) -> Result<Option<Holder>, ResultsError> {
    let path = dir.join(LOCK);
    let error = |source| ResultsError::io("read", &path, source);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(error(e)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None), // dropping the file gives the lock back
        Err(TryLockError::WouldBlock) => Ok(Some(read_holder(&mut file))),
        Err(TryLockError::Error(e)) => Err(error(e)),
    }
}

fn read_holder(file: &mut File) -> Holder {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
    let holder = read.ok().and_then(|_| serde_json::from_str(&text).ok());
    // The holder is unknown between locking the file and writing to it.
    holder.unwrap_or_else(unknown)
}

fn unknown() -> Holder {
    Holder { pid: 0, host: "an unknown machine".into(), since: Utc::now() }
}

/// Locks a file, waiting for another process that holds it; false after `patience`.
fn acquire(file: &File, patience: Duration) -> std::io::Result<bool> {
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if start.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Locks the folder. The lock is released when the file is dropped or the process exits, even by a
/// crash.
fn lock(dir: &Path) -> Result<File, ResultsError> {
    let path = dir.join(LOCK);
    let error = |source| ResultsError::io("lock", &path, source);
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = open.map_err(error)?;
    // `status` takes this lock for microseconds, so retry briefly.
    if !acquire(&file, Duration::from_millis(100)).map_err(error)? {
        return Err(ResultsError::Held { dir: dir.to_owned(), holder: read_holder(&mut file) });
    }
    let holder = Holder { pid: std::process::id(), host: hostname(), since: Utc::now() };
    let text = serde_json::to_string(&holder).unwrap_or_default();
    let written =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(text.as_bytes()));
    written.map_err(error)?;
    Ok(file)
}

/// How long to wait for a previous holder whose lock file was removed; it notices within a second
/// and stops after its current steps.
const PATIENCE: Duration = Duration::from_secs(20);

/// The CSV files of a sweep's folder, open for adding rows. Only one process can open them: it
/// locks `.lock`, and the CSV files as well, in case `.lock` is removed.
///
/// A job is finished when its row in `runs.csv` is on disk. Its rows of `epochs.csv` are written
/// first, so a finished job has its whole curve; after a crash the curve of a job without a row is
/// dropped.
///
/// Other programs may write to the files at any time. Their bytes are never removed or overwritten;
/// see `Appender`.
pub struct Journal {
    dir: PathBuf,
    lock: File,
    runs: Appender,
    epochs: Appender,
    failures: Appender,
    finished: HashSet<JobId>,
    attempts: HashMap<JobId, u32>,
    warnings: Vec<String>,
}

impl Journal {
    /// Opens a folder, which is created if needed, and repairs it after a crash: removes an
    /// incomplete last row and epochs of jobs that are not finished. Removed rows are set aside.
    ///
    /// # Errors
    /// Another process has the folder; a file lacks a column, or has an unreadable row that is not
    /// the last; a write fails. Files are then unchanged, or new and empty.
    pub fn open(dir: &Path) -> Result<Journal, ResultsError> {
        fs::create_dir_all(dir).map_err(|source| ResultsError::io("make", dir, source))?;
        let lock = lock(dir)?;
        let open = |name, columns: Vec<&'static str>| open(dir, name, &columns);
        // Read everything before anything is repaired: an error must leave the files alone.
        let mut warnings = Vec::new();
        let mut torn = Vec::new();
        let (mut runs, table) = open(RUNS, run_columns().collect())?;
        let mut finished = HashSet::new();
        let mut without_curve = HashSet::new();
        if let Some(table) = table {
            let mut found = Gathered::default();
            found.add(&table)?;
            let Gathered { runs: found, places } = found;
            warnings.extend(found.warnings);
            warnings.extend(found.conflicts.iter().map(ToString::to_string));
            let trained = places.iter().filter(|(_, (i, ..))| found.records[*i].epochs_done > 0);
            without_curve.extend(trained.map(|(id, _)| *id));
            finished.extend(places.into_keys());
            torn.extend(torn_row(RUNS, &table));
        }
        let (mut failures, table) = open(FAILURES, failure_columns().collect())?;
        let mut attempts = HashMap::new();
        if let Some(table) = table {
            for failure in read::failures_in(&table)? {
                let last = attempts.entry(failure.id).or_insert(0);
                *last = failure.attempt.max(*last);
            }
            torn.extend(torn_row(FAILURES, &table));
        }
        let (mut epochs, curves) = open(EPOCHS, epoch_columns().collect())?;
        let mut orphans = Vec::new();
        if let Some(table) = &curves {
            for id in table.ids()? {
                without_curve.remove(&id);
                orphans.push(!finished.contains(&id));
            }
            torn.extend(torn_row(EPOCHS, table));
        }
        if !without_curve.is_empty() {
            warnings.push(format!(
                "{}: {} finished jobs have no rows in {EPOCHS}",
                epochs.path().display(),
                without_curve.len()
            ));
        }

        for (file, row, message) in torn {
            let kept = aside::keep(dir, DROPPED, &[(file, row)])?;
            warnings.push(format!("{message}; it is kept in {}", paths(&kept)));
        }
        for appender in [&mut runs, &mut failures, &mut epochs] {
            appender.begin()?;
        }
        runs = widen(dir, runs, run_columns().collect(), &mut warnings)?;
        if let Some(table) = curves.filter(|_| orphans.contains(&true)) {
            warnings.push(drop_orphans(dir, &epochs, &table, &orphans)?);
            (epochs, _) = open(EPOCHS, epoch_columns().collect())?;
        }
        document_columns(dir, &[])?;
        Ok(Journal {
            dir: dir.to_owned(),
            lock,
            runs,
            epochs,
            failures,
            finished,
            attempts,
            warnings,
        })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Warnings for the user about repairs when the folder was opened.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The jobs that have a row in `runs.csv`.
    pub fn finished(&self) -> &HashSet<JobId> {
        &self.finished
    }

    /// Warns of results that an earlier run set aside and that are not in `runs.csv`.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn left_aside(&self) -> Result<Vec<String>, ResultsError> {
        let mut warnings = Vec::new();
        for files in Files::unwritten(&self.dir)? {
            let Ok(Some(table)) = CsvFile::load(&files.runs) else { continue };
            let ids = table.rows().filter_map(|row| row.ok()?.required(JOB_ID).ok());
            let new = ids.filter(|id| !self.finished.contains(id)).count();
            if new > 0 {
                warnings.push(format!(
                    "{} holds {new} finished jobs that an earlier run could not write; \
                     `wninit merge {}` adds them; otherwise they are trained again",
                    files.runs.display(),
                    self.dir.display()
                ));
            }
        }
        Ok(warnings)
    }

    /// Number of failed attempts at the job, in this run and before.
    pub fn attempts(&self, id: JobId) -> u32 {
        self.attempts.get(&id).copied().unwrap_or(0)
    }

    /// Writes finished jobs, as one group: all of them are on disk afterwards, or none after an
    /// error. A job that is already finished is left out.
    ///
    /// # Errors
    /// A write fails (the disk may be full), or another program changed a file. The same records
    /// can be passed again.
    pub fn append(&mut self, records: &[Record]) -> Result<(), ResultsError> {
        let (ids, runs, epochs) = self.text(records);
        self.append_text(ids, &runs, &epochs)
    }

    /// Writes the epochs of jobs that are finished, as one group.
    pub(super) fn append_curves(
        &mut self,
        curves: &HashMap<JobId, Vec<EpochRow>>,
    ) -> Result<(), ResultsError> {
        let curves: BTreeMap<_, _> = curves.iter().collect(); // the same order each time
        let epochs: String = curves.iter().map(|(id, rows)| self.curve(**id, rows)).collect();
        self.append_text(HashSet::new(), "", &epochs)
    }

    fn curve(&self, id: JobId, rows: &[EpochRow]) -> String {
        rows.iter().map(|row| self.epochs.line(&epoch_cells(id, row))).collect()
    }

    /// The ids and the lines of the jobs that are not finished so far, without duplicates.
    fn text(&self, records: &[Record]) -> (HashSet<JobId>, String, String) {
        let mut new = HashSet::new();
        let identified: Vec<(JobId, &Record)> =
            records.par_iter().map(|record| (record.job.id(), record)).collect();
        let fresh: Vec<(JobId, &Record)> = identified
            .into_iter()
            .filter(|(id, _)| !self.finished.contains(id) && new.insert(*id))
            .collect();
        let runs: String =
            fresh.par_iter().map(|(id, record)| self.runs.line(&run_cells(*id, record))).collect();
        let epochs: String =
            fresh.par_iter().map(|(id, record)| self.curve(*id, &record.epochs)).collect();
        (new, runs, epochs)
    }

    /// Writes the rows of jobs that are not finished so far, and their epochs, as one group.
    fn append_text(
        &mut self,
        ids: HashSet<JobId>,
        runs: &str,
        epochs: &str,
    ) -> Result<(), ResultsError> {
        self.check_lock()?;
        match self.epochs.write(epochs).and_then(|()| self.runs.write(runs)) {
            Ok(()) => {
                self.epochs.commit();
                self.runs.commit();
                self.finished.extend(ids);
                Ok(())
            }
            Err(error) => {
                // Runs first: a row without its curve must not outlive a crash between the two. If
                // this fails, it is repeated before the next write, or on the next start.
                let mut withdraw = || {
                    self.check_lock()?;
                    self.runs.withdraw()?;
                    self.epochs.withdraw()
                };
                let _: Result<(), ResultsError> = withdraw();
                Err(error)
            }
        }
    }

    /// Checks that this process still has the folder's lock.
    ///
    /// # Errors
    /// The lock was removed or replaced, or cannot be examined.
    pub(crate) fn check_lock(&self) -> Result<(), ResultsError> {
        let path = self.dir.join(LOCK);
        let ours = self.lock.metadata().and_then(|lock| is_at(&lock, &path));
        let ours = ours.map_err(|source| ResultsError::io("examine", &path, source))?;
        // Locking it again has no effect.
        if ours && self.lock.try_lock().is_ok() {
            Ok(())
        } else {
            Err(ResultsError::Unlocked(path))
        }
    }

    /// Checks quickly that the files are as this process left them.
    ///
    /// # Errors
    /// One of them was changed, or cannot be read.
    pub(crate) fn check_unchanged(&self) -> Result<(), ResultsError> {
        let files = [&self.runs, &self.epochs, &self.failures];
        files.into_iter().try_for_each(|file| file.check_unchanged().map(drop))
    }

    /// The jobs that have a row in `runs.csv` now, whichever process wrote it, and how
    /// many epochs of each are in `epochs.csv`. A file that cannot be read has no rows.
    pub(crate) fn rows_on_disk(&self) -> HashMap<JobId, usize> {
        let ids = |path: &Path| -> Vec<JobId> {
            let Ok(Some(table)) = CsvFile::load(path) else { return Vec::new() };
            table.rows().filter_map(|row| row.ok()?.required(JOB_ID).ok()).collect()
        };
        let mut on_disk: HashMap<JobId, usize> =
            ids(self.runs.path()).into_iter().map(|id| (id, 0)).collect();
        for id in ids(self.epochs.path()) {
            on_disk.entry(id).and_modify(|epochs| *epochs += 1);
        }
        on_disk
    }

    /// Sets rows that cannot be written aside, in files that [`super::merge`] reads, and returns
    /// their paths. If a file was moved or deleted, all rows are set aside, because a curve without
    /// its row in `runs.csv` would be dropped.
    ///
    /// # Errors
    /// Neither the results folder nor the temporary folder is writable.
    pub fn keep_aside(
        &self,
        records: &[Record],
        failures: &[Failure],
    ) -> Result<Vec<PathBuf>, ResultsError> {
        let (_, runs, epochs) = self.text(records);
        let failures = self.failure_text(failures);
        let files = [
            (RUNS, &self.runs, runs),
            (EPOCHS, &self.epochs, epochs),
            (FAILURES, &self.failures, failures),
        ];
        let replaced = files.iter().any(|(_, file, _)| file.is_replaced());
        let mut kept = Vec::new();
        for (name, file, new) in files {
            let mut rows = if replaced { file.rows().unwrap_or_default() } else { Vec::new() };
            rows.extend(new.into_bytes());
            if !rows.is_empty() {
                kept.push((name, [file.head(), &rows].concat()));
            }
        }
        aside::keep(&self.dir, UNWRITTEN, &kept)
    }

    /// Writes failed attempts, all or none.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn append_failures(&mut self, failures: &[Failure]) -> Result<(), ResultsError> {
        self.check_lock()?;
        let text = self.failure_text(failures);
        if let Err(error) = self.failures.write(&text) {
            let withdrawn = self.check_lock().and_then(|()| self.failures.withdraw());
            withdrawn.ok(); // else before the next write, or on the next start
            return Err(error);
        }
        self.failures.commit();
        for failure in failures {
            let last = self.attempts.entry(failure.id).or_insert(0);
            *last = failure.attempt.max(*last);
        }
        Ok(())
    }

    fn failure_text(&self, failures: &[Failure]) -> String {
        failures.iter().map(|failure| self.failures.line(&failure_cells(failure))).collect()
    }
}

/// Opens one of a folder's files for this process, and reads it.
fn open(
    dir: &Path,
    name: &str,
    columns: &[&'static str],
) -> Result<(Appender, Option<CsvFile>), ResultsError> {
    let path = dir.join(name);
    Appender::open(path.clone(), columns, |file| {
        let locked = acquire(file, PATIENCE);
        if locked.map_err(|source| ResultsError::io("lock", &path, source))? {
            return Ok(());
        }
        Err(ResultsError::Held { dir: dir.to_owned(), holder: unknown() })
    })
}

/// Replaces a file if it is unchanged. Returns bytes that another program appended to the old file
/// meanwhile.
fn replace(file: &Appender, bytes: &[u8]) -> Result<Vec<u8>, ResultsError> {
    file.check_unchanged()?;
    write_atomically(file.path(), bytes)?;
    file.added().map_err(|source| ResultsError::io("read", file.path(), source))
}

/// Adds the columns that the version which made the file did not have; their cells are empty, which
/// means "as before".
fn widen(
    dir: &Path,
    file: Appender,
    columns: Vec<&'static str>,
    warnings: &mut Vec<String>,
) -> Result<Appender, ResultsError> {
    let old = file.header();
    let new: Vec<&str> =
        columns.iter().copied().filter(|column| !old.iter().any(|name| name == column)).collect();
    if new.is_empty() {
        return Ok(file);
    }
    let path = file.path().to_owned();
    let table = CsvFile::load(&path)?.ok_or_else(|| ResultsError::Changed(path.clone()))?;
    let late = replace(&file, &table.widened(&new)?)?;
    if !late.is_empty() {
        let kept = aside::keep(dir, DROPPED, &[(RUNS, [file.head(), &late].concat())])?;
        warnings.push(format!("{}: changed meanwhile; see {}", path.display(), paths(&kept)));
    }
    warnings.push(format!(
        "{}: added the columns {}, which the version that made it did not have",
        path.display(),
        new.join(", ")
    ));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    open(dir, &name, &columns).map(|(file, _)| file)
}

/// An incomplete last row, with its header, and a warning.
fn torn_row(file: &'static str, table: &CsvFile) -> Option<(&'static str, Vec<u8>, String)> {
    let torn = table.torn.as_ref()?;
    let text: String = torn.text.chars().take(200).collect();
    let message =
        format!("{}:{}: dropped an incomplete last row: {text}", table.path.display(), torn.line);
    Some((file, [table.first_line(), table.unfinished()].concat(), message))
}

/// Removes the epochs of jobs that are not finished from `epochs.csv`, by replacing the file.
/// Returns a warning.
fn drop_orphans(
    dir: &Path,
    epochs: &Appender,
    table: &CsvFile,
    orphans: &[bool],
) -> Result<String, ResultsError> {
    let rest: Vec<bool> = orphans.iter().map(|orphan| !orphan).collect();
    let kept = aside::keep(dir, DROPPED, &[(EPOCHS, table.filtered(orphans))])?;
    let late = replace(epochs, &table.filtered(&rest))?;
    let added = OpenOptions::new().append(true).open(&kept[0]);
    let added = added.and_then(|mut kept| kept.write_all(&late));
    added.map_err(|source| ResultsError::io("write", &kept[0], source))?;
    Ok(format!(
        "{}: dropped {} epochs of jobs that have no row in {RUNS}; they are trained again, \
         and what was dropped is kept in {}",
        epochs.path().display(),
        orphans.iter().filter(|orphan| **orphan).count(),
        paths(&kept)
    ))
}
