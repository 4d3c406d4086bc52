//! Checkpoints of cohorts in training.
//!
//! A file consists of a magic line, the SHA-256 of the payload, and the payload: a safetensors file with
//! parameters, momentum, running statistics and each member's best parameters; its metadata holds the
//! members' progress. It is written to a temporary name, synced and renamed, so that the last complete
//! checkpoint survives a crash.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use safetensors::tensor::{Dtype, Metadata, TensorView};
use safetensors::{SafeTensors, serialize};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use super::data::DeviceData;
use super::session::{MemberProgress, Session};
use crate::models::{Model, ModelConfig};
use wninit_core::job::JobId;
use wninit_core::plan::cohort::Cohort;

const MAGIC: &[u8] = b"wninit checkpoint 1\n";
const DIGEST: usize = 32;
/// The maximum size of a header in bytes. That of 10,000 jobs has some 10 MB.
const LONGEST_HEADER: u64 = 100_000_000;

/// The state of a cohort without its tensors.
#[derive(Serialize, Deserialize)]
struct Header {
    ids: Vec<String>,
    epoch: u32,
    step: usize,
    #[serde(default)]
    epoch_seconds: f64,
    progress: Vec<MemberProgress>,
}

/// A checkpoint of an earlier run.
#[derive(Debug)]
pub struct Checkpoint {
    pub path: PathBuf,
    /// In the order of the stack.
    pub ids: Vec<JobId>,
    /// Completed epochs, and steps of the current one.
    pub reached: (u32, usize),
}

/// The name of a cohort's checkpoint. It contains a hash of all jobs, so that the halves of a cohort do
/// not overwrite each other's checkpoint or the one that they resume from.
pub(crate) fn file_name(cohort: &Cohort) -> String {
    let ids: Vec<String> = cohort.jobs().iter().map(|job| job.id().to_string()).collect();
    let hash = Sha256::digest(ids.join(" "));
    format!("{}-{:02x}{:02x}{:02x}{:02x}.checkpoint", ids[0], hash[0], hash[1], hash[2], hash[3])
}

