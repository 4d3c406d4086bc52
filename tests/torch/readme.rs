//! The commands in the README run.

use std::process::Command;

use crate::root;

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

/// Every `wninit` command of the README, in its order, in a folder with the shipped sweeps.
#[test]
fn the_commands_in_the_readme_run() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root().join("sweeps"), folder.path().join("sweeps")).unwrap();
    let mut ran = 0;
    for line in blocks("sh").iter().flat_map(|block| block.lines()) {
        let Some(arguments) = line.strip_prefix("wninit ") else {
            let known = ["make ", "export "].iter().any(|start| line.starts_with(start));
            assert!(known, "what is `{line}`?");
            continue;
        };
        let output = Command::new(crate::wninit())
            .args(arguments.split_whitespace())
            .current_dir(folder.path())
            .env_remove("WNINIT_DATA")
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{line}` says: {error}");
        ran += 1;
    }
    assert!(ran >= 10, "only {ran} commands found");
}
