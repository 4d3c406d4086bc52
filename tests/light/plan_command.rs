//! What `wninit plan` prints.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

const GRID: &str = "name = \"small\"\nabout = \"Which depth?\"\n[base]\ndataset = \"digits\"\n[grid]\ndepth = [2, 5]\nseed = { count = 3 }\n";

fn wninit(folder: &Path) -> Command {
    let mut command = Command::new(crate::WNINIT);
    command.current_dir(folder).arg("plan").arg("grid.toml");
    command.env("WNINIT_CACHE", folder); // nothing was measured
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
fn a_plan_whose_jobs_evaluate_more_than_they_train_says_so() {
    // Training on an image takes 2.2 times the arithmetic of evaluating it, as the first layer needs no
    // gradient of its input: 2.2 · 1,000 for training, 60 for validation, 10,000 or 10 for the test.
    let grid = |test: u32| {
        format!(
            "name = \"small\"\n[base]\ndataset = \"fashion-mnist\"\ndepth = 10\nwidth = 16\n\
             train_images = 1000\nval_fraction = 0.001\ntest_images = {test}\n"
        )
    };
    for (test, says) in [(10_000, true), (10, false)] {
        let folder = folder(&grid(test));
        let text = stdout(&mut wninit(folder.path()));
        assert_eq!(text.contains("82 % of the arithmetic is validation and test;"), says, "{text}");
    }
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

#[test]
fn several_grids_are_a_table_with_a_sum() {
    let folder = folder(GRID);
    std::fs::write(
        folder.path().join("more.toml"),
        "name = \"more\"\n[base]\ndataset = \"digits\"\n[grid]\nlr = [0.1, 0.2]\nseed = { count = 500 }\n",
    )
    .unwrap();
    let text = stdout(wninit(folder.path()).arg("more.toml"));
    let row = |name: &str| -> Vec<String> {
        let line = text.lines().find(|line| line.trim_start().starts_with(name));
        line.unwrap_or_else(|| panic!("{text}")).split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(row("small ")[1..3], ["6", "0"]);
    assert_eq!(row("more ")[1..3], ["1,000", "0"]);
    assert_eq!(row("all ")[1..3], ["1,006", "0"]);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");

    let output = wninit(folder.path()).args(["more.toml", "--list"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("are for one grid"));
}

#[test]
fn a_plan_is_measured_also_where_nothing_can_be_kept() {
    let folder = folder(GRID);
    for cache in ["", "/dev/null/cache"] {
        let mut command = wninit(folder.path());
        command.arg("--measure").env_remove("XDG_CACHE_HOME").env_remove("HOME");
        let output = command.env("WNINIT_CACHE", cache).output().unwrap();
        let (said, plan) = (output.stderr, output.stdout);
        let (said, plan) = (String::from_utf8_lossy(&said), String::from_utf8_lossy(&plan));
        assert!(output.status.success(), "{said}");
        assert_eq!(
            said.matches("warning: the measured speeds are not kept: ").count(),
            1,
            "{said}"
        );
        assert!(plan.contains("cost of the rest: about "), "{plan}");
        assert!(!plan.contains("roughly") && !plan.contains("--measure"), "{plan}");
    }
}

#[test]
fn measured_networks_are_remembered_for_the_next_plan() {
    let folder = folder(GRID);
    let plan = || {
        let mut command = wninit(folder.path());
        command.env("WNINIT_CACHE", folder.path().join("cache"));
        command
    };
    let rough = stdout(&mut plan());
    assert!(rough.contains(", roughly (") && rough.contains("--measure times"), "{rough}");

    let output = plan().arg("--measure").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // Three seeds of each depth are one cohort.
    assert!(said.contains("network 2 of 2: mlp 5 x 128, 3 members"), "{said}");
    let measured = stdout(&mut plan());
    assert!(!measured.contains("roughly") && !measured.contains("--measure"), "{measured}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), measured);

    let again = plan().arg("--measure").output().unwrap();
    assert!(again.stderr.is_empty(), "nothing is measured twice");

    // A damaged file is as good as none.
    let file = std::fs::read_dir(folder.path().join("cache")).unwrap().next().unwrap().unwrap();
    std::fs::write(file.path(), "{ \"speeds\": 3").unwrap();
    assert!(stdout(&mut plan()).contains("roughly"));
}
