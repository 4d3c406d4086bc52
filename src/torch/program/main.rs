//! `wninit-torch`: carries out the commands that need tensors, for `wninit`.

use std::process::ExitCode;

use clap::Parser;
use wninit_core::cli::{self, Ended, become_wninit};
use wninit_torch::commands::{self, Command};

#[derive(Parser)]
#[command(name = "wninit", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    cli::main(|Cli { command }| match commands::run(&command, env!("WNINIT_COMMIT"))? {
        Ended::Exit(code) => Ok(code),
        Ended::Written(written) => Err(become_wninit(&written)),
    })
}
