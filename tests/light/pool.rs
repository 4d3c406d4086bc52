//! The worker pool with fake trainers.

use std::collections::{HashMap, HashSet};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::common::{cohorts, folder, job, jobs, planned, record};
use anyhow::anyhow;
use wninit_core::job::{Job, JobId};
use wninit_core::plan::cohort::Cohort;
use wninit_core::results::{
    FailureReason, Journal, Outcome, equal_results, finished_ids, read_epochs, read_failures,
    read_runs,
};
use wninit_core::run::pool::{self, PoolOptions, RunEnd, RunSummary};
use wninit_core::run::progress::RunProgress;
use wninit_core::run::trainer::{Event, Stop, Trainer};

/// A trainer that calls a function before it finishes each job of a cohort.
struct Fake<F>(F);

impl<F> Trainer for Fake<F>
where
    F: Fn(usize, &Cohort, &Job) -> Result<(), Stop> + Sync,
{
    fn train(
        &self,
        worker: usize,
        cohort: &Cohort,
        event: &mut (dyn FnMut(Event) + Send),
    ) -> Result<(), Stop> {
        for (i, job) in cohort.jobs().iter().enumerate() {
            self.0(worker, cohort, job)?;
            event(Event::Finished(Box::new(record(job))));
            event(Event::Progress((i + 1) as f64 / cohort.jobs().len() as f64));
        }
        Ok(())
    }
}

fn failed(reason: FailureReason, message: &str) -> Result<(), Stop> {
    Err(Stop::Failed { reason, error: anyhow!("{message}") })
}

fn fine(_: usize, _: &Cohort, _: &Job) -> Result<(), Stop> {
    Ok(())
}

fn run<F>(dir: &Path, workers: usize, cohorts: Vec<Cohort>, train: F) -> RunSummary
where
    F: Fn(usize, &Cohort, &Job) -> Result<(), Stop> + Sync,
{
    let stop = AtomicBool::new(false);
    let mut journal = Journal::open(dir).unwrap();
    let options = PoolOptions::new((0..workers).map(|i| format!("cuda:{i}")).collect(), &stop);
    pool::run(cohorts, &Fake(train), &mut journal, &options)
}

fn reasons(dir: &Path) -> HashMap<FailureReason, usize> {
    let mut reasons = HashMap::new();
    for failure in read_failures(dir).unwrap() {
        *reasons.entry(failure.reason).or_default() += 1;
    }
    reasons
}

#[test]
fn every_job_is_finished_once_with_one_worker_and_with_many() {
    for workers in [1, 2, 5] {
        let dir = folder();
        let jobs = jobs(101);
        let summary = run(dir.path(), workers, cohorts(&jobs, 7), fine);
        assert_eq!((summary.finished, summary.diverged, summary.left), (101, 20, 0));
        assert_eq!(summary.exit_code(), 0, "a diverged job is finished");
        let runs = read_runs(dir.path()).unwrap();
        assert!(runs.warnings.is_empty());
        let epochs = read_epochs(dir.path()).unwrap();
        assert_eq!(runs.records.len(), 101);
        for found in &runs.records {
            assert!(equal_results(found, &record(&found.job)));
            assert_eq!(epochs[&found.job.id()].len(), found.epochs_done as usize);
        }
        let progress = RunProgress::read(dir.path()).unwrap();
        assert_eq!((progress.planned, progress.finished, progress.fraction), (101, 101, 1.0));
    }
}

#[test]
fn cohorts_start_in_the_plans_order() {
    let dir = folder();
    let order = Mutex::new(Vec::new());
    let jobs = jobs(20);
    run(dir.path(), 1, cohorts(&jobs, 3), |_, _, job| {
        order.lock().unwrap().push(job.id());
        Ok(())
    });
    assert_eq!(*order.lock().unwrap(), jobs.iter().map(|job| job.id()).collect::<Vec<_>>());
    let rows: Vec<JobId> =
        read_runs(dir.path()).unwrap().records.iter().map(|r| r.job.id()).collect();
    assert_eq!(rows, jobs.iter().map(|job| job.id()).collect::<Vec<_>>());
}

