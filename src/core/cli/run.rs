//! The command line of `wninit run`, which `wninit-torch` carries out.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::until_decided::UntilDecidedArgs;
use crate::cli::{GridArgs, Root};
use crate::execution::{DeviceChoice, Recompute, WORKERS, parse_time};
use crate::plan::shard::Shard;

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  wninit run sweeps/quick.toml --summary
  wninit run sweeps/depth.toml --set epochs=3 --only init=he,orthogonal_proposed --workers 2
  wninit run results/depth --budget 2h")]
pub struct Args {
    #[command(flatten)]
    pub grid: GridArgs,
    #[command(flatten)]
    pub options: Options,
}

/// Options for training a grid, shared by `wninit run` and `wninit confirm`.
#[derive(clap::Args, Debug)]
pub struct Options {
    #[command(flatten)]
    pub until_decided: UntilDecidedArgs,
    #[command(flatten)]
    pub results: Root,
    /// Train only part I of N, the same on every machine, into ROOT/NAME/shards/I-of-N
    #[arg(long, value_name = "I/N", help_heading = "Results and data")]
    pub shard: Option<Shard>,
    /// Where to train: auto, cpu, cuda (every GPU) or cuda:0,1
    #[arg(
        long,
        value_name = "DEVICE",
        default_value = "auto",
        help_heading = "Devices and memory"
    )]
    pub device: DeviceChoice,
    /// Cohorts trained at a time [default: one per core or GPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(WORKERS), help_heading = "Devices and memory")]
    pub workers: Option<u16>,
    /// The data folder [default: WNINIT_DATA, else ./data]
    #[arg(long, value_name = "DIR", help_heading = "Results and data")]
    pub data: Option<PathBuf>,
    /// Start no further cohort after this time, such as 90s, 30m or 2h
    #[arg(long, value_name = "TIME", value_parser = parse_time, help_heading = "Time")]
    pub budget: Option<Duration>,
    /// Recompute activations in the backward pass: saves memory, costs time, changes no result
    #[arg(long, value_enum, default_value_t, help_heading = "Devices and memory")]
    pub recompute: Recompute,
    /// Train at most N jobs of a shape together [default: the fastest number]; changes no result
    #[arg(long, value_name = "N", help_heading = "Devices and memory")]
    pub cohort_width: Option<std::num::NonZeroUsize>,
    /// How often a cohort writes a checkpoint, such as 90s, 5m or 1h
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "5m", help_heading = "Time")]
    pub checkpoint_every: Duration,
    /// Print the summary at the end, even if the sweep was interrupted or has failures
    #[arg(long)]
    pub summary: bool,
}
