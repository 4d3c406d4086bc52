//! The eigenvalue of largest absolute value of symmetric matrices given by matrix-vector products,
//! for a stack of matrices at once.
//!
//! Vectors of a stack are `[member, n]`; one product serves all members. A member's result does not
//! depend on its neighbours or on when they converge.

use tch::{Kind, Tensor};
use wninit_core::results::CurvatureMethod;

/// Method, stopping rule and memory.
#[derive(Clone, Copy, Debug)]
pub struct SolverOptions {
    /// Lanczos' method (1950) with full re-orthogonalisation and thick restarts (Wu & Simon 2000), or
    /// power iteration.
    pub method: CurvatureMethod,
    /// Stops when `‖Hx − θx‖ ≤ tolerance·|θ|` for the estimate (θ, x), ‖x‖ = 1. An eigenvalue then
    /// lies within `tolerance·|θ|` of θ, usually much closer.
    pub tolerance: f64,
    /// The maximum number of products.
    pub max_iterations: u32,
    /// The maximum number of basis vectors per member in Lanczos' method, at least 4.
    pub basis: usize,
}

/// The result for one member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Eigen {
    /// The eigenvalue, with its sign; `None` if a product was not finite.
    pub value: Option<f64>,
    /// `‖Hx − θx‖`; `None` as `value`.
    pub residual: Option<f64>,
    /// The number of products.
    pub iterations: u32,
    /// Whether the residual met the tolerance.
    pub converged: bool,
}

impl Eigen {
    fn estimate(value: f64, residual: f64, iterations: u32, tolerance: f64) -> Eigen {
        if !value.is_finite() || !residual.is_finite() {
            return Eigen { value: None, residual: None, iterations, converged: false };
        }
        let converged = residual <= tolerance * value.abs();
        Eigen { value: Some(value), residual: Some(residual), iterations, converged }
    }
}

/// The minimum number of products of Lanczos' method: an early Ritz vector can have a small residual at
/// another eigenvalue than the largest one.
const LEAST: u32 = 8;

/// Relative differences below this are rounding errors of single precision.
const NOISE: f64 = 1e-6;

/// The eigenvalue of largest absolute value of each member's matrix. `start` is `[member, n]`, a
/// random vector for each member; `apply` multiplies `[member, n]` by the stack of matrices.
///
/// For a matrix of zeros it is 0, after one product.
pub fn dominant(
    start: &Tensor,
    options: &SolverOptions,
    apply: impl FnMut(&Tensor) -> Tensor,
) -> Vec<Eigen> {
    match options.method {
        CurvatureMethod::Lanczos => lanczos(start, options, apply),
        CurvatureMethod::Power => power(start, options, apply),
    }
}

/// `[member]`, summed in double precision.
fn dot(a: &Tensor, b: &Tensor) -> Tensor {
    (a * b).sum_dim_intlist(1, false, Kind::Double)
}

fn host(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.to_kind(Kind::Double).to_device(tch::Device::Cpu).contiguous().view(-1);
    Vec::try_from(flat).expect("a one-dimensional tensor of numbers")
}

/// `x / size`; 0 if the size is at most `floor` or not finite. `size` and `floor` are `[member]`.
fn scaled(x: &Tensor, size: &Tensor, floor: &Tensor) -> Tensor {
    let usable = size.gt_tensor(floor).logical_and(&size.isfinite());
    let factor = size.reciprocal().where_self(&usable, &size.zeros_like());
    let y = x * factor.to_kind(x.kind()).unsqueeze(1);
    // 0·NaN is NaN.
    y.where_self(&usable.unsqueeze(1), &x.zeros_like())
}

fn power(
    start: &Tensor,
    options: &SolverOptions,
    mut apply: impl FnMut(&Tensor) -> Tensor,
) -> Vec<Eigen> {
    let members = start.size()[0] as usize;
    let none = dot(start, start).zeros_like();
    let mut found: Vec<Option<Eigen>> = vec![None; members];
    let mut last = Vec::new();
    let mut x = scaled(start, &dot(start, start).sqrt(), &none);
    for iteration in 1..=options.max_iterations {
        let y = apply(&x);
        let theta = dot(&x, &y);
        let rest = &y - &x * theta.to_kind(x.kind()).unsqueeze(1);
        let (thetas, residuals) = (host(&theta), host(&dot(&rest, &rest).sqrt()));
        last = thetas
            .iter()
            .zip(&residuals)
            .map(|(&value, &rest)| Eigen::estimate(value, rest, iteration, options.tolerance))
            .collect();
        for (found, now) in found.iter_mut().zip(&last) {
            if found.is_none() && (now.converged || now.value.is_none()) {
                *found = Some(*now);
            }
        }
        if found.iter().all(Option::is_some) {
            break;
        }
        x = scaled(&y, &dot(&y, &y).sqrt(), &none);
    }
    found.into_iter().zip(last).map(|(found, last)| found.unwrap_or(last)).collect()
}

struct Ritz {
    /// The Ritz value of largest absolute value.
    value: f64,
    /// The last component of its vector, in absolute value.
    last: f64,
    /// All Ritz values and vectors `[k]`, sorted by decreasing absolute value.
    pairs: Vec<(f64, Vec<f64>)>,
}