#[test]
fn a_finished_job_is_on_disk_before_the_worker_starts_the_next_cohort() {
    let dir = folder();
    let path = dir.path().to_owned();
    let seen = Mutex::new(0);
    run(dir.path(), 1, cohorts(&jobs(12), 3), |_, cohort, job| {
        if cohort.jobs()[0].id() == job.id() {
            let mut seen = seen.lock().unwrap();
            assert_eq!(finished_ids(&path).unwrap().len(), *seen);
            *seen += 3;
        }
        Ok(())
    });
    assert_eq!(*seen.lock().unwrap(), 12);
}

#[test]
fn a_checkpoint_is_given_up_only_when_all_rows_of_its_cohort_are_on_disk() {
    let dir = folder();
    let stop = AtomicBool::new(false);
    let mut journal = Journal::open(dir.path()).unwrap();
    let given_up = std::cell::RefCell::new(Vec::new());
    let durable = |cohort: &Cohort| {
        let rows = read_runs(dir.path()).unwrap().records;
        for job in cohort.jobs() {
            assert!(rows.iter().any(|row| row.job == *job), "a job has no row");
        }
        given_up.borrow_mut().push(cohort.jobs()[0].id());
    };
    let options =
        PoolOptions { durable: &durable, ..PoolOptions::new(vec!["cpu".into(); 2], &stop) };
    let jobs = jobs(12);
    let fails = jobs[0].id();
    let trainer = Fake(|_: usize, _: &Cohort, job: &Job| match job.id() == fails {
        true => failed(FailureReason::Device, "no"),
        false => Ok(()),
    });
    let cohorts = cohorts(&jobs, 3);
    let mut expected: Vec<_> = cohorts[1..].iter().map(|cohort| cohort.jobs()[0].id()).collect();
    pool::run(cohorts, &trainer, &mut journal, &options);
    expected.sort_unstable();
    let mut given_up = given_up.into_inner();
    given_up.sort_unstable();
    assert_eq!(given_up, expected, "all but the one that failed");
}

#[test]
fn a_panic_fails_only_the_jobs_of_its_cohort() {
    let dir = folder();
    let jobs = jobs(12);
    let bad = jobs[4].id();
    let summary = run(dir.path(), 1, cohorts(&jobs, 3), |_, _, job| {
        assert_ne!(job.id(), bad, "boom");
        Ok(())
    });
    assert_eq!((summary.finished, summary.failed.len(), summary.left), (10, 2, 0));
    assert_eq!(summary.exit_code(), 3);
    let failures = read_failures(dir.path()).unwrap();
    assert!(
        failures.iter().all(|f| f.reason == FailureReason::Panic && f.message.contains("boom")),
        "{failures:?}"
    );
    assert_eq!(
        failures.iter().map(|f| f.id).collect::<HashSet<_>>(),
        HashSet::from([jobs[4].id(), jobs[5].id()])
    );

    // The next run tries them again and counts.
    let summary =
        run(dir.path(), 1, cohorts(&jobs[4..6], 2), |_, _, _| failed(FailureReason::Io, "no"));
    assert_eq!(summary.failed[0].attempt, 2);
    assert_eq!(run(dir.path(), 1, cohorts(&jobs[4..6], 2), fine).exit_code(), 0);
    assert_eq!(finished_ids(dir.path()).unwrap().len(), 12);
}

#[test]
fn a_cohort_that_runs_out_of_memory_is_halved_until_it_fits() {
    let dir = folder();
    let widths = Mutex::new(Vec::new());
    let summary = run(dir.path(), 1, cohorts(&jobs(64), 32), |_, cohort, job| {
        if cohort.jobs()[0].id() == job.id() {
            widths.lock().unwrap().push(cohort.jobs().len());
        }
        if cohort.jobs().len() > 8 {
            failed(FailureReason::Memory, "out of memory")
        } else {
            Ok(())
        }
    });
    assert_eq!((summary.finished, summary.exit_code()), (64, 0));
    assert_eq!(
        *widths.lock().unwrap(),
        [32, 16, 8, 8, 8, 8, 8, 8, 8, 8],
        "a width that did not fit is not tried again"
    );
    assert!(read_failures(dir.path()).unwrap().is_empty(), "nothing failed in the end");
}

