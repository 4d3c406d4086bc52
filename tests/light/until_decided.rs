//! `wninit run --until-decided` with a trainer whose outcomes are known.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::common::{folder, record};
use wninit_core::grid::{Grid, GridError, Overrides};
use wninit_core::job::Job;
use wninit_core::plan::cohort::{self, Cohort};
use wninit_core::results::{Outcome, Record, ResultsError, read_runs};
use wninit_core::run::pool::{self, PoolOptions};
use wninit_core::run::sweep;
use wninit_core::run::trainer::{Event, Stop, Trainer};
use wninit_core::run::until_decided::{self, Looks};
use wninit_stats::summary::{self, Input, Summary};
use wninit_stats::verdict::Verdict;

/// Of 50 layers the data-dependent gain never trains; of 2 layers all do as well. No claim is about `he`.
const GRID: &str = r#"
name = "x"
until_decided = { max_seeds = 11, batch = 3 }
[base]
dataset = "digits"
epochs = 2
[grid]
depth = [2, 50]
init = ["orthogonal_datadep", "orthogonal_proposed", "he"]
seed = { from = 5, count = 4 }
[[claim]]
text = "The proposed gain trains 50 layers."
metric = "success"
where = { depth = 50 }
compare = { axis = "init", better = "orthogonal_proposed", than = "orthogonal_datadep" }
[[claim]]
text = "It is more accurate with 2 layers."
metric = "test_acc"
where = { depth = 2 }
compare = { axis = "init", better = "orthogonal_proposed", than = "orthogonal_datadep" }
[[claim]]
text = "It is more accurate with 50 layers."
metric = "test_acc"
where = { depth = 50 }
compare = { axis = "init", better = "orthogonal_proposed", than = "orthogonal_datadep" }
"#;

fn parse(text: &str) -> Result<Grid, GridError> {
    Grid::parse(text, Path::new("x.toml"), &Overrides::default())
}

fn grid(text: &str) -> Grid {
    parse(text).unwrap()
}

/// What comes of a job, always.
fn outcome(job: &Job) -> Record {
    let diverges = job.arch.layers() == 50 && job.init.name() == "orthogonal_datadep";
    // Noise that no arm gains from.
    let noise = (job.id().to_string().bytes().map(u64::from).sum::<u64>() % 17) as f64 / 1000.0;
    let ended = |x: f64| Some(x).filter(|_| !diverges);
    Record {
        outcome: if diverges { Outcome::Diverged } else { Outcome::Ok },
        reason: diverges.then(|| "loss".to_owned()),
        epochs_done: if diverges { 1 } else { 2 },
        diverged_epoch: diverges.then_some(2),
        diverged_step: diverges.then_some(7),
        train_loss: ended(0.5),
        train_acc: ended(0.9),
        val_loss: ended(0.5),
        val_acc: ended(0.9 + noise),
        test_loss: ended(0.5),
        best_val_acc: Some(0.9),
        test_acc: ended(0.9 + noise),
        epochs: vec![record(job).epochs[0].clone(); if diverges { 1 } else { 2 }],
        ..record(job)
    }
}

/// Trains, and stops when so many jobs are finished.
struct Fake<'s> {
    left: AtomicUsize,
    stop: &'s AtomicBool,
}

impl Trainer for Fake<'_> {
    fn train(
        &self,
        _: usize,
        cohort: &Cohort,
        event: &mut (dyn FnMut(Event) + Send),
    ) -> Result<(), Stop> {
        for job in cohort.jobs() {
            if self.stop.load(Ordering::SeqCst) {
                return Err(Stop::Interrupted);
            }
            event(Event::Finished(Box::new(outcome(job))));
            if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
                self.stop.store(true, Ordering::SeqCst);
            }
        }
        Ok(())
    }
}

