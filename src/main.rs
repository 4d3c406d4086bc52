//! Which initialization survives depth, learning rate and seed?
//!
//! `wninit` trains thousands of small networks to answer that. A TOML grid lists them, and the
//! results are in a CSV file that survives being killed at any moment. This is the program that a
//! user starts; each subcommand is a file or folder in `commands/`.
//!
//! There are four crates, and imports go one way:
//!
//! ```text
//! wninit (this program) ──▶ wninit-stats ──▶ wninit-core ◀── wninit-torch ◀── its program ──▶ wninit-stats
//! ```
//!
//! * `wninit-core` (`src/core/`) reads grids, plans jobs, reads data, schedules cohorts of jobs and
//!   keeps the results. It has no tensors.
//! * `wninit-torch` (`src/torch/`) trains and probes networks with libtorch. It writes data and
//!   does not display it.
//! * `wninit-stats` (`src/stats/`) turns results into estimates, intervals and verdicts.
//! * This program displays them: tables (`commands/summary/`) and pages (`report/`).
//!
//! Loading libtorch takes longer than `plan`, `status` or `summary`, so the commands that need it
//! are in a second program. `wninit run sweeps/quick.toml --summary` runs as follows:
//!
//! 1. `wninit` parses the command line and replaces itself with `wninit-torch` (`execve`), with the
//!    same arguments.
//! 2. `wninit-torch` loads the grid, makes the plan, opens the sweep's folder and trains
//!    (`torch/commands/run.rs`). Each finished job is on disk before the next one starts.
//! 3. To display the summary, it replaces itself with `wninit --written DIR --code CODE run ...`.
//! 4. `wninit` prints the summary of DIR and exits with CODE.
//!
//! The process stays the same, so signals, resource limits, its id and its exit code need no
//! forwarding. `plan`, `status` and `summary` never load libtorch.

mod commands;
mod report;
mod slurm;

use std::process::ExitCode;

fn main() -> ExitCode {
    wninit_core::cli::main::<commands::Cli>()
}
