//! From bytes to what a network sees: augmentation and normalisation, on whole batches.
//!
//! A training image is cropped at random out of itself with 4 black pixels around it, flipped
//! with p = ½, normalised, and (cutout, DeVries & Taylor 2017) loses a 16×16 square. An
//! evaluated image is normalised, nothing else.
//!
//! ```
//! use wninit::train::augment::{Draws, Preprocess};
//! use wninit::job::{Augment, Dataset, DatasetName};
//! use tch::{Device, Kind, Tensor};
//!
//! let cifar10 = Dataset::Named(DatasetName::Cifar10);
//! let preprocess = Preprocess::new(cifar10, Augment::CropFlip, Device::Cpu);
//! let images = Tensor::zeros([128, 3, 32, 32], (Kind::Uint8, Device::Cpu));
//! let draws = Draws::new(cifar10, 0, 0, 128).to_tensor(Device::Cpu);
//! assert_eq!(preprocess.train(&images, Some(&draws)).size(), [128, 3, 32, 32]);
//! ```

use rand::Rng;
use tch::{Device, Kind, Tensor};

use wninit_core::data::Moments;
use wninit_core::job::{Augment, Dataset, DatasetName, InputScaling};
use wninit_core::rng;

/// Pixels of black around an image before it is cropped back to its size.
const PADDING: u8 = 4;
/// Side of the square that cutout removes.
const CUTOUT: i64 = 16;

/// What is drawn for the images of one epoch of one job, by position in the epoch.
///
/// All of it is always drawn, so two jobs that differ in `augment` alone share their crops; and
/// position by position, so a shorter epoch has the draws of a longer one's beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Draws {
    /// Row of the padded image at which the crop begins, 0 … 8; 4 leaves the image in place.
    pub dy: Vec<u8>,
    /// Column of the padded image at which the crop begins, 0 … 8.
    pub dx: Vec<u8>,
    /// Whether the crop is mirrored left to right.
    pub flip: Vec<bool>,
    /// Row of the centre of the cutout, 0 … height−1. The square spans 8 pixels before it and
    /// 7 after it.
    pub cut_y: Vec<u16>,
    /// Column of the centre of the cutout, 0 … width−1.
    pub cut_x: Vec<u16>,
}

impl Draws {
    /// Columns of [`Draws::to_tensor`].
    pub(crate) const COLUMNS: i64 = 5;

    /// The draws of an epoch (counted from 0) of `images` training images.
    pub(crate) fn new(dataset: Dataset, data_seed: u64, epoch: u32, images: usize) -> Draws {
        let [_, height, width] = dataset.shape().map(|size| size as u16); // at most 4096
        let mut stream = rng::stream(data_seed, "augment", epoch.into());
        let mut draws = Draws::default();
        for _ in 0..images {
            draws.dy.push(stream.random_range(0..=2 * PADDING));
            draws.dx.push(stream.random_range(0..=2 * PADDING));
            draws.flip.push(stream.random());
            draws.cut_y.push(stream.random_range(0..height));
            draws.cut_x.push(stream.random_range(0..width));
        }
        draws
    }

    /// The draws as `[image, 5]` of 64-bit integers: dy, dx, flip, cut_y, cut_x. Take a
    /// mini-batch with `narrow(0, …)`; concatenate members along dimension 0.
    pub(crate) fn to_tensor(&self, device: Device) -> Tensor {
        let rows: Vec<i64> = (0..self.dy.len())
            .flat_map(|i| {
                let (dy, dx, flip) = (self.dy[i].into(), self.dx[i].into(), self.flip[i].into());
                [dy, dx, flip, self.cut_y[i].into(), self.cut_x[i].into()]
            })
            .collect();
        Tensor::from_slice(&rows).view([-1, Self::COLUMNS]).to_device(device)
    }
}

/// `(x/255 − mean) / std` of a channel as `scale·x + bias` for a byte x: one vectorised pass.
#[derive(Clone, Copy, Debug)]
struct ByteScale {
    scale: f32,
    bias: f32,
}

