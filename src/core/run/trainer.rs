//! The interface between the pool and what trains.

use crate::plan::cohort::Cohort;
use crate::results::{FailureReason, Record};

/// What a trainer reports while it works.
pub enum Event {
    /// A member of the cohort is finished; its record is final.
    Finished(Box<Record>),
    /// The fraction of the cohort's work that is done.
    Progress(f64),
    /// A message for the user.
    Note(String),
}

/// Why a trainer returned before every member was finished.
#[derive(Debug)]
pub enum Stop {
    /// The stop flag was set; the state is in a checkpoint.
    Interrupted,
    /// The machine failed.
    #[allow(missing_docs)]
    Failed { reason: FailureReason, error: anyhow::Error },
}

/// Trains cohorts: libtorch in the program, a fake in tests of the pool.
pub trait Trainer: Sync {
    /// Trains the cohort on worker `worker` and reports each member when it finishes.
    ///
    /// # Errors
    /// [`Stop`]; members that were already reported stay finished.
    fn train(
        &self,
        worker: usize,
        cohort: &Cohort,
        event: &mut (dyn FnMut(Event) + Send),
    ) -> Result<(), Stop>;
}
