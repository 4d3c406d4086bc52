//! Cohorts to workers, records to the journal.
//!
//! The calling thread holds the queue and the journal and is the only one that decides; workers
//! are threads that train what they are handed and report. A worker gets its next cohort only
//! after everything that it reported is on the disk.
//!
//! **When something fails.** A cohort that runs out of memory is tried again at once in halves,
//! and later cohorts of its shape start as narrow. Whatever else fails, and a single job that
//! runs out of memory, goes to `failures.csv`; the next run tries it again. After `breaker`
//! failures in a row the pool asks whether the worker or its jobs are to blame:
//!
//! * The device failed, or cohorts of such a shape have trained before: the worker is, and stops.
//! * Otherwise its next cohort is a test, of a shape that has not failed so far. If that one fails
//!   too, or there is none left, the worker stops.
//!
//! So jobs that cannot run anywhere (too large, a data set that is missing) do not keep the others
//! from being tried, and a broken worker costs a handful of attempts. The jobs that a stopped worker
//! failed go once more to the end of the queue if other workers are left.
//!
//! A run that is killed can note nothing any more; `under_way.rs` has what the next one learns.

mod under_way;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use chrono::{DateTime, Utc};

use crate::execution::NO_THREAD;
use crate::job::{Job, JobId};
use crate::plan::cohort::{Cohort, Shape};
use crate::results::{
    Failure, FailureReason, Journal, Outcome, Record, ResultsError, hostname, one_line,
};
use crate::run::interrupt::EXIT_INTERRUPTED;
use crate::fmt::duration;
use crate::run::progress::{Display, Progress};
use crate::run::trainer::{Event, Stop, Trainer};
use under_way::UnderWay;

/// The exit code of a run that leaves jobs of its plan unfinished.
pub const EXIT_UNFINISHED: u8 = 3;

/// How a pool works.
pub struct Options<'a> {
    /// The device of each worker, as `failures.csv` shall name it; at least one.
    pub workers: Vec<String>,
    /// A worker that fails so many cohorts in a row is suspected; see the module's text.
    pub breaker: usize,
    /// What a job costs, in any unit; for the progress bar.
    pub cost: &'a dyn Fn(&Job) -> f64,
    /// Set from outside to end the run; the trainer must watch it too. The pool sets it when the
    /// journal cannot be written.
    pub stop: &'a AtomicBool,
    /// When to start no further cohort. Those that run are trained to their end.
    pub deadline: Option<Instant>,
    /// Jobs of the plan that were finished before.
    pub finished_before: usize,
}