impl ByteScale {
    fn new(mean: f64, std: f64) -> ByteScale {
        ByteScale { scale: (1.0 / (255.0 * std)) as f32, bias: (-mean / std) as f32 }
    }

    /// Mean 0 and variance 1; a channel of which all pixels are equal becomes 0.
    fn standardised(moments: &Moments) -> Vec<ByteScale> {
        let divisor = |std: f64| if std > 0.0 { std } else { 1.0 };
        let channels = moments.mean.iter().zip(&moments.std);
        channels.map(|(&mean, &std)| ByteScale::new(mean, divisor(std))).collect()
    }

    /// As in the paper.
    fn of_channels(dataset: Dataset) -> Vec<ByteScale> {
        let (mean, std): (&[f64], &[f64]) = match dataset.name() {
            DatasetName::Cifar10 | DatasetName::Cifar100 => {
                (&[0.4914, 0.4822, 0.4465], &[0.2023, 0.1994, 0.2010])
            }
            _ => (&[], &[]),
        };
        (0..dataset.shape()[0])
            .map(|channel| {
                let mean = mean.get(channel).copied().unwrap_or(0.5);
                let std = std.get(channel).copied().unwrap_or(1.0);
                ByteScale::new(mean, std)
            })
            .collect()
    }

    /// What a black pixel becomes.
    fn black(self) -> f32 {
        self.bias
    }

    fn map(self, from: &[u8], to: &mut [f32]) {
        to.iter_mut()
            .zip(from)
            .for_each(|(to, &byte)| *to = f32::from(byte) * self.scale + self.bias);
    }

    fn map_mirrored(self, from: &[u8], to: &mut [f32]) {
        to.iter_mut()
            .zip(from.iter().rev())
            .for_each(|(to, &byte)| *to = f32::from(byte) * self.scale + self.bias);
    }
}

/// Normalises images as they are evaluated: bytes `[batch, channel, height, width]` to floats of
/// that shape, on the same device.
pub fn normalise(dataset: Dataset, images: &Tensor) -> Tensor {
    Preprocess::new(dataset, Augment::None, images.device()).eval(images)
}

/// Turns batches of bytes into a network's input.
///
/// It holds its constants on the device, so that no batch waits for a transfer.
#[derive(Debug)]
pub struct Preprocess {
    dataset: Dataset,
    augment: Augment,
    channels: Vec<ByteScale>,
    device: Option<OnDevice>,
}

/// The constants of the path that any device can take.
#[derive(Debug)]
struct OnDevice {
    /// `[1, channel, 1]`: [`ByteScale`] by channel.
    scale: Tensor,
    bias: Tensor,
    /// `[1, height, 1]` and `[1, 1, width]`: 0, 1, 2, …
    rows: Tensor,
    columns: Tensor,
}

impl OnDevice {
    fn new(dataset: Dataset, affine: &[ByteScale], device: Device) -> OnDevice {
        let [channels, height, width] = dataset.shape().map(|size| size as i64);
        let channel_wise = |value: fn(&ByteScale) -> f32| {
            let values: Vec<f32> = affine.iter().map(value).collect();
            Tensor::from_slice(&values).view([1, channels, 1]).to_device(device)
        };
        let count = |n: i64, shape: [i64; 3]| Tensor::arange(n, (Kind::Int64, device)).view(shape);
        OnDevice {
            scale: channel_wise(|affine| affine.scale),
            bias: channel_wise(|affine| affine.bias),
            rows: count(height, [1, height, 1]),
            columns: count(width, [1, 1, width]),
        }
    }

    /// Bytes `[batch, channel, pixel]` to normalised floats.
    fn normalise(&self, bytes: &Tensor) -> Tensor {
        bytes.to_kind(Kind::Float) * &self.scale + &self.bias
    }
}

