//! Results trained in a checkout are ignored by git, and the committed results are neither read nor
//! written.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{Sandbox, output};
use crate::root;
use wninit_core::grid::{Grid, Overrides};

const GRID: &str =
    "[base]\ndataset = \"digits\"\nwidth = 16\n[grid]\ndepth = [2, 3]\nseed = { count = 2 }\n";

/// Git's output in a folder.
fn git(folder: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(folder).args(["-c", "user.name=n", "-c", "user.email=e"]).args(args);
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The files below a folder, with their contents.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(tree(&path));
        } else {
            files.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    files
}

/// A repository with this one's .gitignore and a committed sweep.
fn checkout() -> Sandbox {
    let sandbox = Sandbox::new(GRID);
    fs::copy(root().join(".gitignore"), sandbox.path(".gitignore")).unwrap();
    output(&mut sandbox.run(&["--results", "results/paper"])).expect(0, &["finished 4 jobs"]);
    fs::write(sandbox.path("results/README.md"), "what is where").unwrap();
    git(sandbox.dir.path(), &["init", "-q"]);
    git(sandbox.dir.path(), &["add", "-A"]);
    git(sandbox.dir.path(), &["commit", "-qm", "all"]);
    sandbox
}

#[test]
fn a_sweep_with_committed_results_trains_and_leaves_git_status_clean() {
    let sandbox = checkout();
    let tracked = git(sandbox.dir.path(), &["ls-files", "results"]);
    let names: Vec<&str> = tracked.lines().collect();
    assert_eq!(
        names,
        [
            "README.md",
            "paper/sweep/columns.json",
            "paper/sweep/epochs.csv",
            "paper/sweep/failures.csv",
            "paper/sweep/grid.toml",
            "paper/sweep/plan.csv",
            "paper/sweep/runs.csv"
        ]
        .map(|name| format!("results/{name}")),
        "no lock and no progress"
    );
    let evidence = tree(&sandbox.path("results/paper"));

    output(&mut sandbox.run(&["--shard", "1/2"])).expect(0, &["finished 2 jobs"]);
    output(&mut sandbox.run(&["--budget", "0s"])).expect(3, &["2 jobs left"]);
    output(&mut sandbox.run(&["--summary"])).expect(0, &["finished 2 jobs"]);
    output(&mut sandbox.run(&[])).expect(0, &["finished 0 jobs", "4 were finished before"]);
    for command in [
        &["report", "results/sweep"][..],
        &["merge", "results/sweep"],
        &["signals", "grid.toml", "--device", "cpu"],
        &["curvature", "grid.toml", "--device", "cpu"],
        &["slurm", "grid.toml", "--array", "2"],
    ] {
        output(&mut sandbox.wninit(command)).expect(0, &[]);
    }
    assert_eq!(git(sandbox.dir.path(), &["status", "--porcelain"]), "");
    assert!(tree(&sandbox.path("results/paper")) == evidence, "no run touches it");

    // Committed results change only if they are named, and git shows it.
    output(&mut sandbox.wninit(&["summary", "results/paper/sweep"])).expect(0, &[]);
    let status = git(sandbox.dir.path(), &["status", "--porcelain"]);
    assert!(status.contains("results/paper/sweep/summary/"), "{status}");
}

#[test]
fn no_shipped_sweep_is_finished_in_a_fresh_clone() {
    let mut names = Vec::new();
    for file in tree(&root().join("sweeps")).into_keys() {
        let table: toml::Table = fs::read_to_string(&file).unwrap().parse().unwrap();
        let profiles = table.get("profile").and_then(|p| p.as_table()).cloned().unwrap_or_default();
        for profile in profiles.keys().cloned().map(Some).chain([None]) {
            let overrides = Overrides { profile, ..Overrides::default() };
            names.push(Grid::load(&file, &overrides).unwrap().name);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    fs::copy(root().join(".gitignore"), folder.path().join(".gitignore")).unwrap();
    git(folder.path(), &["init", "-q"]);
    for name in &names {
        git(folder.path(), &["check-ignore", "-q", &format!("results/{name}/runs.csv")]);
    }
    // A file may be committed although it is ignored.
    if root().join(".git").exists() {
        assert_eq!(git(root(), &["ls-files", "--cached", "--ignored", "--exclude-standard"]), "");
    }
}
