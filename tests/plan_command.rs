//! What `wninit plan` prints.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

const GRID: &str = "name = \"small\"\nabout = \"Which depth?\"\n[base]\ndataset = \"digits\"\n[grid]\ndepth = [2, 5]\nseed = { count = 3 }\n";

fn wninit(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wninit"));
    command.current_dir(folder).arg("plan").arg("grid.toml");
    command
}

fn folder(grid: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("grid.toml"), grid).unwrap();
    folder
}

fn stdout(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_plan_tells_the_axes_the_jobs_and_the_cost() {
    let folder = folder(GRID);
    let text = stdout(&mut wninit(folder.path()));
    for part in [
        "small\nWhich depth?\n",
        "  depth  2, 5\n",
        "6 jobs: 0 finished, 6 remaining in 2 cohorts",
        "cost of the rest: about ",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert!(!folder.path().join("results").exists(), "planning leaves nothing behind");
}

#[test]
fn finished_jobs_are_counted_and_a_torn_row_is_not() {
    let folder = folder(GRID);
    let list = stdout(wninit(folder.path()).arg("--list"));
    let ids: Vec<&str> = list.lines().map(|line| &line[..12]).collect();
    let results = folder.path().join("elsewhere/small");
    std::fs::create_dir_all(&results).unwrap();
    let rows = format!(
        "job_id,depth,outcome\n{},2,ok\n000000000000,9,ok\n{},5,diverged\n{},5",
        ids[0], ids[1], ids[2]
    );
    std::fs::write(results.join("runs.csv"), rows).unwrap();
    let text = stdout(wninit(folder.path()).args(["--results", "elsewhere"]));
    assert!(text.contains("6 jobs: 2 finished, 4 remaining"), "{text}");
}

#[test]
fn a_list_has_a_job_a_line_with_what_varies() {
    let folder = folder(GRID);
    let list = stdout(wninit(folder.path()).arg("--list"));
    let told: Vec<&str> = list.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(
        told,
        [
            "depth=2 seed=0",
            "depth=5 seed=0",
            "depth=2 seed=1",
            "depth=5 seed=1",
            "depth=2 seed=2",
            "depth=5 seed=2"
        ]
    );
    let csv = stdout(wninit(folder.path()).arg("--csv"));
    assert!(csv.starts_with("job_id,dataset,"));
    let ids = |text: &str, skip: usize| {
        text.lines().skip(skip).map(|line| line[..12].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&csv, 1), ids(&list, 0));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let folder = folder("name = \"a\"\n[grid]\nseed = { count = 20000 }\n");
    for option in ["--list", "--csv"] {
        let mut child = wninit(folder.path())
            .arg(option)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut message = String::new();
        child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
        assert_eq!((child.wait().unwrap().code(), message.as_str()), (Some(0), ""), "{option}");
    }
}
