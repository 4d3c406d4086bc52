//! The networks: a [`Model`] is a list of layers and a head, for a whole stack of members.

mod residual;

use tch::{Device, Kind, Tensor};

use crate::nn::conv::ConvSize;
use crate::nn::pooling::GlobalAveragePooling;
use crate::nn::{
    Accumulation, Affine, Arithmetic, Backward, BatchNorm, Buffer, Conv, Layer, Linear, Param,
    Part, Pass, Sgd, Tape, init,
};
use wninit_core::job::{self, Activation, Arch, Init, Network, Norm, Precision};
use wninit_core::plan::cohort::Shape;

use residual::ResidualBlock;

/// The parameters for building a model.
#[derive(Clone, Copy, Debug)]
pub struct ModelConfig {
    /// The network and its sizes.
    pub arch: Arch,
    /// The activation between its layers.
    pub activation: Activation,
    /// Normalisation of its layers.
    pub norm: Norm,
    /// Channels, height and width of an image.
    pub input: [i64; 3],
    /// The initial value of the scalar at the end of each residual branch, if there is one.
    pub branch_scale: Option<f64>,
    /// Number of classes.
    pub classes: i64,
    /// The device and the types of its arithmetic.
    pub arithmetic: Arithmetic,
}

impl ModelConfig {
    /// The config for jobs of a shape on a device.
    pub(crate) fn of(shape: &Shape, device: Device) -> ModelConfig {
        ModelConfig {
            arch: shape.arch,
            activation: shape.activation,
            norm: shape.norm,
            branch_scale: shape.branch_scale.then_some(0.0),
            input: shape.dataset.shape().map(|size| size as i64),
            classes: shape.dataset.classes() as i64,
            arithmetic: match shape.precision {
                Precision::Fp32 | Precision::Tf32 => Arithmetic::fp32(device),
                Precision::Bf16 => Arithmetic::bf16(device),
            },
        }
    }

    fn network(&self) -> Network {
        let input = self.input.map(|size| size as usize);
        let scaled = self.branch_scale.is_some();
        self.arch.network(input, self.classes as usize, self.norm, self.activation, scaled)
    }
}

/// Makes layers of zeros from their descriptions.
#[derive(Clone, Copy)]
struct Builder {
    members: i64,
    arithmetic: Arithmetic,
}

impl Builder {
    fn layer(self, number: u32, name: String, layer: job::Layer) -> Box<dyn Layer> {
        let Builder { members, arithmetic } = self;
        match layer {
            job::Layer::Linear(job::Linear { role, norm, inputs, outputs, activation }) => {
                let sizes = [members, inputs as i64, outputs as i64];
                Box::new(Linear::new(name, role, norm, sizes, activation, arithmetic))
            }
            job::Layer::Conv(conv) => Box::new(self.conv(name, conv)),
            job::Layer::Block(block) => Box::new(ResidualBlock::new(name, number, block, self)),
            job::Layer::BatchNorm(bn) => Box::new(self.batch_norm(&name, bn)),
            job::Layer::GlobalAveragePool => Box::new(GlobalAveragePooling),
        }
    }

    fn conv(self, name: String, conv: job::Conv) -> Conv {
        let [inputs, outputs, kernel, stride] =
            [conv.inputs, conv.outputs, conv.kernel, conv.stride].map(|size| size as i64);
        let size = ConvSize { inputs, outputs, kernel, stride };
        let job::Conv { role, norm, activation, .. } = conv;
        Conv::new(name, role, norm, self.members, size, activation, self.arithmetic)
    }

    fn batch_norm(self, name: &str, bn: job::BatchNorm) -> BatchNorm {
        BatchNorm::new(name, self.members, bn.channels as i64, self.arithmetic)
    }
}

/// A stack of networks of one shape.
pub struct Model {
    config: ModelConfig,
    members: i64,
    layers: Vec<Box<dyn Layer>>,
    /// Whether the first layer takes flattened images.
    flat: bool,
}

/// The result of a training step, before its update.
pub struct StepResult {
    /// The mean cross-entropy of the mini-batch, `[member]`, in nats.
    pub loss: Tensor,
    /// Number of images classified correctly, `[member]`.
    pub correct: Tensor,
}

