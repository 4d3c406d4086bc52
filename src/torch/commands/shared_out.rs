//! Tasks distributed to worker threads.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};

/// Distributes tasks to worker threads and calls `done` on the calling thread with each result. No
/// task starts after `stop` is set or `done` has returned false; those in progress are completed.
/// If some threads cannot be started there are fewer workers; if none can, the calling thread does
/// the work.
pub(super) fn shared_out<T: Send, R: Send>(
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

    #[test]
    fn every_task_runs_once_and_none_after_a_stop() {
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
        shared_out(vec![1], 4, &stop, |_, n: u32| n, |_| panic!("a task started after the stop"));
    }
}
