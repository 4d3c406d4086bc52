//! What a job costs, from its shape alone: parameters, arithmetic, memory, time.
//!
//! A multiply-add counts as two operations. Only linear layers and convolutions are counted;
//! normalisation, activations and the update are part of the overhead in [`Rates`].

use crate::job::{Arch, Norm, Precision};
use crate::plan::cohort::Shape;

/// What a network costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelCost {
    /// Trained numbers: weights, gains and biases.
    pub parameters: u64,
    /// Linear layers and convolutions, 1×1 shortcuts included.
    pub layers: u64,
    /// Floating-point operations of a forward pass of one image.
    pub forward_flop: f64,
    /// Of these, the first layer's: its input needs no gradient.
    pub first_flop: f64,
    /// Memory of what a forward pass keeps for the backward pass, in bytes for each image.
    pub activation_bytes: f64,
}

/// Adds up a network layer by layer.
struct Tally {
    norm: Norm,
    cost: ModelCost,
    /// Numbers kept for the backward pass.
    kept: f64,
}

impl Tally {
    /// `times` equal layers, each applied to `places` positions of an image.
    fn layers(&mut self, times: u64, fan_in: u64, out: u64, places: u64, norm: Norm) {
        let gain = if norm == Norm::Weight { out } else { 0 };
        let each = fan_in.saturating_mul(out).saturating_add(out + gain);
        self.cost.parameters = self.cost.parameters.saturating_add(each.saturating_mul(times));
        let flop = 2.0 * fan_in as f64 * out as f64 * places as f64;
        if self.cost.layers == 0 {
            self.cost.first_flop = flop;
        }
        self.cost.layers += times;
        self.cost.forward_flop += flop * times as f64;
        self.kept += (out * places) as f64 * times as f64;
    }

    /// A convolution of `kernel`×`kernel`, normalised like the network.
    fn conv(&mut self, times: u64, from: u64, to: u64, kernel: u64, places: u64) {
        self.layers(times, from * kernel * kernel, to, places, self.norm);
    }

    fn batch_norm(&mut self, times: u64, channels: u64, places: u64) {
        self.cost.parameters += 2 * channels * times;
        self.kept += (channels * places * times) as f64;
    }
}

/// The size of an axis after a 3×3 convolution with padding 1 and this stride.
fn strided(size: u64, stride: u64) -> u64 {
    size.div_ceil(stride)
}

impl ModelCost {
    /// The cost of one member of a cohort.
    pub fn of(shape: &Shape) -> ModelCost {
        let [channels, height, width] = shape.dataset.shape().map(|n| n as u64);
        let classes = shape.dataset.classes() as u64;
        let cost = ModelCost {
            parameters: 0,
            layers: 0,
            forward_flop: 0.0,
            first_flop: 0.0,
            activation_bytes: 0.0,
        };
        let mut tally = Tally { norm: shape.norm, cost, kept: (channels * height * width) as f64 };
        let features = match shape.arch {
            Arch::Mlp { depth, width: units } => {
                let (depth, units) = (u64::from(depth), u64::from(units));
                tally.layers(1, channels * height * width, units, 1, shape.norm);
                tally.layers(depth - 1, units, units, 1, shape.norm);
                units
            }
            Arch::Cnn { depth, width: maps } => {
                let (mut from, to, mut size) = (channels, u64::from(maps), (height, width));
                let strides = (0..depth.min(2))
                    .map(|_| (1, 2))
                    .chain([(u64::from(depth.saturating_sub(2)), 1)]);
                for (times, stride) in strides {
                    size = (strided(size.0, stride), strided(size.1, stride));
                    tally.conv(times, from, to, 3, size.0 * size.1);
                    from = to;
                }
                to
            }
            Arch::ResNet { blocks, width: maps } => {
                let maps = u64::from(maps);
                residual(
                    &mut tally,
                    channels,
                    maps,
                    [maps, 2 * maps, 4 * maps],
                    blocks,
                    (height, width),
                    true,
                )
            }
            Arch::Wrn { blocks, k, reduced_memory } => {
                let k = u64::from(k);
                let stride = if reduced_memory { 2 } else { 1 };
                let size = (strided(height, stride), strided(width, stride));
                residual(&mut tally, channels, 16, [16 * k, 32 * k, 64 * k], blocks, size, false)
            }
        };
        tally.layers(1, features, classes, 1, Norm::None);
        let bytes = if shape.precision == Precision::Bf16 { 2.0 } else { 4.0 };
        ModelCost { activation_bytes: tally.kept * bytes, ..tally.cost }
    }

