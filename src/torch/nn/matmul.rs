//! Matrix products of a stack, one per member.

use std::sync::Once;

use gemm_common::Parallelism;
use gemm_common::gemm::set_lhs_packing_threshold_single_thread;
use gemm_f32::gemm::f32::get_gemm_fn;
use tch::{Device, Kind, Tensor};

use crate::ffi::emulates_bf16;

/// A matrix in memory: its first element, and the strides of rows and columns.
#[derive(Clone, Copy)]
struct Matrix {
    start: *const f32,
    row: isize,
    column: isize,
}

impl Matrix {
    fn transposed(self) -> Matrix {
        Matrix { row: self.column, column: self.row, ..self }
    }
}

/// Whether the `gemm` crate can multiply the stack in place: fp32 on the CPU, outside of autograd.
fn fits(stack: &Tensor) -> bool {
    stack.device() == Device::Cpu && stack.kind() == Kind::Float && !stack.requires_grad()
}

/// Member `m` of a stack `[member, rows, columns]` that [`fits`].
fn member(stack: &Tensor, m: i64) -> Matrix {
    let [next, row, column] = stack.stride()[..] else {
        panic!("a stack of matrices has three axes")
    };
    let start = stack.data_ptr() as *const f32;
    // SAFETY: member `m` begins so many elements after the stack.
    let start = unsafe { start.offset((m * next) as isize) };
    Matrix { start, row: row as isize, column: column as isize }
}

