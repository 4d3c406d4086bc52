//! Which images a job trains on, and in which order.
//!
//! Every draw comes from a stream of the job's `data_seed`, so a job sees the same batches
//! whatever it is trained beside and whenever it was interrupted.

use crate::job::Job;
use crate::rng;

/// A job's part of the training set, as indices into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// What is trained on.
    pub train: Vec<u32>,
    /// What is held out for validation.
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::job::{DatasetName, Draft};
    use std::collections::BTreeSet;

    fn job(change: impl Fn(&mut Draft)) -> Job {
        let mut draft = Draft { dataset: Some(DatasetName::Digits), ..Draft::default() };
        change(&mut draft);
        draft.resolve().unwrap()
    }

    fn set(images: &[u32]) -> BTreeSet<u32> {
        images.iter().copied().collect()
    }

    #[test]
    fn every_image_is_trained_on_or_validated_on_and_none_is_both() {
        let split = split(&job(|_| {}));
        assert_eq!((split.train.len(), split.val.len()), (1293, 144));
        let all: BTreeSet<u32> = &set(&split.train) | &set(&split.val);
        assert_eq!(all, (0..1437).collect());
    }

    #[test]
    fn fewer_training_images_leave_validation_as_it_is() {
        let whole = split(&job(|_| {}));
        let part = split(&job(|d| d.train_images = Some(100)));
        assert_eq!(part.val, whole.val);
        assert_eq!(part.train, whole.train[..100]);
        assert_ne!(split(&job(|d| d.data_seed = Some(1))).val, whole.val);
        assert_eq!(split(&job(|d| d.init_seed = Some(1))), whole);
    }

    #[test]
    fn every_epoch_visits_every_training_image_once_in_an_order_of_its_own() {
        let job = job(|_| {});
        let split = split(&job);
        let epochs = [0, 1, 1].map(|epoch| order(&job, &split, epoch));
        for order in &epochs {
            assert_eq!((order.len(), set(order)), (split.train.len(), set(&split.train)));
        }
        assert!(epochs[0] != epochs[1] && epochs[1] == epochs[2]);
    }

    #[test]
    fn the_batch_of_data_dependent_initialization_is_training_images_only() {
        let job = job(|d| d.batch_size = Some(200));
        let split = split(&job);
        let batch = init_batch(&job, &split);
        assert_eq!((batch.len(), set(&batch).len()), (200, 200));
        assert!(set(&batch).is_subset(&set(&split.train)));

        let few = self::job(|d| (d.batch_size, d.train_images) = (Some(200), Some(50)));
        assert_eq!(init_batch(&few, &self::split(&few)).len(), 50);
    }
}
