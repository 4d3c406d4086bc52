//! What a user can do from outside without libtorch, one module a promise.
#![allow(missing_docs, clippy::unwrap_used)]

mod bad_grids;
mod book_code;
mod book_pages;
mod choice;
mod command_line;
mod commit;
#[path = "../common/mod.rs"]
mod common;
mod confirm;
mod data;
mod export;
mod fetch;
mod figures;
mod grids;
mod jobs;
mod journal;
mod json;
mod layers;
mod makefile;
#[path = "../common/npz.rs"]
mod npz;
mod own_data;
mod own_initializers;
mod plan_command;
mod pool;
mod portions;
mod readme;
mod report;
mod schema;
mod shipped_sweeps;
#[path = "../common/simulation.rs"]
mod simulation;
#[path = "../skip/mod.rs"]
mod skip;
mod status;
mod summary;
mod summary_command;
#[path = "../common/sweeps.rs"]
mod sweeps;
mod tables;
mod until_decided;
mod verdicts;

/// The program.
const WNINIT: &str = env!("CARGO_BIN_EXE_wninit");

/// Copies the program to `to`. `cp` does it, because a file that this process has open for writing
/// cannot be executed while another test's new process still holds it ("text file busy").
fn copy_program(to: &std::path::Path) {
    let copied = std::process::Command::new("cp").arg(WNINIT).arg(to).status();
    assert!(copied.unwrap().success());
}

/// The repository.
fn root() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
}
