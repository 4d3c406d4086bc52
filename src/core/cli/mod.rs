//! The parts of the command line that both programs know: the arguments of the commands that need
//! tensors, how `wninit` and `wninit-torch` hand over to each other, and how a command ends.
//!
//! `wninit` is what a user starts. It execs `wninit-torch` for a command that needs tensors, with
//! the same arguments, because loading libtorch takes longer than any other command. `wninit-torch`
//! writes data. To show it as a page or a table, it execs `wninit`, which finds it through
//! [`Written`]. The process stays the same, so signals, limits and the exit code need no
//! forwarding.
#![allow(missing_docs)] // of flattened arguments: they would become the help text

pub mod curvature;
pub mod doctor;
pub mod export;
pub mod json;
mod place;
pub mod plan;
pub mod run;
pub mod signal;
pub mod until_decided;
pub mod verify;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context;
use clap::error::ErrorKind;
use clap::{Args, ColorChoice, Parser, ValueEnum};

use crate::atomic::FileError;
use crate::console::{self, Level, alert};
use crate::execution::{NO_THREAD, cores};
use crate::grid::{Grid, GridError, Overrides};
use crate::results::{ResultsError, one_line};
use crate::usage::UsageError;

pub use place::Root;

/// A grid and the command line's changes to it.
#[derive(Args, Clone, Debug)]
pub struct GridArgs {
    /// Grid file (TOML), or the folder of its sweep
    #[arg(value_name = "GRID|DIR")]
    pub grid: PathBuf,
    #[command(flatten)]
    pub overrides: Overrides,
}

impl GridArgs {
    /// Reads the grid with its overrides, and says which folder has its results.
    ///
    /// # Errors
    /// As [`Root::grid`].
    pub fn load(&self, root: &Root) -> anyhow::Result<(Grid, PathBuf)> {
        root.grid(&self.grid, &self.overrides)
    }
}

/// The data that `wninit-torch` has written, for `wninit` to show.
#[derive(Args, Clone, Debug)]
pub struct Written {
    /// The folder
    #[arg(long = "written", value_name = "DIR", hide = true, required = false, requires = "code")]
    pub dir: PathBuf,
    /// The exit code, if showing it works
    #[arg(long, value_name = "CODE", hide = true, required = false, requires = "dir")]
    pub code: u8,
}

/// The end of a command of `wninit-torch`.
#[derive(Debug)]
pub enum Ended {
    /// With this exit code.
    Exit(u8),
    /// With data that `wninit` shows.
    Written(Written),
}

/// Replaces this process with `wninit-torch` (`execve`), with the same arguments. Returns only on
/// failure.
pub fn become_wninit_torch() -> anyhow::Error {
    become_wninit_torch_with(std::env::args_os().skip(1))
}

/// Replaces this process with `wninit-torch` (`execve`), with these arguments. Returns only on
/// failure.
pub fn become_wninit_torch_with(arguments: impl IntoIterator<Item = OsString>) -> anyhow::Error {
    become_program("wninit-torch", arguments, |command| {
        // OpenMP threads that spin while waiting starve each other on shared cores: a sweep of 2 s
        // took more than a minute. OpenMP reads the variable when it is loaded.
        if std::env::var_os("OMP_WAIT_POLICY").is_none() {
            command.env("OMP_WAIT_POLICY", "passive");
        }
    })
}

/// Replaces this process with `wninit` (`execve`), which shows the written data. Returns only on
/// failure.
pub fn become_wninit(written: &Written) -> anyhow::Error {
    become_program("wninit", std::env::args_os().skip(1), |command| {
        // In front of the subcommand.
        command.arg("--written").arg(&written.dir).args(["--code", &written.code.to_string()]);
    })
}

/// Replaces this process with a program in the same folder; `arguments` follow those that `prepare`
/// adds.
fn become_program(
    name: &str,
    arguments: impl IntoIterator<Item = OsString>,
    prepare: impl FnOnce(&mut Command),
) -> anyhow::Error {
    let this = match std::env::current_exe().context("cannot find this program's own file") {
        Ok(this) => this,
        Err(error) => return error,
    };
    let program = this.with_file_name(name);
    let mut command = Command::new(&program);
    prepare(&mut command);
    let error = command.args(arguments).exec();
    let (program, this) = (program.display(), this.file_name().unwrap_or_default().display());
    anyhow::Error::new(error).context(format!(
        "cannot start {program}, which belongs beside {this}; build it with `make build`"
    ))
}

