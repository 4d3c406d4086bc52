//! Weight norm, `w = g·v/‖v‖` (Salimans & Kingma 2016), and its SGD step. Training on the CPU uses
//! the fused pass of [`sgd_weight_norm`]; [`weight_norm_backward`] calls libtorch's operator.

use std::sync::OnceLock;

use half::bf16;
use multiversion::multiversion;
use tch::{Kind, Tensor};

use super::cpu::{Number, assert_disjoint, dot, fits, one_pass, slice, slice_mut};
use super::sgd::{Rule, Sgd, sgd};
use crate::ffi::fused::{self, Update};
use crate::nn::Param;
use crate::nn::matmul::WeightGradient;
use wninit_core::console::warn;

/// `v [member, out, …]` as `[member · out, fan_in]`, for libtorch's fused weight norm.
fn rows(v: &Tensor) -> Tensor {
    v.flatten(2, -1).flatten(0, 1)
}

/// `g [member, out]` as `[member · out, 1]`.
fn column(g: &Tensor) -> Tensor {
    g.view([-1, 1])
}

/// Writes `effective = g·v/‖v‖`, in its own type, and `norms = ‖v‖`, for `v [member, out, …]` and
/// `g [member, out]`.
pub(crate) fn weight_norm(v: &Tensor, g: &Tensor, effective: &mut Tensor, norms: &mut Tensor) {
    assert_eq!(effective.size(), v.size(), "an effective weight for each direction");
    assert_eq!(g.size(), v.size()[..2], "a gain for each unit");
    assert_eq!(norms.size(), g.size(), "a norm for each unit");
    assert_disjoint(&[effective, norms], &[v, g]);
    let done = fits::<f32>(&[v, g, norms]).then(|| {
        one_pass!(
            T,
            &[&*effective],
            weight_norm_pass::<T>(slice(v), slice(g), slice_mut(effective), slice_mut(norms))
        )
    });
    if done.flatten().is_none() {
        let (w, n) = Tensor::internal_weight_norm_interface(&rows(v), &column(g), 0);
        effective.copy_(&w.view_as(v));
        norms.copy_(&n.view_as(g));
    }
}

/// The gradients `(dv, dg)` from that of the effective weight (eq. 3):
/// `dg = dw·v/‖v‖`, `dv = g/‖v‖·(dw − dg·v/‖v‖)`.
pub(crate) fn weight_norm_backward(
    dw: &Tensor,
    v: &Tensor,
    g: &Tensor,
    norms: &Tensor,
) -> (Tensor, Tensor) {
    let (dv, dg) = Tensor::internal_weight_norm_interface_backward(
        &rows(dw).contiguous(),
        &rows(v),
        &column(g),
        &column(norms),
        0,
    );
    (dv.view_as(v), dg.view_as(g))
}

/// The gradient of an effective weight `[member, out, …]`.
pub(crate) enum Gradient<'t> {
    Whole(Tensor),
    /// A product that is not computed yet.
    Product(WeightGradient<'t>),
}

impl Gradient<'_> {
    pub(crate) fn whole(self) -> Tensor {
        match self {
            Gradient::Whole(dw) => dw,
            Gradient::Product(product) => product.whole(),
        }
    }

    fn size(&self) -> Vec<i64> {
        match self {
            Gradient::Whole(dw) => dw.size(),
            Gradient::Product(product) => product.size().to_vec(),
        }
    }

    fn operands(&self) -> Vec<&Tensor> {
        match self {
            Gradient::Whole(dw) => vec![dw],
            Gradient::Product(WeightGradient { dz, x }) => vec![dz, x],
        }
    }
}

