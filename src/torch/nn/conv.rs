//! A stack of convolutional layers, with or without a ReLU.

use std::cell::Cell;

use tch::Tensor;

use super::conv_algorithm::{ConvAlgorithm, ConvGrads, Window, backward, forward};
use super::conv_timing::fastest;
use super::kernels::Gradient;
use super::{Affine, Arithmetic, Backward, Layer, Part, Pass, Role};
use wninit_core::job::Norm;

/// `[member, batch, in, h, w]` to `[member, batch, out, h', w']`, padded by `k/2`.
pub struct Conv {
    affine: Affine,
    window: Window,
    /// Chosen on the first training step.
    algorithm: Cell<Option<ConvAlgorithm>>,
    relu: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvSize {
    pub inputs: i64,
    pub outputs: i64,
    pub kernel: i64,
    pub stride: i64,
}

impl Conv {
    pub(crate) fn new(
        name: String,
        role: Role,
        norm: Norm,
        members: i64,
        size: ConvSize,
        relu: bool,
        arithmetic: Arithmetic,
    ) -> Conv {
        let ConvSize { inputs, outputs, kernel, stride } = size;
        let shape = [members, outputs, inputs, kernel, kernel];
        let affine = Affine::new(name, role, norm, &shape, arithmetic);
        Conv { affine, window: Window { kernel, stride }, algorithm: Cell::new(None), relu }
    }

    fn algorithm(&self, x: &Tensor, w: &Tensor, b: &Tensor, pass: &Pass) -> ConvAlgorithm {
        if let (None, Pass::Train(_) | Pass::NoTape) = (self.algorithm.get(), pass)
            && !w.requires_grad()
            && !x.requires_grad()
        {
            self.algorithm.set(Some(fastest(x, w, b, self.window)));
        }
        self.algorithm.get().unwrap_or(ConvAlgorithm::Dense)
    }
}

impl Layer for Conv {
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        let (w, b) = (self.affine.weight(), self.affine.bias());
        let mut y = forward(self.algorithm(x, &w, &b, pass), x, &w, &b, self.window);
        pass.show(&self.affine.name, &y);
        if self.relu {
            y = if y.requires_grad() { y.relu() } else { y.relu_() };
        }
        pass.save(&[x]);
        if self.relu {
            pass.save(&[&y]);
        }
        y
    }

    fn backward(&mut self, dy: Tensor, back: &mut Backward, need_dx: bool) -> Tensor {
        let dz = if self.relu { back.tape.pop().threshold_backward(&dy, 0) } else { dy };
        let (x, w) = (back.tape.pop(), self.affine.weight());
        let algorithm = self.algorithm.get().unwrap_or(ConvAlgorithm::Dense);
        let ConvGrads { dx, dw, db } = backward(algorithm, &dz, &x, &w, self.window, need_dx);
        self.affine.apply(Gradient::Whole(dw), db, back.accum);
        dx.unwrap_or_default()
    }

    fn data_dependent(&mut self, x: &Tensor) -> Tensor {
        let window = self.window;
        self.affine.data_dependent(|affine| {
            forward(ConvAlgorithm::Dense, x, &affine.weight(), &affine.bias(), window)
        });
        self.forward(x, &mut Pass::Evaluate)
    }

    fn visit<'a>(&'a mut self, visit: &mut dyn FnMut(Part<'a>)) {
        visit(Part::Affine(&mut self.affine));
    }
}
