//! Which initialization survives depth, learning rate and seed?

pub mod commands;
pub mod summary;
pub mod table;
pub mod stats;
pub mod train;
pub mod cohort;
pub mod results;
pub mod job;
pub mod rng;
