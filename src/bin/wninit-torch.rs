//! The commands that need tensors; `wninit` hands over to this program.

use std::process::ExitCode;

use clap::Parser;
use wninit::commands::{self, Cli};

fn main() -> ExitCode {
    let result = commands::run_with_tensors(&Cli::parse().command);
    ExitCode::from(result.unwrap_or_else(|error| commands::fail(&error)))
}
