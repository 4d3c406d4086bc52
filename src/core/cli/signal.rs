//! The command line of `wninit signals`, which `wninit-torch` carries out.

use std::num::NonZeroU32;
use std::path::PathBuf;

use crate::execution::{DeviceChoice, WORKERS};
use crate::grid::Overrides;
use crate::job::JobId;

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Without a grid: the synthetic networks of the paper's Fig. 1. 1,000 Gaussian samples of 500 numbers
go through an MLP of 20 layers (widths drawn from m-50 to m+50) and a residual network of 40 blocks
(m units inside), m = 200 and 1000, with he and all gains 1, he_proposed and orthogonal_proposed;
a Gaussian gradient is propagated back from the last layer.
With a grid: the initial networks of its jobs, on the first mini-batch of each job's first epoch,
with the gradient of the cross-entropy. Jobs that differ only in how they are trained count once;
there is no augmentation, and the precision is fp32.

forward   mean over samples of |h_l| / |x|, with h_l the output of layer l and x the input
backward  mean over samples of |dL/dh_l| / |dL/dh_L|, with h_L the last hidden layer
The theory holds for wide networks: for the proposed gain both stay near 1 in an MLP, and between
sqrt(2) and sqrt(e) at the far end of the synthetic residual networks.

Examples:
  wninit signals
  wninit signals sweeps/quick.toml --only init=he_datadep --out signals")]
pub struct Args {
    /// Grid file (TOML) or sweep's folder [default: the synthetic networks of the paper's Fig. 1]
    #[arg(value_name = "GRID|DIR")]
    pub grid: Option<PathBuf>,
    #[command(flatten)]
    pub overrides: Overrides,
    /// A job of the grid (repeatable) [default: all]
    #[arg(long, value_name = "ID", requires = "grid")]
    pub job: Vec<JobId>,
    /// Seeds of the synthetic networks: 0, 1, … [default: 10]
    #[arg(long, value_name = "N", conflicts_with = "grid")]
    pub seeds: Option<NonZeroU32>,
    /// Where to put signal.csv and signal.html [default: results/signal, or results/NAME of a grid]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Where to compute, with a grid: auto, cpu, cuda (every GPU) or cuda:0,1
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// Networks at a time [default: one per core or GPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(WORKERS))]
    pub workers: Option<u16>,
    /// The data folder [default: WNINIT_DATA, else ./data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}
