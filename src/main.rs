//! Which initialization survives depth, learning rate and seed?
//!
//! The command line: one subcommand, one file in `commands/`.
//!
//! Commands that need tensors are a second program's, `wninit-torch`, which stands beside this one and is
//! not loaded for the others.

mod commands;
mod report;
mod slurm;
mod tensorboard;

use std::process::ExitCode;

use wninit_core::cli;

use commands::Cli;

fn main() -> ExitCode {
    cli::main(Cli::without_threads, |cli| commands::run(&cli))
}
