//! One cohort in, records out.

pub mod augment;
pub(crate) mod checkpoint;
mod evaluate;
mod launch;
mod measure;
pub(crate) mod schedule;
mod session;
mod turns;

use std::any::Any;
use std::cell::Cell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use chrono::{DateTime, Utc};
use rayon::prelude::*;
use tch::{Device, Tensor};

use crate::models::{Blueprint, Model};
use crate::nn::Arithmetic;
use crate::{device, ffi};
use augment::Preprocess;
use checkpoint::Saved;
pub use evaluate::Images;
pub use session::DeviceData;
use session::{Ended, Progress, Session};
use turns::{Turn, Turns};
use wninit_core::data::{self, Moments, batches};
use wninit_core::execution::Recompute;
use wninit_core::job::{Dataset, Gain, Job, JobId, Precision};
use wninit_core::plan::cohort::{Cohort, Shape};
use wninit_core::plan::cost;
use wninit_core::results::{FailureReason, Outcome, Provenance, Record, one_line};
use wninit_core::run::trainer::{Event, Stop, Trainer};

/// Where checkpoints go and come from.
pub struct Checkpoints {
    /// The folder, made when the first one is written.
    pub dir: PathBuf,
    /// How often a cohort under way writes one.
    pub every: Duration,
    /// Those that an earlier run left, by each job in them.
    pub found: HashMap<JobId, Arc<Saved>>,
}

/// What a thread has while it may compute in the arithmetic that it was readied for.
#[must_use]
pub(crate) struct Ready {
    _turn: Option<Turn<'static>>,
}

/// Trains cohorts with libtorch.
pub struct Libtorch {
    /// The device of each worker.
    pub devices: Vec<Device>,
    /// CPU threads of each worker.
    pub threads: i32,
    /// Where the data sets are.
    pub data: PathBuf,
    /// Set when training is to stop at the next step.
    pub stop: Arc<AtomicBool>,
    /// Checkpoints, unless a cohort's work may be lost (a retraining to verify, a test).
    pub checkpoints: Option<Checkpoints>,
    /// Whether to recompute activations.
    pub recompute: Recompute,
    /// The commit of the program, for the results' provenance.
    pub commit: &'static str,
    loaded: Mutex<HashMap<(Dataset, usize), DeviceData>>,
}

impl Libtorch {
    /// A trainer on these devices, one worker each, that keeps no checkpoints.
    pub fn new(
        devices: Vec<Device>,
        threads: i32,
        data: PathBuf,
        stop: Arc<AtomicBool>,
        commit: &'static str,
    ) -> Libtorch {
        Libtorch {
            devices,
            threads,
            data,
            stop,
            checkpoints: None,
            recompute: Recompute::Auto,
            commit,
            loaded: Mutex::default(),
        }
    }

