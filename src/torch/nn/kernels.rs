//! The arithmetic between the matrix products: weight norm, bias and ReLU, SGD.
//!
//! Each kernel exists twice: on libtorch's operators, for GPUs and for double precision, and as one
//! pass over memory for fp32 and bf16 on the CPU, where these steps would otherwise cost as much as
//! the products (every libtorch operator is a pass of its own). Tests hold the two together.
//! The CPU passes sum in a fixed order whatever the vector width, so that machines agree.

use multiversion::multiversion;
use tch::{Device, Kind, Tensor};

use super::Param;
use super::matmul::WeightGradient;

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
    /// How many members it has numbers for.
    ///
    /// # Panics
    /// Unless it has them for every member of the parameter `p [member, …]`, on its device.
    fn members_of(&self, p: &Tensor) -> usize {
        let members = p.size().first().copied().unwrap_or_default();
        assert!(members > 0, "a parameter has a member axis, not {:?}", p.size());
        for t in
            [Some(&self.lr), Some(&self.momentum), self.weight_decay.as_ref()].into_iter().flatten()
        {
            assert_eq!(t.size(), [members], "a number for each member");
            assert_eq!((t.kind(), t.device()), (Kind::Float, p.device()), "on the model's device");
        }
        members as usize
    }

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

/// A number as it lies in memory; a CPU's arithmetic is in 32 bits.
trait Number: Copy {
    const KIND: Kind;
    fn get(self) -> f32;
    fn of(number: f32) -> Self;
}

impl Number for f32 {
    const KIND: Kind = Kind::Float;
    #[inline(always)]
    fn get(self) -> f32 {
        self
    }
    #[inline(always)]
    fn of(number: f32) -> f32 {
        number
    }
}

/// bfloat16: the first half of a 32-bit number, rounded to nearest, ties to even.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Bf16(u16);

impl Number for Bf16 {
    const KIND: Kind = Kind::BFloat16;
    #[inline(always)]
    fn get(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
    #[inline(always)]
    fn of(number: f32) -> Bf16 {
        let bits = number.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        Bf16(if number.is_nan() { 0x7fc0 } else { rounded as u16 })
    }
}

/// Whether one-pass kernels apply to these tensors as numbers of type `T`: on the CPU, in memory
/// order, outside of autograd.
fn one_pass_of<T: Number>(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|t| {
        t.device() == Device::Cpu && t.kind() == T::KIND && t.is_contiguous() && !t.requires_grad()
    })
}

fn one_pass(tensors: &[&Tensor]) -> bool {
    one_pass_of::<f32>(tensors)
}

/// Panics unless the tensor's memory is a slice of numbers of type `T`. `None` if it is an empty one,
/// which may have no memory.
fn start<T: Number>(tensor: &Tensor) -> Option<*mut T> {
    assert!(
        one_pass_of::<T>(&[tensor]),
        "a CPU kernel takes {:?} tensors in memory order outside of autograd, not {:?} on {:?}, strides {:?} of {:?}",
        T::KIND,
        tensor.kind(),
        tensor.device(),
        tensor.stride(),
        tensor.size()
    );
    (tensor.numel() > 0).then(|| tensor.data_ptr().cast())
}

fn numbers<T: Number>(tensor: &Tensor) -> &[T] {
    // SAFETY: a CPU tensor of this type in memory order of numel() elements. Nobody writes to them
    // meanwhile: see `assert_apart`.
    start(tensor).map_or(&[], |start| unsafe { std::slice::from_raw_parts(start, tensor.numel()) })
}

fn numbers_mut<T: Number>(tensor: &mut Tensor) -> &mut [T] {
    // SAFETY: as in `numbers`.
    start(tensor)
        .map_or(&mut [], |start| unsafe { std::slice::from_raw_parts_mut(start, tensor.numel()) })
}

