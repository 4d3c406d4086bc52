//! Which initialization survives depth, learning rate and seed?
//!
//! `wninit` trains thousands of small networks to answer that. A TOML grid says which, and a CSV
//! that survives being killed at any moment has the answer. Data flows one way, and so do the
//! imports: a module imports only from modules that stand below it in this list.
//!
//! ```text
//! sweeps/*.toml ─▶ grid ─▶ plan ─▶ cohort ─▶ pool ─▶ train ─▶ results ─▶ summary ─▶ report
//! ```
//!
//! Three ideas carry it:
//!
//! 1. **One model is a stack.** Jobs of one shape form a cohort, whose parameters are tensors
//!    `[member, …]`; a single job is a cohort of one. There is one training path.
//! 2. **A job's result depends on the job alone**: not on its neighbours, the number of workers,
//!    the order, or an interruption. Every draw comes from a stream named by
//!    (seed, purpose, epoch).
//! 3. **What is measured is never lost, and never flattered.** A finished job is on disk before
//!    the next one starts; a run that diverged is a result, one that the machine cut short is not.
//!
//! The program is two: `wninit` (`main.rs`) reads, plans and summarises without loading libtorch,
//! and hands over to `wninit-torch` (`bin/wninit-torch/`) what needs tensors. To follow a sweep
//! from its grid to its CSV, read `bin/wninit-torch/run.rs`, then [`grid`], [`plan`], [`pool`],
//! [`train`] and [`results`].

pub mod cli;
pub mod console;
pub mod data;
pub mod execution;
pub mod grid;
pub mod job;
pub mod plan;
pub mod results;
pub mod rng;
pub mod run;
pub mod table;
pub mod text;
