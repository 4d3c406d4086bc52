//! The program's commands, one per file. Each has its `Args` and a `run` that returns the exit
//! code: 0 done, 2 an invalid grid or command line, 3 some jobs are left, 130 interrupted, 1 any
//! other failure, such as output that cannot be written.

mod confirm;
mod curvature;
mod fetch;
mod merge;
mod plan;
mod report;
mod run;
mod schema;
mod signal;
mod slurm;
mod status;
mod summary;

use anyhow::bail;
use clap::{Parser, Subcommand};
use wninit_core::cli::{self, Written, become_wninit_torch};
use wninit_core::run::pool::EXIT_UNFINISHED;

/// Which initialization survives depth, learning rate and seed?
///
/// A grid (a TOML file) lists the networks to train; `run` trains them and writes a CSV file that
/// survives being killed at any moment.
#[derive(Parser)]
#[command(name = "wninit", version, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    #[allow(missing_docs)] // it would become the help text
    pub written: Option<Written>,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of `wninit`.
#[derive(Subcommand)]
pub enum Command {
    /// Show a grid's jobs, which of them are finished, and the cost of the rest
    Plan(cli::plan::Args),
    /// Train the unfinished jobs of a grid
    Run(cli::run::Args),
    Confirm(confirm::Args),
    /// Show the progress of a sweep
    Status(status::Args),
    /// Summarise the results of a sweep
    Summary(summary::Args),
    /// Make an HTML page about a sweep, with figures
    Report(report::Args),
    /// Measure signal propagation at initialization, layer by layer
    Signal(cli::signal::Args),
    /// Measure the curvature of the loss at initialization
    Curvature(cli::curvature::Args),
    /// Train finished jobs again and compare the results with their rows
    Verify(cli::verify::Args),
    /// Merge the results of a sweep's shards
    Merge(merge::Args),
    /// Get a data set
    Fetch(fetch::Args),
    /// Train a sweep on a Slurm cluster, as a job array
    Slurm(slurm::Args),
    /// Print the grid format as a JSON schema, for editors and other programs
    Schema,
    /// Check this machine's devices, libraries and data
    Doctor(cli::doctor::Args),
}

impl Cli {
    /// The exit code if no threads can be started: 3 for commands that train, because jobs are
    /// left.
    pub fn without_threads(&self) -> u8 {
        if matches!(self.command, Command::Run(_) | Command::Confirm(_)) {
            EXIT_UNFINISHED
        } else {
            1
        }
    }
}

/// Runs a command and returns the exit code. For a command that needs tensors the process replaces
/// itself with `wninit-torch`, which may return here to display its data ([`Written`]).
///
/// # Errors
/// The command failed; [`wninit_core::cli::fail`] prints the error.
pub fn run(cli: &Cli) -> anyhow::Result<u8> {
    match (&cli.command, &cli.written) {
        (Command::Run(_), Some(written)) => Ok(run::show(written)),
        (Command::Signal(args), Some(written)) => signal::show(args, written),
        (Command::Curvature(args), Some(written)) => curvature::show(args, written),
        (Command::Plan(args), Some(written)) => plan::show(args, written),
        (_, Some(written)) => {
            bail!("--written {}: `wninit-torch` writes nothing here", written.dir.display())
        }
        (Command::Plan(args), None) if !args.measure => plan::run(args),
        (Command::Confirm(args), None) => confirm::run(args),
        (Command::Status(args), None) => status::run(args),
        (Command::Summary(args), None) => summary::run(args),
        (Command::Report(args), None) => report::run(args),
        (Command::Merge(args), None) => merge::run(args),
        (Command::Fetch(args), None) => fetch::run(args),
        (Command::Slurm(args), None) => slurm::run(args),
        (Command::Schema, None) => schema::run(),
        (
            Command::Plan(_)
            | Command::Run(_)
            | Command::Signal(_)
            | Command::Curvature(_)
            | Command::Verify(_)
            | Command::Doctor(_),
            None,
        ) => Err(become_wninit_torch()),
    }
}
