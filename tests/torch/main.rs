//! What a user can do from outside with libtorch, one module a promise.
#![allow(missing_docs, clippy::unwrap_used)]

mod curvature;
mod faults;
mod golden;
#[path = "../program/mod.rs"]
mod program;
mod readme;
mod resume;
mod shards;
mod signal;
mod slurm;
mod stacked_equals_alone;
mod starts_fast;
mod tensorboard;
mod theorems;
mod verify;
