//! `wninit run --tensorboard`: an event file for each finished job, which TensorBoard reads.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{Sandbox, output, rows};
use crate::skip::skip;

/// Three jobs, of which the one with the learning rate 1e6 diverges.
const GRID: &str = r#"
[base]
dataset = "digits"
depth = 2
width = 16
epochs = 3
[grid]
lr = [0.01, 0.1, 1e6]
"#;

/// The event files of a sweep by their job, with their contents.
fn events(sweep: &Path) -> BTreeMap<String, (PathBuf, Vec<u8>)> {
    let mut files = BTreeMap::new();
    for job in fs::read_dir(sweep.join("tensorboard")).unwrap() {
        let job = job.unwrap();
        let mut inside = fs::read_dir(job.path()).unwrap();
        let file = inside.next().unwrap().unwrap().path();
        assert!(inside.next().is_none(), "{} has more than one file", job.path().display());
        assert!(file.file_name().unwrap().to_str().unwrap().contains("tfevents"));
        let bytes = fs::read(&file).unwrap();
        files.insert(job.file_name().into_string().unwrap(), (file, bytes));
    }
    files
}

#[test]
fn every_finished_job_gets_one_event_file_also_afterwards() {
    let sandbox = Sandbox::new(GRID);
    output(&mut sandbox.run(&[])).expect(0, &[]);
    assert!(!sandbox.sweep().join("tensorboard").exists(), "nobody asked for it");

    output(&mut sandbox.run(&["--tensorboard"])).expect(0, &[]);
    let written = events(&sandbox.sweep());
    let jobs: Vec<String> = rows(&sandbox.sweep().join("runs.csv"))
        .into_iter()
        .map(|mut r| r.remove("job_id").unwrap())
        .collect();
    assert_eq!(written.len(), 3);
    assert!(jobs.iter().all(|job| written.contains_key(job)));

    // What a crash leaves: no file, or one without contents. The others are left alone.
    let [lost, emptied, kept] = [0, 1, 2].map(|i| &written[&jobs[i]].0);
    fs::remove_file(lost).unwrap();
    fs::write(emptied, "").unwrap();
    let before = fs::metadata(kept).unwrap().modified().unwrap();
    output(&mut sandbox.run(&["--tensorboard"])).expect(0, &[]);
    assert_eq!(events(&sandbox.sweep()), written);
    assert_eq!(fs::metadata(kept).unwrap().modified().unwrap(), before);
}

#[test]
fn event_files_that_cannot_be_written_are_a_warning_and_fail_no_job() {
    let sandbox = Sandbox::new(GRID);
    fs::create_dir_all(sandbox.sweep()).unwrap();
    fs::write(sandbox.sweep().join("tensorboard"), "in the way").unwrap();
    output(&mut sandbox.run(&["--tensorboard"]))
        .expect(0, &["warning: ", "TensorBoard", "cannot write"]);
    assert_eq!(rows(&sandbox.sweep().join("runs.csv")).len(), 3);
    assert_eq!(rows(&sandbox.sweep().join("failures.csv")).len(), 0);
}

/// Reads the sweep in the current folder with TensorBoard's own readers, and compares it with the
/// CSV files; what goes wrong is an exception.
const READ_BACK: &str = r#"
import csv, glob, math
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.backend.event_processing import plugin_event_multiplexer
from tensorboard.plugins.hparams import metadata

CURVES = ["train_loss", "train_acc", "val_loss", "val_acc", "lr"]
runs = {row["job_id"]: row for row in csv.DictReader(open("runs.csv"))}
epochs = list(csv.DictReader(open("epochs.csv")))
fields = next(csv.reader(open("plan.csv")))[1:]
near = lambda a, b: math.isclose(a, float(b), rel_tol=1e-6)

everything = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory("tensorboard").Reload()
assert set(everything.Runs()) == set(runs), everything.Runs()
ended = {"ok": 0, "diverged": 0}
for job, row in runs.items():
    [path] = glob.glob(f"tensorboard/{job}/*")
    read = event_accumulator.EventAccumulator(path).Reload()
    curve = [epoch for epoch in epochs if epoch["job_id"] == job]
    for tag in CURVES if curve else []:
        found = [(s.step, s.value) for s in read.Scalars(tag)]
        expected = [(int(e["epoch"]), e[tag]) for e in curve if e[tag]]
        assert len(found) == len(expected), (job, tag, found, expected)
        assert all(s == e and near(x, y) for (s, x), (e, y) in zip(found, expected)), (job, tag)
    for tag in ["test_loss", "test_acc"]:
        if row[tag]:
            [scalar] = read.Scalars(tag)
            assert near(scalar.value, row[tag]) and scalar.step == int(row["best_epoch"]), (job, tag)
        else:
            assert tag not in read.Tags()["scalars"], (job, tag)
    diverged = row["outcome"] == "diverged"
    [scalar] = read.Scalars("diverged")
    assert scalar.value == diverged
    ended[row["outcome"]] += 1

    plugin = everything.GetAccumulator(job).PluginTagToContent(metadata.PLUGIN_NAME)
    start = metadata.parse_session_start_info_plugin_data(plugin[metadata.SESSION_START_INFO_TAG])
    end = metadata.parse_session_end_info_plugin_data(plugin[metadata.SESSION_END_INFO_TAG])
    assert end.status == (2 if diverged else 1) and end.end_time_secs >= start.start_time_secs > 1.6e9
    hparams = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
    assert set(hparams) == {field for field in fields if row[field]}, hparams
    for name, value in hparams.items():
        assert near(value, row[name]) if type(value) is float else str(value).lower() == row[name], (name, value)
assert all(ended.values()), ended
print("read", len(runs))
"#;

#[test]
fn tensorboard_reads_what_the_tables_say() {
    let python = crate::root().join(".venv/bin/python");
    let has = Command::new(&python).args(["-c", "import tensorboard"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        return skip("tensorboard", "`make notebooks` installs it into .venv");
    }
    let sandbox = Sandbox::new(GRID);
    output(&mut sandbox.run(&["--tensorboard"])).expect(0, &[]);
    let read = Command::new(&python)
        .args(["-W", "ignore", "-c", READ_BACK])
        .current_dir(sandbox.sweep())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{error}");
    assert_eq!(String::from_utf8_lossy(&read.stdout), "read 3\n");
}
