//! Stacked layers: every parameter and every activation has a leading `member` axis.
//!
//! A layer carries its forward pass and its own backward pass, which also applies the update:
//! by the time that a gradient is known, the parameters it belongs to are still in the cache.
//! What the forward pass leaves for the backward pass lies on a [`Tape`]. Autograd is not used
//! in training; it differentiates the same forward pass in tests and for curvature, as soon as a
//! parameter asks for a gradient.

pub(crate) mod batch_norm;
pub(crate) mod conv;
pub(crate) mod convolution;
pub(crate) mod init;
pub(crate) mod kernels;
pub(crate) mod linear;
pub(crate) mod matmul;
pub(crate) mod params;
pub(crate) mod pool;

pub use batch_norm::BatchNorm;
pub use conv::Conv;
pub use kernels::Sgd;
pub(crate) use linear::Linear;
pub(crate) use params::{Affine, Buffer, Param};
pub(crate) use wninit_core::job::Role;

use tch::{Device, Kind, Tensor};

/// What a layer's forward pass leaves for its backward pass: a stack, popped in reverse order.
#[derive(Default)]
pub struct Tape(Vec<Tensor>);

impl Tape {
    /// Keeps a tensor.
    pub(crate) fn push(&mut self, tensor: &Tensor) {
        self.0.push(tensor.shallow_clone());
    }

    /// Takes back the tensor that was kept last.
    ///
    /// # Panics
    /// If the tape is empty: a layer popped what it did not push.
    pub(crate) fn pop(&mut self) -> Tensor {
        self.0.pop().expect("a layer pops what it pushed")
    }

    /// Whether everything was taken back.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How a forward pass is meant.
pub enum Pass<'a> {
    /// Training, with a backward pass to come.
    Train(&'a mut Tape),
    /// Training, with nothing kept: the backward pass will compute this part again.
    Skim,
    /// The second time through a part that was skimmed: as `Train`, but running statistics have
    /// already moved.
    Again(&'a mut Tape),
    /// Evaluation: running statistics are used and frozen.
    Evaluate,
    /// As training at this moment, with nothing kept or moved, showing an observer what every
    /// affine map (before its ReLU) and every residual block gives, by name.
    Observe(&'a mut dyn FnMut(&str, &Tensor)),
}

impl Pass<'_> {
    /// The tape, if something is to be kept.
    pub(crate) fn tape(&mut self) -> Option<&mut Tape> {
        match self {
            Pass::Train(tape) | Pass::Again(tape) => Some(tape),
            Pass::Skim | Pass::Evaluate | Pass::Observe(_) => None,
        }
    }

    /// Whether someone wants to see what layers give before their ReLU.
    fn is_observed(&self) -> bool {
        matches!(self, Pass::Observe(_))
    }

    /// Shows a layer's result to the observer, if there is one.
    pub(crate) fn show(&mut self, name: &str, result: &Tensor) {
        if let Pass::Observe(observer) = self {
            observer(name, result);
        }
    }
}

/// What a backward pass does with the gradients of parameters.
#[derive(Clone, Copy)]
pub(crate) struct Step<'a> {
    /// Whether this is the first micro-batch of the mini-batch.
    pub first: bool,
    /// Whether it is the last one; before that gradients only add up.
    pub last: bool,
    /// After the last one, the update to apply; without one, gradients stay in [`Param::grad`].
    pub sgd: Option<&'a Sgd>,
}

impl<'a> Step<'a> {
    /// The whole mini-batch at once.
    pub(crate) fn whole(sgd: Option<&'a Sgd>) -> Step<'a> {
        Step { first: true, last: true, sgd }
    }
}

/// A stacked layer.
pub(crate) trait Layer: Send {
    /// `x` to `y`, both `[member, batch, …]`.
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor;

    /// `∂L/∂y` to `∂L/∂x` (an undefined tensor unless `need_dx`), applying `step` on the way.
    fn backward(&mut self, dy: Tensor, tape: &mut Tape, step: Step, need_dx: bool) -> Tensor;

    /// The forward pass for data-dependent initialization, for a stack of one member: sets gains
    /// and biases from the batch before it passes it on (Salimans & Kingma 2016, eq. 6).
    fn data_dependent(&mut self, x: &Tensor) -> Tensor;

    /// Hands out what it is made of.
    fn visit<'a>(&'a mut self, visit: &mut dyn FnMut(Part<'a>));
}

/// What layers are made of.
pub(crate) enum Part<'a> {
    /// The parameters of a linear layer or a convolution.
    Affine(&'a mut Affine),
    /// A batch norm.
    BatchNorm(&'a mut BatchNorm),
}

/// Where and in which arithmetic a model computes.
#[derive(Clone, Copy, Debug)]
pub struct Arithmetic {
    /// Where the tensors live.
    pub device: Device,
    /// The type of parameters, statistics and the loss.
    pub params: Kind,
    /// The type of activations and of what enters products and convolutions.
    pub compute: Kind,
}

impl Arithmetic {
    /// Single precision on a device.
    pub fn fp32(device: Device) -> Arithmetic {
        Arithmetic { device, params: Kind::Float, compute: Kind::Float }
    }

    /// Products in bfloat16, the rest in single precision.
    pub(crate) fn bf16(device: Device) -> Arithmetic {
        Arithmetic { device, params: Kind::Float, compute: Kind::BFloat16 }
    }
}
