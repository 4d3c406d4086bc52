//! The state of a cohort under way, on disk.
//!
//! A file holds a line that says what it is, the SHA-256 of the rest, and the rest: a
//! safetensors file with parameters, momentum, running statistics and each member's best
//! parameters, and in its metadata where the members stand. It is written beside its final name
//! and renamed, so that there is always a whole one.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use super::session::{DeviceData, Progress, Session};
use crate::models::{Blueprint, Model};
use wninit_core::job::JobId;
use wninit_core::plan::cohort::Cohort;

const MAGIC: &[u8] = b"wninit checkpoint 1\n";
const DIGEST: usize = 32;

/// Where a cohort stands, apart from its tensors.
#[derive(Serialize, Deserialize)]
struct Header {
    ids: Vec<String>,
    epoch: u32,
    step: usize,
    /// Wall-clock seconds of the current epoch so far.
    #[serde(default)]
    epoch_seconds: f64,
    progress: Vec<Progress>,
}

/// A checkpoint that an earlier run left.
#[derive(Debug)]
pub struct Saved {
    /// The file.
    pub path: PathBuf,
    /// The jobs in it, in the order of the stack.
    pub ids: Vec<JobId>,
    /// Whole epochs behind them, and steps of the epoch after those.
    pub reached: (u32, usize),
}

/// The name of a cohort's checkpoint: its first job, and a hash of all, so that the halves of a
/// cohort that was too wide do not write over each other's, or over what they resume from.
pub(super) fn file_name(cohort: &Cohort) -> String {
    let ids: Vec<String> = cohort.jobs().iter().map(|job| job.id().to_string()).collect();
    let hash = Sha256::digest(ids.join(" "));
    format!("{}-{:02x}{:02x}{:02x}{:02x}.checkpoint", ids[0], hash[0], hash[1], hash[2], hash[3])
}

/// Writes where the cohort stands. Losses must have been read.
///
/// # Errors
/// The file cannot be written; an earlier one of that name is still whole.
pub(super) fn save(path: &Path, session: &mut Session) -> Result<()> {
    let header = Header {
        ids: session.members.iter().map(|m| m.job.id().to_string()).collect(),
        epoch: session.epoch,
        step: session.step,
        epoch_seconds: session.epoch_seconds(),
        progress: session.members.iter().map(|m| m.progress.clone()).collect(),
    };
    let mut tensors: Vec<(String, Tensor)> = Vec::new();
    for param in session.model.params() {
        tensors.push((format!("value/{}", param.name), param.value.shallow_clone()));
        if let Some(momentum) = &param.momentum {
            tensors.push((format!("momentum/{}", param.name), momentum.shallow_clone()));
        }
    }
    for buffer in session.model.buffers() {
        tensors.push((format!("value/{}", buffer.name), buffer.value.shallow_clone()));
    }
    for (i, best) in session.best.iter().flatten().enumerate() {
        tensors.push((format!("best/{i}"), best.shallow_clone()));
    }
    // The copy and the file's text are Rust's, which ends the program where it gets no memory.
    let bytes = tensors.iter().map(|(_, tensor)| 4 * tensor.numel()).sum::<usize>();
    let room = Vec::<u8>::new().try_reserve_exact(2 * bytes);
    room.with_context(|| {
        format!("cannot write the checkpoint {}: no memory for its {bytes} bytes", path.display())
    })?;
    let host: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, tensor)| {
            let tensor = tensor.to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
            let shape = tensor.size().into_iter().map(|n| n as usize).collect();
            let mut bytes = vec![0; tensor.numel() * 4];
            tensor.view(-1).copy_data_u8(&mut bytes, tensor.numel());
            (name, shape, bytes)
        })
        .collect();
    let views = host
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>>>()?;
    let metadata = HashMap::from([("state".to_owned(), serde_json::to_string(&header)?)]);
    let payload = serialize(views, Some(metadata))?;

    let write = || -> std::io::Result<()> {
        let dir = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(dir)?;
        let partial = path.with_extension("partial");
        let mut file = File::create(&partial)?;
        let written = file
            .write_all(MAGIC)
            .and_then(|()| file.write_all(&Sha256::digest(&payload)))
            .and_then(|()| file.write_all(&payload))
            .and_then(|()| file.sync_all());
        if let Err(error) = written {
            let _ = fs::remove_file(&partial);
            return Err(error);
        }
        fs::rename(&partial, path)?;
        File::open(dir)?.sync_all()
    };
    write().with_context(|| format!("cannot write the checkpoint {}", path.display()))
}

