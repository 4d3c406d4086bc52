//! The commit that the program is built from.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What decides what the program that trains does, under the repository's root.
const SOURCES: [&str; 5] = ["src/core", "src/torch", "Cargo.toml", "Cargo.lock", ".cargo"];

/// A commit as it stands in results.
#[derive(Debug, PartialEq)]
pub struct Commit {
    /// Its short hash, with `-dirty` if the sources differ from it; `unknown` outside of a checkout.
    pub name: String,
    /// The files and folders of which one changes when the name does.
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
        // A worktree has its own HEAD, and shares the branches with the others.
        let path = |name: &str| Some(root.join(git(&["rev-parse", "--git-path", name])?));
        let branch = git(&["symbolic-ref", "--quiet", "HEAD"]).and_then(|branch| {
            // The branch has no file of its own while it is packed with others.
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
