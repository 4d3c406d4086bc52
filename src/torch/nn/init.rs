//! Initialization: draws the direction `v` of each layer and sets its gain `g` and bias.
//!
//! Every layer has its own random stream, so its values depend only on the seed and the layer's
//! name. The data-dependent gain needs a forward pass: see [`super::Layer::data_dependent`] and
//! `Affine::data_dependent` in `params.rs`.

use rand::distr::{Distribution, Uniform};
use rand_distr::StandardNormal;
use tch::{Device, Kind, Tensor};

use super::{Affine, Role};
use wninit_core::job::{Activation, Direction, Gain, Init, Weight};
use wninit_core::rng;

/// Gain and bias of a layer; the gain is `None` for `‖v‖`.
type Values = (Option<f64>, f64);

/// Draws the parameters of a network's affine maps, in their order; all members of the stack get
/// the same.
///
/// # Panics
/// If an own initializer has no finite values for a layer, which a [`Job`](wninit_core::job::Job)
/// rules out.
pub(crate) fn draw_all(
    affines: Vec<&mut Affine>,
    layers: &[Weight],
    init: Init,
    activation: Activation,
    seed: u64,
) {
    for (affine, layer) in affines.into_iter().zip(layers) {
        debug_assert_eq!(affine.name, layer.name, "the two are in the same order");
        match init {
            Init::BuiltIn { .. } => draw(affine, init, activation, seed),
            Init::Own { rule, .. } => {
                let values = rule.values(layer).unwrap_or_else(|message| panic!("{message}"));
                draw_with(affine, rule.direction, values, 1.0, seed);
            }
        }
    }
}

/// Draws the parameters of one affine map with a built-in initializer; all members of the stack
/// get the same.
///
/// The head gets PyTorch's default, U(±1/√fan_in), whatever the initializer. Elsewhere the bias
/// is 0 and `init` sets the gain, which for data-dependent rules is `‖v‖` until their pass.
pub(crate) fn draw(affine: &mut Affine, init: Init, activation: Activation, seed: u64) {
    let Init::BuiltIn { direction, gain } = init else { return };
    let (fan_in, fan_out) = (affine.fan_in() as f64, affine.fan_out() as f64);
    let gamma = affine.role.gamma(gain, activation);
    let g = match gain {
        Gain::Default | Gain::Datadep | Gain::Lsuv => None,
        Gain::Proposed | Gain::Hanin => Some((gamma * fan_in / fan_out).sqrt()),
        Gain::ProposedBackward => Some(gamma.sqrt()),
    };
    // Where a rule sets g, the scale of v does not change w, only the effective step size.
    // Only `he_proposed` has variance 1/fan_in.
    let half = direction == Direction::He && gain == Gain::Proposed;
    draw_with(affine, direction, (g, 0.0), if half { 0.5 } else { 1.0 }, seed);
}

/// `scale` multiplies the variance of a Gaussian direction.
fn draw_with(affine: &mut Affine, direction: Direction, (g, b): Values, scale: f64, seed: u64) {
    if affine.role == Role::Head {
        return draw_head(affine, seed);
    }
    let (fan_in, fan_out) = (affine.fan_in(), affine.fan_out());
    let size = affine.direction.value.size();
    let rows = size[1];
    let gaussian =
        |variance: f64| gaussian(&affine.name, seed, [rows, fan_in]) * (scale * variance).sqrt();
    let v = match direction {
        Direction::He => gaussian(2.0 / fan_in as f64),
        Direction::LeCun => gaussian(1.0 / fan_in as f64),
        Direction::Xavier => gaussian(2.0 / (fan_in + fan_out) as f64),
        Direction::Orthogonal => orthogonal(&affine.name, seed, [rows, fan_in]),
        Direction::DeltaOrthogonal => delta_orthogonal(&affine.name, seed, &size[1..]),
    };
    let v = v.view([rows, fan_in]);
    let norms = v.square().sum_dim_intlist(1, false, None::<Kind>).sqrt();
    let plain = affine.gain().is_none();
    let v = match g {
        Some(g) if plain => v * (g / &norms).unsqueeze(1),
        _ => v,
    };
    affine
        .direction
        .value
        .copy_(&v.view(&size[1..]).unsqueeze(0).expand_as(&affine.direction.value));
    let _ = affine.bias.value.fill_(b);
    if let Some(gain) = affine.gain() {
        match g {
            Some(g) => {
                let _ = gain.value.fill_(g);
            }
            None => gain.value.copy_(&norms.expand_as(&gain.value)),
        }
    }
    affine.refresh();
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

/// `[out, in, k, k]`: 0 but for the centre of each kernel, where `[out, in]` is orthogonal
/// (Xiao et al. 2018, "Dynamical isometry and a mean field theory of CNNs"). Without a kernel, and
/// for 1×1 kernels, it is [`orthogonal`].
fn delta_orthogonal(layer: &str, seed: u64, size: &[i64]) -> Tensor {
    let centre = orthogonal(layer, seed, [size[0], size[1]]);
    match *size {
        [rows, columns, height, width] => {
            let v = Tensor::zeros([rows, columns, height, width], (Kind::Float, Device::Cpu));
            v.select(3, width / 2).select(2, height / 2).copy_(&centre);
            v
        }
        _ => centre,
    }
}
