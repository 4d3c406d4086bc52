//! How fast this machine trains each network: measured by a few steps, cached, and used for the
//! cost of a plan.
//!
//! Networks without a measurement are estimated from their arithmetic and rough [`Rates`]. The
//! figures are in the user's cache folder, in a file for each kind of machine; a lost file costs
//! only time.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::atomic::write_atomically;
use crate::cache;
use crate::execution::cores;
use crate::plan::cohort::{Cohort, Shape};
use crate::plan::cost::{self, Rates};

/// Name of the CPU device.
const CPU: &str = "cpu";

/// The file that hands speeds from one program to the other.
const HANDED_OVER: &str = "speeds.json";

/// Numbers of members that are tried on a GPU.
const WIDTHS: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// Times of a network with a number of members, measured on a worker while the others ran the same.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Seconds to initialise a member.
    pub setup: f64,
    /// Seconds of a training step of all members.
    pub step: f64,
    /// Seconds to evaluate one image with all members.
    pub image: f64,
}

/// Counts the ways in which speeds were measured; figures of another one are measured again.
const METHOD: u32 = 2;

/// The measured speeds of this machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Speeds {
    /// [`METHOD`]; files of the first have none.
    #[serde(default)]
    method: u32,
    /// `cpu` or the first GPU's name.
    device: String,
    /// Workers that were busy at once.
    workers: usize,
    /// By network, batch and members.
    speeds: BTreeMap<String, Speed>,
}

/// The properties that decide a step's time, as text.
pub fn key(shape: &Shape, members: usize) -> String {
    let [channels, height, width] = shape.dataset.shape();
    format!(
        "{:?}, {}, norm {}, {}, {channels}x{height}x{width} to {} classes, augment {}, batch {}/{}, {members} members",
        shape.arch,
        shape.activation,
        shape.norm,
        shape.precision,
        shape.dataset.classes(),
        shape.augment,
        shape.batch_size,
        shape.micro_batch,
    )
}

impl Speeds {
    /// Speeds measured earlier on this machine; an empty table if they cannot be read.
    pub fn load() -> Speeds {
        let read = || {
            let text = cache::read(&file())?;
            serde_json::from_str(&text).ok().filter(|speeds: &Speeds| speeds.method == METHOD)
        };
        let usable = |speed: &Speed| {
            [speed.setup, speed.step, speed.image].iter().all(|s| s.is_finite() && *s >= 0.0)
        };
        let mut speeds = read().unwrap_or_default();
        speeds.speeds.retain(|_, speed| usable(speed));
        speeds
    }

    /// Speeds measured earlier on a device with that many workers.
    pub fn of(device: &str, workers: usize) -> Speeds {
        let speeds = Speeds::load();
        if speeds.machine() == Some((device, workers)) {
            speeds
        } else {
            Speeds::unmeasured(device, workers)
        }
    }

    /// An empty table for a device.
    fn unmeasured(device: &str, workers: usize) -> Speeds {
        let device = device.to_owned();
        Speeds { method: METHOD, device, workers, speeds: BTreeMap::new() }
    }

    /// The device and the number of workers that the figures are for; `None` if unknown.
    pub fn machine(&self) -> Option<(&str, usize)> {
        (!self.device.is_empty()).then_some((self.device.as_str(), self.workers))
    }

    /// The GPU that the figures are for, if any.
    pub fn gpu(&self) -> Option<&str> {
        self.machine().map(|(device, _)| device).filter(|device| *device != CPU)
    }

    /// The speeds of a core and of a GPU: `self` for the device it was measured on, estimates for
    /// the other.
    pub fn of_a_core_and_a_gpu(self) -> [Speeds; 2] {
        match self.gpu() {
            Some(_) => [Speeds::unmeasured(CPU, cores()), self],
            None => [self, Speeds::unmeasured("a GPU", 1)],
        }
    }

    /// Whether this number of members of the shape was measured.
    pub fn knows(&self, shape: &Shape, members: usize) -> bool {
        self.speeds.contains_key(&key(shape, members))
    }

    /// Adds a figure. If the device or the number of workers differs, it replaces all earlier ones.
    pub fn insert(&mut self, device: &str, workers: usize, shape: &Shape, n: usize, speed: Speed) {
        if (self.device.as_str(), self.workers) != (device, workers) {
            *self = Speeds::unmeasured(device, workers);
        }
        self.speeds.insert(key(shape, n), speed);
    }

