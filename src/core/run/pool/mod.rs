//! The worker pool: cohorts to workers, records to the journal.
//!
//! The calling thread runs the scheduler (`scheduler.rs`), which owns the queue and the journal. Workers
//! are threads that train cohorts and report. A worker gets its next cohort only after everything that it
//! reported is on disk.
//!
//! **Failures.** A cohort that runs out of memory is retried at once in halves, and later cohorts of its
//! shape start at that width. Any other failure, and a single job that runs out of memory, is written to
//! `failures.csv`, and the next run retries it. Workers that fail repeatedly are stopped (`scheduler/breaker.rs`).
//! For runs that are killed, see `under_way.rs`.

mod scheduler;
mod summary;
mod under_way;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use crate::execution::NO_THREAD;
use crate::job::Job;
use crate::plan::cohort::Cohort;
use crate::results::Journal;
use crate::run::trainer::Trainer;
use scheduler::{Message, Pool, Worker};
pub use summary::{EXIT_UNFINISHED, RunEnd, RunSummary};

/// How a pool runs.
pub struct PoolOptions<'a> {
    /// The device of each worker, as named in `failures.csv`; at least one.
    pub workers: Vec<String>,
    /// The cost of a job in any unit, for the progress bar.
    pub cost: &'a dyn Fn(&Job) -> f64,
    /// Set to end the run; the trainer must watch it too. The pool sets it when the journal cannot
    /// be written.
    pub stop: &'a AtomicBool,
    /// No cohort starts later; those that are running are completed.
    pub deadline: Option<Instant>,
    /// Jobs of the plan that earlier runs finished.
    pub finished_before: usize,
    /// Called once all results of a cohort are durable, so that its checkpoint can be deleted.
    pub durable: &'a dyn Fn(&Cohort),
}

impl<'a> PoolOptions<'a> {
    /// One worker per device, equal costs, no deadline.
    pub fn new(workers: Vec<String>, stop: &'a AtomicBool) -> PoolOptions<'a> {
        PoolOptions {
            workers,
            cost: &|_| 1.0,
            stop,
            deadline: None,
            finished_before: 0,
            durable: &|_| {},
        }
    }
}

/// Trains cohorts in order, one per worker at a time, and writes finished jobs to the journal. See the
/// module's documentation for failures.
pub fn run<T: Trainer>(
    cohorts: Vec<Cohort>,
    trainer: &T,
    journal: &mut Journal,
    options: &PoolOptions<'_>,
) -> RunSummary {
    let (report, reports) = mpsc::channel();
    thread::scope(|scope| {
        let mut workers = Vec::new();
        let mut refused = None;
        for (index, device) in options.workers.iter().enumerate() {
            let (orders, inbox) = mpsc::channel();
            let report = report.clone();
            let thread = thread::Builder::new().name(format!("worker {index}"));
            match thread.spawn_scoped(scope, move || work(index, trainer, &inbox, &report)) {
                Ok(_) => workers.push(Worker {
                    device: device.clone(),
                    orders: Some(orders),
                    running: None,
                    streak: Vec::new(),
                    last_error: None,
                }),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        let started = workers.len();
        let pool = Pool::new(cohorts, workers, journal, options);
        if let Some(error) = refused.as_ref().filter(|_| started > 0) {
            pool.warn(&format!(
                "warning: threads could be started for {started} of {} workers only ({error}); {NO_THREAD}",
                options.workers.len()
            ));
        }
        let mut summary = pool.run(&reports);
        if let (0, Some(error), RunEnd::NoWorker) = (started, refused, &summary.ending) {
            summary.ending = RunEnd::NoThread(error);
        }
        summary
    })
}

/// Worker main loop.
fn work<T: Trainer>(index: usize, trainer: &T, inbox: &Receiver<Cohort>, report: &Sender<Message>) {
    for cohort in inbox {
        // Sending fails only if the pool has ended.
        let mut event = |event| drop(report.send(Message::Event(index, event)));
        // A panic can only leave state of this cohort inconsistent, which is dropped.
        let result = catch_unwind(AssertUnwindSafe(|| trainer.train(index, &cohort, &mut event)));
        let result = result.map_err(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            text.or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no message".to_owned())
        });
        drop(report.send(Message::Returned(index, result)));
    }
}
