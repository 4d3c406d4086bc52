//! Failures of libtorch: caught panics, their messages and reasons.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use anyhow::anyhow;

use crate::ffi::is_out_of_memory;
use wninit_core::results::FailureReason;
use wninit_core::run::trainer::Stop;

/// Runs work with tensors. tch's operators panic if libtorch throws (out of memory, a lost device,
/// a bug of ours); such a panic becomes a [`Stop`].
pub(crate) fn catch_torch_panic<T>(work: impl FnOnce() -> Result<T, Stop>) -> Result<T, Stop> {
    install_panic_hook();
    let result = reporting_panics(|| catch_unwind(AssertUnwindSafe(work)));
    result.unwrap_or_else(|panic| {
        let message = panic_message(&*panic);
        Err(Stop::Failed { reason: reason_of(message), error: anyhow!(short(message)) })
    })
}

pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message")
}

thread_local! {
    /// Whether the thread is inside [`reporting_panics`].
    static REPORTING: Cell<bool> = const { Cell::new(false) };
}

/// Runs work whose panics [`catch_torch_panic`] catches and reports, on this thread or another.
pub(super) fn reporting_panics<T>(work: impl FnOnce() -> T) -> T {
    /// Resets the flag even if `work` panics: rayon reuses its threads.
    struct Reset(bool);
    impl Drop for Reset {
        fn drop(&mut self) {
            REPORTING.set(self.0);
        }
    }
    let _reset = Reset(REPORTING.replace(true));
    work()
}

/// Leaves the report of a panic that is not a bug to its catcher.
///
/// Rust's default hook captures a backtrace while it holds a lock; when memory has run out, that
/// deadlocks the thread.
fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !REPORTING.get() || reason_of(panic_message(info.payload())) == FailureReason::Panic
            {
                report(info);
            }
        }));
    });
}

/// libtorch's message without tch's wrapping and the C++ stack.
pub(super) fn short(message: &str) -> String {
    let text = message.split_once("Torch(\"").map_or(message, |(_, text)| text);
    let end = ["\\nframe #", "\nframe #", "\\nException raised from", "\nException raised from"]
        .iter()
        .filter_map(|stack| text.find(stack))
        .min();
    let text = text[..end.unwrap_or(text.len())].trim_end_matches("\")");
    let text = match text.split_once("] err == 0. ") {
        Some((place, text)) if place.starts_with("[enforce fail") => text,
        _ => text,
    };
    text.replace("\\n", " ").trim().to_owned()
}

fn reason_of(message: &str) -> FailureReason {
    let contains = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    if is_out_of_memory(message) {
        FailureReason::Memory
    } else if contains(&["CUDA error", "cuDNN error", "CUBLAS_STATUS", "cuda runtime error"]) {
        FailureReason::Device
    } else {
        FailureReason::Panic
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;
    use wninit_core::plan::cohort::Shape;

    #[test]
    fn threads_that_draw_networks_are_left_as_they_were() {
        use crate::models::ModelConfig;
        use crate::train::initial::drawn_in_parallel;
        let job = wninit_core::job::Draft::default().resolve().expect("defaults are valid");
        let config = ModelConfig::of(&Shape::of(&job), Device::Cpu);
        let thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        thread.install(|| {
            assert_eq!(drawn_in_parallel(&[job.clone(), job], config).len(), 2);
            assert!(!REPORTING.get(), "a later panic would not be reported");
        });
        let panicked = catch_unwind(|| reporting_panics(|| panic!("out of memory")));
        assert!(panicked.is_err() && !REPORTING.get());
    }

    #[test]
    fn a_failure_is_reported_with_libtorchs_message_alone() {
        let message = "called `Result::unwrap()` on an `Err` value: Torch(\"[enforce fail at alloc_cpu.cpp:127] \
                       err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes. Error \
                       code 12 (Cannot allocate memory)\\nframe #0: c10::ThrowEnforceNotMet + 0x6a\")";
        assert_eq!(reason_of(message), FailureReason::Memory);
        let text = short(message);
        assert!(text.starts_with("DefaultCPUAllocator: can't allocate"), "{text}");
        assert!(text.ends_with("(Cannot allocate memory)"), "{text}");
        let wrapped = "called `Result::unwrap()` on an `Err` value: Torch(\"std::bad_alloc\")";
        assert_eq!(short(wrapped), "std::bad_alloc");
        assert_eq!(reason_of("std::bad_alloc"), FailureReason::Memory);
        assert_eq!(short("index out of bounds"), "index out of bounds");
        for message in [
            "GET was unable to find an engine to execute this computation",
            "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        ] {
            assert_eq!(reason_of(message), FailureReason::Memory, "{message}");
        }
        assert_eq!(reason_of("CUDA error: unspecified launch failure"), FailureReason::Device);
    }
}