/// `wninit run`, interrupted after so many jobs; its exit code.
fn run(dir: &Path, grid: &Grid, workers: usize, jobs: usize) -> Result<u8, ResultsError> {
    let stop = AtomicBool::new(false);
    let trainer = Fake { left: AtomicUsize::new(jobs), stop: &stop };
    let mut path = summary::SequentialPlan::of(grid).unwrap().unwrap();
    until_decided::catch_up(&mut path, &read_runs(dir)?.records);
    let jobs = path.jobs();
    let mut sweep = sweep::open(dir, None, &grid.to_toml(), &jobs, &jobs)?;
    let ended = until_decided::run(&mut sweep, &grid.to_toml(), &mut path, |sweep| {
        let cohorts = cohort::cohorts(std::mem::take(&mut sweep.remaining), |_| 2);
        let options = PoolOptions {
            finished_before: sweep.finished,
            ..PoolOptions::new(vec!["cpu".to_owned(); workers], &stop)
        };
        pool::run(cohorts, &trainer, &mut sweep.journal, &options)
    })?;
    Ok(ended.exit_code())
}

/// The plan, and the ids of the finished jobs.
fn results(dir: &Path) -> (String, Vec<String>) {
    let records = read_runs(dir).unwrap().records;
    let mut ids: Vec<String> = records.iter().map(|record| record.job.id().to_string()).collect();
    ids.sort();
    (fs::read_to_string(dir.join("plan.csv")).unwrap(), ids)
}

fn seeds(dir: &Path) -> BTreeMap<(u32, String), Vec<u64>> {
    let mut seeds: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for Record { job, .. } in read_runs(dir).unwrap().records {
        let arm = (job.arch.layers(), job.init.name().to_owned());
        seeds.entry(arm).or_default().push(job.init_seed);
    }
    seeds.values_mut().for_each(|seeds| seeds.sort_unstable());
    seeds
}

fn summarised(dir: &Path, grid: &Grid) -> Summary {
    let runs = read_runs(dir).unwrap();
    let planned = wninit_core::results::planned_jobs(dir, &runs).unwrap().unwrap();
    Summary::new(&Input {
        planned: &planned,
        records: &runs.records,
        claims: &grid.claims,
        until_decided: grid.until_decided,
        ..Input::default()
    })
    .unwrap()
}

#[test]
fn only_arms_and_settings_that_an_open_claim_needs_get_more_seeds() {
    let (dir, grid) = (folder(), grid(GRID));
    assert_eq!(run(dir.path(), &grid, 2, usize::MAX).unwrap(), 0);
    let seeds = seeds(dir.path());
    let to = |last: u64| (5..=last).collect::<Vec<u64>>();
    let of = |depth: u32, init: &str| seeds[&(depth, init.to_owned())].clone();
    // No claim is about them.
    assert_eq!((of(2, "he"), of(50, "he")), (to(8), to(8)));
    // Discordant pairs decide at the second look, and an arm that never trains is given up at the third.
    assert_eq!(of(50, "orthogonal_proposed"), to(14));
    assert_eq!(of(50, "orthogonal_datadep"), to(14));
    // Never decided: to the end, of which the last batch is a smaller one.
    assert_eq!(of(2, "orthogonal_proposed"), to(15));
    assert_eq!(of(2, "orthogonal_datadep"), to(15));

    let summary = summarised(dir.path(), &grid);
    let verdicts: Vec<Verdict> = summary.claims.iter().map(|claim| claim.verdict()).collect();
    assert_eq!(verdicts, [Verdict::Supported, Verdict::Undecided, Verdict::NotTestable]);
    assert!(summary.claims.iter().all(|claim| !claim.is_open() && claim.n_missing == 0));
    assert_eq!(summary.counts.missing, 0);
    let reasons: Vec<String> = summary.claims.iter().map(|claim| claim.reason()).collect();
    assert!(reasons[0].contains("anytime-valid"), "{reasons:?}");
    assert!(reasons[0].contains("wrong decisions ≤ 5 % over the whole path"), "{reasons:?}");
    assert!(
        reasons[1].contains("Ended at the maximum number of seeds of its stopping rule, 11"),
        "{reasons:?}"
    );
    assert!(reasons[2].contains("More seeds would not decide it"), "{reasons:?}");
    assert!(!reasons.concat().contains("fresh seed"), "no advice that invites to look again");
    let note = "Seeds were added until the claims were decided, 3 at a time, at most 11.";
    assert!(summary.notes.iter().any(|n| n.text.contains(note)), "{:?}", summary.notes);
}