#[test]
fn jobs_that_finished_before_the_memory_ran_out_stay_finished() {
    let dir = folder();
    let jobs = jobs(8);
    let (third, last) = (jobs[2].id(), jobs[7].id());
    let summary = run(dir.path(), 2, cohorts(&jobs, 8), |_, cohort, job| {
        let out = job.id() == last || (job.id() == third && cohort.jobs().len() == 8);
        if out { failed(FailureReason::Memory, "out of memory") } else { Ok(()) }
    });
    assert_eq!((summary.finished, summary.failed.len(), summary.exit_code()), (7, 1, 3));
    assert_eq!(summary.failed[0].id, last);
    assert_eq!(reasons(dir.path()), HashMap::from([(FailureReason::Memory, 1)]));
    assert_eq!(read_runs(dir.path()).unwrap().records.len(), 7);
}

#[test]
fn a_broken_worker_stops_and_the_others_finish_everything() {
    let dir = folder();
    let summary = run(dir.path(), 2, cohorts(&jobs(60), 2), |worker, _, _| match worker {
        0 => failed(FailureReason::Device, "an illegal memory access was encountered"),
        _ => {
            std::thread::sleep(Duration::from_millis(1));
            Ok(())
        }
    });
    let failures = read_failures(dir.path()).unwrap();
    assert!(failures.iter().all(|failure| failure.device == "cuda:0"));
    assert_eq!((summary.finished, summary.failed.len(), summary.exit_code()), (60, 0, 0));
    assert_eq!(
        reasons(dir.path()),
        HashMap::from([(FailureReason::Device, 6)]),
        "three cohorts of two, no more"
    );
}

#[test]
fn when_no_worker_is_left_the_sweep_ends_with_the_reasons() {
    let dir = folder();
    let summary = run(dir.path(), 2, cohorts(&jobs(60), 2), |worker, _, _| {
        let error = anyhow!("no such device").context(format!("cannot open cuda:{worker}"));
        Err(Stop::Failed { reason: FailureReason::Device, error })
    });
    assert!(matches!(summary.ending, RunEnd::NoWorker), "{:?}", summary.ending);
    let text = summary.to_string();
    assert!(text.contains("every worker failed repeatedly"), "{text}");
    assert_eq!((summary.finished, summary.exit_code()), (0, 3));
    assert_eq!(summary.failed.len() + summary.left, 60);
    assert!(text.contains("x device: cannot open cuda:"), "{text}");
    assert!(text.contains("\n    caused by: no such device"), "the first error in full: {text}");
    assert_eq!(
        read_failures(dir.path()).unwrap().len(),
        reasons(dir.path())[&FailureReason::Device]
    );
}

#[test]
fn jobs_that_cannot_run_anywhere_do_not_stop_the_others() {
    for workers in [1, 2] {
        let dir = folder();
        // Some depths fail on any machine, and they come first.
        let jobs: Vec<Job> =
            (0..3).flat_map(|seed| (1..=10).rev().map(move |depth| job(depth, seed))).collect();
        let summary = run(dir.path(), workers, cohorts(&jobs, 1), |_, cohort, _| {
            match cohort.shape().arch.layers() {
                9.. => failed(FailureReason::Memory, "out of memory"),
                8 => failed(FailureReason::Data, "no such file"),
                _ => Ok(()),
            }
        });
        assert_eq!(
            (summary.finished, summary.failed.len(), summary.left),
            (21, 9, 0),
            "{workers} workers"
        );
        assert_eq!(summary.exit_code(), 3);
    }
}

#[test]
fn if_no_remaining_job_can_run_not_every_one_is_tried() {
    let dir = folder();
    let summary = run(dir.path(), 1, cohorts(&jobs(500), 1), |_, _, _| {
        failed(FailureReason::Data, "no such file")
    });
    assert_eq!((summary.failed.len(), summary.left, summary.exit_code()), (3, 497, 3));
}

