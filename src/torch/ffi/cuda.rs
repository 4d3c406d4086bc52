//! Memory, names and streams of CUDA GPUs.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;

use super::{check, message_of};

unsafe extern "C" {
    fn wninit_own_stream(gpu: c_int) -> *mut c_char;
    fn wninit_synchronize(gpu: c_int) -> *mut c_char;
    fn wninit_benchmark_cudnn(benchmark: bool);
    fn wninit_cached_memory(out: *mut f64, gpu: c_int) -> *mut c_char;
    fn wninit_lanes_new(out: *mut *mut c_void, gpu: c_int, count: i64) -> *mut c_char;
    fn wninit_lanes_free(lanes: *mut c_void);
    fn wninit_lanes_fork(lanes: *const c_void) -> *mut c_char;
    fn wninit_lanes_enter(lanes: *const c_void, i: i64) -> *mut c_char;
    fn wninit_lanes_join(lanes: *const c_void) -> *mut c_char;
}

/// A function of the CUDA runtime that libtorch has loaded, if any.
///
/// # Safety
/// `F` is the function's type.
unsafe fn runtime<F: Copy>(name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: F is a function pointer; its size was checked above.
    unsafe {
        let found = libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr());
        (!found.is_null()).then(|| std::mem::transmute_copy(&found))
    }
}

/// Bytes of a GPU that a new tensor may use, those included that libtorch keeps for the next one;
/// `None` if the CUDA runtime is not loaded or fails.
pub(crate) fn free_memory(gpu: usize) -> Option<f64> {
    // SAFETY: the signatures are those of the CUDA runtime's documentation.
    unsafe {
        let set_device = runtime::<unsafe extern "C" fn(c_int) -> c_int>(c"cudaSetDevice")?;
        let mem_get_info =
            runtime::<unsafe extern "C" fn(*mut usize, *mut usize) -> c_int>(c"cudaMemGetInfo")?;
        let (mut free, mut total) = (0, 0);
        let ok = set_device(gpu as c_int) == 0 && mem_get_info(&mut free, &mut total) == 0;
        let mut cached = 0.0;
        // Unknown if the program was built without CUDA's headers.
        let _ = message_of(wninit_cached_memory(&mut cached, gpu as c_int));
        ok.then_some(free as f64 + cached)
    }
}

/// A GPU's model, such as `NVIDIA H200`; `None` as for [`free_memory`].
pub(crate) fn model(gpu: usize) -> Option<String> {
    // cudaDeviceProp has about 1 kB and begins with the name, of at most 256 bytes; the rest depends
    // on the version.
    #[repr(C, align(16))]
    struct Properties([u8; 1 << 14]);
    let mut properties = Properties([0; 1 << 14]);
    // SAFETY: the documented signature; the buffer is larger than any version of the structure.
    let ok = unsafe {
        let get = runtime::<unsafe extern "C" fn(*mut Properties, c_int) -> c_int>(
            c"cudaGetDeviceProperties",
        )?;
        get(&mut properties, gpu as c_int) == 0
    };
    let name = CStr::from_bytes_until_nul(&properties.0[..256]).ok()?.to_str().ok()?;
    (ok && !name.is_empty()).then(|| name.to_owned())
}

/// Makes the calling thread launch on its own stream, the same one each time: the default
/// stream cannot be captured, and workers that share a GPU would wait for each other on it.
///
/// # Panics
/// If the GPU fails, with libtorch's message.
pub fn own_stream(gpu: usize) {
    thread_local! {
        static OWN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    if OWN.get() != Some(gpu) {
        // SAFETY: sets the calling thread's device and stream.
        check(unsafe { wninit_own_stream(gpu as c_int) });
        OWN.set(Some(gpu));
    }
}

/// Waits for all that the calling thread has launched on a GPU.
///
/// # Panics
/// If the GPU fails, with libtorch's message.
pub(crate) fn synchronize(gpu: usize) {
    // SAFETY: waits.
    check(unsafe { wninit_synchronize(gpu as c_int) });
}

/// Sets `torch.backends.cudnn.benchmark`.
pub(crate) fn benchmark_cudnn(benchmark: bool) {
    // SAFETY: sets a flag.
    unsafe { wninit_benchmark_cudnn(benchmark) }
}

/// Streams besides the thread's own, for independent pieces of work to run concurrently.
#[derive(Debug)]
pub(crate) struct Lanes {
    handle: *mut c_void,
    count: usize,
    /// Not `Send`: they belong to the thread that created them.
    _thread: PhantomData<*mut ()>,
}

impl Lanes {
    /// # Panics
    /// If the GPU fails, with libtorch's message.
    pub(crate) fn new(gpu: usize, count: usize) -> Lanes {
        let mut handle = std::ptr::null_mut();
        // SAFETY: `handle` is written to, and ours to free.
        check(unsafe { wninit_lanes_new(&mut handle, gpu as c_int, count as i64) });
        Lanes { handle, count, _thread: PhantomData }
    }

    /// Calls `work` for 0, 1, … `pieces` − 1, launching on the lanes in turn. The lanes wait for
    /// the thread's own stream before, which waits for them after, so tensors may cross in both
    /// directions. Memory allocated on a lane is reused by that lane.
    ///
    /// # Panics
    /// If the GPU fails, with libtorch's message, or if `work` does.
    pub(crate) fn each<T>(&self, pieces: i64, mut work: impl FnMut(i64) -> T) -> Vec<T> {
        /// Returns to the own stream even if `work` panics.
        struct Forked(*mut c_void, bool);
        impl Drop for Forked {
            fn drop(&mut self) {
                if !self.1 {
                    // SAFETY: the lanes outlive this function. The message is dropped in favour of
                    // the panic's.
                    let message = unsafe { wninit_lanes_join(self.0) };
                    // SAFETY: null or a string from strdup.
                    unsafe { libc::free(message.cast()) };
                }
            }
        }
        // SAFETY (here and below): the handle is live, on the thread that created it.
        check(unsafe { wninit_lanes_fork(self.handle) });
        let mut forked = Forked(self.handle, false);
        let results = (0..pieces)
            .map(|i| {
                check(unsafe { wninit_lanes_enter(self.handle, i % self.count as i64) });
                work(i)
            })
            .collect();
        forked.1 = true;
        check(unsafe { wninit_lanes_join(self.handle) });
        results
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        // SAFETY: the handle is ours.
        unsafe { wninit_lanes_free(self.handle) }
    }
}
