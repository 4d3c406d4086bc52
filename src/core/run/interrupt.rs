//! Ctrl-C and SIGTERM: the first one asks, the second one ends the process. SIGHUP and SIGUSR1 ask,
//! however often they come.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

/// The exit code after an interrupt.
pub const EXIT_INTERRUPTED: u8 = 130;

/// A flag that the first SIGINT or SIGTERM sets; the second one ends the process at once, with
/// exit code 130. SIGUSR1 and SIGHUP set it, too, and do not count as one of the two: a batch system
/// may send its SIGTERM to all processes of a job while the job's script passes on a warning, and a
/// terminal that is closed sends its SIGHUP as the kernel and as the shell. Where SIGHUP is ignored,
/// as under `nohup`, it stays so.
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
    if !is_ignored(SIGHUP) {
        flag::register(SIGHUP, Arc::clone(&stop))?;
    }
    Ok(stop)
}

fn is_ignored(signal: i32) -> bool {
    // SAFETY: zeroes are a valid `sigaction`, and without a new one the call only reads.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}
