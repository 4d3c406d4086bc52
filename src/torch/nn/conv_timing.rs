//! Chooses algorithm and layout of each shape's convolution on a GPU, by timing. Choices are kept in
//! the user's cache folder, because timing a network of many shapes takes seconds.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::conv_algorithm::{ConvAlgorithm, ConvChoice, ConvGrads, Window, backward, forward};
use crate::device;
use crate::ffi::cuda::synchronize;
use crate::ffi::cuda_graph::{Graph, GraphMemory};
use crate::ffi::{LIBTORCH, tf32_is_allowed};
use wninit_core::cache;
use wninit_core::console::warn;
use wninit_core::results::one_line;

/// The choices for one model of GPU: the file's contents.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Choices {
    /// The version of libtorch; another one may be fast elsewhere.
    libtorch: String,
    /// By all that the timings depend on.
    choices: BTreeMap<String, ConvChoice>,
}

impl Choices {
    fn file(gpu: &str) -> String {
        format!("convolutions-{}.json", cache::file_name(gpu))
    }

    /// Those of earlier runs; none if they cannot be read.
    fn load(gpu: &str) -> Choices {
        let read = || serde_json::from_str(&cache::read(&Choices::file(gpu))?).ok();
        let known = read().filter(|choices: &Choices| choices.libtorch == LIBTORCH);
        known.unwrap_or(Choices { libtorch: LIBTORCH.to_owned(), choices: BTreeMap::new() })
    }

    /// Warns once if that fails: shapes are then timed again next time.
    fn save(&self, gpu: &str) {
        static WARNING: Once = Once::new();
        let text = serde_json::to_string_pretty(self).expect("names and choices are JSON");
        if let Err(error) = cache::write(&Choices::file(gpu), &text) {
            WARNING.call_once(|| {
                let error = one_line(&error);
                warn([format!("choices of convolutions are not kept: {error}")]);
            });
        }
    }
}

/// The fastest algorithm and layout for a stack on a GPU. When a shape is first seen, each one is
/// timed, forward and backward, as a CUDA graph, as training runs it. An algorithm that fails, or that
/// spreads a member's infinities to its neighbours, is not used.
pub(crate) fn fastest(x: &Tensor, w: &Tensor, b: &Tensor, window: Window) -> ConvChoice {
    static KNOWN: Mutex<Option<HashMap<String, Choices>>> = Mutex::new(None);
    let Device::Cuda(gpu) = x.device() else { return ConvChoice::CPU };
    let model = device::model(x.device());
    let last = x.permute([0, 1, 3, 4, 2]).is_contiguous();
    let case = format!(
        "{:?} {:?}{}, x {:?}{}, w {:?}",
        window,
        x.kind(),
        if tf32_is_allowed() { " tf32" } else { "" },
        x.size(),
        if last { " channels last" } else { "" },
        w.size(),
    );
    // Held meanwhile: timings beside each other would disturb each other.
    let mut known = KNOWN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let known = known.get_or_insert_default();
    let known = known.entry(model.clone()).or_insert_with(|| Choices::load(&model));
    if let Some(choice) = known.choices.get(&case) {
        return *choice;
    }
    let choices = ConvChoice::GPU
        .into_iter()
        .filter(|choice| x.size()[0] > 1 || choice.algorithm == ConvAlgorithm::Dense);
    let timed = choices.filter_map(|choice| {
        // It may run out of memory or not support the shape.
        let time = || time(choice, gpu, x, w, b, window);
        catch_unwind(AssertUnwindSafe(time)).ok().flatten().map(|time| (time, choice))
    });
    let choice = timed.min_by_key(|(time, _)| *time).map_or(ConvChoice::CPU, |(_, choice)| choice);
    known.choices.insert(case, choice);
    known.save(&model);
    choice
}

/// The time of a forward and a backward pass; `None` if the algorithm mixes members.
fn time(
    choice: ConvChoice,
    gpu: usize,
    x: &Tensor,
    w: &Tensor,
    b: &Tensor,
    window: Window,
) -> Option<Duration> {
    const REPLAYS: u32 = 5;
    let passes = passes(choice, b, window);
    if mixes_members(&passes, x, w, b, window) {
        return None;
    }
    let pass = |x: &Tensor| passes(x, w);
    drop(pass(x)); // cuDNN chooses its kernels
    let recorded = GraphMemory::new(gpu).and_then(|memory| Graph::record(memory, || pass(x)));
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
    ConvChoice { algorithm, layout }: ConvChoice,
    b: &Tensor,
    window: Window,
) -> impl Fn(&Tensor, &Tensor) -> (Tensor, ConvGrads) {
    move |x, w| {
        let [x, w] = [x, w].map(|t| layout.of(t));
        let y = forward(algorithm, &x, &w, b, window);
        let grads = backward(algorithm, &y, &x, &w, window, true);
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
    use crate::ffi::conv2d::{self, Wanted};
    use crate::nn::conv_algorithm::tests::{choices, images, random};
    use crate::nn::conv_algorithm::{apart, side_by_side};
    use tch::Kind;

    #[test]
    fn an_algorithm_that_spreads_infinities_to_other_members_is_detected() {
        tch::set_num_threads(1);
        tch::manual_seed(6);
        let window = Window { kernel: 3, stride: 1 };
        let (x, w) = (images([3, 2, 4, 6, 6]), random(&[3, 4, 4, 3, 3]));
        let b = random(&[3, 4]);
        for choice in choices() {
            assert!(!mixes_members(&passes(choice, &b, window), &x, &w, &b, window), "{choice:?}");
        }
        // One dense convolution of all members with zero weights between members: correct for
        // finite numbers, but 0·∞ is NaN.
        let as_one = |x: &Tensor, w: &Tensor| {
            let zeros = Tensor::zeros([12, 12, 3, 3], (Kind::Double, x.device()));
            for m in 0..3 {
                zeros.narrow(0, 4 * m, 4).narrow(1, 4 * m, 4).copy_(&w.get(m));
            }
            let (x, b) = (side_by_side(x), b.flatten(0, 1));
            let y = conv2d::forward(&x, &zeros, Some(&b), window, 1);
            let grads = conv2d::backward(&y, &x, &zeros, window, 1, Wanted { dx: true, db: true });
            let own = |m: i64| grads.dw.narrow(0, 4 * m, 4).narrow(1, 4 * m, 4);
            let dw = Tensor::stack(&[own(0), own(1), own(2)], 0);
            let dx = grads.dx.map(|dx| apart(&dx, 3));
            (apart(&y, 3), ConvGrads { dx, dw, db: grads.db.unwrap().view([3, 4]) })
        };
        let (y, grads) = as_one(&x, &w);
        let (expected, theirs) = passes(ConvChoice::CPU, &b, window)(&x, &w);
        for (ours, theirs) in [(y, expected), (grads.dw, theirs.dw), (grads.db, theirs.db)] {
            assert!(f64::try_from((ours - theirs).abs().max()).unwrap() < 1e-10);
        }
        assert!(mixes_members(&as_one, &x, &w, &b, window), "zeros do not stop an infinity");
        // One result or gradient that is reached is enough.
        for part in 0..4 {
            let corrupted = |x: &Tensor, w: &Tensor| {
                let (y, grads) = passes(ConvChoice::CPU, &b, window)(x, w);
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
        assert!(!mixes_members(&passes(ConvChoice::CPU, &b, window), &x, &w, &b, window));
    }
}