    /// The data set on the worker's device, read from disk the first time.
    fn device_data(&self, dataset: Dataset, worker: usize) -> Result<DeviceData, data::DataError> {
        // Workers on the CPU share one copy.
        let device = self.devices[worker];
        let slot = if device == Device::Cpu { usize::MAX } else { worker };
        let mut loaded = self.loaded.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let data = match loaded.entry((dataset, slot)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let data = data::load(dataset, &self.data)?;
                let moments = Moments::of(&data.train);
                let images = |images: data::Images| {
                    let [c, h, w] = images.shape.map(|size| size as i64);
                    let pixels = Tensor::from_slice(&images.pixels).view([-1, c, h, w]);
                    let labels = Tensor::from_slice(&images.labels);
                    Images { pixels: pixels.to_device(device), labels: labels.to_device(device) }
                };
                new.insert(DeviceData {
                    train: images(data.train),
                    test: images(data.test),
                    moments,
                })
            }
        };
        Ok(data.shallow_clone())
    }

    /// Readies the calling thread for the worker's arithmetic, which it has until the [`Ready`] is
    /// dropped, and gets the data set of a shape.
    ///
    /// # Errors
    /// The device cannot do the arithmetic, the data set cannot be read, or training is to stop.
    pub(crate) fn ready(&self, worker: usize, shape: &Shape) -> Result<(DeviceData, Ready), Stop> {
        let ready = self.prepare(worker, shape.precision)?;
        let data = self
            .device_data(shape.dataset, worker)
            .map_err(|error| Stop::Failed { reason: FailureReason::Data, error: error.into() })?;
        Ok((data, ready))
    }

    /// Readies the calling thread for the worker's arithmetic. On a GPU that can mean to wait until
    /// cohorts of another precision are done.
    fn prepare(&self, worker: usize, precision: Precision) -> Result<Ready, Stop> {
        static TURNS: Turns = Turns::new();
        tch::set_num_threads(self.threads);
        ffi::flush_denormals();
        ffi::keep_freed_memory();
        let device = self.devices[worker];
        let tf32 = precision == Precision::Tf32;
        let Device::Cuda(gpu) = device else {
            if tf32 {
                let error = anyhow!(
                    "precision = \"tf32\" needs a GPU, and this worker is on the CPU; \
                     use fp32 or bf16, or run with --device cuda"
                );
                return Err(Stop::Failed { reason: FailureReason::Device, error });
            }
            return Ok(Ready { _turn: None });
        };
        let stopped = || self.stop.load(Ordering::Relaxed);
        let turn = TURNS.take(tf32, ffi::allow_tf32, stopped).ok_or(Stop::Interrupted)?;
        ffi::cuda::own_stream(gpu);
        ffi::cuda::benchmark_cudnn(true);
        Ok(Ready { _turn: Some(turn) })
    }

    fn start(&self, cohort: &Cohort, data: &DeviceData, device: Device) -> Session {
        let model = initial_stack(cohort, data, device);
        let progress = vec![Progress::default(); cohort.jobs().len()];
        Session::new(cohort, model, data, progress, 0, 0)
    }

    /// Takes up the cohort where an earlier run's checkpoint left it. A checkpoint that turns out to
    /// be of no use is set aside: nothing may keep a job from being trained for good.
    fn resume(
        &self,
        cohort: &Cohort,
        data: &DeviceData,
        device: Device,
        event: &mut dyn FnMut(Event),
    ) -> Option<Session> {
        let saved = self.checkpoints.as_ref()?.found.get(&cohort.jobs()[0].id())?;
        match saved.resume(cohort, blueprint(&cohort.shape(), device), data) {
            Ok(session) => {
                event(Event::Note(format!(
                    "{} jobs go on from a checkpoint, at epoch {}, step {}",
                    cohort.jobs().len(),
                    session.epoch + 1,
                    session.step + 1
                )));
                Some(session)
            }
            Err(error) => {
                event(Event::Note(format!(
                    "warning: {}",
                    checkpoint::set_aside(&saved.path, &error)
                )));
                None
            }
        }
    }

    fn run(
        &self,
        worker: usize,
        cohort: &Cohort,
        event: &mut dyn FnMut(Event),
    ) -> Result<(), Stop> {
        let started = Instant::now();
        let started_at = Utc::now();
        let device = self.devices[worker];
        let shape = cohort.shape();
        let (data, _ready) = self.ready(worker, &shape)?;

        let mut session = match self.resume(cohort, &data, device, event) {
            Some(session) => session,
            None => self.start(cohort, &data, device),
        };
        session.charge_from(started);
        session.recompute = self.recomputes(worker, cohort);

        let file = self
            .checkpoints
            .as_ref()
            .map(|checkpoints| checkpoints.dir.join(checkpoint::file_name(cohort)));
        let provenance = Provenance {
            device: device::label(device),
            cohort_size: cohort.jobs().len() as u32,
            instruction_set: Some(ffi::instruction_set()),
            libtorch: ffi::LIBTORCH.to_owned(),
            git_sha: self.commit.to_owned(),
            hostname: wninit_core::results::hostname(),
            started_at,
            finished_at: started_at,
        };
        let mut last_checkpoint = Instant::now();
        let mut last_progress = Instant::now();
        while !session.is_over() {
            let ended = session.advance(&data);
            for ended in ended {
                event(Event::Finished(Box::new(record(ended, provenance.clone()))));
            }
            if let Some(why) = session.complaint() {
                event(Event::Note(format!(
                    "warning: steps are launched one kernel at a time, which is slower than as a CUDA graph: {}",
                    in_short(&why)
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
            for ended in session.read_losses() {
                event(Event::Finished(Box::new(record(ended, provenance.clone()))));
            }
            if let Some(file) = file.as_ref().filter(|_| !session.is_over()) {
                // Training goes on without one: what can still be measured is not given up.
                if let Err(error) = checkpoint::save(file, &mut session) {
                    let lost =
                        if stop { "its jobs start over next time" } else { "training goes on" };
                    event(Event::Note(format!("warning: {}; {lost}", one_line(&error))));
                }
                last_checkpoint = Instant::now();
            }
            if stop {
                return Err(Stop::Interrupted);
            }
        }
        if let Some(file) = file {
            // A checkpoint that outlives its cohort does no harm: its jobs are finished.
            let _ = std::fs::remove_file(file);
        }
        Ok(())
    }

    /// Whether activations have to be computed again for the cohort to fit into its worker's
    /// share of the memory.
    fn recomputes(&self, worker: usize, cohort: &Cohort) -> bool {
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
        event: &mut dyn FnMut(Event),
    ) -> Result<(), Stop> {
        let _no_grad = tch::no_grad_guard();
        caught(|| self.run(worker, cohort, event))
    }
}

/// Does work with tensors. tch's operators panic where libtorch throws (out of memory, a lost
/// device, our bugs); here that becomes a [`Stop`].
pub(crate) fn caught<T>(work: impl FnOnce() -> Result<T, Stop>) -> Result<T, Stop> {
    keep_quiet_about_failures();
    let result = as_training(|| catch_unwind(AssertUnwindSafe(work)));
    result.unwrap_or_else(|panic| {
        let message = panic_message(&*panic);
        Err(Stop::Failed { reason: reason_of(message), error: anyhow!(in_short(message)) })
    })
}

/// The networks that a cohort starts from, as one stack.
pub(crate) fn initial_stack(cohort: &Cohort, data: &DeviceData, device: Device) -> Model {
    let blueprint = blueprint(&cohort.shape(), device);
    let mut model = Model::zeros(blueprint, cohort.jobs().len() as i64);
    let mut join = |m: usize, job: &Job, drawn: Model| {
        model.set_member(m as i64, &mut placed(job, drawn, blueprint, data));
    };
    if device.is_cuda() {
        // Orthogonal directions take the CPU longer than the GPU takes to train with them, and while
        // a GPU waits the cores have nothing else to do.
        let networks = drawn_at_once(cohort.jobs(), blueprint);
        for (m, (job, network)) in cohort.jobs().iter().zip(networks).enumerate() {
            join(m, job, network);
        }
    } else {
        for (m, job) in cohort.jobs().iter().enumerate() {
            join(m, job, drawn(job, blueprint));
        }
    }
    model.refresh();
    model
}

/// What the seeds of jobs draw, on all cores.
fn drawn_at_once(jobs: &[Job], blueprint: Blueprint) -> Vec<Model> {
    let drawn = |job: &Job| {
        as_training(|| {
            tch::set_num_threads(1);
            tch::no_grad(|| drawn(job, blueprint))
        })
    };
    jobs.par_iter().map(drawn).collect()
}

/// The network that a job starts from, on the blueprint's device. It depends on the job alone:
/// it is made by itself, in single precision, before it joins a stack.
pub(crate) fn initial_network(job: &Job, blueprint: Blueprint, data: &DeviceData) -> Model {
    placed(job, drawn(job, blueprint), blueprint, data)
}

/// What a job's seed draws, on the CPU.
fn drawn(job: &Job, blueprint: Blueprint) -> Model {
    let single = Blueprint { arithmetic: Arithmetic::fp32(Device::Cpu), ..blueprint };
    Model::drawn(single, job.init, job.init_seed)
}

/// Takes a drawn network to the blueprint's device, and through the data-dependent pass if its
/// initializer has one.
fn placed(job: &Job, mut drawn: Model, blueprint: Blueprint, data: &DeviceData) -> Model {
    let device = blueprint.arithmetic.device;
    let mut network = if device.is_cuda() {
        let single = Blueprint { arithmetic: Arithmetic::fp32(device), ..blueprint };
        let mut network = Model::zeros(single, 1);
        network.set_member(0, &mut drawn);
        network.refresh();
        network
    } else {
        drawn
    };
    if job.init.gain == Gain::Datadep {
        let indices: Vec<i64> =
            batches::init_batch(job, &batches::split(job)).into_iter().map(i64::from).collect();
        let indices = Tensor::from_slice(&indices).unsqueeze(0).to_device(device);
        let (pixels, _) = data.train.gather(&indices);
        let preprocess =
            Preprocess::scaled(job.dataset, job.augment, job.input, &data.moments, device);
        network.data_dependent(&preprocess.eval(&pixels));
    }
    network
}

pub(crate) fn blueprint(shape: &Shape, device: Device) -> Blueprint {
    Blueprint {
        arch: shape.arch,
        norm: shape.norm,
        input: shape.dataset.shape().map(|size| size as i64),
        classes: shape.dataset.classes() as i64,
        arithmetic: Blueprint::arithmetic(shape.precision, device),
    }
}

fn record(ended: Ended, provenance: Provenance) -> Record {
    let Ended { member, result } = ended;
    let progress = member.progress;
    let finished_at: DateTime<Utc> = Utc::now();
    let best = progress.best();
    let last = progress.epochs.last().filter(|_| result.is_ok());
    let divergence = result.as_ref().err();
    let test = result.as_ref().ok();
    Record {
        outcome: if result.is_ok() { Outcome::Ok } else { Outcome::Diverged },
        reason: divergence.map(|d| d.reason.to_owned()),
        epochs_done: progress.epochs.len() as u32,
        diverged_epoch: divergence.map(|d| d.epoch),
        diverged_step: divergence.map(|d| d.step),
        train_loss: last.map(|row| row.train_loss),
        train_acc: last.map(|row| row.train_acc),
        val_loss: last.map(|row| row.val_loss),
        val_acc: last.map(|row| row.val_acc),
        best_val_acc: best.map(|row| row.val_acc),
        best_epoch: best.map(|row| row.epoch),
        test_loss: test.map(|(loss, _)| *loss),
        test_acc: test.map(|(_, accuracy)| *accuracy),
        train_seconds: progress.seconds,
        images_per_second: (progress.seconds > 0.0)
            .then(|| progress.images as f64 / progress.seconds),
        provenance: Provenance { finished_at, ..provenance },
        job: member.job,
        epochs: progress.epochs,
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message")
}

thread_local! {
    /// Whether the thread is inside [`as_training`].
    static TRAINING: Cell<bool> = const { Cell::new(false) };
}

/// Does work whose panics are caught and reported by [`caught`], on this thread or another one.
fn as_training<T>(work: impl FnOnce() -> T) -> T {
    /// Puts back what was there, however the work ends: threads of a pool do other work next.
    struct Back(bool);
    impl Drop for Back {
        fn drop(&mut self) {
            TRAINING.set(self.0);
        }
    }
    let _back = Back(TRAINING.replace(true));
    work()
}

/// Leaves the report of a panic that is no bug to whoever catches it.
///
/// That is more than tidiness: Rust's own report looks up a backtrace while it holds a lock, and
/// where memory has run out that ends in a thread that waits for itself for ever.
fn keep_quiet_about_failures() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !TRAINING.get() || reason_of(panic_message(info.payload())) == FailureReason::Panic {
                report(info);
            }
        }));
    });
}

