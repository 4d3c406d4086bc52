//! The commands in the README and in `docs/` run.

use std::process::Command;

use crate::root;

/// The lines of the fenced blocks of shell commands, in the order of reading.
fn commands() -> Vec<String> {
    let read = |page: &str| std::fs::read_to_string(root().join(page)).unwrap();
    let contents = read("docs/SUMMARY.md");
    let links = contents.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    let pages = links.map(|page| read(&format!("docs/{page}")));
    let text = [read("README.md")].into_iter().chain(pages).collect::<Vec<_>>().join("\n");
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

/// Every documented `wninit` command, in a folder with the shipped sweeps.
#[test]
fn documented_commands_run() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root().join("sweeps"), folder.path().join("sweeps")).unwrap();
    let mut ran = 0;
    for line in commands() {
        let Some(arguments) = line.strip_prefix("wninit ") else {
            let known = ["make ", "export "].iter().any(|start| line.starts_with(start));
            assert!(known, "what is `{line}`?");
            continue;
        };
        let output = Command::new(crate::wninit())
            .args(arguments.split_whitespace().take_while(|word| *word != "|"))
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