impl Preprocess {
    /// For images of this data set with the paper's scaling, trained with this augmentation on
    /// this device.
    pub fn new(dataset: Dataset, augment: Augment, device: Device) -> Preprocess {
        Preprocess::of_channels(dataset, augment, ByteScale::of_channels(dataset), device)
    }

    /// As [`Preprocess::new`], with any scaling. `moments` are those of the training set.
    pub(crate) fn scaled(
        dataset: Dataset,
        augment: Augment,
        input: InputScaling,
        moments: &Moments,
        device: Device,
    ) -> Preprocess {
        match input {
            InputScaling::Paper => Preprocess::new(dataset, augment, device),
            InputScaling::Standardised => {
                let channels = ByteScale::standardised(moments);
                assert_eq!(channels.len(), dataset.shape()[0], "moments of each channel");
                Preprocess::of_channels(dataset, augment, channels, device)
            }
        }
    }

    fn of_channels(
        dataset: Dataset,
        augment: Augment,
        channels: Vec<ByteScale>,
        device: Device,
    ) -> Preprocess {
        let on_device = (device != Device::Cpu).then(|| OnDevice::new(dataset, &channels, device));
        Preprocess { dataset, augment, channels, device: on_device }
    }

    /// Training images: bytes `[…, channel, height, width]` to floats of that shape. `draws […, 5]`
    /// are the rows of [`Draws::to_tensor`] for these images, on the same device; without
    /// augmentation they are not looked at.
    ///
    /// # Panics
    /// If the shapes do not fit the data set, or draws are missing that the augmentation needs.
    pub(crate) fn train(&self, images: &Tensor, draws: Option<&Tensor>) -> Tensor {
        let draws = match self.augment {
            Augment::None => None,
            Augment::CropFlip | Augment::CropFlipCutout => {
                Some(draws.expect("augmentation has draws"))
            }
        };
        self.apply(images, draws)
    }

    /// DeviceImages for evaluation, which are normalised and nothing else.
    ///
    /// # Panics
    /// If the shape does not fit the data set.
    pub(crate) fn eval(&self, images: &Tensor) -> Tensor {
        self.apply(images, None)
    }

    fn apply(&self, images: &Tensor, draws: Option<&Tensor>) -> Tensor {
        let image = self.dataset.shape().map(|size| size as i64);
        let size = images.size();
        assert!(size.ends_with(&image), "images of another shape than {:?}", self.dataset);
        assert_eq!(images.kind(), Kind::Uint8);
        let device = self.device.as_ref().map_or(Device::Cpu, |constants| constants.rows.device());
        for tensor in [Some(images), draws].into_iter().flatten() {
            assert_eq!(
                tensor.device(),
                device,
                "images and draws are on the device that it is for"
            );
        }
        let images = images.reshape([&[-1], &image[..]].concat());
        let draws = draws.map(|draws| draws.reshape([-1, Draws::COLUMNS]));
        if let Some(draws) = &draws {
            assert_eq!(draws.size()[0], images.size()[0], "one row of draws for each image");
        }
        let output = match &self.device {
            Some(constants) => self.apply_with_tensors(constants, &images, draws.as_ref()),
            None => self.apply_on_cpu(&images, draws.as_ref()),
        };
        output.view(&size[..])
    }

