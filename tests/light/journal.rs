//! No finished row is lost, none is doubled, none is wrong, whatever happens to the files.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::{at, folder, job, jobs, record};
use proptest::prelude::*;
use wninit_core::job::Value;
use wninit_core::results::{
    Failure, FailureReason, Journal, Record, ResultsError, columns_json, equal_results,
    finished_ids, read_epochs, read_failures, read_runs,
};

fn text(dir: &Path, file: &str) -> String {
    fs::read_to_string(dir.join(file)).unwrap()
}

fn filled(n: u64) -> tempfile::TempDir {
    let dir = folder();
    let records: Vec<Record> = jobs(n).iter().map(record).collect();
    Journal::open(dir.path()).unwrap().append(&records).unwrap();
    dir
}

/// Every job once, with its own numbers and its whole curve.
fn assert_sound(dir: &Path, n: u64) {
    let runs = read_runs(dir).unwrap();
    assert_eq!((runs.conflicts.len(), runs.warnings.len()), (0, 0), "{:?}", runs.warnings);
    let found: HashSet<_> = runs.records.iter().map(|r| r.job.id()).collect();
    assert_eq!((found.len(), runs.records.len()), (n as usize, n as usize), "each job has one row");
    let epochs = read_epochs(dir).unwrap();
    for found in &runs.records {
        let expected = record(&found.job);
        assert!(equal_results(found, &expected), "{found:?}");
        let curve = &epochs[&found.job.id()];
        assert_eq!(curve.len(), expected.epochs.len(), "its curve is whole");
        assert_eq!(curve[0].train_loss, expected.epochs[0].train_loss);
    }
    assert_eq!(
        text(dir, "epochs.csv").lines().count(),
        1 + epochs.values().map(Vec::len).sum::<usize>()
    );
}

#[test]
fn what_is_written_is_read_back_to_the_last_bit() {
    let dir = filled(7);
    assert_sound(dir.path(), 7);
    let runs = read_runs(dir.path()).unwrap();
    for (found, job) in runs.records.iter().zip(jobs(7)) {
        let expected = Record { epochs: Vec::new(), ..record(&job) };
        assert_eq!(*found, expected);
    }
    assert!(!text(dir.path(), "runs.csv").to_lowercase().contains("nan"));
    assert!(
        !text(dir.path(), "epochs.csv").to_lowercase().contains("nan"),
        "an empty cell is 'not measured'"
    );
    assert!(text(dir.path(), "runs.csv").contains(",'=host,"), "no cell starts a formula");
}

#[test]
fn the_columns_are_those_of_the_documentation() {
    let dir = filled(1);
    let header = text(dir.path(), "runs.csv").lines().next().unwrap().to_owned();
    assert!(header.starts_with("job_id,dataset,"), "{header}");
    assert!(
        header.ends_with(
            ",seed,init_seed,data_seed,outcome,reason,epochs_done,diverged_epoch,diverged_step,train_loss,train_acc,\
             val_loss,val_acc,best_val_acc,best_epoch,test_loss,test_acc,train_seconds,images_per_second,device,\
             cohort_size,instruction_set,libtorch,git_sha,hostname,started_at,finished_at"
        ),
        "{header}"
    );
    let first = |file| text(dir.path(), file).lines().next().unwrap().to_owned();
    assert_eq!(
        first("epochs.csv"),
        "job_id,epoch,lr,train_loss,train_acc,val_loss,val_acc,seconds"
    );
    assert_eq!(first("failures.csv"), "job_id,attempt,reason,message,device,hostname,at");
    let columns: serde_json::Value = serde_json::from_str(&columns_json()).unwrap();
    for name in header.split(',') {
        assert!(
            columns["runs.csv"][name]["meaning"].as_str().is_some_and(|m| !m.is_empty()),
            "{name}"
        );
    }
    assert_eq!(text(dir.path(), "columns.json"), columns_json());
    assert!(
        text(dir.path(), "runs.csv")
            .ends_with("2027-01-15T08:00:00.007Z,2027-01-15T08:00:01.007Z\n")
    );
}

