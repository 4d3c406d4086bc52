//! Replaces whole files atomically. Files that grow by rows are in `results/appender.rs`.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tempfile::NamedTempFile;

/// A failed operation on a file or a folder.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}{}", .path.display(), hint(.source))]
#[allow(missing_docs)]
pub struct FileError {
    pub action: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

impl FileError {
    /// Whether the disk was full; the same command can be repeated once there is room.
    pub fn is_full_disk(&self) -> bool {
        is_full(&self.source)
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// What to do about an I/O error, if known.
fn hint(error: &io::Error) -> &'static str {
    use io::ErrorKind::*;
    match error.kind() {
        _ if is_full(error) => "; make room and run the same command again",
        PermissionDenied | ReadOnlyFilesystem => {
            "; make the folder writable, or choose another with --results"
        }
        _ => "",
    }
}

/// Suffix of a file that is being written; its name begins with a dot.
const PARTIAL: &str = ".wninit-partial";

/// Deletes the temporary files that killed processes left in a folder. A process that still writes to
/// one holds its lock.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        let partial = name.starts_with(b".") && name.ends_with(PARTIAL.as_bytes());
        if !partial || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let file = OpenOptions::new().read(true).write(true).open(entry.path());
        if file.as_ref().is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A temporary file, which will replace the file of that name in the folder.
fn partial(folder: &Path, name: &str) -> io::Result<NamedTempFile> {
    static SWEPT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let mut swept = SWEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if swept.insert(folder.to_owned()) {
        sweep(folder);
    }
    drop(swept);
    let (prefix, mode) = (format!(".{name}."), fs::Permissions::from_mode(0o666));
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(PARTIAL).permissions(mode); // less the umask
    loop {
        let file = builder.tempfile_in(folder)?;
        // Another process may have deleted it before it was locked.
        let swept = matches!(file.as_file().try_lock(), Err(TryLockError::WouldBlock));
        if !swept && file.as_file().metadata()?.nlink() > 0 {
            return Ok(file);
        }
    }
}

/// Replaces a file atomically: a reader, or a crash, finds the old one or the new one. Links are
/// followed. A pipe or a device is written to directly.
///
/// # Errors
/// The file could not be written; the old one, if any, is still there.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let special = fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir());
    let written = match special {
        true => OpenOptions::new().write(true).open(path).and_then(|mut to| to.write_all(bytes)),
        false => end_of_links(path).and_then(|path| replace(&path, bytes)),
    };
    written.map_err(|source| FileError { action: "write", path: path.to_owned(), source })
}

/// The path that a link leads to in the end, whether or not there is a file.
fn end_of_links(path: &Path) -> io::Result<PathBuf> {
    const MOST: usize = 40; // as many as Linux follows
    let mut path = path.to_owned();
    for _ in 0..MOST {
        let Ok(target) = fs::read_link(&path) else {
            return Ok(path);
        };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    Err(io::Error::other("too many links lead to each other"))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = partial(folder, &name)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(folder)?.sync_all()
}