    /// Floating-point operations of one training step's image: forward and backward.
    pub(crate) fn training_flop(&self) -> f64 {
        3.0 * self.forward_flop - self.first_flop
    }
}

/// Stem and three stages; the channels that leave the last one. `size` is the stem's output.
fn residual(
    tally: &mut Tally,
    channels: u64,
    stem: u64,
    stages: [u64; 3],
    blocks: u32,
    mut size: (u64, u64),
    outer_norms: bool,
) -> u64 {
    let batch = tally.norm == Norm::Batch;
    let places = |size: (u64, u64)| size.0 * size.1;
    tally.conv(1, channels, stem, 3, places(size));
    if batch && outer_norms {
        tally.batch_norm(1, stem, places(size));
    }
    let mut from = stem;
    for (stage, maps) in stages.into_iter().enumerate() {
        let before = places(size);
        let stride = if stage == 0 { 1 } else { 2 };
        size = (strided(size.0, stride), strided(size.1, stride));
        let places = places(size);
        let rest = u64::from(blocks) - 1;
        tally.conv(1, from, maps, 3, places);
        tally.conv(u64::from(blocks) + rest, maps, maps, 3, places);
        if from != maps || stride != 1 {
            tally.conv(1, from, maps, 1, places);
        }
        if batch {
            tally.batch_norm(1, from, before);
            tally.batch_norm(u64::from(blocks) + rest, maps, places);
        }
        from = maps;
    }
    if batch && outer_norms {
        tally.batch_norm(1, from, places(size));
    }
    from
}

/// What the layers of a network keep for the backward pass and what they hand on, in numbers for
/// each image, in the order in which `recompute` cuts the network into segments.
fn layer_activations(shape: &Shape) -> Vec<(f64, f64)> {
    let [_, height, width] = shape.dataset.shape().map(|n| n as u64);
    let (stem, stages, blocks, mut size) = match shape.arch {
        Arch::Mlp { depth, width } => {
            return vec![(f64::from(width), f64::from(width)); depth as usize];
        }
        Arch::Cnn { depth, width: maps } => {
            let mut size = (height, width);
            return (0..depth)
                .map(|i| {
                    let stride = if i < 2 { 2 } else { 1 };
                    size = (strided(size.0, stride), strided(size.1, stride));
                    let out = f64::from(maps) * (size.0 * size.1) as f64;
                    (out, out)
                })
                .collect();
        }
        Arch::ResNet { blocks, width: maps } => {
            let maps = u64::from(maps);
            (maps, [maps, 2 * maps, 4 * maps], blocks, (height, width))
        }
        Arch::Wrn { blocks, k, reduced_memory } => {
            let (k, stride) = (u64::from(k), if reduced_memory { 2 } else { 1 });
            let size = (strided(height, stride), strided(width, stride));
            (16, [16 * k, 32 * k, 64 * k], blocks, size)
        }
    };
    // Within a block: the ReLU's result and the sum; with batch norm, the inputs and results of
    // two normalisations as well.
    let tensors = if shape.norm == Norm::Batch { 5.0 } else { 2.0 };
    let mut layers = vec![((stem * size.0 * size.1) as f64, (stem * size.0 * size.1) as f64)];
    for (stage, maps) in stages.into_iter().enumerate() {
        let stride = if stage == 0 { 1 } else { 2 };
        size = (strided(size.0, stride), strided(size.1, stride));
        let out = (maps * size.0 * size.1) as f64;
        layers.extend(std::iter::repeat_n((tensors * out, out), blocks as usize));
    }
    layers
}

/// What the program itself takes, libtorch and a small data set included, in bytes.
pub const PROGRAM_MEMORY: f64 = 450e6;

/// The most memory, in bytes, that training a stack needs beside the data set and the program
/// itself: parameters with gradient, momentum and effective weight, and the activations of a
/// micro-batch, all of them or (`recompute`) those of a segment of √depth layers and of the
/// segments' inputs.
pub fn memory(shape: &Shape, members: usize, recompute: bool) -> f64 {
    let model = ModelCost::of(shape);
    let bytes = if shape.precision == Precision::Bf16 { 2.0 } else { 4.0 };
    let layers = layer_activations(shape);
    let widest = layers.iter().map(|layer| layer.1).fold(0.0, f64::max);
    let kept = if recompute {
        let segment = layers.len().isqrt().max(1);
        let inputs: f64 = layers.iter().step_by(segment).map(|layer| layer.1).sum();
        let inside =
            layers.chunks(segment).map(|part| part.iter().map(|layer| layer.0).sum::<f64>());
        inputs + inside.fold(0.0, f64::max)
    } else {
        layers.iter().map(|layer| layer.0).sum()
    };
    // Passing through a layer holds a few tensors of its size at once; evaluation takes 256
    // images at a time and keeps nothing.
    let images = shape.micro_batch as f64;
    let training = (kept + 4.0 * widest) * images;
    let evaluation = 3.0 * widest * 256.0;
    let best = if shape.epochs > 1 { 4.0 } else { 0.0 };
    let parameters = model.parameters as f64 * (12.0 + best);
    members as f64 * (parameters + bytes * training.max(evaluation))
}

