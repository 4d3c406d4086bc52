//! The pool's main loop: assigns cohorts to workers, handles their messages, and writes records and
//! failures to the journal.

mod breaker;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use chrono::{DateTime, Utc};

use super::PoolOptions;
use super::summary::{RunEnd, RunSummary};
use super::under_way::UnderWay;
use crate::job::{Job, JobId};
use crate::plan::cohort::{Cohort, Shape};
use crate::results::{
    Failure, FailureReason, Journal, Outcome, Record, ResultsError, hostname, one_line,
};
use crate::run::progress::{Display, RunProgress};
use crate::run::trainer::{Event, Stop};

/// What a worker reports.
pub(super) enum Message {
    Event(usize, Event),
    /// The trainer returned; the outer error is a panic's message.
    Returned(usize, Result<Result<(), Stop>, String>),
}

/// A cohort in the queue.
#[derive(Clone)]
pub(super) struct Task {
    pub(super) cohort: Cohort,
    /// It has failed on a worker that was stopped since.
    pub(super) second_try: bool,
}

/// A cohort in training.
pub(super) struct Running {
    pub(super) task: Task,
    pub(super) unfinished: Vec<(JobId, Job)>,
    pub(super) share: f64,
}

pub(super) struct Worker {
    pub(super) device: String,
    /// `None` once the worker is stopped.
    pub(super) orders: Option<Sender<Cohort>>,
    pub(super) running: Option<Running>,
    /// What it failed since its last success.
    pub(super) streak: Vec<Task>,
    pub(super) last_error: Option<(FailureReason, String)>,
}

pub(super) struct Pool<'a> {
    options: &'a PoolOptions<'a>,
    journal: &'a mut Journal,
    queue: VecDeque<Task>,
    workers: Vec<Worker>,
    /// Finished, not yet on disk.
    records: Vec<Record>,
    /// Cohorts whose last record may not be on disk yet.
    ended: Vec<Cohort>,
    /// Failed, not yet on disk.
    failures: Vec<Failure>,
    /// Why the journal cannot be written.
    broken: Option<ResultsError>,
    /// The maximum width of a shape's cohorts: half of one that ran out of memory or was killed twice.
    widths: HashMap<Shape, usize>,
    trained: HashSet<Shape>,
    failed_shapes: HashSet<Shape>,
    failed: HashMap<JobId, Failure>,
    attempts: HashMap<JobId, u32>,
    first_error: Option<String>,
    jobs: usize,
    /// The outcome and number of epochs of each job that this run has written.
    written: HashMap<JobId, (Outcome, usize)>,
    cost: f64,
    cost_done: f64,
    display: Display,
    under_way: UnderWay,
    /// Whether cohorts started or ended since `under_way` was written.
    changed: bool,
    host: String,
    started: Instant,
    started_at: DateTime<Utc>,
    announced_stop: bool,
}

impl<'a> Pool<'a> {
    const NAP: Duration = Duration::from_millis(200);

