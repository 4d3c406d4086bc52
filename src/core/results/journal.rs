//! The one writer of a sweep's folder.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::table::{self, Table, write_atomically};
use super::{
    EPOCHS, FAILURES, Failure, JOB_ID, RUNS, Record, ResultsError, document_columns, epoch_cells,
    epoch_columns, failure_cells, failure_columns, hostname, read, run_cells, run_columns,
};
use crate::job::JobId;

const LOCK: &str = ".lock";

/// The process that writes to a sweep's folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// The machine on which it runs.
    pub host: String,
    /// Since when.
    pub since: DateTime<Utc>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.since.format("%Y-%m-%d %H:%M:%S UTC");
        write!(f, "process {} on {}, since {since}", self.pid, self.host)
    }
}

/// Who writes to a sweep's folder at this moment, if anyone does.
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
    // Between taking the lock and writing its name into it, the holder is unknown for an instant.
    holder.unwrap_or_else(|| Holder {
        pid: 0,
        host: "an unknown machine".into(),
        since: Utc::now(),
    })
}

/// Takes the folder for this process, until the file is dropped or the process ends, however it
/// ends.
fn lock(dir: &Path) -> Result<File, ResultsError> {
    let path = dir.join(LOCK);
    let error = |source| ResultsError::io("lock", &path, source);
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = open.map_err(error)?;
    let mut tries = 0;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            // A `status` may be looking: it holds the lock for microseconds.
            Err(TryLockError::WouldBlock) if tries < 5 => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(ResultsError::Held {
                    dir: dir.to_owned(),
                    holder: read_holder(&mut file),
                });
            }
            Err(TryLockError::Error(e)) => return Err(error(e)),
        }
    }
    let holder = Holder { pid: std::process::id(), host: hostname(), since: Utc::now() };
    let text = serde_json::to_string(&holder).unwrap_or_default();
    let written =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(text.as_bytes()));
    written.map_err(error)?;
    Ok(file)
}

/// A CSV file that rows are added to.
pub(super) struct Appender {
    path: PathBuf,
    file: File,
    /// Length of the file up to the last row that counts.
    good: u64,
    /// The file's columns, in its order.
    header: Vec<String>,
    /// For each of the file's columns, which of ours it is.
    order: Vec<Option<usize>>,
}

impl Appender {
    /// Opens a file for adding rows with these columns, and makes it if there is none. What a
    /// crash left of a last row goes.
    fn open(
        path: PathBuf,
        columns: &[&'static str],
        warnings: &mut Vec<String>,
    ) -> Result<Appender, ResultsError> {
        let header = table::line(columns);
        let table = match Table::load(&path)? {
            Some(table) => table,
            None => {
                // A file without one whole line is ours only if it is the beginning of our header.
                let found = fs::read(&path).unwrap_or_default();
                if !header.as_bytes().starts_with(&found) {
                    return Err(ResultsError::row(
                        &path,
                        1,
                        "the file has no header that ends in a newline",
                    ));
                }
                write_atomically(&path, header.as_bytes())?;
                Table::load(&path)?.ok_or_else(|| ResultsError::Changed(path.clone()))?
            }
        };
        table.demand(columns.iter().copied())?;
        let order =
            table.header.iter().map(|name| columns.iter().position(|c| c == name)).collect();
        let error = |source| ResultsError::io("open", &path, source);
        let file = OpenOptions::new().append(true).open(&path).map_err(error)?;
        if let Some(torn) = &table.torn {
            file.set_len(table.whole).and_then(|()| file.sync_all()).map_err(error)?;
            let text: String = torn.text.chars().take(200).collect();
            warnings.push(format!(
                "{}:{}: dropped a last row that was not written to its end: {text}",
                path.display(),
                torn.line
            ));
        }
        let new: Vec<&str> =
            columns.iter().copied().filter(|name| table.position(name).is_none()).collect();
        if !new.is_empty() {
            // Rows of before keep what they say: an empty cell of such a column means "as before".
            write_atomically(&path, &table.widened(&new)?)?;
            warnings.push(format!(
                "{}: added the columns {}, which the version that made it did not have",
                path.display(),
                new.join(", ")
            ));
            return Appender::open(path, columns, warnings);
        }
        Ok(Appender { good: table.whole, path, file, header: table.header, order })
    }

    /// The file's columns, in its order.
    pub(super) fn header(&self) -> &[String] {
        &self.header
    }

    /// Text of a row, in the file's own order of columns.
    fn line(&self, cells: &[String]) -> String {
        table::line(self.order.iter().map(|ours| ours.map_or("", |i| cells[i].as_str())))
    }

    /// Writes text at the end and waits until the disk has it. It counts only after
    /// [`Appender::commit`].
    fn write(&mut self, text: &str) -> Result<(), ResultsError> {
        if text.is_empty() {
            return Ok(());
        }
        let error = |source| ResultsError::io("write", &self.path, source);
        let file = self.file.metadata().map_err(error)?;
        if file.len() > self.good && self.rollback().is_err() {
            return Err(error(std::io::Error::other("what a failed write left cannot be cut off")));
        }
        let same = fs::metadata(&self.path)
            .is_ok_and(|path| (path.dev(), path.ino()) == (file.dev(), file.ino()));
        if !same || file.len() < self.good {
            return Err(ResultsError::Changed(self.path.clone()));
        }
        self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data()).map_err(error)
    }

