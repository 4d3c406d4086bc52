//! A stack of 2-d convolutions, one per member, computed by one of several algorithms.
//!
//! Images are `[member, batch, channel, height, width]`, on a CPU stored as
//! `[member, batch, height, width, channel]` (channels last). There, consecutive dense convolutions
//! are fastest and make a member's result independent of its neighbours to the last bit. On a GPU
//! the fastest algorithm and layout depend on the shape: `conv_timing` chooses them.

use std::cell::OnceCell;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

pub(crate) use crate::ffi::conv2d::Window;
use crate::ffi::conv2d::{self, Wanted};
use crate::ffi::cuda::Lanes;

/// The algorithm that convolves a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConvAlgorithm {
    /// One dense convolution per member, one after the other.
    Dense,
    /// The same on concurrent CUDA streams.
    Lanes,
    /// One grouped convolution; each member is a group.
    Grouped,
    /// im2col and a batched matrix product.
    Patches,
}

/// The order of a stack's images and kernels in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Layout {
    ChannelsLast,
    ChannelsFirst,
}

impl Layout {
    /// `t [member, image, channel, height, width]` in this layout, copied if it has another.
    pub(super) fn of(self, t: &Tensor) -> Tensor {
        match self {
            Layout::ChannelsLast => {
                t.permute([0, 1, 3, 4, 2]).contiguous().permute([0, 1, 4, 2, 3])
            }
            Layout::ChannelsFirst => t.contiguous(),
        }
    }
}

/// An algorithm, and the layout of its operands and result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConvChoice {
    pub algorithm: ConvAlgorithm,
    pub layout: Layout,
}

impl ConvChoice {
    /// The only one on a CPU.
    pub(super) const CPU: ConvChoice = ConvChoice::last(ConvAlgorithm::Dense);

    /// All that are worth a try on a GPU. cuDNN is faster channels last in bf16 and TF32, and
    /// mostly channels first in fp32, where it has Winograd's algorithm.
    pub(super) const GPU: [ConvChoice; 6] = [
        ConvChoice::last(ConvAlgorithm::Dense),
        ConvChoice::first(ConvAlgorithm::Dense),
        ConvChoice::last(ConvAlgorithm::Lanes),
        ConvChoice::first(ConvAlgorithm::Lanes),
        ConvChoice::last(ConvAlgorithm::Grouped),
        ConvChoice::last(ConvAlgorithm::Patches),
    ];

    const fn last(algorithm: ConvAlgorithm) -> ConvChoice {
        ConvChoice { algorithm, layout: Layout::ChannelsLast }
    }

    const fn first(algorithm: ConvAlgorithm) -> ConvChoice {
        ConvChoice { algorithm, layout: Layout::ChannelsFirst }
    }
}

/// Whether a stack is convolved as on a GPU: with the bias added, and its gradient summed, once for
/// all members, because cuDNN does not fuse them. So is float64 on a CPU, for tests.
pub(super) fn as_on_a_gpu(x: &Tensor) -> bool {
    x.device().is_cuda() || x.kind() == Kind::Double
}