impl<'a> Options<'a> {
    /// One worker for each of these devices, a breaker of 3, jobs that cost the same, no deadline.
    pub fn new(workers: Vec<String>, stop: &'a AtomicBool) -> Options<'a> {
        Options { workers, breaker: 3, cost: &|_| 1.0, stop, deadline: None, finished_before: 0 }
    }
}

/// Why a run ended.
#[derive(Debug)]
pub enum Ending {
    /// Every job was tried.
    Complete,
    /// It was asked to.
    Interrupted,
    /// The deadline passed with jobs left to start.
    Deadline,
    /// Every worker was stopped for failing too often.
    NoWorker,
    /// The system started no thread for a worker.
    NoThread(std::io::Error),
    /// The results could not be written.
    Journal(ResultsError),
}

/// What came of a run.
#[derive(Debug)]
pub struct Summary {
    /// The folder of the results.
    pub dir: PathBuf,
    /// Jobs of the plan that were finished before.
    pub finished_before: usize,
    /// Jobs that this run finished, diverged ones included.
    pub finished: usize,
    /// Those of them that diverged.
    pub diverged: usize,
    /// The last failure of each job that failed and was not finished.
    pub failed: Vec<Failure>,
    /// The error of the first failure, with all its causes.
    pub first_error: Option<String>,
    /// Jobs that were neither finished nor failed: interrupted, or never started.
    pub left: usize,
    /// Jobs that finished but are not on the disk.
    pub unwritten: usize,
    /// Those of them that were, until another program changed the files.
    pub lost: usize,
    /// Where the results that could not be written are kept; `None` if there are none.
    pub kept: Option<Result<Vec<PathBuf>, ResultsError>>,
    /// The devices of workers that were stopped for failing too often.
    pub stopped_workers: Vec<String>,
    /// Why it ended.
    pub ending: Ending,
    /// How long it took.
    pub elapsed: Duration,
}

impl Summary {
    /// 0 if every job of the plan is finished, 130 after an interrupt, otherwise 3: some failed,
    /// or the time was up.
    pub fn exit_code(&self) -> u8 {
        match self.ending {
            _ if self.failed.is_empty() && self.left == 0 && self.unwritten == 0 => 0,
            Ending::Interrupted => EXIT_INTERRUPTED,
            _ => EXIT_UNFINISHED,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = duration(self.elapsed.as_secs_f64());
        write!(f, "finished {} jobs in {took}", self.finished)?;
        if self.diverged > 0 {
            write!(f, ", {} of them diverged", self.diverged)?;
        }
        if self.finished_before > 0 {
            write!(f, "; {} were finished before", self.finished_before)?;
        }
        if !self.failed.is_empty() {
            write!(f, "\n{} jobs failed:", self.failed.len())?;
            let mut reasons: BTreeMap<(&str, &str), usize> = BTreeMap::new();
            for failure in &self.failed {
                *reasons.entry((failure.reason.name(), &failure.message)).or_default() += 1;
            }
            let mut reasons: Vec<_> = reasons.into_iter().collect();
            reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            for ((reason, message), count) in reasons.iter().take(10) {
                write!(f, "\n  {count} x {reason}: {message}")?;
            }
            if reasons.len() > 10 {
                write!(f, "\n  and {} other messages, see failures.csv", reasons.len() - 10)?;
            }
        }
        if let Some(error) = &self.first_error {
            write!(f, "\nthe first error was:\n  {}", error.trim_end().replace('\n', "\n  "))?;
        }
        let again = "run the same command again";
        match &self.ending {
            Ending::Complete if self.failed.is_empty() && self.left == 0 => Ok(()),
            Ending::Complete => write!(f, "\nto try them again, {again}"),
            Ending::Interrupted => {
                write!(f, "\ninterrupted with {} jobs left; to go on, {again}", self.left)
            }
            Ending::Deadline => {
                write!(f, "\nthe time is up with {} jobs left; to go on, {again}", self.left)
            }
            Ending::NoWorker => write!(
                f,
                "\nevery worker failed too often in a row, so {} jobs were not started; mend the cause, then {again}",
                self.left
            ),
            Ending::NoThread(error) => write!(
                f,
                "\nthe system starts no thread for a worker ({error}), so {} jobs were not started; {NO_THREAD}, then {again}",
                self.left
            ),
            Ending::Journal(error) => {
                write!(f, "\nstopped, because the results could not be written: {error}")?;
                self.say_what_is_not_written(f)
            }
        }
    }
}

impl Summary {
    fn say_what_is_not_written(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unwritten {
            0 => {
                let left = self.left;
                write!(f, "\nevery finished job is on disk after all; {left} are left")?;
            }
            n => write!(f, "\n{n} finished jobs are not on disk")?,
        }
        if self.lost > 0 {
            write!(f, "; {} of them were, until the files were changed", self.lost)?;
        }
        let dir = self.dir.display();
        match &self.kept {
            Some(Err(error)) => write!(
                f,
                "\nwhat could not be written could not be kept elsewhere either ({error}), and is trained again"
            ),
            Some(Ok(files)) if !files.is_empty() => {
                let listed: Vec<String> =
                    files.iter().map(|file| file.display().to_string()).collect();
                write!(f, "\nwhat could not be written is kept in {};\n", listed.join(", "))?;
                if files.iter().any(|file| file.parent() != Some(&self.dir)) {
                    write!(f, "move that to {dir}; ")?;
                }
                write!(
                    f,
                    "once the files of {dir} are in order, `wninit merge {dir}` adds it, \
                     and without that it is trained again"
                )
            }
            _ if self.unwritten > 0 => {
                write!(f, "\nthey are trained again when the same command runs again")
            }
            _ => Ok(()),
        }
    }
}

/// What a worker says to the pool.
enum Message {
    Event(usize, Event),
    /// The worker is back; the outer error is what it panicked with.
    Back(usize, Result<Result<(), Stop>, String>),
}

/// A cohort in the queue.
#[derive(Clone)]
struct Task {
    cohort: Cohort,
    /// A worker that was stopped later has failed it before.
    second_try: bool,
}

/// A cohort under way.
struct Running {
    task: Task,
    unfinished: Vec<(JobId, Job)>,
    share: f64,
}

struct Worker {
    device: String,
    /// `None` once the worker was stopped.
    orders: Option<Sender<Cohort>>,
    running: Option<Running>,
    /// What it failed since it last succeeded.
    streak: Vec<Task>,
    /// The last failure.
    last: Option<(FailureReason, String)>,
}

/// Trains cohorts in their order, as many at a time as there are workers, and writes what is
/// finished into the journal. See the module's text for what happens when something fails.
pub fn run<T: Trainer>(
    cohorts: Vec<Cohort>,
    trainer: &T,
    journal: &mut Journal,
    options: &Options<'_>,
) -> Summary {
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
                    last: None,
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
            pool.display.say(&format!(
                "warning: the system starts threads for {started} of {} workers ({error}); {NO_THREAD}",
                options.workers.len()
            ));
        }
        let mut summary = pool.run(&reports);
        if let (0, Some(error), Ending::NoWorker) = (started, refused, &summary.ending) {
            summary.ending = Ending::NoThread(error);
        }
        summary
    })
}

