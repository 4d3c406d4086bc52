//! The program's commands, one a file. Each has its `Args` and a `run` that returns the exit code:
//! 0 done, 2 a bad grid or command line, 3 some jobs failed, 130 interrupted, 1 anything else.

pub mod merge;
pub mod plan;
pub mod status;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::grid::{Grid, GridError, Overrides};

/// What `wninit` can do.
#[derive(Subcommand)]
pub enum Command {
    /// Say what a grid means: its jobs, what is finished, what the rest will cost
    Plan(plan::Args),
}

/// A grid and what the command line changes in it.
#[derive(Args, Clone, Debug)]
pub struct GridArgs {
    /// The grid, a TOML file
    pub grid: PathBuf,
    /// Set a field for all jobs, whatever the grid says (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Keep only these values of an axis (repeatable)
    #[arg(long, value_name = "AXIS=A,B")]
    pub only: Vec<String>,
    /// Apply the grid's overlay [profile.NAME]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
}

impl GridArgs {
    /// Reads the grid with its overrides.
    ///
    /// # Errors
    /// As [`Grid::load`].
    pub fn load(&self) -> Result<Grid, GridError> {
        let overrides = Overrides {
            set: self.set.clone(),
            only: self.only.clone(),
            profile: self.profile.clone(),
        };
        Grid::load(&self.grid, &overrides)
    }
}

/// Carries out a command; the exit code.
///
/// # Errors
/// Whatever stopped it; [`fail`] prints it.
pub fn run(command: &Command) -> anyhow::Result<u8> {
    match command {
        Command::Plan(args) => plan::run(args),
    }
}

/// Prints an error with its causes in one line; the exit code for it.
pub fn fail(error: &anyhow::Error) -> u8 {
    let broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause
            .downcast_ref::<std::io::Error>()
            .map(std::io::Error::kind);
        let csv = cause
            .downcast_ref::<csv::Error>()
            .and_then(|error| match error.kind() {
                csv::ErrorKind::Io(error) => Some(error.kind()),
                _ => None,
            });
        io.or(csv) == Some(std::io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(broken_pipe) {
        return 0; // the reader, `head` perhaps, has seen enough
    }
    eprintln!("error: {error:#}");
    if error.chain().any(|cause| cause.is::<GridError>()) {
        2
    } else {
        1
    }
}
