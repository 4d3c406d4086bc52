//! A stack of 2-d convolutions, each member's with its own weights, in several ways.
//!
//! Images are `[member, batch, channel, height, width]`, and lie in memory as
//! `[member, batch, height, width, channel]` (channels last). On a CPU a dense convolution after
//! the other is the fastest way and makes a member's result independent of its neighbours to the
//! last bit. On a GPU it depends on the shape, so the ways are timed on each.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::ffi::conv2d;
pub(crate) use crate::ffi::conv2d::Window;
use crate::ffi::cuda::{Graph, GraphMemory, Lanes, synchronize};

/// How to convolve a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConvAlgorithm {
    /// A dense convolution for each member, one after the other.
    Dense,
    /// The same on streams beside each other.
    Lanes,
    /// One convolution in which each member is a group of channels.
    Grouped,
    /// A batched product with the patches of the images (im2col).
    Patches,
}

impl ConvAlgorithm {
    const ALL: [ConvAlgorithm; 4] = [
        ConvAlgorithm::Dense,
        ConvAlgorithm::Lanes,
        ConvAlgorithm::Grouped,
        ConvAlgorithm::Patches,
    ];
}

/// The gradients of a stack of convolutions.
pub(crate) struct ConvGrads {
    /// `[member, batch, in, height, width]`, if asked for.
    pub dx: Option<Tensor>,
    /// `[member, out, in, kernel, kernel]`.
    pub dw: Tensor,
    /// `[member, out]`.
    pub db: Tensor,
}

/// `x [member, batch, in, h, w]` with `w [member, out, in, k, k]` and `b [member, out]`.
pub(crate) fn forward(
    algorithm: ConvAlgorithm,
    x: &Tensor,
    w: &Tensor,
    b: &Tensor,
    window: Window,
) -> Tensor {
    let members = x.size()[0];
    let dense = |m: i64| {
        let [x, w, b] = [x, w, b].map(|t| t.select(0, m));
        conv2d::forward(&x, &w, &b, window, 1)
    };
    match algorithm {
        ConvAlgorithm::Dense => stack((0..members).map(dense).collect()),
        ConvAlgorithm::Lanes => stack(on_lanes(x.device(), members, dense)),
        ConvAlgorithm::Grouped => {
            let (w, b) = (w.flatten(0, 1), b.flatten(0, 1));
            let y = conv2d::forward(&side_by_side(x), &w, &b, window, members);
            apart(&y, members)
        }
        ConvAlgorithm::Patches => {
            let (patches, [height, width]) = patches(x, window);
            let (w, batch) = (as_matrices(w), x.size()[1]);
            let y = b.unsqueeze(1).baddbmm(&patches, &w.transpose(1, 2), 1, 1);
            y.view([members, batch, height, width, -1]).permute([0, 1, 4, 2, 3])
        }
    }
}

/// The gradients from that of the result.
pub(crate) fn backward(
    algorithm: ConvAlgorithm,
    dy: &Tensor,
    x: &Tensor,
    w: &Tensor,
    window: Window,
    need_dx: bool,
) -> ConvGrads {
    let kernel = window.kernel;
    let members = x.size()[0];
    let dense = |m: i64| {
        let [dy, x, w] = [dy, x, w].map(|t| t.select(0, m));
        conv2d::backward(&dy, &x, &w, window, 1, need_dx)
    };
    let stacked = |members: Vec<conv2d::Conv2dGrads>| {
        let (mut dxs, mut dws, mut dbs) = (Vec::new(), Vec::new(), Vec::new());
        for grads in members {
            dxs.extend(grads.dx);
            dws.push(grads.dw);
            dbs.push(grads.db);
        }
        ConvGrads { dx: need_dx.then(|| stack(dxs)), dw: stack(dws), db: stack(dbs) }
    };
    match algorithm {
        ConvAlgorithm::Dense => stacked((0..members).map(dense).collect()),
        ConvAlgorithm::Lanes => stacked(on_lanes(x.device(), members, dense)),
        ConvAlgorithm::Grouped => {
            let (x, dy, ws) = (side_by_side(x), side_by_side(dy), w.flatten(0, 1));
            let grads = conv2d::backward(&dy, &x, &ws, window, members, need_dx);
            ConvGrads {
                dx: grads.dx.map(|dx| apart(&dx, members)),
                dw: grads.dw.view_as(w),
                db: grads.db.view([members, -1]),
            }
        }
        ConvAlgorithm::Patches => {
            let (patches, size) = patches(x, window);
            let dy = dy.permute([0, 1, 3, 4, 2]).flatten(1, 3); // [member, pixel, out]
            let [_, outputs, inputs, _, _] = w.size()[..] else { panic!("a stack of kernels") };
            let dw = dy.transpose(1, 2).bmm(&patches);
            let dw = dw.view([members, outputs, kernel, kernel, inputs]).permute([0, 1, 4, 2, 3]);
            let dx = need_dx.then(|| from_patches(&dy.bmm(&as_matrices(w)), x, size, window));
            ConvGrads { dx, dw: dw.contiguous(), db: dy.sum_dim_intlist(1, false, None::<Kind>) }
        }
    }
}