/// A worker's life: train what comes until no more can come.
fn work<T: Trainer>(index: usize, trainer: &T, inbox: &Receiver<Cohort>, report: &Sender<Message>) {
    for cohort in inbox {
        // If nobody listens any more, the pool is gone, and so is the reason to report.
        let mut event = |event| drop(report.send(Message::Event(index, event)));
        // What a panic may leave half-done belongs to the cohort, which is given up.
        let back = catch_unwind(AssertUnwindSafe(|| trainer.train(index, &cohort, &mut event)));
        let back = back.map_err(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            text.or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no message".to_owned())
        });
        drop(report.send(Message::Back(index, back)));
    }
}

struct Pool<'a> {
    options: &'a Options<'a>,
    journal: &'a mut Journal,
    queue: VecDeque<Task>,
    workers: Vec<Worker>,
    /// Finished, but not yet on disk.
    records: Vec<Record>,
    /// Failed, but not yet on disk.
    failures: Vec<Failure>,
    /// Why nothing can be written.
    broken: Option<ResultsError>,
    /// The widest that a shape is tried: half of what ran out of memory, or was killed too often.
    widths: HashMap<Shape, usize>,
    trained: HashSet<Shape>,
    failed_shapes: HashSet<Shape>,
    failed: HashMap<JobId, Failure>,
    attempts: HashMap<JobId, u32>,
    first_error: Option<String>,
    jobs: usize,
    /// The jobs that this run has written: how they ended, and how many epochs they have.
    written: HashMap<JobId, (Outcome, usize)>,
    finished: usize,
    diverged: usize,
    cost: f64,
    cost_done: f64,
    display: Display,
    under_way: UnderWay,
    /// Whether cohorts were handed out or came back since `under_way` was written.
    moved: bool,
    host: String,
    started: Instant,
    started_at: DateTime<Utc>,
    said_stop: bool,
}

impl<'a> Pool<'a> {
    /// How long the pool sleeps while no worker reports.
    const NAP: Duration = Duration::from_millis(200);

