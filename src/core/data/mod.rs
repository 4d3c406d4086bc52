//! Images and labels of each data set, and the order in which a job sees them.
//!
//! [`load`] is the whole interface to a data set: it returns images with the shape, number and
//! labels that [`Dataset`] declares, or an error that names the file and the remedy. [`fetch`] puts
//! files where `load` finds them. [`Sources`] also finds users' own files, which `own.rs` reads.
//! [`batches`] decides which images a job trains on and in which
//! order. `train::augment` of `wninit-torch` turns bytes into a network's input.

pub mod batches;
pub mod cifar;
pub(crate) mod digits;
mod download;
pub mod fetch;
pub mod files;
pub mod idx;
mod npy;
mod own;
mod sources;
pub(crate) mod synthetic;

use std::path::{Path, PathBuf};

use crate::job::{Dataset, DatasetName};
pub use files::{DataError, Place};
pub use own::Loaded;
pub(crate) use own::read as read_own;
pub use sources::Sources;

/// Images with their labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images<P = u8> {
    /// Bytes 0 … 255, or floating-point numbers, row-major `[image, channel, height, width]`.
    pub pixels: Vec<P>,
    /// The class of each image, from 0.
    pub labels: Vec<i64>,
    /// Channels, height and width of an image.
    pub shape: [usize; 3],
}

impl<P> Images<P> {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

impl Images {
    /// Returns what is not as expected: the number of images, their shape, a label that no class
    /// has, a class that no image has.
    fn check(&self, expected: Dataset, images: usize) -> Result<(), String> {
        let (shape, classes) = (expected.shape(), expected.classes());
        let pixels = shape.iter().product::<usize>();
        if self.shape != shape {
            return Err(format!(
                "its images are {:?}, expected {shape:?} (channels, height, width)",
                self.shape
            ));
        }
        if self.labels.len() != images || self.pixels.len() != images * pixels {
            return Err(format!("it holds {} images, expected {images}", self.labels.len()));
        }
        let mut seen = vec![false; classes];
        for (i, &label) in self.labels.iter().enumerate() {
            let class = usize::try_from(label).ok().and_then(|label| seen.get_mut(label));
            *class.ok_or_else(|| {
                format!("image {i} has the label {label}, but there are {classes} classes")
            })? = true;
        }
        // A synthetic data set may have more classes than training images.
        match seen.iter().position(|seen| !seen) {
            Some(class) if matches!(expected, Dataset::Named(_)) => {
                Err(format!("no image is of class {class}, but there are {classes} classes"))
            }
            _ => Ok(()),
        }
    }
}

/// The value of a channel at one place of an image.
pub trait Pixel: Copy {
    /// The moments of images.
    fn moments(images: &Images<Self>) -> Moments;
}

/// Mean and standard deviation of each channel's pixels: of bytes as x/255, of floating-point
/// numbers as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Of each channel.
    pub mean: Vec<f64>,
    /// Of each channel, over all pixels (not n − 1); 0 if all pixels are equal.
    pub std: Vec<f64>,
}

impl Moments {
    /// Computes the moments of images.
    pub fn of<P: Pixel>(images: &Images<P>) -> Moments {
        P::moments(images)
    }
}

impl Pixel for u8 {
    fn moments(images: &Images) -> Moments {
        let [channels, height, width] = images.shape;
        let plane = height * width;
        let mut sums = vec![[0_u64; 2]; channels]; // of x and of x²: exact
        for (i, plane) in images.pixels.chunks_exact(plane.max(1)).enumerate() {
            let [sum, squares] = &mut sums[i % channels];
            for &x in plane {
                *sum += u64::from(x);
                *squares += u64::from(x).pow(2);
            }
        }
        let count = (images.len() * plane).max(1) as f64;
        let mean: Vec<f64> = sums.iter().map(|[sum, _]| *sum as f64 / count).collect();
        let variance =
            |([_, squares], mean): (&[u64; 2], &f64)| *squares as f64 / count - mean * mean;
        let std = sums.iter().zip(&mean).map(variance).map(|v| v.max(0.0).sqrt() / 255.0).collect();
        Moments { std, mean: mean.into_iter().map(|mean| mean / 255.0).collect() }
    }
}

