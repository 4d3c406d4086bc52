//! Another program changes a sweep's files while it runs: its bytes stay, and no measurement is lost or
//! reported as written when it is not.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use crate::program::{Output, Process, Results, Row, Sandbox, assert_same, output, rows};

/// Twenty jobs; each is a cohort below.
const GRID: &str = r#"
[base]
dataset = "digits"
width = 32
batch_size = 32
epochs = 8
init = "orthogonal_proposed"
[grid]
depth = [2, 12]
lr = [0.01, 0.02, 0.05, 0.1, 30.0]
seed = { count = 2 }
"#;

fn expected() -> &'static Results {
    static RESULTS: OnceLock<Results> = OnceLock::new();
    RESULTS.get_or_init(|| Sandbox::finished(GRID).results())
}

/// The row of a job that another program has trained.
fn foreign_row() -> &'static str {
    static ROW: OnceLock<String> = OnceLock::new();
    ROW.get_or_init(|| {
        let sandbox = Sandbox::finished("[base]\ndataset = \"digits\"\ndepth = 3\nepochs = 1\n");
        sandbox.text("runs.csv").lines().nth(1).unwrap().to_owned()
    })
}

fn narrow(sandbox: &Sandbox) -> Process {
    let mut command = sandbox.run(&["--workers", "1", "--cohort-width", "1"]);
    fs::create_dir_all(sandbox.path("tmp")).unwrap();
    Process::start(command.env("TMPDIR", sandbox.path("tmp")))
}

/// Starts a run, stops it after some rows, calls `disturb`, and continues it.
fn disturbed(disturb: impl FnOnce(&Sandbox)) -> (Sandbox, Output) {
    let sandbox = Sandbox::new(GRID);
    let mut process = narrow(&sandbox);
    let written = || fs::read(sandbox.sweep().join("runs.csv")).unwrap_or_default();
    process.wait_until("some jobs are finished", |_| {
        written().iter().filter(|&&byte| byte == b'\n').count() > 3
    });
    process.signal(libc::SIGSTOP);
    let stat = format!("/proc/{}/stat", process.child.id());
    process.wait_until("it is stopped", |_| {
        fs::read_to_string(&stat).unwrap().rsplit(')').next().unwrap().starts_with(" T")
    });
    disturb(&sandbox);
    process.signal(libc::SIGCONT);
    let output = process.output();
    (sandbox, output)
}

/// The number before a text.
fn number(text: &str, after: &str) -> usize {
    let (before, _) = text.split_once(after).unwrap_or_else(|| panic!("{after:?} not in {text}"));
    before.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// The files of rows that could not be written.
fn kept(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().contains(".unwritten-")).collect()
}

fn ids(rows: &[Row]) -> BTreeSet<String> {
    rows.iter().map(|row| row["job_id"].clone()).collect()
}

/// Every job finished by a run that found its files changed is in `runs.csv`, kept aside with its whole
/// curve, or reported as lost.
fn assert_honest(sandbox: &Sandbox, run: &Output, folder: &Path) {
    run.expect(3, &["\nstopped, because the results could not be written: "]);
    assert!(!run.stderr.contains("after all"), "{run:?}");
    let files = kept(folder);
    assert!(!files.is_empty(), "{run:?}");
    for file in &files {
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(run.stderr.contains(name), "{name} is not named in {run:?}");
    }
    let of = |stem: &str| -> Vec<Row> {
        let own = files.iter().filter(|file| {
            file.file_name().unwrap().to_str().unwrap().starts_with(&format!("{stem}."))
        });
        own.flat_map(|file| rows(file)).collect()
    };
    let (runs, epochs) = (of("runs"), of("epochs"));
    for row in &runs {
        let expected = &expected().runs[&row["job_id"]];
        assert_eq!(row, expected, "a row that is kept is whole");
        let curve = epochs.iter().filter(|epoch| epoch["job_id"] == row["job_id"]).count();
        assert_eq!(curve.to_string(), row["epochs_done"], "so is its curve");
    }
    let claimed = number(&run.stderr, " jobs in ");
    let standing = standing(&sandbox.sweep().join("runs.csv"));
    let ours = standing.iter().filter(|id| expected().runs.contains_key(*id)).count();
    assert!(claimed <= ours, "{claimed} are claimed, and {ours} are there: {run:?}");
    let lost = if run.stderr.contains(" of them were, until") {
        number(&run.stderr, " of them were, until")
    } else {
        0
    };
    let unwritten = number(&run.stderr, " finished jobs are not on disk");
    // If the process was stopped between a write and its check, the row is kept although it is in the file.
    let kept = ids(&runs).len();
    assert!(kept >= unwritten - lost && unwritten > 0, "{kept} are kept: {run:?}");
}

