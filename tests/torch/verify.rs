//! `wninit verify` detects edited rows and confirms the others.

use std::fs;

use crate::program::{Sandbox, output};

const GRID: &str = r#"
[base]
dataset = "digits"
width = 32
batch_size = 32
epochs = 3
[grid]
depth = [2, 12]
init = ["he_datadep", "orthogonal_proposed"]
lr = [0.01, 30.0]
"#;

/// The line of `runs.csv` and the id of a job that did not diverge.
fn a_row(sandbox: &Sandbox) -> (String, String) {
    let text = sandbox.text("runs.csv");
    let line = text.lines().find(|line| line.contains(",ok,")).unwrap().to_owned();
    let id = line.split(',').next().unwrap().to_owned();
    (line, id)
}

#[test]
fn unchanged_rows_are_equal_and_an_edited_last_digit_is_found() {
    let sandbox = Sandbox::finished(GRID);
    let before = fs::read(sandbox.sweep().join("runs.csv")).unwrap();
    let all = output(&mut sandbox.wninit(&["verify", "results/sweep", "--sample", "100"]));
    all.expect(0, &[]);
    assert!(all.stdout.ends_with("8 of 8 finished jobs trained again: 8 equal, 0 close, 0 different; 0 could not be checked\n"), "{all:?}");
    assert_eq!(fs::read(sandbox.sweep().join("runs.csv")).unwrap(), before, "nothing is written");

    let (line, id) = a_row(&sandbox);
    let header = sandbox.text("runs.csv").lines().next().unwrap().to_owned();
    let column = header.split(',').position(|name| name == "test_acc").unwrap();
    let mut cells: Vec<String> = line.split(',').map(str::to_owned).collect();
    // Changed by five: the next digit may parse to the same float.
    let last = cells[column].pop().and_then(|digit| digit.to_digit(10)).unwrap();
    cells[column].push(char::from_digit((last + 5) % 10, 10).unwrap());
    let text = sandbox.text("runs.csv").replace(&line, &cells.join(","));
    fs::write(sandbox.sweep().join("runs.csv"), text).unwrap();

    let named = output(&mut sandbox.wninit(&["verify", "results/sweep", "--job", &id]));
    named.expect(1, &[]);
    assert!(named.stdout.contains(&format!("different    {id}\n  test_acc ")), "{named:?}");
    assert!(named.stdout.contains(&cells[column]), "{named:?}");
    assert!(named.stdout.contains("the row was edited"), "{named:?}");
    assert!(
        named.stdout.contains("1 of 8 finished jobs trained again: 0 equal, 0 close, 1 different"),
        "{named:?}"
    );

    // The same difference in a row of another machine is close; a larger one is different there, too.
    let edited = cells.join(",");
    let host = header.split(',').position(|name| name == "hostname").unwrap();
    cells[host] = "elsewhere".to_owned();
    let text = sandbox.text("runs.csv").replace(&edited, &cells.join(","));
    fs::write(sandbox.sweep().join("runs.csv"), &text).unwrap();
    let close = output(&mut sandbox.wninit(&["verify", "results/sweep", "--job", &id]));
    close.expect(0, &[]);
    assert!(close.stdout.contains(&format!("close        {id}\n  test_acc ")), "{close:?}");
    let elsewhere = cells.join(",");
    cells[column] = "0.0625".to_owned();
    fs::write(sandbox.sweep().join("runs.csv"), text.replace(&elsewhere, &cells.join(",")))
        .unwrap();
    let far = output(&mut sandbox.wninit(&["verify", "results/sweep", "--job", &id]));
    far.expect(1, &[]);
    assert!(
        far.stdout.contains("a difference is conclusive only on the same processor"),
        "{far:?}"
    );
}

#[test]
fn a_row_made_with_other_instructions_is_weighed_as_one_of_another_machine() {
    let sandbox = Sandbox::finished(GRID);
    let (line, id) = a_row(&sandbox);
    let text = sandbox.text("runs.csv");
    let header: Vec<&str> = text.lines().next().unwrap().split(',').collect();
    let column = |name: &str| header.iter().position(|column| *column == name).unwrap();
    let mut cells: Vec<String> = line.split(',').map(str::to_owned).collect();
    let accuracy: f64 = cells[column("test_acc")].parse().unwrap();
    cells[column("test_acc")] = (accuracy - 1e-3).to_string();
    let verify = |says: &str, code: i32, cells: &[String]| {
        let edited = text.replace(&line, &cells.join(","));
        fs::write(sandbox.sweep().join("runs.csv"), edited).unwrap();
        let found = output(&mut sandbox.wninit(&["verify", "results/sweep", "--job", &id]));
        found.expect(code, &[]);
        assert!(found.stdout.contains(says), "{found:?}");
    };
    verify("the same program on the same machine", 1, &cells);
    for (name, other) in [("processor", "Z80"), ("instruction_set", "NO AVX")] {
        let own = std::mem::replace(&mut cells[column(name)], other.to_owned());
        verify(&format!("close        {id}\n  test_acc "), 0, &cells);
        cells[column(name)] = own;
    }
    cells[column("instruction_set")] = "NO AVX".to_owned();
    verify(&format!("close        {id}\n  test_acc "), 0, &cells);
    cells[column("test_acc")] = "0.0625".to_owned();
    verify("on the same processor with the same instructions", 1, &cells);
    // A version that did not record it says nothing about it.
    cells[column("instruction_set")].clear();
    verify("the same program on the same machine", 1, &cells);
}