pub(crate) struct ConvGrads {
    /// `[member, batch, in, height, width]`, if `need_dx`.
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
    let (fused, separate) = if as_on_a_gpu(x) { (None, Some(b)) } else { (Some(b), None) };
    let dense = |m: i64| {
        let b = fused.map(|b| b.select(0, m));
        conv2d::forward(&x.select(0, m), &w.select(0, m), b.as_ref(), window, 1)
    };
    let y = match algorithm {
        ConvAlgorithm::Dense | ConvAlgorithm::Lanes => {
            stack(each_member(algorithm, x.device(), members, dense))
        }
        ConvAlgorithm::Grouped => {
            let (w, b) = (w.flatten(0, 1), fused.map(|b| b.flatten(0, 1)));
            let y = conv2d::forward(&side_by_side(x), &w, b.as_ref(), window, members);
            apart(&y, members)
        }
        ConvAlgorithm::Patches => {
            let (patches, [height, width]) = patches(x, window);
            let (w, batch) = (as_matrices(w), x.size()[1]);
            let y = b.unsqueeze(1).baddbmm(&patches, &w.transpose(1, 2), 1, 1);
            return y.view([members, batch, height, width, -1]).permute([0, 1, 4, 2, 3]);
        }
    };
    match separate.map(|b| b.view([members, 1, -1, 1, 1])) {
        None => y,
        Some(b) if y.requires_grad() || b.requires_grad() => y + b,
        Some(b) => y.shallow_clone().g_add_(&b),
    }
}

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
    let wanted = Wanted { dx: need_dx, db: !as_on_a_gpu(x) };
    let dense = |m: i64| {
        let [dy, x, w] = [dy, x, w].map(|t| t.select(0, m));
        conv2d::backward(&dy, &x, &w, window, 1, wanted)
    };
    // A sum of bf16 numbers in 32 bits.
    let sum = |axes: &[i64], dy: &Tensor| {
        let kind = if dy.kind() == Kind::Double { Kind::Double } else { Kind::Float };
        dy.sum_dim_intlist(axes, false, kind)
    };
    match algorithm {
        ConvAlgorithm::Dense | ConvAlgorithm::Lanes => {
            let (mut dxs, mut dws, mut dbs) = (Vec::new(), Vec::new(), Vec::new());
            for grads in each_member(algorithm, x.device(), members, dense) {
                dxs.extend(grads.dx);
                dws.push(grads.dw);
                dbs.extend(grads.db);
            }
            let db = if dbs.is_empty() { sum(&[1, 3, 4], dy) } else { stack(dbs) };
            ConvGrads { dx: need_dx.then(|| stack(dxs)), dw: stack(dws), db }
        }
        ConvAlgorithm::Grouped => {
            let (x, dys, ws) = (side_by_side(x), side_by_side(dy), w.flatten(0, 1));
            let grads = conv2d::backward(&dys, &x, &ws, window, members, wanted);
            ConvGrads {
                dx: grads.dx.map(|dx| apart(&dx, members)),
                dw: grads.dw.view_as(w),
                db: match grads.db {
                    Some(db) => db.view([members, -1]),
                    None => sum(&[1, 3, 4], dy),
                },
            }
        }
        ConvAlgorithm::Patches => {
            let (patches, size) = patches(x, window);
            let dy = dy.permute([0, 1, 3, 4, 2]).flatten(1, 3); // [member, pixel, out]
            let [_, outputs, inputs, _, _] = w.size()[..] else { panic!("a stack of kernels") };
            let dw = dy.transpose(1, 2).bmm(&patches);
            let dw = dw.view([members, outputs, kernel, kernel, inputs]).permute([0, 1, 4, 2, 3]);
            let dx = need_dx.then(|| from_patches(&dy.bmm(&as_matrices(w)), x, size, window));
            ConvGrads { dx, dw: dw.contiguous(), db: sum(&[1], &dy) }
        }
    }
}

/// Stacks tensors `[batch, …]` to `[member, batch, …]`, in the memory layout of the first. For one
/// member that is a view, else a single copy of all of them.
pub(super) fn stack(members: Vec<Tensor>) -> Tensor {
    let first = &members[0];
    if members.len() == 1 {
        return first.unsqueeze(0);
    }
    if first.requires_grad() {
        return Tensor::stack(&members, 0);
    }
    let stacked = if first.is_contiguous() {
        Tensor::stack(&members, 0)
    } else {
        let last: Vec<Tensor> = members.iter().map(|t| t.permute([0, 2, 3, 1])).collect();
        Tensor::stack(&last, 0)
    };
    // Also where the strides are ambiguous: see `faults::AMBIGUOUS_LAYOUT`.
    let size = [&[members.len() as i64], &first.size()[..]].concat();
    let stride = [&[first.numel() as i64], &first.stride()[..]].concat();
    stacked.as_strided(size, stride, None)
}

/// Runs `work` for each member, for [`ConvAlgorithm::Lanes`] on concurrent streams.
fn each_member<T>(
    algorithm: ConvAlgorithm,
    device: Device,
    members: i64,
    work: impl FnMut(i64) -> T,
) -> Vec<T> {
    if algorithm == ConvAlgorithm::Dense {
        return (0..members).map(work).collect();
    }
    /// A GPU runs few kernels at once; more streams gain nothing.
    const LANES: usize = 8;
    thread_local! {
        static OWN: OnceCell<(usize, Lanes)> = const { OnceCell::new() };
    }
    let Device::Cuda(gpu) = device else { panic!("ConvAlgorithm::Lanes needs a GPU") };
    OWN.with(|own| {
        let (of, lanes) = own.get_or_init(|| (gpu, Lanes::new(gpu, LANES)));
        assert_eq!(*of, gpu, "a worker uses one GPU");
        lanes.each(members, work)
    })
}

