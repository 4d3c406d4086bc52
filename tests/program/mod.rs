//! Runs the programs as a user does, with files, processes and signals. No process outlives its test, and
//! every wait has a timeout.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The timeout of every wait, sufficient for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Columns that may differ between two runs of the same job: timing and provenance.
const INCIDENTAL: [&str; 12] = [
    "train_seconds",
    "images_per_second",
    "device",
    "cohort_size",
    "instruction_set",
    "processor",
    "libtorch",
    "git_sha",
    "hostname",
    "started_at",
    "finished_at",
    "seconds",
];

/// The program that trains.
pub const WNINIT_TORCH: &str = env!("CARGO_BIN_EXE_wninit-torch");

/// `wninit`, which cargo builds beside `wninit-torch`, but not for a test program of this package.
pub fn wninit() -> PathBuf {
    let program = Path::new(WNINIT_TORCH).with_file_name("wninit");
    let path = program.display();
    assert!(program.exists(), "{path} is missing: run `cargo build` with the same profile");
    program
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).unwrap()
}

/// A folder for one test, with a grid in it and results under it.
pub struct Sandbox {
    pub dir: tempfile::TempDir,
    pub name: String,
}

impl Sandbox {
    /// A folder that holds this grid, as `grid.toml`.
    pub fn new(grid: &str) -> Sandbox {
        let sandbox = Sandbox { dir: tempfile::tempdir().unwrap(), name: "sweep".to_owned() };
        sandbox.set_grid(grid);
        sandbox
    }

    /// A folder with a completed sweep of this grid.
    pub fn finished(grid: &str) -> Sandbox {
        let sandbox = Sandbox::new(grid);
        output(&mut sandbox.run(&["--workers", "2"])).expect(0, &[]);
        sandbox
    }

    pub fn set_grid(&self, grid: &str) {
        fs::write(self.path("grid.toml"), format!("name = \"{}\"\n{grid}", self.name)).unwrap();
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// The sweep's folder.
    pub fn sweep(&self) -> PathBuf {
        self.path("results").join(&self.name)
    }

    /// `wninit run` on the CPU.
    pub fn run(&self, args: &[&str]) -> Command {
        let mut command = self.wninit(&["run", "grid.toml", "--device", "cpu"]);
        command.args(args);
        command
    }

    /// `wninit` in this folder.
    pub fn wninit(&self, args: &[&str]) -> Command {
        self.command(&wninit(), args)
    }

    /// A program in this folder.
    pub fn command(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.dir.path());
        command.env_remove("WNINIT_DATA").env_remove("WNINIT_SOURCES");
        // SAFETY: signal is async-signal-safe and touches nothing of this process.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGHUP, libc::SIG_DFL); // these tests may run under nohup
                Ok(())
            });
        }
        command
    }

    /// The files in `checkpoints/` with this extension.
    pub fn checkpoints(&self, extension: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.sweep().join("checkpoints")) else {
            return Vec::new();
        };
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|e| e == extension));
        paths.sort();
        paths
    }

    pub fn text(&self, file: &str) -> String {
        fs::read_to_string(self.sweep().join(file)).unwrap()
    }

    pub fn results(&self) -> Results {
        Results::read(&self.sweep())
    }
}

/// A row by columns, without those of timing and provenance.
pub type Row = BTreeMap<String, String>;

/// The results of a sweep.
#[derive(Debug, PartialEq, Eq, Default, Clone)]
pub struct Results {
    /// By `job_id`.
    pub runs: BTreeMap<String, Row>,
    /// By `job_id` and `epoch`.
    pub epochs: BTreeMap<(String, String), Row>,
}

impl Results {
    /// Reads `runs.csv` and `epochs.csv`.
    ///
    /// # Panics
    /// If a job or an epoch has two rows.
    pub fn read(sweep: &Path) -> Results {
        let mut results = Results::default();
        for row in rows(&sweep.join("runs.csv")) {
            let doubled = results.runs.insert(row["job_id"].clone(), row);
            assert_eq!(doubled, None, "a job has two rows");
        }
        for row in rows(&sweep.join("epochs.csv")) {
            let key = (row["job_id"].clone(), row["epoch"].clone());
            let doubled = results.epochs.insert(key, row);
            assert_eq!(doubled, None, "an epoch has two rows");
        }
        results
    }
}

/// # Panics
/// If a row of `before` is missing or different in `after`.
pub fn assert_none_lost(before: &Results, after: &Results) {
    for (id, row) in &before.runs {
        assert_eq!(after.runs.get(id), Some(row), "a finished row was lost");
    }
}

