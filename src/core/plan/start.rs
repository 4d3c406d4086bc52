//! Where training starts: what jobs that differ only in how they are trained have in common.

use std::collections::HashMap;

use crate::job::{Augment, Draft, Job, JobId};

/// The job with all that has no say in where training starts at its default: the optimizer, its
/// schedule, the number of epochs, the test, augmentation (probes see images as they are) and the
/// precision (probes compute in fp32). Two jobs that differ in nothing else have the same start.
pub fn start_of(job: &Job) -> Job {
    let draft = Draft {
        augment: Some(Augment::None),
        precision: None,
        lr: None,
        momentum: None,
        weight_decay: None,
        schedule: None,
        warmup_epochs: None,
        warmup_lr: None,
        epochs: None,
        test_images: None,
        ..job.draft()
    };
    draft.resolve().unwrap_or_else(|_| job.clone())
}

/// Jobs that start from the same network and see the same images.
#[derive(Clone, Debug)]
pub struct Start {
    /// What they have in common, see [`start_of`].
    pub start: Job,
    /// The jobs, in the plan's order.
    pub jobs: Vec<Job>,
}

/// The distinct starts of jobs, in the order in which they first appear.
pub fn starts<'a>(jobs: impl IntoIterator<Item = &'a Job>) -> Vec<Start> {
    let mut starts: Vec<Start> = Vec::new();
    let mut known: HashMap<JobId, usize> = HashMap::new();
    for job in jobs {
        let start = start_of(job);
        let place = *known.entry(start.id()).or_insert_with(|| {
            starts.push(Start { start, jobs: Vec::new() });
            starts.len() - 1
        });
        starts[place].jobs.push(job.clone());
    }
    starts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::job::{DatasetName, Value};

    fn job(changes: &[(&str, Value)]) -> Job {
        let draft = Draft { dataset: Some(DatasetName::Digits), ..Draft::default() };
        draft.resolve().unwrap().with(changes).unwrap()
    }

    #[test]
    fn jobs_that_differ_in_how_they_are_trained_start_from_the_same_network() {
        let base = job(&[]);
        let trained_otherwise = [
            ("lr", Value::Float(0.3)),
            ("momentum", Value::Float(0.0)),
            ("weight_decay", Value::Float(1e-4)),
            ("epochs", Value::Integer(7)),
            ("warmup_epochs", Value::Integer(1)),
            ("schedule", Value::Text("halves".into())),
            ("precision", Value::Text("bf16".into())),
            ("test_images", Value::Integer(100)),
        ];
        for change in trained_otherwise {
            let name = change.0;
            assert_eq!(start_of(&job(&[change])), start_of(&base), "{name}");
        }
        let other_starts = [
            ("init", Value::Text("he_datadep".into())),
            ("init_seed", Value::Integer(1)),
            ("data_seed", Value::Integer(1)),
            ("batch_size", Value::Integer(32)),
            ("depth", Value::Integer(3)),
            ("train_images", Value::Integer(100)),
            ("input", Value::Text("standardised".into())),
        ];
        for change in other_starts {
            let name = change.0;
            assert_ne!(start_of(&job(&[change])), start_of(&base), "{name}");
        }
    }

    #[test]
    fn a_grid_over_learning_rates_has_one_start_for_all_of_them() {
        let rates = [0.1, 0.01, 0.001];
        let jobs: Vec<Job> = (0..2)
            .flat_map(|seed| {
                rates.map(|lr| job(&[("seed", Value::Integer(seed)), ("lr", Value::Float(lr))]))
            })
            .collect();
        let starts = starts(&jobs);
        assert_eq!(starts.len(), 2);
        assert_eq!(starts.concat_jobs(), jobs);
    }

    trait ConcatJobs {
        fn concat_jobs(&self) -> Vec<Job>;
    }

    impl ConcatJobs for Vec<Start> {
        fn concat_jobs(&self) -> Vec<Job> {
            self.iter().flat_map(|start| start.jobs.clone()).collect()
        }
    }
}
