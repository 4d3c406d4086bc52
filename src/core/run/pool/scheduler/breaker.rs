//! The circuit breaker: stops workers that fail repeatedly.
//!
//! After [`BREAKER`] failed cohorts in a row, the cause is the worker or its
//! jobs:
//!
//! * If the device failed, or cohorts of a shape in the streak have trained before, the worker stops.
//! * Otherwise its next cohort is a test, of a shape that has not failed so far. If that one fails too, or
//!   there is none left, the worker stops.
//!
//! So jobs that cannot run anywhere (too large, a missing data set) do not prevent the others from being
//! tried, and a broken worker costs few attempts. The jobs that a stopped worker failed are queued once
//! more if other workers are left.

use super::{Pool, Task};
use crate::results::FailureReason;

pub(super) const BREAKER: usize = 3;

impl Pool<'_> {
    /// The queue index of a cohort that distinguishes a broken worker from jobs that cannot run: one of a
    /// shape that has not failed.
    pub(super) fn test_cohort(&self) -> Option<usize> {
        self.queue.iter().position(|task| !self.failed_shapes.contains(&task.cohort.shape()))
    }

    /// Stops a worker after repeated failures, if the worker and not its jobs is the cause.
    pub(super) fn check_breaker(&mut self, w: usize) {
        let worker = &self.workers[w];
        let failures = worker.streak.len();
        let others = self.workers.iter().filter(|other| other.orders.is_some()).count() - 1;
        if failures < BREAKER || (others == 0 && self.queue.is_empty()) {
            return;
        }
        let Some((reason, message)) = &worker.last_error else {
            return;
        };
        let broken = *reason == FailureReason::Device
            || worker.streak.iter().any(|task| self.trained.contains(&task.cohort.shape()))
            || failures > BREAKER
            || self.test_cohort().is_none();
        if !broken {
            return;
        }
        let rest =
            if others > 0 { format!("{others} continue") } else { "no worker is left".to_owned() };
        self.display.print(&format!(
            "worker {w} ({}) is stopped after {failures} failures in a row; {rest}. Its last error: {message}",
            worker.device
        ));
        self.workers[w].orders = None;
        let streak = std::mem::take(&mut self.workers[w].streak);
        for task in streak.into_iter().filter(|task| others > 0 && !task.second_try) {
            self.cost_done -= task.cohort.jobs().iter().map(self.options.cost).sum::<f64>();
            self.queue.push_back(Task { second_try: true, ..task });
        }
    }
}
