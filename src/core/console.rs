//! Standard output and standard error: the only place that writes to them.
//!
//! Results go to standard output. A closed pipe (`| head`) is no error: the rest is dropped, and
//! the command continues to its own exit code. Any other failure, such as a full disk, is a
//! [`PrintError`]. Messages go to standard error, and one that cannot be written is dropped: a
//! sweep must not abort because stderr is unwritable.
//!
//! Control characters are escaped, since names and messages come from files.

use std::io::{self, IsTerminal, Write};

use crate::text;

/// Standard output cannot be written to.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
pub struct PrintError(#[source] io::Error);

/// Prints text on standard output.
///
/// # Errors
/// Standard output cannot be written to.
pub fn print(text: &str) -> Result<(), PrintError> {
    print_raw(text::visible(text).as_bytes())
}

/// Prints bytes unchanged: a file for another program, or text with our own colours.
///
/// # Errors
/// Standard output cannot be written to.
pub fn print_raw(bytes: &[u8]) -> Result<(), PrintError> {
    reported(stdout().write_all(bytes).and_then(|()| stdout().flush()))
}

/// The result of printing, with a closed pipe as success.
///
/// # Errors
/// Any other failure.
pub(crate) fn reported(result: io::Result<()>) -> Result<(), PrintError> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(PrintError(error)),
        _ => Ok(()),
    }
}

/// Prints a line on standard error, if that can be written to.
pub fn say(message: &str) {
    // In one piece, so that the lines of several processes do not mix.
    let _ = stderr().write_all(format!("{}\n", text::visible(message)).as_bytes());
}

/// Prints each warning as a line, as [`say`], with `warning: ` in front.
pub fn warn(warnings: impl IntoIterator<Item = impl std::fmt::Display>) {
    warnings.into_iter().for_each(|warning| say(&format!("warning: {warning}")));
}

/// Whether standard output is a terminal.
pub fn stdout_is_terminal() -> bool {
    stdout().is_terminal()
}

/// Whether standard error is a terminal.
pub(crate) fn stderr_is_terminal() -> bool {
    stderr().is_terminal()
}

#[allow(clippy::disallowed_methods)] // clippy.toml keeps them for this module
fn stdout() -> io::Stdout {
    io::stdout()
}

#[allow(clippy::disallowed_methods)]
fn stderr() -> io::Stderr {
    io::stderr()
}
