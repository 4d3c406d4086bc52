//! What the README and the pages of `docs/` say is so: their grids plan, their tables are the
//! program's.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::root;
use wninit_core::grid::{Grid, Metric, Overrides};
use wninit_core::job::{Activation, Init, ModelName};
use wninit_core::plan::Plan;
use wninit_core::results::{EPOCH_COLUMNS, FAILURE_COLUMNS};
use wninit_core::run::interrupt::EXIT_INTERRUPTED;
use wninit_core::run::pool::EXIT_UNFINISHED;

/// The README and every page of `docs/`, with their paths.
pub fn pages() -> Vec<(PathBuf, String)> {
    let docs = root().join("docs");
    let mut paths = vec![root().join("README.md")];
    for folder in [docs.clone(), docs.join("reference"), docs.join("reproduction")] {
        paths.extend(std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    let read = |path: PathBuf| (path.clone(), std::fs::read_to_string(path).unwrap());
    paths.into_iter().map(read).collect()
}

pub fn page(name: &str) -> String {
    std::fs::read_to_string(root().join("docs").join(name)).unwrap()
}

/// The fenced blocks of a language in a text, in order.
pub fn blocks(text: &str, language: &str) -> Vec<String> {
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
fn the_columns_of_small_files_and_the_metrics_are_listed() {
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
fn the_exit_codes_are_documented() {
    for code in [0, 1, 2, i32::from(EXIT_UNFINISHED), i32::from(EXIT_INTERRUPTED)] {
        assert!(page("commands.md").contains(&format!("| {code} | ")), "{code} is missing");
    }
}

#[test]
fn the_tests_that_check_the_theory_exist() {
    let [theorems, signal] = ["theorems.rs", "signal.rs"]
        .map(|file| std::fs::read_to_string(root().join("tests/torch").join(file)).unwrap());
    let text = page("theory.md");
    let named: Vec<&str> =
        text.split('`').skip(1).step_by(2).filter(|code| code.matches('_').count() > 3).collect();
    assert!(named.len() >= 8, "only {named:?}");
    for name in named {
        let test = format!("#[test]\nfn {name}() {{");
        assert!(theorems.contains(&test) || signal.contains(&test), "there is no test {name}");
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

/// The text outside of fenced blocks.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(text: &str) -> Vec<String> {
    let text = prose(text);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let kept = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c),
        _ => None,
    };
    headings
        .map(|heading| heading.trim_start_matches('#').trim().to_lowercase())
        .map(|heading| heading.chars().filter_map(kept).collect())
        .collect()
}

#[test]
fn links_lead_to_pages_and_headings_and_those_of_the_book_stay_within_it() {
    let docs = root().join("docs");
    let mut found = 0;
    for (path, text) in pages() {
        let prose = prose(&text);
        let links = prose.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        for link in links.filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.with_file_name(file) };
            let target = target.canonicalize().unwrap_or_else(|_| panic!("{path:?}: {link}"));
            assert!(target.starts_with(&docs) || !path.starts_with(&docs), "{path:?}: {link}");
            if !anchor.is_empty() {
                let headings = anchors(&std::fs::read_to_string(&target).unwrap());
                assert!(headings.iter().any(|h| h == anchor), "{path:?}: {link}: {headings:?}");
            }
            found += 1;
        }
    }
    assert!(found >= 60, "only {found} links found");
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    let docs = root().join("docs");
    for (path, _) in pages() {
        let Ok(name) = path.strip_prefix(&docs) else { continue };
        let name = name.to_str().unwrap();
        let listed = page("SUMMARY.md").contains(&format!("]({name})"));
        assert!(listed || name == "SUMMARY.md", "{name} is not listed");
    }
}
