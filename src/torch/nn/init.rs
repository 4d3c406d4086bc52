//! Initialization: draws the direction `v` of each layer and computes its gain `g` from γ
//! ([`gamma`]), which depends on the layer's [`Role`].
//!
//! Every layer has its own random stream, so its values depend only on the seed and the layer's
//! name. The data-dependent gain needs a forward pass: see [`super::Layer::data_dependent`] and
//! `Affine::data_dependent` in `params.rs`.

use rand::distr::{Distribution, Uniform};
use rand_distr::StandardNormal;
use tch::{Kind, Tensor};

use super::{Affine, Role};
use wninit_core::job::{Activation, Direction, Gain, Init};
use wninit_core::rng;

/// Draws the parameters of one affine map; all members of the stack get the same.
///
/// The head gets PyTorch's default, U(±1/√fan_in), whatever the initializer. Elsewhere the bias
/// is 0 and `init` sets the gain, which for [`Gain::Datadep`] is `‖v‖` until the data-dependent pass.
pub(crate) fn draw(affine: &mut Affine, init: Init, activation: Activation, seed: u64) {
    if affine.role == Role::Head {
        return draw_head(affine, seed);
    }
    let (fan_in, fan_out) = (affine.fan_in(), affine.fan_out());
    let size = affine.direction.value.size();
    let v = match init.direction {
        Direction::He => {
            // Where a rule sets g, the scale of v does not change w, only the effective step size.
            // Only `he_proposed` has variance 1/fan_in.
            let variance = if init.gain == Gain::Proposed { 1.0 } else { 2.0 } / fan_in as f64;
            gaussian(&affine.name, seed, [size[1], fan_in]) * variance.sqrt()
        }
        Direction::Orthogonal => orthogonal(&affine.name, seed, [size[1], fan_in]),
    };
    affine
        .direction
        .value
        .copy_(&v.view(&size[1..]).unsqueeze(0).expand_as(&affine.direction.value));
    let _ = affine.bias.value.zero_();
    let g = gain(init.gain, gamma(affine.role, init.gain, activation), fan_in, fan_out);
    if let Some(gain) = affine.gain() {
        match g {
            Some(g) => {
                let _ = gain.value.fill_(g);
            }
            None => {
                let norm = v.square().sum_dim_intlist(1, false, None::<Kind>).sqrt();
                gain.value.copy_(&norm.expand_as(&gain.value));
            }
        }
    }
    affine.refresh();
}

/// The gain `g` of all units of a layer; `None` means `‖v‖`. To add a rule, add a variant to
/// [`Gain`] and an arm here.
fn gain(gain: Gain, gamma: f64, fan_in: i64, fan_out: i64) -> Option<f64> {
    match gain {
        Gain::Default | Gain::Datadep => None,
        Gain::Proposed | Gain::Hanin => Some((gamma * fan_in as f64 / fan_out as f64).sqrt()),
        Gain::ProposedBackward => Some(gamma.sqrt()),
    }
}

/// γ of a layer: its squared gain without the fan ratio (Arpit, Campos & Bengio 2019,
/// sections 3 and 4; for `hanin`, Hanin & Rolnick 2018 applied stage by stage).
pub(crate) fn gamma(role: Role, gain: Gain, activation: Activation) -> f64 {
    match role {
        Role::Relu => activation.gamma(),
        Role::Linear | Role::Head => 1.0,
        Role::Residual { block, .. } if gain == Gain::Hanin => 0.9f64.powi(2 * block as i32),
        Role::Residual { blocks, .. } => 1.0 / f64::from(blocks),
    }
}

fn draw_head(affine: &mut Affine, seed: u64) {
    let bound = (affine.fan_in() as f32).sqrt().recip();
    let uniform = Uniform::new_inclusive(-bound, bound).expect("the bound is positive and finite");
    let name = affine.name.clone();
    for param in [&mut affine.direction, &mut affine.bias] {
        let size = param.value.size();
        let count = size[1..].iter().product::<i64>() as usize;
        let part = if param.name.ends_with("bias") { "bias" } else { "weight" };
        let stream = rng::stream(seed, &format!("init/{name}.{part}"), 0);
        let values = numbers(uniform, stream, count).view(&size[1..]);
        param.value.copy_(&values.unsqueeze(0).expand_as(&param.value));
    }
    affine.refresh();
}

/// `[rows, columns]` of N(0, 1).
fn gaussian(layer: &str, seed: u64, [rows, columns]: [i64; 2]) -> Tensor {
    let stream = rng::stream(seed, &format!("init/{layer}.weight"), 0);
    numbers(StandardNormal, stream, (rows * columns) as usize).view([rows, columns])
}

/// `[count]` random numbers.
///
/// # Panics
/// If memory runs out, as libtorch's operators do; a failed Rust allocation would abort the process.
pub(crate) fn numbers(
    distribution: impl Distribution<f32>,
    stream: rng::Stream,
    count: usize,
) -> Tensor {
    let mut values: Vec<f32> = Vec::new();
    if values.try_reserve_exact(count).is_err() {
        panic!(
            "out of memory: the {count} random numbers of a layer's initialization need {} bytes",
            4 * count
        );
    }
    values.extend(distribution.sample_iter(stream).take(count));
    Tensor::from_slice(&values)
}

/// `[rows, columns]`, Haar-distributed: orthonormal rows if there are no more rows than columns,
/// orthonormal columns otherwise. QR of a Gaussian, with the signs that make it unique
/// (Mezzadri 2007, "How to generate random matrices from the classical compact groups").
fn orthogonal(layer: &str, seed: u64, [rows, columns]: [i64; 2]) -> Tensor {
    let gaussian = gaussian(layer, seed, [rows, columns]);
    let wide = rows < columns;
    let tall = if wide { gaussian.tr() } else { gaussian };
    let (q, r) = Tensor::linalg_qr(&tall, "reduced");
    let q = q * r.diagonal(0, 0, 1).sign();
    if wide { q.tr() } else { q }.contiguous()
}
