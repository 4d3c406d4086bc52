//! What a user can do from outside without libtorch, one module a promise.
#![allow(missing_docs, clippy::unwrap_used)]

mod bad_grids;
mod commit;
#[path = "../common/mod.rs"]
mod common;
mod confirm;
mod export;
mod fetch;
mod journal;
mod makefile;
mod plan_command;
mod pool;
mod readme;
mod report;
mod schema;
mod shipped_sweeps;
#[path = "../skip/mod.rs"]
mod skip;
mod status;
mod summary_command;

/// The program.
const WNINIT: &str = env!("CARGO_BIN_EXE_wninit");

/// The repository.
fn root() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
}
