//! `wninit completions` and `wninit man`: what a shell and `man` know of the command line.

use std::path::PathBuf;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use wninit_core::console;

/// Print a shell's completion script
#[derive(clap::Args, Debug)]
#[command(after_help = "\
For bash, add this line to ~/.bashrc: source <(wninit completions bash)

Examples:
  wninit completions bash
  wninit completions zsh")]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Write the man pages, one for each command
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  wninit man ~/.local/share/man/man1")]
pub struct ManArgs {
    /// The folder for the pages
    #[arg(value_name = "FOLDER")]
    pub out: PathBuf,
}

/// Prints the script.
///
/// # Errors
/// Standard output cannot be written to.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "wninit", &mut script);
    console::print_raw(&script)?;
    Ok(0)
}

/// Writes the pages, and prints the folder.
///
/// # Errors
/// The folder cannot be written to.
pub fn man(args: &ManArgs) -> anyhow::Result<u8> {
    let out = args.out.display();
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make the folder {out}"))?;
    clap_mangen::generate_to(Cli::command(), &args.out)
        .with_context(|| format!("cannot write the pages into {out}"))?;
    console::print(&format!("{out}\n"))?;
    Ok(0)
}