/// The ids in the readable part of a file.
fn standing(path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().skip(1).filter_map(|line| Some(line.split(',').next()?.to_owned())).collect()
}

/// Merges what was kept and completes the sweep, which must equal an undisturbed one.
fn assert_heals(sandbox: &Sandbox) {
    let finished = |sandbox: &Sandbox| ids(&rows(&sandbox.sweep().join("runs.csv")));
    let was_kept: Vec<Row> = kept(&sandbox.sweep())
        .iter()
        .filter(|file| file.file_name().unwrap().to_str().unwrap().starts_with("runs."))
        .flat_map(|file| rows(file))
        .collect();
    if !kept(&sandbox.sweep()).is_empty() {
        output(&mut sandbox.wninit(&["merge", "results/sweep"])).expect(0, &[]);
    }
    assert!(ids(&was_kept).is_subset(&finished(sandbox)), "merge adds what was kept");
    output(&mut sandbox.run(&["--workers", "2"])).expect(0, &[]);
    let mut results = sandbox.results();
    results.runs.retain(|id, _| expected().runs.contains_key(id));
    assert_same(&results, expected());
    let status = output(&mut sandbox.wninit(&["summary", "results/sweep"]));
    status.expect(0, &[]);
}

fn crlf(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    fs::write(path, text.replace('\n', "\r\n")).unwrap(); // in place, as editors do
}

fn append(path: &Path, row: &str) {
    let mut file = fs::File::options().append(true).open(path).unwrap();
    writeln!(file, "{row}").unwrap();
}

/// Changes a file in place during a run, which must leave it unchanged.
fn in_place(name: &str, change: impl FnOnce(&Path), mend: impl FnOnce(&Path, &[u8])) {
    let (mut before, mut left) = (Vec::new(), Vec::new());
    let (sandbox, run) = disturbed(|sandbox| {
        let path = sandbox.sweep().join(name);
        before = fs::read(&path).unwrap();
        change(&path);
        left = fs::read(&path).unwrap();
    });
    let path = sandbox.sweep().join(name);
    run.expect(3, &[&format!("results/sweep/{name} was changed by another program")]);
    assert_honest(&sandbox, &run, &sandbox.sweep());
    assert!(fs::read(&path).unwrap() == left, "another program's bytes stay");
    mend(&path, &before);
    assert_heals(&sandbox);
}

fn as_it_is(_: &Path, _: &[u8]) {}

fn as_before(path: &Path, before: &[u8]) {
    fs::write(path, before).unwrap();
}

#[test]
fn a_file_saved_with_other_line_ends_is_not_written() {
    in_place("runs.csv", crlf, as_it_is);
    in_place("epochs.csv", crlf, as_it_is);
}

#[test]
fn an_emptied_file_is_not_written_and_nothing_is_reported_to_be_in_it() {
    in_place("runs.csv", |path| fs::write(path, "").unwrap(), as_it_is);
    in_place("epochs.csv", |path| fs::write(path, "").unwrap(), as_before);
}

#[test]
fn a_truncated_file_is_not_extended() {
    let cut = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        let end = text.trim_end().rfind('\n').unwrap() + 1;
        fs::File::options().write(true).open(path).unwrap().set_len(end as u64).unwrap();
    };
    in_place("runs.csv", cut, as_it_is);
}

#[test]
fn a_row_that_another_process_added_stays() {
    let added = |path: &Path| append(path, foreign_row());
    in_place("runs.csv", added, as_it_is);
    let half = |path: &Path| {
        let mut file = fs::File::options().append(true).open(path).unwrap();
        file.write_all(b"half a row").unwrap();
    };
    in_place("epochs.csv", half, as_it_is);
}

#[test]
fn an_edited_header_or_last_row_of_the_same_length_is_detected() {
    let edit = |from: &'static str, to: &'static str| {
        move |path: &Path| {
            let text = fs::read_to_string(path).unwrap();
            let at = text.rfind(from).unwrap();
            fs::write(path, [&text[..at], to, &text[at + from.len()..]].concat()).unwrap();
        }
    };
    in_place("runs.csv", edit("job_id,", "jobbed,"), as_before);
    in_place("runs.csv", edit("Z\n", "Y\n"), as_before);
    in_place("epochs.csv", edit("train_loss", "train_lass"), as_before);
}

