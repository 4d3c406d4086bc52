//! What the results of a sweep show.

pub mod estimates;
pub mod summary;
