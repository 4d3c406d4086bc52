//! What `summary` makes of a sweep's folder.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::book_code::copy;
use crate::common::{at, folder, planned, record};
use crate::root;
use wninit_core::grid::{Grid, Overrides};
use wninit_core::job::Job;
use wninit_core::plan::Plan;
use wninit_core::plan::shard::Shard;
use wninit_core::results::{Failure, FailureReason, Journal, Outcome, Record};
use wninit_core::run::sweep;

const GRID: &str = r#"
name = "deep"

[base]
dataset = "digits"
epochs = 2

[grid]
depth = [2, 50]
init = ["orthogonal_datadep", "orthogonal_proposed"]
seed = { count = 3 }

[[claim]]
text = "The proposed gain trains 50 layers."
metric = "test_acc"
where = { depth = 50 }
compare = { axis = "init", better = "orthogonal_proposed", than = "orthogonal_datadep", margin = 0.1 }

[[published]]
where = { depth = 50, init = "orthogonal_proposed" }
metric = "test_acc"
value = 0.97
"#;

fn jobs() -> (Grid, Vec<Job>) {
    let grid = Grid::parse(GRID, Path::new("deep.toml"), &Overrides::default()).unwrap();
    let plan = Plan::of(&grid).unwrap();
    (grid, plan.jobs.into_iter().map(|planned| planned.job).collect())
}

/// A finished job: everything trains but the data-dependent gain at depth 50, which diverges.
fn result(job: &Job) -> Record {
    let accuracy = 0.8 + 0.01 * job.init_seed as f64;
    let diverges = job.arch.layers() == 50 && job.init.name() == "orthogonal_datadep";
    let ended = |x: f64| Some(x).filter(|_| !diverges);
    let done = if diverges { 1 } else { job.epochs };
    let whole = record(job);
    Record {
        outcome: if diverges { Outcome::Diverged } else { Outcome::Ok },
        reason: diverges.then(|| "loss".to_owned()),
        epochs_done: done,
        diverged_epoch: diverges.then_some(2),
        diverged_step: diverges.then_some(7),
        train_loss: ended(0.5),
        train_acc: ended(accuracy),
        val_loss: ended(0.5),
        val_acc: ended(accuracy),
        best_val_acc: Some(accuracy),
        test_loss: ended(0.5),
        test_acc: ended(accuracy),
        epochs: vec![whole.epochs[0].clone(); done as usize],
        ..whole
    }
}

/// The sweep, of which the second shard has failed at its last job.
pub fn sharded(dir: &Path) {
    let (grid, jobs) = jobs();
    for (index, part) in (1..).zip(jobs.chunks(6)) {
        let shard = Some(Shard { index, count: 2 });
        let mut sweep =
            sweep::open(dir, shard, &grid.to_toml(), &planned(&jobs), &planned(part)).unwrap();
        let finished: Vec<Record> = part[..7 - index as usize].iter().map(result).collect();
        sweep.journal.append(&finished).unwrap();
        let failed = part[finished.len()..].iter().map(|job| Failure {
            id: job.id(),
            attempt: 1,
            reason: FailureReason::Memory,
            message: "out of memory".into(),
            device: "cpu".into(),
            hostname: "host".into(),
            at: at(1),
        });
        sweep.journal.append_failures(&failed.collect::<Vec<_>>()).unwrap();
    }
}

fn summary(dir: &Path, more: &[&str]) -> Output {
    Command::new(crate::WNINIT).arg("summary").arg(dir).args(more).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_sharded_sweep_is_summarised_as_one_with_its_claims_and_published_numbers() {
    let dir = folder();
    sharded(dir.path());
    let output = summary(dir.path(), &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    for expected in [
        "deep: 12 runs planned, 11 finished (3 diverged), 1 failed",
        // The other arm never trains, so there is no accuracy to compare.
        "not testable  The proposed gain trains 50 layers.",
        "depth 50 orthogonal_proposed",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    let cells = summary(dir.path(), &["--format", "csv"]);
    let mut reader = csv::Reader::from_reader(cells.stdout.as_slice());
    assert_eq!(reader.records().count(), 4);
    assert_eq!(fs::read(dir.path().join("summary/cells.csv")).unwrap(), cells.stdout);
}

#[test]
fn every_column_of_every_file_is_explained_also_after_the_next_run() {
    let dir = folder();
    sharded(dir.path());
    assert!(summary(dir.path(), &[]).status.success());
    drop(Journal::open(dir.path()).unwrap());
    let columns = fs::read_to_string(dir.path().join("columns.json")).unwrap();
    let columns: serde_json::Value = serde_json::from_str(&columns).unwrap();
    let mut files = vec!["plan.csv".to_owned(), "runs.csv".to_owned(), "failures.csv".to_owned()];
    for entry in fs::read_dir(dir.path().join("summary")).unwrap() {
        files.push(format!("summary/{}", entry.unwrap().file_name().to_string_lossy()));
    }
    assert_eq!(files.len(), 3 + 10);
    for file in files {
        let mut reader = csv::Reader::from_path(dir.path().join(&file)).unwrap();
        for name in reader.headers().unwrap() {
            let meaning = columns[&file][name]["meaning"].as_str();
            assert!(meaning.is_some_and(|text| !text.is_empty()), "{file}: {name}");
        }
    }
}

#[test]
fn without_its_grid_a_sweep_still_has_a_summary_and_a_note_says_what_is_gone() {
    let dir = folder();
    sharded(dir.path());
    for broken in [Some("name = 3"), None] {
        match broken {
            Some(text) => fs::write(dir.path().join("grid.toml"), text).unwrap(),
            None => fs::remove_file(dir.path().join("grid.toml")).unwrap(),
        }
        let output = summary(dir.path(), &[]);
        let said = text(&output.stdout);
        assert!(output.status.success() && said.contains("11 finished"), "{said}");
        assert!(said.contains("without the grid"), "{said}");
        assert!(!said.contains("Claims"), "{said}");
    }
}

#[test]
fn what_is_no_sweep_is_an_error_and_leaves_no_trace() {
    let dir = folder();
    let output = summary(dir.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("neither plan.csv nor runs.csv"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

    sharded(dir.path());
    let runs = dir.path().join("shards/1-of-2/runs.csv");
    let edited = fs::read_to_string(&runs).unwrap().replace(",digits,", ",mnist,");
    fs::write(&runs, edited).unwrap();
    let output = summary(dir.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("a cell was edited by hand"), "{}", text(&output.stderr));
    assert!(!dir.path().join("summary").exists());
}

#[test]
fn many_settings_are_counted_in_the_headline_and_not_named() {
    let dir = folder();
    let sweep = dir.path().join("mlp-hyperparameters");
    copy(&root().join("results/paper/mlp-hyperparameters"), &sweep);
    let output = summary(&sweep, &[]);
    let said = text(&output.stdout);
    assert!(
        said.contains("Which initializer? Supported in 30 of 48 settings (each alone)"),
        "{said}"
    );
}

#[test]
fn a_baseline_that_the_sweep_has_not_is_bad_input() {
    let dir = folder();
    sharded(dir.path());
    let output = summary(dir.path(), &["--baseline", "he"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(
        said.contains("the baseline \"he\" is not in this sweep; it has orthogonal_"),
        "{said}"
    );
}
