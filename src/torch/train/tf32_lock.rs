//! Whether TF32 is allowed is a setting of the whole process, and part of a job. So cohorts on GPUs
//! that allow it and cohorts that do not take turns: those of one kind run at the same time, those
//! of the other wait until they are done. They are served in the order in which they came, so none
//! waits for ever. A cohort on the CPU knows no TF32 and does not wait.

use std::cell::Cell;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Those who run and those who wait.
pub(crate) struct Tf32Lock {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The setting, while somebody runs.
    tf32: bool,
    running: usize,
    /// Who waits, the first one in front.
    queue: VecDeque<u64>,
    next: u64,
}

/// The turn of a cohort, until it is dropped.
pub(crate) struct Tf32Guard<'t> {
    turns: &'t Tf32Lock,
    /// It is the thread's that took it.
    _thread: PhantomData<*mut ()>,
}

thread_local! {
    /// Whether the thread has its turn: if it waited for another one, it waited for itself.
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

    /// Waits for the turn of a cohort that allows TF32 or does not, and then has `set` change the
    /// process's setting. `None` if `stopped` says so meanwhile.
    ///
    /// # Panics
    /// If the calling thread has its turn already.
    pub(crate) fn take(
        &self,
        tf32: bool,
        set: impl FnOnce(bool),
        stopped: impl Fn() -> bool,
    ) -> Option<Tf32Guard<'_>> {
        assert!(!TAKEN.get(), "a thread takes one turn at a time");
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
        Some(Tf32Guard { turns: self, _thread: PhantomData })
    }
}

impl Drop for Tf32Guard<'_> {
    fn drop(&mut self) {
        TAKEN.set(false);
        self.turns.lock().running -= 1;
        self.turns.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
    use std::sync::mpsc;

    #[test]
    fn nobody_runs_under_the_other_setting_and_everybody_runs() {
        let turns = Tf32Lock::new();
        let setting = AtomicBool::new(false);
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let done = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for worker in 0..6 {
                let (turns, setting, done) = (&turns, &setting, &done);
                let (running, most) = (&running, &most);
                scope.spawn(move || {
                    for cohort in 0..50 {
                        let tf32 = (worker + cohort / 2) % 2 == 0;
                        let turn = turns.take(tf32, |tf32| setting.store(tf32, SeqCst), || false);
                        most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                        for _ in 0..20 {
                            assert_eq!(setting.load(SeqCst), tf32);
                            std::thread::yield_now();
                        }
                        running.fetch_sub(1, SeqCst);
                        drop(turn.unwrap());
                        done.fetch_add(1, SeqCst);
                    }
                });
            }
        });
        assert_eq!(done.load(SeqCst), 300);
    }

    #[test]
    fn cohorts_of_one_kind_run_at_the_same_time() {
        let turns = Tf32Lock::new();
        let first = turns.take(true, |_| (), || false);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| turns.take(true, |_| (), || false).is_some());
            assert!(second.join().unwrap());
        });
        drop(first);
    }

    #[test]
    fn the_first_who_waits_is_served_first_and_a_stop_ends_the_wait() {
        let turns = Tf32Lock::new();
        let first = turns.take(false, |_| (), || false).unwrap();
        let (order, served) = mpsc::channel();
        let stop = AtomicBool::new(false);
        let waiting = |n: usize| {
            while turns.lock().queue.len() != n {
                std::thread::yield_now();
            }
        };
        std::thread::scope(|scope| {
            let stopped = scope.spawn(|| turns.take(true, |_| (), || stop.load(SeqCst)).is_none());
            waiting(1);
            for (i, tf32) in [true, false].into_iter().enumerate() {
                let (turns, order) = (&turns, order.clone());
                scope.spawn(move || {
                    // One of fp32 that came later does not overtake the TF32 one before it.
                    let turn = turns.take(tf32, |_| (), || false);
                    order.send(tf32).unwrap();
                    drop(turn);
                });
                waiting(2 + i);
            }
            stop.store(true, SeqCst);
            assert!(stopped.join().unwrap());
            assert!(served.try_recv().is_err(), "nobody is served while the first one runs");
            drop(first);
        });
        assert_eq!(served.try_iter().collect::<Vec<bool>>(), [true, false]);
    }

    #[test]
    #[should_panic(expected = "one turn at a time")]
    fn a_thread_does_not_wait_for_itself() {
        let turns = Tf32Lock::new();
        let _first = turns.take(false, |_| (), || false);
        let _second = turns.take(true, |_| (), || false);
    }
}