/// # Panics
/// If the results differ.
pub fn assert_same(found: &Results, expected: &Results) {
    let ids = |results: &Results| results.runs.keys().cloned().collect::<Vec<_>>();
    assert_eq!(ids(found), ids(expected), "other jobs");
    let ids = |results: &Results| results.epochs.keys().cloned().collect::<Vec<_>>();
    assert_eq!(ids(found), ids(expected), "other epochs");
    let epochs = found.epochs.values().zip(expected.epochs.values());
    let mut differences = Vec::new();
    for (found, expected) in epochs.chain(found.runs.values().zip(expected.runs.values())) {
        for (column, cell) in found {
            if expected.get(column) != Some(cell) {
                let epoch = found.get("epoch").map(|epoch| format!(", epoch {epoch}"));
                let place = format!("job {}{}", found["job_id"], epoch.unwrap_or_default());
                let other = expected.get(column);
                differences.push(format!("{place}: {column} is {cell:?}, not {other:?}"));
            }
        }
    }
    let first: Vec<_> = differences.iter().take(10).collect();
    assert!(differences.is_empty(), "{} cells differ: {first:#?}", differences.len());
}

/// The rows of a CSV file, or none if there is no file.
pub fn rows(path: &Path) -> Vec<Row> {
    if !path.exists() {
        return Vec::new();
    }
    let text = fs::read_to_string(path).unwrap();
    // A torn last line is not a row.
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let mut reader = csv::Reader::from_reader(&text.as_bytes()[..whole]);
    let rows = reader.deserialize().map(Result::<Row, _>::unwrap);
    rows.map(|mut row| {
        row.retain(|column, _| !INCIDENTAL.contains(&column.as_str()));
        row
    })
    .collect()
}

/// Exit status and output of a process.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The exit code.
    ///
    /// # Panics
    /// If a signal ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }

    /// Whether SIGKILL ended it.
    pub fn was_killed(&self) -> bool {
        self.status.signal() == Some(libc::SIGKILL)
    }

    /// # Panics
    /// If the exit code is different or a text is missing in standard error.
    pub fn expect(&self, code: i32, texts: &[&str]) -> &Output {
        assert_eq!(self.code(), code, "{self:?}");
        for text in texts {
            assert!(self.stderr.contains(text), "{text:?} is not in: {self:?}");
        }
        self
    }
}

/// A process that is killed when it is dropped.
pub struct Process {
    pub child: Child,
    folder: tempfile::TempDir,
}

impl Process {
    pub fn start(command: &mut Command) -> Process {
        let folder = tempfile::tempdir().unwrap();
        let file = |name| Stdio::from(File::create(folder.path().join(name)).unwrap());
        // Files, because pipes would block unless they are read.
        let command = command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
        Process { child: command.spawn().unwrap(), folder }
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path().join("err")).unwrap()).into_owned()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: the child has not been waited for, so its id is still its own.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    /// Sleeps until the process ends, at most `time`; returns whether it still runs.
    pub fn sleep(&mut self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while Instant::now() < end {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Waits for a condition.
    ///
    /// # Panics
    /// If the process ends before, or after a timeout.
    pub fn wait_until(&mut self, what: &str, so: impl Fn(&Process) -> bool) {
        let start = Instant::now();
        while !so(self) {
            assert!(start.elapsed() < PATIENCE, "never happened: {what}; {}", self.stderr());
            assert!(self.sleep(Duration::from_millis(2)), "ended before {what}: {}", self.stderr());
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// After a timeout.
    pub fn output(mut self) -> Output {
        let ended = !self.sleep(PATIENCE);
        assert!(ended, "it hangs: {}", self.stderr());
        Output {
            status: self.child.wait().unwrap(),
            stdout: fs::read_to_string(self.folder.path().join("out")).unwrap(),
            stderr: self.stderr(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs a command to its end.
pub fn output(command: &mut Command) -> Output {
    Process::start(command).output()
}

/// Runs a command and sends SIGKILL after that time, unless it ended before.
pub fn kill_after(command: &mut Command, time: Duration) -> Output {
    let mut process = Process::start(command);
    process.sleep(time);
    process.signal(libc::SIGKILL);
    process.output()
}

/// The folder of Fashion-MNIST, if it was fetched.
pub fn fashion_mnist() -> Option<PathBuf> {
    let data = std::env::var_os("WNINIT_DATA").map_or_else(|| root().join("data"), PathBuf::from);
    let folder = data.join("fashion-mnist");
    folder.join("train-images-idx3-ubyte").exists().then_some(folder)
}

/// Sets a resource limit in the process that the command starts.
pub fn limit(command: &mut Command, resource: libc::__rlimit_resource_t, bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: setrlimit and signal are async-signal-safe and touch nothing of this process.
    unsafe {
        command.pre_exec(move || {
            // A write beyond RLIMIT_FSIZE must be an error, as on a full disk, not a signal.
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            match libc::setrlimit(resource, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
}

/// Reproducible pseudo-random numbers (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn milliseconds(&mut self, range: std::ops::Range<u64>) -> Duration {
        let micros = (range.end - range.start) * 1000;
        Duration::from_micros(range.start * 1000 + self.below(micros))
    }
}
