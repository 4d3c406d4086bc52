//! Activations and their backward pass.
//!
//! The functions for a CPU compute each number alike, wherever it is. libtorch's `selu` computes what is
//! left over from whole vectors by another function, so that a member's result would depend on its
//! place in the stack.

use std::f32::consts::{FRAC_1_SQRT_2, LN_2, LOG2_E};

use multiversion::multiversion;
use tch::{Device, Kind, Tensor};

use super::cpu::{Number, one_pass, slice, slice_mut};
use crate::nn::{Pass, Tape};
use wninit_core::job::Activation;

const SLOPE: f64 = Activation::LEAKY_SLOPE;
const ALPHA: f64 = Activation::SELU_ALPHA;
const LAMBDA: f64 = Activation::SELU_LAMBDA;

/// `φ(z)`, of `z [member, …]`. Saves what [`activate_backward`] needs.
pub(crate) fn activate(activation: Activation, z: &Tensor, pass: &mut Pass) -> Tensor {
    let y = match activation {
        Activation::Linear => return z.shallow_clone(),
        Activation::Relu => z.relu(),
        Activation::LeakyRelu => values::<LeakyRelu>(z).unwrap_or_else(|| z.leaky_relu()),
        Activation::Tanh => values::<Tanh>(z).unwrap_or_else(|| z.tanh()),
        Activation::Gelu => values::<Gelu>(z).unwrap_or_else(|| z.gelu("none")),
        Activation::Selu => values::<Selu>(z).unwrap_or_else(|| z.selu()),
    };
    pass.save(&[if activation.needs_input() { z } else { &y }]);
    y
}

/// `dy` to `dz`.
pub(crate) fn activate_backward(activation: Activation, dy: Tensor, tape: &mut Tape) -> Tensor {
    let mut saved = || tape.pop();
    match activation {
        Activation::Linear => dy,
        Activation::Relu => saved().threshold_backward(&dy, 0),
        Activation::LeakyRelu => {
            let y = saved();
            gradients::<LeakyRelu>(&dy, &y)
                .unwrap_or_else(|| y.leaky_relu_backward(&dy, SLOPE, true))
        }
        Activation::Tanh => {
            let y = saved();
            gradients::<Tanh>(&dy, &y).unwrap_or_else(|| Tensor::tanh_backward(&dy, &y))
        }
        Activation::Gelu => {
            let z = saved();
            gradients::<Gelu>(&dy, &z).unwrap_or_else(|| z.gelu_backward(&dy, "none"))
        }
        Activation::Selu => {
            let y = saved();
            gradients::<Selu>(&dy, &y)
                .unwrap_or_else(|| Tensor::elu_backward(&dy, ALPHA, LAMBDA, 1.0, true, &y))
        }
    }
}

/// The tensor in the order in which a CPU stores it, images channels last; `None` if libtorch's
/// operators have to be used.
fn stored(t: &Tensor) -> Option<Tensor> {
    let ours = matches!(t.kind(), Kind::Float | Kind::BFloat16) && t.device() == Device::Cpu;
    (ours && !t.requires_grad()).then(|| match t.dim() {
        5 => t.permute([0, 1, 3, 4, 2]).contiguous(),
        _ => t.contiguous(),
    })
}

/// The inverse of [`stored`].
fn restored(t: Tensor) -> Tensor {
    if t.dim() == 5 { t.permute([0, 1, 4, 2, 3]) } else { t }
}

fn values<F: Function>(z: &Tensor) -> Option<Tensor> {
    let z = stored(z)?;
    let mut y = z.empty_like();
    one_pass!(T, &[&z, &y], values_pass::<T, F>(slice(&z), slice_mut(&mut y)))?;
    Some(restored(y))
}

