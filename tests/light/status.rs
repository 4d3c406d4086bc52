//! What `status` and `merge` tell of a sweep and of its shards.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::common::{at, folder, job, jobs, planned, record};
use chrono::{TimeDelta, Utc};
use wninit_core::job::Job;
use wninit_core::plan::shard::Shard;
use wninit_core::results::{
    Failure, FailureReason, Journal, Record, finished_ids, hostname, read_epochs, read_failures,
    read_runs,
};
use wninit_core::run::progress::RunProgress;
use wninit_core::run::sweep::{self, PlanChange};

fn records(jobs: &[Job]) -> Vec<Record> {
    jobs.iter().map(record).collect()
}

fn failure(job: &Job, second: i64, message: &str) -> Failure {
    Failure {
        id: job.id(),
        attempt: 1,
        reason: FailureReason::Memory,
        message: message.into(),
        device: "cpu".into(),
        hostname: "host".into(),
        at: at(second),
    }
}

/// Half of eight jobs in each of two shards.
pub fn sharded(dir: &Path) -> Vec<Job> {
    let jobs = jobs(8);
    for (index, part) in (1..).zip(jobs.chunks(4)) {
        let shard = Some(Shard { index, count: 2 });
        let mut sweep =
            sweep::open(dir, shard, "name = \"x\"", &planned(&jobs), &planned(part)).unwrap();
        assert_eq!(sweep.remaining, part);
        sweep.journal.append(&records(&part[..3])).unwrap();
        sweep.journal.append_failures(&[failure(&part[3], index.into(), "out of memory")]).unwrap();
    }
    jobs
}

fn wninit(command: &str, dir: &Path) -> Output {
    Command::new(crate::WNINIT).arg(command).arg(dir).output().unwrap()
}

