//! A stack of convolutional layers with an activation.

use std::cell::Cell;

use tch::Tensor;

use super::conv_algorithm::{
    ConvAlgorithm, ConvChoice, ConvGrads, Window, as_on_a_gpu, backward, forward,
};
use super::conv_timing::fastest;
use super::kernels::Gradient;
use super::{Affine, Arithmetic, Backward, Gain, Layer, Part, Pass, Role, kernels};
use wninit_core::job::{Activation, Norm};

/// `[member, batch, in, h, w]` to `[member, batch, out, h', w']`, padded by `k/2`.
pub struct Conv {
    affine: Affine,
    window: Window,
    /// Chosen on the first training step.
    choice: Cell<Option<ConvChoice>>,
    activation: Activation,
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
        activation: Activation,
        arithmetic: Arithmetic,
    ) -> Conv {
        let ConvSize { inputs, outputs, kernel, stride } = size;
        let shape = [members, outputs, inputs, kernel, kernel];
        let affine = Affine::new(name, role, norm, &shape, arithmetic);
        Conv { affine, window: Window { kernel, stride }, choice: Cell::new(None), activation }
    }

    fn choose(&self, x: &Tensor, w: &Tensor, b: &Tensor, pass: &Pass) -> ConvChoice {
        if let (None, Pass::Train(_) | Pass::NoTape) = (self.choice.get(), pass)
            && !w.requires_grad()
            && !x.requires_grad()
        {
            self.choice.set(Some(fastest(x, w, b, self.window)));
        }
        self.choice()
    }

    fn choice(&self) -> ConvChoice {
        self.choice.get().unwrap_or(ConvChoice::CPU)
    }
}

/// An operand in the chosen layout. A CPU has just one for images, and takes kernels in any.
fn arranged(t: &Tensor, choice: ConvChoice) -> Tensor {
    if as_on_a_gpu(t) { choice.layout.of(t) } else { t.shallow_clone() }
}

impl Layer for Conv {
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        let (w, b) = (self.affine.weight(), self.affine.bias());
        let choice = self.choose(x, &w, &b, pass);
        let [x, w] = [x, &w].map(|t| arranged(t, choice));
        let mut z = forward(choice.algorithm, &x, &w, &b, self.window);
        pass.show(&self.affine.name, &z);
        pass.save(&[&x]);
        if self.activation == Activation::Relu && !z.requires_grad() {
            let y = z.relu_();
            pass.save(&[&y]);
            return y;
        }
        kernels::activate(self.activation, &z, pass)
    }

    fn backward(&mut self, dy: Tensor, back: &mut Backward, need_dx: bool) -> Tensor {
        let dz = kernels::activate_backward(self.activation, dy, &mut back.tape);
        let x = back.tape.pop();
        let choice = self.choice();
        let [dz, w] = [&dz, &self.affine.weight()].map(|t| arranged(t, choice));
        let ConvGrads { dx, dw, db } =
            backward(choice.algorithm, &dz, &x, &w, self.window, need_dx);
        self.affine.apply(Gradient::Whole(dw), db, back.accum);
        dx.unwrap_or_default()
    }

    fn data_dependent(&mut self, x: &Tensor, rule: Gain) -> Tensor {
        let window = self.window;
        self.affine.data_dependent(rule, |affine| {
            forward(ConvAlgorithm::Dense, x, &affine.weight(), &affine.bias(), window)
        });
        self.forward(x, &mut Pass::Evaluate)
    }

    fn visit<'a>(&'a mut self, visit: &mut dyn FnMut(Part<'a>)) {
        visit(Part::Affine(&mut self.affine));
    }
}
