//! Data sets with their sizes.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::{DataType, DatasetName, Draft};

/// The content of a user's file: the first 64 bits of a SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DataHash(u64);

impl DataHash {
    /// The hash of a content.
    pub fn of(content: &[u8]) -> DataHash {
        DataHash::from_sha256(Sha256::new_with_prefix(content))
    }

    pub(crate) fn from_sha256(sha256: Sha256) -> DataHash {
        let digest = sha256.finalize();
        DataHash(digest[..8].iter().fold(0, |hash, &byte| hash << 8 | u64::from(byte)))
    }
}

/// The prefix also keeps a hash such as 12e4567890123456 from being read as a number.
const PREFIX: &str = "sha256:";

impl fmt::Display for DataHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:016x}", self.0)
    }
}

impl FromStr for DataHash {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix(PREFIX).filter(|digits| {
            digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        });
        digits
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .map(DataHash)
            .ok_or_else(|| format!("expected {PREFIX} and 16 hexadecimal digits, got \"{text}\""))
    }
}

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
    /// Read from a user's file.
    File {
        /// Of what is in it.
        hash: DataHash,
        /// Of the images.
        data_type: DataType,
        /// Channels, height, width.
        shape: [u16; 3],
        /// Number of classes.
        classes: u16,
        /// Training images; if there are no test images, all images.
        train: u32,
        /// Test images; 0 if the test set is a fifth of all images, drawn with a job's seed.
        test: u32,
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
            DatasetName::File => Dataset::File {
                hash: draft.data_hash?,
                data_type: draft.data_type?,
                shape: draft.data_shape?,
                classes: draft.data_classes?,
                train: draft.data_train?,
                test: draft.data_test?,
            },
            name => Dataset::Named(name),
        })
    }

    /// The fields that describe it.
    pub(crate) fn draft(self) -> Draft {
        let draft = Draft { dataset: Some(self.name()), ..Draft::default() };
        match self {
            Dataset::Named(_) => draft,
            Dataset::Synthetic { shape, classes, images } => Draft {
                synthetic_shape: Some(shape),
                synthetic_classes: Some(classes),
                synthetic_images: Some(images),
                ..draft
            },
            Dataset::File { hash, data_type, shape, classes, train, test } => Draft {
                data_hash: Some(hash),
                data_type: Some(data_type),
                data_shape: Some(shape),
                data_classes: Some(classes),
                data_train: Some(train),
                data_test: Some(test),
                ..draft
            },
        }
    }

    /// The data set's name, without the sizes of a synthetic one.
    pub fn name(self) -> DatasetName {
        match self {
            Dataset::Named(name) => name,
            Dataset::Synthetic { .. } => DatasetName::Synthetic,
            Dataset::File { .. } => DatasetName::File,
        }
    }

    /// Channels, height and width of an image.
    pub fn shape(self) -> [usize; 3] {
        match self {
            Dataset::Synthetic { shape, .. } | Dataset::File { shape, .. } => {
                shape.map(usize::from)
            }
            Dataset::Named(DatasetName::Digits) => [1, 8, 8],
            Dataset::Named(DatasetName::Cifar10 | DatasetName::Cifar100) => [3, 32, 32],
            Dataset::Named(_) => [1, 28, 28],
        }
    }

    /// Number of classes.
    pub fn classes(self) -> usize {
        match self {
            Dataset::Synthetic { classes, .. } | Dataset::File { classes, .. } => classes.into(),
            Dataset::Named(DatasetName::Cifar100) => 100,
            Dataset::Named(_) => 10,
        }
    }

    /// The share of the test images that are of their largest class, as far as it is known without
    /// them: of a user's file, that of equal classes.
    pub fn largest_class(self) -> f64 {
        match self {
            Dataset::Named(DatasetName::Mnist) => 1_135.0 / 10_000.0,
            Dataset::Named(DatasetName::Digits) => 37.0 / 360.0,
            _ => 1.0 / self.classes() as f64,
        }
    }

    /// Number of training (validation included) and of test images.
    pub fn images(self) -> (usize, usize) {
        match self {
            Dataset::Synthetic { images, classes, .. } => {
                (images as usize, (images as usize / 5).max(classes.into()))
            }
            Dataset::File { train, test: 0, .. } => {
                let test = train as usize / 5;
                (train as usize - test, test)
            }
            Dataset::File { train, test, .. } => (train as usize, test as usize),
            Dataset::Named(DatasetName::Digits) => (1437, 360),
            Dataset::Named(DatasetName::Cifar10 | DatasetName::Cifar100) => (50_000, 10_000),
            Dataset::Named(_) => (60_000, 10_000),
        }
    }
    /// The number of images that a job's seed divides into training and test images; `None` if the
    /// data set has a test set.
    pub fn undivided(self) -> Option<usize> {
        match self {
            Dataset::File { train, test: 0, .. } => Some(train as usize),
            _ => None,
        }
    }

    /// Whether its images are floating-point numbers, not bytes.
    pub fn has_floats(self) -> bool {
        matches!(self, Dataset::File { data_type: DataType::Float32, .. })
    }
}