impl Model {
    /// A stack of networks with all parameters 0 (batch norms at their initial values).
    pub fn zeros(config: ModelConfig, members: i64) -> Model {
        let network = config.network();
        let builder = Builder { members, arithmetic: config.arithmetic };
        let runs = network.runs().iter().flat_map(|run| run.each());
        let layers = runs.map(|(number, name, layer)| builder.layer(number, name, layer)).collect();
        Model { config, members, layers, flat: network.takes_flat_images() }
    }

    /// A single network as drawn by its initializer; a data-dependent one also needs
    /// [`Model::data_dependent`].
    pub(crate) fn drawn(config: ModelConfig, init: Init, seed: u64) -> Model {
        let mut model = Model::zeros(config, 1);
        let layers = config.network().weights().collect::<Vec<_>>();
        init::draw_all(model.affines(), &layers, init, config.activation, seed);
        for part in model.parts() {
            if let (Part::BranchScale(scale), Some(value)) = (part, config.branch_scale) {
                let _ = scale.value.fill_(value);
            }
        }
        model
    }

    /// A single network, initialised. `batch` returns the images of the data-dependent pass,
    /// `[batch, channel, height, width]`; it is called only if the initializer needs them.
    pub fn initialised(
        config: ModelConfig,
        init: Init,
        seed: u64,
        batch: impl FnOnce() -> Tensor,
    ) -> Model {
        let mut model = Model::drawn(config, init, seed);
        model.data_dependent(init, || batch().unsqueeze(0));
        model
    }

    /// Runs the data-dependent pass of an initializer that has one; `batch` returns images
    /// `[1, batch, channel, height, width]`.
    pub fn data_dependent(&mut self, init: Init, batch: impl FnOnce() -> Tensor) {
        let Some(rule) = init.gain().filter(|_| init.is_data_dependent()) else { return };
        let mut x = self.enter(&batch());
        for layer in &mut self.layers {
            x = layer.data_dependent(&x, rule);
        }
    }

    /// The config that the model was built from.
    pub fn config(&self) -> ModelConfig {
        self.config
    }

    /// Number of stacked networks.
    pub fn members(&self) -> i64 {
        self.members
    }

    /// Converts images `[member, batch, channel, height, width]` to the first layer's input.
    fn enter(&self, x: &Tensor) -> Tensor {
        let x = x.to_kind(self.config.arithmetic.compute);
        if self.flat {
            return x.flatten(2, -1);
        }
        // Channels last in memory, for the convolutions. With a single channel this equals channels
        // first, and libtorch chooses kernels by the strides: without explicit strides a stack
        // would use another kernel than a single network. See `faults::AMBIGUOUS_LAYOUT`.
        let size = x.size();
        let [_, batch, channels, height, width] = size[..] else {
            panic!("images of a stack have five axes, not {size:?}")
        };
        let last = x.permute([0, 1, 3, 4, 2]).contiguous();
        let row = width * channels;
        let stride = [batch * height * row, height * row, 1, row, channels];
        last.as_strided(&size, stride, None)
    }

    /// Class scores `[member, batch, class]` of images `[member, batch, channel, height, width]`.
    pub fn logits(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        let mut x = self.enter(x);
        for layer in &self.layers {
            x = layer.forward(&x, pass);
        }
        x.to_kind(self.config.arithmetic.params)
    }

    /// The output of each named layer (after its activation, if it has one): every hidden layer of an
    /// `mlp` or a `cnn`, the stem and every block of a residual network, then the head's class
    /// scores. Statistics are those of training, and running averages are not updated. If `x`
    /// requires a gradient, all outputs are on one autograd graph.
    pub(crate) fn trace(&self, x: &Tensor) -> Vec<(String, Tensor)> {
        let mut x = self.enter(x);
        let mut outputs = Vec::new();
        for layer in &self.layers {
            // A block reports its parts before itself.
            let mut last = None;
            let mut keep = |name: &str, _: &Tensor| last = Some(name.to_owned());
            x = layer.forward(&x, &mut Pass::Observe(&mut keep));
            outputs.extend(last.map(|name| (name, x.shallow_clone())));
        }
        outputs
    }

