//! Turns bytes, or a user's numbers, into a network's input: augmentation and normalisation of whole batches.
//!
//! A training image is padded by 4 pixels of 0 and cropped at random to its size, flipped with p = ½
//! and normalised; cutout (DeVries & Taylor 2017) then zeroes a 16×16 square. An image for evaluation is
//! only normalised.

use rand::Rng;
use tch::kind::Element;
use tch::{Device, Kind, Tensor};

use wninit_core::data::Moments;
use wninit_core::job::{Augment, Dataset, DatasetName, InputScaling};
use wninit_core::rng;

const PADDING: u8 = 4;
/// Side of the square that cutout removes.
const CUTOUT: i64 = 16;

/// The random draws for one image. All of them are always drawn, so that jobs that differ only in
/// `augment` share their crops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Draw {
    /// Row of the padded image at which the crop begins, 0 … 8; 4 leaves the image in place.
    dy: u8,
    /// The same for the column.
    dx: u8,
    /// Whether the crop is mirrored left to right.
    flip: bool,
    /// Row of the centre of the cutout, 0 … height−1. The square spans 8 pixels before it and
    /// 7 after it.
    cut_y: u16,
    /// The same for the column.
    cut_x: u16,
}

impl Draw {
    const COLUMNS: usize = 5;

    /// The draws of an epoch (from 0), one for each training image, by position in the epoch. A
    /// shorter epoch's draws are a prefix of a longer one's.
    pub(crate) fn of_epoch(
        dataset: Dataset,
        data_seed: u64,
        epoch: u32,
        images: usize,
    ) -> Vec<Draw> {
        let [_, height, width] = dataset.shape().map(|size| size as u16); // at most 4096
        let mut stream = rng::stream(data_seed, "augment", epoch.into());
        (0..images)
            .map(|_| Draw {
                dy: stream.random_range(0..=2 * PADDING),
                dx: stream.random_range(0..=2 * PADDING),
                flip: stream.random(),
                cut_y: stream.random_range(0..height),
                cut_x: stream.random_range(0..width),
            })
            .collect()
    }

    /// `[image, 5]`, 64-bit integers: dy, dx, flip, cut_y, cut_x.
    pub(crate) fn to_tensor(draws: &[Draw], device: Device) -> Tensor {
        let row = |draw: &Draw| -> [i64; Draw::COLUMNS] {
            let &Draw { dy, dx, flip, cut_y, cut_x } = draw;
            [dy.into(), dx.into(), flip.into(), cut_y.into(), cut_x.into()]
        };
        let rows: Vec<i64> = draws.iter().flat_map(row).collect();
        Tensor::from_slice(&rows).view([-1, Draw::COLUMNS as i64]).to_device(device)
    }
}

/// `(x/unit − mean) / std` of a channel as `scale·x + bias`. The unit is 255 for a byte x, else 1.
#[derive(Clone, Copy, Debug)]
struct Scale {
    scale: f32,
    bias: f32,
}

impl Scale {
    fn new(unit: f64, mean: f64, std: f64) -> Scale {
        Scale { scale: (1.0 / (unit * std)) as f32, bias: (-mean / std) as f32 }
    }

    /// Mean 0 and variance 1; a constant channel becomes 0.
    fn standardised(dataset: Dataset, moments: &Moments) -> Vec<Scale> {
        let unit = if dataset.has_floats() { 1.0 } else { 255.0 };
        let divisor = |std: f64| if std > 0.0 { std } else { 1.0 };
        let channels = moments.mean.iter().zip(&moments.std);
        channels.map(|(&mean, &std)| Scale::new(unit, mean, divisor(std))).collect()
    }

    /// As in the paper; a user's numbers stay as they are.
    fn paper(dataset: Dataset) -> Vec<Scale> {
        if dataset.has_floats() {
            return vec![Scale { scale: 1.0, bias: 0.0 }; dataset.shape()[0]];
        }
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
                Scale::new(255.0, mean, std)
            })
            .collect()
    }

    fn map<'b, P: Copy + Into<f32> + 'b>(self, from: impl Iterator<Item = &'b P>, to: &mut [f32]) {
        for (to, &x) in to.iter_mut().zip(from) {
            *to = x.into() * self.scale + self.bias;
        }
    }
}

/// Converts batches of images to a network's input.
#[derive(Debug)]
pub struct Preprocess {
    dataset: Dataset,
    augment: Augment,
    channels: Vec<Scale>,
    /// On a GPU; `None` on the CPU.
    constants: Option<Constants>,
}