#[test]
fn an_epoch_that_is_missing_or_edited_is_found() {
    let sandbox = Sandbox::finished(GRID);
    let (_, id) = a_row(&sandbox);
    let text = sandbox.text("epochs.csv");
    let line = text.lines().find(|line| line.starts_with(&id)).unwrap();
    fs::write(sandbox.sweep().join("epochs.csv"), text.replace(&format!("{line}\n"), "")).unwrap();
    let verify = || output(&mut sandbox.wninit(&["verify", "results/sweep", "--job", &id]));
    let missing = verify();
    missing.expect(1, &[]);
    assert!(missing.stdout.contains("rows in epochs.csv"), "{missing:?}");

    // The second cell after the epoch, the training loss.
    let mut cells: Vec<String> = line.split(',').map(str::to_owned).collect();
    let before = std::mem::replace(&mut cells[3], "0.125".to_owned());
    fs::write(sandbox.sweep().join("epochs.csv"), text.replace(line, &cells.join(","))).unwrap();
    let edited = verify();
    edited.expect(1, &[]);
    assert!(
        edited.stdout.contains("train_loss") && edited.stdout.contains(&before[..6]),
        "{edited:?}"
    );
}

#[test]
fn a_job_without_its_data_set_is_not_checked_and_an_unknown_job_is_an_error() {
    let sandbox = Sandbox::finished(GRID);
    let (line, id) = a_row(&sandbox);
    let none = output(&mut sandbox.wninit(&["verify", "results/sweep", "--job", "0123456789ab"]));
    none.expect(2, &["--job 0123456789ab: results/sweep has no row of it"]);
    let empty = output(&mut sandbox.wninit(&["verify", "results", "--sample", "1"]));
    empty.expect(2, &["results holds no finished job"]);

    // The same row with a missing data set and the matching id.
    let mnist = line.replacen(",digits,", ",mnist,", 1);
    let text = sandbox.text("runs.csv").replace(&line, &mnist);
    fs::write(sandbox.sweep().join("runs.csv"), text).unwrap();
    let edited = output(&mut sandbox.wninit(&["verify", "results/sweep", "--job", &id]));
    let message = edited.expect(2, &["a cell was edited by hand"]).stderr.clone();
    let other = message.split("the fields are those of job ").nth(1).unwrap()[..12].to_owned();
    let text = sandbox.text("runs.csv").replace(&mnist, &mnist.replace(&id, &other));
    fs::write(sandbox.sweep().join("runs.csv"), text).unwrap();
    let missing = output(&mut sandbox.wninit(&[
        "verify",
        "results/sweep",
        "--job",
        &other,
        "--data",
        "nowhere",
    ]));
    missing.expect(2, &["mnist: ", "wninit fetch mnist --data nowhere"]);
}

#[test]
fn a_diverged_row_of_a_version_that_did_not_test_it_is_equal_and_of_this_version_edited() {
    let sandbox = Sandbox::finished(
        "[base]\ndataset = \"digits\"\nmodel = \"mlp\"\ndepth = 3\nwidth = 16\nnorm = \"none\"\ninit = \"he\"\n\
         batch_size = 256\nepochs = 9\nlr = 0.01\nmomentum = 0\nweight_decay = 210\n",
    );
    let rewrite = |change: &dyn Fn(&str) -> Option<&'static str>| {
        let text = sandbox.text("runs.csv");
        let [header, row] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        let cells = header.split(',').zip(row.split(','));
        let cells: Vec<&str> = cells.map(|(name, cell)| change(name).unwrap_or(cell)).collect();
        fs::write(sandbox.sweep().join("runs.csv"), format!("{header}\n{}\n", cells.join(",")))
            .unwrap();
        output(&mut sandbox.wninit(&["verify", "results/sweep"]))
    };
    let tests = |name: &str| name.starts_with("test_").then_some("");
    let edited = rewrite(&|name| tests(name).filter(|_| name != "test_images"));
    edited.expect(1, &[]);
    assert!(edited.stdout.contains("1 different"), "{edited:?}");
    let older = rewrite(&|name| (name == "git_sha").then_some("0123456789ab"));
    older.expect(0, &[]);
    assert!(older.stdout.contains("1 equal"), "{older:?}");
}
