//! Signal propagation at initialization: norms of the hidden layers in the forward pass and of their
//! gradients in the backward pass (experiment 1 and Fig. 1 of Arpit, Campos & Bengio 2019).
//!
//! Forward: the mean over samples of `‖hˡ‖/‖x‖`. Backward: the mean over samples of
//! `‖∂L/∂hˡ‖ / ‖∂L/∂hᴸ‖`, where hᴸ is the last hidden layer. For a ReLU network with the proposed gain
//! both stay near 1 (theorem 1 and 2); for a residual network with B blocks both grow to
//! `(1 + 1/B)^(B/2)`, which is between √2 and √e for every B (theorem 3 and 4).

use rand::Rng;
use rand_distr::StandardNormal;
use tch::{Device, Kind, Tensor};

use crate::models::ModelConfig;
use crate::nn::{Accumulation, Arithmetic, Backward, Layer, Linear, Part, Pass, Role, Tape, init};
use crate::train::Libtorch;
use crate::train::augment::Preprocess;
use crate::train::failure::catch_torch_panic;
use crate::train::initial::initial_network;
use wninit_core::job::{Activation, Augment, Direction, Gain, Init, Job, Norm};
use wninit_core::results::LayerSignal;
use wninit_core::rng;
use wninit_core::run::trainer::Stop;

use super::curvature::first_batches;
use wninit_core::plan::cohort::Shape;

/// The norm of each sample of `[1, batch, …]`: `[batch]`, in double precision.
fn norms(h: &Tensor) -> Tensor {
    let samples = h.size()[1];
    h.reshape([samples, -1])
        .to_kind(Kind::Double)
        .square()
        .sum_dim_intlist(1, false, Kind::Double)
        .sqrt()
}

fn mean(values: &Tensor) -> f64 {
    values.mean(Kind::Double).double_value(&[])
}

/// The signals of layers, the input first, from their norms and those of their gradients.
fn signals(names: Vec<String>, forward: &[Tensor], backward: &[Tensor]) -> Vec<LayerSignal> {
    let (Some(input), Some(last)) = (forward.first(), backward.last()) else { return Vec::new() };
    names
        .into_iter()
        .zip(forward.iter().zip(backward))
        .enumerate()
        .map(|(layer, (name, (h, dh)))| LayerSignal {
            layer,
            name,
            forward_norm: mean(h),
            forward_ratio: mean(&(h / input)),
            backward_norm: mean(dh),
            backward_ratio: mean(&(dh / last)),
        })
        .collect()
}

/// A network of Fig. 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // of fields
pub enum Net {
    /// `depth` layers of widths drawn from m ± 50, where m is more than 50, a ReLU after each.
    Mlp { depth: u32, m: u32 },
    /// `blocks` residual blocks h + W₂·relu(W₁·h) on the input's size, with m units inside.
    Residual { blocks: u32, m: u32 },
}

/// The initializers of Fig. 1. In these networks a default gain is 1 for every unit, not ‖v‖.
pub(crate) const FIG1_INITS: [Init; 3] = [
    Init::BuiltIn { direction: Direction::He, gain: Gain::Default },
    Init::BuiltIn { direction: Direction::He, gain: Gain::Proposed },
    Init::BuiltIn { direction: Direction::Orthogonal, gain: Gain::Proposed },
];

/// Features and samples of the synthetic input.
const INPUTS: i64 = 500;
const SAMPLES: i64 = 1000;

impl Net {
    /// The networks of Fig. 1.
    pub(crate) fn fig1() -> Vec<Net> {
        let mlp = [200, 1000].map(|m| Net::Mlp { depth: 20, m });
        let residual = [200, 1000].map(|m| Net::Residual { blocks: 40, m });
        [mlp, residual].concat()
    }

    pub(crate) fn name(self) -> String {
        match self {
            Net::Mlp { m, .. } => format!("mlp m={m}"),
            Net::Residual { m, .. } => format!("residual m={m}"),
        }
    }

    /// Blocks of one linear layer in an mlp, of two in a residual network.
    fn layers(self, init: Init, seed: u64) -> Vec<Vec<Linear>> {
        let linear = |name: String, role, inputs: i64, outputs: i64| {
            let arithmetic = Arithmetic::fp32(Device::Cpu);
            let activation =
                if role == Role::Activated { Activation::Relu } else { Activation::Linear };
            let sizes = [1, inputs, outputs];
            let mut layer = Linear::new(name, role, Norm::Weight, sizes, activation, arithmetic);
            layer.visit(&mut |part| {
                let Part::Affine(affine) = part else { return };
                init::draw(affine, init, Activation::Relu, seed);
                if init.gain() == Some(Gain::Default) {
                    if let Some(gain) = affine.gain() {
                        let _ = gain.value.fill_(1.0);
                    }
                    affine.refresh();
                }
            });
            layer
        };
        match self {
            Net::Mlp { depth, m } => {
                let mut widths = rng::stream(seed, &format!("signal/widths/{m}"), 0);
                let mut inputs = INPUTS;
                (0..depth)
                    .map(|i| {
                        let width = i64::from(m) + widths.random_range(-50..=50);
                        let layer = linear(format!("hidden.{i}"), Role::Activated, inputs, width);
                        inputs = width;
                        vec![layer]
                    })
                    .collect()
            }
            Net::Residual { blocks, m } => (0..blocks)
                .map(|b| {
                    let residual = Role::Residual { blocks, block: b + 1 };
                    vec![
                        linear(format!("blocks.{b}.1"), Role::Activated, INPUTS, m.into()),
                        linear(format!("blocks.{b}.2"), residual, m.into(), INPUTS),
                    ]
                })
                .collect(),
        }
    }