/// Panics if one of the tensors that a kernel writes, `written`, shares memory with another of its
/// operands: handles of tensors are no proof against that. Tensors that are no CPU's are libtorch's
/// to check.
fn assert_apart(written: &[&Tensor], read: &[&Tensor]) {
    // From the first to the last number: what is expanded takes less memory than its numbers would.
    let memory = |t: &Tensor| {
        let start = t.data_ptr() as usize;
        let steps = t.size().into_iter().zip(t.stride());
        let last: i64 = steps.map(|(size, stride)| (size - 1).max(0) * stride).sum();
        let numbers = if t.numel() == 0 { 0 } else { last as usize + 1 };
        start..start + numbers * t.kind().elt_size_in_bytes()
    };
    for (i, a) in written.iter().enumerate() {
        for b in written[i + 1..].iter().chain(read) {
            if a.device() == Device::Cpu && b.device() == Device::Cpu {
                let (a, b) = (memory(a), memory(b));
                assert!(a.end <= b.start || b.end <= a.start, "two operands share memory");
            }
        }
    }
}

fn slice(tensor: &Tensor) -> &[f32] {
    numbers(tensor)
}

fn slice_mut(tensor: &mut Tensor) -> &mut [f32] {
    numbers_mut(tensor)
}

/// `v [member, out, …]` as `[member · out, fan_in]`, and what each unit has one of as a column:
/// what libtorch's fused weight norm takes.
fn rows(v: &Tensor) -> Tensor {
    v.flatten(2, -1).flatten(0, 1)
}

fn column(g: &Tensor) -> Tensor {
    g.view([-1, 1])
}

/// `effective = g·v/‖v‖`, in the type that it has, and `norms = ‖v‖`, for `v [member, out, …]` and
/// `g [member, out]`.
pub(crate) fn weight_norm(v: &Tensor, g: &Tensor, effective: &mut Tensor, norms: &mut Tensor) {
    assert_eq!(effective.size(), v.size(), "an effective weight for each direction");
    assert_eq!(g.size(), v.size()[..2], "a gain for each unit");
    assert_eq!(norms.size(), g.size(), "a norm for each unit");
    assert_apart(&[effective, norms], &[v, g]);
    if one_pass(&[v, g, norms]) && one_pass(&[effective]) {
        weight_norm_pass::<f32>(slice(v), slice(g), numbers_mut(effective), slice_mut(norms));
    } else if one_pass(&[v, g, norms]) && one_pass_of::<Bf16>(&[effective]) {
        weight_norm_pass::<Bf16>(slice(v), slice(g), numbers_mut(effective), slice_mut(norms));
    } else {
        let (w, n) = Tensor::internal_weight_norm_interface(&rows(v), &column(g), 0);
        effective.copy_(&w.view_as(v));
        norms.copy_(&n.view_as(g));
    }
}

/// The gradients `(dv, dg)` of a weight-normalised weight from that of the effective one
/// (Salimans & Kingma 2016, eq. 3): `dg = dw·v/‖v‖`, `dv = g/‖v‖·(dw − dg·v/‖v‖)`.
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

