//! Serialises cohorts that need different TF32 settings, since libtorch's setting applies to the whole
//! process. GPU cohorts with the same setting run concurrently, others wait, in the order of their
//! arrival, so that none starves. CPU cohorts do not use TF32 and never wait.

use std::cell::Cell;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

pub(crate) struct Tf32Lock {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The setting of the running cohorts.
    tf32: bool,
    running: usize,
    /// Tickets of the waiting cohorts, in order.
    queue: VecDeque<u64>,
    next: u64,
}

/// Holds the setting until it is dropped.
#[must_use]
pub(crate) struct Tf32Guard<'t> {
    lock: &'t Tf32Lock,
    /// Not `Send`: see `TAKEN`.
    _thread: PhantomData<*mut ()>,
}

thread_local! {
    /// Whether the thread holds a guard: waiting for another would deadlock.
    static TAKEN: Cell<bool> = const { Cell::new(false) };
}

impl Tf32Lock {
    pub(crate) const fn new() -> Tf32Lock {
        let state = State { tf32: false, running: 0, queue: VecDeque::new(), next: 0 };
        Tf32Lock { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits until the setting may be `tf32` and calls `set`. `None` if `stopped` becomes true.
    ///
    /// # Panics
    /// If the calling thread holds a guard.
    pub(crate) fn take(
        &self,
        tf32: bool,
        set: impl FnOnce(bool),
        stopped: impl Fn() -> bool,
    ) -> Option<Tf32Guard<'_>> {
        assert!(!TAKEN.get(), "a thread takes one guard at a time");
        let mut state = self.lock();
        let own = state.next;
        state.next += 1;
        state.queue.push_back(own);
        while state.queue.front() != Some(&own) || (state.running > 0 && state.tf32 != tf32) {
            if stopped() {
                state.queue.retain(|waiting| *waiting != own);
                self.changed.notify_all();
                return None;
            }
            let waited = self.changed.wait_timeout(state, Duration::from_millis(100));
            state = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
        state.queue.pop_front();
        state.running += 1;
        state.tf32 = tf32;
        set(tf32);
        TAKEN.set(true);
        self.changed.notify_all();
        Some(Tf32Guard { lock: self, _thread: PhantomData })
    }
}

impl Drop for Tf32Guard<'_> {
    fn drop(&mut self) {
        TAKEN.set(false);
        self.lock.lock().running -= 1;
        self.lock.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
    use std::sync::mpsc;

    #[test]
    fn no_cohort_runs_with_the_other_setting_and_all_run() {
        let lock = Tf32Lock::new();
        let setting = AtomicBool::new(false);
        let done = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for worker in 0..6 {
                let (lock, setting, done) = (&lock, &setting, &done);
                scope.spawn(move || {
                    for cohort in 0..50 {
                        let tf32 = (worker + cohort / 2) % 2 == 0;
                        let guard = lock.take(tf32, |tf32| setting.store(tf32, SeqCst), || false);
                        for _ in 0..20 {
                            assert_eq!(setting.load(SeqCst), tf32);
                            std::thread::yield_now();
                        }
                        drop(guard.unwrap());
                        done.fetch_add(1, SeqCst);
                    }
                });
            }
        });
        assert_eq!(done.load(SeqCst), 300);
    }

    #[test]
    fn cohorts_with_the_same_setting_run_concurrently() {
        let lock = Tf32Lock::new();
        let first = lock.take(true, |_| (), || false);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| lock.take(true, |_| (), || false).is_some());
            assert!(second.join().unwrap());
        });
        drop(first);
    }

    #[test]
    fn waiting_is_first_come_first_served_and_a_stop_ends_it() {
        let lock = Tf32Lock::new();
        let first = lock.take(false, |_| (), || false).unwrap();
        let (order, served) = mpsc::channel();
        let stop = AtomicBool::new(false);
        let waiting = |n: usize| {
            while lock.lock().queue.len() != n {
                std::thread::yield_now();
            }
        };
        std::thread::scope(|scope| {
            let stopped = scope.spawn(|| lock.take(true, |_| (), || stop.load(SeqCst)).is_none());
            waiting(1);
            for (i, tf32) in [true, false].into_iter().enumerate() {
                let (lock, order) = (&lock, order.clone());
                scope.spawn(move || {
                    // The later fp32 cohort does not overtake the TF32 cohort.
                    let guard = lock.take(tf32, |_| (), || false);
                    order.send(tf32).unwrap();
                    drop(guard);
                });
                waiting(2 + i);
            }
            stop.store(true, SeqCst);
            assert!(stopped.join().unwrap());
            assert!(served.try_recv().is_err(), "none is served while the first one runs");
            drop(first);
        });
        assert_eq!(served.try_iter().collect::<Vec<bool>>(), [true, false]);
    }

    #[test]
    #[should_panic(expected = "one guard at a time")]
    fn a_thread_cannot_deadlock_with_itself() {
        let lock = Tf32Lock::new();
        let _first = lock.take(false, |_| (), || false);
        let _second = lock.take(true, |_| (), || false);
    }
}
