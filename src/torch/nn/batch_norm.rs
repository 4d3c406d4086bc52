//! A stack of batch normalisations: `y = γ·(x − μ)/√(σ² + ε) + β`, per member and channel
//! (Ioffe & Szegedy 2015).

use tch::Tensor;

use super::conv_algorithm::stack;
use super::{Arithmetic, Backward, Buffer, Gain, Layer, Param, Part, Pass};
use crate::ffi::batch_norm_backward;

const MOMENTUM: f64 = 0.1;
const EPS: f64 = 1e-5;

/// `[member, batch, channel, h, w]` to the same shape. In training μ and σ² are those of the
/// (micro-)batch, and running averages follow them; in evaluation the averages are used.
pub struct BatchNorm {
    weight: Param,
    bias: Param,
    running_mean: Buffer,
    running_var: Buffer,
}

impl BatchNorm {
    pub(crate) fn new(
        name: &str,
        members: i64,
        channels: i64,
        arithmetic: Arithmetic,
    ) -> BatchNorm {
        let shape = [members, channels];
        let buffer = |what: &str, value| Buffer {
            name: format!("{name}.{what}"),
            value: Tensor::full(shape, value, (arithmetic.params, arithmetic.device)),
        };
        let mut weight = Param::zeros(format!("{name}.weight"), &shape, arithmetic);
        let _ = weight.value.fill_(1.0);
        BatchNorm {
            weight,
            bias: Param::zeros(format!("{name}.bias"), &shape, arithmetic),
            running_mean: buffer("running_mean", 0.0),
            running_var: buffer("running_var", 1.0),
        }
    }

    pub(crate) fn params(&mut self) -> Vec<&mut Param> {
        vec![&mut self.weight, &mut self.bias]
    }

    pub(crate) fn buffers(&mut self) -> Vec<&mut Buffer> {
        vec![&mut self.running_mean, &mut self.running_var]
    }
}

impl Layer for BatchNorm {
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        let training = !matches!(pass, Pass::Evaluate);
        // These passes must not update the running averages, so they get copies.
        let frozen = matches!(pass, Pass::Recompute(_) | Pass::Observe(_));
        let mut saved = (Vec::new(), Vec::new());
        let ys = (0..x.size()[0]).map(|m| {
            let member = |t: &Tensor| t.select(0, m);
            let running = |t: &Tensor| if frozen { member(t).copy() } else { member(t) };
            let (y, mean, invstd) = member(x).native_batch_norm(
                Some(member(&self.weight.value)),
                Some(member(&self.bias.value)),
                Some(running(&self.running_mean.value)),
                Some(running(&self.running_var.value)),
                training,
                MOMENTUM,
                EPS,
            );
            saved.0.push(mean);
            saved.1.push(invstd);
            y
        });
        let y = stack(ys.collect());
        if training {
            pass.save(&[x, &Tensor::stack(&saved.0, 0), &Tensor::stack(&saved.1, 0)]);
        }
        y
    }

    fn backward(&mut self, dy: Tensor, back: &mut Backward, _need_dx: bool) -> Tensor {
        let [invstd, mean, x] = [back.tape.pop(), back.tape.pop(), back.tape.pop()];
        let mut grads = (Vec::new(), Vec::new(), Vec::new());
        for m in 0..x.size()[0] {
            let [dy, x, weight, mean, invstd] =
                [&dy, &x, &self.weight.value, &mean, &invstd].map(|t| t.select(0, m));
            let (dx, dweight, dbias) = batch_norm_backward(&dy, &x, &weight, &mean, &invstd, EPS);
            grads.0.push(dx);
            grads.1.push(dweight);
            grads.2.push(dbias);
        }
        let kind = self.weight.value.kind();
        let stack_params = |grads: Vec<Tensor>| Tensor::stack(&grads, 0).to_kind(kind);
        self.weight.apply(stack_params(grads.1), back.accum);
        self.bias.apply(stack_params(grads.2), back.accum);
        stack(grads.0)
    }

    fn data_dependent(&mut self, x: &Tensor, _rule: Gain) -> Tensor {
        self.forward(x, &mut Pass::NoTape)
    }

    fn visit<'a>(&'a mut self, visit: &mut dyn FnMut(Part<'a>)) {
        visit(Part::BatchNorm(self));
    }
}
