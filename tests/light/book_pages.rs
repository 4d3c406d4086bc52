//! The pages of `docs/reference/` are what the program says of itself. `UPDATE_DOCS=1` writes them.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use serde_json::{Map, Value};

use crate::book_code::copy;
use crate::readme::row;
use crate::root;
use wninit_core::job::FIELDS;
use wninit_core::results::{curvature_docs, document_columns, signal_docs};

/// Compares a page with what it should be, or writes it.
fn assert_page(name: &str, expected: &str) {
    let path = root().join("docs/reference").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, expected).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(expected.lines()).find(|(written, now)| written != now);
    assert!(
        written == expected,
        "{} is out of date: UPDATE_DOCS=1 cargo test --profile checked --test light book_pages:: writes it\n{differs:?}",
        path.display()
    );
}

/// What the program prints in a terminal of 84 columns.
fn printed(arguments: &[&str]) -> String {
    let output = Command::new(crate::WNINIT).args(arguments).env("COLUMNS", "84").output().unwrap();
    assert!(output.status.success(), "wninit {arguments:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn table(head: &[&str], rows: impl IntoIterator<Item = String>) -> String {
    row(head) + &format!("|{}\n", "---|".repeat(head.len())) + &rows.into_iter().collect::<String>()
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}

#[test]
fn the_options_are_those_that_the_program_prints() {
    let overview = printed(&["help"]);
    let mut page = format!(
        "# Options\n\nThe output of `wninit help` and `wninit help COMMAND`.\n\n```text\n{overview}```\n"
    );
    let commands = overview.lines().skip_while(|line| !line.ends_with("Commands:")).skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    // A description that is wrapped is indented further.
    let names = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let mut found = 0;
    for name in names.filter(|name| !["", "help"].contains(name)) {
        let help = printed(&["help", name]);
        write!(page, "\n## wninit {name}\n\n```text\n{help}```\n").unwrap();
        found += 1;
    }
    assert!(found >= 10, "only {found} commands found");
    assert_page("commands.md", &page);
}

#[test]
fn the_keys_and_fields_are_those_of_the_schema() {
    let schema = wninit_core::grid::json_schema();
    let keys = |properties: &Map<String, Value>| {
        let rows = properties
            .iter()
            .map(|(key, value)| row(&[&format!("`{key}`"), text(value, "description")]));
        table(&["key", "meaning"], rows)
    };
    let mut page = "# Keys and fields\n\nWhat `wninit schema` prints, as tables.\n\n".to_owned();
    page += "## Keys of a grid\n\n";
    page += &keys(schema["properties"].as_object().unwrap());
    for (name, heading) in [
        ("Range", "A range of values"),
        ("Claim", "`[[claim]]`"),
        ("Compare", "`compare` of a claim"),
        ("Published", "`[[published]]`"),
        ("UntilDecided", "`until_decided`"),
    ] {
        let keys = keys(schema["$defs"][name]["properties"].as_object().unwrap());
        write!(page, "\n## {heading}\n\n{keys}").unwrap();
    }
    page +=
        "\n[An initializer of your own](../initializers.md) has the keys of `[[initializer]]`.\n";
    let fields =
        FIELDS.iter().map(|f| row(&[&format!("`{}`", f.name), f.unit, f.default, f.about]));
    let fields = table(&["field", "unit", "default", "meaning"], fields);
    write!(page, "\n## Fields of a job\n\n{fields}").unwrap();
    assert_page("grid.md", &page);
}

#[test]
fn the_columns_are_those_that_the_program_writes() {
    let folder = crate::common::folder();
    let sweep = folder.path().join("sweep");
    copy(&root().join("results/paper/curvature-small"), &sweep);
    fs::remove_file(sweep.join("columns.json")).unwrap();
    document_columns(&sweep, &[curvature_docs(), signal_docs()]).unwrap();
    let summary = Command::new(crate::WNINIT).arg("summary").arg(&sweep).output().unwrap();
    assert!(summary.status.success());
    let written = fs::read_to_string(sweep.join("columns.json")).unwrap();
    let files: Map<String, Value> = serde_json::from_str(&written).unwrap();
    let fields = files["plan.csv"].clone();
    let mut page = "# Columns\n\nThe content of a sweep's `columns.json`. The files also have columns of \
                    the [fields of a job](grid.md#fields-of-a-job): `plan.csv` and `runs.csv` all of them, the \
                    summary's tables those that vary.\n"
        .to_owned();
    for (file, columns) in &files {
        let Some(columns) = columns.as_object() else { continue };
        let own = columns.iter().filter(|(name, column)| {
            *name == "job_id" || fields.get(name.as_str()) != Some(*column)
        });
        let rows: Vec<String> = own
            .map(|(name, column)| {
                let name = format!("`{name}`");
                row(&[&name, text(column, "unit"), text(column, "meaning"), text(column, "empty")])
            })
            .collect();
        let table = table(&["column", "unit", "meaning", "empty means"], rows);
        write!(page, "\n## `{file}`\n\n{table}").unwrap();
    }
    assert_page("columns.md", &page);
}
