//! What the README and the pages of `docs/` say is so: their grids plan, their tables are the
//! program's.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::root;
use wninit_core::grid::{Grid, Metric, Overrides};
use wninit_core::job::{Activation, FIELDS, Init, ModelName};
use wninit_core::plan::Plan;
use wninit_core::results::{EPOCH_COLUMNS, FAILURE_COLUMNS, RESULT_COLUMNS};

/// The README and every page of `docs/`, with their paths.
fn pages() -> Vec<(PathBuf, String)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .chain([root().join("README.md")])
        .collect();
    paths.sort();
    let read = |path: PathBuf| (path.clone(), std::fs::read_to_string(path).unwrap());
    paths.into_iter().map(read).collect()
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join("docs").join(name)).unwrap()
}

/// The fenced blocks of a language in a text, in order.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let parts = text.split(&fence).skip(1);
    parts.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// A row of a table, with what Markdown would take for a column's end escaped.
pub fn row(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

pub fn assert_has_table(page_name: &str, head: &[&str], rows: impl Iterator<Item = String>) {
    let rule = format!("|{}\n", "---|".repeat(head.len()));
    let table = row(head) + &rule + &rows.collect::<String>();
    assert!(
        page(page_name).contains(&(table.clone() + "\n")),
        "docs/{page_name} should have this table:\n{table}"
    );
}

#[test]
fn every_field_of_a_job_is_documented_with_its_default_and_meaning() {
    let rows = FIELDS.iter().map(|f| row(&[&format!("`{}`", f.name), f.default, f.about]));
    assert_has_table("grids.md", &["field", "default", "meaning"], rows);
}

#[test]
fn every_result_column_is_documented_with_its_unit_and_meaning() {
    let empty = |empty: &'static str| if empty.is_empty() { "never" } else { empty };
    let rows = RESULT_COLUMNS
        .iter()
        .map(|c| row(&[&format!("`{}`", c.name), c.unit, c.meaning, empty(c.empty)]));
    assert_has_table("results.md", &["column", "unit", "meaning", "empty means"], rows);
    let list = |names: &mut dyn Iterator<Item = &str>| {
        names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    for (name, list) in [
        ("results.md", list(&mut EPOCH_COLUMNS.iter().map(|c| c.name))),
        ("results.md", list(&mut FAILURE_COLUMNS.iter().map(|c| c.name))),
        ("grids.md", list(&mut Metric::ALL.iter().map(|m| m.name()))),
    ] {
        assert!(page(name).contains(&list), "docs/{name} should list {list}");
    }
}

#[test]
fn every_initializer_and_model_is_documented() {
    for name in Init::all().map(Init::name).chain(ModelName::ALL.iter().map(|m| m.name())) {
        assert!(page("networks.md").contains(&format!("`{name}`")), "{name} is missing");
    }
}

#[test]
fn every_activation_is_documented_with_its_gamma() {
    let page = page("networks.md");
    for activation in Activation::ALL {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{activation}` |")));
        let gamma = format!("| {:.4} |", activation.gamma());
        assert!(row.is_some_and(|row| row.ends_with(&gamma)), "{activation}: {row:?}, not {gamma}");
    }
}

#[test]
fn the_language_of_own_initializers_is_documented() {
    let [variables, functions, constants] = wninit_core::job::vocabulary();
    let page = page("initializers.md");
    assert!(page.contains(&format!("Functions: {functions}. Constants: {constants}.")));
    for variable in variables.split(", ") {
        assert!(page.contains(&format!("| `{variable}` | ")), "{variable} is missing");
    }
    let schema = wninit_core::grid::json_schema();
    for (key, value) in schema["$defs"]["Initializer"]["properties"].as_object().unwrap() {
        let about = value["description"].as_str().unwrap();
        assert!(page.contains(&row(&[&format!("`{key}`"), about])), "{key}: {about}");
    }
}

#[test]
fn documented_grids_plan_and_the_reference_has_every_key() {
    for text in pages().iter().flat_map(|(_, text)| blocks(text, "toml")) {
        let file = root().join("sweeps/readme.toml"); // so that `extends` finds the shipped ones
        let text = text.replace("my.npz", "../tests/fixtures/data/stored.npz"); // a file that is there
        let grid = Grid::parse(&text, &file, &Overrides::default())
            .unwrap_or_else(|error| panic!("{error}"));
        let plan = Plan::of(&grid).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(plan.warnings, Vec::<String>::new());
    }
    let grids = blocks(&page("grids.md"), "toml");
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
fn the_plan_in_the_tutorial_is_what_the_program_prints() {
    let shown = blocks(&page("tutorial.md"), "text");
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
        assert!(printed.contains(line), "the tutorial says:\n{line}\nthe program says:\n{printed}");
    }
}

/// A text with every run of white space as one space.
fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_summary_in_the_tutorial_is_of_the_sweep_that_ships() {
    let shown = in_one_line(&blocks(&page("tutorial.md"), "text")[1]);
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
    let results = root().join("results/README.md");
    let text = std::fs::read_to_string(&results).unwrap();
    for (file, text) in pages().into_iter().chain([(results, text)]) {
        for rest in text.split("results/paper/").skip(1) {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            let name = &rest[..end.unwrap_or(rest.len())];
            if !name.is_empty() {
                let folder = root().join("results/paper").join(name);
                let holds = |file| folder.join(file).exists();
                assert!(holds("runs.csv") || holds("signal.csv"), "{file:?}: {}", folder.display());
                named += 1;
            }
        }
    }
    assert!(named >= 8, "only {named} found");
}

#[test]
fn linked_files_exist() {
    let mut found = 0;
    for (path, text) in pages() {
        let links = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        for link in links.filter(|link| !link.contains("://")) {
            let file = link.split('#').next().unwrap();
            assert!(path.with_file_name(file).exists(), "{path:?} links to {link}");
            found += 1;
        }
    }
    assert!(found >= 20, "only {found} links found");
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    for (path, _) in pages() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let listed = page("SUMMARY.md").contains(&format!("]({name})"));
        assert!(listed || ["README.md", "SUMMARY.md"].contains(&name), "{name} is not listed");
    }
}

#[test]
fn documented_make_targets_and_variables_exist() {
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    let commands: Vec<String> = pages().iter().flat_map(|(_, text)| blocks(text, "sh")).collect();
    let commands = commands.join("\n");
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
