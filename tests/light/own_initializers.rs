//! `[[initializer]]`: a user's own initializer is checked, identified, stored and summarised.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

use wninit_core::grid::{Grid, Overrides};
use wninit_core::job::{Job, JobId};
use wninit_core::plan::Plan;
use wninit_core::results::{Journal, read_runs};
use wninit_stats::summary::{Input, Summary};

use crate::common::record;

/// A grid that trains a `resnet` with the initializer `mine`, which has these keys.
fn grid(keys: &str) -> String {
    format!(
        "name = \"own\"\n[base]\ndataset = \"digits\"\nmodel = \"resnet\"\nblocks = 2\nwidth = 4\n\
         [grid]\ninit = [\"orthogonal_proposed\", \"mine\"]\n[[initializer]]\nname = \"mine\"\n{keys}"
    )
}

fn plan(text: &str) -> Result<Plan, String> {
    let grid = Grid::parse(text, Path::new("own.toml"), &Overrides::default());
    grid.and_then(|grid| Plan::of(&grid)).map_err(|error| error.to_string())
}

/// The job with the own initializer.
fn own(text: &str) -> Job {
    let jobs = plan(text).unwrap().jobs;
    jobs.into_iter().map(|planned| planned.job).find(|job| job.init.rule().is_some()).unwrap()
}

#[track_caller]
fn refused(text: &str, parts: &[&str]) {
    let error = plan(text).map(|_| "nothing was refused").unwrap_err();
    parts.iter().for_each(|part| assert!(error.contains(part), "{part} is not in: {error}"));
}

#[test]
fn a_mistake_in_a_definition_is_refused_with_its_line_column_and_the_nearest_name() {
    let he = "direction = \"he\"\n";
    for (keys, parts) in [
        ("gain = \"1\"\n", &["own.toml:9: initializer: direction is missing"][..]),
        ("direction = \"orthagonal\"\n", &[":11: initializer.direction: ", "\"orthogonal\"?"]),
        (&format!("{he}gian = \"1\"\n"), &[":12: initializer.gian: ", "did you mean \"gain\"?"]),
        (
            &format!("{he}gain = \"sqrt(2 * fan_inn)\"\n"),
            &[":12: initializer.gain: column 18: ", "unknown name \"fan_inn\"", "\"fan_in\"?"],
        ),
        (
            &format!("{he}gain = \"\"\"\nsqrt(2 * fan_inn)\"\"\"\n"),
            &["character 10 of the expression: "],
        ),
        (&format!("{he}residual = \"sqr(2)\"\n"), &["initializer.residual", "\"sqrt\"?"]),
        (&format!("{he}gain = true\n"), &["initializer.gain: expected a string"]),
        (
            &format!("{he}[[initializer]]\nname = \"mine\"\n{he}"),
            &["initializer[2]: ", "already defined at own.toml:9"],
        ),
    ] {
        refused(&grid(keys), parts);
    }
    let named = |name: &str| grid(he).replace("name = \"mine\"", &format!("name = \"{name}\""));
    refused(&named("he_lsuv"), &[":10: initializer.name: ", "built-in", "another name"]);
    refused(&named("my rule"), &["initializer.name: ", "letters, digits"]);
    // The misspelt word is in the grid: own names are among those suggested.
    refused(&named("minne"), &["own.toml:8: grid.init: ", "did you mean \"minne\"?", "he_datadep"]);
    let mut claim = grid(he);
    claim += "[[claim]]\ntext = \"t\"\nmetric = \"success\"\nwhere = { init = \"mime\" }\nat_least = 0.5\n";
    refused(&claim, &["claim.where.init: ", "did you mean \"mine\"?"]);
}

#[test]
fn a_gain_that_no_layer_can_have_is_refused_with_the_name_of_the_layer() {
    for (keys, parts) in [
        ("gain = \"sqrt(layer - 3)\"", &["own.toml:8: grid.init: ", "layer stem", "NaN"][..]),
        ("gain = \"1 / abs(layer - 4)\"", &["layer stages.0.1.conv1", "inf"]),
        ("residual = \"1 - block\"", &["residual = ", "layer stages.0.1.conv2", "is -1"]),
        ("gain = \"blocks\"", &["layer stem", "no residual block, so blocks has no value"]),
        ("gain = \"exp(fan_in * 100)\"", &["layer stem", "inf"]),
        ("bias = \"log(0)\"", &["bias = ", "-inf, but a bias is a finite number"]),
    ] {
        refused(&grid(&format!("direction = \"he\"\n{keys}\n")), parts);
    }
    // 1 and 3 layers deep.
    let mlp = "name = \"a\"\n[base]\ndataset = \"digits\"\ninit = \"a\"\n[grid]\ndepth = [1, 3]\n\
               [[initializer]]\nname = \"a\"\ndirection = \"he\"\ngain = \"sqrt(2 - layer)\"\n";
    refused(mlp, &["own.toml:4: base.init: ", "layer hidden.2"]);
}

