//! Which images a job trains on, and in which order.
//!
//! Every draw comes from a stream of the job's `data_seed`, so a job's batches do not depend on its
//! neighbours in a cohort or on interruptions.

use crate::job::Job;
use crate::rng;

/// A job's part of the training set, as indices into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Images to train on.
    pub train: Vec<u32>,
    /// Images held out for validation.
    pub val: Vec<u32>,
}

/// Draws the validation images, then the training images.
///
/// The validation images depend on `data_seed` and `val_fraction` alone. The training images are
/// the first `train_images` of a fixed order of the rest, so that a smaller subset is part of a
/// larger one.
pub fn split(job: &Job) -> Split {
    let (train, val) = job.split();
    let mut images =
        rng::permutation(job.dataset.images().0, &mut rng::stream(job.data_seed, "split", 0));
    let rest = images.split_off(val);
    Split { train: rest[..train].to_vec(), val: images }
}

/// The training images in the order of one epoch, counted from 0.
pub fn order(job: &Job, split: &Split, epoch: u32) -> Vec<u32> {
    let mut stream = rng::stream(job.data_seed, "order", epoch.into());
    rng::permutation(split.train.len(), &mut stream)
        .into_iter()
        .map(|i| split.train[i as usize])
        .collect()
}

/// The training images of the mini-batch for data-dependent initialization: `batch_size` of them
/// (all, if there are fewer).
pub fn init_batch(job: &Job, split: &Split) -> Vec<u32> {
    let mut stream = rng::stream(job.data_seed, "init_batch", 0);
    let images = rng::permutation(split.train.len(), &mut stream);
    images.into_iter().take(job.batch_size as usize).map(|i| split.train[i as usize]).collect()
}