    /// One training step on a mini-batch: forward, loss, backward and, if `sgd` is given, the
    /// update; otherwise gradients stay in `Param::grad`.
    ///
    /// `x` is `[member, batch, channel, height, width]`, `y` `[member, batch]` (class indices).
    /// At most `micro_batch` images pass through at a time. With `recompute`, only the input of
    /// every √depth-th layer is kept; the rest is recomputed in the backward pass.
    pub fn train_step(
        &mut self,
        x: &Tensor,
        y: &Tensor,
        sgd: Option<&Sgd>,
        micro_batch: i64,
        recompute: bool,
    ) -> StepResult {
        let batch = x.size()[1];
        let mut result: Option<StepResult> = None;
        let mut start = 0;
        while start < batch {
            let size = micro_batch.min(batch - start);
            let (x, y) = (x.narrow(1, start, size), y.narrow(1, start, size));
            let accum = Accumulation { first: start == 0, last: start + size == batch, sgd };
            let part = self.forward_backward(&x, &y, batch, accum, recompute);
            result = Some(match result {
                None => part,
                Some(sum) => {
                    StepResult { loss: sum.loss + part.loss, correct: sum.correct + part.correct }
                }
            });
            start += size;
        }
        result.expect("a mini-batch has images")
    }

    /// A training step without an update that leaves everything as it was. Libraries choose their
    /// kernels in it. Arguments are those of [`Model::train_step`].
    pub(crate) fn rehearse(&mut self, x: &Tensor, y: &Tensor, micro_batch: i64, recompute: bool) {
        let before: Vec<Tensor> = self.buffers().iter().map(|buffer| buffer.value.copy()).collect();
        self.train_step(x, y, None, micro_batch, recompute);
        self.params().into_iter().for_each(|param| param.grad = None);
        for (buffer, before) in self.buffers().into_iter().zip(&before) {
            buffer.value.copy_(before);
        }
    }

    fn forward_backward(
        &mut self,
        x: &Tensor,
        y: &Tensor,
        batch: i64,
        accum: Accumulation,
        recompute: bool,
    ) -> StepResult {
        let depth = self.layers.len();
        let segment = if recompute { depth.isqrt().max(1) } else { depth };
        let mut back = Backward { tape: Tape::default(), accum };
        let mut starts = Vec::new();
        let mut x = self.enter(x);
        for (i, layer) in self.layers.iter().enumerate() {
            let last = i / segment == (depth - 1) / segment;
            if i % segment == 0 {
                starts.push(x.shallow_clone());
            }
            // The last segment's backward pass follows at once, so it is not skimmed.
            let mut pass = if last { Pass::Train(&mut back.tape) } else { Pass::NoTape };
            x = layer.forward(&x, &mut pass);
        }
        let (result, mut dy) = cross_entropy(&x, y, batch, self.config.arithmetic.params);
        for (s, start) in starts.into_iter().enumerate().rev() {
            let range = s * segment..depth.min((s + 1) * segment);
            if back.tape.is_empty() {
                let mut x = start;
                for layer in &self.layers[range.clone()] {
                    x = layer.forward(&x, &mut Pass::Recompute(&mut back.tape));
                }
            }
            for i in range.rev() {
                dy = self.layers[i].backward(dy, &mut back, i > 0);
            }
        }
        result
    }

