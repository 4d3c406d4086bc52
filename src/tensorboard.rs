//! A sweep for TensorBoard: an event file for each finished job, in `tensorboard/<job_id>/` of
//! the sweep's folder.
//!
//! They are made from what is on disk already, the rows of `runs.csv` and `epochs.csv`, and only
//! where they are missing. So a sweep that was killed, merged or run without them gets them
//! afterwards, and nothing here can cost a result.
//!
//! An event file is a sequence of TFRecords, each an `Event` of TensorFlow's `event.proto` in the
//! wire format of protocol buffers. The few fields that are needed are written by hand; their
//! numbers stand beside them.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use wninit_core::job::{FIELDS, Value};
use wninit_core::results::{EpochRow, Outcome, Record, ResultsError, read_epochs, read_runs};

/// The folder of event files in a sweep's folder.
pub const FOLDER: &str = "tensorboard";

/// Why event files could not be written. No result is lost with them.
#[derive(Debug, thiserror::Error)]
pub enum TensorBoardError {
    /// The sweep's tables cannot be read.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// The operating system refused.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// Writes the event file of every finished job of a sweep, its shards included, that has none;
/// how many those are.
///
/// # Errors
/// The sweep's tables cannot be read or an event file cannot be written. Those that were written
/// before are whole, and the next call goes on after them.
pub fn write_missing(dir: &Path) -> Result<usize, TensorBoardError> {
    let root = dir.join(FOLDER);
    let runs = read_runs(dir)?;
    let missing: Vec<&Record> = runs
        .records
        .iter()
        .filter(|record| !has_events(&root.join(record.job.id().to_string())))
        .collect();
    if missing.is_empty() {
        return Ok(0);
    }
    let curves = read_epochs(dir)?;
    for record in &missing {
        let id = record.job.id();
        let curve = curves.get(&id).map_or(&[][..], Vec::as_slice);
        let folder = root.join(id.to_string());
        let name = format!("events.out.tfevents.{}.{id}", record.provenance.started_at.timestamp());
        write(&folder, &name, &events(record, curve))
            .map_err(|(path, source)| TensorBoardError::Write { path, source })?;
    }
    Ok(missing.len())
}

/// Whether a job's folder holds an event file with something in it.
fn has_events(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        entry.file_name().to_string_lossy().starts_with("events.out.tfevents.")
            && entry.metadata().is_ok_and(|file| file.len() > 0)
    })
}

/// Puts a file in place as a whole. It is not synced: it can be made again at any time, and a
/// hundred thousand of them would keep the disk busy for minutes.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), (PathBuf, io::Error)> {
    fs::create_dir_all(folder).map_err(|error| (folder.to_owned(), error))?;
    let path = folder.join(name);
    // TensorBoard reads every file with "tfevents" in its name, so that must not be in this one's.
    let unfinished = folder.join(".unfinished");
    let put = || {
        let mut file = fs::File::create(&unfinished)?;
        file.write_all(bytes)?;
        drop(file);
        fs::rename(&unfinished, &path)
    };
    put().map_err(|error| {
        let _ = fs::remove_file(&unfinished);
        (path.clone(), error)
    })
}

