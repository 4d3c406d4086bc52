//! Errors in a grid, and the place where each was written.

use std::fmt;
use std::sync::Arc;

use crate::text::visible_line;

/// An error in a grid, with its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.line_of_text())]
pub struct GridError {
    /// The file, or the command-line option.
    pub file: String,
    /// The line in the file, counted from 1.
    pub line: Option<usize>,
    /// The key with its table, for example `grid.lr`; empty if no key is at fault.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl GridError {
    /// `file:line: key: message`, safe to print: one line, no control characters.
    fn line_of_text(&self) -> String {
        let mut text = self.file.clone();
        if let Some(line) = self.line {
            text += &format!(":{line}");
        }
        text += ": ";
        if !self.key.is_empty() {
            text += &format!("{}: ", shorten(&self.key, 200));
        }
        text += &shorten(&self.message, 1500);
        visible_line(&text)
    }
}

/// The text, cut to `limit` characters with `…` if it is longer.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Where something was written: a line of a file, or an option of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub(super) file: Arc<str>,
    pub(super) line: Option<usize>,
    pub(super) key: Arc<str>,
}

impl Place {
    /// An error at this place.
    pub(crate) fn error(&self, message: impl Into<String>) -> GridError {
        GridError {
            file: self.file.to_string(),
            line: self.line,
            key: self.key.to_string(),
            message: message.into(),
        }
    }

    /// The value, or the error with this place.
    pub(super) fn checked<T>(&self, value: Result<T, String>) -> Result<T, GridError> {
        value.map_err(|message| self.error(message))
    }

    /// The place of anything not read from a file.
    pub(super) fn nowhere() -> Place {
        Place::of("(not from a file)")
    }

    /// A place that is a whole file or a command-line option.
    pub(super) fn of(file: &str) -> Place {
        Place { file: file.into(), line: None, key: "".into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}