#[test]
fn a_row_torn_at_any_byte_is_dropped_and_written_again() {
    let whole = filled(3);
    for (file, rows) in [("runs.csv", 1), ("epochs.csv", 2)] {
        let bytes = fs::read(whole.path().join(file)).unwrap();
        let ends: Vec<usize> = (0..bytes.len()).filter(|&i| bytes[i] == b'\n').collect();
        let start = ends[ends.len() - 1 - rows] + 1;
        for cut in start..bytes.len() {
            let dir = folder();
            for other in ["runs.csv", "epochs.csv"] {
                fs::copy(whole.path().join(other), dir.path().join(other)).unwrap();
            }
            fs::write(dir.path().join(file), &bytes[..cut]).unwrap();
            if file == "epochs.csv" {
                // The order of the writes: where the curve is torn, the row is not there yet.
                let runs = text(dir.path(), "runs.csv");
                let end = runs.trim_end().rfind('\n').unwrap() + 1;
                fs::write(dir.path().join("runs.csv"), &runs[..end]).unwrap();
            }
            assert_eq!(
                finished_ids(dir.path()).unwrap().len(),
                2,
                "{file} cut at {cut}: readers ignore it"
            );
            assert_eq!(read_runs(dir.path()).unwrap().records.len(), 2);
            let mut journal = Journal::open(dir.path()).unwrap();
            assert_eq!(journal.finished().len(), 2);
            journal.append(&jobs(3).iter().map(record).collect::<Vec<_>>()).unwrap();
            assert_sound(dir.path(), 3);
        }
    }
}

#[test]
fn a_row_of_zeros_or_of_bytes_that_are_no_text_is_dropped_at_the_end_of_the_file() {
    for tail in [&[0; 300][..], b"\xff\xfe\xff\n", b"abc,def\n"] {
        let dir = filled(3);
        let mut bytes = fs::read(dir.path().join("runs.csv")).unwrap();
        bytes.extend_from_slice(tail);
        fs::write(dir.path().join("runs.csv"), bytes).unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        assert!(
            journal.warnings()[0].contains("runs.csv:5: dropped a last row"),
            "{:?}",
            journal.warnings()
        );
        assert_sound(dir.path(), 3);
    }
}

#[test]
fn epochs_of_a_job_without_a_row_are_dropped_and_those_of_others_stay() {
    let dir = filled(3);
    let runs = text(dir.path(), "runs.csv");
    let without: Vec<&str> =
        runs.lines().enumerate().filter(|(i, _)| *i != 2).map(|(_, line)| line).collect();
    fs::write(dir.path().join("runs.csv"), without.join("\n") + "\n").unwrap(); // a row deleted by hand
    let mut journal = Journal::open(dir.path()).unwrap();
    assert!(journal.warnings()[0].contains("dropped 2 epochs"), "{:?}", journal.warnings());
    assert_sound(dir.path(), 2);
    journal.append(&[record(&jobs(3)[1])]).unwrap();
    assert_sound(dir.path(), 3);
}

#[test]
fn a_spreadsheets_line_ends_and_mark_are_understood() {
    let dir = filled(2);
    for file in ["runs.csv", "epochs.csv", "failures.csv"] {
        let crlf = format!("\u{feff}{}", text(dir.path(), file).replace('\n', "\r\n"));
        fs::write(dir.path().join(file), crlf).unwrap();
    }
    Journal::open(dir.path())
        .unwrap()
        .append(&jobs(3).iter().map(record).collect::<Vec<_>>())
        .unwrap();
    assert_sound(dir.path(), 3);
}

#[test]
fn a_column_that_somebody_added_is_kept_and_columns_may_change_places() {
    let dir = filled(2);
    let moved: String = text(dir.path(), "epochs.csv")
        .lines()
        .map(|line| {
            let (first, rest) = line.split_once(',').unwrap();
            let note = if first == "job_id" { "my note" } else { "\"look, here\"" };
            format!("{note},{rest},{first}\n")
        })
        .collect();
    fs::write(dir.path().join("epochs.csv"), moved).unwrap();
    Journal::open(dir.path())
        .unwrap()
        .append(&jobs(3).iter().map(record).collect::<Vec<_>>())
        .unwrap();
    assert_sound(dir.path(), 3);
    let epochs = text(dir.path(), "epochs.csv");
    assert!(epochs.starts_with("my note,epoch,"));
    assert_eq!(epochs.matches("\"look, here\"").count(), 4);
    assert!(epochs.lines().last().unwrap().ends_with(&jobs(3)[2].id().to_string()));
}

