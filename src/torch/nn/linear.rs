//! A stack of linear layers, with or without a ReLU: `y = x·wᵀ + b`.

use tch::Tensor;

use super::kernels::Gradient;
use super::matmul::{WeightGradient, multiply};
use super::{Affine, Arithmetic, Backward, Gain, Layer, Part, Pass, Role, kernels};
use wninit_core::job::Norm;

/// `[member, batch, in]` to `[member, batch, out]`, one product for each member.
///
/// The result's memory layout is `[member, out, batch]`, so that a product's repeated reads are
/// contiguous.
pub(crate) struct Linear {
    affine: Affine,
    relu: bool,
}

impl Linear {
    /// All parameters 0. A layer of [`Role::Relu`] ends in a ReLU.
    pub(crate) fn new(
        name: String,
        role: Role,
        norm: Norm,
        [members, inputs, outputs]: [i64; 3],
        arithmetic: Arithmetic,
    ) -> Linear {
        let affine = Affine::new(name, role, norm, &[members, outputs, inputs], arithmetic);
        Linear { affine, relu: role == Role::Relu }
    }

    /// `[member, out, batch]`.
    fn product(affine: &Affine, x: &Tensor) -> Tensor {
        multiply(&affine.weight(), &x.transpose(1, 2))
    }

    fn pre_activation(affine: &Affine, x: &Tensor) -> Tensor {
        (Linear::product(affine, x) + affine.bias().unsqueeze(2)).transpose(1, 2)
    }
}

impl Layer for Linear {
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        if pass.is_observed() {
            pass.show(&self.affine.name, &Linear::pre_activation(&self.affine, x));
        }
        let z = Linear::product(&self.affine, x);
        let y = kernels::add_bias(z, &self.affine.bias(), self.relu);
        pass.save(&[x]);
        if self.relu {
            pass.save(&[&y]);
        }
        y.transpose(1, 2)
    }

    fn backward(&mut self, dy: Tensor, back: &mut Backward, need_dx: bool) -> Tensor {
        let y = self.relu.then(|| back.tape.pop());
        let x = back.tape.pop();
        let dy = dy.transpose(1, 2).contiguous();
        let (dz, db) = kernels::add_bias_backward(dy, y.as_ref());
        let dx = if need_dx {
            multiply(&self.affine.weight().transpose(1, 2), &dz).transpose(1, 2)
        } else {
            Tensor::new()
        };
        self.affine.apply(Gradient::Product(WeightGradient { dz: &dz, x: &x }), db, back.accum);
        dx
    }

    fn data_dependent(&mut self, x: &Tensor, rule: Gain) -> Tensor {
        self.affine.data_dependent(rule, |affine| Linear::pre_activation(affine, x));
        self.forward(x, &mut Pass::Evaluate)
    }

    fn visit<'a>(&'a mut self, visit: &mut dyn FnMut(Part<'a>)) {
        visit(Part::Affine(&mut self.affine));
    }
}
