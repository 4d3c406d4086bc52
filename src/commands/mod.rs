//! One file a command.

pub mod summary;
