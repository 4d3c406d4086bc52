//! `wninit init`: a grid to start from.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::builder::PossibleValuesParser;

use wninit_core::console::{self, say};
use wninit_core::grid::{Grid, Overrides, template};
use wninit_core::usage::usage;

macro_rules! shipped {
    ($($name:literal)+) => {
        &[$(($name, include_str!(concat!("../../sweeps/", $name, ".toml"))),)+]
    };
}

/// The sweeps of the repository, by their path in `sweeps/`.
const SHIPPED: &[(&str, &str)] = shipped! {
    "quick" "depth" "depth-lr" "initializers" "precision" "reference" "resnet" "trainability"
    "paper/cnn-depth" "paper/curvature" "paper/mlp-depth" "paper/mlp-hyperparameters" "paper/seeds"
    "paper/test-error" "paper/wrn-depth"
};

/// Write a grid to start from
///
/// It plans as it is; its comments say what each field means, and its default.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  wninit init
  wninit init activations
  wninit init grids/deep.toml --from depth")]
pub struct Args {
    /// Name of the sweep, or path of the grid, FILE.toml
    #[arg(value_name = "NAME|PATH", default_value = "sweep")]
    pub name: PathBuf,
    /// Copy a shipped sweep instead
    #[arg(long, value_name = "SWEEP", value_parser = PossibleValuesParser::new(SHIPPED.iter().map(|(name, _)| *name)))]
    pub from: Option<String>,
}

/// Writes the grid, and prints its path.
///
/// # Errors
/// The name is invalid, the file is there already, or it cannot be written.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let mut path = args.name.clone();
    if path.extension().is_none_or(|extension| extension != "toml") {
        path.as_mut_os_string().push(".toml");
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let text = match &args.from {
        Some(from) => copy(from, &name),
        None => template(&name),
    };
    Grid::parse(&text, &path, &Overrides::default())?;
    write(&path, &text)?;
    console::print(&format!("{}\n", path.display()))?;
    let path = crate::slurm::quote(&path.to_string_lossy());
    say(&format!("edit it, then:\n  wninit plan {path}\n  wninit run {path} --summary"));
    Ok(0)
}

/// A shipped sweep under another name; the first name is the sweep's.
fn copy(from: &str, name: &str) -> String {
    let text = SHIPPED.iter().find(|(shipped, _)| *shipped == from).map_or("", |(_, text)| text);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if let Some(line) = lines.iter_mut().find(|line| line.starts_with("name = ")) {
        *line = format!("name = {}", toml_string(name));
    }
    lines.join("\n") + "\n"
}

/// A TOML string.
fn toml_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Writes a new file, never over another one.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot make the folder {}", parent.display()))?;
    }
    let mut file = match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(usage(format!(
                "{} is there already, and nothing was written; give another name",
                path.display()
            )));
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot write {}", path.display()));
        }
    };
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}