/// A weight-normalised layer's parameters, and what is computed from them.
pub(crate) struct WeightNormed<'a> {
    /// `v [member, out, …]`.
    pub direction: &'a mut Param,
    /// `g [member, out]`.
    pub gain: &'a mut Param,
    /// `b [member, out]`.
    pub bias: &'a mut Param,
    /// `w = g·v/‖v‖`, in the type of products.
    pub effective: &'a mut Tensor,
    /// `‖v‖`, `[member, out]`.
    pub norms: &'a mut Tensor,
}

/// One step of SGD on direction, gain and bias, given the gradients of the effective weight and the
/// bias; then recomputes the effective weight and the norms.
pub(crate) fn sgd_weight_norm(sgd: &Sgd, dw: Gradient, db: &Tensor, layer: WeightNormed) {
    let WeightNormed { direction: v, gain: g, bias: b, effective, norms } = layer;
    let buf_v = v.momentum.get_or_insert_with(|| v.value.zeros_like());
    let buf_g = g.momentum.get_or_insert_with(|| g.value.zeros_like());
    let buf_b = b.momentum.get_or_insert_with(|| b.value.zeros_like());
    sgd.members_of(&v.value);
    for t in [&*buf_v, &*effective] {
        assert_eq!(t.size(), v.value.size(), "as many numbers as directions");
    }
    assert_eq!(dw.size(), v.value.size(), "a gradient for each direction");
    assert_eq!(g.value.size(), v.value.size()[..2], "a gain for each unit");
    for t in [&*buf_g, &*norms] {
        assert_eq!(t.size(), g.value.size(), "as many numbers as gains");
    }
    assert_disjoint(&[&v.value, &g.value, buf_v, buf_g, effective, norms], &dw.operands());
    let dw = if v.value.device().is_cuda() { Gradient::Whole(dw.whole()) } else { dw };
    if let Gradient::Whole(dw) = &dw
        && v.value.device().is_cuda()
        && v.value.kind() == Kind::Float
        && dw.kind() == effective.kind()
        && is_fused(&Update {
            v: &v.value,
            v_momentum: buf_v,
            g: &g.value,
            g_momentum: buf_g,
            b: &b.value,
            b_momentum: buf_b,
            norms,
            w: effective,
            dw,
            db,
            lr: &sgd.lr,
            momentum: &sgd.momentum,
            weight_decay: sgd.weight_decay.as_ref(),
        })
    {
        return;
    }
    self::sgd(sgd, &mut b.value, db, buf_b);
    if fits::<f32>(&[&v.value, &g.value, buf_v, buf_g, norms])
        && (fits::<f32>(&[effective]) || fits::<bf16>(&[effective]))
    {
        let parts = (slice_mut(&mut v.value), slice_mut(buf_v));
        let gains = (slice_mut(&mut g.value), slice_mut(buf_g));
        let effectives = (effective, slice_mut(norms));
        one_pass!(T, &[&*effectives.0], update_rows::<T>(sgd, dw, parts, gains, effectives));
    } else {
        let dw = dw.whole().to_kind(v.value.kind());
        let (dv, dg) = weight_norm_backward(&dw, &v.value, &g.value, norms);
        self::sgd(sgd, &mut v.value, &dv, buf_v);
        self::sgd(sgd, &mut g.value, &dg, buf_g);
        weight_norm(&v.value, &g.value, effective, norms);
    }
}

/// Whether the fused kernel did the update. Where it is not to be had, libtorch's operators do it,
/// which is slower; the user is told once.
fn is_fused(update: &Update) -> bool {
    static REFUSED: OnceLock<()> = OnceLock::new();
    if REFUSED.get().is_some() {
        return false;
    }
    let result = fused::sgd_weight_norm(update);
    if let Err(why) = &result {
        REFUSED.get_or_init(|| {
            let why = why.replace('\n', " ");
            warn([format!("updates are not fused, which is slower: {why}")]);
        });
    }
    result.is_ok()
}

