//! The command line of `wninit curvature`, which `wninit-torch` carries out.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use crate::cli::{GridArgs, Root};
use crate::execution::{DeviceChoice, WORKERS};
use crate::results::CurvatureMethod;

#[derive(clap::Args, Debug)]
#[command(after_help = "\
The loss is the mean cross-entropy over the first mini-batches of each job's first epoch, without
augmentation and in fp32; the parameters are all trainable ones. log is the natural
logarithm. Jobs that differ only in how they are trained have the same initial network: it is measured
once, and each of them gets a row of ROOT/NAME/curvature.csv. Existing rows (same method, share and
tolerance) are not measured again; Ctrl-C stops after the current networks.
The exit code is 0 if every job has its row, 3 if some failed, 130 after an interrupt.

Examples:
  wninit curvature sweeps/paper/curvature.toml --profile small")]
pub struct Args {
    #[command(flatten)]
    pub grid: GridArgs,
    #[command(flatten)]
    pub results: Root,
    /// Method for the eigenvalue of largest absolute value
    #[arg(long, value_enum, default_value_t = CurvatureMethod::Lanczos)]
    pub method: CurvatureMethod,
    /// Share of the first epoch's mini-batches over which to average the loss, rounded up
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, value_parser = share)]
    pub share: f64,
    /// Stop when residual/eigenvalue is at most X
    #[arg(long, value_name = "X", default_value_t = 1e-3, value_parser = tolerance)]
    pub tolerance: f64,
    /// Give up after N Hessian-vector products
    #[arg(long, value_name = "N", default_value = "200")]
    pub max_iterations: NonZeroU32,
    /// Where to compute: auto, cpu, cuda (every GPU) or cuda:0,1
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// Cohorts at a time [default: one per core or GPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(WORKERS))]
    pub workers: Option<u16>,
    /// Measure at most N networks of a shape together [default: the fastest number]
    #[arg(long, value_name = "N")]
    pub cohort_width: Option<NonZeroUsize>,
    /// The data folder [default: WNINIT_DATA, else ./data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x > 0.0 && x <= 1.0 => Ok(x),
        _ => Err("expected a number above 0 and up to 1, such as 0.1".to_owned()),
    }
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if (1e-6..1.0).contains(&x) => Ok(x),
        _ => {
            Err("expected a number from 1e-6 (the limit of single precision) to below 1".to_owned())
        }
    }
}
