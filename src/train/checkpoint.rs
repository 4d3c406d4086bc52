//! The state of a cohort under way, on disk.
//!
//! A file holds a line that says what it is, the SHA-256 of the rest, and the rest: a
//! safetensors file with parameters, momentum, running statistics and each member's best
//! parameters, and in its metadata where the members stand. It is written beside its final name
//! and renamed, so that there is always a whole one.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use super::session::{Progress, Session};
use crate::cohort::Cohort;
use crate::job::JobId;
use crate::models::{Blueprint, Model};

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
    let mut bytes = fs::read(path)?;
    ensure!(bytes.starts_with(MAGIC), "it does not begin as a checkpoint does");
    let start = MAGIC.len() + DIGEST;
    ensure!(bytes.len() >= start, "it ends too early");
    let payload = bytes.split_off(start);
    ensure!(Sha256::digest(&payload).as_slice() == &bytes[MAGIC.len()..], "its checksum is wrong");
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
    pub(super) fn resume(&self, cohort: &Cohort, blueprint: Blueprint) -> Result<Session> {
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
        let read = |name: &str| -> Result<Option<Tensor>> {
            let Ok(view) = tensors.tensor(name) else { return Ok(None) };
            ensure!(view.dtype() == Dtype::F32, "{name} is not of type F32");
            let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
            let all = Tensor::from_data_size(view.data(), &shape, Kind::Float);
            Ok(Some(all.index_select(0, &index).to_device(device)))
        };
        let expect = |name: &str, like: &Tensor| -> Result<Tensor> {
            match read(name)? {
                Some(tensor) if tensor.size() == like.size() => Ok(tensor),
                Some(tensor) => {
                    bail!("{name} has shape {:?}, not {:?}", tensor.size(), like.size())
                }
                None => bail!("{name} is missing"),
            }
        };

        let mut model = Model::zeros(blueprint, places.len() as i64);
        let mut count = 0;
        for param in model.params() {
            param.value = expect(&format!("value/{}", param.name), &param.value)?;
            param.momentum = match read(&format!("momentum/{}", param.name))? {
                Some(_) => Some(expect(&format!("momentum/{}", param.name), &param.value)?),
                None => None,
            };
            count += 1;
        }
        for buffer in model.buffers() {
            buffer.value = expect(&format!("value/{}", buffer.name), &buffer.value)?;
            count += 1;
        }
        model.refresh();
        let best =
            (0..count).map(|i| read(&format!("best/{i}"))).collect::<Result<Option<Vec<_>>>>()?;

        let progress = places.iter().map(|&p| header.progress[p].clone()).collect();
        let mut session = Session::new(cohort, model, progress, header.epoch, header.step);
        if let Some(best) = &best {
            let alike =
                best.iter().zip(session.state()).all(|(best, now)| best.size() == now.size());
            ensure!(alike, "the parameters of the best epoch are of another model");
        }
        session.best = best;
        session.charge_epoch(header.epoch_seconds);
        Ok(session)
    }
}