/// libtorch's words, without those that tch puts around them and without the C++ stack.
fn in_short(message: &str) -> String {
    let words = message.split_once("Torch(\"").map_or(message, |(_, words)| words);
    let end = ["\\nframe #", "\nframe #", "\\nException raised from", "\nException raised from"]
        .iter()
        .filter_map(|stack| words.find(stack))
        .min();
    let words = words[..end.unwrap_or(words.len())].trim_end_matches("\")");
    let words = match words.split_once("] err == 0. ") {
        Some((place, words)) if place.starts_with("[enforce fail") => words,
        _ => words,
    };
    words.replace("\\n", " ").trim().to_owned()
}

/// What kind of failure libtorch's message speaks of.
fn reason_of(message: &str) -> FailureReason {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&[
        "out of memory",
        "can't allocate memory",
        "not enough memory",
        "Cannot allocate memory",
        "std::bad_alloc",
    ]) {
        FailureReason::Memory
    } else if says(&["CUDA error", "cuDNN error", "CUBLAS_STATUS", "cuda runtime error"]) {
        FailureReason::Device
    } else {
        FailureReason::Panic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_draw_networks_are_left_as_they_were() {
        let job = wninit_core::job::Draft::default().resolve().expect("defaults");
        let blueprint = blueprint(&Shape::of(&job), Device::Cpu);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        pool.install(|| {
            assert_eq!(drawn_at_once(&[job.clone(), job], blueprint).len(), 2);
            assert!(!TRAINING.get(), "a later panic of other work would be kept quiet");
        });
        let died = catch_unwind(|| as_training(|| panic!("out of memory")));
        assert!(died.is_err() && !TRAINING.get());
    }

    #[test]
    fn a_failure_is_told_in_libtorchs_words_alone() {
        let message = "called `Result::unwrap()` on an `Err` value: Torch(\"[enforce fail at alloc_cpu.cpp:127] \
                       err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes. Error \
                       code 12 (Cannot allocate memory)\\nframe #0: c10::ThrowEnforceNotMet + 0x6a\")";
        assert_eq!(reason_of(message), FailureReason::Memory);
        let short = in_short(message);
        assert!(short.starts_with("DefaultCPUAllocator: can't allocate"), "{short}");
        assert!(short.ends_with("(Cannot allocate memory)"), "{short}");
        assert_eq!(
            in_short("called `Result::unwrap()` on an `Err` value: Torch(\"std::bad_alloc\")"),
            "std::bad_alloc"
        );
        assert_eq!(reason_of("std::bad_alloc"), FailureReason::Memory);
        assert_eq!(in_short("index out of bounds"), "index out of bounds");
    }
}
