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
/// The validation images depend on `data_seed` and `val_fraction` alone (of a data set without a
/// test set, they are drawn from what [`test()`] leaves). The training images are
/// the first `train_images` of a fixed order of the rest, so that a smaller subset is part of a
/// larger one.
pub fn split(job: &Job) -> Split {
    let (train, val) = job.split();
    let mut images =
        rng::permutation(job.dataset.images().0, &mut rng::stream(job.data_seed, "split", 0));
    if let Some((left, _)) = divided(job) {
        images.iter_mut().for_each(|image| *image = left[*image as usize]);
    }
    let rest = images.split_off(val);
    Split { train: rest[..train].to_vec(), val: images }
}

/// The images that a job is tested on: indices into the test set, or into all images if the data
/// set has no test set. Evenly spaced, because some test sets are sorted.
pub fn test(job: &Job) -> Vec<u32> {
    let (all, count) = (job.dataset.images().1 as u64, job.tested() as u64);
    let places = (0..count).map(|i| (i * all / count) as u32);
    match divided(job) {
        Some((_, held_out)) => places.map(|place| held_out[place as usize]).collect(),
        None => places.collect(),
    }
}

/// The images that are left for training and those held out for testing, if the data set has no
/// test set.
fn divided(job: &Job) -> Option<(Vec<u32>, Vec<u32>)> {
    let all = job.dataset.undivided()?;
    let mut left = rng::permutation(all, &mut rng::stream(job.data_seed, "test_split", 0));
    let held_out = left.split_off(job.dataset.images().0);
    left.sort_unstable();
    Some((left, held_out))
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