/// The Ritz pairs of the leading `size × size` block of a projected matrix; `None` if not finite.
fn ritz(matrix: &[Vec<f64>], size: usize) -> Option<Ritz> {
    let flat: Vec<f64> =
        matrix[..size].iter().flat_map(|row| row[..size].iter().copied()).collect();
    if !flat.iter().all(|x| x.is_finite()) {
        return None;
    }
    let size = size as i64;
    let (values, vectors) = Tensor::from_slice(&flat).view([size, size]).linalg_eigh("L");
    let (values, vectors) = (host(&values), host(&vectors.tr()));
    let rows = vectors.chunks(size as usize).map(<[f64]>::to_vec);
    let mut pairs: Vec<(f64, Vec<f64>)> = values.into_iter().zip(rows).collect();
    pairs.sort_by(|a, b| b.0.abs().total_cmp(&a.0.abs()));
    let (value, vector) = pairs.first()?;
    Some(Ritz { value: *value, last: vector.last()?.abs(), pairs })
}

fn lanczos(
    start: &Tensor,
    options: &SolverOptions,
    mut apply: impl FnMut(&Tensor) -> Tensor,
) -> Vec<Eigen> {
    let [members, n] = start.size()[..] else { panic!("a stack of vectors has two axes") };
    let limit = options.basis.max(4).min(n.max(1) as usize);
    let none = dot(start, start).zeros_like();
    // The orthonormal basis, [member, vector, n], including the next vector.
    let basis = Tensor::zeros([members, limit as i64 + 1, n], (start.kind(), start.device()));
    basis.select(1, 0).copy_(&scaled(start, &dot(start, start).sqrt(), &none));
    // Each member's matrix in this basis.
    let mut projected = vec![vec![vec![0.0; limit]; limit]; members as usize];
    let mut found: Vec<Option<Eigen>> = vec![None; members as usize];
    let mut last = Vec::new();
    let mut known = 0;
    for iteration in 1..=options.max_iterations {
        let mut w = apply(&basis.select(1, known as i64));
        known += 1;
        let vectors = basis.narrow(1, 0, known as i64);
        let mut column = Tensor::zeros([members, known as i64], (Kind::Double, start.device()));
        // Twice is enough (Giraud, Langou & Rozložník 2005).
        for _ in 0..2 {
            let part = vectors.bmm(&w.unsqueeze(2));
            w -= vectors.transpose(1, 2).bmm(&part).squeeze_dim(2);
            column += part.squeeze_dim(2).to_kind(Kind::Double);
        }
        let beta = dot(&w, &w).sqrt();
        let (column, betas) = (host(&column), host(&beta));
        let ritz: Vec<Option<Ritz>> = projected
            .iter_mut()
            .zip(column.chunks(known))
            .map(|(matrix, column)| {
                for (j, &x) in column.iter().enumerate() {
                    matrix[j][known - 1] = x;
                    matrix[known - 1][j] = x;
                }
                ritz(matrix, known)
            })
            .collect();
        // If beta is not larger, the basis spans an invariant subspace.
        let floors: Vec<f64> =
            ritz.iter().map(|ritz| ritz.as_ref().map_or(0.0, |r| NOISE * r.value.abs())).collect();
        last = ritz
            .iter()
            .zip(&betas)
            .map(|(ritz, beta)| match ritz {
                Some(r) => Eigen::estimate(r.value, beta * r.last, iteration, options.tolerance),
                None => Eigen::estimate(f64::NAN, *beta, iteration, options.tolerance),
            })
            .collect();
        for (m, now) in last.iter().enumerate() {
            let exhausted = betas[m] <= floors[m] || known as i64 == n;
            let judged = iteration >= LEAST || exhausted;
            if found[m].is_none() && (now.value.is_none() || exhausted || judged && now.converged) {
                found[m] = Some(*now);
            }
        }
        if found.iter().all(Option::is_some) {
            break;
        }
        let floors = Tensor::from_slice(&floors).to_device(start.device());
        let next = scaled(&w, &beta, &floors);
        if known < limit {
            basis.select(1, known as i64).copy_(&next);
            continue;
        }
        // Restart from the best Ritz vectors. They and the next vector are orthonormal; the next
        // product gives their coupling.
        let keep = limit / 2;
        let mut combine = Vec::with_capacity(members as usize * keep * known);
        for (matrix, ritz) in projected.iter_mut().zip(&ritz) {
            matrix.iter_mut().for_each(|row| row.fill(0.0));
            for (i, row) in matrix.iter_mut().enumerate().take(keep) {
                match ritz {
                    Some(r) => {
                        row[i] = r.pairs[i].0;
                        combine.extend_from_slice(&r.pairs[i].1);
                    }
                    None => combine.resize(combine.len() + known, 0.0),
                }
            }
        }
        let combine = Tensor::from_slice(&combine)
            .view([members, keep as i64, known as i64])
            .to_kind(start.kind())
            .to_device(start.device());
        let kept = combine.bmm(&basis.narrow(1, 0, known as i64));
        basis.narrow(1, 0, keep as i64).copy_(&kept);
        basis.select(1, keep as i64).copy_(&next);
        known = keep;
    }
    found.into_iter().zip(last).map(|(found, last)| found.unwrap_or(last)).collect()
}