    /// Propagates Gaussian samples forward and a Gaussian gradient backward. All draws come from
    /// streams of the seed, so initializers share inputs, widths and, if they have the same
    /// distribution, directions.
    ///
    /// # Errors
    /// Memory ran out.
    pub fn measure(self, init: Init, seed: u64) -> Result<Vec<LayerSignal>, Stop> {
        catch_torch_panic(|| {
            let _no_grad = tch::no_grad_guard();
            tch::set_num_threads(1);
            crate::ffi::flush_denormals();
            Ok(self.propagate(init, seed))
        })
    }

    fn propagate(self, init: Init, seed: u64) -> Vec<LayerSignal> {
        let skip = matches!(self, Net::Residual { .. });
        let gaussian = |purpose: &str, size: i64| {
            let stream = rng::stream(seed, purpose, 0);
            init::numbers(StandardNormal, stream, (SAMPLES * size) as usize)
                .view([1, SAMPLES, size])
        };
        let mut blocks = self.layers(init, seed);
        let mut back = Backward { tape: Tape::default(), accum: Accumulation::whole(None) };
        let mut h = gaussian("signal/input", INPUTS);
        let mut forward = vec![norms(&h)];
        for block in &blocks {
            let mut y = h.shallow_clone();
            for layer in block {
                y = layer.forward(&y, &mut Pass::Train(&mut back.tape));
            }
            h = if skip { h + y } else { y };
            forward.push(norms(&h));
        }
        let mut dh = gaussian("signal/gradient", h.size()[2]);
        let mut backward = vec![norms(&dh)];
        // Each block is dropped with its gradients after use.
        while let Some(mut block) = blocks.pop() {
            // Layers compute in place, and the skip connection needs dh again.
            let mut dy = dh.copy();
            for layer in block.iter_mut().rev() {
                dy = layer.backward(dy, &mut back, true);
            }
            dh = if skip { dh + dy } else { dy };
            backward.push(norms(&dh));
        }
        backward.reverse();
        let name = if skip { "blocks" } else { "hidden" };
        let names = (0..forward.len()).map(|l| match l {
            0 => "input".to_owned(),
            l => format!("{name}.{}", l - 1),
        });
        signals(names.collect(), &forward, &backward)
    }
}

/// Propagates the first mini-batch of a job's first epoch, not augmented, through its initial network,
/// and the gradient of the loss backward. Batch norms use the batch's statistics. The job is a start,
/// see [`wninit_core::plan::start::start_of`].
///
/// # Errors
/// Memory, the device or the data set failed.
pub(crate) fn of_job(
    trainer: &Libtorch,
    worker: usize,
    job: &Job,
) -> Result<Vec<LayerSignal>, Stop> {
    catch_torch_panic(|| {
        let shape = Shape::of(job);
        let device = trainer.devices[worker];
        let (data, _tf32) = trainer.prepare_with_data(worker, &shape)?;
        let model = tch::no_grad(|| initial_network(job, ModelConfig::of(&shape, device), &data));
        // The smallest share is one batch.
        let images: Vec<i64> =
            first_batches(job, 0.0).concat().into_iter().map(i64::from).collect();
        let indices = Tensor::from_slice(&images).unsqueeze(0).to_device(device);
        let (pixels, labels) = data.train.gather(&indices);
        let preprocess =
            Preprocess::new(job.dataset, Augment::None, job.input, &data.moments, device);
        let x = preprocess.eval(&pixels);
        let x = x.set_requires_grad(true);
        let mut layers = model.trace(&x);
        let Some((_, logits)) = layers.pop() else { return Ok(Vec::new()) };
        let loss = -logits
            .log_softmax(-1, None::<Kind>)
            .gather(-1, &labels.unsqueeze(-1), false)
            .mean(None::<Kind>);
        let all = std::iter::once(("input".to_owned(), x)).chain(layers);
        let (names, values): (Vec<String>, Vec<Tensor>) = all.unzip();
        let gradients = Tensor::run_backward(&[loss], &values, false, false);
        let forward: Vec<Tensor> = values.iter().map(|h| norms(&h.detach())).collect();
        let backward: Vec<Tensor> = gradients.iter().map(norms).collect();
        Ok(signals(names, &forward, &backward))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn widths_differ_by_layer_and_seed_and_stay_within_50_of_m() {
        let widths = |seed| -> Vec<i64> {
            let mut blocks = Net::Mlp { depth: 20, m: 60 }.layers(FIG1_INITS[0], seed);
            let mut widths = Vec::new();
            for layer in blocks.iter_mut().flatten() {
                layer.visit(&mut |part| {
                    if let Part::Affine(affine) = part {
                        widths.push(affine.bias.value.size()[1]);
                    }
                });
            }
            widths
        };
        assert_eq!(widths(1), widths(1));
        assert_ne!(widths(1), widths(2));
        assert!(widths(1).iter().all(|width| (10..=110).contains(width)));
        assert_ne!(widths(1).iter().min(), widths(1).iter().max());
    }
}