/// `[member, batch, channel, h, w]` to `[batch, member · channel, h, w]`.
pub(super) fn side_by_side(x: &Tensor) -> Tensor {
    x.transpose(0, 1).contiguous().flatten(1, 2)
}

/// The inverse of [`side_by_side`], in channels last.
pub(super) fn apart(y: &Tensor, members: i64) -> Tensor {
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

/// The inputs of each output pixel (im2col), `[member, batch·h'·w', k·k·in]`, and `[h', w']`.
fn patches(x: &Tensor, Window { kernel, stride }: Window) -> (Tensor, [i64; 2]) {
    let pad = kernel / 2;
    let images = x.permute([0, 1, 3, 4, 2]);
    let padded = if pad == 0 { images } else { images.constant_pad_nd([0, 0, pad, pad, pad, pad]) };
    let windows = padded.unfold(2, kernel, stride).unfold(3, kernel, stride);
    let [_, _, height, width, ..] = windows.size()[..] else { panic!("a stack of images") };
    let patches = windows.permute([0, 1, 2, 3, 5, 6, 4]).flatten(1, 3).flatten(2, -1);
    (patches, [height, width])
}

/// Sums patches `[member, batch·h'·w', k·k·in]` into images like `x` (col2im), the adjoint of
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
    // In bf16 every partial sum would be rounded.
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

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// In double precision; on a GPU, where cuDNN refuses that channels last, in single precision.
    pub(in crate::nn) fn random(size: &[i64]) -> Tensor {
        let device = Device::cuda_if_available();
        let kind = if device.is_cuda() { Kind::Float } else { Kind::Double };
        Tensor::randn(size, (Kind::Double, Device::Cpu)).to_kind(kind).to_device(device)
    }

    /// Images of three members, channels last.
    pub(in crate::nn) fn images(size: [i64; 5]) -> Tensor {
        let [m, b, c, h, w] = size;
        random(&[m, b, h, w, c]).permute([0, 1, 4, 2, 3])
    }

    /// Those that this machine supports.
    pub(in crate::nn) fn choices() -> impl Iterator<Item = ConvChoice> {
        let gpu = Device::cuda_if_available();
        if let Device::Cuda(gpu) = gpu {
            crate::ffi::cuda::own_stream(gpu);
            crate::ffi::allow_tf32(false);
        }
        let supported = move |algorithm| gpu.is_cuda() || algorithm != ConvAlgorithm::Lanes;
        ConvChoice::GPU.into_iter().filter(move |choice| supported(choice.algorithm))
    }

    #[test]
    fn every_algorithm_computes_the_same_and_keeps_its_layout() {
        // Many more shapes: `probe::conformance`.
        tch::set_num_threads(1);
        tch::manual_seed(7);
        for (kernel, stride, [height, width]) in [(1, 2, [9, 7]), (3, 2, [5, 6]), (5, 1, [8, 8])] {
            let window = Window { kernel, stride };
            let x = images([3, 4, 5, height, width]);
            let (w, b) = (random(&[3, 2, 5, kernel, kernel]), random(&[3, 2]));
            let near = if x.kind() == Kind::Double { 1e-12 } else { 1e-4 };
            let all = |choice: ConvChoice| {
                let [x, w] = [&x, &w].map(|t| choice.layout.of(t));
                let y = forward(choice.algorithm, &x, &w, &b, window);
                let dy = choice.layout.of(&y.sin());
                let ConvGrads { dx, dw, db } =
                    backward(choice.algorithm, &dy, &x, &w, window, true);
                [y, dx.unwrap(), dw, db]
            };
            let expected = all(ConvChoice::CPU);
            for choice in choices() {
                let ours = all(choice);
                for (what, (ours, theirs)) in
                    ["y", "dx", "dw", "db"].iter().zip(ours.iter().zip(&expected))
                {
                    let off = f64::try_from((ours - theirs).abs().max()).unwrap();
                    let what = format!("{what} of {choice:?} {window:?}");
                    assert!(off < near, "{what} is off by {off:e}");
                }
                for (what, t) in [("y", &ours[0]), ("dx", &ours[1])] {
                    let kept = choice.layout.of(t).data_ptr() == t.data_ptr();
                    assert!(kept, "{what} of {choice:?} {window:?} has another layout");
                }
            }
        }
    }
}
