//! The identity of a job.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::{FIELDS, Field, Init, Job, Value};

/// The version of the job's fields. It is part of every [`JobId`].
pub(crate) const SCHEMA: u32 = 1;

/// Identifies a job: the first 48 bits of a SHA-256 over the schema number and every field.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for JobId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not a job id: 12 hexadecimal digits are expected");
        if text.len() != 12 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        u64::from_str_radix(text, 16).map(JobId).map_err(|_| wrong())
    }
}

impl JobId {
    /// The id of a job with these fields and values, those that do not apply left out, in the
    /// order of [`FIELDS`]; values as [`Field::get`] returns them.
    pub(crate) fn of<V: fmt::Display>(
        fields: impl IntoIterator<Item = (&'static Field, V)>,
    ) -> JobId {
        use std::fmt::Write;
        let mut text = String::with_capacity(512);
        let mut written = writeln!(text, "wninit job {SCHEMA}");
        for (field, value) in fields {
            let line = text.len();
            text.push_str(field.name);
            text.push('=');
            written = written.and(write!(text, "{value}"));
            match field.as_before {
                Some(before) if text[line..].split_once('=').is_some_and(|(_, v)| v == before) => {
                    text.truncate(line);
                }
                _ => text.push('\n'),
            }
        }
        debug_assert!(written.is_ok(), "writing to memory cannot fail");
        let digest = Sha256::digest(&text);
        JobId(digest[..6].iter().fold(0, |id, &byte| id << 8 | u64::from(byte)))
    }
}

/// A value as a job's id has it.
struct Identity(Value);

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Init(Init::Own { rule, .. }) => fmt::Display::fmt(rule, f),
            ref value => fmt::Display::fmt(value, f),
        }
    }
}

impl Job {
    /// The job's identity: equal for equal jobs, in every version of the program.
    ///
    /// The hash is over `wninit job 1` and then a line `name=value` for each of [`FIELDS`] that
    /// applies; the value of an own initializer is its definition. A field added later must not change the ids of existing jobs, so it is left out if
    /// it has the value `Field::as_before`.
    pub fn id(&self) -> JobId {
        JobId::of(FIELDS.iter().filter_map(|field| Some((field, Identity(field.get(self)?)))))
    }
}
