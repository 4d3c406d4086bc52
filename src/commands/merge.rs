//! `wninit merge DIR`: merges the shards of a sweep.

use std::path::PathBuf;

use anyhow::{Result, bail};

use wninit_core::cli::Root;
use wninit_core::console::{self, say, warn};
use wninit_core::results::{is_mergeable, merge};

/// Copy the results of a sweep's shards into its own runs.csv, epochs.csv and failures.csv.
///
/// It also copies results that a run could not write, because another program had changed a file,
/// and set aside in files such as runs.unwritten-4711.csv. The shards and these files stay
/// unchanged. A merge can be repeated, even while shards are running. A job with different results
/// in two places is reported, and nothing is overwritten.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  wninit merge results/depth")]
pub struct Args {
    /// The sweep's folder, such as results/depth, or its grid
    #[arg(value_name = "DIR|GRID")]
    pub dir: PathBuf,
    #[command(flatten)]
    pub results: Root,
}

/// Merges. Returns exit code 1 if there are conflicts.
///
/// # Errors
/// There is nothing to merge, another process writes to it, or a file cannot be read or written.
pub fn run(args: &Args) -> Result<u8> {
    let dir = &args.results.folder(&args.dir)?;
    if !is_mergeable(dir)? {
        bail!(
            "{} has no shards: there is no folder {}/<i>-of-<n>, and no file runs.unwritten-….csv either",
            dir.display(),
            dir.join("shards").display()
        );
    }
    let merged = merge(dir)?;
    warn(&merged.warnings);
    for conflict in &merged.conflicts {
        say(&conflict.to_string());
    }
    let unwritten = match merged.unwritten {
        0 => String::new(),
        n => format!(" and from what {n} runs could not write"),
    };
    console::print(&format!(
        "{}: {} finished jobs and {} failed attempts from {} shards{unwritten}\n",
        dir.display(),
        merged.jobs,
        merged.failures,
        merged.shards
    ))?;
    Ok(u8::from(!merged.conflicts.is_empty()))
}
