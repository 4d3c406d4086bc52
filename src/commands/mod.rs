//! The program's commands, one per file. Each has its `Args` and a `run` that returns the exit
//! code: 0 done, 2 an invalid grid or command line, 3 some jobs are left, 130 interrupted, 1 any
//! other failure, such as output that cannot be written.

mod confirm;
mod curvature;
mod fetch;
mod merge;
mod plan;
mod report;
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
    pub written: Option<Written>,
    #[command(subcommand)]
    pub command: Command,
}

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
    /// Write a job's network as a safetensors file, for PyTorch
    Export(cli::export::Args),
    /// Merge the results of a sweep's shards
    Merge(merge::Args),
    /// Get a data set
    Fetch(fetch::Args),
    /// Train a sweep on a Slurm cluster, as a job array
    Slurm(slurm::Args),
    Schema(schema::Args),
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
    use Command::*;
    let Some(written) = &cli.written else {
        return match &cli.command {
            Plan(args) if !args.measure => plan::run(args),
            Confirm(args) => confirm::run(args),
            Status(args) => status::run(args),
            Summary(args) => summary::run(args),
            Report(args) => report::run(args),
            Merge(args) => merge::run(args),
            Fetch(args) => fetch::run(args),
            Slurm(args) => slurm::run(args),
            Schema(args) => schema::run(args),
            Plan(_) | Run(_) | Signal(_) | Curvature(_) | Verify(_) | Export(_) | Doctor(_) => {
                Err(become_wninit_torch())
            }
        };
    };
    match &cli.command {
        Run(_) => Ok(summary::show(written)),
        Signal(args) => signal::show(args, written),
        Curvature(args) => curvature::show(args, written),
        Plan(args) => plan::show(args, written),
        _ => bail!("--written {}: `wninit-torch` writes nothing here", written.dir.display()),
    }
}
