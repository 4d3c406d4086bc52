//! The commands that need tensors, one a file; `wninit` hands over to this program.

mod curvature;
mod doctor;
mod measure;
mod run;
mod signal;
mod verify;

use std::process::ExitCode;

use anyhow::anyhow;
use wninit::commands::{self, Command};

fn main() -> ExitCode {
    commands::main(|command| match command {
        Command::Run(args) => run::run(args),
        Command::Signal(args) => signal::run(args),
        Command::Curvature(args) => curvature::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Plan(args) if args.measure => commands::plan::print(args, measure::run(args)?),
        // Each by its name, so that the compiler asks where a new command belongs.
        Command::Plan(_)
        | Command::Status(_)
        | Command::Summary(_)
        | Command::Report(_)
        | Command::Merge(_)
        | Command::Fetch(_)
        | Command::Slurm(_) => commands::run(command)
            .unwrap_or_else(|| Err(anyhow!("a bug: nothing carries out this command"))),
    })
}
