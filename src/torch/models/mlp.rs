//! `mlp`: `depth` hidden layers of `width` units, each followed by a ReLU.

use super::{Backbone, ModelConfig};
use crate::nn::{Layer, Linear, Role};

pub(super) fn backbone(depth: u32, width: u32, config: &ModelConfig, members: i64) -> Backbone {
    let &ModelConfig { norm, input, arithmetic, .. } = config;
    let width = i64::from(width);
    let mut features = input.iter().product();
    let layers = (0..depth)
        .map(|i| {
            let sizes = [members, features, width];
            features = width;
            Box::new(Linear::new(format!("hidden.{i}"), Role::Relu, norm, sizes, arithmetic))
                as Box<dyn Layer>
        })
        .collect();
    Backbone { layers, features }
}
