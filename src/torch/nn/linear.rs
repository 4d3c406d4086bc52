//! A stack of linear layers with an activation: `y = φ(x·wᵀ + b)`.

use tch::Tensor;

use super::kernels::Gradient;
use super::matmul::{WeightGradient, multiply};
use super::{Affine, Arithmetic, Backward, Gain, Layer, Part, Pass, Role, kernels};
use wninit_core::job::{Activation, Norm};

/// `[member, batch, in]` to `[member, batch, out]`, one product for each member.
///
/// The result's memory layout is `[member, out, batch]`, so that a product's repeated reads are
/// contiguous.
pub(crate) struct Linear {
    affine: Affine,
    activation: Activation,
}

impl Linear {
    /// All parameters 0.
    pub(crate) fn new(
        name: String,
        role: Role,
        norm: Norm,
        [members, inputs, outputs]: [i64; 3],
        activation: Activation,
        arithmetic: Arithmetic,
    ) -> Linear {
        let affine = Affine::new(name, role, norm, &[members, outputs, inputs], arithmetic);
        Linear { affine, activation }
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
        pass.save(&[x]);
        // A ReLU joins the bias in one pass over memory.
        let relu = self.activation == Activation::Relu;
        let mut y = kernels::add_bias(z, &self.affine.bias(), relu);
        if relu {
            pass.save(&[&y]);
        } else {
            y = kernels::activate(self.activation, &y, pass);
        }
        y.transpose(1, 2)
    }

    fn backward(&mut self, dy: Tensor, back: &mut Backward, need_dx: bool) -> Tensor {
        let dy = dy.transpose(1, 2).contiguous();
        let (dz, db) = if self.activation == Activation::Relu {
            kernels::add_bias_backward(dy, Some(&back.tape.pop()))
        } else {
            let dz = kernels::activate_backward(self.activation, dy, &mut back.tape);
            kernels::add_bias_backward(dz, None)
        };
        let x = back.tape.pop();
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
