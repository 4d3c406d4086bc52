//! Programs on the pretend CUDA runtime, and the log of what they did there.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::program::{Output, Process, Sandbox, WNINIT_TORCH, root, rows};
use crate::skip::skip;

/// The folder of the runtime's libraries; `None`, and a skip on record, if it cannot be built here.
fn runtime() -> Option<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let folder = Path::new(WNINIT_TORCH).with_file_name("fakecuda");
        let mut build = Command::new(root().join("tests/fakecuda/build.sh"));
        let build = build.arg(&folder).env("LIBTORCH", libtorch()).output().unwrap();
        let message = String::from_utf8_lossy(&build.stderr).into_owned();
        match build.status.code() {
            Some(0) => Ok(folder),
            Some(3) => Err(message.trim().to_owned()),
            _ => panic!("the pretend CUDA runtime does not compile: {message}"),
        }
    });
    built.as_deref().map_err(|why| skip("pretend gpu", why)).ok()
}

/// The libtorch that the programs are linked with.
fn libtorch() -> PathBuf {
    std::env::var_os("LIBTORCH").map_or_else(|| root().join(".venv/libtorch"), PathBuf::from)
}

/// A machine with pretend GPUs, and a grid on it.
pub struct Machine {
    sandbox: Sandbox,
    runtime: &'static Path,
}

impl Deref for Machine {
    type Target = Sandbox;
    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}

/// Settings of the runtime, such as `("FAKE_NAN", "3")`.
pub type Settings<'s> = &'s [(&'s str, &'s str)];

impl Machine {
    /// `None`, and a skip on record, if there is no runtime here.
    pub fn new(grid: &str) -> Option<Machine> {
        runtime().map(|runtime| Machine { sandbox: Sandbox::new(grid), runtime })
    }

    /// A program of this folder on the pretend GPU. The log starts anew.
    pub fn command(&self, program: &Path, args: &[&str], settings: Settings) -> Command {
        fs::remove_file(self.path("log")).ok();
        let mut command = self.sandbox.command(program, args);
        let [cuda, torch] = ["libfakecuda.so", "libfaketorch.so"].map(|l| self.runtime.join(l));
        let folders = [self.runtime.to_owned(), libtorch().join("lib")];
        command.env("LD_PRELOAD", std::env::join_paths([cuda, torch]).unwrap());
        command.env("LD_LIBRARY_PATH", std::env::join_paths(folders).unwrap());
        command.env("FAKE_LOG", self.path("log")).env("FAKE_LIST", "1").env("FAKE_CAPS", "1");
        command.env("WNINIT_CACHE", self.path("cache"));
        command.envs(settings.iter().copied());
        command
    }

    /// `wninit run` on all GPUs, in cohorts of two unless `args` say otherwise.
    pub fn start(&self, args: &[&str], settings: Settings) -> Process {
        let width = ["--cohort-width", "2"];
        let width = if args.contains(&"--cohort-width") { &width[..0] } else { &width[..] };
        let args = [&["run", "grid.toml", "--device", "cuda"], width, args].concat();
        // `wninit` would exec it.
        Process::start(&mut self.command(Path::new(WNINIT_TORCH), &args, settings))
    }

    /// The same to its end.
    pub fn train(&self, args: &[&str], settings: Settings) -> Run {
        self.end(self.start(args, settings))
    }

    pub fn end(&self, process: Process) -> Run {
        let output = process.output();
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        Run { output, log: Log(log.lines().map(str::to_owned).collect()) }
    }

    /// # Panics
    /// Unless exactly these jobs are finished, and none failed.
    pub fn expect_finished(&self, jobs: usize, run: &Run) {
        assert_eq!(self.results().runs.len(), jobs, "jobs are left: {run}");
        let failed = rows(&self.sweep().join("failures.csv"));
        assert!(failed.is_empty(), "{failed:?} {run}");
    }

    /// The number of jobs that diverged.
    pub fn diverged(&self) -> usize {
        self.results().runs.values().filter(|row| row["outcome"] == "diverged").count()
    }
}