/// How fast a worker is. The defaults are rough; measured ones may take their place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Operations per second in `fp32`.
    pub fp32: f64,
    /// Operations per second in `tf32`.
    pub tf32: f64,
    /// Operations per second in `bf16`.
    pub bf16: f64,
    /// Seconds that a step takes for each layer beside its arithmetic.
    pub seconds_per_layer: f64,
    /// Seconds that a step takes beside all that.
    pub seconds_per_step: f64,
}

impl Rates {
    /// One thread of a current server processor. A core with AVX-512 peaks near 140 GFLOP/s;
    /// stacked networks of width 128 reach about two thirds of it.
    pub(crate) const CPU: Rates = Rates {
        fp32: 9e10,
        tf32: 9e10,
        bf16: 2e11,
        seconds_per_layer: 1.5e-5,
        seconds_per_step: 2e-4,
    };

    /// One data-centre GPU with small batches; a tenth to a third of its peak.
    pub const GPU: Rates = Rates {
        fp32: 2e13,
        tf32: 6e13,
        bf16: 1.2e14,
        seconds_per_layer: 1e-5,
        seconds_per_step: 5e-5,
    };

    fn flop_per_second(&self, precision: Precision) -> f64 {
        match precision {
            Precision::Fp32 => self.fp32,
            Precision::Tf32 => self.tf32,
            Precision::Bf16 => self.bf16,
        }
    }
}

/// Operations of one job in all: training, validation after each epoch and a test.
pub fn job_flop(shape: &Shape) -> f64 {
    let model = ModelCost::of(shape);
    let epochs = f64::from(shape.epochs);
    let evaluated = shape.val as f64 * epochs + shape.test as f64;
    model.training_flop() * shape.train as f64 * epochs + model.forward_flop * evaluated
}

/// Seconds that a worker needs for `members` jobs of a shape, trained together.
pub(crate) fn seconds(shape: &Shape, members: usize, rates: &Rates) -> f64 {
    let steps = shape.steps() as f64 * f64::from(shape.epochs);
    let layers = ModelCost::of(shape).layers as f64;
    job_flop(shape) * members as f64 / rates.flop_per_second(shape.precision)
        + steps * (rates.seconds_per_step + layers * rates.seconds_per_layer)
}

/// How many jobs of a shape a CPU worker trains together. Stacking pays for small matrix
/// products; a convolution fills the core alone.
pub fn cpu_width(shape: &Shape) -> usize {
    const MOST: usize = 8;
    const MEMORY: f64 = 512e6;
    if !matches!(shape.arch, Arch::Mlp { .. }) {
        return 1;
    }
    ((MEMORY / memory(shape, 1, false)) as usize).clamp(1, MOST)
}