/// The event file of a job: its fields as hyper-parameters, its curve over epochs, and its test
/// results at the epoch whose parameters were tested.
fn events(record: &Record, curve: &[EpochRow]) -> Vec<u8> {
    let started = record.provenance.started_at;
    let ended = seconds(record.provenance.finished_at);
    let mut file = EventFile::new(seconds(started));
    file.summary(seconds(started), 0, &[hparams("_hparams_/session_start_info", &session(record))]);
    let mut clock = seconds(started);
    for row in curve {
        // An epoch of a job that was interrupted may have begun earlier than the rest says.
        clock = (clock + Some(row.seconds).filter(|s| s.is_finite()).unwrap_or(0.0)).min(ended);
        let scalars = [
            ("train_loss", row.train_loss),
            ("train_acc", row.train_acc),
            ("val_loss", row.val_loss),
            ("val_acc", row.val_acc),
            ("lr", row.lr),
        ];
        file.scalars(clock, row.epoch, scalars);
    }
    let tested = [("test_loss", record.test_loss), ("test_acc", record.test_acc)];
    let tested = tested.into_iter().filter_map(|(tag, value)| Some((tag, value?)));
    file.scalars(ended, record.best_epoch.unwrap_or(record.epochs_done), tested);
    let diverged = f64::from(u8::from(record.outcome == Outcome::Diverged));
    file.scalars(ended, record.epochs_done, [("diverged", diverged)]);

    // SessionEndInfo: status = 1 (STATUS_SUCCESS = 1, STATUS_FAILURE = 2), end_time_secs = 2.
    let end = Message::default()
        .integer(1, if record.outcome == Outcome::Ok { 1 } else { 2 })
        .double(2, ended);
    // HParamsPluginData: session_end_info = 4.
    let end = Message::default().message(4, &end);
    file.summary(ended, record.epochs_done, &[hparams("_hparams_/session_end_info", &end)]);
    file.bytes
}

/// `HParamsPluginData` (of TensorBoard's `plugins/hparams`) with the job's fields.
fn session(record: &Record) -> Message {
    let mut info = Message::default();
    for field in FIELDS.iter() {
        let Some(value) = field.get(&record.job) else { continue };
        // google.protobuf.Value: number_value = 2, string_value = 3, bool_value = 4.
        let value = match value {
            Value::Integer(n) => Message::default().double(2, n as f64),
            Value::Float(x) => Message::default().double(2, x),
            Value::Boolean(yes) => Message::default().integer(4, yes.into()),
            other => Message::default().bytes(3, other.to_string().as_bytes()),
        };
        // An entry of a map has its key = 1 and its value = 2; SessionStartInfo: hparams = 1.
        let entry = Message::default().bytes(1, field.name.as_bytes()).message(2, &value);
        info = info.message(1, &entry);
    }
    // group_name = 4, start_time_secs = 5. Without a group's name TensorBoard takes the jobs of
    // equal hyper-parameters together; a job has no equal.
    let info = info
        .bytes(4, record.job.id().to_string().as_bytes())
        .double(5, seconds(record.provenance.started_at));
    // HParamsPluginData: session_start_info = 3.
    Message::default().message(3, &info)
}

/// A `Summary.Value` for the hparams plugin, which reads its metadata.
fn hparams(tag: &str, content: &Message) -> Message {
    // PluginData: plugin_name = 1, content = 2; SummaryMetadata: plugin_data = 1.
    let plugin = Message::default().bytes(1, b"hparams").message(2, content);
    let metadata = Message::default().message(1, &plugin);
    // Summary.Value: tag = 1, metadata = 9.
    Message::default().bytes(1, tag.as_bytes()).message(9, &metadata)
}

/// Seconds since 1970.
fn seconds(at: DateTime<Utc>) -> f64 {
    at.timestamp_micros() as f64 / 1e6
}

/// A growing event file.
struct EventFile {
    bytes: Vec<u8>,
}

impl EventFile {
    /// With its first event, the version.
    fn new(at: f64) -> EventFile {
        let mut file = EventFile { bytes: Vec::new() };
        // Event: wall_time = 1, file_version = 3.
        file.record(&Message::default().double(1, at).bytes(3, b"brain.Event:2"));
        file
    }

    /// Those of the numbers that are finite; TensorBoard draws no others.
    fn scalars<'a>(
        &mut self,
        at: f64,
        step: u32,
        scalars: impl IntoIterator<Item = (&'a str, f64)>,
    ) {
        let finite = scalars.into_iter().filter(|(_, value)| value.is_finite());
        // Summary.Value: tag = 1, simple_value = 2.
        let values: Vec<Message> = finite
            .map(|(tag, value)| Message::default().bytes(1, tag.as_bytes()).float(2, value as f32))
            .collect();
        if !values.is_empty() {
            self.summary(at, step, &values);
        }
    }

