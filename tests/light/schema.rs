//! `wninit schema`: the JSON schema accepts the grids that the program accepts, and refuses others.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use wninit_core::grid::{Grid, Metric, Overrides};
use wninit_core::job::{FIELDS, Init};

fn schema() -> Value {
    let output = Command::new(crate::WNINIT).arg("schema").output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn validator() -> jsonschema::Validator {
    let schema = schema();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::draft202012::new(&schema).unwrap()
}

/// A grid as JSON.
fn json_of(text: &str) -> Value {
    serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap()
}

#[test]
fn every_shipped_grid_and_every_stored_one_is_valid() {
    let validator = validator();
    for path in crate::shipped_sweeps::grids(&crate::root().join("sweeps")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let stored = Grid::load(&path, &Overrides::default()).unwrap().to_toml();
        for text in [text, stored] {
            let errors: Vec<String> =
                validator.iter_errors(&json_of(&text)).map(|error| error.to_string()).collect();
            assert_eq!(errors, Vec::<String>::new(), "{}", path.display());
        }
    }
}

/// A valid grid with everything in it that the cases below change.
const GOOD: &str = r#"
name = "a"
[base]
dataset = "synthetic"
synthetic_shape = [1, 8, 8]
[grid]
lr = { log = [1e-3, 1e-1], count = 3 }
width = { log = [16, 64], count = 3 }
init = ["he", "orthogonal_proposed"]
depth = [2, 5]
seed = { from = 3, count = 4 }
[[zip]]
batch_size = [64, 64]
momentum = [0.9, 0.8]
[[exclude]]
depth = [2]
init = "he"
[[claim]]
text = "t"
metric = "test_acc"
where = { depth = 5 }
compare = { axis = "init", better = "he", than = "orthogonal_proposed", margin = 0.1 }
[[claim]]
text = "t"
metric = "test_acc"
at_least = 0.1
[[published]]
metric = "test_acc"
value = 0.9
[profile.small]
base = { epochs = 2 }
"#;

/// Where to put what, and whether the grid is good then.
fn cases() -> Vec<(&'static str, Value, bool)> {
    vec![
        ("/name", json!("../b"), false),
        ("/name", json!(""), false),
        ("/name", json!("-b"), false),
        ("/name", json!("a b"), true),
        ("/name", json!("b "), false),
        ("/name", json!("n".repeat(101)), false),
        ("/frob", json!(1), false),
        ("/lr", json!(0.1), false),
        ("/base/lr", json!(0), true),
        ("/base/frob", json!(1), false),
        ("/base/weight_decay", json!(-1), false),
        ("/base/weight_decay", json!("x"), false),
        ("/base/weight_decay", json!([0.1]), false),
        ("/base/val_fraction", json!(0), false),
        ("/base/val_fraction", json!(0.9), true),
        ("/base/val_fraction", json!(0.91), false),
        ("/base/norm", json!("weigth"), false),
        ("/base/norm", json!("weight"), true),
        ("/base/epochs", json!(0), false),
        ("/base/epochs", json!(1.5), false),
        ("/base/epochs", json!(1_000_001), false),
        ("/base/data_seed", json!(i64::MAX), true),
        ("/base/reduced_memory", json!(1), false),
        ("/base/synthetic_shape", json!("1x9x9"), true),
        ("/base/synthetic_shape", json!([1, 9]), false),
        ("/base/synthetic_shape", json!([1, 9, 5000]), false),
        ("/grid/lr", json!([]), false),
        ("/grid/lr", json!([0.1, 0.1]), false),
        ("/grid/lr", json!(0.1), false),
        ("/grid/lr", json!({ "log": [0, 1], "count": 3 }), false),
        ("/grid/lr", json!({ "log": [0.1, 1] }), false),
        ("/grid/lr", json!({ "from": 1, "count": 3 }), false),
        ("/grid/lr", json!({ "count": 3 }), false),
        ("/grid/seed", json!({ "count": 0 }), false),
        ("/grid/seed", json!({ "count": 3_000_000 }), false),
        ("/grid/seed", json!({ "count": 3, "step": 2 }), false),
        ("/grid/seed", json!({ "count": 3, "from": 1, "log": [1, 3] }), false),
        ("/grid/init", json!({ "count": 3 }), false),
        ("/zip/0", json!({}), false),
        ("/zip/0/momentum", json!([0.9, 1.1]), false),
        ("/exclude/0", json!({}), false),
        ("/exclude/0/depth", json!([]), false),
        ("/exclude/0/depth", json!("five"), false),
        ("/claim/0/metric", json!("accuracy"), false),
        ("/claim/0/settings", json!("mean"), true),
        ("/claim/0/settings", json!("all"), false),
        ("/claim/0/at_least", json!(0.1), false),
        ("/claim/0/compare/axis", json!("depth"), false),
        ("/claim/0/compare/better", json!("he e"), false),
        ("/claim/0/compare", json!({ "better": { "init": "he" }, "than": { "depth": 5 } }), true),
        ("/claim/0/compare", json!({ "better": "he", "than": "orthogonal" }), false),
        ("/claim/0/compare", json!({ "axis": "init", "better": "he" }), false),
        ("/claim/1", json!({ "text": "t", "metric": "test_acc" }), false),
        ("/claim/1", json!({ "metric": "test_acc", "at_least": 0.1 }), false),
        ("/published/0/value", json!(1.5), false),
        ("/published/0", json!({ "metric": "test_loss", "value": 1.5 }), true),
        ("/published/0", json!({ "metric": "test_loss" }), false),
        (
            "/explored",
            json!({ "folder": "a", "chosen": [{ "where": { "depth": 2 }, "lr": 0.1 }] }),
            true,
        ),
        ("/explored", json!({ "folder": "a" }), false),
        ("/explored", json!({ "chosen": [] }), false),
        ("/explored", json!({ "folder": "a", "chosen": [{ "seeds": 3 }] }), false),
        ("/explored", json!({ "folder": "a", "chosen": [], "frob": 1 }), false),
        ("/profile/small/name", json!("b"), false),
        ("/profile/small/base/epochs", json!("many"), false),
        (
            "/initializer",
            json!([{ "name": "own", "direction": "xavier", "gain": "sqrt(2)", "bias": 0.1 }]),
            true,
        ),
        ("/initializer", json!([{ "name": "own" }]), false),
        ("/initializer", json!([{ "direction": "he" }]), false),
        ("/initializer", json!([{ "name": "1st", "direction": "he" }]), false),
        ("/initializer", json!([{ "name": "own", "direction": "hee" }]), false),
        ("/initializer", json!([{ "name": "own", "direction": "he", "gian": "1" }]), false),
        ("/initializer", json!([{ "name": "own", "direction": "he", "gain": true }]), false),
        ("/block", json!([{ "base": { "epochs": 3 } }]), true),
        ("/block", json!([{ "base": { "epochs": 3 }, "name": "b" }]), false),
        ("/block", json!({ "base": { "epochs": 3 } }), false),
    ]
}

#[test]
fn what_the_schema_refuses_the_program_refuses_too() {
    let validator = validator();
    for (pointer, value, good) in cases() {
        let mut grid = json_of(GOOD);
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match grid.pointer_mut(parent).unwrap() {
            Value::Object(table) => drop(table.insert(key.to_owned(), value.clone())),
            Value::Array(items) => items[key.parse::<usize>().unwrap()] = value.clone(),
            other => panic!("{other}"),
        }
        let context = format!("{pointer} = {value}");
        assert_eq!(validator.is_valid(&grid), good, "the schema: {context}");
        let text = toml::to_string(&grid).unwrap();
        // A count of jobs, and a field that is set twice, are beyond a schema.
        let overrides = Overrides { profile: Some("small".into()), ..Overrides::default() };
        let read = Grid::parse(&text, Path::new("a.toml"), &overrides);
        if pointer != "/base/lr" && pointer != "/block" {
            assert_eq!(read.is_ok(), good, "the program: {context}: {:?}", read.err());
        }
    }
    assert!(validator.is_valid(&json_of("extends = \"b.toml\"")), "the other file has a name");
    assert!(!validator.is_valid(&json_of("[base]\nlr = 1")), "no name");
}

#[test]
fn every_field_metric_and_initializer_is_in_the_schema_with_its_default() {
    let schema = schema();
    for field in FIELDS.iter() {
        let of_field = &schema["$defs"][field.name];
        let about = of_field["description"].as_str().unwrap();
        assert!(about.starts_with(field.about), "{field:?}: {of_field}");
        let default = match &of_field["default"] {
            Value::Null => about.rsplit_once("Default: ").unwrap().1.to_owned(),
            Value::String(word) => word.clone(),
            number => number.to_string(),
        };
        assert_eq!(default, field.default, "{field:?}");
    }
    let inits: Vec<&str> = Init::all().map(Init::name).collect();
    assert_eq!(schema["$defs"]["init"]["anyOf"][0]["enum"], json!(inits));
    assert_eq!(schema["$defs"]["init"]["default"], Value::Null);
    let metrics: Vec<&str> = Metric::ALL.iter().map(|metric| metric.name()).collect();
    assert_eq!(schema["$defs"]["Claim"]["properties"]["metric"]["enum"], json!(metrics));
}
