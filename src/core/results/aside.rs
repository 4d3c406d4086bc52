//! Rows that cannot be in a sweep's files, kept in files beside them, such as
//! `runs.unwritten-4711.csv`.
//!
//! `unwritten` are those of finished jobs, and of failures, that could not be added to the files
//! of a sweep; `wninit merge` adds them. `dropped` are lines that were taken out.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::appender::sync_folder_of;
use super::{EPOCHS, FAILURES, RUNS, ResultsError};

pub(super) const UNWRITTEN: &str = "unwritten";
/// Lines that were taken out of a file.
pub(super) const DROPPED: &str = "dropped";

/// Files with rows that belong together: the paths of `runs.csv`, `epochs.csv` and
/// `failures.csv`, or of rows set aside from them. Any of them may be missing.
pub(super) struct Files {
    pub runs: PathBuf,
    pub epochs: PathBuf,
    pub failures: PathBuf,
}

impl Files {
    pub(crate) fn of(dir: &Path) -> Files {
        Files { runs: dir.join(RUNS), epochs: dir.join(EPOCHS), failures: dir.join(FAILURES) }
    }

    /// The files of rows that could not be written to a folder's own.
    pub(crate) fn unwritten(dir: &Path) -> Result<Vec<Files>, ResultsError> {
        let error = |source| ResultsError::io("list", dir, source);
        let entries = match fs::read_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(error)?,
        };
        let mut marks = BTreeSet::new();
        for entry in entries {
            let name = entry.map_err(error)?.file_name();
            let mark = name.to_str().and_then(|name| {
                let (stem, rest) = name.split_once(&format!(".{UNWRITTEN}-"))?;
                let own = [RUNS, EPOCHS, FAILURES].iter().any(|&own| stem_of(own) == stem);
                rest.strip_suffix(".csv").filter(|_| own).map(str::to_owned)
            });
            marks.extend(mark);
        }
        let file = |name, mark: &str| path(dir, name, UNWRITTEN, mark);
        let files = |mark: &String| Files {
            runs: file(RUNS, mark),
            epochs: file(EPOCHS, mark),
            failures: file(FAILURES, mark),
        };
        Ok(marks.iter().map(files).collect())
    }
}

fn stem_of(name: &str) -> &str {
    name.trim_end_matches(".csv")
}

fn path(dir: &Path, name: &str, what: &str, mark: &str) -> PathBuf {
    dir.join(format!("{}.{what}-{mark}.csv", stem_of(name)))
}

/// Writes each text to a file beside the named one, all under the same mark, and returns the paths.
/// If the folder is not writable (it may be gone, or full), they go to a new temporary folder.
///
/// # Errors
/// Neither place is writable; the error is that of the folder.
pub(super) fn keep(
    dir: &Path,
    what: &str,
    texts: &[(&str, Vec<u8>)],
) -> Result<Vec<PathBuf>, ResultsError> {
    write(dir, what, texts).or_else(|error| {
        let elsewhere = tempfile::Builder::new().prefix("wninit-").tempdir();
        let kept = elsewhere.ok().and_then(|other| {
            let paths = write(other.path(), what, texts).ok()?;
            let _ = other.keep();
            Some(paths)
        });
        kept.ok_or(error)
    })
}

fn write(dir: &Path, what: &str, texts: &[(&str, Vec<u8>)]) -> Result<Vec<PathBuf>, ResultsError> {
    let pid = std::process::id();
    let mut mark = pid.to_string();
    for n in 2_u32.. {
        let paths: Vec<PathBuf> =
            texts.iter().map(|(name, _)| path(dir, name, what, &mark)).collect();
        if !paths.iter().any(|path| path.exists()) {
            for (i, (path, (_, text))) in paths.iter().zip(texts).enumerate() {
                if let Err(source) = write_new(path, text) {
                    paths[..i].iter().for_each(|path| drop(fs::remove_file(path)));
                    return Err(ResultsError::io("write", path, source));
                }
            }
            return Ok(paths);
        }
        mark = format!("{pid}-{n}"); // an earlier process had this id, or it is not the first time
    }
    Ok(Vec::new())
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let written =
        file.write_all(text).and_then(|()| file.sync_all()).and_then(|()| sync_folder_of(path));
    written.inspect_err(|_| drop(fs::remove_file(path)))
}
