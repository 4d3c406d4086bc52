//! `resnet` and `wrn`: a stem, three stages of residual blocks, the mean over each channel.
//!
//! A block without batch norm starts with a convolution, and no ReLU stands after the stem,
//! after the sum or before the pooling:
//! `out = conv2(relu(conv1(x))) + shortcut(x)`. With batch norm, `z = bn1(x)` and
//! `out = conv2(relu(bn2(conv1(relu(z))))) + shortcut(z)`, where an identity shortcut adds `x`.

use tch::Tensor;

use super::{Backbone, ModelConfig};
use crate::nn::conv::ConvSize;
use crate::nn::pooling::GlobalAveragePooling;
use crate::nn::{Accumulation, Arithmetic, BatchNorm, Conv, Layer, Part, Pass, Role, Tape};
use wninit_core::job::Norm;

/// ResNet-(6·blocks+2): stages of `width`, 2·`width` and 4·`width` channels; with batch norm also
/// one after the stem and one before the pooling.
pub(super) fn resnet(blocks: u32, width: u32, config: &ModelConfig, members: i64) -> Backbone {
    let &ModelConfig { norm, input, arithmetic, .. } = config;
    let width = i64::from(width);
    let build = Build { norm, members, arithmetic };
    let stem = build.conv("stem", Role::Relu, [input[0], width], 3, 1, false);
    let mut layers: Vec<Box<dyn Layer>> = vec![Box::new(stem)];
    if norm == Norm::Batch {
        layers.push(Box::new(BatchNorm::new("bn_stem", members, width, arithmetic)));
    }
    let features = build.stages(blocks, width, [width, 2 * width, 4 * width], &mut layers);
    if norm == Norm::Batch {
        layers.push(Box::new(BatchNorm::new("bn_final", members, features, arithmetic)));
    }
    layers.push(Box::new(GlobalAveragePooling));
    Backbone { layers, features }
}

/// WRN-(6·blocks+4)-k: a stem of 16 channels (stride 2 with `reduced_memory`), stages of 16k, 32k
/// and 64k channels.
pub(super) fn wrn(
    blocks: u32,
    k: u32,
    reduced_memory: bool,
    config: &ModelConfig,
    members: i64,
) -> Backbone {
    let &ModelConfig { norm, input, arithmetic, .. } = config;
    const STEM: i64 = 16;
    let k = i64::from(k);
    let build = Build { norm, members, arithmetic };
    let stride = if reduced_memory { 2 } else { 1 };
    let stem = build.conv("stem", Role::Linear, [input[0], STEM], 3, stride, false);
    let mut layers: Vec<Box<dyn Layer>> = vec![Box::new(stem)];
    let features = build.stages(blocks, STEM, [16 * k, 32 * k, 64 * k], &mut layers);
    layers.push(Box::new(GlobalAveragePooling));
    Backbone { layers, features }
}

/// What all layers of a model share.
#[derive(Clone, Copy)]
struct Build {
    norm: Norm,
    members: i64,
    arithmetic: Arithmetic,
}

impl Build {
    fn conv(
        self,
        name: &str,
        role: Role,
        [inputs, outputs]: [i64; 2],
        kernel: i64,
        stride: i64,
        relu: bool,
    ) -> Conv {
        let size = ConvSize { inputs, outputs, kernel, stride };
        Conv::new(name.to_owned(), role, self.norm, self.members, size, relu, self.arithmetic)
    }

    /// Adds the three stages and returns the channels that leave them.
    fn stages(
        self,
        blocks: u32,
        mut channels: i64,
        widths: [i64; 3],
        layers: &mut Vec<Box<dyn Layer>>,
    ) -> i64 {
        for (stage, width) in widths.into_iter().enumerate() {
            for b in 0..blocks {
                let stride = if stage > 0 && b == 0 { 2 } else { 1 };
                let name = format!("stages.{stage}.{b}");
                let role = Role::Residual { blocks, block: b + 1 };
                layers.push(Box::new(self.block(&name, role, [channels, width], stride)));
                channels = width;
            }
        }
        channels
    }

