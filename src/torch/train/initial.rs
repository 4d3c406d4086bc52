//! The initial networks of jobs.

use std::sync::OnceLock;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tch::{Device, Tensor};

use super::augment::Preprocess;
use super::data::DeviceData;
use super::failure::reporting_panics;
use crate::models::{Model, ModelConfig};
use crate::nn::Arithmetic;
use wninit_core::data::batches;
use wninit_core::job::Job;
use wninit_core::plan::cohort::Cohort;

/// The initial networks of a cohort, as one stack.
pub(crate) fn initial_stack(cohort: &Cohort, data: &DeviceData, device: Device) -> Model {
    let config = ModelConfig::of(&cohort.shape(), device);
    let mut model = Model::zeros(config, cohort.jobs().len() as i64);
    let mut set = |m: usize, job: &Job, drawn: Model| {
        model.set_member(m as i64, &mut placed(job, drawn, config, data));
    };
    if device.is_cuda() {
        // Drawing orthogonal directions on one core can take longer than training on the GPU.
        let networks = drawn_in_parallel(cohort.jobs(), config);
        for (m, (job, network)) in cohort.jobs().iter().zip(networks).enumerate() {
            set(m, job, network);
        }
    } else {
        for (m, job) in cohort.jobs().iter().enumerate() {
            set(m, job, drawn(job, config));
        }
    }
    model.refresh();
    model
}

/// The initial network of a job, on the config's device. It depends on the job alone: it is
/// initialised by itself, in single precision, before it joins a stack.
pub(crate) fn initial_network(job: &Job, config: ModelConfig, data: &DeviceData) -> Model {
    placed(job, drawn(job, config), config, data)
}

pub(super) fn drawn_in_parallel(jobs: &[Job], config: ModelConfig) -> Vec<Model> {
    let drawn = |job: &Job| {
        reporting_panics(|| {
            tch::set_num_threads(1);
            tch::no_grad(|| drawn(job, config))
        })
    };
    // Not the calling thread's pool, which on a GPU has a single thread.
    static ALL_CORES: OnceLock<Option<ThreadPool>> = OnceLock::new();
    match ALL_CORES.get_or_init(|| ThreadPoolBuilder::new().build().ok()) {
        Some(pool) => pool.install(|| jobs.par_iter().map(drawn).collect()),
        None => jobs.iter().map(drawn).collect(),
    }
}

/// The network drawn from a job's seed, on the CPU.
fn drawn(job: &Job, config: ModelConfig) -> Model {
    let arithmetic = Arithmetic::fp32(Device::Cpu);
    let single = ModelConfig { arithmetic, branch_scale: job.branch_scale, ..config };
    Model::drawn(single, job.init, job.init_seed)
}

/// Copies a drawn network to the config's device and runs the data-dependent pass, if its initializer
/// has one.
fn placed(job: &Job, mut drawn: Model, config: ModelConfig, data: &DeviceData) -> Model {
    let device = config.arithmetic.device;
    let mut network = if device.is_cuda() {
        let single = ModelConfig { arithmetic: Arithmetic::fp32(device), ..config };
        let mut network = Model::zeros(single, 1);
        network.set_member(0, &mut drawn);
        network.refresh();
        network
    } else {
        drawn
    };
    network.data_dependent(job.init, || {
        let indices: Vec<i64> =
            batches::init_batch(job, &batches::split(job)).into_iter().map(i64::from).collect();
        let indices = Tensor::from_slice(&indices).unsqueeze(0).to_device(device);
        let (pixels, _) = data.train.gather(&indices);
        let preprocess =
            Preprocess::new(job.dataset, job.augment, job.input, &data.moments, device);
        preprocess.eval(&pixels)
    });
    network
}
