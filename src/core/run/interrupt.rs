//! Signals: the first Ctrl-C or SIGTERM requests a stop, the second one ends the process. SIGHUP and
//! SIGUSR1 only request a stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

/// The exit code after an interrupt.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Installs handlers and returns the stop flag. The first SIGINT or SIGTERM sets it; the second one
/// ends the process with exit code 130. SIGUSR1 and SIGHUP set it without counting: a batch system
/// may send SIGTERM to all processes of a job whose script forwards a warning, and a closed terminal
/// may send SIGHUP twice. An ignored SIGHUP, as under `nohup`, stays ignored.
///
/// # Errors
/// The handlers cannot be installed.
pub fn install() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order, or the first signal would see the flag that it sets.
        flag::register_conditional_shutdown(signal, EXIT_INTERRUPTED.into(), Arc::clone(&asked))?;
        flag::register(signal, Arc::clone(&asked))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    flag::register(SIGUSR1, Arc::clone(&stop))?;
    if !is_ignored(SIGHUP) {
        flag::register(SIGHUP, Arc::clone(&stop))?;
    }
    Ok(stop)
}

fn is_ignored(signal: i32) -> bool {
    // SAFETY: zeroes are a valid `sigaction`; without a new action the call only reads.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}