/// Reads the payload of a checkpoint and checks it against its digest.
fn payload(path: &Path) -> Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut start = Vec::new();
    Read::by_ref(&mut file).take((MAGIC.len() + DIGEST) as u64).read_to_end(&mut start)?;
    ensure!(start.starts_with(MAGIC), "it does not begin as a checkpoint does");
    ensure!(start.len() == MAGIC.len() + DIGEST, "it ends too early");
    let mut payload = Vec::new();
    file.read_to_end(&mut payload)?;
    ensure!(Sha256::digest(&payload).as_slice() == &start[MAGIC.len()..], "its checksum is wrong");
    Ok(payload)
}

fn header(payload: &[u8]) -> Result<Header> {
    let (_, metadata) = SafeTensors::read_metadata(payload)?;
    let state =
        metadata.metadata().as_ref().and_then(|m| m.get("state")).context("it has no state")?;
    let header: Header = serde_json::from_str(state)?;
    ensure!(
        !header.ids.is_empty() && header.ids.len() == header.progress.len(),
        "its members are incomplete"
    );
    Ok(header)
}

fn read(path: &Path) -> Result<Saved> {
    let header = header(&payload(path)?)?;
    let ids = header.ids.iter().map(|id| id.parse().map_err(anyhow::Error::msg));
    Ok(Saved {
        path: path.to_owned(),
        ids: ids.collect::<Result<_>>()?,
        reached: (header.epoch, header.step),
    })
}

/// Takes a checkpoint that is of no use out of the way, and says so.
pub(super) fn set_aside(path: &Path, error: &anyhow::Error) -> String {
    let aside = path.with_extension("damaged");
    let moved = match fs::rename(path, &aside) {
        Ok(()) => format!("it is kept as {}", aside.display()),
        Err(error) => format!("it cannot be set aside ({error})"),
    };
    format!(
        "the checkpoint {} cannot be used: {error:#}. Its jobs start over; {moved}",
        path.display()
    )
}

/// Finds the checkpoints in a folder, those that are furthest along first. A damaged one is
/// renamed to `….damaged` and reported through `warn`; its jobs start over. What a killed process
/// left half-written is deleted: only the process that holds the sweep's folder may call this.
///
/// # Errors
/// The folder cannot be read.
pub fn scan(dir: &Path, mut warn: impl FnMut(String)) -> Result<Vec<Saved>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", dir.display())),
    };
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    let (paths, others): (Vec<PathBuf>, Vec<PathBuf>) =
        paths.drain(..).partition(|path| path.extension().is_some_and(|e| e == "checkpoint"));
    for partial in others.iter().filter(|path| path.extension().is_some_and(|e| e == "partial")) {
        let _ = fs::remove_file(partial); // if it stays, it does no harm
    }
    let mut saved = Vec::new();
    for path in paths {
        match read(&path) {
            Ok(found) => saved.push(found),
            Err(error) => warn(set_aside(&path, &error)),
        }
    }
    saved.sort_by(|a, b| (b.reached, &a.path).cmp(&(a.reached, &b.path)));
    Ok(saved)
}

