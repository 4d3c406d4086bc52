//! Appends rows to a CSV file, and leaves it otherwise unchanged even if another program writes to
//! it.
//!
//! Bytes are only added after those that this process read or wrote, and only bytes of its own
//! failed writes are removed. Any other difference from the expected content is
//! [`ResultsError::Changed`], and the file stays as it is.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::ResultsError;
use super::csv_file::{self, CsvFile};

/// Bytes at the end of the file that are compared before each write, besides the first line.
/// Comparing all of it would take longer than training.
const TAIL: usize = 4096;

/// A CSV file that rows are added to.
pub(super) struct Appender {
    path: PathBuf,
    file: File,
    /// Length of the file up to the last row that counts.
    good: u64,
    /// Bytes after `good` that do not count so far: a group that is not committed, or a last row
    /// cut short by a crash.
    pending: Vec<u8>,
    head: Vec<u8>,
    /// The last bytes of the committed rows, at most [`TAIL`].
    tail: Vec<u8>,
    header: Vec<String>,
    /// For each of the file's columns, which of ours it is.
    order: Vec<Option<usize>>,
}

/// Whether a file is the one at a path; false if the path does not exist.
pub(super) fn is_at(file: &Metadata, path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (file.dev(), file.ino())),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Syncs a file's folder, which makes the names in it durable.
pub(super) fn sync_folder_of(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

impl Appender {
    /// Opens a file for adding rows with these columns; an empty one is created if there is none.
    /// `take` locks it before it is read. Also returns its rows, if its header is complete. Nothing
    /// is written before [`Appender::begin`].
    pub(crate) fn open(
        path: PathBuf,
        columns: &[&'static str],
        take: impl FnOnce(&File) -> Result<(), ResultsError>,
    ) -> Result<(Appender, Option<CsvFile>), ResultsError> {
        let error = |source| ResultsError::io("open", &path, source);
        let open = OpenOptions::new().read(true).append(true).create(true).open(&path);
        let mut file = open.map_err(error)?;
        let found = file.metadata().map_err(error)?;
        if !found.is_file() {
            return Err(error(io::Error::other("it is not a regular file")));
        }
        take(&file)?;
        if !is_at(&found, &path).map_err(error)? {
            return Err(ResultsError::Changed(path));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(error)?;
        let ours = csv_file::line(columns);
        let length = bytes.len();
        let (table, head, header, pending) = match CsvFile::parse(&path, bytes)? {
            Ok(table) => {
                table.demand(columns.iter().copied())?;
                let (head, header) = (table.first_line().to_vec(), table.header.clone());
                let pending = table.unfinished().to_vec();
                (Some(table), head, header, pending)
            }
            // A file without one complete line is ours only if it is a prefix of our header.
            Err(found) if ours.as_bytes().starts_with(&found) => {
                (None, found, columns.iter().map(|&name| name.to_owned()).collect(), Vec::new())
            }
            Err(_) => {
                let message = "the file has no header that ends in a newline";
                return Err(ResultsError::row(&path, 1, message));
            }
        };
        let good = length - pending.len();
        let mut tail = vec![0; good.min(TAIL)];
        let start = (good - tail.len()) as u64;
        file.read_exact_at(&mut tail, start).map_err(error)?;
        let order = header.iter().map(|name| columns.iter().position(|c| c == name)).collect();
        let appender =
            Appender { good: good as u64, path, file, pending, head, tail, header, order };
        Ok((appender, table))
    }

    /// Makes the file ready for rows: removes an incomplete last row, and completes the header.
    pub(crate) fn begin(&mut self) -> Result<(), ResultsError> {
        self.withdraw()?;
        if self.head.ends_with(b"\n") {
            return Ok(());
        }
        let ours = csv_file::line(&self.header);
        if let Err(error) = self.write(&ours[self.head.len()..]) {
            self.withdraw().ok();
            return Err(error);
        }
        self.commit();
        self.head = ours.into_bytes();
        sync_folder_of(&self.path).map_err(self.error("write"))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    pub(crate) fn header(&self) -> &[String] {
        &self.header
    }

    /// Text of a row, in the file's own order of columns.
    pub(crate) fn line(&self, cells: &[String]) -> String {
        csv_file::line(self.order.iter().map(|ours| ours.map_or("", |i| cells[i].as_str())))
    }

    fn error(&self, action: &'static str) -> impl Fn(io::Error) -> ResultsError {
        let path = self.path.clone();
        move |source| ResultsError::io(action, &path, source)
    }

    /// Whether the file has these bytes at this offset.
    fn holds(&self, mut at: u64, bytes: &[u8]) -> Result<bool, ResultsError> {
        let mut buffer = vec![0; bytes.len().min(1 << 20)];
        for part in bytes.chunks(1 << 20) {
            let buffer = &mut buffer[..part.len()];
            match self.file.read_exact_at(buffer, at) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                read => read.map_err(self.error("read"))?,
            }
            if buffer != part {
                return Ok(false);
            }
            at += part.len() as u64;
        }
        Ok(true)
    }

    /// Whether the open file, wherever it was moved, still has the committed rows.
    fn holds_its_rows(&self) -> Result<bool, ResultsError> {
        Ok(self.holds(0, &self.head)?
            && self.holds(self.good - self.tail.len() as u64, &self.tail)?)
    }

    /// Number of bytes after the committed rows.
    fn surplus(&self) -> Result<u64, ResultsError> {
        let file = self.file.metadata().map_err(self.error("examine"))?;
        if !is_at(&file, &self.path).map_err(self.error("examine"))? || !self.holds_its_rows()? {
            return Err(ResultsError::Changed(self.path.clone()));
        }
        file.len().checked_sub(self.good).ok_or_else(|| ResultsError::Changed(self.path.clone()))
    }

    /// Checks quickly that the file is as this process read or left it. Returns the number of
    /// pending bytes after the committed rows.
    ///
    /// # Errors
    /// It was changed, or cannot be read.
    pub(crate) fn check_unchanged(&self) -> Result<usize, ResultsError> {
        let surplus = self.surplus()?;
        let ours = usize::try_from(surplus).ok().and_then(|surplus| self.pending.get(..surplus));
        match ours {
            Some(ours) if self.holds(self.good, ours)? => Ok(ours.len()),
            _ => Err(ResultsError::Changed(self.path.clone())),
        }
    }

    /// Writes text at the end and syncs it. It counts only after [`Appender::commit`].
    pub(crate) fn write(&mut self, text: &str) -> Result<(), ResultsError> {
        if text.is_empty() {
            return Ok(());
        }
        self.withdraw()?;
        self.check_unchanged()?;
        self.pending = text.as_bytes().to_vec();
        let written = (&self.file).write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(self.error("write"))?;
        // Another process may have written meanwhile, or replaced the file.
        if self.check_unchanged()? < text.len() {
            return Err(ResultsError::Changed(self.path.clone()));
        }
        Ok(())
    }

    /// Commits the pending bytes.
    pub(crate) fn commit(&mut self) {
        self.good += self.pending.len() as u64;
        self.tail.append(&mut self.pending);
        self.tail.drain(..self.tail.len().saturating_sub(TAIL));
    }

    /// Removes the pending bytes, which may have been written wholly, partly or not at all. The
    /// file is cut only if nothing else follows the committed rows.
    pub(crate) fn withdraw(&mut self) -> Result<(), ResultsError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.check_unchanged()? > 0 {
            self.file.set_len(self.good).map_err(self.error("shorten"))?;
        }
        self.pending.clear();
        Ok(())
    }

    /// Bytes that another program appended since this process last checked the file.
    pub(crate) fn added(&self) -> io::Result<Vec<u8>> {
        let mut added = Vec::new();
        let mut file = &self.file;
        file.seek(io::SeekFrom::Start(self.good + self.pending.len() as u64))?;
        file.read_to_end(&mut added)?;
        Ok(added)
    }

    /// Whether the path now leads to another file, or to none.
    pub(crate) fn is_replaced(&self) -> bool {
        !self.file.metadata().and_then(|file| is_at(&file, &self.path)).unwrap_or(false)
    }

    /// The committed rows, read from the open file even if it was moved.
    pub(crate) fn rows(&self) -> io::Result<Vec<u8>> {
        let mut rows = Vec::new();
        if self.holds_its_rows().unwrap_or(false) {
            let mut file = &self.file;
            file.rewind()?;
            file.take(self.good).read_to_end(&mut rows)?;
            rows.drain(..self.head.len());
        }
        Ok(rows)
    }
}