    fn block(
        self,
        name: &str,
        role: Role,
        [inputs, outputs]: [i64; 2],
        stride: i64,
    ) -> ResidualBlock {
        let bn = |which: &str, channels| {
            (self.norm == Norm::Batch).then(|| {
                BatchNorm::new(&format!("{name}.{which}"), self.members, channels, self.arithmetic)
            })
        };
        let conv = |which: &str, role, channels, kernel, stride, relu| {
            self.conv(&format!("{name}.{which}"), role, channels, kernel, stride, relu)
        };
        let (bn1, bn2) = (bn("bn1", inputs), bn("bn2", outputs));
        ResidualBlock {
            name: name.to_owned(),
            // Without a batch norm between them, the ReLU belongs to the first convolution.
            conv1: conv("conv1", Role::Relu, [inputs, outputs], 3, stride, bn2.is_none()),
            conv2: conv("conv2", role, [outputs, outputs], 3, 1, false),
            shortcut: (inputs != outputs || stride > 1)
                .then(|| conv("shortcut", Role::Linear, [inputs, outputs], 1, stride, false)),
            bn1,
            bn2,
        }
    }
}

struct ResidualBlock {
    name: String,
    bn1: Option<BatchNorm>,
    conv1: Conv,
    bn2: Option<BatchNorm>,
    conv2: Conv,
    shortcut: Option<Conv>,
}

/// A ReLU of its own, for where a batch norm precedes it.
fn relu(x: &Tensor, pass: &mut Pass) -> Tensor {
    let y = x.relu();
    if let Some(tape) = pass.tape() {
        tape.push(&y);
    }
    y
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
        let a = if self.bn1.is_some() { relu(&z, pass) } else { z };
        let mut h = self.conv1.forward(&a, pass);
        if let Some(bn) = &self.bn2 {
            h = relu(&bn.forward(&h, pass), pass);
        }
        let mut y = self.conv2.forward(&h, pass);
        let y = if y.requires_grad() { y + skip } else { y.g_add_(&skip) };
        pass.show(&self.name, &y);
        y
    }

    fn backward(
        &mut self,
        dy: Tensor,
        tape: &mut Tape,
        accum: Accumulation,
        _need_dx: bool,
    ) -> Tensor {
        // A stem comes before it, so the gradient is always wanted.
        let mut dh = self.conv2.backward(dy.shallow_clone(), tape, accum, true);
        if let Some(bn) = &mut self.bn2 {
            let dh_bn = tape.pop().threshold_backward(&dh, 0);
            dh = bn.backward(dh_bn, tape, accum, true);
        }
        let mut dz = self.conv1.backward(dh, tape, accum, true);
        if self.bn1.is_some() {
            dz = tape.pop().threshold_backward(&dz, 0);
        }
        // A shortcut convolution branches off behind bn1, an identity before it.
        let identity = match &mut self.shortcut {
            Some(shortcut) => {
                dz = dz.g_add_(&shortcut.backward(dy, tape, accum, true));
                None
            }
            None => Some(dy),
        };
        let mut dx = match &mut self.bn1 {
            Some(bn) => bn.backward(dz, tape, accum, true),
            None => dz,
        };
        match identity {
            Some(dy) => dx.g_add_(&dy),
            None => dx,
        }
    }

    fn data_dependent(&mut self, x: &Tensor) -> Tensor {
        let h = self.conv1.data_dependent(x);
        let y = self.conv2.data_dependent(&h);
        match &mut self.shortcut {
            Some(shortcut) => y + shortcut.data_dependent(x),
            None => y + x,
        }
    }

    fn visit<'a>(&'a mut self, visit: &mut dyn FnMut(Part<'a>)) {
        let ResidualBlock { bn1, conv1, bn2, conv2, shortcut, .. } = self;
        [bn1, bn2].into_iter().flatten().for_each(|bn| bn.visit(visit));
        [Some(conv1), Some(conv2), shortcut.as_mut()]
            .into_iter()
            .flatten()
            .for_each(|c| c.visit(visit));
    }
}