/// Options of every command of both programs.
#[derive(Args, Clone, Copy, Debug)]
pub struct Globals {
    /// When to use colours; auto: on a terminal, unless NO_COLOR or CLICOLOR_FORCE is set
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN",
          help_heading = EVERYWHERE)]
    pub color: ColorChoice,
    /// Print only results, warnings and errors
    #[arg(long, short, global = true, conflicts_with = "verbose", help_heading = EVERYWHERE)]
    pub quiet: bool,
    /// Also print what is chosen, what is read from where, and how long it takes
    #[arg(long, short, global = true, help_heading = EVERYWHERE)]
    pub verbose: bool,
}

const EVERYWHERE: &str = "Options of every command";

impl Globals {
    /// The options as words of a command line.
    pub fn words(&self) -> Vec<OsString> {
        let color = self.color.to_possible_value();
        let color = color.map(|color| format!("--color={}", color.get_name()));
        let flags = [(self.quiet, "--quiet"), (self.verbose, "--verbose")];
        let flags = flags.iter().filter(|(given, _)| *given).map(|(_, flag)| (*flag).to_owned());
        color.into_iter().chain(flags).map(OsString::from).collect()
    }

    fn level(&self) -> Level {
        match (self.quiet, self.verbose) {
            (true, _) => Level::Quiet,
            (_, true) => Level::Verbose,
            _ => Level::Normal,
        }
    }
}

/// The command line of one of the programs.
pub trait Program: Parser {
    /// The options of every command.
    fn globals(&self) -> Globals;
    /// The exit code if no threads can be started.
    fn without_threads(&self) -> u8;
    /// Runs the command and returns the exit code.
    ///
    /// # Errors
    /// The command failed; [`fail`] prints the error.
    fn run(self) -> anyhow::Result<u8>;
    /// Prints `--version`, if another program knows it better. Returns only on failure.
    fn long_version() -> Option<anyhow::Error> {
        None
    }
}

/// The main function of both programs.
pub fn main<P: Program>() -> ExitCode {
    let words = || std::env::args_os().skip(1);
    let matches = P::command().color(color_of(words())).try_get_matches();
    let code = match matches.and_then(|matches| P::from_arg_matches(&matches)) {
        Ok(program) => {
            let globals = program.globals();
            console::configure(globals.level(), globals.color);
            // Now, because starting rayon's global pool lazily would panic on failure.
            match rayon::ThreadPoolBuilder::new().build_global() {
                Ok(()) => program.run().unwrap_or_else(|error| fail(&error)),
                Err(error) => {
                    let threads = format!("cannot start {} threads: {error}", cores());
                    alert(&format!("error: {threads}; {NO_THREAD}"));
                    program.without_threads()
                }
            }
        }
        Err(message) => {
            let long = words().any(|word| word == "--version");
            if message.kind() == ErrorKind::DisplayVersion
                && long
                && let Some(error) = P::long_version()
            {
                console::warn([one_line(&error)]);
            }
            said(&message)
        }
    };
    ExitCode::from(code)
}

/// The value of `--color`, which errors and the help of the command line need before it is parsed.
fn color_of(words: impl Iterator<Item = OsString>) -> ColorChoice {
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let value = words.iter().enumerate().find_map(|(i, word)| match word.strip_prefix("--color") {
        Some("") => words.get(i + 1).map(String::as_str),
        Some(rest) => rest.strip_prefix('='),
        None => None,
    });
    value.and_then(|value| value.parse().ok()).unwrap_or(ColorChoice::Auto)
}

/// Prints the help, the version or a usage error. Returns the exit code.
fn said(message: &clap::Error) -> u8 {
    let printed = console::reported(message.print());
    match printed {
        _ if message.use_stderr() => 2,
        Ok(()) => 0,
        Err(error) => fail(&error.into()),
    }
}

/// Prints an error with its causes in one line. Returns the exit code: 2 for bad input, else 1. The
/// codes of a run are in [`exit_code`](crate::run::pool::RunSummary::exit_code).
pub fn fail(error: &anyhow::Error) -> u8 {
    alert(&format!("error: {}", one_line(error)));
    let bad_input = |cause: &(dyn std::error::Error + 'static)| {
        let results = cause.downcast_ref::<ResultsError>();
        let file = cause.downcast_ref::<FileError>();
        cause.is::<GridError>()
            || cause.is::<UsageError>()
            || results.is_some_and(|error| !error.is_full_disk())
            || file.is_some_and(|error| !error.is_full_disk())
    };
    if error.chain().any(bad_input) { 2 } else { 1 }
}
