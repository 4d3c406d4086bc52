//! One file a command: its arguments, and what it does with them.

pub mod merge;
pub mod status;