/// Writes a checkpoint. The session's losses must have been read.
///
/// # Errors
/// The file cannot be written; an earlier one of that name is intact.
pub(super) fn save(path: &Path, session: &mut Session) -> Result<()> {
    let header = Header {
        ids: session.members.iter().map(|m| m.job.id().to_string()).collect(),
        epoch: session.epoch,
        step: session.step,
        epoch_seconds: session.epoch_seconds,
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
    let metadata = HashMap::from([("state".to_owned(), serde_json::to_string(&header)?)]);
    let payload = as_safetensors(tensors, metadata)
        .with_context(|| format!("cannot write the checkpoint {}", path.display()))?;

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

/// Tensors as the content of a safetensors file, in float32.
///
/// # Errors
/// There is no memory for it.
pub(crate) fn as_safetensors(
    tensors: Vec<(String, Tensor)>,
    metadata: HashMap<String, String>,
) -> Result<Vec<u8>> {
    // The copies below are Rust allocations, which abort the process when memory runs out.
    let bytes = tensors.iter().map(|(_, tensor)| 4 * tensor.numel()).sum::<usize>();
    let room = Vec::<u8>::new().try_reserve_exact(2 * bytes);
    room.with_context(|| format!("no memory for its {bytes} bytes"))?;
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
    Ok(serialize(views, Some(metadata))?)
}

/// A checkpoint file whose tensors have not been read.
struct Opened {
    header: Header,
    /// The digest in the file.
    digest: Vec<u8>,
    /// The payload up to the tensors.
    start: Vec<u8>,
    file: File,
    /// Bytes of the tensors, according to the header and to the file's length.
    tensors: u64,
}

impl Opened {
    /// Reads a file up to the tensors. Rejects it if its length differs from the header's, before
    /// allocating memory for the tensors.
    fn new(path: &Path) -> Result<Opened> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut take = |n: u64| -> Result<Vec<u8>> {
            let mut bytes = Vec::new();
            Read::by_ref(&mut file).take(n).read_to_end(&mut bytes)?;
            ensure!(bytes.len() as u64 == n, "it ends too early");
            Ok(bytes)
        };
        let magic = take((MAGIC.len() as u64).min(length))?;
        ensure!(magic == MAGIC, "it does not begin like a checkpoint");
        let digest = take(DIGEST as u64)?;
        let size = take(8)?;
        let size_of_header = u64::from_le_bytes(size.as_slice().try_into()?);
        ensure!(size_of_header <= LONGEST_HEADER, "its header is too long");
        let text = take(size_of_header)?;
        let metadata: Metadata = serde_json::from_slice(&text).context("its header is damaged")?;
        let tensors = metadata.tensors().values().map(|t| t.data_offsets.1).max().unwrap_or(0);
        let tensors = u64::try_from(tensors)?;
        let before = (MAGIC.len() + DIGEST + size.len() + text.len()) as u64;
        ensure!(
            before.checked_add(tensors) == Some(length),
            "it has {length} bytes, but its header describes {}",
            before.saturating_add(tensors)
        );
        let state =
            metadata.metadata().as_ref().and_then(|m| m.get("state")).context("it has no state")?;
        let header: Header = serde_json::from_str(state)?;
        ensure!(
            !header.ids.is_empty() && header.ids.len() == header.progress.len(),
            "its members are incomplete"
        );
        Ok(Opened { header, digest, start: [size, text].concat(), file, tensors })
    }

    /// Passes the payload to `keep` in parts and checks the digest.
    fn check(mut self, mut keep: impl FnMut(&[u8])) -> Result<Header> {
        let mut hash = Sha256::new();
        let mut part = std::mem::take(&mut self.start);
        while !part.is_empty() {
            hash.update(&part);
            keep(&part);
            part.clear();
            Read::by_ref(&mut self.file).take(1 << 20).read_to_end(&mut part)?;
        }
        ensure!(hash.finalize().as_slice() == self.digest, "its checksum is wrong");
        Ok(self.header)
    }

    /// The payload, with its digest checked.
    fn payload(self) -> Result<(Header, Vec<u8>)> {
        let mut payload = Vec::with_capacity(self.start.len() + usize::try_from(self.tensors)?);
        let header = self.check(|part| payload.extend_from_slice(part))?;
        Ok((header, payload))
    }
}

fn read(path: &Path) -> Result<Checkpoint> {
    let header = Opened::new(path)?.check(|_| ())?;
    let ids = header.ids.iter().map(|id| id.parse().map_err(anyhow::Error::msg));
    Ok(Checkpoint {
        path: path.to_owned(),
        ids: ids.collect::<Result<_>>()?,
        reached: (header.epoch, header.step),
    })
}

/// Renames an unusable checkpoint and returns a message.
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

/// Finds the checkpoints in a folder, furthest along first. Damaged ones are renamed to `….damaged` and
/// reported through `warn`; their jobs start over. Deletes incomplete files of killed processes, so only
/// the process that holds the sweep's lock may call this.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn scan(dir: &Path, mut warn: impl FnMut(String)) -> Result<Vec<Checkpoint>> {
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
        let _ = fs::remove_file(partial); // harmless if it stays
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

/// The maximum number of tensor bytes in a checkpoint of `jobs` jobs: each value, its momentum and
/// its best value so far.
fn most_bytes(model: &mut Model, jobs: usize) -> u64 {
    let members = model.members().max(1) as u64;
    let numbers: usize = model.state().iter().map(Tensor::numel).sum();
    (numbers as u64 / members).saturating_mul(jobs as u64).saturating_mul(3 * 4)
}

impl Checkpoint {
    /// Resumes a cohort whose jobs are all in the checkpoint.
    ///
    /// # Errors
    /// The file has changed since it was found, or belongs to another model.
    pub(super) fn resume(
        &self,
        cohort: &Cohort,
        config: ModelConfig,
        data: &DeviceData,
    ) -> Result<Session> {
        let opened = Opened::new(&self.path)?;
        let mut model = Model::zeros(config, cohort.jobs().len() as i64);
        let most = most_bytes(&mut model, opened.header.ids.len());
        ensure!(
            opened.tensors <= most,
            "it has {} bytes of tensors, but the state of its jobs has at most {most}",
            opened.tensors
        );
        let (header, payload) = opened.payload()?;
        let shape = cohort.shape();
        let (epochs, steps) = (shape.epochs, shape.steps());
        ensure!(
            (header.epoch < epochs && header.step <= steps)
                || (header.epoch, header.step) == (epochs, 0),
            "it is at epoch {}, step {}, beyond the training of its jobs",
            header.epoch + 1,
            header.step + 1
        );
        let indices = cohort.jobs().iter().map(|job| {
            let id = job.id().to_string();
            header
                .ids
                .iter()
                .position(|own| *own == id)
                .with_context(|| format!("job {id} is not in it"))
        });
        let indices = indices.collect::<Result<Vec<usize>>>()?;
        let index = Tensor::from_slice(&indices.iter().map(|&p| p as i64).collect::<Vec<_>>());

        let tensors = SafeTensors::deserialize(&payload)?;
        let device = config.arithmetic.device;
        let holds = |name: &str| tensors.tensor(name).is_ok();
        // Shapes are checked first, because libtorch panics on invalid ones.
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
            Ok(all.index_select(0, &index).to_device(device).to_kind(like.kind()))
        };

        for param in model.params() {
            param.value = read(&format!("value/{}", param.name), &param.value)?;
            let momentum = format!("momentum/{}", param.name);
            param.momentum = holds(&momentum).then(|| read(&momentum, &param.value)).transpose()?;
        }
        for buffer in model.buffers() {
            buffer.value = read(&format!("value/{}", buffer.name), &buffer.value)?;
        }
        model.refresh();
        let progress = indices.iter().map(|&p| header.progress[p].clone()).collect();
        let mut session = Session::new(cohort, model, data, progress, header.epoch, header.step);
        if holds("best/0") {
            let state = session.model.state();
            let best = state.iter().enumerate().map(|(i, now)| read(&format!("best/{i}"), now));
            session.best = Some(best.collect::<Result<_>>()?);
        }
        session.epoch_seconds += header.epoch_seconds;
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

    fn config() -> ModelConfig {
        ModelConfig::of(&cohort().shape(), Device::Cpu)
    }

    fn data() -> DeviceData {
        crate::train::measure::noise(cohort().shape().dataset, Device::Cpu)
    }

    /// The payload of a valid checkpoint.
    fn valid() -> &'static [u8] {
        static PAYLOAD: OnceLock<Vec<u8>> = OnceLock::new();
        PAYLOAD.get_or_init(|| {
            let mut model = Model::zeros(config(), 3);
            for param in model.params() {
                param.momentum = Some(param.value.zeros_like());
            }
            let mut session =
                Session::new(&cohort(), model, &data(), vec![MemberProgress::default(); 3], 1, 2);
            session.best = Some(session.model.state().iter().map(Tensor::copy).collect());
            let dir = tempfile::tempdir().unwrap();
            save(&dir.path().join("a.checkpoint"), &mut session).unwrap();
            Opened::new(&dir.path().join("a.checkpoint")).unwrap().payload().unwrap().1
        })
    }

    /// A file with this payload and its digest.
    fn sealed(payload: &[u8]) -> Vec<u8> {
        [MAGIC, Sha256::digest(payload).as_slice(), payload].concat()
    }

    /// Reads a file as `wninit run` does.
    fn resumed(bytes: &[u8]) -> Result<Session> {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let path = dir.path().join("a.checkpoint");
        fs::write(&path, bytes).unwrap();
        read(&path)?.resume(&cohort(), config(), &data())
    }

    /// The payload with a text in its header replaced and the header's length updated.
    fn edited(from: &str, to: &str) -> Vec<u8> {
        let (length, rest) = valid().split_at(8);
        let (header, tensors) =
            rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
        let header = std::str::from_utf8(header).unwrap();
        assert!(header.contains(from), "{header}");
        let header = header.replacen(from, to, 1);
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), tensors].concat()
    }

    #[test]
    fn a_header_that_does_not_match_the_tensors_is_rejected() {
        assert!(resumed(&sealed(valid())).is_ok());
        for size in [u64::MAX, 1 << 60, 1 << 40, 100_000_001, 0] {
            let mut bytes = valid().to_vec();
            bytes[..8].copy_from_slice(&size.to_le_bytes());
            assert!(resumed(&sealed(&bytes)).is_err(), "a header of {size} bytes");
        }
        for shape in [
            "[3,18446744073709551615]",
            "[1152921504606846976,4]",
            "[0,9223372036854775808]",
            "[]",
            "[1,12]",
            "[12]",
        ] {
            let error = resumed(&sealed(&edited("[3,4]", shape))).err();
            assert!(error.is_some(), "a tensor of shape {shape}");
        }
        for (from, to) in [
            ("\\\"step\\\":2", "\\\"step\\\":1152921504606846976"),
            ("\\\"epoch\\\":1", "\\\"epoch\\\":4000000000"),
        ] {
            assert!(resumed(&sealed(&edited(from, to))).is_err(), "{to}");
        }
    }

    #[test]
    fn a_file_much_longer_than_its_jobs_need_is_rejected_before_it_is_read() {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let path = dir.path().join("a.checkpoint");
        // A valid one followed by a hole, which takes no disk space.
        fs::write(&path, sealed(valid())).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(3 << 30).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("3221225472 bytes, but its header describes"), "{error}");

        // One whose header describes all of that, with a matching digest.
        let (length, rest) = valid().split_at(8);
        let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
        let text = std::str::from_utf8(&rest[..length]).unwrap().trim_end();
        let end = rest.len() - length;
        let junk = 300 << 20;
        let more = format!(
            ",\"junk\":{{\"dtype\":\"U8\",\"shape\":[{junk}],\"data_offsets\":[{end},{}]}}}}",
            end + junk
        );
        let text = format!("{}{more}", text.strip_suffix('}').unwrap());
        let start = [&(text.len() as u64).to_le_bytes(), text.as_bytes(), &rest[length..]].concat();
        let mut hash = Sha256::new();
        hash.update(&start);
        let zeros = vec![0; 1 << 20];
        (0..300).for_each(|_| hash.update(&zeros));
        fs::write(&path, [MAGIC, hash.finalize().as_slice(), &start].concat()).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(file.metadata().unwrap().len() + junk as u64).unwrap();
        let saved = read(&path).unwrap();
        let error = saved.resume(&cohort(), config(), &data()).err().unwrap().to_string();
        assert!(error.contains("but the state of its jobs has at most"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_checkpoint_whatever_makes_the_reader_panic_even_with_a_matching_digest(
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0..9usize, any::<bool>(), prop::sample::select(vec![
                "", "0", "-1", "[", "]", "{", "}", ",", ":", "\"", "1e999", "null", "true", "F64", "I8", "18446744073709551615",
                "9223372036854775808", "1152921504606846976", "[0,9223372036854775808]", "best/0", "\u{0}", "\u{7f}", "é",
            ])), 1..4),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut bytes = valid().to_vec();
            for (at, length, in_header, new) in edits {
                // The header contains the sizes; its first eight bytes are its length.
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
            if let Ok(session) = resumed(&sealed(&bytes)) {
                prop_assert_eq!(session.members.len(), 3);
            }
        }
    }
}
