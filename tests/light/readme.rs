//! What the README says is so: its grids plan, its tables are the program's.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::root;
use wninit_core::grid::{Grid, Metric, Overrides};
use wninit_core::job::{FIELDS, Init, ModelName};
use wninit_core::plan::Plan;
use wninit_core::results::{EPOCH_COLUMNS, FAILURE_COLUMNS, RESULT_COLUMNS};

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

/// The fenced blocks of a language, in order.
fn blocks(language: &str) -> Vec<String> {
    let text = readme();
    let fence = format!("```{language}\n");
    let parts = text.split(&fence).skip(1);
    parts.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// A row of a table, with what Markdown would take for a column's end escaped.
fn row(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

fn assert_has_table(head: &[&str], rows: impl Iterator<Item = String>) {
    let rule = format!("|{}\n", "---|".repeat(head.len()));
    let table = row(head) + &rule + &rows.collect::<String>();
    assert!(
        readme().contains(&(table.clone() + "\n")),
        "the README should have this table:\n{table}"
    );
}

#[test]
fn every_field_of_a_job_is_in_the_readme_with_its_default_and_meaning() {
    let rows = FIELDS.iter().map(|f| row(&[&format!("`{}`", f.name), f.default, f.about]));
    assert_has_table(&["field", "default", "meaning"], rows);
}

#[test]
fn every_result_column_is_in_the_readme_with_its_unit_and_meaning() {
    let empty = |empty: &'static str| if empty.is_empty() { "never" } else { empty };
    let rows = RESULT_COLUMNS
        .iter()
        .map(|c| row(&[&format!("`{}`", c.name), c.unit, c.meaning, empty(c.empty)]));
    assert_has_table(&["column", "unit", "meaning", "empty means"], rows);
    let list = |names: &mut dyn Iterator<Item = &str>| {
        names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    for list in [
        list(&mut EPOCH_COLUMNS.iter().map(|c| c.name)),
        list(&mut FAILURE_COLUMNS.iter().map(|c| c.name)),
        list(&mut Metric::ALL.iter().map(|m| m.name())),
    ] {
        assert!(readme().contains(&list), "the README should list {list}");
    }
}

#[test]
fn every_initializer_and_model_is_in_the_readme() {
    for name in Init::all().map(Init::name).chain(ModelName::ALL.iter().map(|m| m.name())) {
        assert!(readme().contains(&format!("`{name}`")), "{name} is missing");
    }
}

#[test]
fn the_grids_in_the_readme_plan_and_the_first_has_every_key() {
    let grids = blocks("toml");
    for text in &grids {
        let file = root().join("sweeps/readme.toml"); // so that `extends` finds the shipped ones
        let grid = Grid::parse(text, &file, &Overrides::default())
            .unwrap_or_else(|error| panic!("{error}"));
        let plan = Plan::of(&grid).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(plan.warnings, Vec::<String>::new());
    }
    let smoke = Overrides { profile: Some("smoke".into()), ..Overrides::default() };
    let grid = Grid::parse(&grids[0], Path::new("readme.toml"), &smoke).unwrap();
    assert_eq!(grid.name, "reference-smoke");
    let keys: toml::Table = grids[0].parse().unwrap();
    for key in [
        "name",
        "about",
        "base",
        "grid",
        "zip",
        "exclude",
        "block",
        "claim",
        "published",
        "profile",
    ] {
        assert!(keys.contains_key(key), "{key} is missing");
    }
    assert!(grids[1].contains("extends ="));
}

#[test]
fn the_plan_in_the_readme_is_what_the_program_prints() {
    let shown = blocks("text");
    let output = Command::new(crate::WNINIT)
        .args(["plan", "sweeps/quick.toml", "--results", "/nonexistent"])
        .current_dir(root())
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    // The number of cohorts and the estimate depend on the machine.
    for line in
        shown[0].lines().filter(|line| !line.starts_with("cost") && !line.contains(" cohorts"))
    {
        assert!(printed.contains(line), "the README says:\n{line}\nthe program says:\n{printed}");
    }
}

/// A text with every run of white space as one space.
fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_summary_in_the_readme_is_of_the_sweep_that_ships() {
    let shown = in_one_line(&blocks("text")[1]);
    let path = root().join("sweeps/quick.toml");
    let grid = Grid::load(&path, &Overrides::default()).unwrap();
    let jobs = Plan::of(&grid).unwrap().jobs.len();
    assert!(shown.starts_with(&format!("quick: {jobs} runs planned, {jobs} finished")), "{shown}");
    for claim in &grid.claims {
        assert!(shown.contains(&claim.text), "{}\n{shown}", claim.text);
    }
}

#[test]
fn the_evidence_that_is_named_is_committed() {
    let mut named = 0;
    for file in ["README.md", "results/README.md"] {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        for rest in text.split("results/paper/").skip(1) {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            let name = &rest[..end.unwrap_or(rest.len())];
            if !name.is_empty() {
                let folder = root().join("results/paper").join(name);
                let holds = |file| folder.join(file).exists();
                assert!(holds("runs.csv") || holds("signal.csv"), "{file}: {}", folder.display());
                named += 1;
            }
        }
    }
    assert!(named >= 8, "only {named} found");
}

#[test]
fn the_files_that_the_readme_links_to_exist() {
    let text = readme();
    let links = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    let files: Vec<PathBuf> =
        links.filter(|link| !link.contains("://")).map(|link| root().join(link)).collect();
    assert!(files.len() >= 2);
    for file in files {
        assert!(file.exists(), "{} is missing", file.display());
    }
}

#[test]
fn the_make_targets_and_variables_in_the_readme_exist() {
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    let commands = blocks("sh").join("\n");
    for line in commands.lines().filter_map(|line| line.strip_prefix("make ")) {
        for word in line.split_whitespace() {
            let found = match word.split_once('=') {
                Some((variable, _)) => makefile.lines().any(|l| {
                    l.strip_prefix(variable).is_some_and(|rest| rest.trim_start().starts_with("?="))
                }),
                None => makefile.lines().any(|l| l.starts_with(&format!("{word}:"))),
            };
            assert!(found, "the Makefile has no {word}");
        }
    }
}