#[test]
fn results_of_a_version_with_fewer_columns_are_read_and_added_to() {
    let dir = filled(3);
    let later = ["input", "test_images", "instruction_set"];
    let path = dir.path().join("runs.csv");
    let mut reader = csv::Reader::from_path(&path).unwrap();
    let kept: Vec<usize> = (0..reader.headers().unwrap().len())
        .filter(|&i| !later.contains(&&reader.headers().unwrap()[i]))
        .collect();
    let mut old = csv::Writer::from_writer(Vec::new());
    let header = reader.headers().unwrap().clone();
    old.write_record(kept.iter().map(|&i| &header[i])).unwrap();
    for row in reader.records() {
        let row = row.unwrap();
        old.write_record(kept.iter().map(|&i| &row[i])).unwrap();
    }
    let old = [old.into_inner().unwrap(), b"0123456789ab,torn".to_vec()].concat();
    fs::write(&path, &old).unwrap();

    assert_eq!(read_runs(dir.path()).unwrap().records.len(), 3, "without writing");
    assert_eq!(fs::read(&path).unwrap(), old);

    let mut journal = Journal::open(dir.path()).unwrap();
    let warnings = journal.warnings().join("\n");
    assert!(
        warnings.contains("added the columns test_images, input, instruction_set"),
        "{warnings}"
    );
    assert!(warnings.contains("0123456789ab"), "{warnings}");
    let standardised = jobs(1)[0].with(&[("input", Value::Text("standardised".into()))]).unwrap();
    let new = [record(&jobs(4)[3]), record(&standardised)];
    journal.append(&new).unwrap();
    drop(journal);
    let runs = read_runs(dir.path()).unwrap();
    assert_eq!(runs.records.len(), 5);
    for found in &runs.records {
        assert!(equal_results(found, &record(&found.job)), "{found:?}");
    }
    assert_eq!(runs.records[4].job, standardised);
    assert_eq!(Journal::open(dir.path()).unwrap().warnings(), [""; 0]);
}

#[test]
fn a_file_that_cannot_be_believed_is_named_and_left_alone() {
    type Edit = (&'static str, fn(&str) -> String, &'static str);
    let edits: [Edit; 7] = [
        ("runs.csv", |t| t.replacen(",momentum,", ",", 1), "lacks the column `momentum`"),
        (
            "runs.csv",
            |t| t.replacen(",0.9,", ",0.8,", 1),
            "runs.csv:2: the fields are those of job",
        ),
        (
            "runs.csv",
            |t| t.replacen(",ok,", ",okay,", 1),
            "runs.csv:2: unknown outcome \"okay\"; did you mean \"ok\"",
        ),
        (
            "runs.csv",
            |t| t.replacen(",0.9,", ",", 1),
            "runs.csv:2: 50 cells, but the header has 51",
        ),
        (
            "runs.csv",
            |t| t.replacen(",12.25,", ",inf,", 1),
            "runs.csv:2: inf in the column `train_seconds`",
        ),
        ("runs.csv", |_| "hello".into(), "runs.csv:1: the file has no header"),
        (
            "epochs.csv",
            |t| t.replacen(",0.01,", ",0.01,0,", 1),
            "epochs.csv:2: 9 cells, but the header has 8",
        ),
    ];
    for (file, edit, message) in edits {
        let dir = filled(3);
        let before = text(dir.path(), file);
        let edited = edit(&before);
        assert_ne!(before, edited);
        fs::write(dir.path().join(file), &edited).unwrap();
        let epochs = text(dir.path(), "epochs.csv");
        let error = Journal::open(dir.path()).err().unwrap().to_string();
        assert!(error.contains(message), "{error}");
        assert_eq!(text(dir.path(), file), edited, "nothing is overwritten");
        assert_eq!(text(dir.path(), "epochs.csv"), epochs, "nothing is overwritten");
    }
}

#[test]
fn a_job_with_two_results_is_reported_and_the_first_counts() {
    let dir = filled(2);
    let runs = text(dir.path(), "runs.csv");
    let row = runs.lines().nth(1).unwrap();
    let same = row.replace(",12.25,", ",99.0,"); // timing is no result
    let other = row.replacen(",ok,,2,", ",ok,,1,", 1);
    assert_ne!(row, other);
    fs::write(dir.path().join("runs.csv"), format!("{runs}{same}\n{other}\n")).unwrap();
    let found = read_runs(dir.path()).unwrap();
    assert_eq!(found.records.len(), 2);
    assert_eq!(found.warnings.len(), 1);
    assert!(found.warnings[0].contains("runs.csv:4: job"), "{:?}", found.warnings);
    assert_eq!(found.conflicts.len(), 1);
    assert_eq!(found.conflicts[0].differences, [("epochs_done", "2".into(), "1".into())]);
    assert_eq!(Journal::open(dir.path()).unwrap().warnings().len(), 2);
}

