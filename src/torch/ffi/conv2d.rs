//! The only caller of libtorch's convolution, forward and backward (a test enforces it), so that no
//! shape reaches a kernel that is known to be wrong: see `faults`.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::c_char;

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};
use torch_sys::C_tensor;

use super::{adopt, check, emulates_bf16};

unsafe extern "C" {
    fn wninit_convolution_backward(
        out: *mut *mut C_tensor,
        dy: *const C_tensor,
        x: *const C_tensor,
        w: *const C_tensor,
        stride: i64,
        padding: i64,
        groups: i64,
        mask: i32,
    ) -> *mut c_char;
}

/// Kernel size and stride of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Window {
    /// Height and width of the kernel; the image is padded by half of it.
    pub kernel: i64,
    /// Stride in both directions.
    pub stride: i64,
}

impl Window {
    /// Height or width of the result, given that of the image.
    pub(crate) fn result(self, size: i64) -> i64 {
        (size + 2 * (self.kernel / 2) - self.kernel) / self.stride + 1
    }

    /// Whether `faults::STRIDED_POINTWISE` applies.
    fn is_strided_pointwise(self) -> bool {
        self.kernel == 1 && self.stride > 1
    }
}

/// The same convolution on the strided pixels.
const POINTWISE: Window = Window { kernel: 1, stride: 1 };

/// The sizes on which a library's choice of kernel depends, besides batch and type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConvShape {
    /// Input channels.
    pub inputs: i64,
    /// Output channels.
    pub outputs: i64,
    /// Kernel size and stride.
    pub window: Window,
    /// Height and width of the image.
    pub image: [i64; 2],
}

/// Gradients of `y = conv2d(x, w) + b`.
pub(crate) struct Conv2dGrads {
    /// `[batch, in, height, width]`, if wanted.
    pub dx: Option<Tensor>,
    /// `[out, in / groups, k, k]`.
    pub dw: Tensor,
    /// `[out]`, if wanted.
    pub db: Option<Tensor>,
}

/// The gradients to compute besides that of the weight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub dx: bool,
    pub db: bool,
}

/// `x [batch, in, h, w]` with `w [out, in / groups, k, k]` and `b [out]`, if there is one. Twice
/// differentiable.
///
/// # Panics
/// If the shapes do not match, or memory runs out, with libtorch's message.
pub(crate) fn forward(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    window: Window,
    groups: i64,
) -> Tensor {
    result_size(x, w, window, groups);
    if let Some(b) = b {
        assert_eq!(b.size(), w.size()[..1], "one bias for each output channel");
    }
    record(x, w, window, groups);
    let Window { kernel, stride } = window;
    if window.is_strided_pointwise() {
        return forward(&pixels(x, stride).copy(), w, b, POINTWISE, groups);
    }
    if emulates_bf16(x) {
        let [x, w] = [x, w].map(|t| t.to_kind(Kind::Float));
        let b = b.map(|b| b.to_kind(Kind::Float));
        return forward(&x, &w, b.as_ref(), window, groups).to_kind(Kind::BFloat16);
    }
    assert!(!window.is_strided_pointwise(), "oneDNN must not see one");
    x.conv2d(w, b, [stride; 2], [kernel / 2; 2], [1, 1], groups)
}

/// The gradients of [`forward`].
///
/// # Panics
/// If the shapes do not match, or memory runs out, with libtorch's message.
pub(crate) fn backward(
    dy: &Tensor,
    x: &Tensor,
    w: &Tensor,
    window: Window,
    groups: i64,
    wanted: Wanted,
) -> Conv2dGrads {
    // libtorch does not check dy's shape.
    assert_eq!(dy.size(), result_size(x, w, window, groups), "dy has the shape of the result");
    for t in [dy, w] {
        assert_eq!(
            (t.kind(), t.device()),
            (x.kind(), x.device()),
            "operands of one kind and device"
        );
    }
    let Window { kernel, stride } = window;
    if window.is_strided_pointwise() {
        let grads = backward(dy, &pixels(x, stride).copy(), w, POINTWISE, groups, wanted);
        let dx = grads.dx.map(|of_pixels| {
            let dx = x.zeros_like();
            pixels(&dx, stride).copy_(&of_pixels);
            dx
        });
        return Conv2dGrads { dx, ..grads };
    }
    if emulates_bf16(x) {
        let [dy, x, w] = [dy, x, w].map(|t| t.to_kind(Kind::Float));
        let Conv2dGrads { dx, dw, db } = backward(&dy, &x, &w, window, groups, wanted);
        let rounded = |t: Tensor| t.to_kind(Kind::BFloat16);
        return Conv2dGrads { dx: dx.map(rounded), dw: rounded(dw), db: db.map(rounded) };
    }
    assert!(!window.is_strided_pointwise(), "oneDNN must not see one");
    let mut out = [std::ptr::null_mut(); 3];
    let mask = i32::from(wanted.dx) | 0b010 | i32::from(wanted.db) << 2;
    // SAFETY: the pointers are live tensors of matching shapes, kinds and devices.
    check(unsafe {
        wninit_convolution_backward(
            out.as_mut_ptr(),
            dy.as_ptr(),
            x.as_ptr(),
            w.as_ptr(),
            stride,
            kernel / 2,
            groups,
            mask,
        )
    });
    let [dx, dw, db] = adopt(out);
    Conv2dGrads { dx, dw: dw.expect("the mask asks for the weight's gradient"), db }
}

