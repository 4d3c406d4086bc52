//! The initial state that jobs share if they differ only in how they are trained.

use std::collections::HashMap;

use crate::job::{Augment, Draft, Job, JobId};

/// The job with every field that does not affect the initial state at its default: the optimizer,
/// its schedule, the number of epochs, the test, augmentation (probes use plain images) and the
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
    /// Their common start, see [`start_of`].
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
