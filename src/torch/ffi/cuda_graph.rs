//! CUDA graphs. Without CUDA's headers at build time, [`GraphMemory::new`] fails.

use std::ffi::{c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::ffi::{check, is_out_of_memory, message_of};

unsafe extern "C" {
    fn wninit_has_graphs() -> bool;
    fn wninit_graph_memory(out: *mut u64) -> *mut c_char;
    fn wninit_graph_begin(out: *mut *mut c_void, memory: *const u64, gpu: c_int) -> *mut c_char;
    fn wninit_graph_end(graph: *mut c_void) -> *mut c_char;
    fn wninit_graph_replay(graph: *mut c_void) -> *mut c_char;
    fn wninit_graph_free(graph: *mut c_void);
}

/// Whether the program was built with CUDA's headers.
pub(crate) fn supported() -> bool {
    // SAFETY: has no preconditions.
    unsafe { wninit_has_graphs() }
}

/// A memory pool of a GPU, shared by graphs that never run concurrently. Once the last graph is gone,
/// libtorch frees it, and refuses to record another one with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GraphMemory {
    pub gpu: usize,
    pool: [u64; 2],
}

impl GraphMemory {
    /// # Errors
    /// libtorch's message.
    pub(crate) fn new(gpu: usize) -> Result<GraphMemory, String> {
        let mut pool = [0; 2];
        // SAFETY: writes two numbers.
        message_of(unsafe { wninit_graph_memory(pool.as_mut_ptr()) })
            .map(|()| GraphMemory { gpu, pool })
    }
}

/// A CUDA graph: recorded work, launched as a whole on the same memory.
#[derive(Debug)]
pub(crate) struct Graph(*mut c_void);

impl Graph {
    /// Records what `work` launches on the thread's stream without running it. The tensors it
    /// returns have memory, but no contents yet.
    ///
    /// # Errors
    /// libtorch's message, if `work` cannot be recorded.
    ///
    /// # Panics
    /// If `work` runs out of memory, as it would unrecorded.
    pub(crate) fn record<T>(
        memory: GraphMemory,
        work: impl FnOnce() -> T,
    ) -> Result<(Graph, T), String> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: `handle` is written to, and ours to free.
        message_of(unsafe {
            wninit_graph_begin(&mut handle, memory.pool.as_ptr(), memory.gpu as c_int)
        })?;
        let graph = Graph(handle);
        let result = catch_unwind(AssertUnwindSafe(work));
        // SAFETY: the handle is live.
        let ended = message_of(unsafe { wninit_graph_end(graph.0) });
        match result {
            Ok(result) => ended.map(|()| (graph, result)),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                if is_out_of_memory(&text) { resume_unwind(panic) } else { Err(text) }
            }
        }
    }

    /// # Panics
    /// If the GPU fails, with libtorch's message.
    pub(crate) fn replay(&self) {
        // SAFETY: the handle is live.
        check(unsafe { wninit_graph_replay(self.0) });
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: the handle is ours.
        unsafe { wninit_graph_free(self.0) }
    }
}