/// Stacks the members' tensors `[batch, …]` to `[member, batch, …]`, each laid out in memory as
/// the first one is. For one member that is a view.
pub(super) fn stack(members: Vec<Tensor>) -> Tensor {
    let first = &members[0];
    if members.len() == 1 {
        return first.unsqueeze(0);
    }
    if first.requires_grad() {
        return Tensor::stack(&members, 0);
    }
    let size = [&[members.len() as i64], &first.size()[..]].concat();
    let stride = [&[first.numel() as i64], &first.stride()[..]].concat();
    let stacked = Tensor::empty_strided(&size, &stride, (first.kind(), first.device()));
    for (m, member) in members.iter().enumerate() {
        stacked.select(0, m as i64).copy_(member);
    }
    stacked
}

/// `work` for each member, on streams beside each other.
fn on_lanes<T>(device: Device, members: i64, work: impl FnMut(i64) -> T) -> Vec<T> {
    /// More of them than kernels that a GPU runs at the same time gain nothing.
    const LANES: usize = 8;
    thread_local! {
        static OWN: OnceCell<(usize, Lanes)> = const { OnceCell::new() };
    }
    let Device::Cuda(gpu) = device else { panic!("only a GPU has lanes") };
    OWN.with(|own| {
        let (of, lanes) = own.get_or_init(|| (gpu, Lanes::new(gpu, LANES)));
        assert_eq!(*of, gpu, "a worker keeps its GPU");
        lanes.each(members, work)
    })
}

/// `[member, batch, channel, h, w]` to `[batch, member · channel, h, w]`.
fn side_by_side(x: &Tensor) -> Tensor {
    x.transpose(0, 1).contiguous().flatten(1, 2)
}

/// Back from [`side_by_side`], to channels last.
fn apart(y: &Tensor, members: i64) -> Tensor {
    let [batch, channels, height, width] = y.size()[..] else { panic!("a batch of images") };
    y.view([batch, members, channels / members, height, width])
        .permute([1, 0, 3, 4, 2])
        .contiguous()
        .permute([0, 1, 4, 2, 3])
}

/// Weights `[member, out, in, k, k]` as `[member, out, k·k·in]`, in the order of [`patches`].
fn as_matrices(w: &Tensor) -> Tensor {
    w.permute([0, 1, 3, 4, 2]).flatten(2, -1)
}

/// What the kernel sees at each place, `[member, batch·h'·w', k·k·in]`, and `[h', w']`.
fn patches(x: &Tensor, Window { kernel, stride }: Window) -> (Tensor, [i64; 2]) {
    let pad = kernel / 2;
    let images = x.permute([0, 1, 3, 4, 2]);
    let padded = if pad == 0 { images } else { images.constant_pad_nd([0, 0, pad, pad, pad, pad]) };
    let windows = padded.unfold(2, kernel, stride).unfold(3, kernel, stride);
    let [_, _, height, width, ..] = windows.size()[..] else { panic!("a stack of images") };
    let patches = windows.permute([0, 1, 2, 3, 5, 6, 4]).flatten(1, 3).flatten(2, -1);
    (patches, [height, width])
}

/// Adds patches `[member, batch·h'·w', k·k·in]` up to images like `x`: the adjoint of
/// [`patches`].
fn from_patches(
    patches: &Tensor,
    x: &Tensor,
    [rows, columns]: [i64; 2],
    Window { kernel, stride }: Window,
) -> Tensor {
    let [members, batch, channels, height, width] = x.size()[..] else {
        panic!("a stack of images")
    };
    let pad = kernel / 2;
    let patches = patches.view(&[members, batch, rows, columns, kernel, kernel, channels][..]);
    let size = [members, batch, height + 2 * pad, width + 2 * pad, channels];
    // In bf16 each of the sums would be rounded.
    let kind = if patches.kind() == Kind::BFloat16 { Kind::Float } else { patches.kind() };
    let padded = Tensor::zeros(size, (kind, patches.device()));
    for i in 0..kernel {
        for j in 0..kernel {
            let place = padded.slice(2, i, i + stride * (rows - 1) + 1, stride).slice(
                3,
                j,
                j + stride * (columns - 1) + 1,
                stride,
            );
            let _ = place.shallow_clone().g_add_(&patches.select(4, i).select(4, j));
        }
    }
    let inside = padded.narrow(2, pad, height).narrow(3, pad, width);
    inside.to_kind(patches.kind()).contiguous().permute([0, 1, 4, 2, 3])
}

/// What decides how long the ways take.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TimingKey {
    gpu: usize,
    kind: String,
    x: Vec<i64>,
    w: Vec<i64>,
    window: Window,
    /// Other kernels, and other times.
    tf32: bool,
}

