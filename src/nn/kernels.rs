//! The arithmetic between the matrix products: weight norm, bias and ReLU, SGD.
//!
//! Each kernel exists twice: on libtorch's operators, for GPUs and for types other than fp32, and
//! as one pass over memory for fp32 on the CPU, where these steps would otherwise cost as much as
//! the products (every libtorch operator is a pass of its own). Tests hold the two together.
//! The CPU passes sum in a fixed order whatever the vector width, so that machines agree.

use multiversion::multiversion;
use tch::{Device, Kind, Tensor};

use super::Param;

/// Stochastic gradient descent with momentum and weight decay, per member (PyTorch's rule):
/// `d = grad + weight_decay·p`, `buf = momentum·buf + d`, `p = p − lr·buf`.
///
/// Each is `[member]`, of 32-bit floats, on the model's device.
pub struct Sgd {
    /// Learning rate of each member at this step.
    pub lr: Tensor,
    /// Momentum of each member.
    pub momentum: Tensor,
    /// Weight decay of each member; `None` if nobody has any.
    pub weight_decay: Option<Tensor>,
}

impl Sgd {
    /// The rule of member `m`, from tensors on the CPU.
    fn rule(&self, m: usize) -> Rule {
        Rule {
            lr: slice(&self.lr)[m],
            momentum: slice(&self.momentum)[m],
            weight_decay: self.weight_decay.as_ref().map_or(0.0, |decay| slice(decay)[m]),
        }
    }
}

/// A number for each member as `[member, 1, …]` of `like`'s rank and type.
fn per_member(numbers: &Tensor, like: &Tensor) -> Tensor {
    let mut shape = vec![1; like.dim()];
    shape[0] = -1;
    numbers.view(&shape[..]).to_kind(like.kind())
}

#[derive(Clone, Copy)]
struct Rule {
    lr: f32,
    momentum: f32,
    weight_decay: f32,
}

impl Rule {
    #[inline(always)]
    fn update(self, p: &mut f32, grad: f32, buf: &mut f32) {
        *buf = self.momentum * *buf + (grad + self.weight_decay * *p);
        *p -= self.lr * *buf;
    }
}

/// Whether the one-pass kernels apply: fp32 on the CPU, in memory order, outside of autograd.
fn one_pass(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|t| {
        t.device() == Device::Cpu
            && t.kind() == Kind::Float
            && t.is_contiguous()
            && !t.requires_grad()
    })
}

fn slice(tensor: &Tensor) -> &[f32] {
    debug_assert!(one_pass(&[tensor]));
    // SAFETY: an fp32 CPU tensor in memory order (see `one_pass`) of numel() elements.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), tensor.numel()) }
}

#[allow(clippy::mut_from_ref)] // a tensor's storage is mutable through a shared handle
fn slice_mut(tensor: &mut Tensor) -> &mut [f32] {
    debug_assert!(one_pass(&[tensor]));
    // SAFETY: as in `slice`; callers pass distinct tensors.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), tensor.numel()) }
}

/// `v [member, out, …]` as `[member · out, fan_in]`, and what each unit has one of as a column:
/// what libtorch's fused weight norm takes.
fn rows(v: &Tensor) -> Tensor {
    v.flatten(2, -1).flatten(0, 1)
}

fn column(g: &Tensor) -> Tensor {
    g.view([-1, 1])
}

/// `effective = g·v/‖v‖` and `norms = ‖v‖`, for `v [member, out, …]` and `g [member, out]`.
pub fn weight_norm(v: &Tensor, g: &Tensor, effective: &mut Tensor, norms: &mut Tensor) {
    if one_pass(&[v, g, effective, norms]) {
        weight_norm_pass(slice(v), slice(g), slice_mut(effective), slice_mut(norms));
    } else {
        let (w, n) = Tensor::internal_weight_norm_interface(&rows(v), &column(g), 0);
        effective.copy_(&w.view_as(v));
        norms.copy_(&n.view_as(g));
    }
}

