//! `wninit report DIR`: an HTML page about a sweep.

use std::path::PathBuf;

use anyhow::Context;

use super::summary::Folder;
use crate::report::{ReportInput, page};
use wninit_core::atomic::write_atomically;
use wninit_core::cli::Root;
use wninit_core::console;
use wninit_core::results::read_epochs;

/// Make an HTML page about a sweep: its results in figures.
///
/// The page is one HTML file that needs no network. It shows which initializer to use at which
/// depth, with the uncertainty, and what was not measured. The sweep may still be running.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  wninit report results/depth
  wninit report sweeps/depth.toml --out depth.html")]
pub struct Args {
    /// The sweep's folder, such as results/depth, or its grid
    #[arg(value_name = "DIR|GRID")]
    pub dir: PathBuf,
    #[command(flatten)]
    pub results: Root,
    /// Where to write it [default: DIR/report.html]
    #[arg(long, short, alias = "output", value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The initializer that the others are compared with [default: the default gain, else datadep]
    #[arg(long, value_name = "INIT")]
    pub baseline: Option<String>,
}

/// Writes the report and prints its path.
///
/// # Errors
/// The folder is not a sweep's, one of its files cannot be read, or the report cannot be written.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let dir = args.results.folder(&args.dir)?;
    let folder = Folder::read(&dir)?;
    let summary = folder.summary(args.baseline.as_deref())?;
    let curves = read_epochs(&dir)?;
    let html = page(&ReportInput {
        name: &folder.name,
        about: folder.about.as_deref(),
        summary: &summary,
        curves: &curves,
        records: &folder.records,
        explored: folder.grid.as_ref().and_then(|grid| grid.explored.as_ref()),
    });
    let path = args.out.clone().unwrap_or_else(|| dir.join("report.html"));
    write_atomically(&path, html.as_bytes())
        .with_context(|| format!("the report could not be written to {}", path.display()))?;
    console::print(&format!("{}\n", path.display()))?;
    Ok(0)
}