    /// Writes the speeds to the cache folder.
    ///
    /// # Errors
    /// If there is no such folder, or it cannot be written.
    pub fn save(&self) -> anyhow::Result<()> {
        cache::write(&file(), &serde_json::to_string_pretty(self)?)
    }

    /// Writes the cache to a separate folder, for the program that continues.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn hand_over(&self, dir: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string(self)?;
        Ok(write_atomically(&dir.join(HANDED_OVER), text.as_bytes())?)
    }

    /// Reads the file of [`Speeds::hand_over`], and deletes the folder.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn taken_over(dir: &Path) -> anyhow::Result<Speeds> {
        let path = dir.join(HANDED_OVER);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let _ = std::fs::remove_dir_all(dir);
        Ok(serde_json::from_str(&text)?)
    }

    /// How many jobs of a shape a worker trains together: the fastest measured width on a GPU, else
    /// [`cost::cpu_width`].
    pub fn width(&self, shape: &Shape) -> usize {
        let per_member =
            |n: usize| self.speeds.get(&key(shape, n)).map(|speed| speed.step / n as f64);
        let tried = WIDTHS.iter().filter_map(|&n| per_member(n).map(|seconds| (seconds, n)));
        let best = tried.min_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, n)| n);
        best.filter(|_| self.gpu().is_some()).unwrap_or_else(|| cost::cpu_width(shape))
    }

    /// Measures how many jobs of a shape to train together, at most `most`: doubles the width while
    /// time per member falls by at least 5 %; stops at an error, such as out of memory. Known
    /// widths are not measured again.
    ///
    /// # Errors
    /// `measure` failed for a single job.
    pub fn try_widths<E>(
        &mut self,
        device: &str,
        workers: usize,
        shape: &Shape,
        most: usize,
        mut measure: impl FnMut(usize) -> Result<Speed, E>,
    ) -> Result<(), E> {
        let mut best = f64::INFINITY;
        for &n in WIDTHS.iter().take_while(|&&n| n <= most.max(1)) {
            let known = self.speeds.get(&key(shape, n)).copied();
            let speed = match known.map_or_else(|| measure(n), Ok) {
                Ok(speed) => speed,
                Err(error) if n == 1 => return Err(error),
                Err(_) => break,
            };
            self.insert(device, workers, shape, n, speed);
            let seconds = speed.step / n as f64;
            if seconds > 0.95 * best {
                break;
            }
            best = seconds;
        }
        Ok(())
    }

    /// Seconds that a worker needs to train `members` jobs of a shape together to the end.
    pub fn seconds(&self, shape: &Shape, members: usize) -> f64 {
        let Some(speed) = self.speeds.get(&key(shape, members)) else {
            let rates = if self.gpu().is_some() { &Rates::GPU } else { &Rates::CPU };
            return cost::seconds(shape, members, rates);
        };
        let epochs = f64::from(shape.epochs);
        let evaluated = shape.val as f64 * epochs + shape.test as f64;
        speed.setup * members as f64
            + speed.step * shape.steps() as f64 * epochs
            + speed.image * evaluated
    }

    /// Seconds until `workers` workers have finished the cohorts, assigned in order.
    pub fn sweep_seconds<'c>(
        &self,
        cohorts: impl IntoIterator<Item = &'c Cohort>,
        workers: usize,
    ) -> f64 {
        let mut free_at = vec![0.0_f64; workers.max(1)];
        for cohort in cohorts {
            let next = free_at.iter_mut().min_by(|a, b| a.total_cmp(b));
            if let Some(next) = next {
                *next += self.seconds(&cohort.shape(), cohort.jobs().len());
            }
        }
        free_at.into_iter().fold(0.0, f64::max)
    }
}

