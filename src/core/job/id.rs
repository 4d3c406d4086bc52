//! The identity of a job.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::{FIELDS, Field, Job};

/// The version of the job's fields. It is part of every [`JobId`].
pub(crate) const SCHEMA: u32 = 1;

/// Identifies a job: the first 48 bits of a SHA-256 over the schema number and every field.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId([u8; 6]);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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
        let mut id = [0; 6];
        for (byte, digits) in id.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(JobId(id))
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
            written = written.and(write!(text, "{}={value}", field.name));
            match field.as_before {
                Some(before) if text[line..].split_once('=').is_some_and(|(_, v)| v == before) => {
                    text.truncate(line);
                }
                _ => text.push('\n'),
            }
        }
        debug_assert!(written.is_ok(), "writing to memory cannot fail");
        let digest = Sha256::digest(&text);
        let mut id = [0; 6];
        id.copy_from_slice(&digest[..6]);
        JobId(id)
    }
}

impl Job {
    /// The job's identity: equal for equal jobs, in every version of the program.
    ///
    /// The hash is over `wninit job 1` and then a line `name=value` for each of [`FIELDS`] that
    /// applies. A field added later must not change the ids of existing jobs, so it is left out if
    /// it has the value `Field::as_before`.
    pub fn id(&self) -> JobId {
        JobId::of(FIELDS.iter().filter_map(|field| Some((field, field.get(self)?))))
    }
}
