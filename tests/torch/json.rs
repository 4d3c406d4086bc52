//! `wninit verify --json` and `wninit doctor --json` print what their schemas describe; `--version`
//! names what the programs were built with.

use serde_json::Value;

use crate::program::{Sandbox, output};

const GRID: &str = "[base]\ndataset = \"digits\"\nwidth = 16\n[grid]\ndepth = [2, 3]\n";

/// What a command prints, validated.
fn object(sandbox: &Sandbox, args: &[&str], code: i32) -> Value {
    let schema = output(&mut sandbox.wninit(&["schema", args[0]]));
    let schema: Value = serde_json::from_str(&schema.stdout).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let printed = output(&mut sandbox.wninit(&[args, &["--json"]].concat()));
    printed.expect(code, &[]);
    let object: Value = serde_json::from_str(&printed.stdout).unwrap();
    let errors: Vec<String> = validator.iter_errors(&object).map(|e| e.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new(), "{object:#}");
    let mut more = object.clone();
    more["frob"] = 1.into();
    assert!(!validator.is_valid(&more));
    object
}

#[test]
fn a_verification_is_an_object_with_every_job() {
    let sandbox = Sandbox::finished(GRID);
    let verified = object(&sandbox, &["verify", "grid.toml", "--device", "cpu"], 0);
    for (key, n) in [("finished", 2), ("chosen", 2), ("equal", 2), ("different", 0)] {
        assert_eq!(verified[key], n, "{key}: {verified:#}");
    }
    assert_eq!(verified["jobs"].as_array().unwrap().len(), 2);

    let text = sandbox.text("runs.csv");
    let row = text.lines().nth(1).unwrap();
    let id = row.split(',').next().unwrap();
    let header: Vec<&str> = text.lines().next().unwrap().split(',').collect();
    let at = header.iter().position(|name| *name == "test_acc").unwrap();
    let mut cells: Vec<&str> = row.split(',').collect();
    cells[at] = "0.123";
    std::fs::write(sandbox.sweep().join("runs.csv"), text.replace(row, &cells.join(","))).unwrap();
    let args = ["verify", "results/sweep", "--device", "cpu", "--job", id];
    let verified = object(&sandbox, &args, 1);
    let job = &verified["jobs"][0];
    assert_eq!((&job["job_id"], &job["outcome"]), (&id.into(), &"different".into()));
    assert_eq!(job["differences"][0]["column"], "test_acc");
    assert_eq!(job["differences"][0]["row"], "0.123");
}

#[test]
fn a_checkup_is_an_object_and_the_version_names_the_same() {
    let sandbox = Sandbox::new(GRID);
    let checkup = object(&sandbox, &["doctor"], 0);
    assert_eq!(checkup["ready"], true, "{checkup:#}");
    assert!(checkup["checks"].as_array().unwrap().len() > 5);
    let version = output(&mut sandbox.wninit(&["--version"]));
    version.expect(0, &[]);
    let lines: Vec<&str> = version.stdout.lines().collect();
    assert_eq!(lines[0], format!("wninit {}", checkup["version"].as_str().unwrap()));
    for (line, key) in [(1, "commit"), (2, "libtorch")] {
        let words: Vec<&str> = lines[line].split_whitespace().collect();
        assert_eq!(words, [key, checkup[key].as_str().unwrap()]);
    }
    assert!(lines[3].starts_with("CUDA "), "{lines:?}");
}

#[test]
fn a_sweeps_folder_is_trained_where_it_is() {
    let sandbox = Sandbox::finished(GRID);
    let moved = sandbox.path("elsewhere/sweep");
    std::fs::create_dir_all(moved.parent().unwrap()).unwrap();
    std::fs::rename(sandbox.sweep(), &moved).unwrap();
    let more = ["run", "elsewhere/sweep", "--device", "cpu", "--set", "epochs=2"];
    output(&mut sandbox.wninit(&more)).expect(0, &["finished 2 jobs"]);
    let rows = std::fs::read_to_string(moved.join("runs.csv")).unwrap();
    assert_eq!(rows.lines().count(), 5);
    assert!(!sandbox.sweep().exists(), "results stay in the folder");
    std::fs::rename(&moved, sandbox.path("elsewhere/other")).unwrap();
    let refused = output(&mut sandbox.wninit(&["run", "elsewhere/other"]));
    refused.expect(2, &["another name than its sweep, \"sweep\""]);
}

#[test]
fn quiet_and_verbose_decide_what_is_said() {
    let said = |options: &[&str]| {
        let sandbox = Sandbox::new(GRID);
        let run = output(&mut sandbox.run(options));
        run.expect(0, &[]);
        run.stderr
    };
    assert_eq!(said(&["-q"]), "");
    assert!(!said(&[]).contains("cohort: "));
    let verbose = said(&["-v"]);
    for part in ["cohort: 1 job of mlp 2 x 16", "data: ", "trained in "] {
        assert!(verbose.contains(part), "{part}: {verbose}");
    }
}
