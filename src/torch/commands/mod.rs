//! The commands that need tensors, one per file. They write data; `wninit` displays it.

mod curvature;
mod doctor;
mod export;
mod measure;
mod run;
mod shared_out;
mod signal;
mod verify;

use clap::Subcommand;
use wninit_core::cli::{self, Ended};

/// The commands that need tensors.
#[derive(Subcommand)]
#[allow(missing_docs)] // `wninit` has the help text
pub enum Command {
    Plan(cli::plan::Args),
    Run(cli::run::Args),
    #[command(alias = "signal")]
    Signals(cli::signal::Args),
    Curvature(cli::curvature::Args),
    Verify(cli::verify::Args),
    Export(cli::export::Args),
    Doctor(cli::doctor::Args),
}

pub use run::LooksOf;

/// The versions of libtorch and of its CUDA.
pub fn libtorch() -> [String; 2] {
    let version = crate::ffi::LIBTORCH;
    let cuda = match version.split_once("+cu") {
        Some((_, digits)) if digits.len() > 1 => {
            let (major, minor) = digits.split_at(digits.len() - 1);
            format!("{major}.{minor}")
        }
        _ => "none: a libtorch for CPUs".to_owned(),
    };
    [version.to_owned(), cuda]
}

/// Runs a command. `commit` is the program's, for provenance, and `looks` decides which seeds a sweep
/// needs.
///
/// # Errors
/// Why it failed; [`wninit_core::cli::fail`] prints it.
pub fn run(command: &Command, commit: &'static str, looks: LooksOf) -> anyhow::Result<Ended> {
    match command {
        Command::Plan(args) => measure::run(args, commit).map(Ended::Written),
        Command::Run(args) => run::run(args, commit, looks),
        Command::Signals(args) => signal::run(args, commit),
        Command::Curvature(args) => curvature::run(args, commit),
        Command::Verify(args) => verify::run(args, commit).map(Ended::Exit),
        Command::Export(args) => export::run(args, commit).map(Ended::Exit),
        Command::Doctor(args) => doctor::run(args, commit).map(Ended::Exit),
    }
}