/// `to = a·b` for `a [n, k]`, `b [k, m]` and contiguous `to [n, m]`.
///
/// # Safety
/// `a` and `b` are matrices of these sizes.
unsafe fn product(to: &mut [f32], [n, k, m]: [usize; 3], a: Matrix, b: Matrix) {
    // Read well-laid-out operands in place: packing a batch's activations takes 5 % of the product's
    // time. The threshold is in multiples of the kernel's width.
    static READ_IN_PLACE: Once = Once::new();
    READ_IN_PLACE.call_once(|| set_lhs_packing_threshold_single_thread(128));
    assert_eq!(to.len(), n * m);
    // The kernels write columns: `toᵀ = bᵀ·aᵀ`, unless `to` is a column.
    let (rows, columns, step, left, right) = match m {
        1 => (n, m, 1, a, b),
        _ => (m, n, m, b.transposed(), a.transposed()),
    };
    // SAFETY: the caller guarantees the operands; `to` was checked.
    unsafe {
        get_gemm_fn()(
            rows,
            columns,
            k,
            to.as_mut_ptr(),
            step as isize,
            1,
            false,
            left.start,
            left.column,
            left.row,
            right.start,
            right.column,
            right.row,
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// The size `[member, n, m]` of the product of `a [member, n, k]` and `b [member, k, m]`.
fn product_size(a: &Tensor, b: &Tensor) -> [i64; 3] {
    match (&a.size()[..], &b.size()[..]) {
        (&[members, n, k], &[as_many, same, m]) if members == as_many && k == same => {
            [members, n, m]
        }
        (a, b) => panic!("stacks of matrices {a:?} and {b:?} cannot be multiplied"),
    }
}

/// `a·b` for each member: `[member, n, k]` and `[member, k, m]` to `[member, n, m]`. A member's
/// result does not depend on its index in the stack.
///
/// # Panics
/// If the shapes do not match, or memory runs out, with libtorch's message.
pub(crate) fn multiply(a: &Tensor, b: &Tensor) -> Tensor {
    let [members, n, m] = product_size(a, b);
    let k = a.size()[2];
    if emulates_bf16(a) && emulates_bf16(b) {
        let [a, b] = [a, b].map(|t| t.to_kind(Kind::Float));
        return multiply(&a, &b).to_kind(Kind::BFloat16);
    }
    if fits(a) && fits(b) {
        let result = Tensor::empty([members, n, m], (Kind::Float, Device::Cpu));
        let size = [n, k, m].map(|size| size as usize);
        for i in 0..members {
            let start = result.data_ptr() as *mut f32;
            // SAFETY: the result is new, contiguous, and has a part of n·m for each member; the
            // operands have these sizes.
            unsafe {
                let to = std::slice::from_raw_parts_mut(
                    start.offset((i * n * m) as isize),
                    size[0] * size[2],
                );
                product(to, size, member(a, i), member(b, i));
            }
        }
        return result;
    }
    // See `faults::ALIGNED_PRODUCT`. A single network's operands are always aligned to 64 bytes;
    // members that would not be are copied.
    let aligned = |numel: i64| numel * a.kind().elt_size_in_bytes() as i64 % 64 == 0;
    let by_mkl = a.device() == Device::Cpu && a.kind() != Kind::BFloat16;
    if members == 1 || !by_mkl || [n * k, k * m, n * m].into_iter().all(aligned) {
        return a.bmm(b);
    }
    let products: Vec<Tensor> =
        (0..members).map(|i| a.narrow(0, i, 1).copy().bmm(&b.narrow(0, i, 1).copy())).collect();
    Tensor::cat(&products, 0)
}

/// The gradient `dw = dz·x` of a weight, `[member, out, in]`, not yet computed. It can be computed
/// some rows at a time, so that they are used while in the cache.
#[derive(Clone, Copy)]
pub(crate) struct WeightGradient<'t> {
    /// `[member, out, batch]`.
    pub dz: &'t Tensor,
    /// `[member, batch, in]`.
    pub x: &'t Tensor,
}

impl WeightGradient<'_> {
    /// Whether [`WeightGradient::rows`] is supported.
    pub(crate) fn comes_in_rows(&self) -> bool {
        fits(self.dz) && fits(self.x)
    }

    /// `[member, out, in]`.
    ///
    /// # Panics
    /// If the operands' shapes do not match.
    pub(crate) fn size(&self) -> [i64; 3] {
        product_size(self.dz, self.x)
    }

    pub(crate) fn whole(&self) -> Tensor {
        multiply(self.dz, self.x)
    }

    /// Writes the rows of member `m` from `first` on to `to`, as many as it holds.
    ///
    /// # Panics
    /// If there are fewer, or the operands' shapes do not match.
    pub(crate) fn rows(&self, m: usize, first: usize, to: &mut [f32]) {
        let [members, outputs, inputs] = self.size().map(|size| size as usize);
        let batch = self.x.size()[1] as usize;
        let count = to.len() / inputs;
        assert!(self.comes_in_rows(), "rows are computed in fp32 on the CPU only");
        assert!(m < members && first <= outputs && count <= outputs - first, "not as many rows");
        let dz = member(self.dz, m as i64);
        // SAFETY: row `first` exists.
        let start = unsafe { dz.start.offset(first as isize * dz.row) };
        // SAFETY: both have the batch as their inner axis.
        unsafe {
            product(to, [count, batch, inputs], Matrix { start, ..dz }, member(self.x, m as i64));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

    #[test]
    fn a_members_product_does_not_depend_on_its_index_in_the_stack() {
        tch::set_num_threads(1);
        tch::manual_seed(12);
        let random = |kind: Kind, [rows, columns]: [i64; 2], transposed: bool| {
            let stored = if transposed { [columns, rows] } else { [rows, columns] };
            let t = Tensor::randn([3, stored[0], stored[1]], CPU).to_kind(kind);
            if transposed { t.transpose(1, 2) } else { t }
        };
        // Few members of these are aligned to 64 bytes.
        let sizes =
            [[1, 7, 3], [3, 500, 1], [5, 3, 11], [17, 33, 9], [10, 500, 127], [93, 784, 35]];
        for kind in [Kind::Float, Kind::BFloat16, Kind::Double] {
            for [n, k, m] in sizes {
                for (left, right) in [(false, false), (true, false), (false, true)] {
                    let (a, b) = (random(kind, [n, k], left), random(kind, [k, m], right));
                    let stack = multiply(&a, &b);
                    for i in 0..3 {
                        let [a, b] = [&a, &b].map(|t| t.narrow(0, i, 1).copy());
                        assert!(
                            multiply(&a, &b).equal(&stack.narrow(0, i, 1)),
                            "{kind:?}, {n}×{k}·{k}×{m}, member {i}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn operands_of_wrong_shapes_and_rows_out_of_range_are_rejected() {
        let zeros = |size: &[i64]| Tensor::zeros(size, CPU);
        let rejects = |work: &dyn Fn(), message: &str| {
            let work = std::panic::AssertUnwindSafe(work);
            let panic = std::panic::catch_unwind(work).unwrap_err();
            let text = crate::train::failure::panic_message(&*panic);
            assert!(text.contains(message), "{text}");
        };
        for (a, b) in [([3, 4, 5], [2, 5, 6]), ([3, 4, 500], [3, 5, 6])] {
            rejects(&|| drop(multiply(&zeros(&a), &zeros(&b))), "cannot be multiplied");
        }
        for (dz, x, first, count, message) in [
            ([2, 3, 400], [2, 4, 5], 0, 1, "cannot be multiplied"),
            ([2, 3, 4], [1, 4, 5], 0, 1, "cannot be multiplied"),
            ([2, 3, 4], [2, 4, 5], 2, 2, "not as many rows"),
        ] {
            let (dz, x) = (zeros(&dz), zeros(&x));
            let gradient = WeightGradient { dz: &dz, x: &x };
            rejects(&|| gradient.rows(1, first, &mut vec![0.0; 5 * count]), message);
        }
    }
}