/// How a program ended, and what it did on the pretend GPU.
#[derive(Debug)]
pub struct Run {
    pub output: Output,
    pub log: Log,
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Run { output, log } = self;
        let told = log.0.iter().filter(|line| {
            !["node ", "malloc ", "copy ", "search "].iter().any(|kind| line.starts_with(kind))
        });
        let told: Vec<&str> = told.map(String::as_str).collect();
        let (first, last) = told.split_at(told.len().min(60));
        let last = &last[last.len().saturating_sub(20)..];
        let (status, first, last) = (output.status, first.join("\n"), last.join("\n"));
        write!(f, "\n== {status}\n{}== log\n{first}\n…\n{last}", output.stderr)
    }
}

impl Run {
    /// # Panics
    /// If the exit code is different, or the program did what CUDA refuses, or left something behind, or
    /// stopped recording for any other reason than a failure that was injected.
    pub fn expect(&self, code: i32) -> &Run {
        self.expect_clean();
        assert_eq!(self.output.status.code(), Some(code), "{self}");
        assert!(self.log.exit().is_some(), "it did not end by itself: {self}");
        let unrecorded = self.output.stderr.contains("kernels are launched one by one");
        assert!(!unrecorded || self.log.has_injected("capture"), "{self}");
        self
    }

    /// The same, however it ended.
    pub fn expect_clean(&self) -> &Run {
        assert!(self.log.violations().next().is_none(), "{self}");
        let failed = self.log.captures().into_iter().find(|capture| capture.end == "failed");
        assert!(failed.is_none() || self.log.has_injected("out of memory"), "{self}");
        self
    }
}

/// The lines of a log; tests/fakecuda/README.md says what they mean.
#[derive(Debug)]
pub struct Log(Vec<String>);

/// The end of a capture.
#[derive(Clone, Debug)]
pub struct Capture {
    pub nodes: usize,
    pub streams: usize,
    /// `ok`, `failed` or `injected`.
    pub end: String,
    /// The number of nodes by name.
    pub names: BTreeMap<String, usize>,
}

impl Log {
    pub fn violations(&self) -> impl Iterator<Item = &String> {
        self.0.iter().filter(|line| line.starts_with("violation "))
    }

    /// Whether a failure was injected that is described by this word.
    pub fn has_injected(&self, word: &str) -> bool {
        self.0.iter().any(|line| line.starts_with("injected ") && line.contains(word))
    }

    /// In the order of their ends.
    pub fn captures(&self) -> Vec<Capture> {
        let mut captures: Vec<Capture> = Vec::new();
        for line in &self.0 {
            let words: Vec<&str> = line.splitn(5, ' ').collect();
            match words[..] {
                ["capture", _, nodes, streams, end] => captures.push(Capture {
                    nodes: number(nodes) as usize,
                    streams: number(streams) as usize,
                    end: end.to_owned(),
                    names: BTreeMap::new(),
                }),
                // They follow their capture's line, but for those of another thread.
                ["node", _, count, ..] => {
                    let name = line.splitn(4, ' ').nth(3).unwrap().to_owned();
                    captures.last_mut().unwrap().names.insert(name, count.parse().unwrap());
                }
                _ => {}
            }
        }
        captures
    }

    /// Bytes of each copy from a device to the host.
    pub fn copies(&self) -> Vec<u64> {
        let copies = self.0.iter().filter(|line| line.starts_with("copy "));
        copies.map(|line| number(line)).collect()
    }

    /// The convolutions for which cuDNN looked for a plan.
    pub fn searches(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|line| Some(line.strip_prefix("search ")?.split_once(' ')?.1))
    }

    /// What the process used, by name; `None` if it was killed.
    pub fn exit(&self) -> Option<BTreeMap<&str, u64>> {
        let line = self.0.iter().rev().find_map(|line| line.strip_prefix("exit "))?;
        Some(line.split(' ').map(|word| (word.split_once('=').unwrap().0, number(word))).collect())
    }
}

/// The number after the first `=`.
fn number(word: &str) -> u64 {
    word.split_once('=').unwrap().1.parse().unwrap()
}
