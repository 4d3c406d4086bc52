//! Cohorts: jobs of one shape, trained together as stacked tensors `[member, …]`.

use std::collections::HashMap;

use crate::job::{Arch, Augment, Dataset, InputScaling, Job, Norm, Precision};

/// What jobs must share to be stacked: everything that decides a tensor's shape or the number
/// of steps. Initializer, learning rate, momentum, schedule, warm-up and seeds are free.
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
            test: job.tested(),
            augment: job.augment,
            input: job.input,
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

/// Puts jobs of one shape together, at most `width` of them, and keeps the order otherwise: a
/// cohort stands where its first job stood.
///
/// A cohort holds jobs of one seed, so that seeds are still finished one after the other; only
/// where no shape-mates share a seed do several seeds stand in a cohort. The jobs of a seed are
/// shared out evenly: nine of them at a width of eight make five and four.
pub fn cohorts(
    jobs: impl IntoIterator<Item = Job>,
    width: impl Fn(&Shape) -> usize,
) -> Vec<Cohort> {
    groups(jobs, |job| job, width).into_iter().map(|jobs| Cohort { jobs }).collect()
}

/// As [`cohorts`], for whatever stands for a job.
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

/// Puts the costliest cohorts of each seed first, so that workers that take them one after the
/// other end at about the same time. Seeds are still finished in their order.
pub fn costliest_first(cohorts: &mut [Cohort], cost: impl Fn(&Cohort) -> f64) {
    let seeds = |cohort: &Cohort| (cohort.jobs[0].init_seed, cohort.jobs[0].data_seed);
    for seed in cohorts.chunk_by_mut(|a, b| seeds(a) == seeds(b)) {
        seed.sort_by(|a, b| cost(b).total_cmp(&cost(a)));
    }
}

/// Halves the widest cohorts until there is one for each worker, or none of two members is left:
/// a small sweep is done sooner on all workers than in wide stacks on a few.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::job::{Draft, Value};

    /// Jobs in seed-major order: seeds × depths × learning rates.
    fn jobs(seeds: u64, depths: &[u32], rates: usize) -> Vec<Job> {
        let mut jobs = Vec::new();
        for seed in 0..seeds {
            for &depth in depths {
                for rate in 1..=rates {
                    let draft = Draft {
                        depth: Some(depth),
                        seed: Some(seed),
                        lr: Some(rate as f64 / 100.0),
                        ..Draft::default()
                    };
                    jobs.push(draft.resolve().unwrap());
                }
            }
        }
        jobs
    }

    fn members(cohorts: &[Cohort]) -> Vec<Job> {
        cohorts.iter().flat_map(|cohort| cohort.jobs().to_vec()).collect()
    }

    #[test]
    fn a_sweep_stopped_between_cohorts_has_finished_whole_seeds_first() {
        let jobs = jobs(3, &[2, 5], 9);
        let cohorts = cohorts(jobs.clone(), |_| 8);
        assert_eq!(members(&cohorts), jobs);
        assert_eq!(cohorts.iter().map(|c| c.jobs().len()).collect::<Vec<_>>(), [5, 4].repeat(6));
    }

    #[test]
    fn jobs_that_differ_in_the_seed_alone_train_together() {
        let cohorts = cohorts(jobs(6, &[2, 5], 1), |_| 4);
        assert_eq!(cohorts.len(), 4);
        assert!(cohorts.iter().all(|cohort| cohort.jobs().len() == 3));
    }

    #[test]
    fn every_job_is_in_one_cohort_whatever_the_width() {
        let jobs = jobs(3, &[2, 5, 7], 4);
        for width in [0, 1, 2, 3, 5, 100] {
            let cohorts = cohorts(jobs.clone(), |_| width);
            let mut ids: Vec<_> = members(&cohorts).iter().map(Job::id).collect();
            ids.sort_unstable();
            let mut expected: Vec<_> = jobs.iter().map(Job::id).collect();
            expected.sort_unstable();
            assert_eq!(ids, expected);
            assert!(cohorts.iter().all(|cohort| cohort.jobs().len() <= width.max(1)));
        }
    }

    #[test]
    fn no_worker_is_idle_while_another_one_has_a_stack() {
        let jobs = jobs(1, &[2], 8);
        let sizes = |workers| {
            let spread = spread(cohorts(jobs.clone(), |_| 8), workers);
            assert_eq!(members(&spread), jobs, "the order stays");
            spread.iter().map(|cohort| cohort.jobs().len()).collect::<Vec<_>>()
        };
        assert_eq!(sizes(1), [8]);
        assert_eq!(sizes(2), [4, 4]);
        assert_eq!(sizes(3), [2, 2, 4]);
        assert_eq!(sizes(100), [1; 8]);
        assert_eq!(spread(Vec::new(), 4), []);
    }

    #[test]
    fn several_workers_end_at_about_the_same_time() {
        use crate::plan::speed::Speeds;
        let speeds = Speeds::default();
        let mut cohorts = cohorts(jobs(1, &[1, 2, 3, 5, 10, 200], 8), |_| 8);
        let time = |cohorts: &[Cohort]| speeds.sweep_seconds(cohorts, 2);
        let before = time(&cohorts);
        costliest_first(&mut cohorts, |c| speeds.seconds(&c.shape(), c.jobs().len()));
        let depths: Vec<usize> = cohorts.iter().map(|c| c.shape().arch.layers() as usize).collect();
        assert_eq!(depths, [200, 10, 5, 3, 2, 1]);
        let longest = speeds.seconds(&cohorts[0].shape(), 8);
        assert!(
            before > longest,
            "the deepest came last, while the other worker had nothing to do"
        );
        assert_eq!(time(&cohorts), longest);
    }

    #[test]
    fn the_costliest_first_is_still_one_seed_after_the_other() {
        let mut cohorts = cohorts(jobs(3, &[2, 5], 2), |_| 8);
        costliest_first(&mut cohorts, |cohort| f64::from(cohort.shape().arch.layers()));
        let order = |c: &Cohort| (c.jobs()[0].init_seed, c.shape().arch.layers());
        let order: Vec<_> = cohorts.iter().map(order).collect();
        assert_eq!(order, [(0, 5), (0, 2), (1, 5), (1, 2), (2, 5), (2, 2)]);
    }

    #[test]
    fn another_batch_size_is_another_cohort() {
        let base = jobs(1, &[2], 1).remove(0);
        let other = base.with(&[("batch_size", Value::Integer(64))]).unwrap();
        assert_eq!(cohorts([base, other], |_| 8).len(), 2);
    }
}