    fn new(
        mut cohorts: Vec<Cohort>,
        workers: Vec<Worker>,
        journal: &'a mut Journal,
        options: &'a Options<'a>,
    ) -> Pool<'a> {
        let display = Display::new(journal.dir());
        let (under_way, lesson) = UnderWay::open(journal.dir(), &cohorts);
        if let Some(says) = lesson.says {
            display.say(&says);
        }
        cohorts.sort_by_key(|cohort| lesson.widths.contains_key(&cohort.shape()));
        let jobs = cohorts.iter().flat_map(Cohort::jobs);
        Pool {
            jobs: jobs.clone().count(),
            cost: jobs.map(options.cost).sum(),
            cost_done: 0.0,
            display,
            under_way,
            moved: true,
            queue: cohorts.into_iter().map(|cohort| Task { cohort, second_try: false }).collect(),
            options,
            journal,
            workers,
            records: Vec::new(),
            failures: Vec::new(),
            broken: None,
            widths: lesson.widths,
            trained: HashSet::new(),
            failed_shapes: HashSet::new(),
            failed: HashMap::new(),
            attempts: HashMap::new(),
            first_error: None,
            written: HashMap::new(),
            finished: 0,
            diverged: 0,
            host: hostname(),
            started: Instant::now(),
            started_at: Utc::now(),
            said_stop: false,
        }
    }

    fn run(mut self, reports: &Receiver<Message>) -> Summary {
        loop {
            self.assign();
            self.note();
            self.show();
            if self.workers.iter().all(|worker| worker.running.is_none()) {
                break;
            }
            match reports.recv_timeout(Self::NAP) {
                Ok(message) => {
                    self.take(message);
                    // All that is waiting goes to disk as one group.
                    while let Ok(message) = reports.try_recv() {
                        self.take(message);
                    }
                    self.flush();
                }
                Err(RecvTimeoutError::Timeout) => self.flush(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.end()
    }

    fn stopping(&self) -> bool {
        self.broken.is_some() || self.options.stop.load(Ordering::Relaxed)
    }

    /// Leaves word of what is under way, for the case that this process is killed. Once it was
    /// asked to stop, it is not killed without notice.
    fn note(&mut self) {
        if !std::mem::take(&mut self.moved) {
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

    /// Hands cohorts to the workers that have none.
    fn assign(&mut self) {
        if self.stopping() {
            let running = self.workers.iter().filter(|worker| worker.running.is_some()).count();
            if !self.said_stop && running > 0 && self.broken.is_none() {
                self.display.say("stopping: each worker finishes its step and saves; press Ctrl-C again to stop at once");
            }
            self.moved |= !self.said_stop;
            self.said_stop = true;
            return;
        }
        for w in 0..self.workers.len() {
            if self.late() {
                return;
            }
            if self.workers[w].running.is_none() && self.workers[w].orders.is_some() {
                self.judge(w); // what others did since may have decided it
            }
            let worker = &self.workers[w];
            let Some(orders) = worker.orders.clone().filter(|_| worker.running.is_none()) else {
                continue;
            };
            let Some(task) = self.next(w) else { continue };
            let unfinished = task.cohort.jobs().iter().map(|job| (job.id(), job.clone())).collect();
            if orders.send(task.cohort.clone()).is_ok() {
                self.workers[w].running = Some(Running { task, unfinished, share: 0.0 });
                self.moved = true;
            } else {
                self.queue.push_front(task); // its thread is gone, which nothing but a bug explains
                self.workers[w].orders = None;
            }
        }
    }

    /// The next cohort for a worker, as narrow as experience says.
    fn next(&mut self, w: usize) -> Option<Task> {
        let suspected = self.workers[w].streak.len() >= self.options.breaker;
        let place = if suspected { self.test() } else { Some(0) };
        let mut task = self.queue.remove(place?)?;
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

    /// Where in the queue is a cohort that tells a broken worker from broken jobs?
    fn test(&self) -> Option<usize> {
        self.queue.iter().position(|task| !self.failed_shapes.contains(&task.cohort.shape()))
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Event(w, Event::Progress(share)) => {
                if let Some(running) =
                    self.workers[w].running.as_mut().filter(|_| share.is_finite())
                {
                    running.share = share.clamp(0.0, 1.0);
                }
            }
            Message::Event(_, Event::Note(note)) => self.display.say(&note),
            Message::Event(w, Event::Finished(record)) => {
                let id = record.job.id();
                let Some(running) = &mut self.workers[w].running else {
                    return;
                };
                // Each job counts once, whatever a trainer says.
                if let Some(i) = running.unfinished.iter().position(|(other, _)| *other == id) {
                    running.unfinished.remove(i);
                    self.records.push(*record);
                }
            }
            Message::Back(w, back) => {
                let Some(Running { task, unfinished, .. }) = self.workers[w].running.take() else {
                    return;
                };
                self.moved = true;
                let cost = self.options.cost;
                self.cost_done += task.cohort.jobs().iter().map(cost).sum::<f64>();
                let left: f64 = unfinished.iter().map(|(_, job)| cost(job)).sum();
                let (reason, error) = match back {
                    Ok(Ok(())) if unfinished.is_empty() => {
                        self.trained.insert(task.cohort.shape());
                        self.workers[w].streak.clear();
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
                        anyhow!("a bug: the trainer came back without a result for this job"),
                    ),
                    Err(panic) => {
                        (FailureReason::Panic, anyhow!("a bug: the worker panicked: {panic}"))
                    }
                };
                self.fail(w, task, unfinished, reason, &error);
            }
        }
    }

    /// Tries the rest of a cohort again in halves.
    fn halve(&mut self, task: &Task, unfinished: Vec<(JobId, Job)>, error: &anyhow::Error) {
        let width = task.cohort.jobs().len().div_ceil(2);
        self.widths.insert(task.cohort.shape(), width);
        let rest = Cohort::new(unfinished.into_iter().map(|(_, job)| job).collect());
        self.display.say(&format!(
            "out of memory with {} jobs at once ({}); trying again with half as many",
            task.cohort.jobs().len(),
            one_line(error)
        ));
        for half in rest.halves().into_iter().flatten().rev() {
            self.queue.push_front(Task { cohort: half, second_try: task.second_try });
        }
    }

    /// Notes that jobs failed, and stops the worker if it is to blame.
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
        self.display.say(&format!(
            "failed on worker {w} ({device}): job {first}{more}: {reason}: {message}"
        ));
        self.first_error.get_or_insert_with(|| match reason {
            // Looking up a backtrace takes memory that is not there.
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
        worker.last = Some((reason, message));
        self.judge(w);
    }

    /// Stops a worker that has failed too often, if it and not its jobs is to blame.
    fn judge(&mut self, w: usize) {
        let worker = &self.workers[w];
        let failures = worker.streak.len();
        let others = self.workers.iter().filter(|other| other.orders.is_some()).count() - 1;
        if failures < self.options.breaker || (others == 0 && self.queue.is_empty()) {
            return;
        }
        let Some((reason, message)) = &worker.last else {
            return;
        };
        let guilty = *reason == FailureReason::Device
            || worker.streak.iter().any(|task| self.trained.contains(&task.cohort.shape()))
            || failures > self.options.breaker
            || self.test().is_none();
        if !guilty {
            return;
        }
        let rest =
            if others > 0 { format!("{others} go on") } else { "no worker is left".to_owned() };
        self.display.say(&format!(
            "worker {w} ({}) failed {failures} times in a row and takes no more jobs; {rest}. Its last error: {message}",
            worker.device
        ));
        self.workers[w].orders = None;
        let streak = std::mem::take(&mut self.workers[w].streak);
        for task in streak.into_iter().filter(|task| others > 0 && !task.second_try) {
            self.cost_done -= task.cohort.jobs().iter().map(self.options.cost).sum::<f64>();
            self.queue.push_back(Task { second_try: true, ..task });
        }
    }

    /// Writes what waits. After an error the run ends; what could not be written is kept.
    fn flush(&mut self) {
        if self.broken.is_some() {
            return;
        }
        // Who has lost the folder stops at once, and not only when there is something to write.
        if let Err(error) = self.journal.held().and_then(|()| self.write()) {
            self.display.say(&format!("stopping, because the results cannot be written: {error}"));
            self.broken = Some(error);
            self.options.stop.store(true, Ordering::Relaxed);
        }
    }

    fn write(&mut self) -> Result<(), ResultsError> {
        if !self.records.is_empty() {
            self.journal.append(&self.records)?;
            for record in self.records.drain(..) {
                let id = record.job.id();
                self.failed.remove(&id);
                self.written.insert(id, (record.outcome, record.epochs.len()));
                self.finished += 1;
                self.diverged += usize::from(record.outcome == Outcome::Diverged);
            }
        }
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

    fn progress(&self) -> Progress {
        let running = self.workers.iter().filter_map(|worker| worker.running.as_ref());
        let cost = |running: &Running| {
            running.share * running.task.cohort.jobs().iter().map(self.options.cost).sum::<f64>()
        };
        let done = self.cost_done + running.clone().map(cost).sum::<f64>();
        let fraction = if self.cost > 0.0 { (done / self.cost).clamp(0.0, 1.0) } else { 1.0 };
        let elapsed = self.started.elapsed().as_secs_f64();
        Progress {
            pid: std::process::id(),
            host: self.host.clone(),
            started_at: self.started_at,
            updated_at: Utc::now(),
            planned: self.options.finished_before + self.jobs,
            finished: self.options.finished_before + self.finished,
            diverged: self.diverged,
            failed: self.failed.len(),
            running: running.map(|running| running.unfinished.len()).sum(),
            fraction,
            eta_seconds: (fraction > 0.0).then(|| elapsed * (1.0 - fraction) / fraction),
        }
    }

    /// The error that another program's change of the files is, and how many jobs that were
    /// finished are no longer there because of it: of this run, and of those before.
    fn lost(&mut self) -> Option<(ResultsError, usize, usize)> {
        let error = self.journal.unchanged().err()?;
        let standing = self.journal.standing();
        let before = self.written.len();
        self.written.retain(|id, (_, epochs)| standing.get(id).is_some_and(|n| *n >= *epochs));
        let lost = before - self.written.len();
        let finished = self.journal.finished();
        let lost_before = finished.iter().filter(|id| !standing.contains_key(id)).count();
        let lost_before = lost_before.saturating_sub(lost).min(self.options.finished_before);
        Some((error, lost, lost_before))
    }

    fn end(mut self) -> Summary {
        let mut broken = self.broken.take();
        // Room may have been made since; nothing that was measured is given up lightly. What another
        // program has changed is left alone.
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
                // It has been said.
            } else if lost + lost_before > 0 {
                broken = Some(error);
            } else {
                let all = "every job that was finished so far has its row";
                self.display.say(&format!("warning: {error} ({all})"));
            }
            self.finished = self.written.len();
            let diverged = |(outcome, _): &&(Outcome, usize)| *outcome == Outcome::Diverged;
            self.diverged = self.written.values().filter(diverged).count();
        }
        let kept = (broken.is_some() || !self.records.is_empty() || !self.failures.is_empty())
            .then(|| self.journal.keep_aside(&self.records, &self.failures));
        self.moved = true;
        self.note(); // for the jobs that were written only now
        let progress = self.progress();
        self.display.show(&progress);
        self.display.end();
        let unwritten = self.records.len() + lost;
        let left = self.jobs.saturating_sub(self.finished + self.failed.len() + unwritten);
        let left = left + lost_before;
        let ending = match broken {
            Some(error) => Ending::Journal(error),
            None if left > 0 && self.options.stop.load(Ordering::Relaxed) => Ending::Interrupted,
            None if left > 0 && self.late() => Ending::Deadline,
            None if !self.queue.is_empty() => Ending::NoWorker,
            None => Ending::Complete,
        };
        let mut failed: Vec<Failure> = self.failed.into_values().collect();
        failed.sort_by_key(|failure| (failure.at, failure.id));
        let stopped = self
            .workers
            .into_iter()
            .filter(|worker| worker.orders.is_none())
            .map(|worker| worker.device);
        Summary {
            dir: self.journal.dir().to_owned(),
            finished_before: self.options.finished_before - lost_before,
            finished: self.finished,
            diverged: self.diverged,
            failed,
            first_error: self.first_error,
            left,
            unwritten,
            lost,
            kept,
            stopped_workers: stopped.collect(),
            ending,
            elapsed: self.started.elapsed(),
        }
    }
}
