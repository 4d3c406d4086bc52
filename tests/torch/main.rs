//! Tests of the programs with libtorch, one module per promise.
#![allow(missing_docs, clippy::unwrap_used)]

mod again;
mod checkout;
mod confirm;
mod conformance;
mod curvature;
mod doctor;
mod export_networks;
mod faults;
mod foreign;
mod golden;
mod json;
#[path = "../common/npz.rs"]
mod npz;
mod output;
mod own_data;
mod own_initializers;
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
mod until_decided;
mod verify;

use program::{WNINIT_TORCH, root, wninit};
