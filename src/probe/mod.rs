//! What is measured of networks before they are trained: how signals travel through them
//! ([`signal`]) and how curved the loss is where they start ([`curvature`]).

pub mod conformance;
pub mod curvature;
pub mod eigen;
pub mod signal;

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};

use crate::job::{Augment, Draft, Job, JobId};

/// The job with all that has no say in where training starts at its default: the optimizer, its
/// schedule, the number of epochs, the test, augmentation (probes see images as they are) and the
/// precision (probes compute in fp32). Two jobs that differ in nothing else have the same start.
pub fn start_of(job: &Job) -> Job {
    let draft = Draft {
        augment: Some(Augment::None),
        precision: None,
        lr: None,
        momentum: None,
        weight_decay: None,
        schedule: None,
        warmup_epochs: None,
        warmup_lr: None,
        epochs: None,
        test_images: None,
        ..job.draft()
    };
    draft.resolve().unwrap_or_else(|_| job.clone())
}

/// Jobs that start from the same network and see the same images.
#[derive(Clone, Debug)]
pub struct Start {
    /// What they have in common, see [`start_of`].
    pub start: Job,
    /// The jobs, in the plan's order.
    pub jobs: Vec<Job>,
}

/// The distinct starts of jobs, in the order in which they first appear.
pub fn starts<'a>(jobs: impl IntoIterator<Item = &'a Job>) -> Vec<Start> {
    let mut starts: Vec<Start> = Vec::new();
    let mut known: HashMap<JobId, usize> = HashMap::new();
    for job in jobs {
        let start = start_of(job);
        let place = *known.entry(start.id()).or_insert_with(|| {
            starts.push(Start { start, jobs: Vec::new() });
            starts.len() - 1
        });
        starts[place].jobs.push(job.clone());
    }
    starts
}

/// Shares tasks out among workers, each a thread, and hands every result to `done` on the calling
/// thread as soon as it is there. After `stop` is set no further task begins; those under way end.
/// `done` says whether to go on: at the first "no" the rest is left. Where the system starts fewer
/// threads, there are fewer workers; the calling thread is one if there is no other.
pub fn shared_out<T: Send, R: Send>(
    tasks: Vec<T>,
    workers: usize,
    stop: &AtomicBool,
    work: impl Fn(usize, T) -> R + Sync,
    mut done: impl FnMut(R) -> bool,
) {
    let workers = workers.clamp(1, tasks.len().max(1));
    let queue = Mutex::new(VecDeque::from(tasks));
    let over = AtomicBool::new(false);
    let next = || {
        if stop.load(Ordering::Relaxed) || over.load(Ordering::Relaxed) {
            return None;
        }
        queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop_front()
    };
    std::thread::scope(|scope| {
        let (results, received) = mpsc::channel();
        let mut started = 0;
        for worker in 0..workers {
            let (results, next, work) = (results.clone(), &next, &work);
            let thread = std::thread::Builder::new().spawn_scoped(scope, move || {
                while let Some(task) = next() {
                    if results.send(work(worker, task)).is_err() {
                        break;
                    }
                }
            });
            if thread.is_err() {
                break;
            }
            started = worker + 1;
        }
        drop(results);
        while started == 0
            && let Some(task) = next()
        {
            if !done(work(0, task)) {
                over.store(true, Ordering::Relaxed);
            }
        }
        for result in received {
            if !over.load(Ordering::Relaxed) && !done(result) {
                over.store(true, Ordering::Relaxed);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::job::{DatasetName, Value};

    fn job(changes: &[(&str, Value)]) -> Job {
        let draft = Draft { dataset: Some(DatasetName::Digits), ..Draft::default() };
        draft.resolve().unwrap().with(changes).unwrap()
    }

    #[test]
    fn jobs_that_differ_in_how_they_are_trained_start_from_the_same_network() {
        let base = job(&[]);
        let trained_otherwise = [
            ("lr", Value::Float(0.3)),
            ("momentum", Value::Float(0.0)),
            ("weight_decay", Value::Float(1e-4)),
            ("epochs", Value::Integer(7)),
            ("warmup_epochs", Value::Integer(1)),
            ("schedule", Value::Text("halves".into())),
            ("precision", Value::Text("bf16".into())),
            ("test_images", Value::Integer(100)),
        ];
        for change in trained_otherwise {
            let name = change.0;
            assert_eq!(start_of(&job(&[change])), start_of(&base), "{name}");
        }
        let other_starts = [
            ("init", Value::Text("he_datadep".into())),
            ("init_seed", Value::Integer(1)),
            ("data_seed", Value::Integer(1)),
            ("batch_size", Value::Integer(32)),
            ("depth", Value::Integer(3)),
            ("train_images", Value::Integer(100)),
            ("input", Value::Text("standardised".into())),
        ];
        for change in other_starts {
            let name = change.0;
            assert_ne!(start_of(&job(&[change])), start_of(&base), "{name}");
        }
    }

    #[test]
    fn a_grid_over_learning_rates_has_one_start_for_all_of_them() {
        let rates = [0.1, 0.01, 0.001];
        let jobs: Vec<Job> = (0..2)
            .flat_map(|seed| {
                rates.map(|lr| job(&[("seed", Value::Integer(seed)), ("lr", Value::Float(lr))]))
            })
            .collect();
        let starts = starts(&jobs);
        assert_eq!(starts.len(), 2);
        assert_eq!(starts.concat_jobs(), jobs);
    }

    trait ConcatJobs {
        fn concat_jobs(&self) -> Vec<Job>;
    }

    impl ConcatJobs for Vec<Start> {
        fn concat_jobs(&self) -> Vec<Job> {
            self.iter().flat_map(|start| start.jobs.clone()).collect()
        }
    }

    #[test]
    fn every_task_is_done_once_and_none_after_a_stop() {
        let stop = AtomicBool::new(false);
        let mut results = Vec::new();
        shared_out(
            (0..50).collect(),
            4,
            &stop,
            |_, n: u32| n * n,
            |n| {
                results.push(n);
                true
            },
        );
        results.sort_unstable();
        assert_eq!(results, (0..50).map(|n| n * n).collect::<Vec<u32>>());

        stop.store(true, Ordering::Relaxed);
        shared_out(vec![1], 4, &stop, |_, n: u32| n, |_| panic!("it was to stop"));
    }
}
