//! The error of a user who asked for something that cannot be done.

/// An invalid command line (exit code 2).
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct UsageError(pub anyhow::Error);

/// The error for an invalid command line, with this message.
pub fn usage(message: impl Into<String>) -> anyhow::Error {
    UsageError(anyhow::Error::msg(message.into())).into()
}
