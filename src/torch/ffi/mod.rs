//! The part of libtorch's API that tch lacks; its C++ half is `torch.cpp`.

pub(crate) mod conv2d;
pub(crate) mod cuda;
pub(crate) mod cuda_graph;
mod faults;
pub(crate) mod fused;

pub use cuda::own_stream;

use std::ffi::{CStr, c_char};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

unsafe extern "C" {
    fn wninit_free(message: *mut c_char);
    fn wninit_batch_norm_backward(
        out: *mut *mut C_tensor,
        dy: *const C_tensor,
        x: *const C_tensor,
        weight: *const C_tensor,
        save_mean: *const C_tensor,
        save_invstd: *const C_tensor,
        eps: f64,
    ) -> *mut c_char;
    fn wninit_allow_tf32(allow: bool);
    fn wninit_cpu_capability() -> *mut c_char;
    fn wninit_native_bf16() -> bool;
    fn wninit_flush_denormals(flush: bool) -> bool;
}

/// The version of the libtorch that the program was built with, such as `2.11.0+cu130`.
pub(crate) const LIBTORCH: &str = env!("WNINIT_LIBTORCH");

/// Environment variables that limit the instructions that libtorch uses.
const LIMITS: [&str; 3] = ["ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR"];

/// The CPU instructions that libtorch uses, on which the last bits of a result depend: `AVX512`, or
/// `AVX2 ONEDNN_MAX_CPU_ISA=AVX2` if a variable limits them.
pub(crate) fn instruction_set() -> String {
    // SAFETY: it returns a string from strdup.
    let own = unsafe { text_of(wninit_cpu_capability()) }.unwrap_or_default();
    let limits = LIMITS.iter().filter_map(|name| {
        let value = std::env::var_os(name)?;
        Some(format!("{name}={}", value.to_string_lossy()))
    });
    std::iter::once(own).chain(limits).collect::<Vec<_>>().join(" ")
}

/// Takes ownership of a string of the shim; `None` for null.
///
/// # Safety
/// `text` is null, or a string from strdup that nothing else frees.
unsafe fn text_of(text: *mut c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: as above.
    unsafe {
        let own = CStr::from_ptr(text).to_string_lossy().into_owned();
        wninit_free(text);
        Some(own)
    }
}

/// The shim's result: null, or an error message.
fn message_of(message: *mut c_char) -> Result<(), String> {
    // SAFETY: the shim returns null or a string from strdup.
    unsafe { text_of(message) }.map_or(Ok(()), Err)
}

/// Panics with libtorch's message, as tch's operators do. `train::failure` classifies it.
fn check(message: *mut c_char) {
    message_of(message).unwrap_or_else(|text| panic!("{text}"));
}

/// Whether libtorch's message means that memory has run out, on a CPU or a GPU. cuDNN tries one
/// engine after the other, and reports only that none was left: "unable to find an engine".
pub(crate) fn is_out_of_memory(message: &str) -> bool {
    const TEXTS: [&str; 9] = [
        "out of memory",
        "can't allocate memory",
        "not enough memory",
        "Cannot allocate memory",
        "std::bad_alloc",
        "_ALLOC_FAILED", // of CUBLAS_STATUS, CUDNN_STATUS, CUSOLVER_STATUS
        "ALLOCATION_FAILED",
        "OUT_OF_MEMORY",
        "unable to find an engine to execute this computation",
    ];
    TEXTS.iter().any(|text| message.contains(text))
}

/// Takes ownership of the shim's tensors; null is an undefined tensor.
fn adopt(handles: [*mut C_tensor; 3]) -> [Option<Tensor>; 3] {
    // SAFETY: each handle is null or a new at::Tensor* that nothing else owns.
    handles.map(|handle| (!handle.is_null()).then(|| unsafe { Tensor::from_ptr(handle) }))
}

/// The gradients `(dx, dweight, dbias)` of batch norm with batch statistics. `dy` and `x` are
/// `[batch, channel, …]`, the others `[channel]`.
///
/// # Panics
/// If the shapes do not match, or memory runs out, with libtorch's message.
pub(crate) fn batch_norm_backward(
    dy: &Tensor,
    x: &Tensor,
    weight: &Tensor,
    save_mean: &Tensor,
    save_invstd: &Tensor,
    eps: f64,
) -> (Tensor, Tensor, Tensor) {
    // libtorch does not check the sizes and reads x's number of channels from each.
    let size = x.size();
    assert!(size.len() >= 2, "batch norm takes [batch, channel, …], not {size:?}");
    assert_eq!(dy.size(), size, "dy has the shape of x");
    for t in [weight, save_mean, save_invstd] {
        assert_eq!(t.size(), size[1..2], "one number for each channel");
    }
    for t in [dy, weight, save_mean, save_invstd] {
        assert_eq!(t.device(), x.device(), "tensors on one device");
    }
    assert_eq!(dy.kind(), x.kind(), "dy is of x's kind");
    for t in [save_mean, save_invstd] {
        assert_eq!(t.kind(), weight.kind(), "statistics are of the weight's kind");
    }
    let mut out = [std::ptr::null_mut(); 3];
    // SAFETY: the pointers are live tensors of matching shapes, kinds and devices.
    check(unsafe {
        wninit_batch_norm_backward(
            out.as_mut_ptr(),
            dy.as_ptr(),
            x.as_ptr(),
            weight.as_ptr(),
            save_mean.as_ptr(),
            save_invstd.as_ptr(),
            eps,
        )
    });
    let [dx, dweight, dbias] = adopt(out).map(|grad| grad.expect("all three are computed"));
    (dx, dweight, dbias)
}

static TF32: AtomicBool = AtomicBool::new(false);

/// Whether fp32 matrix products and convolutions may use TF32 on a GPU. libtorch's default is
/// no for products and yes for convolutions, so it must always be set. It applies to the whole process:
/// `train::tf32_lock` serialises cohorts that need different settings.
pub fn allow_tf32(allow: bool) {
    TF32.store(allow, Ordering::SeqCst);
    // SAFETY: sets two flags.
    unsafe { wninit_allow_tf32(allow) }
}

pub(crate) fn tf32_is_allowed() -> bool {
    TF32.load(Ordering::SeqCst)
}

/// Whether products and convolutions of such bf16 tensors are computed in fp32; see
/// `faults::BF16_WITHOUT_AVX512`.
pub(crate) fn emulates_bf16(operand: &Tensor) -> bool {
    static NATIVE: OnceLock<bool> = OnceLock::new();
    operand.kind() == Kind::BFloat16
        && operand.device() == Device::Cpu
        // SAFETY: has no preconditions.
        && !*NATIVE.get_or_init(|| unsafe { wninit_native_bf16() })
}

/// Keeps freed memory in the process. Every step allocates and frees megabytes of activations;
/// returned to the system each time, each of their pages would cost a page fault.
pub(crate) fn keep_freed_memory() {
    // SAFETY: sets two parameters of glibc's allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}

/// Flushes denormals to zero on the calling thread; false if the CPU cannot. Vanishing networks
/// produce denormals, which are tens of times slower on some CPUs.
pub(crate) fn flush_denormals() -> bool {
    // SAFETY: sets the calling thread's floating-point control register.
    unsafe { wninit_flush_denormals(true) }
}