    fn commit(&mut self, text: &str) {
        self.good += text.len() as u64;
    }

    fn rollback(&self) -> std::io::Result<()> {
        self.file.set_len(self.good)
    }
}

/// The CSV files of a sweep's folder, open for adding rows. One process at a time has them.
///
/// A job is finished when its row in `runs.csv` is on the disk; the rows of `epochs.csv` get
/// there first, so a finished job has its whole curve, and after a crash the curve of a job
/// without a row is dropped.
pub struct Journal {
    dir: PathBuf,
    _lock: File,
    runs: Appender,
    epochs: Appender,
    failures: Appender,
    finished: HashSet<JobId>,
    attempts: HashMap<JobId, u32>,
    warnings: Vec<String>,
}

impl Journal {
    /// Opens a folder, which is made if there is none, and mends what a crash left: a torn last
    /// row, and epochs of jobs that are not finished.
    ///
    /// # Errors
    /// Another process has the folder; a file lacks a column, or has a row in its middle that
    /// cannot be read; the disk refuses. Files are then as they were.
    pub fn open(dir: &Path) -> Result<Journal, ResultsError> {
        fs::create_dir_all(dir).map_err(|source| ResultsError::io("make", dir, source))?;
        let lock = lock(dir)?;
        // Read everything before anything is mended: an error must leave the files alone.
        let runs = read::load_runs(&dir.join(RUNS))?;
        let mut warnings = runs.warnings;
        warnings.extend(runs.conflicts.iter().map(ToString::to_string));
        let finished: HashSet<JobId> =
            runs.records.par_iter().map(|record| record.job.id()).collect();
        let mut attempts = HashMap::new();
        for failure in read::load_failures(&dir.join(FAILURES))? {
            let last = attempts.entry(failure.id).or_insert(0);
            *last = failure.attempt.max(*last);
        }
        let mut open =
            |name, columns: Vec<_>| Appender::open(dir.join(name), &columns, &mut warnings);
        let runs = open(RUNS, run_columns().collect())?;
        let failures = open(FAILURES, failure_columns().collect())?;
        // After runs.csv was found sound: a file that is none would make every epoch an orphan.
        drop_orphaned_epochs(&dir.join(EPOCHS), &finished, &mut warnings)?;
        let epochs =
            Appender::open(dir.join(EPOCHS), &epoch_columns().collect::<Vec<_>>(), &mut warnings)?;
        document_columns(dir, &[])?;
        Ok(Journal {
            dir: dir.to_owned(),
            _lock: lock,
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

    /// What was mended or looked odd when the folder was opened, for the user to read.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The jobs that have a row in `runs.csv`.
    pub fn finished(&self) -> &HashSet<JobId> {
        &self.finished
    }

    /// The failed attempts that stand in the folder itself, its shards left aside.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn failures(&self) -> Result<Vec<Failure>, ResultsError> {
        read::load_failures(&self.failures.path)
    }

    /// How often the job has failed, in this run and before.
    pub fn attempts(&self, id: JobId) -> u32 {
        self.attempts.get(&id).copied().unwrap_or(0)
    }

    /// Writes finished jobs, as one group: all of them are on the disk afterwards, or, after an
    /// error, none. A job that is already finished is left out.
    ///
    /// # Errors
    /// The disk refuses (it may be full), or another program changed a file. The same records
    /// can be passed again.
    pub fn append(&mut self, records: &[Record]) -> Result<(), ResultsError> {
        let mut new = HashSet::new();
        let identified: Vec<(JobId, &Record)> =
            records.par_iter().map(|record| (record.job.id(), record)).collect();
        let fresh: Vec<(JobId, &Record)> = identified
            .into_iter()
            .filter(|(id, _)| !self.finished.contains(id) && new.insert(*id))
            .collect();
        let runs: String =
            fresh.par_iter().map(|(_, record)| self.runs.line(&run_cells(record))).collect();
        let curve = |(id, record): &(JobId, &Record)| -> String {
            record.epochs.iter().map(|row| self.epochs.line(&epoch_cells(*id, row))).collect()
        };
        let epochs: String = fresh.par_iter().map(curve).collect();
        self.append_text(new, &runs, &epochs)
    }

    /// Writes the rows of jobs that are not finished so far, and their epochs, as one group.
    pub(super) fn append_text(
        &mut self,
        ids: impl IntoIterator<Item = JobId>,
        runs: &str,
        epochs: &str,
    ) -> Result<(), ResultsError> {
        match self.epochs.write(epochs).and_then(|()| self.runs.write(runs)) {
            Ok(()) => {
                self.epochs.commit(epochs);
                self.runs.commit(runs);
                self.finished.extend(ids);
                Ok(())
            }
            Err(error) => {
                // Runs first: a row without its curve must not outlive a crash between the two.
                // What cannot be cut off now is cut off before the next write, or on the next start.
                self.runs.rollback().and_then(|()| self.epochs.rollback()).ok();
                Err(error)
            }
        }
    }

    /// The file of finished jobs.
    pub(super) fn runs(&self) -> &Appender {
        &self.runs
    }

    /// The file of curves.
    pub(super) fn epochs(&self) -> &Appender {
        &self.epochs
    }

    /// Writes failed attempts, all or none.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn append_failures(&mut self, failures: &[Failure]) -> Result<(), ResultsError> {
        let text: String =
            failures.iter().map(|failure| self.failures.line(&failure_cells(failure))).collect();
        if let Err(error) = self.failures.write(&text) {
            self.failures.rollback().ok();
            return Err(error);
        }
        self.failures.commit(&text);
        for failure in failures {
            let last = self.attempts.entry(failure.id).or_insert(0);
            *last = failure.attempt.max(*last);
        }
        Ok(())
    }
}

/// Takes the epochs of jobs that are not finished out of `epochs.csv`.
fn drop_orphaned_epochs(
    path: &Path,
    finished: &HashSet<JobId>,
    warnings: &mut Vec<String>,
) -> Result<(), ResultsError> {
    let Some(table) = Table::load(path)? else {
        return Ok(());
    };
    table.demand(epoch_columns())?;
    let keep = table
        .rows()
        .map(|row| row.and_then(|row| Ok(finished.contains(&row.required(JOB_ID)?))))
        .collect::<Result<Vec<bool>, _>>()?;
    let orphans = keep.iter().filter(|keep| !**keep).count();
    if orphans > 0 {
        write_atomically(path, &table.filtered(&keep))?;
        warnings.push(format!(
            "{}: dropped {orphans} epochs of jobs that have no row in {RUNS}; they are trained again",
            path.display()
        ));
    }
    Ok(())
}
