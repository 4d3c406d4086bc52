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
use clap::{Args, Parser};

use crate::console::{self, say};
use crate::execution::{NO_THREAD, cores};
use crate::grid::{Grid, GridError, Overrides};
use crate::results::{ResultsError, one_line};

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

/// An invalid command line (exit code 2).
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct UsageError(pub anyhow::Error);

/// The error for an invalid command line, with this message.
pub fn usage(message: impl Into<String>) -> anyhow::Error {
    UsageError(anyhow::Error::msg(message.into())).into()
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

/// The main function of both programs: parses the command line and calls `run`. If no threads can
/// be started, the exit code is that of `threadless`.
pub fn main<C: Parser>(
    threadless: impl FnOnce(&C) -> u8,
    run: impl FnOnce(C) -> anyhow::Result<u8>,
) -> ExitCode {
    let code = match C::try_parse() {
        // Now, because starting rayon's global pool lazily would panic on failure.
        Ok(cli) => match rayon::ThreadPoolBuilder::new().build_global() {
            Ok(()) => run(cli).unwrap_or_else(|error| fail(&error)),
            Err(error) => {
                say(&format!("error: cannot start {} threads: {error}; {NO_THREAD}", cores()));
                threadless(&cli)
            }
        },
        Err(message) => said(&message),
    };
    ExitCode::from(code)
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
    say(&format!("error: {}", one_line(error)));
    let bad_input = |cause: &(dyn std::error::Error + 'static)| {
        let results = cause.downcast_ref::<ResultsError>();
        cause.is::<GridError>()
            || cause.is::<UsageError>()
            || results.is_some_and(|error| !error.is_full_disk())
    };
    if error.chain().any(bad_input) { 2 } else { 1 }
}