impl Saved {
    /// Takes up the cohort, whose jobs must all be in the checkpoint, where it stood.
    ///
    /// # Errors
    /// The file has changed since it was found, or is of another model.
    pub(super) fn resume(
        &self,
        cohort: &Cohort,
        blueprint: Blueprint,
        data: &DeviceData,
    ) -> Result<Session> {
        let payload = payload(&self.path)?;
        let header = header(&payload)?;
        let shape = cohort.shape();
        ensure!(
            header.epoch < shape.epochs && header.step < shape.steps(),
            "it stands at epoch {}, step {}, which its jobs do not have",
            header.epoch + 1,
            header.step + 1
        );
        let places = cohort.jobs().iter().map(|job| {
            let id = job.id().to_string();
            header
                .ids
                .iter()
                .position(|own| *own == id)
                .with_context(|| format!("job {id} is not in it"))
        });
        let places = places.collect::<Result<Vec<usize>>>()?;
        let index = Tensor::from_slice(&places.iter().map(|&p| p as i64).collect::<Vec<_>>());

        let tensors = SafeTensors::deserialize(&payload)?;
        let device = blueprint.arithmetic.device;
        let holds = |name: &str| tensors.tensor(name).is_ok();
        // Shapes are compared before anything is made of them: libtorch panics where they are odd.
        let read = |name: &str, like: &Tensor| -> Result<Tensor> {
            let view = tensors.tensor(name).ok().with_context(|| format!("{name} is missing"))?;
            ensure!(view.dtype() == Dtype::F32, "{name} is not of type F32");
            let mut shape = like.size();
            shape[0] = header.ids.len() as i64;
            let same = view
                .shape()
                .iter()
                .map(|&n| i64::try_from(n).ok())
                .eq(shape.iter().map(|&n| Some(n)));
            ensure!(same, "{name} has shape {:?}, not {shape:?}", view.shape());
            let all = Tensor::from_data_size(view.data(), &shape, Kind::Float);
            Ok(all.index_select(0, &index).to_device(device))
        };

        let mut model = Model::zeros(blueprint, places.len() as i64);
        for param in model.params() {
            param.value = read(&format!("value/{}", param.name), &param.value)?;
            let momentum = format!("momentum/{}", param.name);
            param.momentum = holds(&momentum).then(|| read(&momentum, &param.value)).transpose()?;
        }
        for buffer in model.buffers() {
            buffer.value = read(&format!("value/{}", buffer.name), &buffer.value)?;
        }
        model.refresh();
        let progress = places.iter().map(|&p| header.progress[p].clone()).collect();
        let mut session = Session::new(cohort, model, data, progress, header.epoch, header.step);
        if holds("best/0") {
            let state = session.state();
            let best = state.iter().enumerate().map(|(i, now)| read(&format!("best/{i}"), now));
            session.best = Some(best.collect::<Result<_>>()?);
        }
        session.charge_epoch(header.epoch_seconds);
        Ok(session)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::OnceLock;
    use wninit_core::job::Draft;

    fn cohort() -> Cohort {
        let job = |seed| Draft {
            dataset: Some("digits".parse().unwrap()),
            depth: Some(2),
            width: Some(4),
            seed: Some(seed),
            epochs: Some(3),
            ..Draft::default()
        };
        Cohort::new((0..3).map(|seed| job(seed).resolve().unwrap()).collect())
    }

    fn blueprint() -> Blueprint {
        crate::train::blueprint(&cohort().shape(), Device::Cpu)
    }

    fn data() -> DeviceData {
        crate::train::measure::noise(cohort().shape().dataset, Device::Cpu)
    }

    /// A genuine checkpoint, less what [`sealed`] adds.
    fn genuine() -> &'static [u8] {
        static PAYLOAD: OnceLock<Vec<u8>> = OnceLock::new();
        PAYLOAD.get_or_init(|| {
            let mut model = Model::zeros(blueprint(), 3);
            for param in model.params() {
                param.momentum = Some(param.value.zeros_like());
            }
            let mut session =
                Session::new(&cohort(), model, &data(), vec![Progress::default(); 3], 1, 2);
            session.best = Some(session.state().iter().map(Tensor::copy).collect());
            let dir = tempfile::tempdir().unwrap();
            save(&dir.path().join("a.checkpoint"), &mut session).unwrap();
            payload(&dir.path().join("a.checkpoint")).unwrap()
        })
    }

