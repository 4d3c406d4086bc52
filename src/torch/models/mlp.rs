//! `mlp`: `depth` hidden layers of `width` units, each followed by a ReLU.

use super::{Blueprint, Trunk};
use crate::nn::{Layer, Linear, Role};

pub(super) fn trunk(depth: u32, width: u32, blueprint: &Blueprint, members: i64) -> Trunk {
    let &Blueprint { norm, input, arithmetic, .. } = blueprint;
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
    Trunk { layers, features }
}
