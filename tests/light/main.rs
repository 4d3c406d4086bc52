//! What a user can do from outside without libtorch, one module a promise.
#![allow(missing_docs, clippy::unwrap_used)]

mod bad_grids;
#[path = "../common/mod.rs"]
mod common;
mod fetch;
mod journal;
mod makefile;
mod plan_command;
mod pool;
mod readme;
mod report;
mod shipped_sweeps;
mod starts_fast;
mod status;
mod summary_command;
