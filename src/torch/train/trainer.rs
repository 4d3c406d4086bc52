//! The [`Trainer`] that trains with libtorch: sets up a worker's thread, trains a cohort to its end and
//! reports records, progress and warnings.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use chrono::Utc;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tch::{Device, Tensor};

use super::checkpoint::{self, Checkpoint};
use super::data::DeviceData;
use super::failure::{catch_torch_panic, short};
use super::initial::{initial_network, initial_stack};
use super::session::{EndedMember, MemberProgress, Session};
use super::tf32_lock::{Tf32Guard, Tf32Lock};
use crate::models::{Model, ModelConfig};
use crate::{device, ffi};
use wninit_core::data::{DataError, Sources};
use wninit_core::execution::{NO_THREAD, Recompute};
use wninit_core::job::{Dataset, Job, JobId, Precision};
use wninit_core::plan::cohort::{Cohort, Shape};
use wninit_core::plan::cost;
use wninit_core::results::{
    FailureReason, Outcome, Provenance, Record, hostname, one_line, processor,
};
use wninit_core::run::trainer::{Event, Stop, Trainer};

/// Where checkpoints are written and resumed from.
pub(crate) struct CheckpointConfig {
    /// Created with the first checkpoint.
    pub dir: PathBuf,
    pub every: Duration,
    /// The checkpoints of an earlier run, by each of their jobs.
    pub found: HashMap<JobId, Arc<Checkpoint>>,
}

/// Trains cohorts with libtorch.
pub struct Libtorch {
    /// The device of each worker.
    pub(crate) devices: Vec<Device>,
    sources: Sources,
    /// Set to stop training after the current step, or batch of an evaluation.
    pub(crate) stop: Arc<AtomicBool>,
    /// `None` if a cohort's progress need not survive an interruption: `wninit verify`, tests.
    pub(crate) checkpoints: Option<CheckpointConfig>,
    /// Whether to recompute activations.
    pub recompute: Recompute,
    /// The program's commit, for provenance.
    commit: &'static str,
    loaded: Mutex<HashMap<(Dataset, usize), DeviceData>>,
    /// The thread of each worker on a GPU.
    threads: Vec<OnceLock<ThreadPool>>,
}

impl Libtorch {
    /// A trainer with one worker per device, without checkpoints.
    pub fn new(
        devices: Vec<Device>,
        sources: impl Into<Sources>,
        stop: Arc<AtomicBool>,
        commit: &'static str,
    ) -> Libtorch {
        let (checkpoints, recompute, loaded) = (None, Recompute::Auto, Mutex::default());
        let threads = devices.iter().map(|_| OnceLock::new()).collect();
        let sources = sources.into();
        Libtorch { devices, sources, stop, checkpoints, recompute, commit, loaded, threads }
    }

    /// Runs work of a worker. All work of a worker on a GPU runs on one thread, because cuDNN keeps
    /// its choice of kernels, and libtorch its handles and workspaces, for each thread.
    pub(super) fn on_worker<T: Send>(
        &self,
        worker: usize,
        work: impl FnOnce() -> Result<T, Stop> + Send,
    ) -> Result<T, Stop> {
        let work = || {
            let _no_grad = tch::no_grad_guard();
            catch_torch_panic(work)
        };
        if !self.devices[worker].is_cuda() {
            return work();
        }
        let own = &self.threads[worker];
        if own.get().is_none() {
            let name = move |_| format!("gpu worker {worker}");
            let pool = ThreadPoolBuilder::new().num_threads(1).thread_name(name).build();
            let pool = pool
                .context(NO_THREAD)
                .map_err(|error| Stop::Failed { reason: FailureReason::Device, error })?;
            let _ = own.set(pool); // only this worker's own thread comes here
        }
        own.get().map_or_else(|| unreachable!("it was set"), |own| own.install(work))
    }

    /// The data set on the worker's device, read from disk the first time.
    pub(super) fn device_data(
        &self,
        dataset: Dataset,
        worker: usize,
    ) -> Result<DeviceData, DataError> {
        let device = self.devices[worker];
        // CPU workers share one copy.
        let slot = if device == Device::Cpu { usize::MAX } else { worker };
        let mut loaded = self.loaded.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let data = match loaded.entry((dataset, slot)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(DeviceData::of(&self.sources.load(dataset)?, device)),
        };
        Ok(data.shallow_clone())
    }

    /// Sets up the calling thread as [`Libtorch::prepare`] does, and loads the data set of a shape.
    ///
    /// # Errors
    /// The device does not support the precision, the data set cannot be read, or training is to stop.
    pub(crate) fn prepare_with_data(
        &self,
        worker: usize,
        shape: &Shape,
    ) -> Result<(DeviceData, Option<Tf32Guard<'static>>), Stop> {
        let guard = self.prepare(worker, shape.precision)?;
        let data = self
            .device_data(shape.dataset, worker)
            .map_err(|error| Stop::Failed { reason: FailureReason::Data, error: error.into() })?;
        Ok((data, guard))
    }

