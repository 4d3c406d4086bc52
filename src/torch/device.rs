//! The machine's devices, and the workers on them.

use std::path::Path;

use anyhow::{Result, bail};
use tch::{Cuda, Device};

use crate::ffi;
use wninit_core::execution::{DeviceChoice, cores};

/// The number of GPUs that libtorch sees.
pub(crate) fn gpus() -> usize {
    if Cuda::is_available() { Cuda::device_count() as usize } else { 0 }
}

/// Workers that may share a GPU. libtorch has 32 streams for the lanes of all of them, eight each.
const WORKERS_OF_A_GPU: usize = 3;

/// The device of each worker.
///
/// # Errors
/// A requested GPU does not exist, or has too many workers.
pub(crate) fn workers(choice: &DeviceChoice, workers: Option<usize>) -> Result<Vec<Device>> {
    let there = gpus();
    let wanted: Vec<usize> = match choice {
        DeviceChoice::Cpu => Vec::new(),
        DeviceChoice::Auto => (0..there).collect(),
        DeviceChoice::AllGpus if there == 0 => {
            bail!(
                "--device cuda: libtorch sees no GPU here (`wninit doctor` says why); use --device cpu"
            )
        }
        DeviceChoice::AllGpus => (0..there).collect(),
        DeviceChoice::Gpus(gpus) => match gpus.iter().find(|gpu| **gpu >= there) {
            Some(gpu) => bail!(
                "--device cuda:{gpu}: libtorch sees {there} GPUs here (`wninit doctor` lists them)"
            ),
            None => gpus.clone(),
        },
    };
    let count = workers.unwrap_or(if wanted.is_empty() { cores() } else { wanted.len() });
    let most = WORKERS_OF_A_GPU * wanted.len();
    if !wanted.is_empty() && count > most {
        bail!("--workers {count}: {} GPUs take at most {most}", wanted.len());
    }
    let devices = (0..count).map(|i| match wanted.is_empty() {
        true => Device::Cpu,
        false => Device::Cuda(wanted[i % wanted.len()]),
    });
    Ok(devices.collect())
}

/// Bytes free for training on a device; `None` if unknown.
pub(crate) fn free_memory(device: Device) -> Option<f64> {
    match device {
        Device::Cuda(index) => ffi::cuda::free_memory(index),
        _ => wninit_core::memory::free(Path::new("/")),
    }
}

/// `cpu`, or a GPU's model, such as `NVIDIA H200`.
pub(crate) fn model(device: Device) -> String {
    match device {
        Device::Cuda(index) => ffi::cuda::model(index).unwrap_or_else(|| name(device)),
        _ => name(device),
    }
}

/// The device in results: `cpu`, or `cuda:0 NVIDIA H200`.
pub(crate) fn label(device: Device) -> String {
    let (name, model) = (name(device), model(device));
    if name == model { name } else { format!("{name} {model}") }
}

/// `cpu` or `cuda:0`.
pub(crate) fn name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => "cpu".to_owned(),
    }
}
