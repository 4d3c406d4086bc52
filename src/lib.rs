//! Which initialization survives depth, learning rate and seed?

pub mod commands;
pub mod train;
pub mod data;
pub mod cohort;
pub mod results;
pub mod job;
pub mod rng;
