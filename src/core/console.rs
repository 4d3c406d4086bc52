//! Standard output and standard error: the only place that writes to them.
//!
//! Results go to standard output. A closed pipe (`| head`) is no error: the rest is dropped, and
//! the command continues to its own exit code. Any other failure, such as a full disk, is a
//! [`PrintError`]. Messages go to standard error, and one that cannot be written is dropped: a
//! sweep must not abort because stderr is unwritable. `--quiet` and `--verbose` decide which
//! messages there are, and `--color` whether results are coloured.
//!
//! Control characters are escaped, since names and messages come from files.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use clap::ColorChoice;

use crate::text;

/// Standard output cannot be written to.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
pub struct PrintError(#[source] io::Error);

/// How much is said on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Warnings and errors.
    Quiet,
    /// Progress and other messages as well.
    #[default]
    Normal,
    /// Details as well.
    Verbose,
}

static SETTINGS: OnceLock<(Level, ColorChoice)> = OnceLock::new();

/// Sets what is said and coloured, once; before that, and without it, the defaults apply.
pub fn configure(level: Level, colour: ColorChoice) {
    let _ = SETTINGS.set((level, colour));
}

fn settings() -> (Level, ColorChoice) {
    SETTINGS.get().copied().unwrap_or((Level::Normal, ColorChoice::Auto))
}

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

/// Prints one of several pieces of text, unchanged, as [`print_raw`]. Returns whether somebody may
/// still read the next one: the pipe is not closed.
///
/// # Errors
/// Standard output cannot be written to.
pub fn print_piece(text: &str) -> Result<bool, PrintError> {
    match stdout().write_all(text.as_bytes()).and_then(|()| stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => reported(written).map(|()| true),
    }
}

/// Whether the pipe on standard output has no reader any more.
pub fn is_closed() -> bool {
    let mut output = libc::pollfd { fd: libc::STDOUT_FILENO, events: 0, revents: 0 };
    // SAFETY: the pointer is to one valid `pollfd`, and the call does not wait.
    unsafe { libc::poll(&mut output, 1, 0) == 1 && output.revents & libc::POLLERR != 0 }
}

/// The lines of the terminal on standard output, if it is one.
pub fn terminal_rows() -> Option<usize> {
    // SAFETY: zeroes are a valid `winsize`, which the call fills in.
    let (result, size) = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        (libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size), size)
    };
    (result == 0 && size.ws_row > 0).then_some(size.ws_row.into())
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

/// Prints a message as a line on standard error, unless `--quiet`.
pub fn say(message: &str) {
    if settings().0 >= Level::Normal {
        alert(message);
    }
}

/// Prints a detail as a line on standard error with `--verbose`.
pub fn detail(message: &str) {
    if settings().0 >= Level::Verbose {
        alert(message);
    }
}

/// Prints a line on standard error, if that can be written to, also with `--quiet`.
pub fn alert(message: &str) {
    // In one piece, so that the lines of several processes do not mix.
    let _ = stderr().write_all(format!("{}\n", text::visible(message)).as_bytes());
}

/// Prints each warning as a line, as [`alert`], with `warning: ` in front.
pub fn warn(warnings: impl IntoIterator<Item = impl std::fmt::Display>) {
    warnings.into_iter().for_each(|warning| alert(&format!("warning: {warning}")));
}

/// Whether standard output is a terminal.
pub fn stdout_is_terminal() -> bool {
    stdout().is_terminal()
}

/// Whether results are coloured: as `--color` says, else as `NO_COLOR` and `CLICOLOR_FORCE` say,
/// else on a terminal.
pub fn colour() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    match settings().1 {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto if set("NO_COLOR").is_some() => false,
        ColorChoice::Auto if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") => true,
        ColorChoice::Auto => stdout_is_terminal(),
    }
}

/// Whether progress can be drawn: standard error is a terminal, and messages are wanted.
pub(crate) fn draws_progress() -> bool {
    settings().0 >= Level::Normal && stderr().is_terminal()
}

#[allow(clippy::disallowed_methods)] // clippy.toml keeps them for this module
fn stdout() -> io::Stdout {
    io::stdout()
}

#[allow(clippy::disallowed_methods)]
fn stderr() -> io::Stderr {
    io::stderr()
}
