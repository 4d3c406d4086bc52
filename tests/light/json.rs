//! `--json` prints one object that its schema describes, and `docs/commands.md` has the same table.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::folder;
use crate::{readme, status, summary_command};

/// The commands with `--json`.
const COMMANDS: [&str; 5] = ["plan", "status", "summary", "verify", "doctor"];

fn stdout(args: &[&str]) -> Value {
    let output = Command::new(crate::WNINIT).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a command prints for a folder or a grid, validated.
fn object(command: &str, of: &Path, more: &[&str]) -> Value {
    let schema = stdout(&["schema", command]);
    jsonschema::meta::validate(&schema).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let args = [&[command, of.to_str().unwrap(), "--json"], more].concat();
    let object = stdout(&args);
    let errors: Vec<String> = validator.iter_errors(&object).map(|e| e.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new(), "{args:?}: {object:#}");
    // A schema that allows anything would be no promise.
    let mut more = object.clone();
    more["frob"] = 1.into();
    assert!(!validator.is_valid(&more));
    let first = schema["required"][0].as_str().unwrap();
    more = object.clone();
    more.as_object_mut().unwrap().remove(first);
    assert!(!validator.is_valid(&more), "{command} without {first}");
    object
}

#[test]
fn a_plan_is_an_object_with_a_sweep_for_each_grid() {
    let quick = crate::root().join("sweeps/quick.toml");
    let depth = crate::root().join("sweeps/depth.toml");
    let folder = folder();
    let results = ["--results", folder.path().to_str().unwrap()];
    let one = object("plan", &quick, &results);
    let of = &one["sweeps"][0];
    assert_eq!((&of["name"], &of["finished"]), (&"quick".into(), &0.into()));
    assert_eq!(of["jobs"], of["remaining"]);
    let product: usize = of["axes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|axis| axis["values"].as_array().unwrap().len())
        .product();
    assert_eq!(of["jobs"], product);
    let two = object("plan", &quick, &[&[depth.to_str().unwrap()], &results[..]].concat());
    assert_eq!(two["sweeps"].as_array().unwrap().len(), 2);
    assert_eq!(two["sweeps"][0], *of);
}

#[test]
fn a_status_is_an_object() {
    let dir = folder();
    status::sharded(dir.path());
    let object = object("status", dir.path(), &[]);
    for (key, n) in [("planned", 8), ("finished", 6), ("failed", 2), ("missing", 0)] {
        assert_eq!(object[key], n, "{key}");
    }
    assert_eq!(object["complete"], false);
    assert_eq!(object["failures"][0], "2 x memory: out of memory");
}

#[test]
fn a_summary_is_an_object_with_the_tables_and_what_is_not_measured_is_null() {
    let dir = folder();
    summary_command::sharded(dir.path());
    let all = object("summary", dir.path(), &[]);
    assert_eq!(all["counts"]["finished"], 11);
    let cells = all["tables"]["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 4);
    let diverged = cells.iter().find(|cell| cell["n_diverged"] == 3).unwrap();
    assert_eq!((&diverged["acc"], &diverged["depth"]), (&Value::Null, &50.into()));
    assert_eq!(all["tables"]["claims"].as_array().unwrap().len(), 1);

    let some = object("summary", dir.path(), &["--only", "depth=50"]);
    assert_eq!(some["tables"]["cells"].as_array().unwrap().len(), 2);
    assert_eq!(some["tables"]["claims"], all["tables"]["claims"]);
}

/// A row for each field of a schema: where it is, its type, its meaning.
fn rows(schema: &Value, path: &str, rows: &mut Vec<String>) {
    for (name, of) in schema["properties"].as_object().unwrap() {
        let variants = of["anyOf"].as_array().or(of["oneOf"].as_array());
        let null = serde_json::json!({ "type": "null" });
        let of_value = variants.and_then(|all| all.iter().find(|one| **one != null)).unwrap_or(of);
        let types = match &of_value["type"] {
            Value::String(one) => one.clone(),
            Value::Array(all) => {
                all.iter().map(|t| t.as_str().unwrap()).collect::<Vec<_>>().join(" or ")
            }
            other => panic!("{path}{name}: {other}"),
        };
        let nullable =
            if variants.is_some_and(|all| all.contains(&null)) { " or null" } else { "" };
        let about =
            of["description"].as_str().unwrap_or_else(|| panic!("{path}{name} has no meaning"));
        let place = format!("{path}{name}");
        rows.push(readme::row(&[&format!("`{place}`"), &format!("{types}{nullable}"), about]));
        // The columns of a summary's tables are in docs/results.md.
        if place == "tables" {
            continue;
        }
        if of_value["properties"].is_object() {
            self::rows(of_value, &format!("{place}."), rows);
        } else if of_value["items"]["properties"].is_object() {
            self::rows(&of_value["items"], &format!("{place}[]."), rows);
        }
    }
}

#[test]
fn every_field_of_every_object_is_documented() {
    for command in COMMANDS {
        let mut table = Vec::new();
        rows(&stdout(&["schema", command]), "", &mut table);
        assert!(table.len() > 4);
        readme::assert_has_table("commands.md", &[command, "type", "meaning"], table.into_iter());
    }
}
