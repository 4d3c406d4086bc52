//! Cohorts: jobs of one shape, trained together as stacked tensors `[member, …]`.

use std::collections::HashMap;

use crate::job::{Activation, Arch, Augment, Dataset, InputScaling, Job, Norm, Precision};

/// The fields that jobs of a cohort share: everything that decides a tensor's shape, the
/// operators or the number of steps. Initializer, learning rate, momentum, weight decay, schedule, warm-up and seeds may
/// differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // named as in `Settings`
pub struct Shape {
    pub dataset: Dataset,
    pub train: usize,
    pub val: usize,
    pub test: usize,
    pub augment: Augment,
    pub input: InputScaling,
    pub arch: Arch,
    pub activation: Activation,
    pub norm: Norm,
    /// Whether residual branches end in a learnt scalar, whatever its initial value.
    pub branch_scale: bool,
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
            test: job.tested(),
            augment: job.augment,
            input: job.input,
            arch: job.arch,
            activation: job.activation,
            norm: job.norm,
            branch_scale: job.branch_scale.is_some(),
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
    /// If `jobs` is empty or their shapes differ: the planner groups by [`Shape`].
    pub fn new(jobs: Vec<Job>) -> Cohort {
        let shape = Shape::of(jobs.first().expect("a cohort has a member"));
        assert!(jobs.iter().all(|job| Shape::of(job) == shape), "a cohort's jobs have one shape");
        Cohort { jobs }
    }

    /// The members.
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// The shape that they share.
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

/// Groups jobs of one shape, at most `width` to a cohort. Cohorts are in the order of their first
/// jobs.
///
/// A cohort holds jobs of one seed, so that seeds are finished one after the other. The exception
/// is a shape of which no two consecutive jobs share a seed: its cohorts mix seeds. The jobs of a
/// seed are divided evenly: nine of them at a width of eight make five and four.
pub fn cohorts(
    jobs: impl IntoIterator<Item = Job>,
    width: impl Fn(&Shape) -> usize,
) -> Vec<Cohort> {
    groups(jobs, |job| job, width).into_iter().map(|jobs| Cohort { jobs }).collect()
}

/// As [`cohorts`], for items that have a job.
pub(crate) fn groups<T>(
    items: impl IntoIterator<Item = T>,
    job: impl Fn(&T) -> &Job,
    width: impl Fn(&Shape) -> usize,
) -> Vec<Vec<T>> {
    let mut shapes: HashMap<Shape, Vec<(usize, T)>> = HashMap::new();
    for (position, item) in items.into_iter().enumerate() {
        shapes.entry(Shape::of(job(&item))).or_default().push((position, item));
    }
    let seeds = |(_, item): &(usize, T)| (job(item).init_seed, job(item).data_seed);
    let mut all: Vec<(usize, Vec<T>)> = Vec::new();
    for (shape, items) in shapes {
        let width = width(&shape).max(1);
        let one_each = items.windows(2).all(|pair| seeds(&pair[0]) != seeds(&pair[1]));
        let mut sizes = Vec::new();
        for group in items.chunk_by(|a, b| one_each || seeds(a) == seeds(b)) {
            let even = group.len().div_ceil(group.len().div_ceil(width));
            sizes.extend(group.chunks(even).map(<[_]>::len));
        }
        let mut items = items.into_iter().peekable();
        for size in sizes {
            let position = items.peek().map_or(0, |(position, _)| *position);
            let members = items.by_ref().take(size).map(|(_, item)| item).collect();
            all.push((position, members));
        }
    }
    all.sort_by_key(|(position, _)| *position);
    all.into_iter().map(|(_, members)| members).collect()
}

/// Puts the costliest cohorts of each seed first, so that all workers end at about the same time.
/// Seeds are still finished in their order.
pub fn costliest_first(cohorts: &mut [Cohort], cost: impl Fn(&Cohort) -> f64) {
    let seeds = |cohort: &Cohort| (cohort.jobs[0].init_seed, cohort.jobs[0].data_seed);
    for seed in cohorts.chunk_by_mut(|a, b| seeds(a) == seeds(b)) {
        seed.sort_by(|a, b| cost(b).total_cmp(&cost(a)));
    }
}

/// Halves the widest cohorts until there is one for each worker, or all have one member: a small
/// sweep ends sooner if every worker has a cohort.
pub fn spread(mut cohorts: Vec<Cohort>, workers: usize) -> Vec<Cohort> {
    while !cohorts.is_empty() && cohorts.len() < workers {
        let widest = (0..cohorts.len()).rev().max_by_key(|&i| cohorts[i].jobs.len()).unwrap_or(0);
        let Some(halves) = cohorts[widest].halves() else {
            break;
        };
        cohorts.splice(widest..=widest, halves);
    }
    cohorts
}
