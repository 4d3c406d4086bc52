//! Ctrl-C and SIGTERM: the first one asks, the second one ends the process. SIGUSR1 asks, however
//! often it comes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

/// The exit code after an interrupt.
pub const EXIT_INTERRUPTED: u8 = 130;

/// A flag that the first SIGINT or SIGTERM sets; the second one ends the process at once, with
/// exit code 130. SIGUSR1 sets it, too, and does not count as one of the two: a batch system may
/// send its SIGTERM to all processes of a job while the job's script passes on a warning.
///
/// # Errors
/// The handlers cannot be installed.
pub fn install() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order, or the first signal would meet a flag that it has just set itself.
        flag::register_conditional_shutdown(signal, EXIT_INTERRUPTED.into(), Arc::clone(&asked))?;
        flag::register(signal, Arc::clone(&asked))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    flag::register(SIGUSR1, Arc::clone(&stop))?;
    Ok(stop)
}
