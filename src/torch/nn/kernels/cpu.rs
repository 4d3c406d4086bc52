//! CPU tensors as slices of numbers, for kernels that make one pass over memory.

use half::bf16;
use tch::{Device, Kind, Tensor};

/// An element in memory. Arithmetic is done in 32 bits.
pub(super) trait Number: Copy + Into<f32> {
    const KIND: Kind; // tch's own `Element` takes bf16 for `Kind::Half`
    /// Rounds to nearest, ties to even.
    fn round(x: f32) -> Self;
}

impl Number for f32 {
    const KIND: Kind = Kind::Float;
    #[inline(always)]
    fn round(x: f32) -> f32 {
        x
    }
}

impl Number for bf16 {
    const KIND: Kind = Kind::BFloat16;
    #[inline(always)]
    fn round(x: f32) -> bf16 {
        bf16::from_f32(x)
    }
}

/// Whether a one-pass kernel over elements of type `T` supports these tensors: on the CPU,
/// contiguous, outside of autograd.
pub(super) fn fits<T: Number>(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|t| {
        t.device() == Device::Cpu && t.kind() == T::KIND && t.is_contiguous() && !t.requires_grad()
    })
}

/// `Some($body)` with `$T` the element type for which all `$tensors` fit a one-pass kernel.
macro_rules! one_pass {
    ($T:ident, $tensors:expr, $body:expr) => {
        if $crate::nn::kernels::cpu::fits::<f32>($tensors) {
            type $T = f32;
            Some($body)
        } else if $crate::nn::kernels::cpu::fits::<half::bf16>($tensors) {
            type $T = half::bf16;
            Some($body)
        } else {
            None
        }
    };
}
pub(super) use one_pass;

/// The tensor's memory; `None` if it is empty, since it may have no memory then.
fn start<T: Number>(tensor: &Tensor) -> Option<*mut T> {
    assert!(
        fits::<T>(&[tensor]),
        "a CPU kernel takes contiguous {:?} tensors outside of autograd, not {:?} on {:?}, strides {:?} of {:?}",
        T::KIND,
        tensor.kind(),
        tensor.device(),
        tensor.stride(),
        tensor.size()
    );
    (tensor.numel() > 0).then(|| tensor.data_ptr().cast())
}

/// # Panics
/// Unless the tensor [`fits`].
pub(super) fn slice<T: Number>(tensor: &Tensor) -> &[T] {
    // SAFETY: a contiguous CPU tensor of numel() elements of this type. Nothing writes to them
    // meanwhile: see `assert_disjoint`.
    start(tensor).map_or(&[], |start| unsafe { std::slice::from_raw_parts(start, tensor.numel()) })
}

/// # Panics
/// Unless the tensor [`fits`].
pub(super) fn slice_mut<T: Number>(tensor: &mut Tensor) -> &mut [T] {
    // SAFETY: as in `slice`.
    start(tensor)
        .map_or(&mut [], |start| unsafe { std::slice::from_raw_parts_mut(start, tensor.numel()) })
}

/// Panics if a tensor that a kernel writes shares memory with another of its operands: distinct
/// `Tensor` handles may alias. Only CPU tensors are checked; libtorch checks the others.
pub(super) fn assert_disjoint(written: &[&Tensor], read: &[&Tensor]) {
    // From the first to the last element: an expanded tensor spans less than numel() elements.
    let span = |t: &Tensor| {
        let start = t.data_ptr() as usize;
        let steps = t.size().into_iter().zip(t.stride());
        let last: i64 = steps.map(|(size, stride)| (size - 1).max(0) * stride).sum();
        let elements = if t.numel() == 0 { 0 } else { last as usize + 1 };
        start..start + elements * t.kind().elt_size_in_bytes()
    };
    for (i, a) in written.iter().enumerate() {
        for b in written[i + 1..].iter().chain(read) {
            if a.device() == Device::Cpu && b.device() == Device::Cpu {
                let (a, b) = (span(a), span(b));
                assert!(a.end <= b.start || b.end <= a.start, "two operands share memory");
            }
        }
    }
}

/// Number of partial sums, the same for every vector width, because the order of summation affects
/// the result.
const LANES: usize = 16;

#[inline(always)]
fn total(mut lanes: [f32; LANES], tail: f32) -> f32 {
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
pub(super) fn sum<T: Number>(numbers: &[T]) -> f32 {
    let mut lanes = [0.0; LANES];
    let chunks = numbers.chunks_exact(LANES);
    let tail = chunks.remainder().iter().map(|&x| x.into()).sum();
    for x in chunks {
        for i in 0..LANES {
            lanes[i] += x[i].into();
        }
    }
    total(lanes, tail)
}

#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] += x[i] * y[i];
        }
    }
    total(lanes, tail)
}
