//! A stack of linear layers, with or without a ReLU: `y = x·wᵀ + b`.

use tch::{Device, Tensor};

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
        multiply(x, &affine.weight().transpose(1, 2)) + affine.bias().unsqueeze(1)
    }
}

/// `a·b` for each member: `[member, n, k]` and `[member, k, m]` to `[member, n, m]`.
///
/// On the CPU a product's last bit can depend on whether its operands begin at a multiple of 64
/// bytes. A single network's always do, so where a member's would not, it gets copies that do:
/// its result must not depend on its place in the stack.
fn multiply(a: &Tensor, b: &Tensor) -> Tensor {
    let members = a.size()[0];
    let [_, rows, inner] = a.size()[..] else { panic!("a stack of matrices has three axes") };
    let sizes = [rows * inner, inner * b.size()[2], rows * b.size()[2]];
    let aligned = |numel: &i64| numel * a.kind().elt_size_in_bytes() as i64 % 64 == 0;
    if members == 1 || a.device() != Device::Cpu || sizes.iter().all(aligned) {
        return a.bmm(b);
    }
    let products: Vec<Tensor> =
        (0..members).map(|m| a.narrow(0, m, 1).copy().bmm(&b.narrow(0, m, 1).copy())).collect();
    Tensor::cat(&products, 0)
}

impl Layer for Linear {
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        if pass.is_observed() {
            pass.show(&self.affine.name, &Linear::pre_activation(&self.affine, x));
        }
        let z = multiply(x, &self.affine.weight().transpose(1, 2));
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
        let dw = multiply(&dz.transpose(1, 2), &x);
        let dx = if need_dx { multiply(&dz, &self.affine.weight()) } else { Tensor::new() };
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
