//! `wninit run`: what follows the training that `wninit-torch` does.

use wninit_core::cli::run::Args;
use wninit_core::cli::{Written, fail};
use wninit_core::console::say;

use super::summary;
use crate::tensorboard;

/// Writes event files and prints the summary, as far as the command line asks for them.
pub(super) fn show(args: &Args, written: &Written) -> u8 {
    if args.tensorboard {
        // The results are on disk; what fails from here on costs a picture at most.
        if let Err(error) = tensorboard::write_missing(&written.dir) {
            say(&format!("warning: TensorBoard will not show every finished job: {error}"));
        }
    }
    let mut summarised = 0;
    if args.summary {
        let summary = summary::run(&summary::Args::of(&written.dir));
        summarised = summary.unwrap_or_else(|error| fail(&error));
    }
    if written.code == 0 { summarised } else { written.code }
}
