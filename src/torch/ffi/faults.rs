//! Known faults of the libraries, and our workarounds. Code that works around a fault refers to it
//! as `faults::NAME`, so that it can be removed once no supported version has the fault.
//!
//! `probe::conformance` looks for others: it compares convolutions and products with float64, over
//! thousands of shapes in the tests and over some in `wninit doctor`.
//!
//! # STRIDED_POINTWISE
//! * Library: oneDNN 3.10.2 (libtorch 2.11.0) to 3.12.0; no release has a fix.
//! * Issue: <https://github.com/uxlfoundation/oneDNN/issues/6035>
//! * Condition: the weight gradient of a strided 1×1 convolution writes out of bounds if x or w is
//!   channels last and there are fewer than 16 input channels (AVX-512) or 8 (AVX2): a crash, often
//!   only at exit, or a wrong gradient.
//! * Workaround: the strided pixels are copied and convolved with stride 1, for any number of
//!   channels. It takes 0.62 to 0.96 of the time of the strided call on the shortcuts of our
//!   networks, but 1.37 on the smallest (32 images of 32×7×7).
//!
//! # BF16_WITHOUT_AVX512
//! * Library: libtorch 2.11.0.
//! * Issue: <https://github.com/pytorch/pytorch/issues/83863>,
//!   <https://github.com/pytorch/pytorch/issues/183815>
//! * Condition: on a CPU without AVX-512, bf16 bypasses oneDNN: convolutions sum weight gradients
//!   in bf16 (off by 2.8 % at 128 images), and convolutions and products are 5 to 25 times slower than fp32.
//! * Workaround: operands are converted to fp32 and the result is rounded to bf16, as native kernels
//!   do. Exact up to the rounding of the result; takes the time of fp32 plus the conversions.
//!
//! # ALIGNED_PRODUCT
//! * Library: MKL (libtorch 2.11.0).
//! * Issue: documented in Intel oneMKL Developer Guide, Numerically Reproducible Computations.
//! * Condition: the last bit of a product can depend on whether an operand is aligned to 64 bytes,
//!   so a member's result would depend on its index in the stack.
//! * Workaround: fp32 products use the gemm crate; in float64, members that would not be aligned are
//!   copied. In bf16 oneDNN computes, whose results do not depend on it.
//!
//! # AMBIGUOUS_LAYOUT
//! * Library: libtorch 2.11.0.
//! * Issue: <https://github.com/pytorch/pytorch/issues/24090>,
//!   <https://github.com/pytorch/pytorch/issues/68430>
//! * Condition: with a single channel, channels last and channels first are the same order in memory,
//!   and libtorch chooses kernels by strides that many operations leave arbitrary: a stack would
//!   use another kernel than a single network.
//! * Workaround: images enter a network with explicit strides.
