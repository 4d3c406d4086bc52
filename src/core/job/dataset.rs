//! Data sets with their sizes.

use super::{DatasetName, Draft};

/// A data set with everything that identifies its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dataset {
    /// A published data set.
    Named(DatasetName),
    /// Generated in memory.
    Synthetic {
        /// Channels, height, width.
        shape: [u16; 3],
        /// Number of classes.
        classes: u16,
        /// Training images; the test set has a fifth as many, at least one of each class.
        images: u32,
    },
}

impl Dataset {
    /// The data set of a draft with its defaults; `None` if a field is missing.
    pub(super) fn of(draft: &Draft) -> Option<Dataset> {
        Some(match draft.dataset? {
            DatasetName::Synthetic => Dataset::Synthetic {
                shape: draft.synthetic_shape?,
                classes: draft.synthetic_classes?,
                images: draft.synthetic_images?,
            },
            name => Dataset::Named(name),
        })
    }

    /// The fields that describe it.
    pub(super) fn draft(self) -> Draft {
        let draft = Draft { dataset: Some(self.name()), ..Draft::default() };
        match self {
            Dataset::Named(_) => draft,
            Dataset::Synthetic { shape, classes, images } => Draft {
                synthetic_shape: Some(shape),
                synthetic_classes: Some(classes),
                synthetic_images: Some(images),
                ..draft
            },
        }
    }

    /// The data set's name, without the sizes of a synthetic one.
    pub fn name(self) -> DatasetName {
        match self {
            Dataset::Named(name) => name,
            Dataset::Synthetic { .. } => DatasetName::Synthetic,
        }
    }

    /// Channels, height and width of an image.
    pub fn shape(self) -> [usize; 3] {
        match self {
            Dataset::Synthetic { shape, .. } => shape.map(usize::from),
            Dataset::Named(DatasetName::Digits) => [1, 8, 8],
            Dataset::Named(DatasetName::Cifar10 | DatasetName::Cifar100) => [3, 32, 32],
            Dataset::Named(_) => [1, 28, 28],
        }
    }

    /// Number of classes.
    pub fn classes(self) -> usize {
        match self {
            Dataset::Synthetic { classes, .. } => classes.into(),
            Dataset::Named(DatasetName::Cifar100) => 100,
            Dataset::Named(_) => 10,
        }
    }

    /// Number of training (validation included) and of test images.
    pub fn images(self) -> (usize, usize) {
        match self {
            Dataset::Synthetic { images, classes, .. } => {
                (images as usize, (images as usize / 5).max(classes.into()))
            }
            Dataset::Named(DatasetName::Digits) => (1437, 360),
            Dataset::Named(DatasetName::Cifar10 | DatasetName::Cifar100) => (50_000, 10_000),
            Dataset::Named(_) => (60_000, 10_000),
        }
    }
}