#[test]
fn a_sweep_that_is_interrupted_at_any_job_ends_with_the_same_jobs_and_verdicts() {
    let (whole, grid) = (folder(), grid(GRID));
    assert_eq!(run(whole.path(), &grid, 1, usize::MAX).unwrap(), 0);
    let expected = results(whole.path());
    let all = expected.1.len();
    let verdicts = |dir: &Path| {
        let claims = summarised(dir, &grid).claims;
        claims.iter().map(|c| c.reason()).collect::<Vec<_>>()
    };
    let said = verdicts(whole.path());
    for jobs in 1..all {
        let dir = folder();
        let workers = 1 + jobs % 3;
        assert_eq!(run(dir.path(), &grid, workers, jobs).unwrap(), 130, "after {jobs} jobs");
        if jobs % 2 == 0 {
            // Killed before the plan of the next batch was written.
            fs::remove_file(dir.path().join("plan.csv")).unwrap();
        }
        assert_eq!(run(dir.path(), &grid, 2, usize::MAX).unwrap(), 0);
        assert_eq!(results(dir.path()), expected, "after {jobs} jobs");
        assert_eq!(verdicts(dir.path()), said);
    }
    assert_eq!(run(whole.path(), &grid, 1, usize::MAX).unwrap(), 0, "nothing is left");
    assert_eq!(results(whole.path()), expected);
}

#[test]
fn an_open_claim_says_how_to_go_on() {
    let (dir, grid) = (folder(), grid(GRID));
    assert_eq!(run(dir.path(), &grid, 1, 30).unwrap(), 130);
    let reason = summarised(dir.path(), &grid).claims[1].reason();
    assert!(reason.contains("Open: the same `wninit run` adds seeds, up to 11."), "{reason}");
}

#[test]
fn a_rule_may_be_raised_or_added_and_not_taken_away() {
    let dir = folder();
    let fixed = GRID.replace("until_decided =", "# until_decided =");
    let jobs = |text: &str| wninit_core::plan::Plan::of(&grid(text)).unwrap().jobs;
    let open = |text: &str| {
        let jobs = jobs(text);
        sweep::open(dir.path(), None, &grid(text).to_toml(), &jobs, &jobs)
    };
    let mut sweep = open(&fixed).unwrap();
    sweep.journal.append(&sweep.remaining.iter().map(outcome).collect::<Vec<_>>()).unwrap();
    drop(sweep);
    // All the same as if it had begun so.
    assert_eq!(run(dir.path(), &grid(GRID), 1, usize::MAX).unwrap(), 0);
    let begun = folder();
    assert_eq!(run(begun.path(), &grid(GRID), 1, usize::MAX).unwrap(), 0);
    assert_eq!(results(dir.path()), results(begun.path()));

    let before = results(dir.path());
    let error = open(&fixed).err().unwrap();
    assert!(matches!(error, ResultsError::Sequential(_)), "{error}");
    assert!(error.to_string().contains("add --until-decided"), "{error}");
    assert_eq!(results(dir.path()), before);

    let raised = grid(&GRID.replace("max_seeds = 11", "max_seeds = 20"));
    assert_eq!(run(dir.path(), &raised, 1, usize::MAX).unwrap(), 0);
    assert_eq!(
        seeds(dir.path())[&(2, "orthogonal_proposed".to_owned())],
        (5..25).collect::<Vec<_>>()
    );
    let lowered = grid(&GRID.replace("max_seeds = 11", "max_seeds = 8"));
    assert_eq!(run(dir.path(), &lowered, 1, usize::MAX).unwrap(), 0);
    assert_eq!(summarised(dir.path(), &lowered).claims[1].n(), 8);
}

#[test]
fn a_failed_job_is_waited_for() {
    struct Fails;
    impl Trainer for Fails {
        fn train(
            &self,
            _: usize,
            c: &Cohort,
            event: &mut (dyn FnMut(Event) + Send),
        ) -> Result<(), Stop> {
            for job in c.jobs() {
                if job.init_seed == 10 {
                    let error = anyhow::anyhow!("no");
                    let reason = wninit_core::results::FailureReason::Io;
                    return Err(Stop::Failed { reason, error });
                }
                event(Event::Finished(Box::new(outcome(job))));
            }
            Ok(())
        }
    }
    let (dir, grid) = (folder(), grid(GRID));
    let mut path = summary::SequentialPlan::of(&grid).unwrap().unwrap();
    let jobs = path.jobs();
    let mut sweep = sweep::open(dir.path(), None, &grid.to_toml(), &jobs, &jobs).unwrap();
    let stop = AtomicBool::new(false);
    let ended = until_decided::run(&mut sweep, &grid.to_toml(), &mut path, |sweep| {
        let options = PoolOptions::new(vec!["cpu".to_owned()], &stop);
        let cohorts = cohort::cohorts(std::mem::take(&mut sweep.remaining), |_| 1);
        pool::run(cohorts, &Fails, &mut sweep.journal, &options)
    });
    assert_eq!(ended.unwrap().exit_code(), 3);
    drop(sweep);
    let most = seeds(dir.path()).into_values().flatten().max();
    assert!(most <= Some(11), "no further batch was begun: {most:?}");
    assert_eq!(run(dir.path(), &grid, 1, usize::MAX).unwrap(), 0);
}

