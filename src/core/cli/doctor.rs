//! The command line of `wninit doctor`; the work is done by the program `wninit-torch`.

use std::path::PathBuf;

/// The command line of `wninit doctor`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where results are kept
    #[arg(long, value_name = "ROOT", default_value = "results")]
    pub results: PathBuf,
    /// The data folder [default: WNINIT_DATA, else ./data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Compare products and convolutions with float64, and do nothing else
    #[arg(long, hide = true)]
    pub numbers: bool,
}
