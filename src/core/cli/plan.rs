//! The command line of `wninit plan`; with `--measure` the program `wninit-torch` does a part of it.

use std::path::PathBuf;

use crate::cli::OverrideArgs;
use crate::cli::until_decided::UntilDecidedArgs;
use crate::plan::shard::Shard;

/// The command line of `wninit plan`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The grid, a TOML file; of several, a line each and the sum
    #[arg(required = true, value_name = "GRID")]
    pub grids: Vec<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)] // it would become the help text
    pub overrides: OverrideArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub until_decided: UntilDecidedArgs,
    /// Time a few steps of each network that was not timed on this machine before
    #[arg(long)]
    pub measure: bool,
    /// Print each job: its id and the fields in which jobs differ
    #[arg(long, conflicts_with = "csv")]
    pub list: bool,
    /// Print each job with every field, as CSV
    #[arg(long)]
    pub csv: bool,
    /// Print the sweep's folder and nothing else, for scripts
    #[arg(long, conflicts_with_all = ["list", "csv"])]
    pub folder: bool,
    /// Print what each of N shards would have to do, as in `wninit run --shard I/N`
    #[arg(long, value_name = "N", conflicts_with_all = ["list", "csv", "folder"],
          value_parser = clap::value_parser!(u32).range(1..=i64::from(Shard::MOST)))]
    pub shards: Option<u32>,
    /// Where results are kept; a sweep has the folder ROOT/NAME
    #[arg(long, value_name = "ROOT", default_value = "results")]
    pub results: PathBuf,
}