/// The most jobs of a shape that fit together into that many bytes of a GPU. Recorded steps keep
/// their memory beside what evaluation takes, and some is lost between the pieces.
pub fn gpu_width(shape: &Shape, free: f64) -> usize {
    ((0.6 * free / memory(shape, 1, false)) as usize).max(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::job::{Draft, Field, Value};

    fn model(settings: &[(&str, &str)]) -> ModelCost {
        let mut draft = Draft::default();
        for (name, text) in settings {
            Field::named(name).unwrap().set(&mut draft, &Value::Text((*text).into())).unwrap();
        }
        ModelCost::of(&Shape::of(&draft.resolve().unwrap()))
    }

    #[test]
    fn a_plain_mlp_has_the_parameters_that_one_counts_by_hand() {
        let cost = model(&[("model", "mlp"), ("depth", "2"), ("width", "100"), ("norm", "none")]);
        assert_eq!(cost.parameters, (784 * 100 + 100) + (100 * 100 + 100) + (100 * 10 + 10));
        assert_eq!(cost.forward_flop, 2.0 * (784.0 * 100.0 + 100.0 * 100.0 + 100.0 * 10.0));
        assert_eq!(cost.training_flop(), 3.0 * cost.forward_flop - 2.0 * 78400.0);
        assert_eq!(cost.activation_bytes, 4.0 * (784.0 + 100.0 + 100.0 + 10.0));
        assert_eq!(cost.layers, 3);
        let weight =
            model(&[("model", "mlp"), ("depth", "2"), ("width", "100"), ("norm", "weight")]);
        assert_eq!(
            weight.parameters,
            cost.parameters + 200,
            "a gain for each hidden unit, none for the output"
        );
    }

    #[test]
    fn a_cnn_halves_the_image_twice() {
        let cost = model(&[
            ("model", "cnn"),
            ("depth", "3"),
            ("width", "8"),
            ("norm", "none"),
            ("dataset", "fashion-mnist"),
        ]);
        assert_eq!(cost.parameters, (9 * 8 + 8) + 2 * (9 * 64 + 8) + 90);
        assert_eq!(cost.forward_flop, 2.0 * (72.0 * 196.0 + 576.0 * 49.0 + 576.0 * 49.0 + 80.0));
        assert_eq!(model(&[("model", "cnn"), ("depth", "1"), ("width", "8")]).layers, 2);
    }

    #[test]
    fn a_small_residual_network_has_the_parameters_that_one_counts_by_hand() {
        let conv = |from: u64, to: u64, kernel: u64| from * to * kernel * kernel + to;
        let convs = conv(3, 16, 3)
            + 2 * conv(16, 16, 3)
            + (conv(16, 32, 3) + conv(32, 32, 3) + conv(16, 32, 1))
            + (conv(32, 64, 3) + conv(64, 64, 3) + conv(32, 64, 1));
        let head = 64 * 10 + 10;
        let norms = 2 * ((16 + 16) + (16 + 32) + (32 + 64));
        let wrn = |norm| {
            let settings =
                [("dataset", "cifar10"), ("model", "wrn"), ("blocks", "1"), ("norm", norm)];
            model(&settings).parameters
        };
        assert_eq!(wrn("none"), convs + head);
        assert_eq!(wrn("batch"), convs + head + norms);
        let gains = 16 + 2 * 16 + 3 * 32 + 3 * 64;
        assert_eq!(wrn("weight"), convs + head + gains);
        let settings =
            [("dataset", "cifar10"), ("model", "resnet"), ("blocks", "1"), ("norm", "batch")];
        assert_eq!(
            model(&settings).parameters,
            wrn("batch") + 2 * (16 + 64),
            "after the stem and before the pooling"
        );
    }

    #[test]
    fn residual_networks_have_the_published_sizes() {
        let millions = |settings: &[(&str, &str)]| {
            let all: Vec<_> = [("dataset", "cifar10"), ("norm", "batch")]
                .into_iter()
                .chain(settings.iter().copied())
                .collect();
            model(&all).parameters as f64 / 1e6
        };
        let near = |x: f64, published: f64| {
            assert!((x / published - 1.0).abs() < 0.02, "{x} is not {published}")
        };
        near(millions(&[("model", "resnet"), ("blocks", "9")]), 0.86); // He et al. 2016: 0.85 M
        near(millions(&[("model", "resnet"), ("blocks", "18")]), 1.73); // 1.7 M
        near(millions(&[("model", "resnet"), ("blocks", "27")]), 2.6);
        near(millions(&[("model", "wrn"), ("blocks", "6"), ("k", "10")]), 55.8); // Zagoruyko & Komodakis 2016
        near(millions(&[("model", "wrn"), ("blocks", "6"), ("k", "4")]), 8.9);
    }

    #[test]
    fn a_resnet_56_takes_an_eighth_of_a_billion_multiply_adds() {
        let cost = model(&[("dataset", "cifar10"), ("model", "resnet"), ("blocks", "9")]);
        let multiply_adds = cost.forward_flop / 2.0;
        assert!((0.124e9..0.128e9).contains(&multiply_adds), "{multiply_adds}");
        let reduced =
            model(&[("dataset", "cifar10"), ("model", "wrn"), ("reduced_memory", "true")]);
        let full = model(&[("dataset", "cifar10"), ("model", "wrn")]);
        assert!((full.forward_flop / reduced.forward_flop - 4.0).abs() < 0.1);
    }

    #[test]
    fn the_largest_networks_that_a_grid_can_name_do_not_overflow() {
        for model_name in ["mlp", "cnn", "resnet", "wrn"] {
            let cost = model(&[
                ("dataset", "synthetic"),
                ("synthetic_shape", "4096x4096x4096"),
                ("synthetic_classes", "10000"),
                ("synthetic_images", "10000000"),
                ("model", model_name),
                ("depth", "100000"),
                ("width", "100000"),
                ("blocks", "100000"),
                ("k", "1000"),
            ]);
            assert!(cost.forward_flop.is_finite() && cost.parameters > 0);
        }
    }
}
