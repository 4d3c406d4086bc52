//! What a user can do from outside with libtorch, one module a promise.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

mod again;
mod checkout;
mod conformance;
mod curvature;
mod doctor;
mod faults;
mod foreign;
mod golden;
mod output;
#[path = "../program/mod.rs"]
mod program;
mod readme;
mod resume;
mod shards;
mod signal;
#[path = "../skip/mod.rs"]
mod skip;
mod slurm;
mod stacked_equals_alone;
mod starts_fast;
mod theorems;
mod verify;

const WNINIT_TORCH: &str = env!("CARGO_BIN_EXE_wninit-torch");

/// `wninit`, which cargo builds beside `wninit-torch`, but not for a test program of this package.
fn wninit() -> PathBuf {
    let program = Path::new(WNINIT_TORCH).with_file_name("wninit");
    assert!(
        program.exists(),
        "{} is missing: run `cargo build` with the same profile",
        program.display()
    );
    program
}

/// The repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).unwrap()
}
