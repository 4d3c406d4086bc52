//! A sweep trained in shards by several processes.

use std::collections::BTreeSet;
use std::fs;

use crate::program::{Process, Results, Sandbox, assert_same, output, rows};

const GRID: &str = "[base]\ndataset = \"digits\"\nepochs = 2\n[grid]\ndepth = [2, 5, 10]\nlr = [0.01, 0.02]\nseed = { count = 4 }\n";

fn run(sandbox: &Sandbox, shard: &str) -> Process {
    Process::start(&mut sandbox.run(&["--workers", "1", "--shard", shard]))
}

fn merge(sandbox: &Sandbox) -> crate::program::Output {
    let dir = sandbox.sweep();
    output(&mut sandbox.wninit(&["merge", dir.to_str().unwrap()]))
}

/// The jobs that a shard has finished.
fn finished(sandbox: &Sandbox, shard: &str) -> BTreeSet<String> {
    let runs = rows(&sandbox.sweep().join("shards").join(shard).join("runs.csv"));
    runs.into_iter().map(|row| row["job_id"].clone()).collect()
}

#[test]
fn concurrent_shards_equal_one_run() {
    let sandbox = Sandbox::new(GRID);
    let shards = ["1/3", "2/3", "3/3"].map(|shard| run(&sandbox, shard));
    for shard in shards {
        shard.output().expect(0, &[]);
    }
    let status = output(&mut sandbox.wninit(&["status", "results/sweep", "--check"]));
    status.expect(0, &[]);
    assert!(status.stdout.contains("24 jobs planned"), "{}", status.stdout);
    let parts = ["1-of-3", "2-of-3", "3-of-3"].map(|shard| finished(&sandbox, shard));
    assert_eq!(parts.iter().map(BTreeSet::len).sum::<usize>(), 24, "no job twice: {parts:?}");
    merge(&sandbox).expect(0, &[]);
    output(&mut sandbox.run(&["--results", "alone"])).expect(0, &[]);
    assert_same(&sandbox.results(), &Results::read(&sandbox.path("alone/sweep")));
}

#[test]
fn a_merge_reports_a_torn_row_and_missing_curves() {
    let sandbox =
        Sandbox::new("[base]\ndataset = \"digits\"\nepochs = 2\n[grid]\nseed = { count = 8 }\n");
    for shard in ["1/2", "2/2"] {
        run(&sandbox, shard).output().expect(0, &[]);
    }
    let file = |shard: &str, name: &str| sandbox.sweep().join("shards").join(shard).join(name);
    let runs = file("1-of-2", "runs.csv");
    let text = fs::read_to_string(&runs).unwrap();
    fs::write(&runs, text.trim_end()).unwrap();
    fs::remove_file(file("2-of-2", "epochs.csv")).unwrap();
    let (lines, without) = (text.lines().count(), finished(&sandbox, "2-of-2").len());
    let torn = format!("1-of-2/runs.csv:{lines}: the last row is incomplete and was left out");
    let curves = format!(
        "2-of-2/epochs.csv: {} epochs of {without} jobs are missing; the jobs were merged, but",
        2 * without
    );
    merge(&sandbox).expect(0, &["warning: ", &torn, &curves]);
    assert_eq!(sandbox.results().runs.len(), 7, "a torn row does not count");
    // Once it is complete it is merged.
    fs::write(&runs, text).unwrap();
    let again = merge(&sandbox);
    again.expect(0, &[]);
    assert!(
        again.stdout.contains("1 finished jobs and 0 failed attempts from 2 shards"),
        "{again:?}"
    );
    assert_eq!(sandbox.results().runs.len(), 8);
}