/// The pixels that a strided 1×1 convolution reads, as a view. A copy of it keeps the image's layout.
fn pixels(x: &Tensor, stride: i64) -> Tensor {
    x.slice(2, None, None, stride).slice(3, None, None, stride)
}

/// # Panics
/// If the shapes of `x` and `w` do not match.
fn result_size(x: &Tensor, w: &Tensor, window: Window, groups: i64) -> [i64; 4] {
    let Window { kernel, stride } = window;
    let ([batch, inputs, height, width], [outputs, of_group, rows, columns]) =
        (&x.size()[..], &w.size()[..])
    else {
        panic!(
            "a convolution takes images and kernels of four axes, not {:?} and {:?}",
            x.size(),
            w.size()
        )
    };
    let (height, width) = (window.result(*height), window.result(*width));
    assert!(
        kernel > 0
            && stride > 0
            && groups > 0
            && height > 0
            && width > 0
            && [*rows, *columns] == [kernel; 2]
            && of_group * groups == *inputs
            && outputs % groups == 0,
        "{window:?} with {groups} groups does not fit images {:?} and kernels {:?}",
        x.size(),
        w.size()
    );
    [*batch, *outputs, height, width]
}

thread_local! {
    /// What [`shapes_of`] has recorded on this thread.
    static SEEN: RefCell<Option<BTreeSet<ConvShape>>> = const { RefCell::new(None) };
}

fn record(x: &Tensor, w: &Tensor, window: Window, groups: i64) {
    SEEN.with_borrow_mut(|seen| {
        if let (Some(seen), [_, inputs, height, width], 1) = (seen, &x.size()[..], groups) {
            let (inputs, outputs) = (*inputs, w.size()[0]);
            seen.insert(ConvShape { inputs, outputs, window, image: [*height, *width] });
        }
    });
}

/// The shapes of the ungrouped convolutions that `work` computes on this thread.
pub(crate) fn shapes_of(work: impl FnOnce()) -> BTreeSet<ConvShape> {
    SEEN.set(Some(BTreeSet::new()));
    work();
    SEEN.take().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tch::Device;

    const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

    fn operands() -> [Tensor; 4] {
        let (x, w) = (Tensor::randn([2, 3, 6, 5], CPU), Tensor::randn([4, 3, 1, 1], CPU));
        [Tensor::randn([2, 4, 3, 3], CPU), x, w, Tensor::randn([4], CPU)]
    }

    const STRIDED: Window = Window { kernel: 1, stride: 2 };
    const ALL: Wanted = Wanted { dx: true, db: true };

    #[test]
    fn no_strided_1x1_convolution_reaches_libtorch() {
        let [dy, x, w, b] = operands();
        let x = x.set_requires_grad(true);
        let w = w.set_requires_grad(true);
        let y = forward(&x, &w, Some(&b), STRIDED, 1);
        assert_eq!(y.size(), dy.size());
        let pixels = x.slice(2, None, None, 2).slice(3, None, None, 2);
        let by_hand = pixels.permute([0, 2, 3, 1]).matmul(&w.view([4, 3]).tr()) + &b;
        let off = (&y - by_hand.permute([0, 3, 1, 2])).abs().max();
        assert!(f64::try_from(off).unwrap() < 1e-5);
        // The call that reached libtorch is the one with stride 1.
        let seen = shapes_of(|| drop(forward(&x, &w, Some(&b), STRIDED, 1)));
        let last = ConvShape { inputs: 3, outputs: 4, window: POINTWISE, image: [3, 3] };
        assert!(seen.contains(&last), "{seen:?}");
        // The gradients equal autograd's, which are differentiable in turn.
        let theirs = Tensor::run_backward(&[(&y * &dy).sum(Kind::Float)], &[&x, &w], true, true);
        let ours = tch::no_grad(|| backward(&dy, &x, &w, STRIDED, 1, ALL));
        for (ours, theirs) in [(ours.dx.unwrap(), &theirs[0]), (ours.dw, &theirs[1])] {
            let off = (ours - theirs).abs().max();
            assert!(f64::try_from(off).unwrap() < 1e-5);
        }
        let along = theirs[1].square().sum(Kind::Float);
        let second = Tensor::run_backward(&[along], &[&x], false, false);
        assert!(f64::try_from(second[0].abs().max()).unwrap() > 0.0);
    }

    #[test]
    #[should_panic(expected = "dy has the shape of the result")]
    fn a_gradient_of_another_shape_is_rejected() {
        let [dy, x, w, _] = operands();
        backward(&dy.narrow(2, 0, 2), &x, &w, STRIDED, 1, ALL);
    }

    #[test]
    #[should_panic(expected = "operands of one kind and device")]
    fn a_gradient_of_another_kind_is_rejected() {
        let [dy, x, w, _] = operands();
        backward(&dy.to_kind(Kind::Double), &x, &w, STRIDED, 1, ALL);
    }

    #[test]
    #[should_panic(expected = "does not fit images")]
    fn kernels_for_other_channels_are_rejected() {
        let [_, x, w, b] = operands();
        let _ = forward(&x, &w.narrow(1, 0, 2), Some(&b), STRIDED, 1);
    }
}