/// The fastest way for a stack on a GPU. The first time that a shape is seen all of them are timed,
/// forward and backward, recorded as training runs them; a way that fails, or that lets a member's
/// infinities reach its neighbours, is out.
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
            // Out of memory, or a shape that the way does not do.
            let time = || time(algorithm, gpu, x, w, b, window);
            catch_unwind(AssertUnwindSafe(time)).ok().flatten().map(|time| (time, algorithm))
        });
        timed.min_by_key(|(time, _)| *time).map_or(ConvAlgorithm::Dense, |(_, algorithm)| algorithm)
    })
}

/// How long a way takes, forward and backward; `None` if it mixes members.
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
    drop(pass(x)); // libraries choose their algorithms
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

/// A forward and a backward pass, from `x` and `w`. The gradient of the result is the result.
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

/// Whether infinities in the first member reach others: 0·∞ is NaN where members are packed into
/// one product.
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

    /// In double precision, on a GPU if there is one.
    fn random(size: &[i64]) -> Tensor {
        Tensor::randn(size, (Kind::Double, Device::Cpu)).to_device(Device::cuda_if_available())
    }

    /// Images of three members, channels last.
    fn images(size: [i64; 5]) -> Tensor {
        let [m, b, c, h, w] = size;
        random(&[m, b, h, w, c]).permute([0, 1, 4, 2, 3])
    }

    /// Those that this machine can do.
    fn algorithms() -> impl Iterator<Item = ConvAlgorithm> {
        let gpu = Device::cuda_if_available().is_cuda();
        ConvAlgorithm::ALL
            .into_iter()
            .filter(move |algorithm| gpu || *algorithm != ConvAlgorithm::Lanes)
    }

    fn windows() -> impl Iterator<Item = (Window, [i64; 2])> {
        let kernels = [(1, 1), (1, 2), (3, 1), (3, 2), (5, 1)];
        kernels.into_iter().flat_map(|(kernel, stride)| {
            [[8, 8], [9, 7], [5, 6]].map(|size| (Window { kernel, stride }, size))
        })
    }

    #[test]
    fn every_algorithm_computes_the_same() {
        tch::set_num_threads(1);
        tch::manual_seed(5);
        for (window, [height, width]) in windows() {
            let x = images([3, 4, 5, height, width]);
            let w = random(&[3, 2, 5, window.kernel, window.kernel]);
            let b = random(&[3, 2]);
            let y = forward(ConvAlgorithm::Dense, &x, &w, &b, window);
            let dy = images([3, 4, 2, y.size()[3], y.size()[4]]);
            let dense = backward(ConvAlgorithm::Dense, &dy, &x, &w, window, true);
            for algorithm in algorithms() {
                let close = |what: &str, ours: &Tensor, theirs: &Tensor| {
                    assert_eq!(ours.size(), theirs.size(), "{algorithm:?} {window:?} {what}");
                    let off = f64::try_from((ours - theirs).abs().max()).unwrap();
                    assert!(off < 1e-12, "{algorithm:?} {window:?} {what} is off by {off:e}");
                };
                let ours = forward(algorithm, &x, &w, &b, window);
                close("y", &ours, &y);
                let pixels = ours.permute([0, 1, 3, 4, 2]);
                assert!(pixels.is_contiguous(), "{algorithm:?}: channels lie last");
                let grads = backward(algorithm, &dy, &x, &w, window, true);
                close("dx", &grads.dx.unwrap(), dense.dx.as_ref().unwrap());
                close("dw", &grads.dw, &dense.dw);
                close("db", &grads.db, &dense.db);
                assert!(backward(algorithm, &dy, &x, &w, window, false).dx.is_none());
            }
        }
    }

    #[test]
    fn a_member_that_blows_up_is_noticed_if_it_reaches_its_neighbours() {
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
        // One convolution of all members, whose kernels for other members' channels are 0: right for
        // numbers, but 0·∞ is NaN.
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
        // It is enough that a single gradient is reached.
        for part in 0..4 {
            let spoilt = |x: &Tensor, w: &Tensor| {
                let (y, grads) = passes(ConvAlgorithm::Dense, &b, window)(x, w);
                let dx = grads.dx.as_ref().unwrap();
                let mut reached = [&y, dx, &grads.dw, &grads.db][part].get(2);
                while reached.dim() > 0 {
                    reached = reached.get(0);
                }
                let _ = reached.fill_(f64::NAN);
                (y, grads)
            };
            assert!(mixes_members(&spoilt, &x, &w, &b, window), "part {part}");
        }
        // A neighbour that had blown up by itself is not the way's fault.
        let _ = w.select(0, 2).fill_(f64::NAN);
        assert!(!mixes_members(&passes(ConvAlgorithm::Dense, &b, window), &x, &w, &b, window));
    }
}