    fn parts(&mut self) -> Vec<Part<'_>> {
        let mut parts = Vec::new();
        self.layers.iter_mut().for_each(|layer| layer.visit(&mut |part| parts.push(part)));
        parts
    }

    /// All affine maps.
    pub fn affines(&mut self) -> Vec<&mut Affine> {
        let affine = |part| match part {
            Part::Affine(affine) => Some(affine),
            Part::BatchNorm(_) | Part::BranchScale(_) => None,
        };
        self.parts().into_iter().filter_map(affine).collect()
    }

    /// All trainable parameters.
    pub fn params(&mut self) -> Vec<&mut Param> {
        self.parts().into_iter().flat_map(Part::params).collect()
    }

    /// All state that is not trained: running means and variances.
    pub fn buffers(&mut self) -> Vec<&mut Buffer> {
        self.parts().into_iter().flat_map(Part::buffers).collect()
    }

    /// All parameters and buffers: everything that [`Model::set_member`] copies.
    pub(crate) fn state(&mut self) -> Vec<Tensor> {
        let params = self.params().into_iter().map(|param| param.value.shallow_clone());
        let mut state: Vec<Tensor> = params.collect();
        state.extend(self.buffers().into_iter().map(|buffer| buffer.value.shallow_clone()));
        state
    }

    /// Copies the parameters and buffers of a single network into one member of this stack.
    ///
    /// # Panics
    /// If the two differ in shape.
    pub fn set_member(&mut self, member: i64, single: &mut Model) {
        assert_eq!(single.members, 1, "a member is a single network");
        for (ours, theirs) in self.state().iter().zip(single.state()) {
            ours.select(0, member).copy_(&theirs.select(0, 0));
        }
    }

    /// Keeps only these members, in this order.
    pub(crate) fn keep(&mut self, members: &[i64]) {
        let device = self.config.arithmetic.device;
        let index = Tensor::from_slice(members).to_device(device);
        let keep = |t: &mut Tensor| *t = t.index_select(0, &index);
        for param in self.params() {
            keep(&mut param.value);
            param.momentum.as_mut().map(keep);
            param.grad = None;
        }
        self.buffers().into_iter().for_each(|buffer| keep(&mut buffer.value));
        self.members = members.len() as i64;
        self.refresh();
    }

    /// Recomputes the effective weights; call it after setting parameters from outside.
    pub fn refresh(&mut self) {
        self.affines().into_iter().for_each(Affine::refresh);
    }
}

/// The cross-entropy of logits `[member, batch, class]`, its sum divided by `batch` (the whole
/// mini-batch, of which this may be a part), and its gradient in the type of the logits.
fn cross_entropy(logits: &Tensor, y: &Tensor, batch: i64, kind: Kind) -> (StepResult, Tensor) {
    let log_p = logits.log_softmax(-1, kind);
    let labels = y.unsqueeze(-1);
    let loss = -log_p.gather(-1, &labels, false).sum_dim_intlist([1, 2].as_slice(), false, kind)
        / batch as f64;
    let correct = logits.argmax(-1, false).eq_tensor(y).sum_dim_intlist(1, false, Kind::Int64);
    let ones = Tensor::full(labels.size(), -1.0, (kind, logits.device()));
    let dlogits = log_p.exp().scatter_add(-1, &labels, &ones) / batch as f64;
    (StepResult { loss, correct }, dlogits.to_kind(logits.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rehearsal_changes_nothing() {
        tch::set_num_threads(1);
        let _no_grad = tch::no_grad_guard();
        let arithmetic = Arithmetic::fp32(Device::Cpu);
        for (arch, norm) in [
            (Arch::Mlp { depth: 2, width: 5 }, Norm::Weight),
            (Arch::ResNet { blocks: 1, width: 2 }, Norm::Weight),
            (Arch::ResNet { blocks: 1, width: 2 }, Norm::Batch),
        ] {
            let config = ModelConfig {
                arch,
                activation: Activation::Relu,
                norm,
                branch_scale: None,
                input: [3, 8, 8],
                classes: 4,
                arithmetic,
            };
            let x = Tensor::rand([2, 6, 3, 8, 8], (Kind::Float, Device::Cpu));
            let y = Tensor::zeros([2, 6], (Kind::Int64, Device::Cpu));
            let each = |number: f32| Tensor::from_slice(&[number; 2]);
            let sgd = Sgd::new(each(0.1), each(0.9), Some(each(0.1)));
            let trained = |rehearse: bool| {
                tch::manual_seed(12);
                let mut model = Model::zeros(config, 2);
                model.params().iter().for_each(|param| {
                    let _ = param.value.shallow_clone().uniform_(0.1, 0.2);
                });
                model.refresh();
                for _ in 0..2 {
                    if rehearse {
                        model.rehearse(&x.narrow(1, 0, 5), &y.narrow(1, 0, 5), 3, false);
                        assert!(model.params().iter().all(|param| param.grad.is_none()));
                    }
                    model.train_step(&x, &y, Some(&sgd), 4, false);
                }
                model.state()
            };
            for (with, without) in trained(true).iter().zip(&trained(false)) {
                assert!(with.equal(without), "{arch:?} {norm:?}");
            }
        }
    }
}