    /// A file with this payload and the digest that belongs to it.
    fn sealed(payload: &[u8]) -> Vec<u8> {
        [MAGIC, Sha256::digest(payload).as_slice(), payload].concat()
    }

    /// Reads a file as a run would.
    fn taken_up(bytes: &[u8]) -> Result<Session> {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let path = dir.path().join("a.checkpoint");
        fs::write(&path, bytes).unwrap();
        read(&path)?.resume(&cohort(), blueprint(), &data())
    }

    /// The payload with a text of its header replaced; the header's length is put right.
    fn edited(from: &str, to: &str) -> Vec<u8> {
        let (length, rest) = genuine().split_at(8);
        let (header, tensors) =
            rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
        let header = std::str::from_utf8(header).unwrap();
        assert!(header.contains(from), "{header}");
        let header = header.replacen(from, to, 1);
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), tensors].concat()
    }

    #[test]
    fn a_header_that_promises_what_does_not_follow_is_refused() {
        assert!(taken_up(&sealed(genuine())).is_ok());
        for size in [u64::MAX, 1 << 60, 1 << 40, 100_000_001, 0] {
            let mut bytes = genuine().to_vec();
            bytes[..8].copy_from_slice(&size.to_le_bytes());
            assert!(taken_up(&sealed(&bytes)).is_err(), "a header of {size} bytes");
        }
        for shape in [
            "[3,18446744073709551615]",
            "[1152921504606846976,4]",
            "[0,9223372036854775808]",
            "[]",
            "[1,12]",
            "[12]",
        ] {
            let error = taken_up(&sealed(&edited("[3,4]", shape))).err();
            assert!(error.is_some(), "a tensor of shape {shape}");
        }
        for (from, to) in [
            ("\\\"step\\\":2", "\\\"step\\\":1152921504606846976"),
            ("\\\"epoch\\\":1", "\\\"epoch\\\":4000000000"),
        ] {
            assert!(taken_up(&sealed(&edited(from, to))).is_err(), "{to}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_checkpoint_whatever_makes_the_reader_panic_even_with_a_digest_that_fits(
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0..9usize, any::<bool>(), prop::sample::select(vec![
                "", "0", "-1", "[", "]", "{", "}", ",", ":", "\"", "1e999", "null", "true", "F64", "I8", "18446744073709551615",
                "9223372036854775808", "1152921504606846976", "[0,9223372036854775808]", "best/0", "\u{0}", "\u{7f}", "é",
            ])), 1..4),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut bytes = genuine().to_vec();
            for (at, length, in_header, new) in edits {
                // The header is where sizes stand; its first eight bytes are its length.
                let length_of = bytes.get(..8).map_or(0, |b| u64::from_le_bytes(b.try_into().unwrap()) as usize);
                let header = length_of.saturating_add(8);
                let range = if in_header { header.clamp(1, bytes.len()) } else { bytes.len() };
                let start = at.index(range);
                let end = (start + length).min(bytes.len());
                bytes.splice(start..end, new.bytes());
                if in_header && start >= 8 && bytes.len() >= 8 {
                    let length = length_of.saturating_add(new.len()).saturating_sub(end - start) as u64;
                    bytes[..8].copy_from_slice(&length.to_le_bytes());
                }
                if bytes.is_empty() { bytes.push(0); }
            }
            if let Some(cut) = cut.filter(|_| bytes.len() > 1) {
                let end = cut.index(bytes.len());
                bytes.truncate(end.max(1));
            }
            if let Ok(session) = taken_up(&sealed(&bytes)) {
                prop_assert_eq!(session.members.len(), 3);
            }
        }
    }
}
