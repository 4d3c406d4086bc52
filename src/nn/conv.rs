//! A stack of 2-d convolutions, with or without a ReLU.

use tch::Tensor;

use super::{Affine, Arithmetic, Layer, Part, Pass, Role, Step, Tape};
use crate::job::Norm;
use crate::torch::convolution_backward;

/// `[member, batch, in, h, w]` to `[member, batch, out, h', w']`, padded by `k/2`.
///
/// Each member is a dense convolution of its own: on the CPU that is the fastest way, and it
/// makes a member's result independent of its neighbours. Activations lie in memory as
/// `[member, batch, height, width, channel]` (channels last).
pub struct Conv {
    affine: Affine,
    kernel: i64,
    stride: i64,
    relu: bool,
}

/// The sizes of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct ConvSize {
    /// Input channels.
    pub inputs: i64,
    /// Output channels.
    pub outputs: i64,
    /// Height and width of the kernel.
    pub kernel: i64,
    /// Stride in both directions.
    pub stride: i64,
}

impl Conv {
    /// A layer of zeros.
    pub fn new(
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
        Conv { affine: Affine::new(name, role, norm, &shape, arithmetic), kernel, stride, relu }
    }
}

fn convolve(affine: &Affine, x: &Tensor, kernel: i64, stride: i64) -> Tensor {
    let (w, b) = (affine.weight(), affine.bias());
    let members = (0..x.size()[0]).map(|m| {
        let [x, w, b] = [x, &w, &b].map(|t| t.select(0, m));
        x.conv2d(&w, Some(b), [stride; 2], [kernel / 2; 2], [1, 1], 1)
    });
    stack(members.collect())
}

/// Stacks the members' tensors `[batch, …]` to `[member, batch, …]`, each laid out in memory as
/// the first one is. For one member that is a view.
pub(super) fn stack(members: Vec<Tensor>) -> Tensor {
    let first = &members[0];
    if members.len() == 1 {
        return first.unsqueeze(0);
    }
    if first.requires_grad() {
        return Tensor::stack(&members, 0);
    }
    let size = [&[members.len() as i64], &first.size()[..]].concat();
    let stride = [&[first.numel() as i64], &first.stride()[..]].concat();
    let stacked = Tensor::empty_strided(&size, &stride, (first.kind(), first.device()));
    for (m, member) in members.iter().enumerate() {
        stacked.select(0, m as i64).copy_(member);
    }
    stacked
}

impl Layer for Conv {
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        let mut y = convolve(&self.affine, x, self.kernel, self.stride);
        pass.show(&self.affine.name, &y);
        if self.relu {
            y = if y.requires_grad() { y.relu() } else { y.relu_() };
        }
        if let Some(tape) = pass.tape() {
            tape.push(x);
            if self.relu {
                tape.push(&y);
            }
        }
        y
    }

    fn backward(&mut self, dy: Tensor, tape: &mut Tape, step: Step, need_dx: bool) -> Tensor {
        let dz = if self.relu { tape.pop().threshold_backward(&dy, 0) } else { dy };
        let x = tape.pop();
        let w = self.affine.weight();
        let members = x.size()[0];
        let (mut dxs, mut dws, mut dbs) = (Vec::new(), Vec::new(), Vec::new());
        for m in 0..members {
            let [dz, x, w] = [&dz, &x, &w].map(|t| t.select(0, m));
            let grads = convolution_backward(&dz, &x, &w, self.stride, self.kernel / 2, 1, need_dx);
            dxs.extend(grads.dx);
            dws.push(grads.dw);
            dbs.push(grads.db);
        }
        let dx = if need_dx { stack(dxs) } else { Tensor::new() };
        self.affine.apply(stack(dws), stack(dbs), step);
        dx
    }

    fn data_dependent(&mut self, x: &Tensor) -> Tensor {
        let (kernel, stride) = (self.kernel, self.stride);
        self.affine.data_dependent(|affine| convolve(affine, x, kernel, stride));
        self.forward(x, &mut Pass::Evaluate)
    }

    fn visit<'a>(&'a mut self, visit: &mut dyn FnMut(Part<'a>)) {
        visit(Part::Affine(&mut self.affine));
    }
}
