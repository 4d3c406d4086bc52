//! Training: one cohort in, records out.
//!
//! [`Libtorch`] (`trainer.rs`) is the [`Trainer`](wninit_core::run::trainer::Trainer) that the worker
//! pool gets. It builds the initial stack (`initial.rs`) or resumes a checkpoint (`checkpoint.rs`) and
//! advances a `Session` step by step (`session.rs`):
//!
//! * a step gathers images (`data.rs`), augments them (`augment.rs`), computes the learning rates
//!   (`schedule.rs`) and runs on the device through `launch.rs`, as a CUDA graph if there is a GPU (tests
//!   record on the CPU, too: `recorder.rs`);
//! * losses are read every few steps; members whose loss, validation loss or parameters are not finite
//!   leave the stack (`session/divergence.rs`);
//! * an epoch ends with validation, the last one with a test on the best parameters (`evaluate.rs`).
//!
//! `failure.rs` turns libtorch's panics into failures with a reason, `tf32_lock.rs` keeps cohorts apart
//! that need different TF32 settings, and `measure.rs` times cohorts for the planner.

pub mod augment;
pub(crate) mod checkpoint;
mod data;
mod evaluate;
pub(crate) mod failure;
pub(crate) mod initial;
mod launch;
mod measure;
mod recorder;
pub(crate) mod schedule;
mod session;
mod tf32_lock;
mod trainer;

pub(crate) use checkpoint::as_safetensors;
pub use data::{DeviceData, DeviceImages};
pub(crate) use trainer::CheckpointConfig;
pub use trainer::Libtorch;