/// Updates some rows at a time, so that their gradient is used while it is in the cache.
fn update_rows<T: Number>(
    sgd: &Sgd,
    dw: Gradient,
    (v, buf_v): (&mut [f32], &mut [f32]),
    (g, buf_g): (&mut [f32], &mut [f32]),
    (w, norms): (&mut Tensor, &mut [f32]),
) {
    /// Gradient elements per piece: half of a core's L2 cache.
    const PIECE: usize = 1 << 17;
    let (members, fan_in) = (sgd.lr.numel(), v.len() / g.len());
    let units = g.len() / members;
    let w = slice_mut(w);
    let dw = match dw {
        Gradient::Product(product) if product.comes_in_rows() => Gradient::Product(product),
        Gradient::Product(product) => Gradient::Whole(product.whole().contiguous()),
        Gradient::Whole(dw) => Gradient::Whole(dw.contiguous()),
    };
    let piece = (PIECE / fan_in).clamp(1, units);
    let mut scratch = vec![0.0; piece * fan_in];
    for m in 0..members {
        let rule = sgd.rule(m);
        for first in (0..units).step_by(piece) {
            let count = piece.min(units - first);
            let unit = m * units + first..m * units + first + count;
            let part = unit.start * fan_in..unit.end * fan_in;
            let scratch = &mut scratch[..count * fan_in];
            let dw: &[f32] = match &dw {
                Gradient::Product(product) => {
                    product.rows(m, first, scratch);
                    scratch
                }
                Gradient::Whole(dw) if dw.kind() == Kind::Float => &slice(dw)[part.clone()],
                Gradient::Whole(dw) => {
                    widen_pass(&slice::<bf16>(dw)[part.clone()], scratch);
                    scratch
                }
            };
            sgd_weight_norm_pass::<T>(
                rule,
                dw,
                (&mut v[part.clone()], &mut buf_v[part.clone()]),
                (&mut g[unit.clone()], &mut buf_g[unit.clone()]),
                (&mut w[part], &mut norms[unit]),
            );
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw", "x86_64+avx2"))]
fn weight_norm_pass<T: Number>(v: &[f32], g: &[f32], effective: &mut [T], norms: &mut [f32]) {
    let fan_in = v.len() / g.len();
    let rows = v.chunks_exact(fan_in).zip(effective.chunks_exact_mut(fan_in));
    for ((v, w), (g, norm)) in rows.zip(g.iter().zip(norms)) {
        *norm = dot(v, v).sqrt();
        let scale = g / *norm;
        for (w, v) in w.iter_mut().zip(v) {
            *w = T::round(scale * v);
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw", "x86_64+avx2"))]
fn widen_pass(from: &[bf16], to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = from.to_f32();
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw", "x86_64+avx2"))]
fn sgd_weight_norm_pass<T: Number>(
    rule: Rule,
    dw: &[f32],
    (v, buf_v): (&mut [f32], &mut [f32]),
    (g, buf_g): (&mut [f32], &mut [f32]),
    (effective, norms): (&mut [T], &mut [f32]),
) {
    let fan_in = v.len() / g.len();
    let rows = dw
        .chunks_exact(fan_in)
        .zip(v.chunks_exact_mut(fan_in))
        .zip(buf_v.chunks_exact_mut(fan_in))
        .zip(effective.chunks_exact_mut(fan_in));
    let units = g.iter_mut().zip(buf_g).zip(norms);
    for ((((dw, v), buf), w), ((g, buf_g), norm)) in rows.zip(units) {
        let dg = dot(dw, v) / *norm;
        let (along_w, along_v) = (*g / *norm, *g * dg / (*norm * *norm));
        for ((v, dw), buf) in v.iter_mut().zip(dw).zip(buf) {
            rule.update(v, along_w * dw - along_v * *v, buf);
        }
        rule.update(g, dg, buf_g);
        *norm = dot(v, v).sqrt();
        let scale = *g / *norm;
        for (w, v) in w.iter_mut().zip(v) {
            *w = T::round(scale * *v);
        }
    }
}
