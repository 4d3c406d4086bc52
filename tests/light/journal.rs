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
            ",seed,init_seed,data_seed,init_rule,outcome,reason,epochs_done,diverged_epoch,diverged_step,train_loss,train_acc,\
             val_loss,val_acc,best_val_acc,best_epoch,test_loss,test_acc,train_seconds,images_per_second,test_largest_class,device,\
             cohort_size,instruction_set,processor,libtorch,git_sha,hostname,started_at,finished_at"
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
            journal.warnings()[0].contains("runs.csv:5: dropped an incomplete last row"),
            "{:?}",
            journal.warnings()
        );
        assert_sound(dir.path(), 3);
    }
}

/// The files in which lines are kept that were taken out.
fn dropped(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names.filter(|name| name.contains(".dropped-")).collect()
}

#[test]
fn what_is_taken_out_of_a_file_is_kept_in_full_and_named() {
    let dir = filled(3);
    let torn = "abc,".repeat(1000);
    let path = dir.path().join("runs.csv");
    fs::write(&path, text(dir.path(), "runs.csv") + &torn).unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let [file] = &dropped(dir.path())[..] else { panic!("{:?}", dropped(dir.path())) };
    assert!(journal.warnings()[0].contains(file), "{:?}", journal.warnings());
    assert!(text(dir.path(), file).ends_with(&format!("\n{torn}")));
    drop(journal);
    fs::remove_file(dir.path().join(file)).unwrap();

    // Somebody empties runs.csv: the curves, which are orphans now, must not be gone for good.
    let (runs, epochs) = (text(dir.path(), "runs.csv"), text(dir.path(), "epochs.csv"));
    fs::write(&path, "").unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let [file] = &dropped(dir.path())[..] else { panic!("{:?}", dropped(dir.path())) };
    assert!(journal.warnings()[0].contains(file), "{:?}", journal.warnings());
    assert_eq!(text(dir.path(), file), epochs);
    assert_eq!(text(dir.path(), "epochs.csv").lines().count(), 1);
    assert_eq!(text(dir.path(), "runs.csv").lines().count(), 1);
    drop(journal);
    fs::write(&path, runs).unwrap();
    fs::copy(dir.path().join(file), dir.path().join("epochs.csv")).unwrap();
    assert_sound(dir.path(), 3);
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
    let later = [
        "input",
        "test_images",
        "activation",
        "test_largest_class",
        "instruction_set",
        "processor",
    ];
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
        warnings.contains(
            "added the columns test_images, input, activation, test_largest_class, instruction_set, processor"
        ),
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
        ("runs.csv", |t| t.replacen(",0.9,", ",", 1), " cells, but the header has "),
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
fn a_result_that_no_training_has_is_refused_with_its_place_and_the_remedy() {
    type Edit = (usize, &'static str, &'static str, &'static str);
    // Rows 2 and 3 are of jobs that were trained to their end, row 6 of one that diverged.
    let edits: [Edit; 24] = [
        (2, "test_acc", "", "the column `test_acc` is empty, but the outcome is ok"),
        (2, "val_loss", "", "the column `val_loss` is empty, but the outcome is ok"),
        (2, "reason", "loss", "the column `reason` has a value, but the outcome is ok"),
        (
            2,
            "diverged_epoch",
            "1",
            "the column `diverged_epoch` has a value, but the outcome is ok",
        ),
        (2, "test_acc", "5", "5 in the column `test_acc` is not a fraction from 0 to 1"),
        (2, "train_acc", "-0.1", "-0.1 in the column `train_acc` is not a fraction"),
        (2, "best_val_acc", "1.0000001", "in the column `best_val_acc` is not a fraction"),
        (2, "val_acc", "nan", "NaN in the column `val_acc`"),
        (
            2,
            "epochs_done",
            "4000000000",
            "4000000000 in the column `epochs_done` is more than 2, `epochs` of the job",
        ),
        (2, "epochs_done", "0", "is more than 0, `epochs_done`"),
        (2, "best_epoch", "3", "3 in the column `best_epoch` is more than 2, `epochs_done`"),
        (2, "best_epoch", "0", "0 in the column `best_epoch` is less than 1"),
        (2, "best_epoch", "", "the column `best_epoch` is empty, but `epochs_done` is 2"),
        (3, "train_loss", "-1e-9", "in the column `train_loss` is negative"),
        (3, "test_loss", "-inf", "-inf in the column `test_loss`"),
        (3, "train_seconds", "-1", "-1 in the column `train_seconds` is negative"),
        (3, "images_per_second", "-1", "-1 in the column `images_per_second` is negative"),
        (3, "cohort_size", "0", "0 in the column `cohort_size` is less than 1"),
        (6, "val_acc", "0.5", "the column `val_acc` has a value, but the outcome is diverged"),
        (
            6,
            "diverged_epoch",
            "",
            "the column `diverged_epoch` is empty, but the outcome is diverged",
        ),
        (6, "diverged_epoch", "3", "3 in the column `diverged_epoch` is more than 2"),
        (6, "diverged_step", "0", "0 in the column `diverged_step` is less than 1"),
        (6, "diverged_step", "999999", "is more than 422, the steps of an epoch of the job"),
        (6, "outcome", "ok", "but the outcome is ok"),
    ];
    for (line, column, cell, message) in edits {
        let dir = filled(6);
        edit(dir.path(), "runs.csv", line, column, cell);
        let place = format!("runs.csv:{line}: ");
        for error in [Journal::open(dir.path()).err(), read_runs(dir.path()).err()] {
            let error =
                error.unwrap_or_else(|| panic!("{column} = {cell:?} is believed")).to_string();
            assert!(error.contains(&place) && error.contains(message), "{error}");
            assert!(error.contains("correct the line, or delete it"), "{error}");
        }
    }
    for (column, cell) in [
        ("epoch", "0"),
        ("lr", "-0.1"),
        ("train_loss", "-1"),
        ("val_loss", "-1"),
        ("train_acc", "1.5"),
        ("val_acc", "-1"),
        ("seconds", "-2"),
    ] {
        let dir = filled(1);
        edit(dir.path(), "epochs.csv", 3, column, cell);
        let error = read_epochs(dir.path()).err().unwrap().to_string();
        assert!(error.contains("epochs.csv:3: ") && error.contains(column), "{error}");
    }
}

/// Puts a cell in place of another.
fn edit(dir: &Path, file: &str, line: usize, column: &str, cell: &str) {
    let path = dir.join(file);
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_path(&path).unwrap();
    let mut rows: Vec<Vec<String>> = reader.deserialize().map(Result::unwrap).collect();
    let place = rows[0].iter().position(|name| name == column).unwrap();
    cell.clone_into(&mut rows[line - 1][place]);
    let mut writer = csv::Writer::from_path(&path).unwrap();
    rows.iter().for_each(|row| writer.write_record(row).unwrap());
}

#[test]
fn every_result_that_is_kept_with_the_sources_is_believed() {
    let results = crate::root().join("results");
    let paper = results.join("paper");
    let mut folders = vec![if paper.exists() { paper } else { results }];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        folders.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
        read += read_runs(&folder).unwrap().records.len();
        read_epochs(&folder).unwrap();
        read_failures(&folder).unwrap();
    }
    assert!(read > 0);
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

#[test]
fn a_row_that_comes_behind_what_a_failed_write_left_is_not_cut_off_with_it() {
    let dir = folder();
    let mut child = Writer::start(dir.path(), "mixed");
    child.wait_for("stopped");
    assert!(child.0.wait().unwrap().success());
}

#[test]
fn what_cannot_be_written_is_kept_and_merged_again() {
    let dir = filled(2);
    let mut journal = Journal::open(dir.path()).unwrap();
    let path = dir.path().join("runs.csv");
    let added = text(dir.path(), "runs.csv").lines().nth(1).unwrap().to_owned() + "\n";
    fs::write(&path, text(dir.path(), "runs.csv") + &added).unwrap();
    let records: Vec<Record> = jobs(5)[2..].iter().map(record).collect();
    for _ in 0..2 {
        let error = journal.append(&records).unwrap_err();
        assert!(matches!(error, ResultsError::Changed(_)) && error.is_change(), "{error}");
    }
    let kept = journal.keep_aside(&records, &[]).unwrap();
    assert_eq!(kept.len(), 2, "{kept:?}");
    drop(journal);
    assert!(text(dir.path(), "runs.csv").ends_with(&added));
    assert_eq!(text(dir.path(), "epochs.csv").lines().count(), 5, "taken back");
    let journal = Journal::open(dir.path()).unwrap();
    let told = journal.left_aside().unwrap();
    assert!(
        told[0].contains("holds 3 finished jobs that an earlier run could not write"),
        "{told:?}"
    );
    drop(journal);
    fs::write(&path, text(dir.path(), "runs.csv").strip_suffix(&added).unwrap()).unwrap();
    let merged = wninit_core::results::merge(dir.path()).unwrap();
    assert_eq!((merged.jobs, merged.shards, merged.unwritten), (3, 0, 1));
    assert_sound(dir.path(), 5);
    assert_eq!(wninit_core::results::merge(dir.path()).unwrap().jobs, 0);
    assert_eq!(Journal::open(dir.path()).unwrap().left_aside().unwrap(), [""; 0]);
}

#[test]
fn a_folder_whose_lock_was_removed_is_held_all_the_same_until_its_process_lets_go() {
    let dir = filled(1);
    let mut first = Journal::open(dir.path()).unwrap();
    fs::remove_file(dir.path().join(".lock")).unwrap();
    std::thread::scope(|scope| {
        let path = dir.path().to_owned();
        let second = scope.spawn(move || {
            Journal::open(&path).map(|mut second| {
                second.append(&[record(&jobs(2)[1])]).unwrap();
            })
        });
        std::thread::sleep(Duration::from_millis(300));
        assert!(!second.is_finished(), "it waits");
        let error = first.append(&[record(&jobs(2)[1])]).unwrap_err();
        assert!(matches!(error, ResultsError::Unlocked(_)), "{error}");
        assert_sound(dir.path(), 1);
        drop(first);
        second.join().unwrap().unwrap();
    });
    assert_sound(dir.path(), 2);
}

#[test]
fn what_a_kill_left_of_a_file_is_swept_and_what_a_live_process_writes_is_not() {
    let hidden = |dir: &Path| -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        let names = names.map(|name| name.into_string().unwrap());
        names.filter(|name| name.starts_with(".page.html.")).collect()
    };
    let start = |dir: &Path| {
        let writer = Writer::start(dir, "page");
        while hidden(&dir.join("pages")).is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        writer
    };
    for _ in 0..3 {
        let dir = folder();
        let pages = dir.path().join("pages");
        fs::create_dir(&pages).unwrap();
        let mine = pages.join(".page.html.backup");
        loop {
            let mut writer = start(dir.path());
            writer.0.kill().unwrap();
            writer.0.wait().unwrap();
            if !hidden(&pages).is_empty() {
                break; // not killed between two writes
            }
        }
        fs::write(&mine, "a user's").unwrap();
        let page = pages.join("page.html");
        wninit_core::atomic::write_atomically(&page, b"new").unwrap();
        assert_eq!(hidden(&pages), [".page.html.backup"]);
        assert_eq!(fs::read(page).unwrap(), b"new");
    }
    // A process that is at it is not disturbed.
    let dir = folder();
    fs::create_dir(dir.path().join("pages")).unwrap();
    let mut writer = start(dir.path());
    for i in 0..200 {
        // By another name of the folder each time, or it would be swept only once.
        let again = "/../pages".repeat(i);
        let file = format!("{}/pages{again}/other", dir.path().display());
        wninit_core::atomic::write_atomically(Path::new(&file), b"new").unwrap();
    }
    assert_eq!(writer.0.try_wait().unwrap(), None, "each of its writes went well");
    writer.0.kill().unwrap();
    writer.0.wait().unwrap();
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
        "page" => {
            let page = Path::new(&dir).join("pages/page.html");
            loop {
                wninit_core::atomic::write_atomically(&page, &vec![b'x'; 20 << 20]).unwrap();
            }
        }
        "mixed" => {
            // SAFETY: as above.
            let limit = |bytes: u64| unsafe {
                let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
                libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
            };
            let dir = Path::new(&dir);
            let records: Vec<Record> = jobs(9).iter().map(record).collect();
            journal.append(&records[..3]).unwrap();
            // A write fails in the middle of a row: what it left is taken back at once.
            let before = ["runs.csv", "epochs.csv"].map(|file| text(dir, file));
            limit(before[0].len() as u64 + 100);
            journal.append(&records[3..4]).unwrap_err();
            limit(libc::RLIM_INFINITY);
            assert_eq!(["runs.csv", "epochs.csv"].map(|file| text(dir, file)), before);
            // Then somebody adds what begins as that row did: it is not ours.
            let whole = text(filled(9).path(), "runs.csv");
            let row = whole.lines().nth(4).unwrap();
            let runs = dir.join("runs.csv");
            fs::write(&runs, format!("{}{}", before[0], &row[..50])).unwrap();
            let error = journal.append(&records[3..4]).unwrap_err();
            assert!(matches!(error, ResultsError::Changed(_)), "{error}");
            assert_eq!(text(dir, "runs.csv"), format!("{}{}", before[0], &row[..50]));
            println!("stopped");
        }
        mode => panic!("no mode {mode}"),
    }
}
