//! A data set's files: finding, reading and checking them.
//!
//! Whatever a file's headers claim, no more is read, decompressed or allocated than the caller
//! expects.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use md5::Md5;
use sha2::{Digest, Sha256};

use crate::job::DatasetName;
use crate::text::paths;

/// A data set in a data folder, which every error names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Place {
    pub dataset: DatasetName,
    pub dir: PathBuf,
}

impl Place {
    /// The command that fetches the data set to here.
    pub(crate) fn fetch_command(&self) -> String {
        let mut command = format!("wninit fetch {}", self.dataset);
        if self.dir != super::default_dir() {
            command.push_str(&format!(" --data {}", self.dir.display()));
        }
        command
    }

    fn error(&self, message: impl fmt::Display) -> DataError {
        DataError { message: format!("{}: {message}", self.dataset), is_missing: false }
    }

    /// `file` is in none of the folders `looked`.
    pub(crate) fn missing(&self, file: &str, looked: &[PathBuf]) -> DataError {
        let error = self.error(format_args!(
            "{file} is missing (looked in {}); run `{}`, or name the folder that holds it with \
             --data DIR or WNINIT_DATA",
            paths(looked),
            self.fetch_command()
        ));
        DataError { is_missing: true, ..error }
    }

    /// `file` does not hold what it should; `problem` completes a sentence that begins with it.
    pub(crate) fn corrupt(&self, file: impl AsRef<Path>, problem: impl fmt::Display) -> DataError {
        self.error(format_args!(
            "{}: {problem}; run `{}` to replace it, or name a folder with good files with \
             --data DIR or WNINIT_DATA",
            file.as_ref().display(),
            self.fetch_command()
        ))
    }

    /// The error for a problem with `file`.
    pub(crate) fn problem(&self, file: &Path, problem: Problem) -> DataError {
        match problem {
            Problem::Content(problem) => self.corrupt(file, problem),
            Problem::Io(source) => self.error(format_args!(
                "cannot read {}: {source}; make it readable, run `{}`, or name another folder with \
                 --data DIR or WNINIT_DATA",
                file.display(),
                self.fetch_command()
            )),
        }
    }

    /// A synthetic data set does not fit into memory.
    pub(super) fn too_large(&self) -> DataError {
        self.error("the images do not fit into memory; lower synthetic_images or synthetic_shape")
    }
}

/// Why a data set cannot be used. The message names the file and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct DataError {
    message: String,
    /// Whether a file does not exist.
    pub(crate) is_missing: bool,
}

impl DataError {
    /// A user's file cannot be used.
    pub(super) fn own(message: String) -> DataError {
        DataError { message, is_missing: false }
    }
}

/// What is wrong with one file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// It cannot be read.
    #[error("{0}")]
    Io(io::Error),
    /// It can be read, but its content is wrong.
    #[error("{0}")]
    Content(String),
}

impl From<String> for Problem {
    fn from(problem: String) -> Self {
        Problem::Content(problem)
    }
}

impl From<io::Error> for Problem {
    /// Errors of decompression are about the content, not about the disk.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Problem::Content("it is truncated".to_owned()),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                Problem::Content(format!("it is damaged ({error})"))
            }
            _ => Problem::Io(error),
        }
    }
}

/// A file of a data set, uncompressed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct FileSpec {
    pub name: String,
    pub bytes: u64,
    /// The SHA-256 of its content in lower-case hexadecimal, if known.
    pub sha256: Option<String>,
}

/// A gzipped tar archive that holds a data set in one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ArchiveSpec {
    pub name: String,
    /// The MD5 of the archive in lower-case hexadecimal.
    pub md5: String,
    /// Size limit of the archive, in bytes.
    pub max_bytes: u64,
    pub folder: String,
    /// The files wanted out of that folder.
    pub members: Vec<FileSpec>,
}

/// Bytes that an archive may hold besides the wanted members: texts and tar's padding.
const ARCHIVE_SLACK: u64 = 16 << 20;

/// The first of the folders that holds `name` or `name.gz`, as the path of that file.
pub(crate) fn find(folders: &[PathBuf], name: &str) -> Option<PathBuf> {
    folders
        .iter()
        .flat_map(|folder| [folder.join(name), folder.join(format!("{name}.gz"))])
        .find(|path| path.is_file())
}

/// Reads a file, gzipped or not (its first bytes tell, not its name), and checks the length and
/// the checksum of the uncompressed content.
///
/// # Errors
/// [`Problem`]. A file that would grow beyond the expected length is not read any further.
pub(crate) fn read(path: &Path, spec: &FileSpec) -> Result<Vec<u8>, Problem> {
    let mut file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err("it is not a file".to_owned().into());
    }
    let mut magic = Vec::new();
    file.by_ref().take(2).read_to_end(&mut magic)?;
    let gzipped = magic == [0x1f, 0x8b];
    let whole = io::Cursor::new(magic).chain(file);
    let bytes = if gzipped {
        read_at_most(MultiGzDecoder::new(io::BufReader::with_capacity(1 << 16, whole)), spec.bytes)?
    } else {
        read_at_most(whole, spec.bytes)?
    };
    check(&bytes, spec)?;
    Ok(bytes)
}