    pub(super) fn new(
        mut cohorts: Vec<Cohort>,
        workers: Vec<Worker>,
        journal: &'a mut Journal,
        options: &'a PoolOptions<'a>,
    ) -> Pool<'a> {
        let display = Display::new(journal.dir());
        let (under_way, policy) = UnderWay::open(journal.dir(), &cohorts);
        if let Some(message) = policy.message {
            display.print(&message);
        }
        cohorts.sort_by_key(|cohort| policy.widths.contains_key(&cohort.shape()));
        let jobs = cohorts.iter().flat_map(Cohort::jobs);
        Pool {
            jobs: jobs.clone().count(),
            cost: jobs.map(options.cost).sum(),
            cost_done: 0.0,
            display,
            under_way,
            changed: true,
            queue: cohorts.into_iter().map(|cohort| Task { cohort, second_try: false }).collect(),
            options,
            journal,
            workers,
            records: Vec::new(),
            ended: Vec::new(),
            failures: Vec::new(),
            broken: None,
            widths: policy.widths,
            trained: HashSet::new(),
            failed_shapes: HashSet::new(),
            failed: HashMap::new(),
            attempts: HashMap::new(),
            first_error: None,
            written: HashMap::new(),
            host: hostname(),
            started: Instant::now(),
            started_at: Utc::now(),
            announced_stop: false,
        }
    }

    pub(super) fn run(mut self, reports: &Receiver<Message>) -> RunSummary {
        loop {
            self.assign();
            self.save_under_way();
            self.show();
            if self.workers.iter().all(|worker| worker.running.is_none()) {
                break;
            }
            match reports.recv_timeout(Self::NAP) {
                Ok(message) => {
                    self.handle(message);
                    // All waiting messages are written as one group.
                    while let Ok(message) = reports.try_recv() {
                        self.handle(message);
                    }
                    self.flush();
                }
                Err(RecvTimeoutError::Timeout) => self.flush(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.end()
    }

    pub(super) fn warn(&self, message: &str) {
        self.display.print(message);
    }

    fn stopping(&self) -> bool {
        self.broken.is_some() || self.options.stop.load(Ordering::Relaxed)
    }

    /// Persists the cohorts in training in case of SIGKILL. After a request to stop there are none: a
    /// kill is then not caused by the jobs.
    fn save_under_way(&mut self) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let stopping = self.stopping();
        let running = self.workers.iter().filter_map(|worker| worker.running.as_ref());
        let finished = self.journal.finished();
        self.under_way.set(running.filter(|_| !stopping), |id| finished.contains(&id));
    }

    fn late(&self) -> bool {
        self.options.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Assigns cohorts to idle workers.
    fn assign(&mut self) {
        if self.stopping() {
            let running = self.workers.iter().filter(|worker| worker.running.is_some()).count();
            if !self.announced_stop && running > 0 && self.broken.is_none() {
                self.display.print("stopping: each worker finishes its step and saves; press Ctrl-C again to stop at once");
            }
            self.changed |= !self.announced_stop;
            self.announced_stop = true;
            return;
        }
        for w in 0..self.workers.len() {
            if self.late() {
                return;
            }
            if self.workers[w].running.is_none() && self.workers[w].orders.is_some() {
                self.check_breaker(w); // other workers may have changed the verdict
            }
            let worker = &self.workers[w];
            let Some(orders) = worker.orders.clone().filter(|_| worker.running.is_none()) else {
                continue;
            };
            let Some(task) = self.next(w) else { continue };
            let unfinished = task.cohort.jobs().iter().map(|job| (job.id(), job.clone())).collect();
            if orders.send(task.cohort.clone()).is_ok() {
                self.workers[w].running = Some(Running { task, unfinished, share: 0.0 });
                self.changed = true;
            } else {
                self.queue.push_front(task); // a bug: its thread has ended
                self.workers[w].orders = None;
            }
        }
    }

    /// The next cohort for a worker, no wider than `widths` allows.
    fn next(&mut self, w: usize) -> Option<Task> {
        let suspected = self.workers[w].streak.len() >= breaker::BREAKER;
        let index = if suspected { self.test_cohort() } else { Some(0) };
        let mut task = self.queue.remove(index?)?;
        let width = self.widths.get(&task.cohort.shape()).copied().unwrap_or(usize::MAX);
        while task.cohort.jobs().len() > width {
            let Some([first, rest]) = task.cohort.halves() else {
                break;
            };
            self.queue.push_front(Task { cohort: rest, second_try: task.second_try });
            task.cohort = first;
        }
        Some(task)
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Event(w, Event::Progress(share)) => {
                if let Some(running) =
                    self.workers[w].running.as_mut().filter(|_| share.is_finite())
                {
                    running.share = share.clamp(0.0, 1.0);
                }
            }
            Message::Event(_, Event::Note(note)) => self.display.print(&note),
            Message::Event(w, Event::Finished(record)) => {
                let id = record.job.id();
                let Some(running) = &mut self.workers[w].running else {
                    return;
                };
                // A job counts once, even if a trainer reports it twice.
                if let Some(i) = running.unfinished.iter().position(|(other, _)| *other == id) {
                    running.unfinished.remove(i);
                    self.records.push(*record);
                }
            }
            Message::Returned(w, result) => {
                let Some(Running { task, unfinished, .. }) = self.workers[w].running.take() else {
                    return;
                };
                self.changed = true;
                let cost = self.options.cost;
                self.cost_done += task.cohort.jobs().iter().map(cost).sum::<f64>();
                let left: f64 = unfinished.iter().map(|(_, job)| cost(job)).sum();
                let (reason, error) = match result {
                    Ok(Ok(())) if unfinished.is_empty() => {
                        self.trained.insert(task.cohort.shape());
                        self.workers[w].streak.clear();
                        self.ended.push(task.cohort);
                        return;
                    }
                    Ok(Err(Stop::Interrupted)) => {
                        self.cost_done -= left;
                        return;
                    }
                    Ok(Err(Stop::Failed { reason: FailureReason::Memory, error }))
                        if unfinished.len() > 1 =>
                    {
                        self.cost_done -= left;
                        self.halve(&task, unfinished, &error);
                        return;
                    }
                    Ok(Err(Stop::Failed { reason, error })) => (reason, error),
                    Ok(Ok(())) => (
                        FailureReason::Panic,
                        anyhow!("a bug: the trainer returned no result for this job"),
                    ),
                    Err(panic) => {
                        (FailureReason::Panic, anyhow!("a bug: the worker panicked: {panic}"))
                    }
                };
                self.fail(w, task, unfinished, reason, &error);
            }
        }
    }

    /// Queues the unfinished jobs of a cohort in halves.
    fn halve(&mut self, task: &Task, unfinished: Vec<(JobId, Job)>, error: &anyhow::Error) {
        let width = task.cohort.jobs().len().div_ceil(2);
        self.widths.insert(task.cohort.shape(), width);
        let rest = Cohort::new(unfinished.into_iter().map(|(_, job)| job).collect());
        self.display.print(&format!(
            "out of memory with {} jobs at once ({}); trying again with half as many",
            task.cohort.jobs().len(),
            one_line(error)
        ));
        for half in rest.halves().into_iter().flatten().rev() {
            self.queue.push_front(Task { cohort: half, second_try: task.second_try });
        }
    }

    /// Records failed jobs, and stops the worker if the breaker trips.
    fn fail(
        &mut self,
        w: usize,
        task: Task,
        jobs: Vec<(JobId, Job)>,
        reason: FailureReason,
        error: &anyhow::Error,
    ) {
        let message = one_line(error);
        let device = self.workers[w].device.clone();
        let (first, more) =
            (jobs.first().map(|(id, _)| id.to_string()).unwrap_or_default(), jobs.len().max(1) - 1);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        self.display.print(&format!(
            "failed on worker {w} ({device}): job {first}{more}: {reason}: {message}"
        ));
        self.first_error.get_or_insert_with(|| match reason {
            // Formatting a backtrace would need memory.
            FailureReason::Memory => message.clone(),
            _ => error.chain().map(ToString::to_string).collect::<Vec<_>>().join("\n  caused by: "),
        });
        for (id, _) in &jobs {
            let before = self.attempts.entry(*id).or_insert_with(|| self.journal.attempts(*id));
            *before += 1;
            let failure = Failure {
                id: *id,
                attempt: *before,
                reason,
                message: message.clone(),
                device: device.clone(),
                hostname: self.host.clone(),
                at: Utc::now(),
            };
            self.failed.insert(*id, failure.clone());
            self.failures.push(failure);
        }

        let shape = task.cohort.shape();
        self.failed_shapes.insert(shape);
        let cohort = if jobs.is_empty() {
            task.cohort
        } else {
            Cohort::new(jobs.into_iter().map(|(_, job)| job).collect())
        };
        let worker = &mut self.workers[w];
        worker.streak.push(Task { cohort, second_try: task.second_try });
        worker.last_error = Some((reason, message));
        self.check_breaker(w);
    }

    /// Writes pending records and failures. After an error the run ends, and they are kept aside.
    fn flush(&mut self) {
        if self.broken.is_some() {
            return;
        }
        // A lost lock ends the run even if nothing is pending.
        if let Err(error) = self.journal.check_lock().and_then(|()| self.write()) {
            self.display
                .print(&format!("stopping, because the results cannot be written: {error}"));
            self.broken = Some(error);
            self.options.stop.store(true, Ordering::Relaxed);
        }
    }

    /// Makes pending rows durable: the journal syncs them before it returns.
    fn write(&mut self) -> Result<(), ResultsError> {
        if !self.records.is_empty() {
            self.journal.append(&self.records)?;
            for record in self.records.drain(..) {
                let id = record.job.id();
                self.failed.remove(&id);
                self.written.insert(id, (record.outcome, record.epochs.len()));
            }
        }
        self.ended.drain(..).for_each(|cohort| (self.options.durable)(&cohort));
        if !self.failures.is_empty() {
            self.journal.append_failures(&self.failures)?;
            self.failures.clear();
        }
        Ok(())
    }

    fn show(&mut self) {
        if self.display.due() {
            let progress = self.progress();
            self.display.show(&progress);
        }
    }

    fn diverged(&self) -> usize {
        self.written.values().filter(|(outcome, _)| *outcome == Outcome::Diverged).count()
    }

    fn progress(&self) -> RunProgress {
        let running = self.workers.iter().filter_map(|worker| worker.running.as_ref());
        let cost = |running: &Running| {
            running.share * running.task.cohort.jobs().iter().map(self.options.cost).sum::<f64>()
        };
        let done = self.cost_done + running.clone().map(cost).sum::<f64>();
        let fraction = if self.cost > 0.0 { (done / self.cost).clamp(0.0, 1.0) } else { 1.0 };
        let elapsed = self.started.elapsed().as_secs_f64();
        RunProgress {
            pid: std::process::id(),
            host: self.host.clone(),
            started_at: self.started_at,
            updated_at: Utc::now(),
            planned: self.options.finished_before + self.jobs,
            finished: self.options.finished_before + self.written.len(),
            diverged: self.diverged(),
            failed: self.failed.len(),
            running: running.map(|running| running.unfinished.len()).sum(),
            fraction,
            eta_seconds: (fraction > 0.0).then(|| elapsed * (1.0 - fraction) / fraction),
        }
    }

    /// If another program has changed the files: the error, and how many finished jobs are no longer in
    /// them, of this run and of earlier ones.
    fn lost(&mut self) -> Option<(ResultsError, usize, usize)> {
        let error = self.journal.check_unchanged().err()?;
        let on_disk = self.journal.rows_on_disk();
        let before = self.written.len();
        self.written.retain(|id, (_, epochs)| on_disk.get(id).is_some_and(|n| *n >= *epochs));
        let lost = before - self.written.len();
        let finished = self.journal.finished();
        let lost_before = finished.iter().filter(|id| !on_disk.contains_key(id)).count();
        let lost_before = lost_before.saturating_sub(lost).min(self.options.finished_before);
        Some((error, lost, lost_before))
    }

    fn end(mut self) -> RunSummary {
        let mut broken = self.broken.take();
        // Retry: there may be room on the disk by now. Files that another program has changed are left
        // alone.
        if !broken.as_ref().is_some_and(ResultsError::is_change)
            && let Err(error) = self.write()
            && (broken.is_none() || error.is_change())
        {
            broken = Some(error);
        }
        let (mut lost, mut lost_before) = (0, 0);
        if let Some((error, of_this_run, of_others)) = self.lost() {
            (lost, lost_before) = (of_this_run, of_others);
            if broken.as_ref().is_some_and(ResultsError::is_change) {
                // Already reported.
            } else if lost + lost_before > 0 {
                broken = Some(error);
            } else {
                let all = "every job that was finished so far has its row";
                self.display.print(&format!("warning: {error} ({all})"));
            }
        }
        let kept = (broken.is_some() || !self.records.is_empty() || !self.failures.is_empty())
            .then(|| self.journal.keep_aside(&self.records, &self.failures));
        self.changed = true;
        self.save_under_way(); // without the jobs that were just written
        let progress = self.progress();
        self.display.show(&progress);
        self.display.end();
        let unwritten = self.records.len() + lost;
        let (finished, diverged) = (self.written.len(), self.diverged());
        let left = self.jobs.saturating_sub(finished + self.failed.len() + unwritten);
        let left = left + lost_before;
        let ending = match broken {
            Some(error) => RunEnd::Journal(error),
            None if left > 0 && self.options.stop.load(Ordering::Relaxed) => RunEnd::Interrupted,
            None if left > 0 && self.late() => RunEnd::Deadline,
            None if !self.queue.is_empty() => RunEnd::NoWorker,
            None => RunEnd::Complete,
        };
        let mut failed: Vec<Failure> = self.failed.into_values().collect();
        failed.sort_by_key(|failure| (failure.at, failure.id));
        RunSummary {
            dir: self.journal.dir().to_owned(),
            finished_before: self.options.finished_before - lost_before,
            finished,
            diverged,
            failed,
            first_error: self.first_error,
            left,
            unwritten,
            lost,
            kept,
            ending,
            elapsed: self.started.elapsed(),
        }
    }
}
