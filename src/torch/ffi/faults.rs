//! Known faults of the libraries underneath, each with our remedy. What works round one refers to
//! it here, so that it can be taken out once no supported version has the fault.
//!
//! `nn::conformance` looks for others: it compares convolutions and products with float64, in the
//! tests over thousands of shapes and in `wninit doctor` over some.

/// A fault of a library.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// The library, and the versions in which the fault was seen.
    pub library: &'static str,
    /// Where its developers follow it up.
    pub issue: &'static str,
    /// What goes wrong, and when.
    pub condition: &'static str,
    /// What we do instead, and what that costs.
    pub remedy: &'static str,
}

/// A strided 1×1 convolution.
pub(crate) const STRIDED_POINTWISE: Fault = Fault {
    library: "oneDNN 3.10.2 (libtorch 2.11.0) to 3.12.0; no release has a fix",
    issue: "https://github.com/uxlfoundation/oneDNN/issues/6035",
    condition: "the weight gradient of a 1×1 convolution with a stride writes out of bounds if x or w lies \
                channels last and there are fewer than 16 input channels (AVX-512) or 8 (AVX2): a crash, \
                often only when the process ends, or a wrong gradient",
    remedy: "the pixels that the stride leaves are copied and convolved with stride 1, for any number of \
             channels: 0.62 to 0.96 of the time of the strided call on the shortcuts of our networks, but 1.37 on \
             the smallest (32 images of 32×7×7)",
};

/// bf16 on a CPU for which oneDNN has no bf16 kernels.
pub(crate) const BF16_WITHOUT_AVX512: Fault = Fault {
    library: "libtorch 2.11.0",
    issue: "https://github.com/pytorch/pytorch/issues/83863, https://github.com/pytorch/pytorch/issues/183815",
    condition: "on a CPU below AVX-512 bf16 bypasses oneDNN: convolutions add weight gradients up in bf16 \
                (off by 2.8 % at 128 images), and both convolutions and products are 5 to 25 times slower than fp32",
    remedy: "bf16 operands are widened to fp32, and the result is rounded to bf16, as native kernels do: exact \
             to the rounding of the result, and takes as long as fp32 and the conversions",
};

/// A product's last bits depend on where its operands lie.
pub(crate) const ALIGNED_PRODUCT: Fault = Fault {
    library: "MKL (libtorch 2.11.0)",
    issue: "documented: Intel oneMKL Developer Guide, Numerically Reproducible Computations",
    condition: "the last bit of a product can depend on whether an operand begins at a multiple of 64 bytes, so a \
                member's result would depend on its place in the stack",
    remedy: "products of fp32 take the gemm crate; others get copies that begin at such a multiple, where a \
             member would not",
};

/// The layout of a tensor with one channel is guessed from its strides.
pub(crate) const AMBIGUOUS_LAYOUT: Fault = Fault {
    library: "libtorch 2.11.0",
    issue: "https://github.com/pytorch/pytorch/issues/24090, https://github.com/pytorch/pytorch/issues/68430",
    condition: "with a single channel, channels last and channels first are the same order in memory, and libtorch \
                chooses the kernel by strides that many operations leave arbitrary: a stack would take another kernel \
                than a single network",
    remedy: "images enter a network with their strides given in full",
};

/// All of them.
pub const ALL: [&Fault; 4] =
    [&STRIDED_POINTWISE, &BF16_WITHOUT_AVX512, &ALIGNED_PRODUCT, &AMBIGUOUS_LAYOUT];
