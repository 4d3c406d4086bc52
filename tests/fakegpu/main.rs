//! `make test-fakegpu`: the GPU engine's work around its kernels, with the real programs and the real
//! libtorch on a pretend CUDA runtime (`tests/fakecuda`).
//!
//! What is computed means nothing there. What is tested: no call that CUDA would refuse, every job
//! finished whatever fails, and everything given back at the end.
#![allow(missing_docs, clippy::unwrap_used)]

mod commands;
mod divergence;
mod failures;
mod interruption;
mod pretend;
#[allow(dead_code)] // tests/torch has the rest of the uses
#[path = "../program/mod.rs"]
mod program;
mod shapes;
#[path = "../skip/mod.rs"]
mod skip;
mod workers;