/// The file for this kind of machine: machines with the same processor and cores share it.
fn file() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = cache::file_name(model.map_or("cpu", |(_, model)| model));
    format!("speeds-{model}-{}.json", cores())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::job::Draft;

    fn shape(depth: u32) -> Shape {
        let draft = Draft { depth: Some(depth), epochs: Some(2), ..Draft::default() };
        Shape::of(&draft.resolve().unwrap())
    }

    #[test]
    fn a_measured_network_costs_its_steps_its_evaluations_and_its_start() {
        let mut speeds = Speeds::default();
        let rough = speeds.seconds(&shape(10), 4);
        assert_eq!(rough, cost::seconds(&shape(10), 4, &Rates::CPU));
        speeds.insert("cpu", 2, &shape(10), 4, Speed { setup: 0.5, step: 0.01, image: 1e-5 });
        // Fashion-MNIST: 54,000 images to train on, 6,000 to validate, 10,000 to test.
        let expected = 4.0 * 0.5 + 2.0 * 422.0 * 0.01 + (2.0 * 6000.0 + 10_000.0) * 1e-5;
        assert!((speeds.seconds(&shape(10), 4) - expected).abs() < 1e-9);
        assert!(speeds.knows(&shape(10), 4) && !speeds.knows(&shape(10), 3));
        assert!(!speeds.knows(&shape(11), 4));
    }

    #[test]
    fn what_a_gpu_was_not_timed_at_costs_what_a_gpu_is_assumed_to_need() {
        let assumed = cost::seconds(&shape(10), 4, &Rates::GPU);
        let mut speeds = Speeds::default();
        let speed = Speed { setup: 0.0, step: 0.0, image: 0.0 };
        speeds.insert("NVIDIA H200", 1, &shape(5), 4, speed);
        assert_eq!(speeds.seconds(&shape(10), 4), assumed);
        // Nor is a GPU at which nothing was timed so far a core.
        let speeds = Speeds::unmeasured("NVIDIA H200", 1);
        assert_eq!(speeds.seconds(&shape(10), 4), assumed);
        assert_eq!(speeds.machine(), Some(("NVIDIA H200", 1)));
        let [core, gpu] = speeds.of_a_core_and_a_gpu();
        assert_eq!(core.seconds(&shape(10), 4), cost::seconds(&shape(10), 4, &Rates::CPU));
        assert_eq!(gpu.seconds(&shape(10), 4), assumed);
    }

    #[test]
    fn a_gpu_trains_as_many_together_as_still_gain_and_a_core_as_many_as_suit_it() {
        let mut speeds = Speeds::default();
        let tried = std::cell::RefCell::new(Vec::new());
        // Steps that take the same time up to 16 members, and from there on in proportion.
        let measure = |n: usize| {
            tried.borrow_mut().push(n);
            Ok::<_, ()>(Speed { setup: 0.0, step: n.max(16) as f64, image: 0.0 })
        };
        assert_eq!(speeds.width(&shape(10)), cost::cpu_width(&shape(10)));
        speeds.try_widths("NVIDIA H200", 1, &shape(10), 100, measure).unwrap();
        assert_eq!(speeds.width(&shape(10)), 16);
        speeds.try_widths("NVIDIA H200", 1, &shape(5), 10, measure).unwrap();
        assert_eq!(speeds.width(&shape(5)), 8, "no more than there are, or fit");
        speeds.try_widths("NVIDIA H200", 1, &shape(10), 100, measure).unwrap();
        assert_eq!(
            *tried.borrow(),
            [1, 2, 4, 8, 16, 32, 1, 2, 4, 8],
            "what is known is not measured again"
        );

        let memory = |n: usize| if n > 2 { Err(n) } else { measure(n).map_err(|()| n) };
        speeds.try_widths("NVIDIA H200", 1, &shape(7), 100, memory).unwrap();
        assert_eq!(speeds.width(&shape(7)), 2, "what does not fit is not taken");
        assert_eq!(speeds.try_widths("NVIDIA H200", 1, &shape(8), 100, Err), Err(1));

        speeds.insert("cpu", 2, &shape(10), 1, Speed { setup: 0.0, step: 0.0, image: 0.0 });
        assert_eq!(speeds.width(&shape(10)), cost::cpu_width(&shape(10)));
    }

    #[test]
    fn figures_of_other_workers_are_not_mixed() {
        let speed = Speed { setup: 0.0, step: 1.0, image: 0.0 };
        let mut speeds = Speeds::default();
        speeds.insert("cpu", 2, &shape(2), 1, speed);
        speeds.insert("cpu", 2, &shape(5), 1, speed);
        assert!(speeds.knows(&shape(2), 1) && speeds.knows(&shape(5), 1));
        speeds.insert("cuda:0", 1, &shape(5), 1, speed);
        assert!(!speeds.knows(&shape(2), 1));
        assert_eq!(speeds.machine(), Some(("cuda:0", 1)));
    }
}
