//! What tch does not offer of libtorch; the other half is `torch.cpp`.

pub(crate) mod conv2d;
pub(crate) mod cuda;
pub mod faults;

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

/// Environment variables that make libtorch use fewer instructions than the CPU has.
const LIMITS: [&str; 3] = ["ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR"];

/// The CPU's instructions that libtorch uses, on which the last bits of a result depend: `AVX512`,
/// or `AVX2 ONEDNN_MAX_CPU_ISA=AVX2` where a variable limits them.
pub(crate) fn instruction_set() -> String {
    // SAFETY: it takes nothing and returns a string of its own.
    let own = unsafe { text_of(wninit_cpu_capability()) }.unwrap_or_default();
    let limits = LIMITS.iter().filter_map(|name| {
        let value = std::env::var_os(name)?;
        Some(format!("{name}={}", value.to_string_lossy()))
    });
    std::iter::once(own).chain(limits).collect::<Vec<_>>().join(" ")
}

/// Takes over a string of the shim; `None` for null.
///
/// # Safety
/// `text` is null, or a string from strdup that nobody else frees.
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

/// What the shim says: null, or a message.
fn message_of(message: *mut c_char) -> Result<(), String> {
    // SAFETY: the shim returns null or a string from strdup, which is ours to free.
    unsafe { text_of(message) }.map_or(Ok(()), Err)
}

/// Panics with libtorch's message, as tch's own operators do: a wrong shape is a bug of ours,
/// and out of memory is told apart where the panic is caught.
fn check(message: *mut c_char) {
    message_of(message).unwrap_or_else(|text| panic!("{text}"));
}

/// Takes over handles that the shim made; null is an undefined tensor.
fn adopt(handles: [*mut C_tensor; 3]) -> [Option<Tensor>; 3] {
    // SAFETY: each handle is null or a fresh at::Tensor* that nobody else owns.
    handles.map(|handle| (!handle.is_null()).then(|| unsafe { Tensor::from_ptr(handle) }))
}

/// The gradients `(dx, dweight, dbias)` of batch normalisation that used the batch's statistics.
///
/// `dy` and `x` are `[batch, channel, …]`, the others `[channel]`.
///
/// # Panics
/// If the shapes do not fit, or memory runs out, with libtorch's message.
pub(crate) fn batch_norm_backward(
    dy: &Tensor,
    x: &Tensor,
    weight: &Tensor,
    save_mean: &Tensor,
    save_invstd: &Tensor,
    eps: f64,
) -> (Tensor, Tensor, Tensor) {
    // libtorch reads as many channels of each as x has, and does not look whether they are there.
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
    // SAFETY: the pointers are live tensors for the length of the call, and their shapes, kinds and
    // devices fit together.
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
    let [dx, dweight, dbias] = adopt(out).map(|grad| grad.expect("all three are asked for"));
    (dx, dweight, dbias)
}

/// What [`allow_tf32`] was told last.
static TF32: AtomicBool = AtomicBool::new(false);

/// Whether fp32 matrix products and convolutions may use TF32 on a GPU. libtorch's default is
/// no for products and yes for convolutions, so it must be set either way. The setting is the
/// whole process's: cohorts on GPUs take turns (`train::tf32_lock`).
pub fn allow_tf32(allow: bool) {
    TF32.store(allow, Ordering::SeqCst);
    // SAFETY: sets two flags.
    unsafe { wninit_allow_tf32(allow) }
}

/// Whether TF32 is allowed now.
pub(crate) fn tf32_is_allowed() -> bool {
    TF32.load(Ordering::SeqCst)
}

/// Whether products and convolutions of bf16 tensors like this one are computed in fp32 from
/// their bf16 operands; see [`faults::BF16_WITHOUT_AVX512`].
pub(crate) fn emulates_bf16(operand: &Tensor) -> bool {
    static NATIVE: OnceLock<bool> = OnceLock::new();
    operand.kind() == Kind::BFloat16
        && operand.device() == Device::Cpu
        // SAFETY: asks a question.
        && !*NATIVE.get_or_init(|| unsafe { wninit_native_bf16() })
}

/// Keeps freed memory in the process. Activations are of megabytes and come and go with every
/// step; handed back to the system each time, they cost a page fault for each of their pages.
pub(crate) fn keep_freed_memory() {
    // SAFETY: sets two parameters of glibc's allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}

/// Flushes denormal numbers to zero on the calling thread. Vanishing networks make denormals,
/// which some CPUs compute tens of times more slowly.
pub(crate) fn flush_denormals() -> bool {
    // SAFETY: sets the calling thread's floating-point control register.
    unsafe { wninit_flush_denormals(true) }
}
