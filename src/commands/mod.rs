//! The program's commands, one a file. Each has its `Args` and a `run` that returns the exit code:
//! 0 done, 2 a bad grid or command line, 3 some jobs are left, 130 interrupted, 1 anything else,
//! output that cannot be written included.

pub mod curvature;
pub mod doctor;
pub mod fetch;
pub mod merge;
pub mod plan;
pub mod report;
pub mod run;
pub mod signal;
pub mod slurm;
pub mod status;
pub mod summary;
pub mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::console::{self, say};
use crate::execution::{NO_THREAD, cores};
use crate::grid::{Grid, GridError, Overrides};
use crate::results::{ResultsError, one_line};

/// Which initialization survives depth, learning rate and seed?
///
/// A grid (a TOML file) says which networks to train; `run` trains them and leaves a CSV that
/// survives being killed at any moment.
#[derive(Parser)]
#[command(name = "wninit", version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `wninit` can do.
#[derive(Subcommand)]
pub enum Command {
    /// Say what a grid means: its jobs, what is finished, what the rest will cost
    Plan(plan::Args),
    /// Train what a grid asks for and is not finished yet
    Run(run::Args),
    /// Say how far a sweep is
    Status(status::Args),
    /// Say what a sweep has shown
    Summary(summary::Args),
    /// Make a page about a sweep, with pictures
    Report(report::Args),
    /// Measure how far signals get at initialization, layer by layer
    Signal(signal::Args),
    /// Measure how curved the loss is at initialization
    Curvature(curvature::Args),
    /// Train finished jobs again and compare with their rows
    Verify(verify::Args),
    /// Put the results of a sweep's shards together
    Merge(merge::Args),
    /// Get a data set
    Fetch(fetch::Args),
    /// Train a sweep on a Slurm cluster, as a job array
    Slurm(slurm::Args),
    /// Say what this machine offers, and what is missing
    Doctor(doctor::Args),
}

/// A grid and what the command line changes in it.
#[derive(Args, Clone, Debug)]
pub struct GridArgs {
    /// The grid, a TOML file
    pub grid: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)] // it would become the help text
    pub overrides: OverrideArgs,
}

/// What the command line changes in a grid.
#[derive(Args, Clone, Debug, Default)]
pub struct OverrideArgs {
    /// Set a field for all jobs, whatever the grid says (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Keep only these values of an axis (repeatable)
    #[arg(long, value_name = "AXIS=A,B")]
    pub only: Vec<String>,
    /// Apply the grid's overlay [profile.NAME]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
}

impl GridArgs {
    /// Reads the grid with its overrides.
    ///
    /// # Errors
    /// As [`Grid::load`].
    pub fn load(&self) -> Result<Grid, GridError> {
        self.overrides.load(&self.grid)
    }
}

impl OverrideArgs {
    /// Whether the command line changes nothing.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.only.is_empty() && self.profile.is_none()
    }

    /// Reads a grid with these overrides.
    ///
    /// # Errors
    /// As [`Grid::load`].
    pub fn load(&self, grid: &Path) -> Result<Grid, GridError> {
        let overrides = Overrides {
            set: self.set.clone(),
            only: self.only.clone(),
            profile: self.profile.clone(),
        };
        Grid::load(grid, &overrides)
    }
}

/// A command line that asks for what cannot be; the exit code is 2.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct UsageError(pub anyhow::Error);

/// The program: reads the command line and carries out its command with `run`.
pub fn main(run: impl FnOnce(&Command) -> anyhow::Result<u8>) -> ExitCode {
    let code = match Cli::try_parse() {
        Ok(cli) => match start_threads(&cli.command) {
            Ok(()) => run(&cli.command).unwrap_or_else(|error| fail(&error)),
            Err(code) => code,
        },
        Err(message) => said(&message),
    };
    ExitCode::from(code)
}

/// Prints the help, the version, or what is wrong with the command line; the exit code.
fn said(message: &clap::Error) -> u8 {
    let printed = console::reported(message.print());
    match printed {
        _ if message.use_stderr() => 2,
        Ok(()) => 0,
        Err(error) => fail(&error.into()),
    }
}

/// Starts the threads among which commands share their work out; otherwise rayon would do so at the
/// first need, and panic where the system refuses. The error is the exit code, and was printed.
///
/// # Errors
/// The system starts no thread.
fn start_threads(command: &Command) -> Result<(), u8> {
    rayon::ThreadPoolBuilder::new().build_global().map_err(|error| {
        say(&format!("error: cannot start {} threads: {error}; {NO_THREAD}", cores()));
        // Jobs are left, and the same command will do them.
        if matches!(command, Command::Run(_)) { 3 } else { 1 }
    })
}

/// Carries out a command that needs no tensors; the exit code. `None` for the others, which are
/// for the program `wninit-torch`.
///
/// # Errors
/// Whatever stopped it; [`fail`] prints it.
pub fn run(command: &Command) -> Option<anyhow::Result<u8>> {
    Some(match command {
        Command::Plan(args) if args.measure => return None,
        Command::Plan(args) => plan::run(args),
        Command::Status(args) => status::run(args),
        Command::Summary(args) => summary::run(args),
        Command::Report(args) => report::run(args),
        Command::Merge(args) => merge::run(args),
        Command::Fetch(args) => fetch::run(args),
        Command::Slurm(args) => slurm::run(args),
        Command::Run(_)
        | Command::Signal(_)
        | Command::Curvature(_)
        | Command::Verify(_)
        | Command::Doctor(_) => return None,
    })
}

/// Prints an error with its causes in one line; the exit code for it.
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