#[test]
fn an_interrupted_sweep_keeps_finished_jobs_and_exits_with_130() {
    let dir = folder();
    let stop = AtomicBool::new(false);
    let jobs = jobs(40);
    let trainer = Fake(|_: usize, _: &Cohort, job: &Job| {
        if stop.load(Ordering::Relaxed) {
            return Err(Stop::Interrupted);
        }
        if job.init_seed == 11 {
            stop.store(true, Ordering::Relaxed);
        }
        Ok(())
    });
    let mut journal = Journal::open(dir.path()).unwrap();
    let summary = pool::run(
        cohorts(&jobs, 4),
        &trainer,
        &mut journal,
        &PoolOptions::new(vec!["cpu".into()], &stop),
    );
    assert_eq!((summary.finished, summary.left, summary.exit_code()), (12, 28, 130));
    assert!(read_failures(dir.path()).unwrap().is_empty(), "an interrupt is no failure");
}

#[test]
fn after_the_deadline_nothing_starts_and_the_exit_code_is_3() {
    let dir = folder();
    let stop = AtomicBool::new(false);
    let mut journal = Journal::open(dir.path()).unwrap();
    let deadline = Some(Instant::now() + Duration::from_millis(30));
    let options = PoolOptions { deadline, ..PoolOptions::new(vec!["cpu".into()], &stop) };
    let trainer = Fake(|_: usize, _: &Cohort, _: &Job| {
        std::thread::sleep(Duration::from_millis(20));
        Ok(())
    });
    let summary = pool::run(cohorts(&jobs(40), 2), &trainer, &mut journal, &options);
    assert!(matches!(summary.ending, RunEnd::Deadline));
    assert_eq!(
        (summary.finished % 2, summary.exit_code()),
        (0, 3),
        "started cohorts were finished"
    );
    assert!(summary.left > 0);
}

#[test]
fn a_trainer_that_omits_a_job_or_reports_one_twice_cannot_corrupt_the_results() {
    struct Confused;
    impl Trainer for Confused {
        fn train(
            &self,
            _: usize,
            cohort: &Cohort,
            event: &mut (dyn FnMut(Event) + Send),
        ) -> Result<(), Stop> {
            for job in &cohort.jobs()[1..] {
                event(Event::Finished(Box::new(record(job))));
                event(Event::Finished(Box::new(record(job))));
                event(Event::Finished(Box::new(record(&crate::common::job(77, 7)))));
                event(Event::Progress(f64::NAN));
            }
            Ok(())
        }
    }
    let dir = folder();
    let stop = AtomicBool::new(false);
    let mut journal = Journal::open(dir.path()).unwrap();
    let summary = pool::run(
        cohorts(&jobs(4), 4),
        &Confused,
        &mut journal,
        &PoolOptions::new(vec!["cpu".into()], &stop),
    );
    assert_eq!((summary.finished, summary.failed.len(), summary.exit_code()), (3, 1, 3));
    assert_eq!(read_runs(dir.path()).unwrap().records.len(), 3);
}

#[test]
fn two_workers_killed_repeatedly_end_like_one_that_was_never_killed() {
    let dir = folder();
    let child = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "pool::sweep_process", "--nocapture", "--test-threads=1"])
            .env("WNINIT_TEST_DIR", dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    for round in 1..=8 {
        let mut killed = child();
        // Each kill hits while this process writes rows.
        while finished_ids(dir.path()).unwrap().len() < 150 * round {
            assert_eq!(killed.try_wait().unwrap(), None, "it ended by itself in round {round}");
            std::thread::sleep(Duration::from_millis(1));
        }
        killed.kill().unwrap();
        assert_eq!(killed.wait().unwrap().signal(), Some(libc::SIGKILL));
    }
    assert!(child().wait().unwrap().success());
    let runs = read_runs(dir.path()).unwrap();
    assert_eq!((runs.records.len(), runs.warnings.len(), runs.conflicts.len()), (2000, 0, 0));
    let epochs = read_epochs(dir.path()).unwrap();
    for found in &runs.records {
        assert!(equal_results(found, &record(&found.job)));
        assert_eq!(epochs[&found.job.id()].len(), found.epochs_done as usize);
    }
}