/// One step of SGD on a plain parameter `[member, …]`.
pub(crate) fn sgd(sgd: &Sgd, p: &mut Tensor, grad: &Tensor, buf: &mut Tensor) {
    let members = sgd.members_of(p);
    assert_eq!(grad.size(), p.size(), "a gradient for each parameter");
    assert_eq!(buf.size(), p.size(), "a momentum for each parameter");
    assert_apart(&[p, buf], &[grad]);
    if one_pass(&[p, grad, buf]) {
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

/// The gradient of an effective weight `[member, out, …]`.
pub(crate) enum Gradient<'t> {
    /// As it is.
    Whole(Tensor),
    /// As a product that is still to be computed.
    Product(WeightGradient<'t>),
}

impl Gradient<'_> {
    /// All of it.
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

    /// What it is read from.
    fn operands(&self) -> Vec<&Tensor> {
        match self {
            Gradient::Whole(dw) => vec![dw],
            Gradient::Product(WeightGradient { dz, x }) => vec![dz, x],
        }
    }
}

/// One step of SGD on direction and gain, from the gradient of the effective weight, and the
/// effective weight and norms that follow from it.
pub(crate) fn sgd_weight_norm(
    sgd: &Sgd,
    dw: Gradient,
    v: &mut Param,
    g: &mut Param,
    effective: &mut Tensor,
    norms: &mut Tensor,
) {
    let buf_v = v.momentum.get_or_insert_with(|| v.value.zeros_like());
    let buf_g = g.momentum.get_or_insert_with(|| g.value.zeros_like());
    sgd.members_of(&v.value);
    for t in [&*buf_v, &*effective] {
        assert_eq!(t.size(), v.value.size(), "as many numbers as directions");
    }
    assert_eq!(dw.size(), v.value.size(), "a gradient for each direction");
    assert_eq!(g.value.size(), v.value.size()[..2], "a gain for each unit");
    for t in [&*buf_g, &*norms] {
        assert_eq!(t.size(), g.value.size(), "as many numbers as gains");
    }
    assert_apart(&[&v.value, &g.value, buf_v, buf_g, effective, norms], &dw.operands());
    let fits = one_pass(&[&v.value, &g.value, buf_v, buf_g, norms]);
    if fits && (one_pass(&[effective]) || one_pass_of::<Bf16>(&[effective])) {
        let parts = (slice_mut(&mut v.value), slice_mut(buf_v));
        let gains = (slice_mut(&mut g.value), slice_mut(buf_g));
        if effective.kind() == Kind::Float {
            update_rows::<f32>(sgd, dw, parts, gains, (numbers_mut(effective), slice_mut(norms)));
        } else {
            update_rows::<Bf16>(sgd, dw, parts, gains, (numbers_mut(effective), slice_mut(norms)));
        }
    } else {
        let dw = dw.whole().to_kind(v.value.kind());
        let (dv, dg) = weight_norm_backward(&dw, &v.value, &g.value, norms);
        self::sgd(sgd, &mut v.value, &dv, buf_v);
        self::sgd(sgd, &mut g.value, &dg, buf_g);
        weight_norm(&v.value, &g.value, effective, norms);
    }
}

/// Some rows at a time: what is computed of the gradient is used up while it is in the cache.
fn update_rows<T: Number>(
    sgd: &Sgd,
    dw: Gradient,
    (v, buf_v): (&mut [f32], &mut [f32]),
    (g, buf_g): (&mut [f32], &mut [f32]),
    (w, norms): (&mut [T], &mut [f32]),
) {
    /// Numbers of the gradient at a time: half of a core's second cache.
    const PIECE: usize = 1 << 17;
    let (members, fan_in) = (sgd.lr.numel(), v.len() / g.len());
    let units = g.len() / members;
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
                    widen_pass(&numbers::<Bf16>(dw)[part.clone()], scratch);
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

/// `z + b`, then a ReLU if asked for; `z [member, out, batch]`, `b [member, out]`. Reuses `z`.
/// A NaN stays a NaN.
pub(crate) fn add_bias(mut z: Tensor, b: &Tensor, relu: bool) -> Tensor {
    assert_eq!((z.dim(), b.size()), (3, z.size()[..2].to_vec()), "a bias for each row");
    assert_apart(&[&z], &[b]);
    if one_pass(&[&z, b]) {
        add_bias_pass::<f32>(numbers_mut(&mut z), numbers(b), relu);
        z
    } else if one_pass_of::<Bf16>(&[&z, b]) {
        add_bias_pass::<Bf16>(numbers_mut(&mut z), numbers(b), relu);
        z
    } else if z.requires_grad() {
        let z = z + b.unsqueeze(2);
        if relu { z.relu() } else { z }
    } else {
        let mut z = z.g_add_(&b.unsqueeze(2));
        if relu { z.relu_() } else { z }
    }
}

/// Back through [`add_bias`]: `(dz, db)` from `dy` and, if there was a ReLU, its result `y`.
/// Reuses `dy`; `db` is in 32 bits at least.
pub(crate) fn add_bias_backward(mut dy: Tensor, y: Option<&Tensor>) -> (Tensor, Tensor) {
    fn back<T: Number>(dy: &mut Tensor, y: Option<&Tensor>) -> Tensor {
        let size = dy.size();
        let mut db = Tensor::empty(&size[..2], (Kind::Float, Device::Cpu));
        match y {
            Some(y) => relu_backward_pass::<T>(numbers_mut(dy), numbers(y), slice_mut(&mut db)),
            None => row_sums_pass::<T>(numbers(dy), slice_mut(&mut db)),
        }
        db
    }
    assert_eq!(dy.dim(), 3, "a gradient is [member, out, batch]");
    if let Some(y) = y {
        assert_eq!(y.size(), dy.size(), "a gradient for each result");
        assert_apart(&[&dy], &[y]);
    }
    let both: Vec<&Tensor> = [Some(&dy), y].into_iter().flatten().collect();
    if one_pass(&both) {
        let db = back::<f32>(&mut dy, y);
        (dy, db)
    } else if one_pass_of::<Bf16>(&both) {
        let db = back::<Bf16>(&mut dy, y);
        (dy, db)
    } else {
        let dz = match y {
            Some(y) => y.threshold_backward(&dy, 0),
            None => dy,
        };
        let kind = if dz.kind() == Kind::Double { Kind::Double } else { Kind::Float };
        let db = dz.sum_dim_intlist(2, false, kind);
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
fn sum<T: Number>(numbers: &[T]) -> f32 {
    let mut lanes = [0.0; LANES];
    let chunks = numbers.chunks_exact(LANES);
    let tail = chunks.remainder().iter().map(|x| x.get()).sum();
    for x in chunks {
        for i in 0..LANES {
            lanes[i] += x[i].get();
        }
    }
    lane_sum(lanes, tail)
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

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw", "x86_64+avx2"))]
fn weight_norm_pass<T: Number>(v: &[f32], g: &[f32], effective: &mut [T], norms: &mut [f32]) {
    let fan_in = v.len() / g.len();
    let rows = v.chunks_exact(fan_in).zip(effective.chunks_exact_mut(fan_in));
    for ((v, w), (g, norm)) in rows.zip(g.iter().zip(norms)) {
        *norm = dot(v, v).sqrt();
        let scale = g / *norm;
        for (w, v) in w.iter_mut().zip(v) {
            *w = T::of(scale * v);
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw", "x86_64+avx2"))]
fn sgd_pass(rule: Rule, p: &mut [f32], grad: &[f32], buf: &mut [f32]) {
    for ((p, grad), buf) in p.iter_mut().zip(grad).zip(buf) {
        rule.update(p, *grad, buf);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw", "x86_64+avx2"))]
fn widen_pass(from: &[Bf16], to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = from.get();
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
            *w = T::of(scale * *v);
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw", "x86_64+avx2"))]
fn add_bias_pass<T: Number>(z: &mut [T], b: &[T], relu: bool) {
    let width = z.len() / b.len();
    for (row, b) in z.chunks_exact_mut(width).zip(b) {
        let b = b.get();
        if relu {
            for z in row {
                let sum = z.get() + b;
                *z = T::of(if sum < 0.0 { 0.0 } else { sum });
            }
        } else {
            row.iter_mut().for_each(|z| *z = T::of(z.get() + b));
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw", "x86_64+avx2"))]
fn relu_backward_pass<T: Number>(dy: &mut [T], y: &[T], db: &mut [f32]) {
    let width = dy.len() / db.len();
    for ((dy, y), db) in dy.chunks_exact_mut(width).zip(y.chunks_exact(width)).zip(db) {
        for (dy, y) in dy.iter_mut().zip(y) {
            *dy = T::of(if y.get() <= 0.0 { 0.0 } else { dy.get() });
        }
        *db = sum(dy);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw", "x86_64+avx2"))]
fn row_sums_pass<T: Number>(dy: &[T], db: &mut [f32]) {
    let width = dy.len() / db.len();
    for (row, db) in dy.chunks_exact(width).zip(db) {
        *db = sum(row);
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

    fn whole(dw: &Tensor) -> Gradient<'_> {
        Gradient::Whole(dw.shallow_clone())
    }

    fn close(what: &str, ours: &Tensor, theirs: &Tensor) {
        let error = f64::try_from((twin(ours) - twin(theirs)).abs().max()).unwrap_or(f64::NAN);
        assert!(error < 1e-5, "{what} is off by {error:e}");
    }

    fn param(value: Tensor) -> Param {
        Param { name: String::new(), momentum: Some(value.rand_like()), value, grad: None }
    }

    fn rule_of(members: usize) -> Sgd {
        let each = |number: f32| Tensor::from_slice(&vec![number; members]);
        Sgd { lr: each(0.1), momentum: each(0.9), weight_decay: None }
    }

    /// The message with which `work` panics.
    fn refused(work: impl FnOnce()) -> String {
        let work = std::panic::AssertUnwindSafe(work);
        let panic = std::panic::catch_unwind(work).expect_err("it was not refused");
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
    }

    #[test]
    fn a_kernel_refuses_operands_that_it_would_read_or_write_out_of_bounds() {
        let zeros = |size: &[i64]| Tensor::zeros(size, CPU);
        let step = |rule: &Sgd, mut p: Tensor, grad: Tensor, mut buf: Tensor| {
            refused(|| sgd(rule, &mut p, &grad, &mut buf))
        };
        let (p, other) = (|| zeros(&[2, 8]), |n| zeros(&[2, n]));
        assert!(step(&rule_of(1), p(), p(), p()).contains("a number for each member"));
        assert!(step(&rule_of(2), p(), other(7), p()).contains("a gradient for each parameter"));
        assert!(step(&rule_of(2), p(), p(), other(9)).contains("a momentum for each parameter"));
        let shared = p();
        assert!(step(&rule_of(2), shared.shallow_clone(), shared, p()).contains("share memory"));
        // One row for all members lies beside what is written, and is no part of it.
        let both = zeros(&[24]);
        let row = both.narrow(0, 0, 8).unsqueeze(0).expand([2, 8], false);
        sgd(&rule_of(2), &mut both.narrow(0, 8, 16).view([2, 8]), &row, &mut p());
        let double = rule_of(2).lr.to_kind(Kind::Double);
        let rule = Sgd { lr: double, ..rule_of(2) };
        assert!(step(&rule, p(), p(), p()).contains("on the model's device"));
        let strided = Sgd { lr: zeros(&[4]).slice(0, None, None, 2), ..rule_of(2) };
        assert!(step(&strided, p(), p(), p()).contains("in memory order"));

        let (v, g) = (zeros(&[2, 3, 4]), zeros(&[2, 3]));
        let norm = |g: &Tensor, mut w: Tensor, mut norms: Tensor| {
            refused(|| weight_norm(&v, g, &mut w, &mut norms))
        };
        assert!(norm(&zeros(&[2, 2]), zeros(&[2, 3, 4]), zeros(&[2, 2])).contains("a gain"));
        assert!(norm(&g, zeros(&[2, 3, 5]), zeros(&[2, 3])).contains("an effective weight"));
        assert!(norm(&g, zeros(&[2, 3, 4]), zeros(&[2, 4])).contains("a norm"));
        let dw = Gradient::Whole(zeros(&[2, 3, 5]));
        let (mut v2, mut g2) = (Param { momentum: None, ..param(v.copy()) }, param(g.copy()));
        let (mut w, mut norms) = (zeros(&[2, 3, 4]), zeros(&[2, 3]));
        let update = || sgd_weight_norm(&rule_of(2), dw, &mut v2, &mut g2, &mut w, &mut norms);
        assert!(refused(update).contains("a gradient for each direction"));
        let bias = || drop(add_bias(zeros(&[2, 3, 5]), &zeros(&[2, 4]), true));
        assert!(refused(bias).contains("a bias for each row"));
        let back = || drop(add_bias_backward(zeros(&[2, 3, 5]), Some(&zeros(&[2, 3, 4]))));
        assert!(refused(back).contains("a gradient for each result"));
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
                sgd_weight_norm(&rule, whole(&dw), &mut v, &mut g, &mut w, &mut norms);
                sgd_weight_norm(&rule, whole(&twin(&dw)), &mut v2, &mut g2, &mut w2, &mut norms2);
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
    fn a_gradient_in_pieces_or_in_bf16_updates_as_the_whole_one_does() {
        tch::set_num_threads(1);
        tch::manual_seed(10);
        let each = |number: f32| Tensor::from_slice(&[number, number / 2.0]);
        let rule = Sgd { lr: each(0.1), momentum: each(0.9), weight_decay: None };
        // More than two pieces for each member.
        let (units, fan_in) = (300, 1000);
        let (mut v, mut g) =
            (param(Tensor::randn([2, units, fan_in], CPU)), param(Tensor::rand([2, units], CPU)));
        let copies = |p: &Param| Param {
            name: String::new(),
            value: p.value.copy(),
            momentum: p.momentum.as_ref().map(Tensor::copy),
            grad: None,
        };
        let (dz, x) = (Tensor::randn([2, units, 4], CPU), Tensor::randn([2, 4, fan_in], CPU));
        let product = WeightGradient { dz: &dz, x: &x };
        for (what, dw, kind, off) in [
            ("in pieces", Gradient::Product(product), Kind::Float, 1e-5),
            ("in bf16", whole(&product.whole().to_kind(Kind::BFloat16)), Kind::BFloat16, 0.02),
        ] {
            let ((mut v2, mut g2), dw2) = ((copies(&v), copies(&g)), product.whole());
            let (mut w2, mut norms2) = (v2.value.zeros_like(), g2.value.zeros_like());
            weight_norm(&v2.value, &g2.value, &mut w2, &mut norms2);
            let mut norms = norms2.copy();
            sgd_weight_norm(&rule, whole(&dw2), &mut v2, &mut g2, &mut w2, &mut norms2);
            let mut w = v.value.zeros_like().to_kind(kind);
            let before = (copies(&v), copies(&g));
            sgd_weight_norm(&rule, dw, &mut v, &mut g, &mut w, &mut norms);
            for (part, ours, theirs) in [
                ("v", &v.value, &v2.value),
                ("g", &g.value, &g2.value),
                ("w", &w, &w2),
                ("norms", &norms, &norms2),
            ] {
                let error =
                    f64::try_from((twin(ours) - twin(theirs)).abs().max()).unwrap_or(f64::NAN);
                assert!(error < off, "{what}: {part} is off by {error:e}");
            }
            (v, g) = before;
        }
    }

    #[test]
    fn a_number_is_rounded_to_bf16_as_libtorch_rounds_it() {
        let halves = (0..=u16::MAX).map(|high| u32::from(high) << 16);
        let bits: Vec<u32> = halves
            .flat_map(|high| [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff].map(|x| high | x))
            .collect();
        let numbers: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        let theirs = Tensor::from_slice(&numbers).to_kind(Kind::BFloat16);
        for (&number, theirs) in numbers.iter().zip(super::numbers::<Bf16>(&theirs)) {
            let ours = Bf16::of(number);
            let same = ours.0 == theirs.0 || ours.get().is_nan() && theirs.get().is_nan();
            assert!(same, "{number:e}: {:#x} and {:#x}", ours.0, theirs.0);
        }
    }

    #[test]
    fn bias_and_relu_agree_with_libtorchs_and_hide_no_nan() {
        tch::manual_seed(4);
        let (z, b) = (Tensor::randn([2, 3, 19], CPU), Tensor::randn([2, 3], CPU));
        for kind in [Kind::Float, Kind::BFloat16] {
            let (z, b) = (z.to_kind(kind), b.to_kind(kind));
            // In bf16 both round a result to the nearest, so they differ at ties at most.
            let close = |what: &str, ours: &Tensor, theirs: &Tensor| {
                if kind == Kind::Float {
                    close(what, ours, theirs);
                } else {
                    let apart = (twin(ours) - twin(theirs)).abs() - twin(theirs).abs() / 128.0;
                    let apart = f64::try_from(apart.max()).unwrap_or(f64::NAN);
                    assert!(apart < 1e-2, "{what} in bf16 is off by {apart}");
                }
            };
            for relu in [true, false] {
                let y = add_bias(z.copy(), &b, relu);
                assert_eq!(y.kind(), kind);
                close("y", &y, &add_bias(twin(&z), &twin(&b), relu));
                let dy = Tensor::randn([2, 3, 19], CPU).to_kind(kind);
                let (dz, db) = add_bias_backward(dy.copy(), relu.then_some(&y));
                let (dz2, db2) = add_bias_backward(twin(&dy), relu.then(|| twin(&y)).as_ref());
                close("dz", &dz, &dz2);
                close("db", &db, &db2);
            }
        }
        let nan =
            add_bias(Tensor::full([1, 20, 1], f64::NAN, CPU), &Tensor::zeros([1, 20], CPU), true);
        assert!(i64::try_from(nan.isnan().sum(Kind::Int64)).is_ok_and(|count| count == 20));
    }
}
