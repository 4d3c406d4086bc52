//! `wninit merge DIR`: the shards of a sweep as one.

use std::path::PathBuf;

use anyhow::{Result, bail};

use wninit_core::console::{self, say};
use wninit_core::results::{folders, merge};

/// Copy what the shards of a sweep finished into the sweep's own runs.csv, epochs.csv and
/// failures.csv.
///
/// The shards stay as they are; a merge can be repeated, also while shards are still running. A job
/// that has different results in two places is reported, and nothing is overwritten.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The sweep's folder, such as results/depth
    pub dir: PathBuf,
}

/// Merges; the exit code is 1 if there are conflicts.
///
/// # Errors
/// The folder has no shards, another process writes to it, or a file cannot be read or written.
pub fn run(args: &Args) -> Result<u8> {
    let dir = &args.dir;
    if folders(dir)?.len() == 1 {
        bail!(
            "{} has no shards: there is no folder {}/<i>-of-<n>",
            dir.display(),
            dir.join("shards").display()
        );
    }
    let merged = merge(dir)?;
    for warning in &merged.warnings {
        say(&format!("warning: {warning}"));
    }
    for conflict in &merged.conflicts {
        say(&conflict.to_string());
    }
    console::print(&format!(
        "{}: {} finished jobs and {} failed attempts from {} shards\n",
        dir.display(),
        merged.jobs,
        merged.failures,
        merged.shards
    ))?;
    Ok(u8::from(!merged.conflicts.is_empty()))
}
