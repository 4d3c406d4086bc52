//! The cost of a job, computed from its shape: parameters, arithmetic, memory, time.
//!
//! A multiply-add counts as two operations. Only linear layers and convolutions are counted;
//! normalisation, activations and the update are part of the overhead in [`Rates`].

use crate::job::{Activation, Conv, Layer, Network, Norm, Precision, Role};
use crate::plan::cohort::Shape;

/// The cost of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ModelCost {
    /// Trained numbers: weights, gains and biases.
    pub parameters: u64,
    /// Linear layers and convolutions, 1×1 shortcuts included.
    pub(crate) layers: u64,
    /// Floating-point operations of a forward pass of one image.
    pub forward_flop: f64,
    /// The first layer's share of them: its input needs no gradient.
    first_flop: f64,
    /// Numbers kept for the backward pass, for each image.
    kept: f64,
    /// Numbers in the largest layer output, for each image.
    widest: f64,
}

fn network(shape: &Shape) -> Network {
    let Shape { dataset, arch, norm, activation, branch_scale, .. } = *shape;
    arch.network(dataset.shape(), dataset.classes(), norm, activation, branch_scale)
}

/// Numbers kept of the input of an activation with `out` results.
fn input_kept(activation: Activation, out: u64) -> u64 {
    if activation.needs_input() { out } else { 0 }
}

impl ModelCost {
    /// The cost of one member of a cohort.
    pub fn of(shape: &Shape) -> ModelCost {
        let mut cost = ModelCost::default();
        for run in network(shape).runs() {
            cost.add(run.times(), &run.layer);
        }
        cost
    }

    /// `times` equal layers.
    fn add(&mut self, times: u64, layer: &Layer) {
        // Numbers that a layer keeps, and numbers that it outputs.
        let (kept, out) = match layer {
            Layer::Linear(linear) => {
                self.affine(times, linear.inputs, linear.outputs, 1, linear.norm);
                // Too little to count for the head.
                let out = if linear.role == Role::Head { 0 } else { linear.outputs };
                (out + input_kept(linear.activation, out), out)
            }
            Layer::Conv(conv) => {
                self.conv(times, conv);
                let out = conv.outputs * conv.places;
                (out + input_kept(conv.activation, out), out)
            }
            Layer::BatchNorm(bn) => {
                self.batch_norm(times, bn.channels);
                (bn.channels * bn.places, bn.channels * bn.places)
            }
            Layer::Block(block) => {
                let (conv1, conv2) = (block.conv1(), block.conv2(1));
                self.conv(times, &conv1);
                self.conv(times, &conv2);
                block.shortcut().iter().for_each(|shortcut| self.conv(times, shortcut));
                let norms = block.batch_norms();
                norms.iter().flatten().for_each(|bn| self.batch_norm(times, bn.channels));
                self.parameters = self.parameters.saturating_add(times * u64::from(block.scaled));
                // The activation's result and the sum; with batch norm, the inputs and results of
                // two normalisations as well; with a scalar, the branch before it.
                let out = conv2.outputs * conv2.places;
                let input = input_kept(block.activation, out);
                let kept = if norms.is_some() { 5 * out + 2 * input } else { 2 * out + input };
                (kept + u64::from(block.scaled) * out, out)
            }
            Layer::GlobalAveragePool => (0, 0),
        };
        self.kept += kept as f64 * times as f64;
        self.widest = self.widest.max(out as f64);
    }

    /// `times` affine maps, each applied to `places` positions of an image.
    fn affine(&mut self, times: u64, fan_in: u64, out: u64, places: u64, norm: Norm) {
        let gain = if norm == Norm::Weight { out } else { 0 };
        let each = fan_in.saturating_mul(out).saturating_add(out + gain);
        self.parameters = self.parameters.saturating_add(each.saturating_mul(times));
        let flop = 2.0 * fan_in as f64 * out as f64 * places as f64;
        if self.layers == 0 {
            self.first_flop = flop;
        }
        self.layers += times;
        self.forward_flop += flop * times as f64;
    }

    fn conv(&mut self, times: u64, conv: &Conv) {
        let fan_in = conv.inputs * conv.kernel * conv.kernel;
        self.affine(times, fan_in, conv.outputs, conv.places, conv.norm);
    }

    fn batch_norm(&mut self, times: u64, channels: u64) {
        self.parameters = self.parameters.saturating_add(2 * channels * times);
    }