    /// Sets up the calling thread for a worker's device and a precision. On a GPU the guard holds the
    /// process's TF32 setting, for which this may wait until cohorts of another precision are done.
    ///
    /// A CPU worker has one thread, on any machine: with two, sums are split differently, their last
    /// digit changes, and training amplifies that (30 layers: test accuracy 0.46 or 0.53). More cores
    /// are used by more workers.
    pub(super) fn prepare(
        &self,
        worker: usize,
        precision: Precision,
    ) -> Result<Option<Tf32Guard<'static>>, Stop> {
        static TF32: Tf32Lock = Tf32Lock::new();
        tch::set_num_threads(1);
        ffi::flush_denormals();
        ffi::keep_freed_memory();
        let tf32 = precision == Precision::Tf32;
        let Device::Cuda(gpu) = self.devices[worker] else {
            if tf32 {
                let error = anyhow!(
                    "precision = \"tf32\" needs a GPU, and this worker is on the CPU; \
                     use fp32 or bf16, or run with --device cuda"
                );
                return Err(Stop::Failed { reason: FailureReason::Device, error });
            }
            return Ok(None);
        };
        let stopped = || self.stop.load(Ordering::Relaxed);
        let guard = TF32.take(tf32, ffi::allow_tf32, stopped).ok_or(Stop::Interrupted)?;
        ffi::cuda::own_stream(gpu);
        ffi::cuda::benchmark_cudnn(true);
        Ok(Some(guard))
    }

    pub(super) fn start(&self, cohort: &Cohort, data: &DeviceData, device: Device) -> Session {
        let model = initial_stack(cohort, data, device);
        let progress = vec![MemberProgress::default(); cohort.jobs().len()];
        Session::new(cohort, model, data, progress, 0, 0)
    }

    /// Resumes the cohort from an earlier run's checkpoint, if there is one. A checkpoint that cannot
    /// be used is set aside, so that its jobs can be trained again.
    fn resume(
        &self,
        cohort: &Cohort,
        data: &DeviceData,
        device: Device,
        event: &mut (dyn FnMut(Event) + Send),
    ) -> Option<Session> {
        let found = self.checkpoints.as_ref()?.found.get(&cohort.jobs()[0].id())?;
        match found.resume(cohort, ModelConfig::of(&cohort.shape(), device), data) {
            Ok(session) => {
                event(Event::Note(format!(
                    "{} jobs resume from a checkpoint, at {}",
                    cohort.jobs().len(),
                    session.place()
                )));
                Some(session)
            }
            Err(error) => {
                let message = checkpoint::set_aside(&found.path, &error);
                event(Event::Note(format!("warning: {message}")));
                None
            }
        }
    }

    fn run(
        &self,
        worker: usize,
        cohort: &Cohort,
        event: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Session, Stop> {
        let started = Instant::now();
        let started_at = Utc::now();
        let device = self.devices[worker];
        let (data, _tf32) = self.prepare_with_data(worker, &cohort.shape())?;

        let mut session = match self.resume(cohort, &data, device, event) {
            Some(session) => session,
            None => self.start(cohort, &data, device),
        };
        session.clock = started;
        session.recompute = self.recomputes(worker, cohort);
        session.stop = Arc::clone(&self.stop);

        let provenance = Provenance {
            device: device::label(device),
            cohort_size: cohort.jobs().len() as u32,
            instruction_set: Some(ffi::instruction_set()),
            processor: processor(),
            libtorch: ffi::LIBTORCH.to_owned(),
            git_sha: self.commit.to_owned(),
            hostname: hostname(),
            started_at,
            finished_at: started_at,
        };
        let report = |ended: Vec<EndedMember>, event: &mut (dyn FnMut(Event) + Send)| {
            for member in ended {
                let largest_class = data.largest_class(&member.member.job);
                event(Event::Finished(Box::new(record(member, largest_class, provenance.clone()))));
            }
        };
        let file = self.checkpoints.as_ref().map(|c| c.dir.join(checkpoint::file_name(cohort)));
        let mut last_checkpoint = Instant::now();
        let mut last_progress = Instant::now();
        while !session.is_over() {
            report(session.advance(&data), event);
            if let Some(error) = session.launcher.take_graph_error() {
                event(Event::Note(format!(
                    "warning: kernels are launched one by one, which is slower than as a CUDA graph: {}",
                    short(&error)
                )));
            }
            if last_progress.elapsed() > Duration::from_millis(200) {
                event(Event::Progress(session.fraction()));
                last_progress = Instant::now();
            }
            let stop = self.stop.load(Ordering::Relaxed);
            let due =
                self.checkpoints.as_ref().is_some_and(|c| last_checkpoint.elapsed() >= c.every);
            if session.is_over() || !(stop || due) {
                continue;
            }
            report(session.read_losses(&data), event);
            if let Some(file) = file.as_ref().filter(|_| !session.is_over()) {
                // A failed checkpoint does not stop training.
                if let Err(error) = checkpoint::save(file, &mut session) {
                    let lost =
                        if stop { "its jobs start over next time" } else { "training continues" };
                    event(Event::Note(format!("warning: {}; {lost}", one_line(&error))));
                }
                last_checkpoint = Instant::now();
            }
            if stop {
                return Err(Stop::Interrupted);
            }
        }
        Ok(session)
    }

    /// Parameters and buffers of a job's network at its start, by name and without the member axis.
    pub(crate) fn state_at_start(&self, job: &Job) -> Result<NamedTensors, Stop> {
        self.on_worker(0, || {
            let shape = Cohort::new(vec![job.clone()]).shape();
            let (data, _tf32) = self.prepare_with_data(0, &shape)?;
            let config = ModelConfig::of(&shape, self.devices[0]);
            let mut network = initial_network(job, config, &data);
            Ok(named(&mut network))
        })
    }

    /// As [`Libtorch::state_at_start`], of the epoch with the best validation accuracy, for which the
    /// job is trained again. `None` if it diverged before an epoch was whole.
    pub(crate) fn state_at_best(
        &self,
        job: &Job,
    ) -> Result<(Box<Record>, Option<NamedTensors>), Stop> {
        self.on_worker(0, || {
            let mut record = None;
            let mut keep = |event| {
                if let Event::Finished(finished) = event {
                    record = Some(finished);
                }
            };
            let mut session = self.run(0, &Cohort::new(vec![job.clone()]), &mut keep)?;
            let record = record.expect("a session that is over has finished its member");
            // A job that was trained to its end was tested with these parameters.
            if record.outcome == Outcome::Diverged {
                let Some(best) = &session.best else { return Ok((record, None)) };
                for (mut now, best) in session.model.state().into_iter().zip(best) {
                    now.copy_(best);
                }
            }
            Ok((record, Some(named(&mut session.model))))
        })
    }

    /// Whether to recompute activations so that the cohort fits its worker's share of the memory.
    pub(super) fn recomputes(&self, worker: usize, cohort: &Cohort) -> bool {
        match self.recompute {
            Recompute::On => true,
            Recompute::Off => false,
            Recompute::Auto => {
                let device = self.devices[worker];
                let sharing = self.devices.iter().filter(|other| **other == device).count() as f64;
                let needed = cost::memory(&cohort.shape(), cohort.jobs().len());
                device::free_memory(device).is_some_and(|free| needed > 0.7 * free / sharing)
            }
        }
    }
}

