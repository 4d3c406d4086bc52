//! Results name the commit of the program that made them, and say so where its sources were others.

#[path = "../../src/torch/program/commit.rs"]
mod stamp;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use stamp::Commit;

fn git(folder: &Path, args: &[&str]) {
    let identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"];
    let output =
        Command::new("git").current_dir(folder).args(identity).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
}

/// A checkout, in the folder `main`, with one commit.
fn checkout() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("main");
    for (file, text) in [
        ("Cargo.toml", "[package]"),
        ("Cargo.lock", ""),
        ("src/torch/build.rs", ""),
        (".cargo/config.toml", ""),
        ("src/core/lib.rs", ""),
        ("README.md", ""),
        (".gitignore", "*.ignored"),
    ] {
        fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
        fs::write(root.join(file), text).unwrap();
    }
    git(&root, &["init", "--quiet"]);
    git(&root, &["add", "."]);
    git(&root, &["commit", "--quiet", "-m", "one"]);
    (folder, root)
}

#[test]
fn sources_that_are_not_the_commits_are_dirty() {
    let (_folder, root) = checkout();
    let clean = Commit::of(&root).name;
    assert_eq!((clean.len(), clean.ends_with("-dirty")), (12, false));
    let dirty = format!("{clean}-dirty");
    for (file, expected) in [
        ("src/core/lib.rs", &dirty),
        ("Cargo.toml", &dirty),
        ("Cargo.lock", &dirty),
        ("src/torch/build.rs", &dirty),
        (".cargo/config.toml", &dirty),
        ("src/core/new.rs", &dirty),
        ("src/torch/new/deep.rs", &dirty),
        (".cargo/new.toml", &dirty),
        ("README.md", &clean),
        ("results.csv", &clean),
        ("src/core/editor.ignored", &clean),
        ("src/report/mod.rs", &clean),
    ] {
        let path = root.join(file);
        let before = fs::read(&path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "changed").unwrap();
        assert_eq!(Commit::of(&root).name, *expected, "{file}");
        match before {
            Ok(text) => fs::write(&path, text).unwrap(),
            Err(_) => fs::remove_file(&path).unwrap(),
        }
        assert_eq!(Commit::of(&root).name, clean, "{file}");
    }
}

#[test]
fn whatever_changes_the_name_changes_a_watched_file_in_a_worktree_too() {
    let (folder, root) = checkout();
    let tree = folder.path().join("tree");
    git(&root, &["worktree", "add", "--quiet", "-b", "work", tree.to_str().unwrap()]);
    git(&root, &["pack-refs", "--all"]);
    for checkout in [&root, &tree] {
        // A branch that is packed, then one with a file, then none.
        for before in [&[][..], &[], &["checkout", "--quiet", "--detach"]] {
            if !before.is_empty() {
                git(checkout, before);
            }
            let old = Commit::of(checkout);
            // The files, and the names in the folders.
            let state = || -> Vec<(PathBuf, Vec<u8>)> {
                let content = |path: &PathBuf| match fs::read_dir(path) {
                    Ok(entries) => {
                        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
                        names.sort();
                        format!("{names:?}").into_bytes()
                    }
                    Err(_) => fs::read(path).unwrap(),
                };
                old.watched.iter().map(|path| (path.clone(), content(path))).collect()
            };
            let watched = state();
            git(checkout, &["commit", "--quiet", "--allow-empty", "-m", "next"]);
            assert_ne!(Commit::of(checkout).name, old.name);
            assert_ne!(state(), watched, "{}", checkout.display());
        }
        let sources = Commit::of(checkout).watched;
        for file in ["src/core", "src/torch", "Cargo.toml", "Cargo.lock", ".cargo"] {
            assert!(sources.contains(&checkout.join(file)), "{file}");
        }
    }
}

#[test]
fn outside_of_a_checkout_the_commit_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Commit::of(folder.path()), Commit { name: "unknown".to_owned(), watched: vec![] });
}
