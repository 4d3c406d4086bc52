//! The program's commands, one a file. Each has its `Args` and a `run` that returns the exit code:
//! 0 done, 2 a bad grid or command line, 3 some jobs are left, 130 interrupted, 1 anything else,
//! output that cannot be written included.

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
/// A grid (a TOML file) says which networks to train; `run` trains them and leaves a CSV that
/// survives being killed at any moment.
#[derive(Parser)]
#[command(name = "wninit", version, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    #[allow(missing_docs)] // it would become the help text
    pub written: Option<Written>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `wninit` can do.
#[derive(Subcommand)]
pub enum Command {
    /// Say what a grid means: its jobs, what is finished, what the rest will cost
    Plan(cli::plan::Args),
    /// Train what a grid asks for and is not finished yet
    Run(cli::run::Args),
    Confirm(confirm::Args),
    /// Say how far a sweep is
    Status(status::Args),
    /// Say what a sweep has shown
    Summary(summary::Args),
    /// Make a page about a sweep, with pictures
    Report(report::Args),
    /// Measure how far signals get at initialization, layer by layer
    Signal(cli::signal::Args),
    /// Measure how curved the loss is at initialization
    Curvature(cli::curvature::Args),
    /// Train finished jobs again and compare with their rows
    Verify(cli::verify::Args),
    /// Put the results of a sweep's shards together
    Merge(merge::Args),
    /// Get a data set
    Fetch(fetch::Args),
    /// Train a sweep on a Slurm cluster, as a job array
    Slurm(slurm::Args),
    /// Print the grid format as a JSON schema, for editors and other programs
    Schema,
    /// Say what this machine offers, and what is missing
    Doctor(cli::doctor::Args),
}

impl Cli {
    /// The exit code where the system starts no threads: jobs are left, and the same command will
    /// do them.
    pub fn without_threads(&self) -> u8 {
        if matches!(self.command, Command::Run(_) | Command::Confirm(_)) {
            EXIT_UNFINISHED
        } else {
            1
        }
    }
}

/// Carries out a command; the exit code. The process becomes `wninit-torch` for one that needs
/// tensors, and where that has done its part shows what it wrote.
///
/// # Errors
/// Whatever stopped it; [`wninit_core::cli::fail`] prints it.
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