    /// A handful of whole-batch operations; nothing waits for the device.
    fn apply_with_tensors(&self, on: &OnDevice, images: &Tensor, draws: Option<&Tensor>) -> Tensor {
        let [channels, height, width] = self.dataset.shape().map(|size| size as i64);
        let batch = images.size()[0];
        let images = images.reshape([batch, channels, height * width]);
        let Some(draws) = draws else {
            return on.normalise(&images).view([batch, channels, height, width]);
        };
        let column = |i: i64| draws.select(1, i).view([-1, 1, 1]);
        let (dy, dx, flip) = (column(0), column(1), column(2));
        let padding = i64::from(PADDING);
        // Where each output pixel comes from: mirroring turns column x into width−1−x of the crop.
        let y: Tensor = &on.rows + dy - padding;
        let x: Tensor = &on.columns * (1 - 2 * &flip) + flip * (width - 1) + dx - padding;
        let inside =
            y.ge(0).logical_and(&y.lt(height)).logical_and(&x.ge(0).logical_and(&x.lt(width)));
        let source = y.clamp(0, height - 1) * width + x.clamp(0, width - 1);
        let gathered = images.gather(
            2,
            &source.view([batch, 1, -1]).expand([batch, channels, -1], false),
            false,
        );
        let black_outside = gathered * inside.view([batch, 1, -1]);
        let normalised = on.normalise(&black_outside).view([batch, channels, height, width]);
        if self.augment != Augment::CropFlipCutout {
            return normalised;
        }
        let within = |at: &Tensor, centre: Tensor| {
            let distance: Tensor = at - centre;
            distance.ge(-CUTOUT / 2).logical_and(&distance.lt(CUTOUT / 2))
        };
        let cut = within(&on.rows, column(3)).logical_and(&within(&on.columns, column(4)));
        normalised.masked_fill(&cut.view([batch, 1, height, width]), 0.0)
    }

    /// One pass over the batch: several times as fast on a CPU as operations on tensors.
    fn apply_on_cpu(&self, images: &Tensor, draws: Option<&Tensor>) -> Tensor {
        let [channels, height, width] = self.dataset.shape();
        let images = images.contiguous();
        let draws = draws.map(|draws| draws.contiguous());
        let output = Tensor::empty(images.size(), (Kind::Float, Device::Cpu));
        // SAFETY: the tensors are contiguous, on the CPU, of these kinds, and live until the end
        // of this function; the output is new, so nothing else refers to its memory.
        let (bytes, floats, draws) = unsafe {
            let bytes = std::slice::from_raw_parts(images.data_ptr() as *const u8, images.numel());
            let floats =
                std::slice::from_raw_parts_mut(output.data_ptr() as *mut f32, output.numel());
            let draws = draws.as_ref().map(|draws| {
                assert_eq!((draws.kind(), draws.device()), (Kind::Int64, Device::Cpu));
                std::slice::from_raw_parts(draws.data_ptr() as *const i64, draws.numel())
            });
            (bytes, floats, draws)
        };
        let plane = height * width;
        if plane == 0 {
            return output;
        }
        for (i, (from, to)) in
            bytes.chunks_exact(plane).zip(floats.chunks_exact_mut(plane)).enumerate()
        {
            let (image, affine) = (i / channels, self.channels[i % channels]);
            let Some(draws) = draws else {
                affine.map(from, to);
                continue;
            };
            let draw = &draws[image * Draws::COLUMNS as usize..][..Draws::COLUMNS as usize];
            crop(from, to, affine, width, draw[0], draw[1], draw[2] != 0);
            if self.augment == Augment::CropFlipCutout {
                let rows = clip(draw[3], height);
                let columns = clip(draw[4], width);
                to[rows.start * width..rows.end * width]
                    .chunks_exact_mut(width)
                    .for_each(|row| row[columns.clone()].fill(0.0));
            }
        }
        output
    }
}

/// The part of the cutout around `centre` that lies within 0 … size−1.
fn clip(centre: i64, size: usize) -> std::ops::Range<usize> {
    let clamp = |x: i64| x.clamp(0, size as i64) as usize;
    clamp(centre - CUTOUT / 2)..clamp(centre + CUTOUT / 2)
}

