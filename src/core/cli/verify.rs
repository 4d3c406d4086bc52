//! The command line of `wninit verify`, which `wninit-torch` carries out.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::Root;
use crate::cli::json::JsonArgs;
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
The exit code is 0 if every job is equal or close, 1 if one is different, 3 if one could not be checked.

Examples:
  wninit verify results/depth
  wninit verify results/depth --sample 20 --workers 2
  wninit verify sweeps/depth.toml --job 0123456789ab --json")]
pub struct Args {
    /// The sweep's folder, such as results/depth, or its grid
    #[arg(value_name = "DIR|GRID")]
    pub dir: PathBuf,
    #[command(flatten)]
    pub results: Root,
    #[command(flatten)]
    pub json: JsonArgs,
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

/// What `wninit verify --json` prints.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Verified {
    /// the sweep's folder
    pub folder: String,
    /// finished jobs of the sweep
    pub finished: usize,
    /// jobs to train again; more than the four numbers below add up to after an interrupt
    pub chosen: usize,
    /// jobs whose results are the same to the last digit
    pub equal: usize,
    /// jobs that differ as another machine explains
    pub close: usize,
    /// jobs that differ
    pub different: usize,
    /// jobs that could not be trained again
    pub not_checked: usize,
    /// each job, in the order in which they ended
    pub jobs: Vec<VerifiedJob>,
}

/// A job that was trained again.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct VerifiedJob {
    /// its id
    pub job_id: String,
    /// how the results compare
    pub outcome: Agreement,
    /// the cells that differ
    pub differences: Vec<Difference>,
    /// what a difference means, or why the job could not be trained
    pub note: Option<String>,
}

/// How the results of two trainings compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Agreement {
    Equal,
    Close,
    Different,
    NotChecked,
}

impl Agreement {
    pub fn words(self) -> &'static str {
        match self {
            Agreement::Equal => "equal",
            Agreement::Close => "close",
            Agreement::Different => "different",
            Agreement::NotChecked => "not checked",
        }
    }
}

/// A cell that differs.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Difference {
    /// the column, and the epoch in `epochs.csv`
    pub column: String,
    /// the cell of the row
    pub row: String,
    /// the cell of the job that was trained again
    pub again: String,
    /// whether another machine may explain it
    pub close: bool,
}
