//! Training and probing stacks of networks with libtorch.
//!
//! **One model is a stack.** Jobs of one shape differ in initializer, learning rate, momentum, schedule
//! and seed, but never in the shape of a tensor. Their networks train as one program whose parameters are
//! all `[member, …]`; a single job is a stack of one, so there is one training path.
//!
//! * [`ffi`] is what tch lacks: a C++ shim (`torch.cpp`, compiled by `build.rs`), CUDA graphs and streams,
//!   and the one place that calls libtorch's convolutions, round their known faults.
//! * [`nn`] has layers with their own forward and backward passes, and the kernels under them. There is no
//!   autograd in training: a hand-written backward pass updates weights in place, and can be recorded
//!   as a CUDA graph. Tests compare it with autograd and with float64 references.
//! * [`models`] puts layers together: an MLP, a CNN, residual networks.
//! * [`train`] takes a cohort through its epochs: initialization, augmentation, schedule, validation,
//!   divergence (a member whose loss is not finite leaves the stack), checkpoints. [`train::Libtorch`] is the
//!   [`Trainer`](wninit_core::run::trainer::Trainer) that the pool gets.
//! * [`probe`] measures networks before training: signals by layer, the curvature of the loss, and how
//!   well this machine's arithmetic agrees with float64.
//! * [`commands`] are the commands that need these. They write data; `wninit` makes tables and pages of it.
//!
//! The program `wninit-torch` is a package of its own (`program/`), because it alone knows the commit it
//! was built from: after a commit nothing else is compiled.

pub mod commands;
pub(crate) mod device;
pub mod ffi;
pub mod models;
pub mod nn;
pub mod probe;
pub mod train;
