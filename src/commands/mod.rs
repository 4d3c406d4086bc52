//! The program's commands, one per file. Each has its `Args` and a `run` that returns the exit
//! code: 0 done, 2 an invalid grid or command line, 3 some jobs are left, 130 interrupted, 1 any
//! other failure, such as output that cannot be written.

mod completions;
mod confirm;
mod curvature;
mod fetch;
mod figures;
mod init;
mod merge;
mod plan;
mod report;
mod schema;
mod signal;
mod slurm;
mod status;
mod summary;

use anyhow::bail;
use clap::{Parser, Subcommand};
use wninit_core::cli::{
    self, Globals, Program, Written, become_wninit_torch, become_wninit_torch_with,
};
use wninit_core::run::pool::EXIT_UNFINISHED;

/// Which initialization survives depth, learning rate and seed?
///
/// A grid (a TOML file) lists the networks to train; `run` trains them and writes a CSV file that
/// survives being killed at any moment.
#[derive(Parser)]
#[command(name = "wninit", version, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    pub written: Option<Written>,
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    Init(init::Args),
    /// Show a grid's jobs, which of them are finished, and the cost of the rest
    Plan(cli::plan::Args),
    /// Train the unfinished jobs of a grid
    Run(cli::run::Args),
    Confirm(confirm::Args),
    /// Show the progress of a sweep
    Status(status::Args),
    /// Summarise the results of a sweep
    Summary(summary::Args),
    /// Make an HTML page about a sweep, with figures
    Report(report::Args),
    Figures(figures::Args),
    /// Measure signal propagation at initialization, layer by layer
    #[command(alias = "signal")]
    Signals(cli::signal::Args),
    /// Measure the curvature of the loss at initialization
    Curvature(cli::curvature::Args),
    /// Train finished jobs again and compare the results with their rows
    Verify(cli::verify::Args),
    /// Write a job's network as a safetensors file, for PyTorch
    Export(cli::export::Args),
    /// Merge the results of a sweep's shards
    Merge(merge::Args),
    /// Get a data set
    Fetch(fetch::Args),
    /// Train a sweep on a Slurm cluster, as a job array
    Slurm(slurm::Args),
    Schema(schema::Args),
    /// Check this machine's devices, libraries and data
    Doctor(cli::doctor::Args),
    Completions(completions::Args),
    Man(completions::ManArgs),
}

impl Program for Cli {
    fn globals(&self) -> Globals {
        self.globals
    }

    /// 3 for commands that train, because jobs are left.
    fn without_threads(&self) -> u8 {
        if matches!(self.command, Command::Run(_) | Command::Confirm(_)) {
            EXIT_UNFINISHED
        } else {
            1
        }
    }

    fn run(self) -> anyhow::Result<u8> {
        run(&self)
    }

    /// `wninit-torch` knows libtorch, CUDA and the commit.
    fn long_version() -> Option<anyhow::Error> {
        Some(become_wninit_torch_with(["--version".into()]))
    }
}

/// Runs a command and returns the exit code. For a command that needs tensors the process replaces
/// itself with `wninit-torch`, which may return here to display its data ([`Written`]).
///
/// # Errors
/// The command failed; [`wninit_core::cli::fail`] prints the error.
fn run(cli: &Cli) -> anyhow::Result<u8> {
    use Command::*;
    let Some(written) = &cli.written else {
        return match &cli.command {
            Plan(args) if !args.measure => plan::run(args),
            Confirm(args) => confirm::run(args, &cli.globals),
            Status(args) => status::run(args),
            Summary(args) => summary::run(args),
            Report(args) => report::run(args),
            Figures(args) => figures::run(args),
            Merge(args) => merge::run(args),
            Fetch(args) => fetch::run(args),
            Slurm(args) => slurm::run(args),
            Schema(args) => schema::run(args),
            Init(args) => init::run(args),
            Completions(args) => completions::run(args),
            Man(args) => completions::man(args),
            Plan(_) | Run(_) | Signals(_) | Curvature(_) | Verify(_) | Export(_) | Doctor(_) => {
                Err(become_wninit_torch())
            }
        };
    };
    match &cli.command {
        Run(_) => Ok(summary::show(written)),
        Signals(args) => signal::show(args, written),
        Curvature(args) => curvature::show(args, written),
        Plan(args) => plan::show(args, written),
        _ => bail!("--written {}: `wninit-torch` writes nothing here", written.dir.display()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// The words that a shell makes of a line.
    fn words(line: &str) -> Vec<String> {
        let script = format!("printf '%s\\n' {line}");
        let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn every_command_has_examples_and_the_program_accepts_each() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = help.split_once("Examples:\n").map(|(_, rest)| rest.to_owned());
            let examples = examples.unwrap_or_else(|| panic!("`wninit {name}` has no examples"));
            for line in examples.lines() {
                assert!(line.starts_with(&format!("  wninit {name}")), "{name}: {line:?}");
                if let Err(error) = Cli::try_parse_from(words(line)) {
                    panic!("{line}: {error}");
                }
            }
        }
    }

    #[test]
    fn old_names_are_accepted_and_not_shown() {
        for line in ["wninit signal", "wninit report results/a --output b.html"] {
            assert!(Cli::try_parse_from(words(line)).is_ok(), "{line}");
        }
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("  signals ") && !help.contains("  signal "), "{help}");
    }

    #[test]
    fn the_options_of_every_command_stand_anywhere() {
        for line in
            ["wninit -q status a", "wninit status a --quiet", "wninit --color never plan a -v"]
        {
            assert!(Cli::try_parse_from(words(line)).is_ok(), "{line}");
        }
        assert!(Cli::try_parse_from(words("wninit status a -q -v")).is_err());
    }

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }
}