    /// Operations to train on one image once: forward and backward.
    fn training_flop(&self) -> f64 {
        3.0 * self.forward_flop - self.first_flop
    }
}

/// Memory of the program with libtorch and a small data set, in bytes.
pub const PROGRAM_MEMORY: f64 = 450e6;

/// An upper estimate of the memory, in bytes, that training a stack needs besides the data set and
/// the program: parameters with gradient, momentum and effective weight, and the activations of a
/// micro-batch.
pub fn memory(shape: &Shape, members: usize) -> f64 {
    let model = ModelCost::of(shape);
    let bytes = if shape.precision == Precision::Bf16 { 2.0 } else { 4.0 };
    // Passing through a layer holds a few tensors of its size at once; evaluation takes 256
    // images at a time and keeps nothing.
    let images = shape.micro_batch as f64;
    let training = (model.kept + 4.0 * model.widest) * images;
    let evaluation = 3.0 * model.widest * 256.0;
    let best = if shape.epochs > 1 { 4.0 } else { 0.0 };
    let parameters = model.parameters as f64 * (12.0 + best);
    members as f64 * (parameters + bytes * training.max(evaluation))
}

/// The speed of a worker. The defaults are rough; measurements may replace them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Operations per second in `fp32`.
    pub fp32: f64,
    /// Operations per second in `tf32`.
    pub tf32: f64,
    /// Operations per second in `bf16`.
    pub bf16: f64,
    /// Overhead of each layer per step, in seconds.
    pub seconds_per_layer: f64,
    /// Fixed overhead per step, in seconds.
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

/// Total operations of one job: training, validation after each epoch and a test.
pub fn job_flop(shape: &Shape) -> f64 {
    let trained = shape.train as f64 * f64::from(shape.epochs);
    ModelCost::of(shape).training_flop() * trained + evaluation_flop(shape)
}

/// The operations of [`job_flop`] that are validation and test.
pub fn evaluation_flop(shape: &Shape) -> f64 {
    let evaluated = shape.val as f64 * f64::from(shape.epochs) + shape.test as f64;
    ModelCost::of(shape).forward_flop * evaluated
}

/// Seconds that a worker needs for `members` jobs of a shape, trained together.
pub(crate) fn seconds(shape: &Shape, members: usize, rates: &Rates) -> f64 {
    let steps = shape.steps() as f64 * f64::from(shape.epochs);
    let layers = ModelCost::of(shape).layers as f64;
    job_flop(shape) * members as f64 / rates.flop_per_second(shape.precision)
        + steps * (rates.seconds_per_step + layers * rates.seconds_per_layer)
}

/// How many jobs of a shape a CPU worker trains together. Stacking speeds up small matrix products;
/// one convolution already fills the core.
pub fn cpu_width(shape: &Shape) -> usize {
    const MOST: usize = 8;
    const MEMORY: f64 = 512e6;
    if !network(shape).takes_flat_images() {
        return 1;
    }
    ((MEMORY / memory(shape, 1)) as usize).clamp(1, MOST)
}

/// The largest number of jobs of a shape that fit together into `free` bytes of a GPU. The factor
/// 0.6 allows for CUDA graphs, which hold their memory during evaluation, and for fragmentation.
pub fn gpu_width(shape: &Shape, free: f64) -> usize {
    ((0.6 * free / memory(shape, 1)) as usize).max(1)
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
        assert_eq!((cost.kept, cost.widest), (100.0 + 100.0, 100.0));
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
    fn an_activation_that_needs_its_input_keeps_it_once_for_each_result() {
        let residual =
            [("model", "resnet"), ("blocks", "1"), ("width", "2"), ("dataset", "digits")];
        let kept = |activation, more: &[(&'static str, &'static str)]| {
            model(&[&[("activation", activation)], more].concat()).kept
        };
        // 64 pixels of 2 channels; the later stages have twice the channels and a quarter the pixels.
        let inside = 128.0 + 64.0 + 32.0;
        for (more, inputs) in [
            (&[("model", "mlp"), ("depth", "3"), ("width", "7")][..], 3.0 * 7.0),
            (&[("model", "cnn"), ("depth", "1"), ("width", "4"), ("dataset", "digits")], 64.0),
            (&residual, inside),
            (&[&residual[..], &[("norm", "batch")]].concat(), 2.0 * inside),
        ] {
            assert_eq!(kept("gelu", more) - kept("tanh", more), inputs, "{more:?}");
            assert_eq!(kept("tanh", more), kept("relu", more), "{more:?}");
        }
    }
}
