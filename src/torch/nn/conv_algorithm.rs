//! A stack of 2-d convolutions, one per member, computed by one of several algorithms.
//!
//! Images are `[member, batch, channel, height, width]`, stored as
//! `[member, batch, height, width, channel]` (channels last). On a CPU, consecutive dense convolutions are fastest and make a
//! member's result independent of its neighbours to the last bit. On a GPU the fastest algorithm
//! depends on the shape: `conv_timing` chooses it.

use std::cell::OnceCell;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::ffi::conv2d;
pub(crate) use crate::ffi::conv2d::Window;
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

impl ConvAlgorithm {
    pub(super) const ALL: [ConvAlgorithm; 4] = [
        ConvAlgorithm::Dense,
        ConvAlgorithm::Lanes,
        ConvAlgorithm::Grouped,
        ConvAlgorithm::Patches,
    ];
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
    let dense = |m: i64| {
        let [x, w, b] = [x, w, b].map(|t| t.select(0, m));
        conv2d::forward(&x, &w, &b, window, 1)
    };
    match algorithm {
        ConvAlgorithm::Dense | ConvAlgorithm::Lanes => {
            stack(each_member(algorithm, x.device(), members, dense))
        }
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
    match algorithm {
        ConvAlgorithm::Dense | ConvAlgorithm::Lanes => {
            let (mut dxs, mut dws, mut dbs) = (Vec::new(), Vec::new(), Vec::new());
            for grads in each_member(algorithm, x.device(), members, dense) {
                dxs.extend(grads.dx);
                dws.push(grads.dw);
                dbs.push(grads.db);
            }
            ConvGrads { dx: need_dx.then(|| stack(dxs)), dw: stack(dws), db: stack(dbs) }
        }
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

/// Stacks tensors `[batch, …]` to `[member, batch, …]`, in the memory layout of the first. For one
/// member that is a view.
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

    /// In double precision, on a GPU if there is one.
    pub(in crate::nn) fn random(size: &[i64]) -> Tensor {
        Tensor::randn(size, (Kind::Double, Device::Cpu)).to_device(Device::cuda_if_available())
    }

    /// Images of three members, channels last.
    pub(in crate::nn) fn images(size: [i64; 5]) -> Tensor {
        let [m, b, c, h, w] = size;
        random(&[m, b, h, w, c]).permute([0, 1, 4, 2, 3])
    }

    /// Those that this machine supports.
    pub(in crate::nn) fn algorithms() -> impl Iterator<Item = ConvAlgorithm> {
        let gpu = Device::cuda_if_available().is_cuda();
        ConvAlgorithm::ALL
            .into_iter()
            .filter(move |algorithm| gpu || *algorithm != ConvAlgorithm::Lanes)
    }

    #[test]
    fn every_algorithm_computes_the_same_and_keeps_channels_last() {
        // Their gradients and many more shapes: `probe::conformance`.
        tch::set_num_threads(1);
        for (kernel, stride, [height, width]) in [(1, 2, [9, 7]), (3, 2, [5, 6]), (5, 1, [8, 8])] {
            let window = Window { kernel, stride };
            let x = images([3, 4, 5, height, width]);
            let (w, b) = (random(&[3, 2, 5, kernel, kernel]), random(&[3, 2]));
            let dense = forward(ConvAlgorithm::Dense, &x, &w, &b, window);
            for algorithm in algorithms() {
                let y = forward(algorithm, &x, &w, &b, window);
                let off = f64::try_from((&y - &dense).abs().max()).unwrap();
                assert!(off < 1e-12, "{algorithm:?} {window:?} is off by {off:e}");
                assert!(y.permute([0, 1, 3, 4, 2]).is_contiguous(), "{algorithm:?} {window:?}");
            }
        }
    }
}
