//! Statistics of a sweep's results: numbers in, estimates, intervals and verdicts out.
//!
//! [`describe`] (means, quantiles, spreads), [`inference`] (an estimate, its interval and its
//! tests; Student's t in [`student`], anytime-valid tests in [`sequential`]), [`verdict`] (decides
//! claims), [`planning`] (how many seeds a decision needs) and [`dispersion`] (compares spreads)
//! are functions of numbers. Each names the paper or the textbook that it follows, and is compared
//! with an independent implementation (`tests/fixtures/stats`).
//!
//! [`summary`] applies them to a sweep. Runs that differ only in their seeds form a cell; the seed
//! is the unit of replication. The learning rate of each initializer is chosen on validation
//! accuracy, and initializers are then compared on test accuracy. A diverged run counts as a guess,
//! and missing runs are counted: no run is dropped silently.
//!
//! Nothing here reads a file or prints, and random numbers come from named streams, so the same
//! records give the same summary, byte for byte.

pub mod bounded;
pub mod describe;
pub mod dispersion;
pub mod inference;
pub mod interval;
pub mod planning;
mod power;
pub mod proportion;
pub mod sequential;
pub mod student;
pub mod summary;
#[cfg(test)]
mod testing;
pub mod verdict;
