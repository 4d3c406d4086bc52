//! The commit from which the program is built.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The sources of the program that trains, relative to the repository's root.
const SOURCES: [&str; 5] = ["src/core", "src/torch", "Cargo.toml", "Cargo.lock", ".cargo"];

/// A commit as named in results.
#[derive(Debug, PartialEq)]
pub struct Commit {
    /// Its short hash, with `-dirty` if the sources differ from it; `unknown` outside of a checkout.
    pub name: String,
    /// Files and folders: one of them changes whenever the name does.
    pub watched: Vec<PathBuf>,
}

impl Commit {
    /// The commit that is checked out in a folder.
    pub fn of(root: &Path) -> Commit {
        let git = |args: &[&str]| {
            let output = Command::new("git").current_dir(root).args(args).output().ok()?;
            let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
            output.status.success().then_some(text)
        };
        // A worktree has its own HEAD and shares the branches.
        let path = |name: &str| Some(root.join(git(&["rev-parse", "--git-path", name])?));
        let branch = git(&["symbolic-ref", "--quiet", "HEAD"]).and_then(|branch| {
            // A packed branch has no file; then its folder is watched.
            let file = path(&branch)?;
            file.ancestors().find(|path| path.exists()).map(Path::to_owned)
        });
        let sources = SOURCES.iter().map(|name| root.join(name));
        let watched = sources.chain(path("HEAD")).chain(branch).filter(|path| path.exists());

        let status =
            ["--no-optional-locks", "status", "--porcelain", "--untracked-files=all", "--"];
        let changes = git(&[&status[..], &SOURCES].concat()).unwrap_or_default();
        let mut name =
            git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
        if !changes.is_empty() {
            name += "-dirty";
        }
        Commit { name, watched: watched.collect() }
    }
}
