//! The commands that need tensors, one a file; `wninit` hands over to this program.

mod curvature;
mod doctor;
mod measure;
mod run;
mod signal;
mod verify;

use std::process::ExitCode;

use clap::Parser;
use wninit::commands::{self, Cli, Command};

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let result = match &command {
        Command::Run(args) => run::run(args),
        Command::Signal(args) => signal::run(args),
        Command::Curvature(args) => curvature::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Plan(args) => measure::run(args).and_then(|()| commands::plan::run(args)),
        other => commands::run(other).unwrap_or(Ok(0)),
    };
    ExitCode::from(result.unwrap_or_else(|error| commands::fail(&error)))
}
