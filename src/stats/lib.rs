//! What the results of a sweep show: numbers in, estimates, intervals and verdicts out.
//!
//! [`describe`] (means, quantiles, spreads), [`inference`] (an estimate, its interval and its tests),
//! [`verdict`] (what they decide), [`planning`] (how many seeds that takes) and [`dispersion`] (spreads
//! compared) are functions of numbers. Each names the paper or the textbook that it follows, and is
//! compared with an independent implementation (`tests/fixtures/stats`).
//!
//! [`summary`] applies them to a sweep. Runs that differ in their seeds alone form a cell; the seed is
//! the unit of replication. The learning rate of each initializer is chosen on validation accuracy, and
//! initializers are then compared on test accuracy. A run that diverged counts as a guess, and what is missing is
//! counted as missing: no run is dropped without being mentioned.
//!
//! Nothing here reads a file, prints, or draws a random number that does not come from a named stream, so the same
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
