//! Stacked layers: every parameter and every activation has a leading `member` axis.
//!
//! A layer implements its forward and its backward pass. The backward pass also updates the
//! parameters, while they are in the cache. The forward pass saves tensors for the backward pass on
//! a [`Tape`]. Training does not use autograd; tests and curvature do: parameters that require a
//! gradient make the same forward pass differentiable.

pub(crate) mod batch_norm;
pub(crate) mod conv;
pub(crate) mod conv_algorithm;
mod conv_timing;
pub(crate) mod init;
pub(crate) mod kernels;
pub(crate) mod linear;
pub(crate) mod matmul;
pub(crate) mod params;
pub(crate) mod pooling;

pub use batch_norm::BatchNorm;
pub use conv::Conv;
pub use kernels::Sgd;
pub(crate) use linear::Linear;
pub(crate) use params::{Affine, Buffer, Param};
pub(crate) use wninit_core::job::{Gain, Role};

use tch::{Device, Kind, Tensor};

/// Tensors saved for the backward pass, popped in reverse order.
#[derive(Default)]
pub struct Tape(Vec<Tensor>);

impl Tape {
    fn push(&mut self, tensor: &Tensor) {
        self.0.push(tensor.shallow_clone());
    }

    /// # Panics
    /// If the tape is empty.
    pub(crate) fn pop(&mut self) -> Tensor {
        self.0.pop().expect("a layer pops only what it pushed")
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Forward-pass mode.
pub enum Pass<'a> {
    /// Training; tensors are saved for the backward pass.
    Train(&'a mut Tape),
    /// Training without a tape; a later `Recompute` pass fills it.
    NoTape,
    /// Repeats a `NoTape` pass during the backward pass. Running statistics are not updated again.
    Recompute(&'a mut Tape),
    /// Evaluation with running statistics, which stay fixed.
    Evaluate,
    /// Training mode without a tape or updated statistics. The observer gets the name and the output
    /// of every affine map (before its activation) and every residual block.
    Observe(&'a mut dyn FnMut(&str, &Tensor)),
}

impl Pass<'_> {
    /// Saves tensors, which the backward pass pops in reverse order.
    pub(crate) fn save(&mut self, tensors: &[&Tensor]) {
        match self {
            Pass::Train(tape) | Pass::Recompute(tape) => {
                tensors.iter().for_each(|tensor| tape.push(tensor));
            }
            Pass::NoTape | Pass::Evaluate | Pass::Observe(_) => {}
        }
    }

    fn is_observed(&self) -> bool {
        matches!(self, Pass::Observe(_))
    }

    /// Calls the observer, if there is one.
    pub(crate) fn show(&mut self, name: &str, result: &Tensor) {
        if let Pass::Observe(observer) = self {
            observer(name, result);
        }
    }
}

/// Accumulation of parameter gradients over the micro-batches of a mini-batch.
#[derive(Clone, Copy)]
pub(crate) struct Accumulation<'a> {
    pub first: bool,
    /// The last micro-batch completes the gradients.
    pub last: bool,
    /// The update applied then; without one, gradients stay in [`Param::grad`].
    pub sgd: Option<&'a Sgd>,
}

impl<'a> Accumulation<'a> {
    /// The mini-batch as a single micro-batch.
    pub(crate) fn whole(sgd: Option<&'a Sgd>) -> Accumulation<'a> {
        Accumulation { first: true, last: true, sgd }
    }
}

/// State that a backward pass hands from layer to layer, besides the gradient.
pub(crate) struct Backward<'a> {
    pub tape: Tape,
    pub accum: Accumulation<'a>,
}

/// A stacked layer.
pub(crate) trait Layer: Send {
    /// `x` to `y`, both `[member, batch, …]`.
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor;

    /// `∂L/∂y` to `∂L/∂x` (an undefined tensor unless `need_dx`); accumulates the gradients of its
    /// parameters.
    fn backward(&mut self, dy: Tensor, back: &mut Backward, need_dx: bool) -> Tensor;

    /// The forward pass of data-dependent initialization, for a stack of one member: sets gains
    /// and biases from the batch by a data-dependent rule.
    fn data_dependent(&mut self, x: &Tensor, rule: Gain) -> Tensor;

    fn visit<'a>(&'a mut self, visit: &mut dyn FnMut(Part<'a>));
}

/// A component of a layer that holds parameters.
pub(crate) enum Part<'a> {
    Affine(&'a mut Affine),
    BatchNorm(&'a mut BatchNorm),
    /// The scalar at the end of a residual branch.
    BranchScale(&'a mut Param),
}

impl<'a> Part<'a> {
    pub(crate) fn params(self) -> Vec<&'a mut Param> {
        match self {
            Part::Affine(affine) => affine.params(),
            Part::BatchNorm(bn) => bn.params(),
            Part::BranchScale(scale) => vec![scale],
        }
    }

    pub(crate) fn buffers(self) -> Vec<&'a mut Buffer> {
        match self {
            Part::Affine(_) | Part::BranchScale(_) => Vec::new(),
            Part::BatchNorm(bn) => bn.buffers(),
        }
    }
}

/// Device and data types of a model.
#[derive(Clone, Copy, Debug)]
pub struct Arithmetic {
    /// The device of all tensors.
    pub device: Device,
    /// The type of parameters, statistics and the loss.
    pub params: Kind,
    /// The type of activations and of the operands of products and convolutions.
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
