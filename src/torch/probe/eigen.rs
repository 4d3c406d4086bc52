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

/// `x / size`; 0 where the size is at most `floor` or not finite. `size` and `floor` are `[member]`.
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
    /// All Ritz values and vectors `[k]`, in falling order of absolute value.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::init;
    use rand_distr::StandardNormal;
    use tch::Device;
    use wninit_core::rng;

    const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

    fn gaussian(n: i64, seed: u64) -> Tensor {
        init::numbers(StandardNormal, rng::stream(seed, "gaussian", 0), n as usize)
    }

    fn options(method: CurvatureMethod) -> SolverOptions {
        SolverOptions { method, tolerance: 1e-3, max_iterations: 500, basis: 24 }
    }

    /// A symmetric matrix with these eigenvalues, in a random basis.
    fn symmetric(spectrum: &[f64], seed: u64) -> Tensor {
        let n = spectrum.len() as i64;
        let square = gaussian(n * n, seed).view([n, n]).to_kind(Kind::Double);
        let (q, _) = Tensor::linalg_qr(&square, "reduced");
        let values = Tensor::from_slice(spectrum);
        (&q * values.unsqueeze(0)).matmul(&q.tr()).to_kind(Kind::Float)
    }

    /// The dominant eigenvalues of matrices of one size, as a stack.
    fn solve(matrices: &[Tensor], options: &SolverOptions) -> Vec<Eigen> {
        let stack = Tensor::stack(matrices, 0);
        let n = stack.size()[1];
        // A member's start depends on its matrix alone.
        let starts: Vec<Tensor> = matrices
            .iter()
            .map(|matrix| gaussian(n, (matrix.double_value(&[0, 0]).abs() * 1e6) as u64))
            .collect();
        dominant(&Tensor::stack(&starts, 0), options, |x| stack.bmm(&x.unsqueeze(2)).squeeze_dim(2))
    }

    /// 300 eigenvalues between -1 and 1 and these.
    fn spectrum(outliers: &[f64]) -> Vec<f64> {
        let bulk = (0..300).map(|i| f64::from(i) / 150.0 - 1.0);
        bulk.chain(outliers.iter().copied()).collect()
    }

    fn assert_near(found: &Eigen, expected: f64) {
        let value = found.value.unwrap_or(f64::NAN);
        assert!((value - expected).abs() <= 1e-3 * expected.abs(), "{found:?}, not {expected}");
        assert!(found.converged, "{found:?}");
    }

    #[test]
    fn both_methods_find_the_eigenvalue_of_largest_absolute_value_with_its_sign() {
        for method in [CurvatureMethod::Lanczos, CurvatureMethod::Power] {
            for (seed, largest) in [(1, 5.0), (2, -5.0)] {
                let matrix = symmetric(&spectrum(&[largest, 3.0]), seed);
                assert_near(&solve(&[matrix], &options(method))[0], largest);
            }
        }
    }

    #[test]
    fn nearly_equal_eigenvalues_are_solved() {
        for pair in [[5.0, 4.9995], [5.0, 5.0], [-5.0, -4.9995]] {
            for method in [CurvatureMethod::Lanczos, CurvatureMethod::Power] {
                let found = solve(&[symmetric(&spectrum(&pair), 3)], &options(method));
                assert_near(&found[0], pair[0]);
            }
        }
        // Opposite signs are far apart for Lanczos' method; power iteration cannot separate them.
        let opposite = [symmetric(&spectrum(&[5.0, -4.99]), 4)];
        assert_near(&solve(&opposite, &options(CurvatureMethod::Lanczos))[0], 5.0);
        assert!(!solve(&opposite, &options(CurvatureMethod::Power))[0].converged);
    }

    #[test]
    fn a_slowly_falling_spectrum_is_solved_through_many_restarts() {
        let spectrum: Vec<f64> = (1..400).map(|i| -1.0 / f64::from(i).sqrt()).collect();
        let small = SolverOptions { basis: 6, ..options(CurvatureMethod::Lanczos) };
        let found = solve(&[symmetric(&spectrum, 5)], &small);
        assert_near(&found[0], -1.0);
        assert!(found[0].iterations > 6, "{found:?}");
    }

    #[test]
    fn a_hessian_of_zeros_has_the_spectral_norm_0() {
        for method in [CurvatureMethod::Lanczos, CurvatureMethod::Power] {
            let found = solve(&[Tensor::zeros([50, 50], CPU)], &options(method));
            let zero =
                Eigen { value: Some(0.0), residual: Some(0.0), iterations: 1, converged: true };
            assert_eq!(found, [zero]);
        }
    }

    #[test]
    fn the_smallest_matrices_are_solved_exactly() {
        for n in 1..6 {
            let spectrum: Vec<f64> = (0..n).map(|i| f64::from(i) - 3.5).collect();
            let found = solve(&[symmetric(&spectrum, 6)], &options(CurvatureMethod::Lanczos));
            assert_near(&found[0], -3.5);
        }
    }

    #[test]
    fn a_member_of_a_stack_equals_itself_alone_even_beside_zeros_and_infinities() {
        let one = symmetric(&spectrum(&[5.0]), 7);
        let other = symmetric(&spectrum(&[-2.0]), 8);
        let zero = one.zeros_like();
        let infinite = &one * f64::INFINITY;
        for method in [CurvatureMethod::Lanczos, CurvatureMethod::Power] {
            let options = options(method);
            let stack = [&one, &zero, &infinite, &other].map(Tensor::shallow_clone);
            let together = solve(&stack, &options);
            for (m, matrix) in stack.iter().enumerate() {
                let alone = solve(&[matrix.shallow_clone()], &options)[0];
                let (a, b) = (alone.value, together[m].value);
                let near = |(a, b): (f64, f64)| (a - b).abs() <= 1e-4 * a.abs();
                assert!(a.zip(b).is_none_or(near) && a.is_some() == b.is_some(), "{a:?} {b:?}");
                assert_eq!(alone.converged, together[m].converged);
            }
            assert_eq!((together[2].value, together[2].converged), (None, false));
        }
    }

    #[test]
    fn an_estimate_that_did_not_converge_is_marked() {
        let few = SolverOptions { max_iterations: 3, ..options(CurvatureMethod::Lanczos) };
        let found = solve(&[symmetric(&spectrum(&[]), 9)], &few);
        assert_eq!((found[0].converged, found[0].iterations), (false, 3));
    }
}
