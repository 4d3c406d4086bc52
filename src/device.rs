//! What the machine offers: GPUs, cores, and workers on them.

use std::str::FromStr;

use anyhow::{Result, bail};
use tch::{Cuda, Device};

/// What `--device` may say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Every GPU there is, or else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// Every GPU; an error where there is none.
    AllGpus,
    /// These GPUs.
    Gpus(Vec<usize>),
}

impl FromStr for Choice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("\"{text}\" is no device; expected auto, cpu, cuda or cuda:0,1");
        match text {
            "auto" => Ok(Choice::Auto),
            "cpu" => Ok(Choice::Cpu),
            "cuda" => Ok(Choice::AllGpus),
            _ => {
                let list = text.strip_prefix("cuda:").ok_or_else(expected)?;
                let gpus: Vec<usize> =
                    list.split(',').map(|i| i.parse().map_err(|_| expected())).collect::<Result<_, _>>()?;
                let mut distinct = gpus.clone();
                distinct.sort_unstable();
                distinct.dedup();
                if distinct.len() == gpus.len() { Ok(Choice::Gpus(gpus)) } else { Err(expected()) }
            }
        }
    }
}

/// GPUs that libtorch sees.
pub fn gpus() -> usize {
    if Cuda::is_available() { Cuda::device_count() as usize } else { 0 }
}

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The device of each worker, and how many CPU threads each has.
///
/// # Errors
/// A GPU is asked for that is not there.
pub fn workers(choice: &Choice, workers: Option<usize>) -> Result<(Vec<Device>, i32)> {
    let there = gpus();
    let wanted: Vec<usize> = match choice {
        Choice::Cpu => Vec::new(),
        Choice::Auto => (0..there).collect(),
        Choice::AllGpus if there == 0 => {
            bail!("--device cuda: libtorch sees no GPU here (`wninit doctor` says why); use --device cpu")
        }
        Choice::AllGpus => (0..there).collect(),
        Choice::Gpus(gpus) => match gpus.iter().find(|gpu| **gpu >= there) {
            Some(gpu) => bail!("--device cuda:{gpu}: libtorch sees {there} GPUs here (`wninit doctor` lists them)"),
            None => gpus.clone(),
        },
    };
    let cores = cores();
    let count = workers.unwrap_or(if wanted.is_empty() { cores } else { wanted.len() });
    let devices = (0..count).map(|i| match wanted.is_empty() {
        true => Device::Cpu,
        false => Device::Cuda(wanted[i % wanted.len()]),
    });
    Ok((devices.collect(), (cores / count).max(1) as i32))
}

/// `cpu` or `cuda:0`.
pub fn name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => "cpu".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_asked_for_by_name_and_number() {
        assert_eq!("auto".parse(), Ok(Choice::Auto));
        assert_eq!("cuda:0,2".parse(), Ok(Choice::Gpus(vec![0, 2])));
        for wrong in ["gpu", "cuda:", "cuda:x", "cuda:0,0", "cuda:-1", ""] {
            assert!(wrong.parse::<Choice>().is_err(), "{wrong}");
        }
    }
}
