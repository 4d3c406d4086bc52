//! The command line of `wninit doctor`, which `wninit-torch` carries out.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::Root;
use crate::cli::json::JsonArgs;

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  wninit doctor
  wninit doctor --json")]
pub struct Args {
    #[command(flatten)]
    pub results: Root,
    #[command(flatten)]
    pub json: JsonArgs,
    /// The data folder [default: WNINIT_DATA, else ./data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Only compare products and convolutions with float64
    #[arg(long, hide = true)]
    pub numbers: bool,
}

/// What `wninit doctor --json` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Checkup {
    /// the program's version
    pub version: String,
    /// the commit from which it was built, with `-dirty` if the sources differed from it
    pub commit: String,
    /// libtorch's version
    pub libtorch: String,
    /// the GPUs that libtorch can use
    pub gpus: Vec<String>,
    /// CPU cores that this process may use
    pub cores: usize,
    /// whether training can work here
    pub ready: bool,
    /// each check
    pub checks: Vec<Check>,
}

/// A check of this machine.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Check {
    /// what was checked
    pub what: String,
    /// whether it is as it should be; training may work all the same
    pub ok: bool,
    /// what was found, with a remedy
    pub found: String,
}
