//! Running a sweep: cohorts to workers, records to the journal.

pub mod interrupt;
pub mod pool;
pub mod progress;
pub mod sweep;
pub mod trainer;
pub mod until_decided;