#[test]
fn all_rows_of_a_replaced_or_deleted_file_are_kept() {
    type Disturb = fn(&Path);
    let disturb: [Disturb; 4] = [
        |path| {
            fs::copy(path, path.with_extension("copy")).unwrap();
            fs::rename(path.with_extension("copy"), path).unwrap();
        },
        |path| fs::remove_file(path).unwrap(),
        |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        },
        |path| {
            fs::rename(path, path.with_extension("old")).unwrap();
            fs::write(path.with_extension("other"), "not ours\n").unwrap();
            std::os::unix::fs::symlink(path.with_extension("other"), path).unwrap();
        },
    ];
    for (i, disturb) in disturb.into_iter().enumerate() {
        for name in ["runs.csv", "epochs.csv"] {
            let (sandbox, run) = disturbed(|sandbox| disturb(&sandbox.sweep().join(name)));
            let path = sandbox.sweep().join(name);
            run.expect(3, &[&format!("results/sweep/{name} was changed by another program")]);
            assert_honest(&sandbox, &run, &sandbox.sweep());
            match i {
                1 => assert!(!path.exists()),
                2 => fs::remove_dir(&path).unwrap(), // it is empty
                3 => {
                    assert_eq!(fs::read_to_string(&path).unwrap(), "not ours\n");
                    fs::remove_file(&path).unwrap();
                    fs::rename(path.with_extension("old"), &path).unwrap();
                }
                _ => {}
            }
            assert_heals(&sandbox);
        }
    }
}

#[test]
fn all_rows_of_a_moved_folder_are_kept() {
    let (sandbox, run) = disturbed(|sandbox| {
        fs::rename(sandbox.sweep(), sandbox.path("results/moved")).unwrap();
    });
    let [folder] = &fs::read_dir(sandbox.path("tmp"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect::<Vec<_>>()[..]
    else {
        panic!("{run:?}");
    };
    assert_honest(&sandbox, &run, folder);
    run.expect(3, &["move that to results/sweep; "]);
    fs::remove_dir_all(sandbox.sweep()).ok(); // a checkpoint, at most
    fs::rename(sandbox.path("results/moved"), sandbox.sweep()).unwrap();
    for file in kept(folder) {
        fs::rename(&file, sandbox.sweep().join(file.file_name().unwrap())).unwrap();
    }
    assert_heals(&sandbox);
}

#[test]
fn two_processes_never_both_write_if_one_loses_its_lock() {
    let sandbox = Sandbox::new(&GRID.replace("epochs = 8", "epochs = 40"));
    let lock = sandbox.sweep().join(".lock");
    let mut first = narrow(&sandbox);
    first.wait_until("a job is finished", |_| !sandbox.results().runs.is_empty());
    fs::remove_file(&lock).unwrap();
    let mut second = narrow(&sandbox);
    // The first one stops at its next check; only then does the second one start.
    let stopped = first.output();
    stopped.expect(3, &["results/sweep/.lock was removed or replaced by another program"]);
    assert!(!stopped.stderr.contains("could not be kept"), "{stopped:?}");
    second.sleep(Duration::from_millis(1));
    second.output().expect(0, &[]);
    let runs = rows(&sandbox.sweep().join("runs.csv"));
    assert_eq!((runs.len(), sandbox.results().runs.len()), (20, 20), "no job twice");
    for row in &runs {
        let curve = sandbox.results().epochs.keys().filter(|(id, _)| *id == row["job_id"]).count();
        assert_eq!(curve.to_string(), row["epochs_done"]);
    }
    assert!(sandbox.text("epochs.csv").lines().all(|line| line.split(',').count() == 8));
    output(&mut sandbox.run(&[])).expect(0, &["20 were finished before"]);
}

#[test]
fn a_replaced_lock_stops_the_run_before_it_writes() {
    let (sandbox, run) = disturbed(|sandbox| {
        let lock = sandbox.sweep().join(".lock");
        fs::remove_file(&lock).unwrap();
        fs::write(&lock, "somebody else's").unwrap();
        fs::write(
            sandbox.sweep().join("before"),
            fs::read(sandbox.sweep().join("runs.csv")).unwrap(),
        )
        .unwrap();
    });
    run.expect(3, &["results/sweep/.lock was removed or replaced by another program"]);
    assert_eq!(sandbox.text("runs.csv"), sandbox.text("before"));
    assert_heals(&sandbox);
}

#[test]
fn a_change_that_loses_no_row_is_a_warning() {
    let (sandbox, run) = disturbed(|sandbox| crlf(&sandbox.sweep().join("failures.csv")));
    run.expect(
        0,
        &[
            "warning: results/sweep/failures.csv was changed by another program",
            "every job that was finished so far has its row",
            "finished 20 jobs",
        ],
    );
    assert_same(&sandbox.results(), expected());
}
