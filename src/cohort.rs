//! Cohorts: jobs of one shape, trained together as stacked tensors `[member, …]`.

use crate::job::{Arch, Augment, Dataset, Job, Norm, Precision};

/// What jobs must share to be stacked: everything that decides a tensor's shape or the number
/// of steps. Initializer, learning rate, momentum, schedule, warm-up and seeds are free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // named as in `Settings`
pub struct Shape {
    pub dataset: Dataset,
    pub train: usize,
    pub val: usize,
    pub augment: Augment,
    pub arch: Arch,
    pub norm: Norm,
    pub precision: Precision,
    pub batch_size: usize,
    pub micro_batch: usize,
    pub epochs: u32,
}

impl Shape {
    /// The shape of a job.
    pub fn of(job: &Job) -> Shape {
        let (train, val) = job.split();
        let batch_size = job.batch_size as usize;
        Shape {
            dataset: job.dataset,
            train,
            val,
            augment: job.augment,
            arch: job.arch,
            norm: job.norm,
            precision: job.precision,
            batch_size,
            micro_batch: job.micro_batch.map_or(batch_size, |n| n as usize),
            epochs: job.epochs,
        }
    }

    /// Steps of one epoch; the last one may have a smaller batch.
    pub fn steps(&self) -> usize {
        self.train.div_ceil(self.batch_size)
    }
}

/// Jobs of one shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Cohort {
    jobs: Vec<Job>,
}

impl Cohort {
    /// A cohort of these jobs.
    ///
    /// # Panics
    /// If there is no job, or they differ in shape: the planner groups by [`Shape`].
    pub fn new(jobs: Vec<Job>) -> Cohort {
        let shape = Shape::of(jobs.first().expect("a cohort has a member"));
        assert!(jobs.iter().all(|job| Shape::of(job) == shape), "a cohort's jobs have one shape");
        Cohort { jobs }
    }

    /// The members.
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// What they share.
    pub fn shape(&self) -> Shape {
        Shape::of(&self.jobs[0])
    }

    /// Two cohorts of half the members each, or `None` for a single one.
    pub fn halves(&self) -> Option<[Cohort; 2]> {
        if self.jobs.len() < 2 {
            return None;
        }
        let (left, right) = self.jobs.split_at(self.jobs.len() / 2);
        Some([left.to_vec(), right.to_vec()].map(|jobs| Cohort { jobs }))
    }
}