fn wninit(args: &[&str], grid: &str) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x.toml"), grid).unwrap();
    let output = Command::new(crate::WNINIT).current_dir(&folder).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_plan_says_the_first_batch_and_the_most_jobs() {
    let (code, text, _) = wninit(&["plan", "x.toml"], GRID);
    assert_eq!(code, Some(0));
    assert!(text.contains("24 jobs: 0 finished, 24 remaining"), "{text}");
    let most =
        "Seeds are added until its claims are decided, 3 at a time, at most 11: 66 jobs at most";
    assert!(text.contains(most), "{text}");
    let rule = "until_decided = { max_seeds = 11, batch = 3 }\n";
    let args = ["plan", "x.toml", "--until-decided", "--max-seeds", "9"];
    let (_, text, _) = wninit(&args, &GRID.replace(rule, ""));
    assert!(text.contains("4 at a time, at most 9: 54 jobs at most"), "{text}");
    let (_, text, _) = wninit(&args, GRID);
    assert!(text.contains("3 at a time, at most 9: 54 jobs at most"), "{text}");
}

#[test]
fn what_cannot_be_decided_so_is_refused_with_the_reason() {
    let refused = |args: &[&str], grid: &str, part: &str| {
        let (code, _, said) = wninit(args, grid);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(part) && said.lines().count() == 1, "{part}: {said}");
    };
    let plan = |from: &str, to: &str, part: &str| {
        assert!(GRID.contains(from));
        refused(&["plan", "x.toml"], &GRID.replace(from, to), part);
    };
    let claims = GRID.split_at(GRID.find("[[claim]]").unwrap());
    refused(&["plan", "x.toml"], claims.0, "x.toml:3: until_decided: the grid has no [[claim]]");
    plan("seed = { from", "data_seed = { from", "one axis `seed`");
    plan("[[claim]]", "[[exclude]]\nseed = 6\ninit = \"he\"\n[[claim]]", "this picks seeds");
    plan("where = { depth = 2 }", "where = { depth = 2, seed = 5 }", "this picks seeds");
    plan(
        "[[claim]]",
        "[[block]]\ngrid = { width = [8], seed = { count = 2 } }\n[[claim]]",
        "it differs from",
    );
    plan("max_seeds = 11", "max_seeds = 3", "less than the 4 seeds");
    plan("batch = 3", "batch = 0", "expected a number from 1");
    plan("batch = 3", "bach = 3", "did you mean");
    plan("[grid]", "[grid]\nlr = [0.1, 0.2]", "leaves lr open");
    plan("from = 5", "from = 9223372036854775800", "too large");
    let curvature = GRID
        .replace("test_acc", "log_spectral_norm")
        .replace("\"success\"", "\"log_spectral_norm\"");
    refused(&["plan", "x.toml"], &curvature, "can be decided by training");
    refused(&["plan", "x.toml", "--shards", "2"], GRID, "no shards");
    refused(&["slurm", "x.toml", "--array", "2"], GRID, "fixed shards");
    let fixed = GRID.replace("until_decided =", "# until_decided =");
    refused(&["slurm", "x.toml", "--array", "2", "--", "--until-decided"], &fixed, "fixed shards");
    refused(&["plan", "x.toml", "--max-seeds", "9"], &fixed, "goes with --until-decided");
}

#[test]
fn a_stored_grid_keeps_its_rule() {
    let grid = grid(GRID);
    assert_eq!(parse(&grid.to_toml()).unwrap().until_decided, grid.until_decided);
}
