//! Measures how long a cohort's setup, steps and evaluation take.

use std::time::{Duration, Instant};

use tch::{Device, Kind, Tensor};

use super::Libtorch;
use super::data::{DeviceData, DeviceImages};
use super::session::Session;
use wninit_core::data::Moments;
use wninit_core::job::{Dataset, Job, Value};
use wninit_core::plan::cohort::Cohort;
use wninit_core::plan::speed::Speed;
use wninit_core::run::trainer::Stop;

/// The least total time of the timed steps.
const ENOUGH: Duration = Duration::from_millis(300);

/// A step that takes longer on a CPU is timed alone, without warm-up. On a GPU the first step may
/// take seconds, in which libraries choose their kernels, and the second records a graph.
const LONG: Duration = Duration::from_secs(2);

/// Images of a timed evaluation, if there are as many.
const IMAGES: i64 = 512;

impl Libtorch {
    /// Measures a cohort on worker `worker`. If the data set is missing, on noise of its shape.
    ///
    /// # Errors
    /// The cohort does not fit into memory, or the device fails.
    pub(crate) fn measure(&self, worker: usize, cohort: &Cohort) -> Result<Speed, Stop> {
        self.on_worker(worker, || self.take_time(worker, cohort))
    }

    fn take_time(&self, worker: usize, cohort: &Cohort) -> Result<Speed, Stop> {
        let shape = cohort.shape();
        let device = self.devices[worker];
        let _tf32 = self.prepare(worker, shape.precision)?;
        let data = self
            .device_data(shape.dataset, worker)
            .unwrap_or_else(|_| noise(shape.dataset, device));

        let started = Instant::now();
        drop(self.start(cohort, &data, device));
        let setup = started.elapsed().as_secs_f64() / cohort.jobs().len() as f64;

        // A diverging member would leave the stack and make the others faster.
        let stable = Cohort::new(cohort.jobs().iter().map(stable).collect());
        let mut session = self.start(&stable, &data, device);
        session.recompute = self.recomputes(worker, cohort);

        // First, because a GPU's first step chooses algorithms, which evaluation uses, too.
        let mut total = steps(&mut session, &data, 1);
        let mut evaluation = || {
            let started = Instant::now();
            let images = session.evaluate_some(&data, IMAGES);
            (started.elapsed(), images)
        };
        let warms_up = |first: Duration| device.is_cuda() || first < LONG;
        let (mut evaluated, mut images) = evaluation();
        if warms_up(evaluated) {
            evaluation();
            (evaluated, images) = evaluation();
        }
        let image = evaluated.as_secs_f64() / images as f64;

        let validation = shape.val as f64 * image;
        let mut count = 1;
        if warms_up(total) {
            steps(&mut session, &data, 1);
            total = steps(&mut session, &data, 1);
            let left = ENOUGH.saturating_sub(total).as_secs_f64();
            let more = (left / total.as_secs_f64().max(1e-6)).clamp(1.0, 1000.0) as usize;
            total += steps(&mut session, &data, more);
            count += more;
        }
        // A step that completes an epoch includes a validation.
        let besides = if shape.steps() == 1 { validation } else { 0.0 };
        let step = (total.as_secs_f64() / count as f64 - besides).max(0.0);
        Ok(Speed { setup, step, image })
    }
}

/// The time of that many first steps of an epoch.
fn steps(session: &mut Session, data: &DeviceData, count: usize) -> Duration {
    let started = Instant::now();
    for _ in 0..count {
        session.advance(data);
        (session.epoch, session.step) = (0, 0);
    }
    session.read_losses(data); // synchronizes a GPU
    started.elapsed()
}

/// The job with negligible learning rate and an initialization that is finite at any depth. Its
/// training does not end with its first epoch, which may be one step.
fn stable(job: &Job) -> Job {
    let epochs = Value::Integer(job.epochs.max(2).into());
    let still =
        [("lr", Value::Float(1e-30)), ("warmup_epochs", Value::Integer(0)), ("epochs", epochs)];
    let start = [("init", Value::Text("orthogonal_proposed".to_owned()))];
    let still = job.with(&still).unwrap_or_else(|_| job.clone());
    still.with(&start).unwrap_or(still)
}

/// Random images and labels of a data set's shape.
pub(super) fn noise(dataset: Dataset, device: Device) -> DeviceData {
    let [c, h, w] = dataset.shape().map(|size| size as i64);
    let images = |count: usize| DeviceImages {
        pixels: match dataset.has_floats() {
            true => Tensor::rand([count as i64, c, h, w], (Kind::Float, device)),
            false => Tensor::randint(256, [count as i64, c, h, w], (Kind::Uint8, device)),
        },
        labels: Tensor::randint(dataset.classes() as i64, [count as i64], (Kind::Int64, device)),
    };
    let (train, test) = dataset.images();
    let train = images(dataset.undivided().unwrap_or(train));
    let test = if dataset.undivided().is_some() { train.shallow_clone() } else { images(test) };
    let channels = dataset.shape()[0];
    let moments = Moments { mean: vec![0.5; channels], std: vec![0.29; channels] }; // of uniform values
    DeviceData { train, test, moments, test_labels: [].into() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::sync::Arc;
    use wninit_core::job::Draft;

    #[test]
    fn a_training_of_one_step_is_measured() {
        let job = Draft {
            dataset: Some("digits".parse().unwrap()),
            depth: Some(2),
            width: Some(4),
            train_images: Some(16),
            batch_size: Some(16),
            epochs: Some(1),
            ..Draft::default()
        };
        let libtorch = Libtorch::new(vec![Device::Cpu], PathBuf::new(), Arc::default(), "");
        let speed = libtorch.measure(0, &Cohort::new(vec![job.resolve().unwrap()])).unwrap();
        assert!(speed.step > 0.0 && speed.image > 0.0);
    }
}
