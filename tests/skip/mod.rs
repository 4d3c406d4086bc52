//! What a test needs and not every machine has: Slurm, a browser, a GPU.
#![allow(missing_docs)]

use std::fs::OpenOptions;
use std::io::Write;

/// A file to which every skip is appended, a line each; `make test` prints it at the end. Without
/// it, a skip is printed at once.
pub const LIST: &str = "WNINIT_SKIPS";

/// What may be missing, separated by commas; anything may where this is not set.
pub const ALLOWED: &str = "WNINIT_ALLOW_SKIPS";

/// Puts on record that the running test does not test what it should, because `what` is missing.
/// `why` says what to do about it.
///
/// # Panics
/// If `ALLOWED` is set and does not name it.
pub fn skip(what: &str, why: &str) {
    if let Ok(allowed) = std::env::var(ALLOWED) {
        let named = allowed.split(',').any(|name| name.trim() == what);
        assert!(named, "{what} is missing, and {ALLOWED}={allowed} does not allow that: {why}");
    }
    let thread = std::thread::current();
    let line = format!("{}: {what} is missing: {why}\n", thread.name().unwrap_or("a test"));
    // One write each, so that the lines of tests that run side by side stay whole. Not eprintln!,
    // which a test that passes keeps to itself.
    let written = match std::env::var_os(LIST) {
        Some(list) => OpenOptions::new().create(true).append(true).open(list),
        None => OpenOptions::new().append(true).open("/dev/stderr"),
    };
    written
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .expect("the skip is put on record");
}
