//! `synthetic`: noisy class prototypes of any shape, the same for every job. README.md beside
//! this file says how they are made.

use rand::RngCore;

use super::Images;
use crate::job::Dataset;
use crate::rng::{self, Stream};

/// Blocks of a prototype along one side of a channel.
const GRID: usize = 8;
/// Standard deviation of a sum of four uniform bytes, sqrt(4·(256² − 1)/12).
const SUM_SD: f64 = 147.8;
/// Standard deviation of a uniform byte.
const BYTE_SD: f64 = 73.9;
/// Standard deviation of the noise, in grey levels.
const NOISE_SD: f64 = 64.0;

/// Training and test images; `None` if the data set is not synthetic or does not fit into memory.
pub(crate) fn make(dataset: Dataset) -> Option<(Images, Images)> {
    let Dataset::Synthetic { shape: [c, h, w], classes, .. } = dataset else {
        return None;
    };
    let (train, test) = dataset.images();
    // Asked for in one piece, so that too much is refused before any work is done.
    let size: usize = dataset.shape().iter().product();
    reserve::<u8>(size.checked_mul(train + test + 2 * usize::from(classes)))?;
    // The number of images is no part of the name: a larger set begins with the smaller one.
    let stream = |what: &str| rng::stream(0, &format!("synthetic/{c}x{h}x{w}/{classes}/{what}"), 0);
    let prototypes = prototypes(dataset, &mut stream("prototypes"))?;
    let set = |what, images| draw(dataset, &prototypes, images, &mut stream(what));
    Some((set("train", train)?, set("test", test)?))
}

/// A vector of known length, where memory allows.
fn reserve<T>(length: Option<usize>) -> Option<Vec<T>> {
    let mut vector = Vec::new();
    vector.try_reserve_exact(length?).ok()?;
    Some(vector)
}

/// The noiseless image of each class, `[class, channel, height, width]`.
fn prototypes(dataset: Dataset, stream: &mut Stream) -> Option<Vec<i16>> {
    let ([c, h, w], classes) = (dataset.shape(), dataset.classes());
    let pixels = c * h * w;
    // Two prototypes differ by a·sqrt(2·pixels); at 6 standard deviations of the noise, the best
    // classifier confuses a pair with probability Q(3) = 1/740.
    let amplitude = (6.0 / (2.0 * pixels as f64).sqrt()).max(0.2) * NOISE_SD / BYTE_SD;
    let (rows, columns) = (h.min(GRID), w.min(GRID));
    let mut prototypes = reserve(pixels.checked_mul(classes))?;
    for _ in 0..classes * c {
        let levels: Vec<i16> = (0..rows * columns)
            .map(|_| {
                let byte = (stream.next_u32() >> 24) as f64 - 127.5;
                128 + (byte * amplitude).round() as i16
            })
            .collect();
        for y in 0..h {
            prototypes.extend((0..w).map(|x| levels[y * rows / h * columns + x * columns / w]));
        }
    }
    Some(prototypes)
}

fn draw(
    dataset: Dataset,
    prototypes: &[i16],
    images: usize,
    stream: &mut Stream,
) -> Option<Images> {
    let (shape, classes) = (dataset.shape(), dataset.classes());
    let size: usize = shape.iter().product();
    let scale = (NOISE_SD / SUM_SD * 65536.0).round() as i32;
    let mut pixels = reserve(size.checked_mul(images))?;
    let labels: Vec<i64> = (0..images).map(|image| (image % classes) as i64).collect();
    for &label in &labels {
        let prototype = &prototypes[label as usize * size..][..size];
        pixels.extend(prototype.iter().map(|&level| {
            let sum: i32 =
                stream.next_u32().to_le_bytes().iter().map(|&byte| i32::from(byte)).sum();
            let noise = ((sum - 510) * scale) >> 16;
            (i32::from(level) + noise).clamp(0, 255) as u8
        }));
    }
    Some(Images { pixels, labels, shape })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn synthetic(shape: [u16; 3], classes: u16, images: u32) -> (Images, Images) {
        make(Dataset::Synthetic { shape, classes, images }).unwrap()
    }

    /// Accuracy on the test images of the nearest mean of the training images.
    fn nearest_mean(train: &Images, test: &Images, classes: usize) -> f64 {
        let size: usize = train.shape.iter().product();
        let share = classes as f64 / train.len() as f64;
        let mut means = vec![vec![0.0; size]; classes];
        for (image, &label) in train.pixels.chunks(size).zip(&train.labels) {
            let mean = means[label as usize].iter_mut().zip(image);
            mean.for_each(|(mean, &pixel)| *mean += f64::from(pixel) * share);
        }
        let right = test.pixels.chunks(size).zip(&test.labels).filter(|(image, label)| {
            let distance = |mean: &[f64]| -> f64 {
                mean.iter().zip(*image).map(|(m, &p)| (m - f64::from(p)).powi(2)).sum()
            };
            let nearest =
                |&a: &usize, &b: &usize| distance(&means[a]).total_cmp(&distance(&means[b]));
            (0..classes).min_by(nearest) == Some(**label as usize)
        });
        right.count() as f64 / test.len() as f64
    }

    #[test]
    fn it_can_be_learned_but_not_perfectly() {
        let (train, test) = synthetic([1, 8, 8], 10, 1000);
        let accuracy = nearest_mean(&train, &test, 10);
        assert!((0.85..1.0).contains(&accuracy), "{accuracy}");
        let (train, test) = synthetic([3, 32, 32], 4, 400);
        assert!(nearest_mean(&train, &test, 4) > 0.9);
    }

    #[test]
    fn every_job_sees_the_same_images_and_more_images_begin_with_the_fewer() {
        let (small, _) = synthetic([2, 5, 11], 3, 20);
        let (large, _) = synthetic([2, 5, 11], 3, 50);
        assert_eq!(small, synthetic([2, 5, 11], 3, 20).0);
        assert_eq!(small.pixels, large.pixels[..small.pixels.len()]);
        assert_ne!(small.pixels, synthetic([2, 5, 11], 4, 20).0.pixels);
        let (train, test) = synthetic([1, 8, 8], 10, 1000);
        assert_ne!(train.pixels[..64], test.pixels[..64]);
    }

    #[test]
    fn the_images_stay_what_they_were_in_the_first_release() {
        // If this fails, every synthetic result changes: raise the schema number of the job.
        let (train, _) = synthetic([1, 2, 4], 2, 10);
        assert_eq!(train.pixels[..8], PINNED);
    }

    const PINNED: [u8; 8] = [171, 255, 35, 49, 78, 194, 46, 60];

    #[test]
    fn a_data_set_larger_than_any_memory_is_an_error() {
        let huge = Dataset::Synthetic { shape: [4096; 3], classes: 2, images: 10_000_000 };
        assert!(make(huge).is_none());
        let error = crate::data::load(huge, std::path::Path::new("")).unwrap_err();
        assert!(error.to_string().contains("synthetic_images"), "{error}");
    }
}
