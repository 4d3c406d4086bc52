//! A sweep that adds seeds until its claims are decided ends with the same jobs and verdicts, whatever
//! interrupted it.

use std::fs;

use crate::program::{Process, Sandbox, assert_same, output};

/// A learning rate that trains against one that diverges, which is decided, and two arms of which
/// neither is better.
const GRID: &str = r#"
until_decided = { max_seeds = 12, batch = 2 }
[base]
dataset = "digits"
depth = 2
width = 32
epochs = 8
batch_size = 32
[grid]
seed = { count = 4 }
init = ["he", "orthogonal"]
lr = [0.05, 1000.0]
[[claim]]
text = "A moderate learning rate trains."
metric = "success"
where = { init = "he" }
compare = { axis = "lr", better = 0.05, than = 1000.0 }
[[claim]]
text = "Orthogonal weights are more accurate by 0.03."
metric = "test_acc"
where = { lr = 0.05 }
compare = { axis = "init", better = "orthogonal", than = "he", margin = 0.03 }
"#;

fn claims(sandbox: &Sandbox) -> String {
    output(&mut sandbox.wninit(&[
        "summary",
        "results/sweep",
        "--table",
        "claims",
        "--format",
        "csv",
    ]))
    .expect(0, &[])
    .stdout
    .clone()
}

#[test]
fn it_adds_seeds_until_decided_and_survives_kills_and_signals() {
    let whole = Sandbox::new(GRID);
    let first = output(&mut whole.run(&["--workers", "2", "--summary"]));
    first.expect(0, &["look 1, 4 seeds: 2 of 2 claims open: A moderate learning rate trains. |"]);
    let look = "\n  supported (n = 8): A moderate learning rate trains.";
    assert!(first.stderr.contains(look), "{}", first.stderr);
    let said = first.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "betting, anytime-valid",
        "wrong decisions ≤ 5 % over the whole path",
        "2 at a time, at most 12",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let expected = (whole.results(), whole.text("plan.csv"), claims(&whole));
    assert!(expected.0.runs.len() < 4 * 12, "not every setting got every seed");
    output(&mut whole.wninit(&["status", "results/sweep", "--check"])).expect(0, &[]);

    let broken = Sandbox::new(GRID);
    let args = ["--workers", "2", "--cohort-width", "2", "--checkpoint-every", "0.05s"];
    let rows = || broken.results().runs.len();
    // Within a batch, at its end, and between two looks.
    for (finished, signal) in
        [(3, libc::SIGKILL), (16, libc::SIGKILL), (17, libc::SIGTERM), (22, libc::SIGKILL)]
    {
        let mut process = Process::start(&mut broken.run(&args));
        process.wait_until("rows", |_| rows() >= finished);
        process.signal(signal);
        process.output();
    }
    output(&mut broken.run(&args)).expect(0, &[]);
    assert_same(&broken.results(), &expected.0);
    assert_eq!(broken.text("plan.csv"), expected.1);
    assert_eq!(claims(&broken), expected.2);
}

#[test]
fn a_fixed_number_of_seeds_after_looking_and_shards_are_refused() {
    let sandbox = Sandbox::new(GRID);
    output(&mut sandbox.run(&["--shard", "1/2"])).expect(2, &["--shard trains a fixed part"]);
    assert!(!sandbox.sweep().exists(), "nothing was written");
    output(&mut sandbox.run(&["--max-seeds", "4"]))
        .expect(0, &["undecided at the maximum number of seeds, 4"]);
    let before = fs::read(sandbox.sweep().join("plan.csv")).unwrap();
    sandbox.set_grid(&GRID.replace("until_decided", "# until_decided"));
    output(&mut sandbox.run(&[])).expect(2, &["add --until-decided"]);
    assert_eq!(fs::read(sandbox.sweep().join("plan.csv")).unwrap(), before);
    output(&mut sandbox.run(&["--until-decided", "--max-seeds", "6"]))
        .expect(0, &["look 2, 6 seeds"]);
}