/// Checks length and checksum.
///
/// # Errors
/// [`Problem::Content`].
pub(crate) fn check(bytes: &[u8], spec: &FileSpec) -> Result<(), Problem> {
    if bytes.len() as u64 != spec.bytes {
        let shorter = if (bytes.len() as u64) < spec.bytes { "it is truncated: " } else { "" };
        return Err(
            format!("{shorter}it has {} bytes, expected {}", bytes.len(), spec.bytes).into()
        );
    }
    match &spec.sha256 {
        Some(expected) if *expected != hex(&Sha256::digest(bytes)) => Err(format!(
            "its checksum is wrong: SHA-256 {}, expected {expected}",
            hex(&Sha256::digest(bytes))
        )
        .into()),
        _ => Ok(()),
    }
}

/// Reads all of the reader, which must hold no more than `limit` bytes.
fn read_at_most(reader: impl Read, limit: u64) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    // Allocate once if possible; growing the vector costs as much as reading.
    let _ = bytes.try_reserve_exact(usize::try_from(limit).unwrap_or(0).saturating_add(1));
    reader.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(format!("it has more than the expected {limit} bytes").into());
    }
    Ok(bytes)
}

/// Reads the wanted members of an archive into memory, by name, and checks the archive's MD5
/// and each member's length.
///
/// No path of the archive is ever written to: members are recognised by their exact path,
/// and an archive with a link or an entry that points outside of it is an error.
///
/// # Errors
/// [`Problem`].
pub(crate) fn read_archive(
    path: &Path,
    spec: &ArchiveSpec,
) -> Result<HashMap<String, Vec<u8>>, Problem> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > spec.max_bytes {
        return Err(
            format!("it has {length} bytes, more than the expected {}", spec.max_bytes).into()
        );
    }
    let mut hashed = Hashed { reader: file.take(spec.max_bytes), md5: Md5::new() };
    let members = unpack(io::BufReader::with_capacity(1 << 16, &mut hashed), spec);
    // A wrong checksum explains whatever went wrong inside.
    io::copy(&mut hashed, &mut io::sink())?;
    let md5 = hex(&hashed.md5.finalize());
    if md5 != spec.md5 {
        return Err(format!("its checksum is wrong: MD5 {md5}, expected {}", spec.md5).into());
    }
    members
}

/// The wanted members of a gzipped tar.
fn unpack(reader: impl Read, spec: &ArchiveSpec) -> Result<HashMap<String, Vec<u8>>, Problem> {
    let limit = spec.members.iter().map(|member| member.bytes).sum::<u64>() + ARCHIVE_SLACK;
    let mut archive = tar::Archive::new(MultiGzDecoder::new(reader).take(limit));
    let mut members = HashMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let kind = entry.header().entry_type();
        let inside =
            path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !inside || kind.is_symlink() || kind.is_hard_link() {
            return Err(format!(
                "refused as unsafe: its entry {path:?} is a link or points outside of the archive"
            )
            .into());
        }
        let Some(member) =
            spec.members.iter().find(|m| path == Path::new(&spec.folder).join(&m.name))
        else {
            continue;
        };
        if !kind.is_file() {
            return Err(format!("its member {} is not a file", member.name).into());
        }
        let in_member =
            |problem| Problem::Content(format!("its member {}: {problem}", member.name));
        let bytes = read_at_most(&mut entry, member.bytes).map_err(in_member)?;
        check(&bytes, member).map_err(in_member)?;
        if members.insert(member.name.clone(), bytes).is_some() {
            return Err(format!("its member {} is there twice", member.name).into());
        }
    }
    match spec.members.iter().find(|member| !members.contains_key(&member.name)) {
        Some(member) => Err(format!("it has no member {}/{}", spec.folder, member.name).into()),
        None => Ok(members),
    }
}

/// A reader that hashes what passes through it.
struct Hashed<R> {
    reader: R,
    md5: Md5,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.md5.update(&buffer[..n]);
        Ok(n)
    }
}

/// Name of the file in which `wninit fetch` notes the checksums of what it unpacked from a
/// verified archive, in the format of `sha256sum`.
pub const SUMS: &str = "SHA256SUMS";

/// The content of a [`SUMS`] file for these members.
pub(crate) fn sums<'a>(members: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    members.map(|(name, bytes)| format!("{}  {name}\n", hex(&Sha256::digest(bytes)))).collect()
}

/// The members with their checksums from the [`SUMS`] file in `folder`, if there is one.
pub(crate) fn with_sums(members: &[FileSpec], folder: &Path) -> Vec<FileSpec> {
    let mut text = String::new();
    // An unreadable file is ignored: it only adds to the other checks.
    let _ =
        File::open(folder.join(SUMS)).and_then(|file| file.take(1 << 16).read_to_string(&mut text));
    let sums: HashMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, name)| (name, sum))
        .collect();
    members
        .iter()
        .map(|member| FileSpec {
            sha256: sums.get(member.name.as_str()).map(|s| (*s).to_owned()),
            ..member.clone()
        })
        .collect()
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
