//! Bias and ReLU of linear layers, and their backward pass.

use multiversion::multiversion;
use tch::{Device, Kind, Tensor};

use super::cpu::{Number, assert_disjoint, one_pass, slice, slice_mut, sum};

/// `z + b`, then a ReLU if `relu`; `z [member, out, batch]`, `b [member, out]`. Reuses `z`'s memory.
/// A NaN stays a NaN.
pub(crate) fn add_bias(mut z: Tensor, b: &Tensor, relu: bool) -> Tensor {
    assert_eq!((z.dim(), b.size()), (3, z.size()[..2].to_vec()), "a bias for each row");
    assert_disjoint(&[&z], &[b]);
    if one_pass!(T, &[&z, b], add_bias_pass::<T>(slice_mut(&mut z), slice(b), relu)).is_some() {
        z
    } else if z.requires_grad() {
        let z = z + b.unsqueeze(2);
        if relu { z.relu() } else { z }
    } else {
        let mut z = z.g_add_(&b.unsqueeze(2));
        if relu { z.relu_() } else { z }
    }
}

/// The backward pass of [`add_bias`]: `(dz, db)` from `dy` and, if there was a ReLU, its result `y`.
/// Reuses `dy`'s memory; `db` has at least 32 bits.
pub(crate) fn add_bias_backward(mut dy: Tensor, y: Option<&Tensor>) -> (Tensor, Tensor) {
    fn backward<T: Number>(dy: &mut Tensor, y: Option<&Tensor>) -> Tensor {
        let size = dy.size();
        let mut db = Tensor::empty(&size[..2], (Kind::Float, Device::Cpu));
        match y {
            Some(y) => relu_backward_pass::<T>(slice_mut(dy), slice(y), slice_mut(&mut db)),
            None => row_sums_pass::<T>(slice(dy), slice_mut(&mut db)),
        }
        db
    }
    assert_eq!(dy.dim(), 3, "a gradient is [member, out, batch]");
    if let Some(y) = y {
        assert_eq!(y.size(), dy.size(), "a gradient for each result");
        assert_disjoint(&[&dy], &[y]);
    }
    if let Some(db) = one_pass!(T, &[&dy, y.unwrap_or(&dy)], backward::<T>(&mut dy, y)) {
        return (dy, db);
    }
    let dz = match y {
        Some(y) => y.threshold_backward(&dy, 0),
        None => dy,
    };
    let kind = if dz.kind() == Kind::Double { Kind::Double } else { Kind::Float };
    let db = dz.sum_dim_intlist(2, false, kind);
    (dz, db)
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw", "x86_64+avx2"))]
fn add_bias_pass<T: Number>(z: &mut [T], b: &[T], relu: bool) {
    let width = z.len() / b.len();
    for (row, &b) in z.chunks_exact_mut(width).zip(b) {
        let b: f32 = b.into();
        if relu {
            for z in row {
                let sum = (*z).into() + b;
                *z = T::round(if sum < 0.0 { 0.0 } else { sum });
            }
        } else {
            row.iter_mut().for_each(|z| *z = T::round((*z).into() + b));
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw", "x86_64+avx2"))]
fn relu_backward_pass<T: Number>(dy: &mut [T], y: &[T], db: &mut [f32]) {
    let width = dy.len() / db.len();
    for ((dy, y), db) in dy.chunks_exact_mut(width).zip(y.chunks_exact(width)).zip(db) {
        for (dy, &y) in dy.iter_mut().zip(y) {
            *dy = T::round(if y.into() <= 0.0 { 0.0 } else { (*dy).into() });
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
