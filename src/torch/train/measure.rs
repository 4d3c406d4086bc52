//! How long a cohort's start, steps and evaluation take, by doing a few of each.

use std::time::{Duration, Instant};

use tch::{Device, Kind, Tensor};

use super::session::{DeviceData, Session};
use super::{DeviceImages, Libtorch, catch_torch_panic};
use wninit_core::data::Moments;
use wninit_core::job::{Dataset, Job, Value};
use wninit_core::plan::cohort::Cohort;
use wninit_core::plan::speed::Speed;
use wninit_core::run::trainer::Stop;

/// How long steps are timed, if one does not take longer by itself.
const ENOUGH: Duration = Duration::from_millis(300);

/// A step that takes longer is timed by itself, without one before it to warm up.
const LONG: Duration = Duration::from_secs(2);

/// DeviceImages of an evaluation that is timed, where there are as many.
const IMAGES: i64 = 512;

impl Libtorch {
    /// Starts the cohort on worker `worker`, trains a few steps and evaluates some images. Nothing
    /// of it is kept. Where the data set is missing it takes noise of the same shape.
    ///
    /// # Errors
    /// If the machine fails: the cohort does not fit into memory, the device is lost.
    pub(crate) fn measure(&self, worker: usize, cohort: &Cohort) -> Result<Speed, Stop> {
        let _no_grad = tch::no_grad_guard();
        catch_torch_panic(|| self.take_time(worker, cohort))
    }

    fn take_time(&self, worker: usize, cohort: &Cohort) -> Result<Speed, Stop> {
        let shape = cohort.shape();
        let device = self.devices[worker];
        let _ready = self.prepare(worker, shape.precision)?;
        let data = self
            .device_data(shape.dataset, worker)
            .unwrap_or_else(|_| noise(shape.dataset, device));

        let started = Instant::now();
        drop(self.start(cohort, &data, device));
        let setup = started.elapsed().as_secs_f64() / cohort.jobs().len() as f64;

        // A network that blows up would leave the stack and make the rest faster.
        let calm = Cohort::new(cohort.jobs().iter().map(calm).collect());
        let mut session = self.start(&calm, &data, device);
        session.recompute = self.recomputes(worker, cohort);

        let mut evaluation = || {
            let started = Instant::now();
            let images = session.evaluate_some(&data, IMAGES);
            (started.elapsed(), images)
        };
        let (mut evaluated, mut images) = evaluation();
        if evaluated < LONG {
            evaluation(); // a GPU records it
            (evaluated, images) = evaluation();
        }
        let image = evaluated.as_secs_f64() / images as f64;

        let validation = shape.val as f64 * image;
        let mut total = steps(&mut session, &data, 1);
        let mut count = 1;
        if total < LONG {
            // The first one makes memory that the others find; a GPU records the second.
            steps(&mut session, &data, 1);
            total = steps(&mut session, &data, 1);
            let left = ENOUGH.saturating_sub(total).as_secs_f64();
            let more = (left / total.as_secs_f64().max(1e-6)).clamp(1.0, 1000.0) as usize;
            total += steps(&mut session, &data, more);
            count += more;
        }
        // A step that is a whole epoch ended with an evaluation.
        let besides = if shape.steps() == 1 { validation } else { 0.0 };
        let step = (total.as_secs_f64() / count as f64 - besides).max(0.0);
        Ok(Speed { setup, step, image })
    }
}

/// The time of that many steps, always at the start of an epoch.
fn steps(session: &mut Session, data: &DeviceData, count: usize) -> Duration {
    let started = Instant::now();
    for _ in 0..count {
        session.advance(data);
        (session.epoch, session.step) = (0, 0);
    }
    session.read_losses(); // waits for a GPU
    started.elapsed()
}

/// The job with steps too small to move it, from a start that is finite at any depth.
fn calm(job: &Job) -> Job {
    let still = [("lr", Value::Float(1e-30)), ("warmup_epochs", Value::Integer(0))];
    let start = [("init", Value::Text("orthogonal_proposed".to_owned()))];
    let still = job.with(&still).unwrap_or_else(|_| job.clone());
    still.with(&start).unwrap_or(still)
}

/// Random images and labels in the shape of a data set.
pub(super) fn noise(dataset: Dataset, device: Device) -> DeviceData {
    let [c, h, w] = dataset.shape().map(|size| size as i64);
    let images = |count: usize| DeviceImages {
        pixels: Tensor::randint(256, [count as i64, c, h, w], (Kind::Uint8, device)),
        labels: Tensor::randint(dataset.classes() as i64, [count as i64], (Kind::Int64, device)),
    };
    let (train, test) = dataset.images();
    let channels = dataset.shape()[0];
    let moments = Moments { mean: vec![0.5; channels], std: vec![0.29; channels] }; // of uniform bytes
    DeviceData { train: images(train), test: images(test), moments }
}
