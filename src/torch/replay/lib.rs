//! Records the operators that a piece of work calls on the CPU, and replays them as a CUDA graph is
//! replayed: the same operators on the same memory. It is for tests, which thus find without a GPU
//! what a graph would compute wrongly:
//!
//! * Recording computes nothing.
//! * Memory that the work used, and that was freed since, contains no numbers when it is replayed.
//!   On a GPU it would be another tensor's.
//! * Memory that the work allocated contains no numbers between two replays, since the graphs of a
//!   pool share it.
//! * Operators that a graph cannot contain are refused: those that read a value on the host, those
//!   whose result's size depends on values, and random ones.
//!
//! Work that touches memory without an operator (by its address, as the CPU's kernels for
//! single precision do) is not recorded.

use std::any::Any;
use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use torch_sys as _; // links libtorch

unsafe extern "C" {
    fn wninit_recording_begin() -> *mut c_void;
    fn wninit_recording_end(recording: *mut c_void);
    fn wninit_recording_replay(recording: *const c_void) -> *mut c_char;
    fn wninit_recording_poison(recording: *const c_void);
    fn wninit_recording_free(recording: *mut c_void);
}

/// Recorded operators with their memory.
#[derive(Debug)]
pub struct Recording(*mut c_void);

impl Recording {
    /// Records what `work` computes on the calling thread, and takes it back. The tensors it returns
    /// contain no numbers yet.
    ///
    /// # Errors
    /// The panic of `work`; an operator that cannot be recorded panics with its name.
    pub fn record<T>(work: impl FnOnce() -> T) -> Result<(Recording, T), Box<dyn Any + Send>> {
        // SAFETY (here and below): the handle is ours and live.
        let recording = Recording(unsafe { wninit_recording_begin() });
        let result = catch_unwind(AssertUnwindSafe(work));
        unsafe { wninit_recording_end(recording.0) };
        result.map(|result| (recording, result))
    }

    /// Computes what was recorded. To be followed by [`Recording::poison`] once the results are
    /// copied.
    ///
    /// # Panics
    /// If an operator fails, with libtorch's message.
    pub fn replay(&self) {
        // SAFETY: the message is null or from strdup.
        unsafe {
            let message = wninit_recording_replay(self.0);
            if !message.is_null() {
                let text = CStr::from_ptr(message).to_string_lossy().into_owned();
                libc::free(message.cast());
                panic!("{text}");
            }
        }
    }

    /// Overwrites all memory that the work allocated, its results included.
    pub fn poison(&self) {
        // SAFETY: as above.
        unsafe { wninit_recording_poison(self.0) }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { wninit_recording_free(self.0) }
    }
}