/// The constants of the implementation with tensor operations, copied to the device once.
#[derive(Debug)]
struct Constants {
    /// [`Scale`] by channel, `[1, channel, 1]`.
    scale: Tensor,
    bias: Tensor,
    /// 0, 1, 2, …, as `[1, height, 1]` and `[1, 1, width]`.
    rows: Tensor,
    columns: Tensor,
}

impl Constants {
    fn new(dataset: Dataset, scales: &[Scale], device: Device) -> Constants {
        let [channels, height, width] = dataset.shape().map(|size| size as i64);
        let channel_wise = |value: fn(&Scale) -> f32| {
            let values: Vec<f32> = scales.iter().map(value).collect();
            Tensor::from_slice(&values).view([1, channels, 1]).to_device(device)
        };
        let count = |n: i64, shape: [i64; 3]| Tensor::arange(n, (Kind::Int64, device)).view(shape);
        Constants {
            scale: channel_wise(|scale| scale.scale),
            bias: channel_wise(|scale| scale.bias),
            rows: count(height, [1, height, 1]),
            columns: count(width, [1, 1, width]),
        }
    }

    /// Values `[batch, channel, pixel]` to normalised ones.
    fn normalise(&self, values: &Tensor) -> Tensor {
        values.to_kind(Kind::Float) * &self.scale + &self.bias
    }
}

impl Preprocess {
    /// For a data set's images on a device. `moments` are those of the training set.
    pub fn new(
        dataset: Dataset,
        augment: Augment,
        input: InputScaling,
        moments: &Moments,
        device: Device,
    ) -> Preprocess {
        let channels = match input {
            InputScaling::Paper => Scale::paper(dataset),
            InputScaling::Standardised => Scale::standardised(dataset, moments),
        };
        assert_eq!(channels.len(), dataset.shape()[0], "moments of each channel");
        let constants = (device != Device::Cpu).then(|| Constants::new(dataset, &channels, device));
        Preprocess { dataset, augment, channels, constants }
    }

    /// With the implementation for GPUs.
    #[cfg(test)]
    pub(crate) fn with_tensors(self) -> Preprocess {
        let constants = Constants::new(self.dataset, &self.channels, Device::Cpu);
        Preprocess { constants: Some(constants), ..self }
    }

    /// Training images `[…, channel, height, width]` to input of that shape. `draws […, 5]`
    /// are the rows of [`Draw::to_tensor`] for these images, on the same device; without
    /// augmentation they are not used.
    ///
    /// # Panics
    /// If the shapes do not match the data set, or the augmentation needs draws that are missing.
    pub(crate) fn train(&self, images: &Tensor, draws: Option<&Tensor>) -> Tensor {
        let draws = match self.augment {
            Augment::None => None,
            Augment::CropFlip | Augment::CropFlipCutout => {
                Some(draws.expect("augmentation has draws"))
            }
        };
        self.apply(images, draws)
    }

    /// Images for evaluation, normalised only.
    ///
    /// # Panics
    /// If the shape does not match the data set.
    pub fn eval(&self, images: &Tensor) -> Tensor {
        self.apply(images, None)
    }

    fn apply(&self, images: &Tensor, draws: Option<&Tensor>) -> Tensor {
        let image = self.dataset.shape().map(|size| size as i64);
        let size = images.size();
        assert!(size.ends_with(&image), "images of another shape than {:?}", self.dataset);
        let kind = if self.dataset.has_floats() { Kind::Float } else { Kind::Uint8 };
        assert_eq!(images.kind(), kind);
        let device = self.constants.as_ref().map_or(Device::Cpu, |c| c.rows.device());
        for tensor in [Some(images), draws].into_iter().flatten() {
            assert_eq!(tensor.device(), device, "images and draws are on the model's device");
        }
        let images = images.reshape([&[-1], &image[..]].concat());
        let draws = draws.map(|draws| draws.reshape([-1, Draw::COLUMNS as i64]));
        if let Some(draws) = &draws {
            assert_eq!(draws.size()[0], images.size()[0], "one row of draws for each image");
        }
        let output = match &self.constants {
            Some(constants) => self.apply_with_tensors(constants, &images, draws.as_ref()),
            None if kind == Kind::Float => self.apply_on_cpu::<f32>(&images, draws.as_ref()),
            None => self.apply_on_cpu::<u8>(&images, draws.as_ref()),
        };
        output.view(&size[..])
    }

