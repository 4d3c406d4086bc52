//! `analysis/export.py`: what TensorBoard reads of an export is what the tables say.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::{folder, jobs, planned, record};
use crate::root;
use crate::skip::skip;
use wninit_core::results::Record;
use wninit_core::run::sweep;

/// A sweep of six finished jobs, the fifth of which diverged.
fn sweep(dir: &Path) {
    let jobs = jobs(6);
    let mut sweep =
        sweep::open(dir, None, "name = \"x\"\n", &planned(&jobs), &planned(&jobs)).unwrap();
    sweep.journal.append(&jobs.iter().map(record).collect::<Vec<Record>>()).unwrap();
}

/// The Python of `.venv`, if it has these packages.
pub fn python(packages: &str) -> Option<PathBuf> {
    let python = root().join(".venv/bin/python");
    let found = Command::new(&python).args(["-c", &format!("import {packages}")]).output();
    found.is_ok_and(|output| output.status.success()).then_some(python)
}

fn export(python: &Path, options: &[&str], dir: &Path) -> Output {
    let script = root().join("analysis/export.py");
    Command::new(python)
        .args(options)
        .arg(script)
        .arg(dir)
        .args(["--to", "tensorboard"])
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

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

/// Reads the sweep in the current folder with TensorBoard's own readers, and compares it with the
/// CSV files; a difference is an exception.
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
named = {name.split()[-1]: name for name in everything.Runs()}
assert set(named) == set(runs), everything.Runs()
assert all("=" in name for name in named.values()), named
ended = {"ok": 0, "diverged": 0}
for job, row in runs.items():
    [path] = glob.glob(f"tensorboard/*{job}/*")
    read = event_accumulator.EventAccumulator(path).Reload()
    curve = [epoch for epoch in epochs if epoch["job_id"] == job]
    for tag in CURVES if curve else []:
        found = [(s.step, s.value) for s in read.Scalars(tag)] if tag in read.Tags()["scalars"] else []
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

    plugin = everything.GetAccumulator(named[job]).PluginTagToContent(metadata.PLUGIN_NAME)
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
fn tensorboard_reads_what_the_tables_say_and_what_was_exported_is_left_alone() {
    let Some(python) = python("torch, tensorboard") else {
        return skip("tensorboard", "`make notebooks` installs it into .venv");
    };
    let dir = folder();
    sweep(dir.path());
    let output = export(&python, &[], dir.path());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).starts_with("exported 6 of 6 finished jobs"),
        "{}",
        text(&output.stdout)
    );
    let read_back = || {
        let mut read = Command::new(&python);
        let read =
            read.args(["-W", "ignore", "-c", READ_BACK]).current_dir(dir.path()).output().unwrap();
        assert!(read.status.success(), "{}", text(&read.stderr));
        assert_eq!(text(&read.stdout), "read 6\n");
    };
    read_back();

    // What a crash leaves: no file, one without contents, or one in an unfinished folder.
    let mut written = events(dir.path());
    let files: Vec<PathBuf> = written.values().map(|(file, _)| file.clone()).collect();
    fs::remove_file(&files[0]).unwrap();
    fs::write(&files[1], "").unwrap();
    let job = files[2].parent().unwrap();
    let id = job.file_name().unwrap().to_str().unwrap().rsplit(' ').next().unwrap();
    let name = format!(".{id}.unfinished");
    fs::rename(job, job.with_file_name(name)).unwrap();
    let again = export(&python, &[], dir.path());
    assert!(text(&again.stdout).starts_with("exported 3 of 6"), "{}", text(&again.stderr));
    read_back();
    let kept = events(dir.path());
    written.retain(|_, (file, _)| !files[..3].contains(file));
    assert!(written.iter().all(|(job, file)| kept.get(job) == Some(file)));
}

#[test]
fn a_missing_package_or_folder_is_one_line_that_says_what_to_do() {
    let dir = folder();
    let without_packages = |dir: &Path| {
        let output = export(Path::new("python3"), &["-S"], dir);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr).lines().count(), 1, "{}", text(&output.stderr));
        text(&output.stderr)
    };
    assert!(without_packages(dir.path()).contains("has no runs.csv: name a sweep's folder"));
    sweep(dir.path());
    assert!(without_packages(dir.path()).contains("pip install torch tensorboard"));
}
