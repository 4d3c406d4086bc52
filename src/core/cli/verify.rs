//! The command line of `wninit verify`, which `wninit-torch` carries out.

use std::path::PathBuf;

use crate::execution::{DeviceChoice, WORKERS};
use crate::job::JobId;

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Each job is trained alone, from its beginning; nothing is written. Its row and its curve are then
equal     to the last digit. On the CPU, with the same libtorch and on the same machine, anything
          else is `different`.
close     if the row was made on a GPU, on another machine, with another instruction set or by
          another libtorch: the same outcome, accuracies within 0.02, losses within 0.02 or 5 %, a
          divergence within one epoch.
different otherwise; the columns that differ are listed, with both values. A deep network that
          trains badly can amplify rounding without limit, so for rows from another machine
          `different` proves nothing.
The exit code is 0 if every job is equal or close, 1 if one is different, 3 if one could not be checked.")]
pub struct Args {
    /// The sweep's folder, such as results/depth
    pub dir: PathBuf,
    /// Number of finished jobs to choose at random
    #[arg(long, value_name = "N", default_value_t = 3, conflicts_with = "job")]
    pub sample: usize,
    /// Seed of the random sample
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub seed: u64,
    /// A finished job to check (repeatable) [default: a random sample]
    #[arg(long, value_name = "ID")]
    pub job: Vec<JobId>,
    /// Where to train: auto, cpu, cuda (every GPU) or cuda:0,1
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// Jobs trained at a time [default: one per core or GPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(WORKERS))]
    pub workers: Option<u16>,
    /// The data folder [default: WNINIT_DATA, else ./data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}