impl Trainer for Libtorch {
    fn train(
        &self,
        worker: usize,
        cohort: &Cohort,
        event: &mut (dyn FnMut(Event) + Send),
    ) -> Result<(), Stop> {
        self.on_worker(worker, || self.run(worker, cohort, event).map(drop))
    }
}

/// A network's parameters and buffers.
pub(crate) type NamedTensors = Vec<(String, Tensor)>;

fn named(network: &mut Model) -> NamedTensors {
    let params = network.params().into_iter().map(|p| (p.name.clone(), p.value.get(0).copy()));
    let mut named: NamedTensors = params.collect();
    let buffers = network.buffers().into_iter();
    named.extend(buffers.map(|b| (b.name.clone(), b.value.get(0).copy())));
    named
}

fn record(ended: EndedMember, test_largest_class: f64, provenance: Provenance) -> Record {
    let EndedMember { member, divergence, test } = ended;
    let progress = member.progress;
    let best = progress.best();
    let last = progress.epochs.last().filter(|_| divergence.is_none());
    Record {
        outcome: if divergence.is_none() { Outcome::Ok } else { Outcome::Diverged },
        reason: divergence.as_ref().map(|d| d.reason.to_owned()),
        epochs_done: progress.epochs.len() as u32,
        diverged_epoch: divergence.as_ref().map(|d| d.epoch),
        diverged_step: divergence.as_ref().map(|d| d.step),
        train_loss: last.map(|row| row.train_loss),
        train_acc: last.map(|row| row.train_acc),
        val_loss: last.map(|row| row.val_loss),
        val_acc: last.map(|row| row.val_acc),
        best_val_acc: best.map(|row| row.val_acc),
        best_epoch: best.map(|row| row.epoch),
        test_loss: test.map(|(loss, _)| loss),
        test_acc: test.map(|(_, accuracy)| accuracy),
        train_seconds: progress.seconds,
        images_per_second: (progress.seconds > 0.0)
            .then(|| progress.images as f64 / progress.seconds),
        test_largest_class: Some(test_largest_class),
        provenance: Provenance { finished_at: Utc::now(), ..provenance },
        job: member.job,
        epochs: progress.epochs,
    }
}
