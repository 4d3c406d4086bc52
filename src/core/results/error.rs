//! Why a sweep's folder cannot be read or written.

use std::path::{Path, PathBuf};

use super::Holder;
use crate::atomic::FileError;

/// Why a sweep's folder cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // of fields
pub enum ResultsError {
    /// Another process writes to the folder.
    #[error("{} is in use by {holder}; wait for it, stop it, or choose another folder with --results", .dir.display())]
    Held { dir: PathBuf, holder: Holder },
    /// A file lacks columns.
    #[error("{} lacks the column `{missing}`: it was edited by hand, or written by another version. \
             Put the column back (its cells may be empty only where columns.json says so), or move the \
             file away to begin a new one; nothing was changed", .file.display())]
    Columns { file: PathBuf, missing: String },
    /// A row fails validation.
    #[error("{}:{line}: {message}; correct the line, or delete it (its job is then trained again)", .file.display())]
    Row { file: PathBuf, line: usize, message: String },
    /// Another program changed a file that this process writes.
    #[error("{} was changed by another program while the sweep was running; \
             see that it holds every row that it should, and run the sweep again", .0.display())]
    Changed(PathBuf),
    /// This process lost the lock of the folder that it writes to.
    #[error("{} was removed or replaced by another program while the sweep was running, so that a second \
             process could have begun to write to the folder; make sure that none does, and run the sweep again", .0.display())]
    Unlocked(PathBuf),
    /// The folder's seeds were added until its claims were decided, but the grid fixes their
    /// number.
    #[error("the seeds in {} were added until its claims were decided, so verdicts that take their number as fixed \
             would be wrong too often; add --until-decided, take the folder's own grid.toml, or give the grid \
             another name", .0.display())]
    Sequential(PathBuf),
    /// A user's file is not the one that the folder was planned with.
    #[error("{}: the content of {file} was {before} when this folder was planned, and is {now} now; put the old \
             file back, or give the grid another name", .dir.display())]
    DataChanged { dir: PathBuf, file: String, before: String, now: String },
    /// An I/O error.
    #[error(transparent)]
    File(#[from] FileError),
}

impl ResultsError {
    pub(super) fn io(action: &'static str, path: &Path, source: std::io::Error) -> ResultsError {
        FileError { action, path: path.to_owned(), source }.into()
    }

    /// Whether the disk was full; the same command can be repeated once there is room.
    pub fn is_full_disk(&self) -> bool {
        matches!(self, ResultsError::File(error) if error.is_full_disk())
    }

    /// Whether another program changed the folder, so that this process must stop writing to it.
    pub fn is_change(&self) -> bool {
        matches!(self, ResultsError::Changed(_) | ResultsError::Unlocked(_))
    }

    pub(super) fn row(file: &Path, line: usize, message: impl Into<String>) -> ResultsError {
        ResultsError::Row { file: file.to_owned(), line, message: message.into() }
    }
}
