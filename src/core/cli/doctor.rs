//! The command line of `wninit doctor`, which `wninit-torch` carries out.

use std::path::PathBuf;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where results are kept
    #[arg(long, value_name = "ROOT", default_value = "results")]
    pub results: PathBuf,
    /// The data folder [default: WNINIT_DATA, else ./data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Only compare products and convolutions with float64
    #[arg(long, hide = true)]
    pub numbers: bool,
}