/// The gradients `(dv, dg)` of a weight-normalised weight from that of the effective one
/// (Salimans & Kingma 2016, eq. 3): `dg = dw·v/‖v‖`, `dv = g/‖v‖·(dw − dg·v/‖v‖)`.
pub fn weight_norm_backward(
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

/// One step of SGD on a plain parameter `[member, …]`.
pub fn sgd(sgd: &Sgd, p: &mut Tensor, grad: &Tensor, buf: &mut Tensor) {
    if one_pass(&[p, grad, buf]) {
        let members = sgd.lr.numel();
        let size = p.numel() / members;
        let (p, grad, buf) = (slice_mut(p), slice(grad), slice_mut(buf));
        for m in 0..members {
            let part = m * size..(m + 1) * size;
            sgd_pass(sgd.rule(m), &mut p[part.clone()], &grad[part.clone()], &mut buf[part]);
        }
    } else {
        let decayed = sgd.weight_decay.as_ref().map(|decay| grad.addcmul(p, &per_member(decay, p)));
        let grad = decayed.as_ref().unwrap_or(grad);
        let _ = grad.addcmul_out(buf, buf, &per_member(&sgd.momentum, p));
        let _ = p.addcmul_(buf, &-per_member(&sgd.lr, p));
    }
}

/// One step of SGD on direction and gain, from the gradient of the effective weight, and the
/// effective weight and norms that follow from it.
pub fn sgd_weight_norm(
    sgd: &Sgd,
    dw: &Tensor,
    v: &mut Param,
    g: &mut Param,
    effective: &mut Tensor,
    norms: &mut Tensor,
) {
    let buf_v = v.momentum.get_or_insert_with(|| v.value.zeros_like());
    let buf_g = g.momentum.get_or_insert_with(|| g.value.zeros_like());
    if one_pass(&[dw, &v.value, &g.value, buf_v, buf_g, effective, norms]) {
        let members = sgd.lr.numel();
        let units = g.value.numel() / members;
        let fan_in = v.value.numel() / g.value.numel();
        let (dw, v, buf_v) = (slice(dw), slice_mut(&mut v.value), slice_mut(buf_v));
        let (g, buf_g) = (slice_mut(&mut g.value), slice_mut(buf_g));
        let (effective, norms) = (slice_mut(effective), slice_mut(norms));
        for m in 0..members {
            let rule = sgd.rule(m);
            let unit = m * units..(m + 1) * units;
            let part = m * units * fan_in..(m + 1) * units * fan_in;
            sgd_weight_norm_pass(
                rule,
                &dw[part.clone()],
                (&mut v[part.clone()], &mut buf_v[part.clone()]),
                (&mut g[unit.clone()], &mut buf_g[unit.clone()]),
                (&mut effective[part], &mut norms[unit]),
            );
        }
    } else {
        let (dv, dg) = weight_norm_backward(dw, &v.value, &g.value, norms);
        self::sgd(sgd, &mut v.value, &dv, buf_v);
        self::sgd(sgd, &mut g.value, &dg, buf_g);
        weight_norm(&v.value, &g.value, effective, norms);
    }
}

/// `z + b`, then a ReLU if asked for; `z [member, batch, out]`, `b [member, out]`. Reuses `z`.
/// A NaN stays a NaN.
pub fn add_bias(mut z: Tensor, b: &Tensor, relu: bool) -> Tensor {
    if one_pass(&[&z, b]) {
        let members = z.size()[0] as usize;
        let (zs, b) = (slice_mut(&mut z), slice(b));
        let (zs, bs) = (zs.chunks_exact_mut(zs.len() / members), b.chunks_exact(b.len() / members));
        for (z, b) in zs.zip(bs) {
            if relu { add_bias_relu_pass(z, b) } else { add_bias_pass(z, b) }
        }
        z
    } else if z.requires_grad() {
        let z = z + b.unsqueeze(1);
        if relu { z.relu() } else { z }
    } else {
        let mut z = z.g_add_(&b.unsqueeze(1));
        if relu { z.relu_() } else { z }
    }
}

/// Back through [`add_bias`]: `(dz, db)` from `dy` and, if there was a ReLU, its result `y`.
/// Reuses `dy`.
pub fn add_bias_backward(mut dy: Tensor, y: Option<&Tensor>) -> (Tensor, Tensor) {
    let fits = match y {
        Some(y) => one_pass(&[&dy, y]),
        None => one_pass(&[&dy]),
    };
    if fits {
        let (members, outputs) = (dy.size()[0] as usize, dy.size()[2] as usize);
        let mut db = Tensor::zeros([members as i64, outputs as i64], (Kind::Float, Device::Cpu));
        let size = dy.numel() / members;
        let (dys, dbs) = (slice_mut(&mut dy), slice_mut(&mut db));
        for m in 0..members {
            let part = m * size..(m + 1) * size;
            let db = &mut dbs[m * outputs..(m + 1) * outputs];
            match y {
                Some(y) => relu_backward_pass(&mut dys[part.clone()], &slice(y)[part], db),
                None => column_sums_pass(&dys[part], db),
            }
        }
        (dy, db)
    } else {
        let dz = match y {
            Some(y) => y.threshold_backward(&dy, 0),
            None => dy,
        };
        let kind = if dz.kind() == Kind::Double { Kind::Double } else { Kind::Float };
        let db = dz.sum_dim_intlist(1, false, kind);
        (dz, db)
    }
}

/// Lanes of a sum, whatever the machine's vectors hold: the order of summation is part of the
/// result.
const LANES: usize = 16;

#[inline(always)]
fn lane_sum(lanes: [f32; LANES], tail: f32) -> f32 {
    let mut lanes = lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0] + tail
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] += x[i] * y[i];
        }
    }
    lane_sum(lanes, tail)
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn weight_norm_pass(v: &[f32], g: &[f32], effective: &mut [f32], norms: &mut [f32]) {
    let fan_in = v.len() / g.len();
    let rows = v.chunks_exact(fan_in).zip(effective.chunks_exact_mut(fan_in));
    for ((v, w), (g, norm)) in rows.zip(g.iter().zip(norms)) {
        *norm = dot(v, v).sqrt();
        let scale = g / *norm;
        for (w, v) in w.iter_mut().zip(v) {
            *w = scale * v;
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn sgd_pass(rule: Rule, p: &mut [f32], grad: &[f32], buf: &mut [f32]) {
    for ((p, grad), buf) in p.iter_mut().zip(grad).zip(buf) {
        rule.update(p, *grad, buf);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn sgd_weight_norm_pass(
    rule: Rule,
    dw: &[f32],
    (v, buf_v): (&mut [f32], &mut [f32]),
    (g, buf_g): (&mut [f32], &mut [f32]),
    (effective, norms): (&mut [f32], &mut [f32]),
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
            *w = scale * *v;
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn add_bias_relu_pass(z: &mut [f32], b: &[f32]) {
    for row in z.chunks_exact_mut(b.len()) {
        for (z, b) in row.iter_mut().zip(b) {
            let sum = *z + b;
            *z = if sum < 0.0 { 0.0 } else { sum };
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn add_bias_pass(z: &mut [f32], b: &[f32]) {
    for row in z.chunks_exact_mut(b.len()) {
        for (z, b) in row.iter_mut().zip(b) {
            *z += b;
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn relu_backward_pass(dy: &mut [f32], y: &[f32], db: &mut [f32]) {
    let width = db.len();
    for (dy, y) in dy.chunks_exact_mut(width).zip(y.chunks_exact(width)) {
        for ((dy, y), db) in dy.iter_mut().zip(y).zip(db.iter_mut()) {
            *dy = if *y <= 0.0 { 0.0 } else { *dy };
            *db += *dy;
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn column_sums_pass(dy: &[f32], db: &mut [f32]) {
    for row in dy.chunks_exact(db.len()) {
        for (db, dy) in db.iter_mut().zip(row) {
            *db += dy;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

    /// The same numbers where the one-pass kernels do not apply.
    fn twin(t: &Tensor) -> Tensor {
        t.to_kind(Kind::Double)
    }

    fn close(what: &str, ours: &Tensor, theirs: &Tensor) {
        let error = f64::try_from((twin(ours) - twin(theirs)).abs().max()).unwrap_or(f64::NAN);
        assert!(error < 1e-5, "{what} is off by {error:e}");
    }

    fn param(value: Tensor) -> Param {
        Param { name: String::new(), momentum: Some(value.rand_like()), value, grad: None }
    }

    #[test]
    fn the_one_pass_kernels_compute_what_libtorchs_operators_compute() {
        tch::manual_seed(3);
        let [lr, momentum, weight_decay] =
            [[0.1_f32, 0.2], [0.9, 0.0], [0.01, 0.0]].map(|v| Tensor::from_slice(&v));
        let rule = Sgd { lr, momentum, weight_decay: Some(weight_decay) };
        for fan_in in [1, 7, 16, 53] {
            let (mut v, mut g) =
                (param(Tensor::randn([2, 5, fan_in], CPU)), param(Tensor::rand([2, 5], CPU)));
            let dw = Tensor::randn([2, 5, fan_in], CPU);
            let (mut w, mut norms) = (v.value.zeros_like(), g.value.zeros_like());
            weight_norm(&v.value, &g.value, &mut w, &mut norms);
            let double = |p: &Param| Param {
                name: String::new(),
                value: twin(&p.value),
                momentum: p.momentum.as_ref().map(twin),
                grad: None,
            };
            let (mut v2, mut g2) = (double(&v), double(&g));
            let (mut w2, mut norms2) = (twin(&w), twin(&norms));
            for _ in 0..3 {
                sgd_weight_norm(&rule, &dw, &mut v, &mut g, &mut w, &mut norms);
                sgd_weight_norm(&rule, &twin(&dw), &mut v2, &mut g2, &mut w2, &mut norms2);
            }
            for (what, ours, theirs) in [
                ("v", &v.value, &v2.value),
                ("g", &g.value, &g2.value),
                ("w", &w, &w2),
                ("norms", &norms, &norms2),
            ] {
                close(what, ours, theirs);
            }
        }
    }

    #[test]
    fn bias_and_relu_agree_with_libtorchs_and_hide_no_nan() {
        tch::manual_seed(4);
        let (z, b) = (Tensor::randn([2, 3, 19], CPU), Tensor::randn([2, 19], CPU));
        for relu in [true, false] {
            let y = add_bias(z.copy(), &b, relu);
            close("y", &y, &add_bias(twin(&z), &twin(&b), relu));
            let dy = Tensor::randn([2, 3, 19], CPU);
            let (dz, db) = add_bias_backward(dy.copy(), relu.then_some(&y));
            let (dz2, db2) = add_bias_backward(twin(&dy), relu.then(|| twin(&y)).as_ref());
            close("dz", &dz, &dz2);
            close("db", &db, &db2);
        }
        let nan =
            add_bias(Tensor::full([1, 1, 20], f64::NAN, CPU), &Tensor::zeros([1, 20], CPU), true);
        assert!(i64::try_from(nan.isnan().sum(Kind::Int64)).is_ok_and(|count| count == 20));
    }
}
