//! Which initialization survives depth, learning rate and seed?
//!
//! `wninit` trains thousands of small networks to answer that. A TOML grid lists them, and a CSV that
//! survives being killed at any moment has the answer. This is the program that a user starts; each
//! subcommand is a file in `commands/`.
//!
//! There are four crates, and imports go one way:
//!
//! ```text
//! wninit (this program) ──▶ wninit-stats ──▶ wninit-core ◀── wninit-torch ◀── its program ──▶ wninit-stats
//! ```
//!
//! * `wninit-core` (`src/core/`) reads grids, plans jobs, reads data, schedules cohorts of jobs and
//!   keeps the results. It knows nothing of tensors.
//! * `wninit-torch` (`src/torch/`) trains and probes networks with libtorch. It writes data and shows none.
//! * `wninit-stats` (`src/stats/`) turns results into estimates, intervals and verdicts.
//! * This program shows them: tables (`commands/summary.rs`) and pages (`report/`).
//!
//! Loading libtorch takes longer than everything that `plan`, `status` or `summary` do, so what needs it
//! is a second program. `wninit run sweeps/quick.toml --summary` goes like this:
//!
//! 1. `wninit` reads the command line and becomes `wninit-torch` (`execve`), with the same arguments.
//! 2. `wninit-torch` loads the grid, makes the plan, opens the sweep's folder and trains
//!    (`torch/commands/run.rs`). Each finished job is on disk before the next one starts.
//! 3. Because there is something to show, it becomes `wninit --written DIR --code CODE run ...`.
//! 4. `wninit` prints the summary of DIR and ends with CODE.
//!
//! The process is the same one all the time, so signals, resource limits, its id and its exit code need
//! no forwarding. `plan`, `status` and `summary` never load libtorch.

mod commands;
mod report;
mod slurm;

use std::process::ExitCode;

use wninit_core::cli;

use commands::Cli;

fn main() -> ExitCode {
    cli::main(Cli::without_threads, |cli| commands::run(&cli))
}
