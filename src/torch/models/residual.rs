//! The residual block of `resnet` and `wrn`.
//!
//! A block without batch norm starts with a convolution, and there is no activation after the stem,
//! after the sum or before the pooling: `out = conv2(φ(conv1(x))) + shortcut(x)`. With batch norm,
//! `z = bn1(x)` and `out = conv2(φ(bn2(conv1(φ(z))))) + shortcut(z)`; an identity shortcut adds `x`.
//!
//! A learnt scalar may multiply the branch in front of the sum, as in SkipInit (De & Smith 2020) and
//! ReZero (Bachlechner et al. 2021).

use tch::Tensor;

use super::Builder;
use crate::nn::{Backward, BatchNorm, Conv, Layer, Param, Part, Pass, kernels};
use wninit_core::job::{Activation, Block, Gain};

pub(super) struct ResidualBlock {
    name: String,
    bn1: Option<BatchNorm>,
    conv1: Conv,
    bn2: Option<BatchNorm>,
    conv2: Conv,
    shortcut: Option<Conv>,
    /// `[member]`.
    scale: Option<Param>,
    /// After each batch norm.
    activation: Activation,
}

impl ResidualBlock {
    /// Block `number` of its stage, counted from 0.
    pub(super) fn new(name: String, number: u32, block: Block, builder: Builder) -> ResidualBlock {
        let conv = |which: &str, conv| builder.conv(format!("{name}.{which}"), conv);
        let bn = |which: &str, bn| builder.batch_norm(&format!("{name}.{which}"), bn);
        let scale = block.scaled.then(|| {
            let name = format!("{name}.branch_scale");
            Param::zeros(name, &[builder.members], builder.arithmetic)
        });
        let (bn1, bn2) = block.batch_norms().map(|[a, b]| (bn("bn1", a), bn("bn2", b))).unzip();
        ResidualBlock {
            conv1: conv("conv1", block.conv1()),
            conv2: conv("conv2", block.conv2(number + 1)),
            shortcut: block.shortcut().map(|shortcut| conv("shortcut", shortcut)),
            activation: block.activation,
            bn1,
            bn2,
            scale,
            name,
        }
    }
}

/// A number for each member, in the shape that multiplies `x [member, …]`.
fn each(scale: &Param, x: &Tensor) -> Tensor {
    scale.value.to_kind(x.kind()).view([-1, 1, 1, 1, 1])
}

impl Layer for ResidualBlock {
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        let z = match &self.bn1 {
            Some(bn) => bn.forward(x, pass),
            None => x.shallow_clone(),
        };
        let skip = match &self.shortcut {
            Some(shortcut) => shortcut.forward(&z, pass),
            None => x.shallow_clone(),
        };
        let a = match self.bn1 {
            Some(_) => kernels::activate(self.activation, &z, pass),
            None => z,
        };
        let mut h = self.conv1.forward(&a, pass);
        if let Some(bn) = &self.bn2 {
            h = kernels::activate(self.activation, &bn.forward(&h, pass), pass);
        }
        let mut y = self.conv2.forward(&h, pass);
        if let Some(scale) = &self.scale {
            pass.save(&[&y]);
            y = &y * each(scale, &y);
        }
        let y = if y.requires_grad() { y + skip } else { y.g_add_(&skip) };
        pass.show(&self.name, &y);
        y
    }

    fn backward(&mut self, dy: Tensor, back: &mut Backward, _need_dx: bool) -> Tensor {
        // The stem precedes it, so the gradient is always needed.
        let mut dbranch = dy.shallow_clone();
        if let Some(scale) = &mut self.scale {
            let branch = back.tape.pop();
            dbranch = &dy * each(scale, &dy);
            let kind = scale.value.kind();
            // One member at a time, as the order of a sum may depend on the number of members.
            let dscale = |m| (dy.get(m).to_kind(kind) * branch.get(m).to_kind(kind)).sum(kind);
            let dscale: Vec<Tensor> = (0..dy.size()[0]).map(dscale).collect();
            scale.apply(Tensor::stack(&dscale, 0), back.accum);
        }
        let mut dh = self.conv2.backward(dbranch, back, true);
        if let Some(bn) = &mut self.bn2 {
            dh = kernels::activate_backward(self.activation, dh, &mut back.tape);
            dh = bn.backward(dh, back, true);
        }
        let mut dz = self.conv1.backward(dh, back, true);
        if self.bn1.is_some() {
            dz = kernels::activate_backward(self.activation, dz, &mut back.tape);
        }
        // A shortcut convolution branches off behind bn1, an identity before it.
        let identity = match &mut self.shortcut {
            Some(shortcut) => {
                dz = dz.g_add_(&shortcut.backward(dy, back, true));
                None
            }
            None => Some(dy),
        };
        let mut dx = match &mut self.bn1 {
            Some(bn) => bn.backward(dz, back, true),
            None => dz,
        };
        match identity {
            Some(dy) => dx.g_add_(&dy),
            None => dx,
        }
    }

    fn data_dependent(&mut self, x: &Tensor, rule: Gain) -> Tensor {
        let h = self.conv1.data_dependent(x, rule);
        let mut y = self.conv2.data_dependent(&h, rule);
        if let Some(scale) = &self.scale {
            y = &y * each(scale, &y);
        }
        match &mut self.shortcut {
            Some(shortcut) => y + shortcut.data_dependent(x, rule),
            None => y + x,
        }
    }

    fn visit<'a>(&'a mut self, visit: &mut dyn FnMut(Part<'a>)) {
        let ResidualBlock { bn1, conv1, bn2, conv2, shortcut, scale, .. } = self;
        [bn1, bn2].into_iter().flatten().for_each(|bn| bn.visit(visit));
        [Some(conv1), Some(conv2), shortcut.as_mut()]
            .into_iter()
            .flatten()
            .for_each(|c| c.visit(visit));
        if let Some(scale) = scale {
            visit(Part::BranchScale(scale));
        }
    }
}