#[test]
fn the_second_process_learns_who_has_the_folder() {
    let dir = filled(1);
    let mut child = Writer::start(dir.path(), "hold");
    child.wait_for("ready");
    let error = Journal::open(dir.path()).err().unwrap();
    assert!(matches!(error, ResultsError::Held { .. }));
    assert!(error.to_string().contains(&format!("process {} on", child.0.id())), "{error}");
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    Journal::open(dir.path()).unwrap();
}

#[test]
fn a_process_that_is_killed_leaves_every_finished_row_and_none_twice() {
    let dir = folder();
    let mut finished = 0;
    for round in 0..20 {
        let mut child = Writer::start(dir.path(), "write");
        // What it has said to be finished must be there, whatever else is.
        let said = child.wait_for(&format!("finished {}", finished + 3 + round % 4));
        std::thread::sleep(Duration::from_micros(137 * (round * 7 % 20)));
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        let ids = finished_ids(dir.path()).unwrap();
        assert!(
            ids.len() as u64 >= said,
            "{} rows, but {said} were said to be finished",
            ids.len()
        );
        finished = ids.len() as u64;
        drop(Journal::open(dir.path()).unwrap());
        assert_sound(dir.path(), finished);
    }
}

#[test]
fn a_full_disk_loses_nothing_and_doubles_nothing() {
    let dir = folder();
    let mut child = Writer::start(dir.path(), "full");
    let said = child.wait_for("mended");
    assert!(child.0.wait().unwrap().success());
    assert!(said > 3, "{said} jobs were written before the disk was full");
    drop(Journal::open(dir.path()).unwrap());
    assert_sound(dir.path(), 40);
}

#[test]
fn failures_are_counted_over_runs() {
    let dir = folder();
    let failure = Failure {
        id: job(1, 1).id(),
        attempt: 1,
        reason: FailureReason::Memory,
        message: "=SUM(A1)\nout of memory, \"tried\" 3 GiB".into(),
        device: "cpu".into(),
        hostname: "h".into(),
        at: at(3),
    };
    Journal::open(dir.path()).unwrap().append_failures(std::slice::from_ref(&failure)).unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.attempts(failure.id), 1);
    journal.append_failures(&[Failure { attempt: 2, ..failure.clone() }]).unwrap();
    assert_eq!(journal.attempts(failure.id), 2);
    let read = read_failures(dir.path()).unwrap();
    assert_eq!(read[0].message, "=SUM(A1) out of memory, \"tried\" 3 GiB");
    assert_eq!(read[0].at, failure.at);
    assert_eq!(text(dir.path(), "failures.csv").lines().count(), 3, "each failure is one line");
}

#[test]
fn a_file_that_another_program_replaced_is_noticed() {
    let dir = filled(1);
    let mut journal = Journal::open(dir.path()).unwrap();
    fs::copy(dir.path().join("runs.csv"), dir.path().join("copy")).unwrap();
    fs::rename(dir.path().join("copy"), dir.path().join("runs.csv")).unwrap();
    let error = journal.append(&[record(&jobs(2)[1])]).err().unwrap();
    assert!(matches!(error, ResultsError::Changed(_)), "{error}");
    drop(journal);
    drop(Journal::open(dir.path()).unwrap());
    assert_sound(dir.path(), 1);
}

