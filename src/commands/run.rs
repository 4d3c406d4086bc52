//! `wninit run`: the summary after `wninit-torch` has trained.

use wninit_core::cli::{Written, fail};

use super::summary;

/// Prints the requested summary.
pub(super) fn show(written: &Written) -> u8 {
    let summary = summary::run(&summary::Args::of(&written.dir));
    let summarised = summary.unwrap_or_else(|error| fail(&error));
    if written.code == 0 { summarised } else { written.code }
}
