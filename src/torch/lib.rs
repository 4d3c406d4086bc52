//! Training and probing of stacks of networks with libtorch.

pub mod commands;
pub mod device;
pub mod ffi;
pub mod models;
pub mod nn;
pub mod probe;
pub mod train;
