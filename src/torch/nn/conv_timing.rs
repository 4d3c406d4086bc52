//! Chooses the convolution algorithm for each shape on a GPU, by timing.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tch::{Device, Tensor};

use super::conv_algorithm::{ConvAlgorithm, ConvGrads, Window, backward, forward};
use crate::ffi::cuda::synchronize;
use crate::ffi::cuda_graph::{Graph, GraphMemory};

/// The properties that the timings depend on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TimingKey {
    gpu: usize,
    kind: String,
    x: Vec<i64>,
    w: Vec<i64>,
    window: Window,
    tf32: bool,
}

/// The fastest algorithm for a stack on a GPU. When a shape is first seen, each one is timed,
/// forward and backward, as a CUDA graph, as training runs it. An algorithm that fails, or that
/// spreads a member's infinities to its neighbours, is not used.
pub(crate) fn fastest(x: &Tensor, w: &Tensor, b: &Tensor, window: Window) -> ConvAlgorithm {
    static KNOWN: Mutex<Option<HashMap<TimingKey, ConvAlgorithm>>> = Mutex::new(None);
    let Device::Cuda(gpu) = x.device() else { return ConvAlgorithm::Dense };
    if x.size()[0] == 1 {
        return ConvAlgorithm::Dense;
    }
    let kind = format!("{:?}", x.kind());
    let tf32 = crate::ffi::tf32_is_allowed();
    let case = TimingKey { gpu, kind, x: x.size(), w: w.size(), window, tf32 };
    let mut known = KNOWN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let known = known.get_or_insert_default();
    *known.entry(case).or_insert_with(|| {
        let timed = ConvAlgorithm::ALL.into_iter().filter_map(|algorithm| {
            // It may run out of memory or not support the shape.
            let time = || time(algorithm, gpu, x, w, b, window);
            catch_unwind(AssertUnwindSafe(time)).ok().flatten().map(|time| (time, algorithm))
        });
        timed.min_by_key(|(time, _)| *time).map_or(ConvAlgorithm::Dense, |(_, algorithm)| algorithm)
    })
}

/// The time of a forward and a backward pass; `None` if the algorithm mixes members.
fn time(
    algorithm: ConvAlgorithm,
    gpu: usize,
    x: &Tensor,
    w: &Tensor,
    b: &Tensor,
    window: Window,
) -> Option<Duration> {
    const REPLAYS: u32 = 5;
    let passes = passes(algorithm, b, window);
    if mixes_members(&passes, x, w, b, window) {
        return None;
    }
    let pass = |x: &Tensor| passes(x, w);
    drop(pass(x)); // cuDNN chooses its kernels
    let recorded = GraphMemory::new().and_then(|memory| Graph::record(memory, || pass(x)));
    let run = || match &recorded {
        Ok((graph, _)) => graph.replay(),
        Err(_) => drop(pass(x)),
    };
    run();
    synchronize(gpu);
    let started = Instant::now();
    (0..REPLAYS).for_each(|_| run());
    synchronize(gpu);
    Some(started.elapsed() / REPLAYS)
}

/// A forward and a backward pass from `x` and `w`, with dy = y.
type Passes<'a> = dyn Fn(&Tensor, &Tensor) -> (Tensor, ConvGrads) + 'a;

fn passes(
    algorithm: ConvAlgorithm,
    b: &Tensor,
    window: Window,
) -> impl Fn(&Tensor, &Tensor) -> (Tensor, ConvGrads) {
    move |x, w| {
        let y = forward(algorithm, x, w, b, window);
        let grads = backward(algorithm, &y, x, w, window, true);
        (y, grads)
    }
}