/// Crops one channel of one image, row by row: what lies outside of the image is black.
fn crop(
    from: &[u8],
    to: &mut [f32],
    affine: ByteScale,
    width: usize,
    dy: i64,
    dx: i64,
    flip: bool,
) {
    let black = affine.black();
    let (shift_y, shift_x) = (dy - i64::from(PADDING), dx - i64::from(PADDING));
    // The columns of the crop that lie on the image, and where on it they begin.
    let start = (-shift_x).clamp(0, width as i64) as usize;
    let end = (width as i64 - shift_x).clamp(start as i64, width as i64) as usize;
    let first = (start as i64 + shift_x) as usize;
    for (y, to) in to.chunks_exact_mut(width).enumerate() {
        let row = usize::try_from(y as i64 + shift_y)
            .ok()
            .and_then(|y| from.get(y * width..(y + 1) * width));
        let Some(row) = row.filter(|_| end > start) else {
            to.fill(black);
            continue;
        };
        let row = &row[first..first + end - start];
        if flip {
            let (start, end) = (width - end, width - start);
            to[..start].fill(black);
            to[end..].fill(black);
            affine.map_mirrored(row, &mut to[start..end]);
        } else {
            to[..start].fill(black);
            to[end..].fill(black);
            affine.map(row, &mut to[start..end]);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::Rng;

    const CIFAR10: Dataset = Dataset::Named(DatasetName::Cifar10);

    /// `n` images of noise, never quite black, so that padding can be told from content.
    fn images(dataset: Dataset, n: i64) -> Tensor {
        let [c, h, w] = dataset.shape().map(|size| size as i64);
        let mut stream = rng::stream(0, "test images", 0);
        let bytes: Vec<u8> = (0..n * c * h * w).map(|_| stream.random_range(1..=255)).collect();
        Tensor::from_slice(&bytes).view([n, c, h, w])
    }

    /// Pixel by pixel, in the order of the definition: pad, crop, flip, normalise, cut out.
    fn reference(dataset: Dataset, augment: Augment, images: &Tensor, draws: &Draws) -> Vec<f32> {
        let [channels, height, width] = dataset.shape();
        let bytes = Vec::<u8>::try_from(images.flatten(0, -1)).unwrap();
        let pixel = |image: usize, channel: usize, y: i64, x: i64| {
            let inside = (0..height as i64).contains(&y) && (0..width as i64).contains(&x);
            if inside {
                bytes[((image * channels + channel) * height + y as usize) * width + x as usize]
            } else {
                0
            }
        };
        let (mean, std) = match dataset.name() {
            DatasetName::Cifar10 => ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
            _ => ([0.5; 3], [1.0; 3]),
        };
        let mut output = Vec::new();
        for image in 0..draws.dy.len() {
            for channel in 0..channels {
                for y in 0..height as i64 {
                    for x in 0..width as i64 {
                        let byte = if augment == Augment::None {
                            pixel(image, channel, y, x)
                        } else {
                            let x = if draws.flip[image] { width as i64 - 1 - x } else { x };
                            pixel(
                                image,
                                channel,
                                y + i64::from(draws.dy[image]) - 4,
                                x + i64::from(draws.dx[image]) - 4,
                            )
                        };
                        let normalised =
                            (f32::from(byte) / 255.0 - mean[channel % 3]) / std[channel % 3];
                        let cut = (-8..8).contains(&(y - i64::from(draws.cut_y[image])))
                            && (-8..8).contains(&(x - i64::from(draws.cut_x[image])));
                        output.push(if augment == Augment::CropFlipCutout && cut {
                            0.0
                        } else {
                            normalised
                        });
                    }
                }
            }
        }
        output
    }

    fn floats(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.to_device(Device::Cpu).contiguous().flatten(0, -1)).unwrap()
    }

    /// Equal but for the rounding of a single-precision operation or two.
    fn assert_close(actual: &Tensor, expected: &[f32], what: &str) {
        let actual = floats(actual);
        assert_eq!(actual.len(), expected.len(), "{what}");
        let worst = actual.iter().zip(expected).map(|(a, e)| (a - e).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-6, "{what}: {worst}");
    }

    /// The loop, the tensor operations on the CPU and, where there is one, on a GPU.
    fn check_all_paths(dataset: Dataset, augment: Augment, images: &Tensor, draws: &Draws) {
        let expected = reference(dataset, augment, images, draws);
        let rows = draws.to_tensor(Device::Cpu);
        let mut preprocess = Preprocess::new(dataset, augment, Device::Cpu);
        assert_close(
            &preprocess.train(images, Some(&rows)),
            &expected,
            &format!("loop, {augment}"),
        );
        preprocess.device =
            Some(OnDevice::new(dataset, &ByteScale::of_channels(dataset), Device::Cpu));
        assert_close(
            &preprocess.train(images, Some(&rows)),
            &expected,
            &format!("tensors, {augment}"),
        );
        if tch::Cuda::is_available() {
            let gpu = Device::Cuda(0);
            let preprocess = Preprocess::new(dataset, augment, gpu);
            let output = preprocess.train(&images.to_device(gpu), Some(&rows.to_device(gpu)));
            assert_close(&output, &expected, &format!("GPU, {augment}"));
        }
    }

    #[test]
    fn batches_equal_an_obvious_pixel_by_pixel_reference() {
        for augment in Augment::ALL {
            check_all_paths(
                CIFAR10,
                *augment,
                &images(CIFAR10, 100),
                &Draws::new(CIFAR10, 3, 1, 100),
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn any_size_of_image_works_even_below_the_padding_and_the_cutout(
            c in 1u16..5, h in 1u16..40, w in 1u16..40, seed in any::<u32>(),
        ) {
            let dataset = Dataset::Synthetic { shape: [c, h, w], classes: 2, images: 10 };
            let draws = Draws::new(dataset, seed.into(), 0, 4);
            for augment in Augment::ALL {
                check_all_paths(dataset, *augment, &images(dataset, 4), &draws);
            }
        }
    }

    #[test]
    fn members_side_by_side_see_what_each_sees_alone() {
        let preprocess = Preprocess::new(CIFAR10, Augment::CropFlipCutout, Device::Cpu);
        let images = images(CIFAR10, 6);
        let members = [0, 1].map(|seed| Draws::new(CIFAR10, seed, 0, 3).to_tensor(Device::Cpu));
        let together = preprocess.train(&images, Some(&Tensor::cat(&members, 0)));
        for (i, draws) in members.iter().enumerate() {
            let alone = preprocess.train(&images.narrow(0, 3 * i as i64, 3), Some(draws));
            assert_eq!(floats(&alone), floats(&together.narrow(0, 3 * i as i64, 3)));
        }
    }

    #[test]
    fn evaluation_sees_no_augmentation() {
        let images = images(CIFAR10, 5);
        let expected = reference(CIFAR10, Augment::None, &images, &Draws::new(CIFAR10, 0, 0, 5));
        for augment in Augment::ALL {
            assert_close(
                &Preprocess::new(CIFAR10, *augment, Device::Cpu).eval(&images),
                &expected,
                augment.name(),
            );
        }
        assert_close(&normalise(CIFAR10, &images), &expected, "normalise");
        let black_and_white = Tensor::from_slice(&[0u8, 255]).view([2, 1, 1, 1]);
        let one_pixel = Dataset::Synthetic { shape: [1, 1, 1], classes: 2, images: 10 };
        assert_eq!(floats(&normalise(one_pixel, &black_and_white)), [-0.5, 0.5]);
    }

    #[test]
    fn a_standardised_training_set_has_mean_0_and_variance_1_in_each_channel_on_all_paths() {
        let images = images(CIFAR10, 50);
        let pixels = Vec::<u8>::try_from(images.flatten(0, -1)).unwrap();
        let data = wninit_core::data::Images { pixels, labels: vec![0; 50], shape: [3, 32, 32] };
        let moments = Moments::of(&data);
        let scaling = InputScaling::Standardised;
        let mut preprocess =
            Preprocess::scaled(CIFAR10, Augment::CropFlip, scaling, &moments, Device::Cpu);
        let x = preprocess.eval(&images);
        for channel in 0..3 {
            let (variance, mean) = (x.select(1, channel).var(false), x.select(1, channel));
            let mean = mean.mean(Kind::Double).double_value(&[]);
            assert!(mean.abs() < 1e-5, "{mean}");
            assert!((variance.double_value(&[]) - 1.0).abs() < 1e-5, "{variance:?}");
        }
        let draws = Draws::new(CIFAR10, 3, 1, 50).to_tensor(Device::Cpu);
        let by_loop = preprocess.train(&images, Some(&draws));
        preprocess.device = Some(OnDevice::new(CIFAR10, &preprocess.channels, Device::Cpu));
        assert_close(&preprocess.train(&images, Some(&draws)), &floats(&by_loop), "tensors");
    }

    #[test]
    fn every_offset_the_last_one_too_is_drawn_equally_often() {
        let n = 90_000;
        let draws = Draws::new(CIFAR10, 0, 0, n);
        for offsets in [&draws.dy, &draws.dx] {
            let mut counts = [0_f64; 9];
            offsets.iter().for_each(|&offset| counts[usize::from(offset)] += 1.0);
            // χ² with 8 degrees of freedom: 31.8 is exceeded once in 10,000 seeds.
            let expected = n as f64 / 9.0;
            let chi2: f64 = counts.iter().map(|count| (count - expected).powi(2) / expected).sum();
            assert!(chi2 < 31.8, "{counts:?}");
        }
    }

    #[test]
    fn half_of_the_images_are_flipped_and_the_cutout_is_centred_anywhere() {
        let n = 64_000;
        let draws = Draws::new(CIFAR10, 0, 0, n);
        let flipped = draws.flip.iter().filter(|&&flip| flip).count() as f64 / n as f64;
        assert!((flipped - 0.5).abs() < 4.0 * 0.5 / (n as f64).sqrt(), "{flipped}");
        for centres in [&draws.cut_y, &draws.cut_x] {
            let mut counts = [0_f64; 32];
            centres.iter().for_each(|&centre| counts[usize::from(centre)] += 1.0);
            // χ² with 31 degrees of freedom: 69.1 is exceeded once in 10,000 seeds.
            let chi2: f64 = counts.iter().map(|count| (count - 2000.0).powi(2) / 2000.0).sum();
            assert!(chi2 < 69.1, "{counts:?}");
        }
    }

    #[test]
    fn the_cutout_is_16_by_16_and_clipped_at_the_border() {
        let preprocess = Preprocess::new(CIFAR10, Augment::CropFlipCutout, Device::Cpu);
        let white = Tensor::full([1, 3, 32, 32], 255, (Kind::Uint8, Device::Cpu));
        for (centre, zeros) in
            [((16, 16), 16 * 16), ((0, 0), 8 * 8), ((31, 31), 9 * 9), ((0, 16), 8 * 16)]
        {
            let (cut_y, cut_x) = (vec![centre.0], vec![centre.1]);
            let draws = Draws { dy: vec![4], dx: vec![4], flip: vec![false], cut_y, cut_x };
            let output = floats(&preprocess.train(&white, Some(&draws.to_tensor(Device::Cpu))));
            assert_eq!(output.iter().filter(|&&x| x == 0.0).count(), 3 * zeros, "{centre:?}");
        }
    }

    #[test]
    fn epochs_and_seeds_differ_and_a_shorter_epoch_is_the_beginning_of_a_longer_one() {
        let draws = |seed, epoch, n| Draws::new(CIFAR10, seed, epoch, n);
        assert_eq!(draws(0, 0, 50), draws(0, 0, 50));
        assert_ne!(draws(0, 0, 50), draws(0, 1, 50));
        assert_ne!(draws(0, 0, 50), draws(1, 0, 50));
        assert_eq!(draws(0, 0, 50).dx, draws(0, 0, 80).dx[..50]);
        assert_eq!(draws(0, 0, 50).cut_x, draws(0, 0, 80).cut_x[..50]);
    }
}