#[test]
fn on_a_full_disk_the_sweep_stops_and_says_what_to_do() {
    let dir = folder();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "pool::sweep_process", "--nocapture", "--test-threads=1"])
        .env("WNINIT_TEST_DIR", dir.path())
        .env("WNINIT_TEST_LIMIT", "100000")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    assert!(text.contains("exit code 3"), "{text}\n{}", String::from_utf8_lossy(&child.stderr));
    assert!(text.contains("make room and run the same command again"), "{text}");
    let runs = read_runs(dir.path()).unwrap();
    assert!(!runs.records.is_empty() && runs.warnings.is_empty());
    assert!(runs.records.iter().all(|r| r.outcome == Outcome::Diverged || r.test_acc.is_some()));
    // With room again, only the rest is trained.
    let summary = {
        let finished = finished_ids(dir.path()).unwrap();
        let left: Vec<Job> =
            jobs(2000).into_iter().filter(|job| !finished.contains(&job.id())).collect();
        run(dir.path(), 2, cohorts(&left, 50), fine)
    };
    assert_eq!(summary.exit_code(), 0);
    assert_eq!(read_runs(dir.path()).unwrap().records.len(), 2000);
}

/// The process that the tests above start; does nothing by itself.
#[test]
fn sweep_process() {
    let Ok(dir) = std::env::var("WNINIT_TEST_DIR") else {
        return;
    };
    let dir = Path::new(&dir);
    if let Ok(limit) = std::env::var("WNINIT_TEST_LIMIT") {
        let limit =
            libc::rlimit { rlim_cur: limit.parse().unwrap(), rlim_max: libc::RLIM_INFINITY };
        // SAFETY: plain calls with valid arguments; the signal is ignored, so that a write fails instead.
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
        }
    }
    let jobs = jobs(2000);
    let sweep = wninit_core::run::sweep::open(dir, None, "", &[], &planned(&jobs)).unwrap();
    let stop = AtomicBool::new(false);
    let trainer = Fake(|_: usize, _: &Cohort, _: &Job| {
        std::thread::sleep(Duration::from_micros(500));
        Ok(())
    });
    let mut journal = sweep.journal;
    let options = PoolOptions::new(vec!["cpu".into(); 2], &stop);
    let summary = pool::run(cohorts(&sweep.remaining, 7), &trainer, &mut journal, &options);
    println!("{summary}\nexit code {}", summary.exit_code());
}

#[test]
fn the_first_ctrl_c_stops_a_run_in_order_and_the_second_at_once() {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use wninit_core::run::interrupt::EXIT_INTERRUPTED;
    for (signal, patient) in
        [(libc::SIGINT, true), (libc::SIGTERM, true), (libc::SIGHUP, true), (libc::SIGINT, false)]
    {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "pool::interrupted_process", "--nocapture", "--test-threads=1"])
            .env("WNINIT_TEST_PATIENT", patient.to_string())
            .stdout(Stdio::piped());
        // SAFETY: signal is async-signal-safe and touches nothing of this process.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGHUP, libc::SIG_DFL); // these tests may run under nohup
                Ok(())
            });
        }
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut wait_for = |what: &str| {
            out.find(|line| line.as_ref().is_ok_and(|line| line.contains(what))).unwrap().unwrap();
        };
        // SAFETY: a plain call; the child is ours and has not been waited for.
        let send = |id: u32| assert_eq!(unsafe { libc::kill(id as i32, signal) }, 0);
        wait_for("ready");
        send(child.id());
        if patient {
            wait_for("in order");
        } else {
            wait_for("asked");
            send(child.id());
        }
        assert_eq!(child.wait().unwrap().code(), Some(EXIT_INTERRUPTED.into()));
    }
}

/// The process that the test above interrupts; does nothing by itself.
#[test]
fn interrupted_process() {
    let Ok(patient) = std::env::var("WNINIT_TEST_PATIENT") else {
        return;
    };
    let stop = wninit_core::run::interrupt::install().unwrap();
    let trainer = Fake(|_: usize, _: &Cohort, _: &Job| {
        println!("\nready");
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        println!("asked");
        if patient == "false" {
            std::thread::sleep(Duration::from_secs(60));
        }
        Err(Stop::Interrupted)
    });
    let dir = folder();
    let mut journal = Journal::open(dir.path()).unwrap();
    let summary = pool::run(
        cohorts(&jobs(4), 2),
        &trainer,
        &mut journal,
        &PoolOptions::new(vec!["cpu".into()], &stop),
    );
    println!("in order");
    std::process::exit(summary.exit_code().into());
}