    fn summary(&mut self, at: f64, step: u32, values: &[Message]) {
        // Summary: value = 1. Event: wall_time = 1, step = 2, summary = 5.
        let summary =
            values.iter().fold(Message::default(), |summary, value| summary.message(1, value));
        self.record(&Message::default().double(1, at).integer(2, step.into()).message(5, &summary));
    }

    /// A TFRecord: the length, its checksum, the data, its checksum; little-endian.
    fn record(&mut self, event: &Message) {
        let length = (event.0.len() as u64).to_le_bytes();
        self.bytes.extend(length);
        self.bytes.extend(masked(crc32c(&length)).to_le_bytes());
        self.bytes.extend(&event.0);
        self.bytes.extend(masked(crc32c(&event.0)).to_le_bytes());
    }
}

/// A message of protocol buffers, field by field.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn integer(self, field: u8, value: u64) -> Message {
        self.key(field, 0).varint(value)
    }

    fn double(self, field: u8, value: f64) -> Message {
        self.key(field, 1).raw(&value.to_le_bytes())
    }

    fn float(self, field: u8, value: f32) -> Message {
        self.key(field, 5).raw(&value.to_le_bytes())
    }

    /// Bytes, or a string in UTF-8.
    fn bytes(self, field: u8, value: &[u8]) -> Message {
        self.key(field, 2).varint(value.len() as u64).raw(value)
    }

    fn message(self, field: u8, value: &Message) -> Message {
        self.bytes(field, &value.0)
    }

    /// A field's number and wire type. Numbers up to 15, and there are no others here, take a byte.
    fn key(self, field: u8, wire_type: u8) -> Message {
        debug_assert!(field < 16 && wire_type < 8);
        self.raw(&[field << 3 | wire_type])
    }

    fn varint(mut self, mut value: u64) -> Message {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    fn raw(mut self, bytes: &[u8]) -> Message {
        self.0.extend(bytes);
        self
    }
}

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4).
fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut i = 0;
        while i < 256 {
            let mut crc = i as u32;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
                bit += 1;
            }
            table[i] = crc;
            i += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, byte| TABLE[usize::from(crc as u8 ^ byte)] ^ crc >> 8)
}

/// How TFRecords store a checksum, so that one of data with checksums in it stays a good one.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xA282_EAD8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_rfc_3720() {
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        for (bytes, crc) in [
            (&[][..], 0),
            (&b"123456789"[..], 0xE306_9283),
            (&[0; 32], 0x8A91_36AA),
            (&[0xFF; 32], 0x62A8_AB43),
            (&ascending, 0x46DD_794E),
            (&descending, 0x113F_DB5C),
        ] {
            assert_eq!(crc32c(bytes), crc, "{bytes:?}");
        }
    }

    /// What TensorBoard's own `RecordWriter` writes for `Event(wall_time=1.5e9, file_version="brain.Event:2")`.
    #[test]
    fn an_event_file_begins_as_tensorflow_begins_it() {
        let file = EventFile::new(1.5e9);
        assert_eq!(file.bytes[..12], [24, 0, 0, 0, 0, 0, 0, 0, 0xA3, 0x7F, 0x4B, 0x22]);
        let event = &file.bytes[12..36];
        assert_eq!(event, b"\x09\x00\x00\x00\xc0\x0b\x5a\xd6\x41\x1a\x0dbrain.Event:2");
        assert_eq!(file.bytes[36..], [0x4C, 0xA9, 0xA4, 0x64]);
    }

    #[test]
    fn varints_are_those_of_protocol_buffers() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (127, &[0x7F]),
            (300, &[0xAC, 0x02]),
            (u64::MAX, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ] {
            assert_eq!(Message::default().varint(value).0, bytes);
        }
    }

    #[test]
    fn a_number_that_is_not_finite_is_left_out() {
        let mut file = EventFile::new(0.0);
        let begin = file.bytes.len();
        file.scalars(0.0, 1, [("a", f64::NAN), ("b", f64::INFINITY)]);
        assert_eq!(file.bytes.len(), begin);
        file.scalars(0.0, 1, [("a", f64::NAN), ("b", 1.0)]);
        assert!(file.bytes.len() > begin);
    }
}
