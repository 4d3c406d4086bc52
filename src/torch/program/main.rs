//! `wninit-torch`: runs the commands that need tensors, for `wninit`.

use std::process::ExitCode;

use clap::Parser;
use wninit_core::cli::{self, Ended, become_wninit};
use wninit_core::grid::{Grid, GridError};
use wninit_core::run::pool::EXIT_UNFINISHED;
use wninit_core::run::until_decided::Looks;
use wninit_stats::summary::SequentialPlan;
use wninit_torch::commands::{self, Command};

#[derive(Parser)]
#[command(name = "wninit", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    cli::main(without_threads, |Cli { command }| {
        match commands::run(&command, env!("WNINIT_COMMIT"), looks)? {
            Ended::Exit(code) => Ok(code),
            Ended::Written(written) => Err(become_wninit(&written)),
        }
    })
}

fn looks(grid: &Grid) -> Result<Option<Box<dyn Looks>>, GridError> {
    Ok(SequentialPlan::of(grid)?.map(|path| Box::new(path) as Box<dyn Looks>))
}

/// The exit code if no thread can be started; for `run` it means that jobs are left.
fn without_threads(cli: &Cli) -> u8 {
    if matches!(cli.command, Command::Run(_)) { EXIT_UNFINISHED } else { 1 }
}
