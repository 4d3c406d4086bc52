//! The result of a run: counts, failures and exit code.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::execution::NO_THREAD;
use crate::fmt::duration;
use crate::results::{Failure, ResultsError, failure_lines};
use crate::run::interrupt::EXIT_INTERRUPTED;
use crate::text::paths;

/// The exit code of a run that leaves jobs of its plan unfinished.
pub const EXIT_UNFINISHED: u8 = 3;

/// Why a run ended.
#[derive(Debug)]
pub enum RunEnd {
    /// Every job was tried.
    Complete,
    /// By Ctrl-C or a signal.
    Interrupted,
    /// The deadline passed with jobs left to start.
    Deadline,
    /// Every worker was stopped after repeated failures.
    NoWorker,
    /// No worker thread could be started.
    NoThread(std::io::Error),
    /// The results could not be written.
    Journal(ResultsError),
}

/// The result of a run.
#[derive(Debug)]
pub struct RunSummary {
    /// The folder of the results.
    pub dir: PathBuf,
    /// Jobs of the plan that earlier runs finished.
    pub finished_before: usize,
    /// Jobs that this run finished, diverged ones included.
    pub finished: usize,
    /// Those that diverged.
    pub diverged: usize,
    /// The last failure of each failed job.
    pub failed: Vec<Failure>,
    /// The error of the first failure, with all its causes.
    pub first_error: Option<String>,
    /// Jobs neither finished nor failed: interrupted, or not started.
    pub left: usize,
    /// Finished jobs that are not on disk.
    pub unwritten: usize,
    /// Those that were on disk until another program changed the files.
    pub lost: usize,
    /// Where results that could not be written are kept; `None` if there are none.
    pub kept: Option<Result<Vec<PathBuf>, ResultsError>>,
    /// Why it ended.
    pub ending: RunEnd,
    /// Its duration.
    pub elapsed: Duration,
}

impl RunSummary {
    /// 0 if every job of the plan is finished, 130 after an interrupt, otherwise 3.
    pub fn exit_code(&self) -> u8 {
        match self.ending {
            _ if self.failed.is_empty() && self.left == 0 && self.unwritten == 0 => 0,
            RunEnd::Interrupted => EXIT_INTERRUPTED,
            _ => EXIT_UNFINISHED,
        }
    }

    /// Combines this run with a later one that continued it with more jobs.
    pub(crate) fn and_then(self, later: RunSummary) -> RunSummary {
        RunSummary {
            finished_before: self.finished_before,
            finished: self.finished + later.finished,
            diverged: self.diverged + later.diverged,
            elapsed: self.elapsed + later.elapsed,
            ..later
        }
    }
}

impl fmt::Display for RunSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = duration(self.elapsed.as_secs_f64());
        write!(f, "finished {} jobs in {took}", self.finished)?;
        if self.diverged > 0 {
            write!(f, ", {} of them diverged", self.diverged)?;
        }
        if self.finished_before > 0 {
            write!(f, "; {} were finished before", self.finished_before)?;
        }
        if !self.failed.is_empty() {
            write!(f, "\n{} jobs failed:", self.failed.len())?;
            for line in failure_lines(&self.failed) {
                write!(f, "\n  {line}")?;
            }
        }
        if let Some(error) = &self.first_error {
            write!(f, "\nthe first error was:\n  {}", error.trim_end().replace('\n', "\n  "))?;
        }
        let again = "run the same command again";
        match &self.ending {
            RunEnd::Complete if self.failed.is_empty() && self.left == 0 => Ok(()),
            RunEnd::Complete => write!(f, "\nto try them again, {again}"),
            RunEnd::Interrupted => {
                write!(f, "\ninterrupted with {} jobs left; to continue, {again}", self.left)
            }
            RunEnd::Deadline => {
                write!(f, "\nthe time is up with {} jobs left; to continue, {again}", self.left)
            }
            RunEnd::NoWorker => write!(
                f,
                "\nevery worker failed repeatedly, so {} jobs were not started; fix the cause, then {again}",
                self.left
            ),
            RunEnd::NoThread(error) => write!(
                f,
                "\nno worker thread could be started ({error}), so {} jobs were not started; {NO_THREAD}, then {again}",
                self.left
            ),
            RunEnd::Journal(error) => {
                write!(f, "\nstopped, because the results could not be written: {error}")?;
                self.write_unwritten(f)
            }
        }
    }
}

impl RunSummary {
    fn write_unwritten(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unwritten {
            0 => {
                let left = self.left;
                write!(f, "\nevery finished job is on disk after all; {left} are left")?;
            }
            n => write!(f, "\n{n} finished jobs are not on disk")?,
        }
        if self.lost > 0 {
            write!(f, "; {} of them were, until the files were changed", self.lost)?;
        }
        let dir = self.dir.display();
        match &self.kept {
            Some(Err(error)) => write!(
                f,
                "\nwhat could not be written could not be kept elsewhere either ({error}), and is trained again"
            ),
            Some(Ok(files)) if !files.is_empty() => {
                write!(f, "\nwhat could not be written is kept in {};\n", paths(files))?;
                if files.iter().any(|file| file.parent() != Some(&self.dir)) {
                    write!(f, "move that to {dir}; ")?;
                }
                write!(
                    f,
                    "once the files of {dir} are in order, `wninit merge {dir}` adds it, \
                     and without that it is trained again"
                )
            }
            _ if self.unwritten > 0 => {
                write!(f, "\nthey are trained again when the same command runs again")
            }
            _ => Ok(()),
        }
    }
}