#[test]
fn hostile_expressions_end_in_an_error_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for expression in [
        "(".repeat(100_000),
        "-".repeat(1_000_000),
        "sqrt(".repeat(50_000),
        "1/0".to_owned(),
        "0^-1".to_owned(),
        "sqrt(0-1)".to_owned(),
        "system(1)".to_owned(),
        "fan_in".repeat(1_700_000), // 10 MB
        "\\u0000".to_owned(),
        "2 ** 3".to_owned(),
    ] {
        let text = grid(&format!("direction = \"he\"\ngain = \"{expression}\"\n"));
        std::fs::write(folder.path().join("own.toml"), text).unwrap();
        let mut wninit = Command::new(crate::WNINIT);
        let output = wninit.current_dir(&folder).args(["plan", "own.toml"]).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.starts_with("error: own.toml") && message.len() < 3000, "{message}");
    }
}

#[test]
fn the_definition_and_not_the_name_identifies_a_job() {
    let keys = "direction = \"orthogonal\"\ngain = \"sqrt(gamma * fan_in / fan_out)\"\n";
    let id = |text: &str| own(text).id();
    let first = id(&grid(keys));
    assert_eq!(id(&grid(keys).replace("mine", "ours")), first, "the name");
    assert_eq!(id(&grid(&keys.replace(' ', "  ").replace("* fan", "*fan"))), first, "spaces");
    let ids: HashSet<JobId> = [
        keys,
        "direction = \"orthogonal\"\ngain = \"sqrt(fan_in * gamma / fan_out)\"\n",
        "direction = \"orthogonal\"\nresidual = \"sqrt(gamma * fan_in / fan_out)\"\n",
        "direction = \"he\"\ngain = \"sqrt(gamma * fan_in / fan_out)\"\n",
        "direction = \"he\"\n",
        "direction = \"he\"\nbias = 0\n",
    ]
    .iter()
    .map(|keys| id(&grid(keys)))
    .collect();
    assert_eq!(ids.len(), 6);
    assert!(
        !ids.contains(&plan(&grid(keys)).unwrap().jobs[0].id),
        "a built-in rule is another job"
    );
    assert_eq!(first.to_string(), "6106d6073c6d", "the ids of finished jobs stay");
    let twice = grid(keys).replace("\"orthogonal_proposed\"", "\"ours\"")
        + &format!("[[initializer]]\nname = \"ours\"\n{keys}");
    refused(&twice, &["two combinations are the same job", "init = ours", "init = mine"]);
}

#[test]
fn definitions_are_inherited_overridden_and_kept_with_the_results() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("own.toml", &grid("direction = \"he\"\n"));
    write(
        "child.toml",
        "name = \"child\"\nextends = \"own.toml\"\n[grid]\ninit = [\"mine\", \"two\"]\n\
        [[initializer]]\nname = \"two\"\ndirection = \"he\"\ngain = 2\n",
    );
    write(
        "replaced.toml",
        "name = \"replaced\"\nextends = \"own.toml\"\n\
        [[initializer]]\nname = \"mine\"\ndirection = \"lecun\"\n",
    );
    let load = |name: &str, set: &[&str], only: &[&str]| {
        let [set, only] = [set, only].map(|all| all.iter().map(|s| (*s).to_owned()).collect());
        Grid::load(&folder.path().join(name), &Overrides { set, only, profile: None }).unwrap()
    };
    let rules = |grid: &Grid| -> Vec<String> {
        let jobs = Plan::of(grid).unwrap().jobs;
        jobs.iter()
            .map(|p| {
                p.job.init.rule().map_or("", |_| p.job.init.name()).to_owned()
                    + &p.job.init.rule().map_or(String::new(), |rule| format!(": {rule}"))
            })
            .collect()
    };
    assert_eq!(
        rules(&load("child.toml", &[], &[])),
        ["mine: direction=he", "two: direction=he; gain=2"]
    );
    assert_eq!(rules(&load("replaced.toml", &[], &[])), ["", "mine: direction=lecun"]);
    assert_eq!(rules(&load("own.toml", &[], &["init=mine"])), ["mine: direction=he"]);
    write(
        "base.toml",
        &grid("direction = \"he\"\n")
            .replace("[grid]\ninit = [\"orthogonal_proposed\", \"mine\"]\n", ""),
    );
    assert_eq!(rules(&load("base.toml", &["init=mine"], &[])), ["mine: direction=he"]);

    for name in ["child.toml", "replaced.toml"] {
        let grid = load(name, &[], &[]);
        let stored = Grid::parse(&grid.to_toml(), Path::new("grid.toml"), &Overrides::default());
        let jobs = |grid: &Grid| Plan::of(grid).unwrap().jobs;
        assert_eq!(jobs(&stored.unwrap()), jobs(&grid));
    }
}

