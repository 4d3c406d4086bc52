//! `wninit-torch`: runs the commands that need tensors, for `wninit`.

use std::process::ExitCode;

use clap::Parser;
use wninit_core::cli::{self, Ended, Globals, Program, become_wninit};
use wninit_core::grid::{Grid, GridError};
use wninit_core::run::pool::EXIT_UNFINISHED;
use wninit_core::run::until_decided::Looks;
use wninit_stats::summary::SequentialPlan;
use wninit_torch::commands::{self, Command};

/// The commit from which the program is built.
const COMMIT: &str = env!("WNINIT_COMMIT");

#[derive(Parser)]
#[command(name = "wninit", version, long_version = long_version(), propagate_version = true)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    cli::main::<Cli>()
}

impl Program for Cli {
    fn globals(&self) -> Globals {
        self.globals
    }

    /// For `run` it means that jobs are left.
    fn without_threads(&self) -> u8 {
        if matches!(self.command, Command::Run(_)) { EXIT_UNFINISHED } else { 1 }
    }

    fn run(self) -> anyhow::Result<u8> {
        match commands::run(&self.command, COMMIT, looks)? {
            Ended::Exit(code) => Ok(code),
            Ended::Written(written) => Err(become_wninit(&written)),
        }
    }
}

/// The version, and what it was built from and with.
fn long_version() -> &'static str {
    let [libtorch, cuda] = commands::libtorch();
    let version = env!("CARGO_PKG_VERSION");
    format!("{version}\ncommit    {COMMIT}\nlibtorch  {libtorch}\nCUDA      {cuda}").leak()
}

fn looks(grid: &Grid) -> Result<Option<Box<dyn Looks>>, GridError> {
    Ok(SequentialPlan::of(grid)?.map(|path| Box::new(path) as Box<dyn Looks>))
}