/// Texts that an edit may put into a file.
const EDITS: [&str; 20] = [
    "",
    ",",
    ",,",
    "\n",
    "\r\n",
    "\"",
    "\"\"",
    "=1+1",
    "nan",
    "inf",
    "-0",
    "1e999",
    "18446744073709551616",
    "\u{0}",
    "é",
    "\u{feff}",
    "ok",
    "diverged",
    "job_id",
    "0123456789ab",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_files_whatever_make_the_journal_panic_lose_a_row_or_believe_another_job(
        edits in prop::collection::vec(
            (0..3usize, any::<prop::sample::Index>(), 0..9usize, prop::sample::select(&EDITS[..])), 0..4),
        cut in prop::option::of((0..3usize, any::<prop::sample::Index>())),
        raw in prop::option::of((0..3usize, any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let dir = filled(3);
        let files = ["runs.csv", "epochs.csv", "failures.csv"].map(|name| dir.path().join(name));
        let ids: HashSet<_> = jobs(3).iter().map(|job| job.id()).collect();
        let mut texts = files.each_ref().map(|file| fs::read(file).unwrap());
        for (file, at, length, new) in edits {
            let text = &mut texts[file];
            let start = at.index(text.len() + 1);
            let end = (start + length).min(text.len());
            text.splice(start..end, new.bytes());
        }
        if let Some((file, at, byte)) = raw && !texts[file].is_empty() {
            let at = at.index(texts[file].len());
            texts[file][at] = byte;
        }
        if let Some((file, at)) = cut {
            let end = at.index(texts[file].len() + 1);
            texts[file].truncate(end);
        }
        files.iter().zip(&texts).for_each(|(file, text)| fs::write(file, text).unwrap());
        // Readers look at any time, at whatever is there.
        let read = read_runs(dir.path());
        let _ = (read_epochs(dir.path()), read_failures(dir.path()), finished_ids(dir.path()));
        match Journal::open(dir.path()) {
            Err(error) => {
                prop_assert_eq!(error.to_string().lines().count(), 1);
                for (file, text) in files.iter().zip(&texts) {
                    let left = fs::read(file).unwrap();
                    let rows = |text: &[u8]| text.split_inclusive(|&b| b == b'\n').count();
                    // A header that was not written to its end may have been.
                    let as_it_was = text.starts_with(&left) || left.starts_with(text);
                    prop_assert!(as_it_was && rows(text) <= rows(&left) + 1, "more than a torn row went: {error}");
                }
            }
            Ok(mut journal) => {
                let finished = journal.finished().clone();
                prop_assert!(finished.is_subset(&ids), "a job that nobody trained");
                let read: HashSet<_> = read.unwrap().records.iter().map(|r| r.job.id()).collect();
                prop_assert_eq!(&read, &finished, "readers and the writer agree");
                // What is left can be written to and read again, and then nothing is missing.
                journal.append(&jobs(3).iter().map(record).collect::<Vec<_>>()).unwrap();
                prop_assert_eq!(journal.finished().len(), 3);
                drop(journal);
                let again = Journal::open(dir.path()).map(|journal| journal.finished().clone());
                prop_assert_eq!(again.unwrap(), ids.clone());
                prop_assert_eq!(finished_ids(dir.path()).unwrap(), ids);
            }
        }
    }
}

/// This test program once more, as a process that writes to a folder.
struct Writer(Child, BufReader<std::process::ChildStdout>);

impl Writer {
    fn start(dir: &Path, mode: &str) -> Writer {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "journal::writer", "--nocapture", "--test-threads=1"])
            .env("WNINIT_TEST_WRITER", mode)
            .env("WNINIT_TEST_DIR", dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Writer(child, out)
    }

    /// Reads until a line contains a text; returns the last number of finished jobs that was said.
    fn wait_for(&mut self, what: &str) -> u64 {
        let mut said = 0;
        loop {
            let mut line = String::new();
            assert_ne!(
                self.1.read_line(&mut line).unwrap(),
                0,
                "the writer ended without saying {what}"
            );
            if let Some(n) = line.trim().strip_prefix("finished ") {
                said = n.parse().unwrap();
            }
            // "finished 12" is waited for by whole number: more is as good.
            let enough = what.strip_prefix("finished ").is_some_and(|n| said >= n.parse().unwrap());
            if enough || line.contains(what) {
                return said;
            }
        }
    }
}

#[test]
fn writer() {
    let Ok(mode) = std::env::var("WNINIT_TEST_WRITER") else {
        return;
    };
    let dir = std::env::var("WNINIT_TEST_DIR").unwrap();
    let mut journal = Journal::open(Path::new(&dir)).unwrap();
    println!();
    match mode.as_str() {
        "hold" => {
            println!("ready");
            std::thread::sleep(Duration::from_secs(60));
        }
        "write" => {
            for group in jobs(4000).chunks(2) {
                journal.append(&group.iter().map(record).collect::<Vec<_>>()).unwrap();
                println!("finished {}", journal.finished().len());
            }
        }
        "full" => {
            let limit = |bytes: u64| {
                let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
                // SAFETY: plain calls with valid arguments; the signal is ignored, so that a write fails instead.
                unsafe {
                    libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                    assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
                }
            };
            limit(5000); // in the middle of a row
            let records: Vec<Record> = jobs(40).iter().map(record).collect();
            let stuck = records.iter().position(|record| {
                match journal.append(std::slice::from_ref(record)) {
                    Ok(()) => false,
                    Err(error) => {
                        assert!(error.to_string().contains("make room"), "{error}");
                        true
                    }
                }
            });
            let stuck = stuck.unwrap();
            println!("finished {stuck}");
            for _ in 0..3 {
                assert!(journal.append(&records[stuck..]).is_err(), "the disk is still full");
            }
            limit(libc::RLIM_INFINITY);
            journal.append(&records[stuck..]).unwrap();
            println!("mended");
        }
        mode => panic!("no mode {mode}"),
    }
}
