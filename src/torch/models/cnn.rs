//! `cnn`: `depth` 3×3 convolutions of `width` channels, each followed by a ReLU, stride 2 in the
//! first two; then the mean over each channel.

use super::{Backbone, ModelConfig};
use crate::nn::conv::ConvSize;
use crate::nn::pooling::GlobalAveragePooling;
use crate::nn::{Conv, Layer, Role};

pub(super) fn backbone(depth: u32, width: u32, config: &ModelConfig, members: i64) -> Backbone {
    let &ModelConfig { norm, input, arithmetic, .. } = config;
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
    layers.push(Box::new(GlobalAveragePooling));
    Backbone { layers, features: width }
}
