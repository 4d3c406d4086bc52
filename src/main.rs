//! The command line: one subcommand, one file in `commands/`.
//!
//! Commands that need tensors live in a second program beside this one, `wninit-torch`, because
//! loading libtorch takes longer than all that the others do. For the same reason the modules are
//! compiled into this program by themselves: the library would bring libtorch along.

#![allow(dead_code, unused_imports)] // what only the other program uses

mod cohort;
mod commands;
mod console;
mod cost;
mod data;
mod execution;
mod grid;
mod job;
mod plan;
mod progress;
mod report;
mod results;
mod rng;
mod shard;
mod slurm;
mod speed;
mod stats;
mod summary;
mod sweep;
mod table;
mod text;

use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::Context;

fn main() -> ExitCode {
    commands::main(|command| commands::run(command).unwrap_or_else(hand_over))
}

/// Becomes `wninit-torch` with the same arguments. Comes back only if that fails.
fn hand_over() -> anyhow::Result<u8> {
    let program = std::env::current_exe()
        .context("cannot find this program's own file")?
        .with_file_name("wninit-torch");
    let mut command = std::process::Command::new(&program);
    command.args(std::env::args_os().skip(1));
    // Threads of OpenMP that wait for each other by spinning keep each other from running where
    // cores are shared: a sweep of 2 s took more than a minute. OpenMP reads this when it is loaded.
    if std::env::var_os("OMP_WAIT_POLICY").is_none() {
        command.env("OMP_WAIT_POLICY", "passive");
    }
    let error = command.exec();
    Err(error).with_context(|| {
        format!(
            "cannot start {}, which belongs beside wninit; build it with `make build`",
            program.display()
        )
    })
}