fn gradients<F: Function>(dy: &Tensor, saved: &Tensor) -> Option<Tensor> {
    assert_eq!(saved.size(), dy.size(), "a gradient for each result");
    let (dy, saved) = (stored(dy)?, stored(saved)?);
    let mut dz = saved.empty_like();
    one_pass!(
        T,
        &[&dy, &saved, &dz],
        gradients_pass::<T, F>(slice(&dy), slice(&saved), slice_mut(&mut dz))
    )?;
    Some(restored(dz))
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw", "x86_64+avx2"))]
fn values_pass<T: Number, F: Function>(z: &[T], y: &mut [T]) {
    for (y, &z) in y.iter_mut().zip(z) {
        *y = T::round(F::value(z.into()));
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw", "x86_64+avx2"))]
fn gradients_pass<T: Number, F: Function>(dy: &[T], saved: &[T], dz: &mut [T]) {
    for ((dz, &dy), &saved) in dz.iter_mut().zip(dy).zip(saved) {
        *dz = T::round(F::gradient(dy.into(), saved.into()));
    }
}

/// An activation of a number.
trait Function {
    fn value(z: f32) -> f32;
    /// `φ′·dy`, of z if [`Activation::needs_input`], else of `φ(z)`.
    fn gradient(dy: f32, saved: f32) -> f32;
}

struct LeakyRelu;

impl Function for LeakyRelu {
    #[inline(always)]
    fn value(z: f32) -> f32 {
        if z > 0.0 { z } else { SLOPE as f32 * z }
    }

    #[inline(always)]
    fn gradient(dy: f32, y: f32) -> f32 {
        if y > 0.0 { dy } else { SLOPE as f32 * dy }
    }
}

struct Tanh;

impl Function for Tanh {
    #[inline(always)]
    fn value(z: f32) -> f32 {
        let (scale, fraction) = exp(-2.0 * z.abs());
        let less_one = scale * fraction + (scale - 1.0);
        (-less_one / (2.0 + less_one)).copysign(z)
    }

    #[inline(always)]
    fn gradient(dy: f32, y: f32) -> f32 {
        dy * (1.0 - y * y)
    }
}

struct Gelu;

impl Gelu {
    /// Φ(z) and its density, to 1e-7 (Abramowitz & Stegun 1964, 7.1.26).
    #[inline(always)]
    fn normal(z: f32) -> (f32, f32) {
        let (scale, fraction) = exp(-0.5 * z * z);
        let bell = scale + scale * fraction;
        let t = 1.0 / (1.0 + 0.327_591_1 * FRAC_1_SQRT_2 * z.abs());
        let series = [1.061_405_4, -1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6];
        let tail = 0.5 * bell * series.iter().fold(0.0, |sum, a| (sum + a) * t);
        const DENSITY_AT_0: f32 = 0.398_942_3;
        (if z > 0.0 { 1.0 - tail } else { tail }, DENSITY_AT_0 * bell)
    }
}

impl Function for Gelu {
    #[inline(always)]
    fn value(z: f32) -> f32 {
        z * Gelu::normal(z).0
    }

    #[inline(always)]
    fn gradient(dy: f32, z: f32) -> f32 {
        let (distribution, density) = Gelu::normal(z);
        dy * (distribution + z * density)
    }
}

struct Selu;

impl Function for Selu {
    #[inline(always)]
    fn value(z: f32) -> f32 {
        let (scale, fraction) = exp(z);
        let less_one = scale * fraction + (scale - 1.0);
        if z > 0.0 { LAMBDA as f32 * z } else { (LAMBDA * ALPHA) as f32 * less_one }
    }

    #[inline(always)]
    fn gradient(dy: f32, y: f32) -> f32 {
        dy * if y > 0.0 { LAMBDA as f32 } else { y + (LAMBDA * ALPHA) as f32 }
    }
}

/// `s` and `f` with `exp(x) = s·(1 + f)`, where s is a power of 2, and 1 for |x| < 0.34: so both
/// exp(x) and exp(x) − 1 = s·f + (s − 1) are exact to some units in the last place. Clamped where it
/// would over- or underflow.
#[inline(always)]
fn exp(x: f32) -> (f32, f32) {
    // Adding 1.5·2²³ rounds to a whole number, in the low bits of the sum.
    const WHOLE: f32 = 12_582_912.0;
    // The first part of ln 2 has few bits, so that a whole number times it is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = (std::f64::consts::LN_2 - LN_2_HIGH as f64) as f32;
    let x = x.clamp(-126.0 * LN_2, 127.0 * LN_2);
    let sum = x * LOG2_E + WHOLE;
    let n = sum - WHOLE;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    // Taylor's series; the next term is below 1e-8.
    let series = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5];
    let fraction = series.iter().fold(0.0, |sum, a| (sum + a) * r) * r + r;
    (f32::from_bits((sum.to_bits() << 23).wrapping_add(1f32.to_bits())), fraction)
}
