//! The command line of `wninit export`, which `wninit-torch` carries out.

use std::path::PathBuf;

use crate::cli::Root;
use crate::execution::DeviceChoice;
use crate::job::JobId;

/// The moment of a training run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum At {
    /// Initialised, before the first step
    Start,
    /// After the epoch with the best validation accuracy, at which the job is tested
    Best,
}

#[derive(clap::Args, Debug)]
#[command(after_help = "\
The file has a tensor for each parameter and each running statistic, in float32, named as in
PyTorch: hidden.0.weight_v, hidden.0.weight_g, hidden.0.bias, stages.1.0.conv2.weight, head.weight.
Its metadata has the job's fields. A trained network is not kept after a run, so `--at best` trains
the job again. analysis/torch_nets.py loads the file into a PyTorch module:

  net = torch_nets.load(\"results/quick/export/0123456789ab-start.safetensors\")

Examples:
  wninit export results/quick --job 0123456789ab
  wninit export results/quick --job 0123456789ab --at best --out networks")]
pub struct Args {
    /// The sweep's folder, such as results/depth, or its grid
    #[arg(value_name = "DIR|GRID")]
    pub dir: PathBuf,
    #[command(flatten)]
    pub results: Root,
    /// The job (repeatable)
    #[arg(long, value_name = "ID", required = true)]
    pub job: Vec<JobId>,
    /// The moment
    #[arg(long, value_enum, default_value_t = At::Start)]
    pub at: At,
    /// The folder for the files [default: DIR/export]
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Where to train: auto, cpu, cuda (the first GPU) or cuda:1
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// The data folder [default: WNINIT_DATA, else ./data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}
