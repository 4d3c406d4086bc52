//! Which initialization survives depth, learning rate and seed?

pub mod cohort;
pub mod commands;
pub mod cost;
pub mod grid;
pub mod job;
pub mod plan;
pub mod results;
pub mod rng;
pub mod train;
