//! The command line of `wninit plan`; `wninit-torch` does the measuring of `--measure`.

use std::path::PathBuf;

use crate::cli::Root;
use crate::cli::json::JsonArgs;
use crate::cli::until_decided::UntilDecidedArgs;
use crate::grid::Overrides;
use crate::plan::shard::Shard;

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  wninit plan sweeps/quick.toml
  wninit plan sweeps/depth.toml --set epochs=3 --only depth=50 --measure
  wninit plan sweeps/depth.toml sweeps/resnet.toml --json")]
pub struct Args {
    /// Grid file (TOML) or sweep's folder; with several, one line each and a total
    #[arg(required = true, value_name = "GRID|DIR")]
    pub grids: Vec<PathBuf>,
    #[command(flatten)]
    pub overrides: Overrides,
    #[command(flatten)]
    pub until_decided: UntilDecidedArgs,
    /// Time a few steps of each network not yet timed on this machine
    #[arg(long)]
    pub measure: bool,
    /// Print each job: its id and the fields that vary
    #[arg(long, conflicts_with_all = ["csv", "json"], help_heading = "Output")]
    pub list: bool,
    /// Print each job with every field, as CSV
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    pub csv: bool,
    /// Print only the sweep's folder, for scripts
    #[arg(long, conflicts_with_all = ["list", "csv", "json"], help_heading = "Output")]
    pub folder: bool,
    /// Print the work of each of N shards, as in `wninit run --shard I/N`
    #[arg(long, value_name = "N", conflicts_with_all = ["list", "csv", "folder", "json"],
          value_parser = clap::value_parser!(u32).range(1..=i64::from(Shard::MOST)), help_heading = "Output")]
    pub shards: Option<u32>,
    #[command(flatten)]
    pub results: Root,
    #[command(flatten)]
    pub json: JsonArgs,
}
