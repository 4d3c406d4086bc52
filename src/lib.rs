//! Which initialization survives depth, learning rate and seed?

pub mod commands;
pub mod sweep;
pub mod pool;
pub mod progress;
pub mod interrupt;
pub mod train;
pub mod models;
pub mod nn;
pub mod device;
pub mod torch;
pub mod data;
pub mod report;
pub mod summary;
pub mod table;
pub mod stats;
pub mod plan;
pub mod cost;
pub mod grid;
pub mod cohort;
pub mod execution;
pub mod results;
pub mod job;
pub mod rng;
