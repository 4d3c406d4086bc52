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
    // Allocated at once, so that too large a set fails before any work is done.
    let size: usize = dataset.shape().iter().product();
    reserve::<u8>(size.checked_mul(train + test + 2 * usize::from(classes)))?;
    // The number of images is not part of the name: a larger set begins with the smaller one.
    let stream = |what: &str| rng::stream(0, &format!("synthetic/{c}x{h}x{w}/{classes}/{what}"), 0);
    let prototypes = prototypes(dataset, &mut stream("prototypes"))?;
    let set = |what, images| draw(dataset, &prototypes, images, &mut stream(what));
    Some((set("train", train)?, set("test", test)?))
}

/// A vector with this capacity; `None` if it does not fit into memory.
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