impl Pixel for f32 {
    fn moments(images: &Images<f32>) -> Moments {
        let [channels, height, width] = images.shape;
        let plane = (height * width).max(1);
        let count = (images.len() * plane).max(1) as f64;
        let means = |value: &dyn Fn(usize, f64) -> f64| -> Vec<f64> {
            let mut sums = vec![0.0; channels];
            for (i, plane) in images.pixels.chunks_exact(plane).enumerate() {
                let channel = i % channels;
                sums[channel] += plane.iter().map(|&x| value(channel, x.into())).sum::<f64>();
            }
            sums.into_iter().map(|sum| sum / count).collect()
        };
        let mean = means(&|_, x| x);
        // Around the mean: a difference of large squares would lose all digits.
        let std = means(&|channel, x| (x - mean[channel]).powi(2));
        Moments { std: std.into_iter().map(f64::sqrt).collect(), mean }
    }
}

/// A data set in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data<P = u8> {
    /// Which one.
    pub dataset: Dataset,
    /// Training images, including those that a job holds out for validation; of a data set without
    /// a test set, also those for testing.
    pub train: Images<P>,
    /// Test images.
    pub test: Images<P>,
}

/// Reads a data set from the data folder `dir` (or makes it: `digits` and `synthetic` need no
/// folder) and checks it against what [`Dataset`] promises. A user's file is read by [`Sources`].
///
/// # Errors
/// [`DataError`]: a file is missing, cannot be read, or does not hold what it should.
pub fn load(dataset: Dataset, dir: &Path) -> Result<Data, DataError> {
    let place = Place { dataset: dataset.name(), dir: dir.to_owned() };
    let (train, test) = match (dataset, dataset.name()) {
        (Dataset::Synthetic { .. }, _) => {
            synthetic::make(dataset).ok_or_else(|| place.too_large())?
        }
        (_, DatasetName::Digits) => {
            digits::read().map_err(|problem| place.corrupt("(embedded)", problem))?
        }
        (_, DatasetName::Cifar10 | DatasetName::Cifar100) => {
            cifar::read(&place, &cifar::archive(dataset.name()))?
        }
        (_, _) => idx::read(&place, &idx::files(dataset.name()))?,
    };
    let (train_images, test_images) = dataset.images();
    for (what, set, images) in
        [("training set", &train, train_images), ("test set", &test, test_images)]
    {
        set.check(dataset, images).map_err(|problem| place.corrupt(what, problem))?;
    }
    Ok(Data { dataset, train, test })
}

/// The default data folder: `WNINIT_DATA`, else `./data`.
pub fn default_dir() -> PathBuf {
    std::env::var_os("WNINIT_DATA")
        .filter(|dir| !dir.is_empty())
        .map_or_else(|| "data".into(), PathBuf::from)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn digits() -> Images {
        load(Dataset::Named(DatasetName::Digits), Path::new("/nowhere")).unwrap().train
    }

    #[test]
    fn moments_are_taken_channel_by_channel_over_all_images() {
        // Two images of two channels: 0, 255, 0, 255 and a constant.
        let pixels = [[0, 255], [51, 51], [0, 255], [51, 51]].concat();
        let images = Images { pixels, labels: vec![0, 1], shape: [2, 1, 2] };
        let Moments { mean, std } = Moments::of(&images);
        assert_eq!((mean, std), (vec![0.5, 0.2], vec![0.5, 0.0]));
    }

    #[test]
    fn a_wrong_number_of_images_or_classes_is_refused() {
        let digits_set = Dataset::Named(DatasetName::Digits);
        assert_eq!(digits().check(digits_set, 1437), Ok(()));
        assert!(
            digits().check(digits_set, 1438).unwrap_err().contains("1437 images, expected 1438")
        );

        let mut eleventh = digits();
        eleventh.labels[7] = 10;
        assert!(eleventh.check(digits_set, 1437).unwrap_err().contains("image 7 has the label 10"));
        eleventh.labels[7] = -1;
        assert!(eleventh.check(digits_set, 1437).unwrap_err().contains("label -1"));

        let mut nine = digits();
        nine.labels.iter_mut().for_each(|label| *label = (*label).min(8));
        assert!(nine.check(digits_set, 1437).unwrap_err().contains("no image is of class 9"));

        let mnist = Dataset::Named(DatasetName::Mnist);
        assert!(digits().check(mnist, 1437).unwrap_err().contains("expected [1, 28, 28]"));
    }
}
