//! Which initialization survives depth, learning rate and seed?

pub mod train;
pub mod models;
pub mod nn;
pub mod torch;
pub mod cohort;
pub mod results;
pub mod job;
pub mod rng;