#[test]
fn a_row_stands_by_itself_and_an_edited_definition_is_found() {
    let text = grid("direction = \"he\"\ngain = \"sqrt(2)\"\n");
    let job = own(&text.replace("[base]\n", "[base]\nepochs = 2\n"));
    let folder = tempfile::tempdir().unwrap();
    Journal::open(folder.path()).unwrap().append(&[record(&job)]).unwrap();
    let runs = read_runs(folder.path()).unwrap();
    assert_eq!(runs.records[0].job, job);
    assert_eq!(runs.records[0].job.init.name(), "mine");
    let file = folder.path().join("runs.csv");
    let text = std::fs::read_to_string(&file).unwrap();
    for (from, to, message) in [
        ("sqrt(2)", "sqrt(3)", "the fields are those of job"),
        ("sqrt(2)", "sqrt(", "init_rule: gain: "),
        ("direction=he", "direction=hee", "init_rule: unknown direction"),
        ("gain=", "gian=", "init_rule: unknown key"),
    ] {
        std::fs::write(&file, text.replace(from, to)).unwrap();
        let error = read_runs(folder.path()).unwrap_err().to_string();
        assert!(error.contains("runs.csv:2: ") && error.contains(message), "{error}");
    }
    // Without the definition the name means nothing.
    std::fs::write(&file, text.replace("direction=he; gain=sqrt(2)", "")).unwrap();
    let error = read_runs(folder.path()).unwrap_err().to_string();
    assert!(error.contains("unknown init \"mine\""), "{error}");
}

#[test]
fn two_definitions_under_one_name_are_told_apart() {
    let mut records = Vec::new();
    for gain in ["sqrt(2)", "sqrt(3)"] {
        let keys = format!("direction = \"he\"\ngain = \"{gain}\"\n");
        let text = grid(&keys).replace("[grid]\n", "[grid]\nseed = { count = 6 }\n");
        let jobs = plan(&text).unwrap().jobs.into_iter().map(|planned| planned.job);
        records.extend(jobs.filter(|job| job.init.rule().is_some()).map(|job| record(&job)));
    }
    let summary = Summary::new(&Input { records: &records, ..Input::default() }).unwrap();
    let labels: Vec<&str> = summary.initializers.iter().map(|i| i.label.as_str()).collect();
    assert_eq!(labels.len(), 2);
    assert!(labels.iter().all(|label| label.starts_with("mine@")), "{labels:?}");
    assert_ne!(labels[0], labels[1]);
    let scaled = "name = \"a\"\n[base]\ndataset = \"digits\"\nmodel = \"resnet\"\nnorm = \"none\"\n\
                  [[block]]\ngrid = { init = [\"he\", \"orthogonal\"] }\n\
                  [[block]]\nbase = { init = \"he\", branch_scale = 0 }\n";
    let jobs = plan(scaled).unwrap().jobs;
    let scaled: Vec<_> = jobs.iter().map(|planned| record(&planned.job)).collect();
    let summary = Summary::new(&Input { records: &scaled, ..Input::default() }).unwrap();
    let arms: HashSet<&str> = summary.initializers.iter().map(|i| i.label.as_str()).collect();
    assert_eq!(arms, HashSet::from(["he", "orthogonal", "he+scale0"]));
    let alone = Summary::new(&Input { records: &records[..6], ..Input::default() }).unwrap();
    assert_eq!(alone.initializers[0].label, "mine");
}