/// What `wninit status DIR` prints.
fn status(dir: &Path) -> String {
    let output = wninit("status", dir);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Why `wninit COMMAND DIR` fails.
fn error(command: &str, dir: &Path) -> String {
    let output = wninit(command, dir);
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The exit code of `wninit merge DIR`.
fn merge(dir: &Path) -> Option<i32> {
    wninit("merge", dir).status.code()
}

/// `text` must have each of these.
#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn status_counts_every_job_of_the_plan_once() {
    let dir = folder();
    let jobs = jobs(10);
    let mut sweep = sweep::open(dir.path(), None, "", &planned(&jobs), &planned(&jobs)).unwrap();
    sweep
        .journal
        .append_failures(&[failure(&jobs[0], 1, "first"), failure(&jobs[8], 1, "first")])
        .unwrap();
    sweep
        .journal
        .append_failures(&[failure(&jobs[8], 2, "last"), failure(&jobs[7], 2, "last")])
        .unwrap();
    sweep.journal.append(&records(&jobs[..5])).unwrap();
    sweep.journal.append(&records(&[job(3, 3)])).unwrap();

    let text = status(dir.path());
    assert_says(&text, &["10 jobs planned", "  (50.0 %): 4 ok, 1 diverged\n"]);
    assert_says(
        &text,
        &["  failed           2  ", "  missing          3\n", "  1 more finished jobs"],
    );
    assert_says(&text, &["  2 x memory: last\n"]);
    assert!(!text.contains("first"), "a finished job's failure is past: {text}");
    assert_says(&text, &[&format!("running: process {} ", std::process::id())]);
    assert_eq!(text.matches("running").count(), 1, "{text}");
    drop(sweep);
    let text = status(dir.path());
    assert!(text.ends_with("not running\n"), "{text}");
}

#[test]
fn a_clock_that_was_set_back_does_not_bring_back_an_old_failure_or_odd_times() {
    let dir = folder();
    let jobs = jobs(3);
    let mut sweep = sweep::open(dir.path(), None, "", &planned(&jobs), &planned(&jobs)).unwrap();
    let second = Failure { attempt: 2, ..failure(&jobs[0], -9_000, "last") };
    sweep.journal.append_failures(&[failure(&jobs[0], 0, "first"), second]).unwrap();
    // What the process that runs said an hour ago, by a clock that was two hours fast.
    let future = Utc::now() + TimeDelta::hours(1);
    let progress = RunProgress {
        pid: std::process::id(),
        host: hostname(),
        started_at: future,
        updated_at: future,
        planned: 3,
        finished: 0,
        diverged: 0,
        failed: 1,
        running: 2,
        fraction: 0.5,
        eta_seconds: Some(60.0),
    };
    fs::write(dir.path().join("progress.json"), serde_json::to_string(&progress).unwrap()).unwrap();
    let text = status(dir.path());
    assert_says(&text, &["  1 x memory: last\n"]);
    assert!(!text.contains("first"), "{text}");
    assert!(text.ends_with("2 jobs at work, 50.0 % of its work done, about 60 s left\n"), "{text}");
}

#[test]
fn status_says_what_a_folder_lacks() {
    let dir = folder();
    assert_says(&error("status", dir.path()), &["no plan.csv"]);
    assert_says(&error("status", &dir.path().join("nowhere")), &["nowhere: expected a grid file"]);
}

#[test]
fn shards_are_read_and_merged_as_one_sweep() {
    let dir = folder();
    let jobs = sharded(dir.path());
    let all = [
        "8 jobs planned",
        "  finished         6 ",
        "  failed           2 ",
        "  missing          0\n",
    ];
    assert_says(&status(dir.path()), &all);

    for _ in 0..2 {
        assert_eq!(merge(dir.path()), Some(0));
        let runs = fs::read_to_string(dir.path().join("runs.csv")).unwrap();
        assert_eq!(runs.lines().count(), 7, "merging again adds nothing");
        assert_eq!(fs::read_to_string(dir.path().join("failures.csv")).unwrap().lines().count(), 3);
        let runs = read_runs(dir.path()).unwrap();
        assert_eq!((runs.records.len(), runs.warnings.len(), runs.conflicts.len()), (6, 0, 0));
        let epochs = read_epochs(dir.path()).unwrap();
        assert!(runs.records.iter().all(|r| epochs[&r.job.id()].len() == r.epochs_done as usize));
        assert_says(&status(dir.path()), &all);
    }
    // The shards can go now.
    fs::remove_dir_all(dir.path().join("shards")).unwrap();
    assert_eq!(finished_ids(dir.path()).unwrap().len(), 6);
    assert_eq!(read_failures(dir.path()).unwrap().len(), 2);
    assert_eq!(read_epochs(dir.path()).unwrap().len(), 6);
    drop(jobs);
}

#[test]
fn shards_that_disagree_are_reported_and_nothing_is_overwritten() {
    let dir = folder();
    let jobs = sharded(dir.path());
    let other = Record { test_acc: Some(0.999), ..record(&jobs[0]) };
    let mut journal = Journal::open(&dir.path().join("shards/2-of-2")).unwrap();
    journal.append(&[other]).unwrap();
    drop(journal);
    for _ in 0..2 {
        assert_eq!(merge(dir.path()), Some(1));
        let runs = read_runs(dir.path()).unwrap();
        assert_eq!(
            runs.records.iter().find(|r| r.job == jobs[0]).unwrap().test_acc,
            record(&jobs[0]).test_acc
        );
        let text = runs.conflicts[0].to_string();
        assert!(
            text.contains(&jobs[0].id().to_string()) && text.contains("2-of-2/runs.csv:5"),
            "{text}"
        );
        assert!(text.contains("test_acc") && text.contains("0.999"), "{text}");
    }
}

#[test]
fn a_merge_without_shards_says_so() {
    let dir = folder();
    assert_says(&error("merge", dir.path()), &["has no shards"]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn another_number_of_shards_repeats_nothing() {
    let dir = folder();
    let jobs = sharded(dir.path());
    let sweep = sweep::open(
        dir.path(),
        Some(Shard { index: 1, count: 3 }),
        "",
        &planned(&jobs),
        &planned(&jobs),
    )
    .unwrap();
    assert_eq!(sweep.remaining, [jobs[3].clone(), jobs[7].clone()]);
    assert_eq!(sweep.finished, 6);
}

#[test]
fn a_changed_grid_keeps_every_row_and_says_what_it_means() {
    let dir = folder();
    let old = jobs(6);
    let mut sweep = sweep::open(dir.path(), None, "old", &planned(&old), &planned(&old)).unwrap();
    assert_eq!(sweep.change, None);
    sweep.journal.append(&records(&old[..4])).unwrap();
    drop(sweep);
    let new: Vec<Job> = old[2..].iter().cloned().chain([job(3, 1)]).collect();
    let expected =
        PlanChange { kept: 4, kept_finished: 2, new: 1, orphaned: 2, orphaned_finished: 2 };
    let ids = new.iter().map(Job::id).collect();
    let finished = finished_ids(dir.path()).unwrap();
    assert_eq!(PlanChange::of(dir.path(), &ids, &finished).unwrap(), Some(expected));
    assert_eq!(
        fs::read_to_string(dir.path().join("grid.toml")).unwrap(),
        "old",
        "looking changes nothing"
    );
    let sweep = sweep::open(dir.path(), None, "new", &planned(&new), &planned(&new)).unwrap();
    assert_eq!(sweep.change, Some(expected));
    assert_eq!((sweep.remaining.len(), sweep.finished), (3, 2));
    assert_eq!(finished_ids(dir.path()).unwrap().len(), 4, "no row is deleted");
    assert_says(&status(dir.path()), &["  2 more finished jobs"]);
    drop(sweep);
    assert_eq!(
        sweep::open(dir.path(), None, "new", &planned(&new), &planned(&new)).unwrap().change,
        None
    );
}