#[test]
fn another_number_of_shards_and_more_seeds_train_only_what_is_missing() {
    let sandbox = Sandbox::new(GRID);
    run(&sandbox, "1/2").output().expect(0, &[]);
    let first = finished(&sandbox, "1-of-2");
    assert!((4..20).contains(&first.len()), "{first:?}");

    sandbox.set_grid(&GRID.replace("count = 4", "count = 5"));
    let mut all = first;
    for shard in ["1/3", "2/3", "3/3"] {
        run(&sandbox, shard).output().expect(0, &[]);
        for id in finished(&sandbox, &shard.replace('/', "-of-")) {
            assert!(all.insert(id), "a job was trained again");
        }
    }
    assert_eq!(all.len(), 30);
    merge(&sandbox).expect(0, &[]);
    // Without shards nothing is left.
    output(&mut sandbox.run(&[])).expect(0, &["30 were finished before"]);
}

#[test]
fn a_shard_resumes_its_own_checkpoints() {
    let grid = GRID.replace("epochs = 2", "epochs = 60");
    let sandbox = Sandbox::new(&grid);
    let folder = sandbox.sweep().join("shards/2-of-4");
    let mut command =
        sandbox.run(&["--workers", "1", "--shard", "2/4", "--checkpoint-every", "0.1s"]);
    let saved =
        || fs::read_dir(folder.join("checkpoints")).is_ok_and(|mut all| all.next().is_some());
    let mut process = Process::start(&mut command);
    process.wait_until("a checkpoint", |_| saved());
    // A batch system's warning may come twice, and together with SIGTERM.
    process.signal(libc::SIGUSR1);
    process.signal(libc::SIGUSR1);
    process.signal(libc::SIGTERM);
    process.output().expect(130, &["interrupted with"]);
    assert!(saved());
    output(&mut command).expect(0, &[]);
    assert_eq!(fs::read_dir(folder.join("checkpoints")).unwrap().count(), 0, "all are used up");
    let part = finished(&sandbox, "2-of-4");
    let alone =
        output(&mut sandbox.run(&["--results", "alone", "--shard", "2/4", "--workers", "2"]));
    alone.expect(0, &[]);
    assert!(!part.is_empty());
    assert_same(
        &Results::read(&folder),
        &Results::read(&sandbox.path("alone/sweep/shards/2-of-4")),
    );
}

#[test]
fn each_shard_has_its_own_lock() {
    let grid = GRID.replace("epochs = 2", "epochs = 3000");
    let sandbox = Sandbox::new(&grid);
    let mut first = run(&sandbox, "1/2");
    first.wait_until("its lock", |_| sandbox.sweep().join("shards/1-of-2/progress.json").exists());
    run(&sandbox, "1/2").output().expect(2, &["1-of-2 is in use by process"]);
    let mut whole = Process::start(&mut sandbox.run(&["--workers", "1"]));
    whole.wait_until("a warning", |whole| whole.stderr().contains("1-of-2 is being trained by"));
}

#[test]
fn an_invalid_shard_is_rejected_with_the_rule() {
    let sandbox = Sandbox::new(GRID);
    for shard in ["0/4", "5/4", "x", "1", "1/0", "-1/4"] {
        let refused = output(&mut sandbox.run(&[&format!("--shard={shard}")]));
        refused.expect(2, &["1 ≤ i ≤ n", "3/16"]);
    }
    assert!(!sandbox.path("results").exists());
}

#[test]
fn a_plan_lists_the_jobs_left_in_each_shard() {
    let sandbox = Sandbox::new(GRID);
    run(&sandbox, "2/3").output().expect(0, &[]);
    let plan = output(&mut sandbox.wninit(&["plan", "grid.toml", "--shards", "3"]));
    plan.expect(0, &[]);
    let lines: Vec<Vec<&str>> =
        plan.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 4, "{}", plan.stdout);
    let jobs: usize = lines[1..].iter().map(|line| line[1].parse::<usize>().unwrap()).sum();
    assert_eq!(jobs, 24);
    assert_eq!(lines[1][1], lines[1][2], "{}", plan.stdout);
    assert_eq!((lines[2][0], lines[2][2]), ("2/3", "0"), "{}", plan.stdout);
}