/// Whether non-finite values of the first member reach others: 0·∞ is NaN where members are packed
/// into one product.
fn mixes_members(passes: &Passes, x: &Tensor, w: &Tensor, b: &Tensor, window: Window) -> bool {
    let (x, w) = (x.copy(), w.copy());
    let _ = x.select(0, 0).fill_(f64::INFINITY);
    let _ = w.select(0, 0).fill_(f64::NAN);
    let (y, ConvGrads { dx, dw, db }) = passes(&x, &w);
    let others = x.size()[0] - 1;
    let expected = forward(ConvAlgorithm::Dense, &x, &w, b, window);
    let as_it_was = |t: &Tensor| t.narrow(0, 1, others).isfinite().all();
    let was_finite = as_it_was(&expected);
    let is_finite = [Some(y), dx, Some(dw), Some(db)]
        .iter()
        .flatten()
        .fold(as_it_was(&expected), |all, t| all.logical_and(&as_it_was(t)));
    i64::try_from(was_finite).ok() != i64::try_from(is_finite).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ffi::conv2d;
    use crate::nn::conv_algorithm::tests::{algorithms, images, random};
    use crate::nn::conv_algorithm::{apart, side_by_side};
    use tch::Kind;

    #[test]
    fn an_algorithm_that_spreads_infinities_to_other_members_is_detected() {
        tch::set_num_threads(1);
        tch::manual_seed(6);
        let window = Window { kernel: 3, stride: 1 };
        let (x, w) = (images([3, 2, 4, 6, 6]), random(&[3, 4, 4, 3, 3]));
        let b = random(&[3, 4]);
        for algorithm in algorithms() {
            assert!(
                !mixes_members(&passes(algorithm, &b, window), &x, &w, &b, window),
                "{algorithm:?}"
            );
        }
        // One dense convolution of all members with zero weights between members: correct for
        // finite numbers, but 0·∞ is NaN.
        let as_one = |x: &Tensor, w: &Tensor| {
            let zeros = Tensor::zeros([12, 12, 3, 3], (Kind::Double, x.device()));
            for m in 0..3 {
                zeros.narrow(0, 4 * m, 4).narrow(1, 4 * m, 4).copy_(&w.get(m));
            }
            let (x, b) = (side_by_side(x), b.flatten(0, 1));
            let y = conv2d::forward(&x, &zeros, &b, window, 1);
            let grads = conv2d::backward(&y, &x, &zeros, window, 1, true);
            let own = |m: i64| grads.dw.narrow(0, 4 * m, 4).narrow(1, 4 * m, 4);
            let dw = Tensor::stack(&[own(0), own(1), own(2)], 0);
            let dx = grads.dx.map(|dx| apart(&dx, 3));
            (apart(&y, 3), ConvGrads { dx, dw, db: grads.db.view([3, 4]) })
        };
        let (y, grads) = as_one(&x, &w);
        let (expected, theirs) = passes(ConvAlgorithm::Dense, &b, window)(&x, &w);
        for (ours, theirs) in [(y, expected), (grads.dw, theirs.dw), (grads.db, theirs.db)] {
            assert!(f64::try_from((ours - theirs).abs().max()).unwrap() < 1e-10);
        }
        assert!(mixes_members(&as_one, &x, &w, &b, window), "zeros do not stop an infinity");
        // One result or gradient that is reached is enough.
        for part in 0..4 {
            let corrupted = |x: &Tensor, w: &Tensor| {
                let (y, grads) = passes(ConvAlgorithm::Dense, &b, window)(x, w);
                let dx = grads.dx.as_ref().unwrap();
                let mut reached = [&y, dx, &grads.dw, &grads.db][part].get(2);
                while reached.dim() > 0 {
                    reached = reached.get(0);
                }
                let _ = reached.fill_(f64::NAN);
                (y, grads)
            };
            assert!(mixes_members(&corrupted, &x, &w, &b, window), "part {part}");
        }
        // A neighbour that is not finite by itself does not count.
        let _ = w.select(0, 2).fill_(f64::NAN);
        assert!(!mixes_members(&passes(ConvAlgorithm::Dense, &b, window), &x, &w, &b, window));
    }
}