    /// A handful of tensor operations, none of which synchronizes with the device.
    fn apply_with_tensors(
        &self,
        on: &Constants,
        images: &Tensor,
        draws: Option<&Tensor>,
    ) -> Tensor {
        let [channels, height, width] = self.dataset.shape().map(|size| size as i64);
        let batch = images.size()[0];
        let images = images.reshape([batch, channels, height * width]);
        let Some(draws) = draws else {
            return on.normalise(&images).view([batch, channels, height, width]);
        };
        let column = |i: i64| draws.select(1, i).view([-1, 1, 1]);
        let (dy, dx, flip) = (column(0), column(1), column(2));
        let padding = i64::from(PADDING);
        // The source of each output pixel: mirroring turns column x into width−1−x of the crop.
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

    /// One pass over the batch, on a CPU several times as fast as tensor operations.
    fn apply_on_cpu<P: Element + Copy + Into<f32>>(
        &self,
        images: &Tensor,
        draws: Option<&Tensor>,
    ) -> Tensor {
        assert_eq!(images.kind(), P::KIND);
        let [channels, height, width] = self.dataset.shape();
        let images = images.contiguous();
        let draws = draws.map(|draws| draws.contiguous());
        let output = Tensor::empty(images.size(), (Kind::Float, Device::Cpu));
        // SAFETY: the tensors are contiguous, on the CPU, of these kinds, and live until the end
        // of this function; nothing else refers to the output's memory.
        let (values, floats, draws) = unsafe {
            let values = std::slice::from_raw_parts(images.data_ptr() as *const P, images.numel());
            let floats =
                std::slice::from_raw_parts_mut(output.data_ptr() as *mut f32, output.numel());
            let draws = draws.as_ref().map(|draws| {
                assert_eq!((draws.kind(), draws.device()), (Kind::Int64, Device::Cpu));
                std::slice::from_raw_parts(draws.data_ptr() as *const i64, draws.numel())
            });
            (values, floats, draws)
        };
        let plane = height * width;
        if plane == 0 {
            return output;
        }
        for (i, (from, to)) in
            values.chunks_exact(plane).zip(floats.chunks_exact_mut(plane)).enumerate()
        {
            let (image, scale) = (i / channels, self.channels[i % channels]);
            let Some(draws) = draws else {
                scale.map(from.iter(), to);
                continue;
            };
            let draw = &draws[image * Draw::COLUMNS..][..Draw::COLUMNS];
            crop(from, to, scale, width, draw[0], draw[1], draw[2] != 0);
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

/// The part of the cutout around `centre` that is within 0 … size−1.
fn clip(centre: i64, size: usize) -> std::ops::Range<usize> {
    let clamp = |x: i64| x.clamp(0, size as i64) as usize;
    clamp(centre - CUTOUT / 2)..clamp(centre + CUTOUT / 2)
}

/// Crops one channel of one image, row by row; pixels outside of the image are black.
fn crop<P: Copy + Into<f32>>(
    from: &[P],
    to: &mut [f32],
    scale: Scale,
    width: usize,
    dy: i64,
    dx: i64,
    flip: bool,
) {
    let black = scale.bias;
    let (shift_y, shift_x) = (dy - i64::from(PADDING), dx - i64::from(PADDING));
    // The columns of the crop inside the image, and the image's first one of them.
    let start = (-shift_x).clamp(0, width as i64) as usize;
    let end = (width as i64 - shift_x).clamp(start as i64, width as i64) as usize;
    let first = (start as i64 + shift_x) as usize;
    let inside = if flip { width - end..width - start } else { start..end };
    for (y, to) in to.chunks_exact_mut(width).enumerate() {
        let row = usize::try_from(y as i64 + shift_y)
            .ok()
            .and_then(|y| from.get(y * width..(y + 1) * width));
        let Some(row) = row.filter(|_| end > start) else {
            to.fill(black);
            continue;
        };
        let row = &row[first..first + end - start];
        to[..inside.start].fill(black);
        to[inside.end..].fill(black);
        let to = &mut to[inside.clone()];
        if flip { scale.map(row.iter().rev(), to) } else { scale.map(row.iter(), to) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::{ProptestConfig, any, proptest};
    use wninit_core::job::{DataHash, DataType};

    const CIFAR10: Dataset = Dataset::Named(DatasetName::Cifar10);

    fn of_floats() -> Dataset {
        let (hash, shape) = (DataHash::of(b""), [3, 32, 32]);
        let data_type = DataType::Float32;
        Dataset::File { hash, data_type, shape, classes: 10, train: 100, test: 100 }
    }

    /// `n` images of noise, never 0, so that padding differs from content.
    fn images(dataset: Dataset, n: i64) -> Tensor {
        let [c, h, w] = dataset.shape().map(|size| size as i64);
        let mut stream = rng::stream(0, "test images", 0);
        let bytes: Vec<u8> = (0..n * c * h * w).map(|_| stream.random_range(1..=255)).collect();
        let bytes = Tensor::from_slice(&bytes).view([n, c, h, w]);
        if dataset.has_floats() { bytes.to_kind(Kind::Float) / 50.0 - 1.01 } else { bytes }
    }

    fn paper(dataset: Dataset, augment: Augment, device: Device) -> Preprocess {
        let unused = Moments { mean: Vec::new(), std: Vec::new() };
        Preprocess::new(dataset, augment, InputScaling::Paper, &unused, device)
    }

    /// Pixel by pixel, in the order of the definition: pad, crop, flip, normalise, cut out.
    fn reference(dataset: Dataset, augment: Augment, images: &Tensor, draws: &[Draw]) -> Vec<f32> {
        let [channels, height, width] = dataset.shape();
        let values = floats(&images.to_kind(Kind::Float));
        let pixel = |image: usize, channel: usize, y: i64, x: i64| {
            if !(0..height as i64).contains(&y) || !(0..width as i64).contains(&x) {
                return 0.0;
            }
            values[((image * channels + channel) * height + y as usize) * width + x as usize]
        };
        let (mean, std) = match dataset.name() {
            DatasetName::File => ([0.0; 3], [1.0; 3]),
            DatasetName::Cifar10 => ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
            _ => ([0.5; 3], [1.0; 3]),
        };
        let mut output = Vec::new();
        for (image, draw) in draws.iter().enumerate() {
            let [dy, dx, cut_y, cut_x]: [i64; 4] =
                [draw.dy.into(), draw.dx.into(), draw.cut_y.into(), draw.cut_x.into()];
            let of = |channel: usize, y: i64, x: i64| {
                let cut = (-8..8).contains(&(y - cut_y)) && (-8..8).contains(&(x - cut_x));
                if augment == Augment::CropFlipCutout && cut {
                    return 0.0;
                }
                let mirrored = if draw.flip { width as i64 - 1 - x } else { x };
                let value = match augment {
                    Augment::None => pixel(image, channel, y, x),
                    _ => pixel(image, channel, y + dy - 4, mirrored + dx - 4),
                };
                let unit = if dataset.has_floats() { 1.0 } else { 255.0 };
                (value / unit - mean[channel % 3]) / std[channel % 3]
            };
            for channel in 0..channels {
                for y in 0..height as i64 {
                    output.extend((0..width as i64).map(|x| of(channel, y, x)));
                }
            }
        }
        output
    }

    fn floats(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.to_device(Device::Cpu).contiguous().flatten(0, -1)).unwrap()
    }

    fn assert_close(actual: &Tensor, expected: &[f32], what: &str) {
        let actual = floats(actual);
        assert_eq!(actual.len(), expected.len(), "{what}");
        let worst = actual.iter().zip(expected).map(|(a, e)| (a - e).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-6, "{what}: {worst}");
    }

    /// Both implementations, on the CPU and, if there is one, on a GPU.
    fn check_all_paths(dataset: Dataset, augment: Augment, images: &Tensor, draws: &[Draw]) {
        let expected = reference(dataset, augment, images, draws);
        let rows = Draw::to_tensor(draws, Device::Cpu);
        let preprocess = paper(dataset, augment, Device::Cpu);
        let check = |preprocess: &Preprocess, what: &str| {
            let output = preprocess.train(images, Some(&rows));
            assert_close(&output, &expected, &format!("{what}, {augment}"));
        };
        check(&preprocess, "loop");
        check(&preprocess.with_tensors(), "tensors");
        if tch::Cuda::is_available() {
            let gpu = Device::Cuda(0);
            let preprocess = paper(dataset, augment, gpu);
            let output = preprocess.train(&images.to_device(gpu), Some(&rows.to_device(gpu)));
            assert_close(&output, &expected, &format!("GPU, {augment}"));
        }
    }

    #[test]
    fn batches_equal_a_pixel_by_pixel_reference() {
        for dataset in [CIFAR10, of_floats()] {
            for augment in Augment::ALL {
                let draws = Draw::of_epoch(dataset, 3, 1, 100);
                check_all_paths(dataset, *augment, &images(dataset, 100), &draws);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn images_of_any_size_work_even_smaller_than_padding_and_cutout(
            c in 1u16..5, h in 1u16..40, w in 1u16..40, seed in any::<u32>(),
        ) {
            let dataset = Dataset::Synthetic { shape: [c, h, w], classes: 2, images: 10 };
            let draws = Draw::of_epoch(dataset, seed.into(), 0, 4);
            for augment in Augment::ALL {
                check_all_paths(dataset, *augment, &images(dataset, 4), &draws);
            }
        }
    }

    #[test]
    fn evaluation_does_not_augment() {
        let images = images(CIFAR10, 5);
        let expected =
            reference(CIFAR10, Augment::None, &images, &Draw::of_epoch(CIFAR10, 0, 0, 5));
        for augment in Augment::ALL {
            let output = paper(CIFAR10, *augment, Device::Cpu).eval(&images);
            assert_close(&output, &expected, augment.name());
        }
        let black_and_white = Tensor::from_slice(&[0u8, 255]).view([2, 1, 1, 1]);
        let one_pixel = Dataset::Synthetic { shape: [1, 1, 1], classes: 2, images: 10 };
        let preprocess = paper(one_pixel, Augment::None, Device::Cpu);
        assert_eq!(floats(&preprocess.eval(&black_and_white)), [-0.5, 0.5]);
    }

    #[test]
    fn a_standardised_training_set_has_mean_0_and_variance_1_per_channel_in_both_implementations() {
        let images = images(CIFAR10, 50);
        let pixels = Vec::<u8>::try_from(images.flatten(0, -1)).unwrap();
        let data = wninit_core::data::Images { pixels, labels: vec![0; 50], shape: [3, 32, 32] };
        let moments = Moments::of(&data);
        let scaling = InputScaling::Standardised;
        let preprocess =
            Preprocess::new(CIFAR10, Augment::CropFlip, scaling, &moments, Device::Cpu);
        let x = preprocess.eval(&images);
        for channel in 0..3 {
            let (variance, mean) = (x.select(1, channel).var(false), x.select(1, channel));
            let mean = mean.mean(Kind::Double).double_value(&[]);
            assert!(mean.abs() < 1e-5, "{mean}");
            assert!((variance.double_value(&[]) - 1.0).abs() < 1e-5, "{variance:?}");
        }
        let draws = Draw::to_tensor(&Draw::of_epoch(CIFAR10, 3, 1, 50), Device::Cpu);
        let by_loop = preprocess.train(&images, Some(&draws));
        let preprocess = preprocess.with_tensors();
        assert_close(&preprocess.train(&images, Some(&draws)), &floats(&by_loop), "tensors");
    }

    #[test]
    fn offsets_flips_and_centres_are_drawn_equally_often() {
        let draws = Draw::of_epoch(CIFAR10, 0, 0, 90_000);
        // χ² with 8, 1 and 31 degrees of freedom that is exceeded once in 10,000 seeds.
        type Part = fn(&Draw) -> usize;
        let parts: [(&str, usize, f64, Part); 5] = [
            ("dy", 9, 31.8, |draw| draw.dy.into()),
            ("dx", 9, 31.8, |draw| draw.dx.into()),
            ("flip", 2, 15.1, |draw| draw.flip.into()),
            ("cut_y", 32, 69.1, |draw| draw.cut_y.into()),
            ("cut_x", 32, 69.1, |draw| draw.cut_x.into()),
        ];
        for (what, values, limit, part) in parts {
            let mut counts = vec![0_f64; values];
            draws.iter().for_each(|draw| counts[part(draw)] += 1.0);
            let expected = 90_000.0 / values as f64;
            let chi2: f64 = counts.iter().map(|count| (count - expected).powi(2) / expected).sum();
            assert!(chi2 < limit, "{what}: {counts:?}");
        }
    }

    #[test]
    fn epochs_and_seeds_differ_and_a_shorter_epoch_is_the_beginning_of_a_longer_one() {
        let draws = |seed, epoch, n| Draw::of_epoch(CIFAR10, seed, epoch, n);
        assert_eq!(draws(0, 0, 50), draws(0, 0, 50));
        assert_ne!(draws(0, 0, 50), draws(0, 1, 50));
        assert_ne!(draws(0, 0, 50), draws(1, 0, 50));
        assert_eq!(draws(0, 0, 50), draws(0, 0, 80)[..50]);
    }
}
