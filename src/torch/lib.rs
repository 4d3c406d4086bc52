//! Training and probing of stacked networks with libtorch.
//!
//! Jobs of one shape (a cohort) may differ in initializer, learning rate, momentum, weight decay,
//! schedule and seed, but not in the shape of any tensor. Their networks train as one stack whose
//! parameters are all `[member, …]`; a single job is a stack of one, so there is one training path.
//!
//! * [`ffi`]: the parts of libtorch that tch lacks: a C++ shim (`torch.cpp`), CUDA graphs and
//!   streams, and the only caller of libtorch's convolutions (`conv2d.rs`), which avoids their
//!   known faults (`faults.rs`).
//! * [`nn`]: layers with their own forward and backward passes, and their kernels. Gains are computed
//!   in `init.rs`.
//! * [`models`]: builds the network that [`Arch::network`](wninit_core::job::Arch::network)
//!   describes.
//! * [`train`]: trains a cohort. [`train::Libtorch`] is the
//!   [`Trainer`](wninit_core::run::trainer::Trainer) of the worker pool.
//! * [`probe`]: measurements before training: signals by layer, curvature, conformance with float64.
//! * [`commands`]: the commands that use these. They write data; `wninit` makes tables and pages of it.
//!
//! # A training step
//! `train/session.rs` (`Session::advance`) takes the step's slice of the epoch's image indices,
//! learning rates (`train/schedule.rs`) and augmentation draws, which were copied to the device when the
//! epoch began. `train/launch.rs` runs the step, on a GPU as a CUDA graph: gather the images
//! (`train/data.rs`), preprocess them (`train/augment.rs`), `Model::train_step` (`models/mod.rs`). That
//! passes micro-batches forward through the layers, which save tensors on a `Tape` (`nn/mod.rs`), and backward
//! in reverse order. Each layer's backward pass updates its parameters in place (`nn/params.rs`,
//! `nn/kernels/`). There is no autograd; with recomputation only every √depth-th input is kept. Losses
//! stay on the device until `Session::read_losses`.
//!
//! # A member that diverges
//! `Session::read_losses` finds a loss that is not finite, `Session::end_epoch` a validation loss,
//! parameters or the test loss. `train/session/divergence.rs` removes the member from the stack,
//! the optimizer state and the epoch's inputs; `train/trainer.rs` turns it into a record with the
//! outcome `diverged`, which the pool (`wninit_core::run::pool`) appends to the journal. The other
//! members' results do not change: all arithmetic is per member, in an order that does not depend
//! on the stack's width.
//!
//! # A checkpoint
//! `train/trainer.rs` writes one every `--checkpoint-every` and after a request to stop
//! (`train/checkpoint.rs`): a safetensors file with parameters, momentum, statistics, best parameters
//! and the members' progress, behind a checksum. The next run's `commands/run.rs` scans the folder, queues
//! the cohorts of its checkpoints first, and `Checkpoint::resume` continues at the same step with the
//! same random streams, so the results equal those of an uninterrupted run.
//!
//! # A failure
//! libtorch's exceptions become panics in tch; `train/failure.rs` catches them around a cohort and
//! derives the reason (memory, device, panic). The pool retries a cohort that ran out of memory in
//! halves and writes other failures to `failures.csv`.
//!
//! The program `wninit-torch` is a separate package (`program/`), because only it contains the
//! commit that it was built from: a commit does not recompile the libraries.

pub mod commands;
pub(crate) mod device;
pub mod ffi;
pub mod models;
pub mod nn;
pub mod probe;
pub mod train;
