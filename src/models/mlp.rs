//! `mlp`: `depth` hidden layers of `width` units, each followed by a ReLU.

use super::Trunk;
use crate::job::Norm;
use crate::nn::{Arithmetic, Layer, Linear, Role};

pub(super) fn trunk(
    depth: u32,
    width: u32,
    norm: Norm,
    input: [i64; 3],
    members: i64,
    arithmetic: Arithmetic,
) -> Trunk {
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
