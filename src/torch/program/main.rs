//! `wninit-torch`: carries out the commands that need tensors, for `wninit`.

use std::process::ExitCode;

use clap::Parser;
use wninit_core::cli::{Ended, become_wninit, fail};
use wninit_torch::commands::{self, Command};

#[derive(Parser)]
#[command(name = "wninit", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let result = match commands::run(&Cli::parse().command, env!("WNINIT_COMMIT")) {
        Ok(Ended::Exit(code)) => Ok(code),
        Ok(Ended::Written(written)) => Err(become_wninit(&written)),
        Err(error) => Err(error),
    };
    ExitCode::from(result.unwrap_or_else(|error| fail(&error)))
}
