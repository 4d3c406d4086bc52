//! What the pool asks of whoever trains.

use crate::plan::cohort::Cohort;
use crate::results::{FailureReason, Record};

/// What a trainer tells while it works.
pub enum Event {
    /// A member of the cohort is finished; its record is final.
    Finished(Box<Record>),
    /// The share of the cohort's work that is done, from 0 to 1.
    Progress(f64),
    /// What the user should know.
    Note(String),
}

/// Why a trainer came back before every member was finished.
#[derive(Debug)]
pub enum Stop {
    /// It was asked to; what is worth keeping is in a checkpoint.
    Interrupted,
    /// The machine failed it.
    Failed {
        /// The kind of failure.
        reason: FailureReason,
        /// What happened.
        error: anyhow::Error,
    },
}

/// Trains cohorts. The pool takes one as an argument, so that a test can pass a fake.
pub trait Trainer: Sync {
    /// Trains the cohort on worker `worker` of the pool and reports each member as it finishes.
    ///
    /// # Errors
    /// [`Stop`]; members that were already reported stay finished.
    fn train(
        &self,
        worker: usize,
        cohort: &Cohort,
        event: &mut dyn FnMut(Event),
    ) -> Result<(), Stop>;
}
