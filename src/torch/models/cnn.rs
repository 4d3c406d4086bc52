//! `cnn`: `depth` 3×3 convolutions of `width` channels, each followed by a ReLU, stride 2 in the
//! first two; then the mean over each channel.

use super::{Blueprint, Trunk};
use crate::nn::conv::ConvSize;
use crate::nn::pool::GlobalAveragePool;
use crate::nn::{Conv, Layer, Role};

pub(super) fn trunk(depth: u32, width: u32, blueprint: &Blueprint, members: i64) -> Trunk {
    let &Blueprint { norm, input, arithmetic, .. } = blueprint;
    let width = i64::from(width);
    let mut inputs = input[0];
    let mut layers: Vec<Box<dyn Layer>> = Vec::new();
    for i in 0..depth {
        let stride = if i < 2 { 2 } else { 1 };
        let size = ConvSize { inputs, outputs: width, kernel: 3, stride };
        let name = format!("hidden.{i}");
        layers.push(Box::new(Conv::new(name, Role::Relu, norm, members, size, true, arithmetic)));
        inputs = width;
    }
    layers.push(Box::new(GlobalAveragePool));
    Trunk { layers, features: width }
}
