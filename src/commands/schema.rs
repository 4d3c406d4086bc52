//! `wninit schema`: the grid format, and what `--json` prints, as JSON schemas.

use clap::ValueEnum;
use serde_json::Value;

use super::{plan, status, summary};
use wninit_core::cli::{doctor, json, verify};
use wninit_core::console::print_raw;
use wninit_core::grid::json_schema;

/// Print the grid format as a JSON schema, for editors and other programs; or what a command prints
/// with --json
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  wninit schema
  wninit schema status")]
pub struct Args {
    /// The grid format, or the command whose output to describe
    #[arg(value_enum, default_value_t = Of::Grid)]
    pub of: Of,
}

/// What has a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Of {
    Grid,
    Plan,
    Status,
    Summary,
    Verify,
    Doctor,
}

/// Prints a schema.
///
/// # Errors
/// If the output cannot be written.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    print_raw(format!("{:#}\n", schema(args.of)?).as_bytes())?;
    Ok(0)
}

fn schema(of: Of) -> anyhow::Result<Value> {
    Ok(match of {
        Of::Grid => json_schema(),
        Of::Plan => json::schema::<plan::Plans>(),
        Of::Status => json::schema::<status::Status>(),
        Of::Summary => summary::schema()?,
        Of::Verify => json::schema::<verify::Verified>(),
        Of::Doctor => json::schema::<doctor::Checkup>(),
    })
}
