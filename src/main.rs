//! The command line: one subcommand, one file in `commands/`.

use std::process::ExitCode;

use clap::Parser;
use wninit::commands::{self, Command};

/// Which initialization survives depth, learning rate and seed?
///
/// A grid (a TOML file) says which networks to train; `run` trains them and leaves a CSV that
/// survives being killed at any moment.
#[derive(Parser)]
#[command(name = "wninit", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let code = commands::run(&Cli::parse().command).unwrap_or_else(|error| commands::fail(&error));
    ExitCode::from(code)
}
