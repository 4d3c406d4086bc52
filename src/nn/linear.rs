//! A stack of linear layers, with or without a ReLU: `y = x·wᵀ + b`.

use tch::Tensor;

use super::{Affine, Arithmetic, Layer, Part, Pass, Role, Step, Tape, kernels};
use crate::job::Norm;

/// `[member, batch, in]` to `[member, batch, out]`, one batched product for all members.
pub struct Linear {
    affine: Affine,
    relu: bool,
}

impl Linear {
    /// A layer of zeros. It ends in a ReLU unless it is the head.
    pub fn new(
        name: String,
        role: Role,
        norm: Norm,
        [members, inputs, outputs]: [i64; 3],
        arithmetic: Arithmetic,
    ) -> Linear {
        let affine = Affine::new(name, role, norm, &[members, outputs, inputs], arithmetic);
        Linear { affine, relu: role == Role::Relu }
    }

    fn pre_activation(affine: &Affine, x: &Tensor) -> Tensor {
        x.bmm(&affine.weight().transpose(1, 2)) + affine.bias().unsqueeze(1)
    }
}

impl Layer for Linear {
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        let z = x.bmm(&self.affine.weight().transpose(1, 2));
        let y = kernels::add_bias(z, &self.affine.bias(), self.relu);
        if let Some(tape) = pass.tape() {
            tape.push(x);
            if self.relu {
                tape.push(&y);
            }
        }
        y
    }

    fn backward(&mut self, dy: Tensor, tape: &mut Tape, step: Step, need_dx: bool) -> Tensor {
        let y = self.relu.then(|| tape.pop());
        let x = tape.pop();
        let (dz, db) = kernels::add_bias_backward(dy, y.as_ref());
        let dw = dz.transpose(1, 2).bmm(&x);
        let dx = if need_dx { dz.bmm(&self.affine.weight()) } else { Tensor::new() };
        self.affine.apply(dw, db, step);
        dx
    }

    fn data_dependent(&mut self, x: &Tensor) -> Tensor {
        self.affine.data_dependent(|affine| Linear::pre_activation(affine, x));
        self.forward(x, &mut Pass::Evaluate)
    }

    fn visit<'a>(&'a mut self, visit: &mut dyn FnMut(Part<'a>)) {
        visit(Part::Affine(&mut self.affine));
    }
}
