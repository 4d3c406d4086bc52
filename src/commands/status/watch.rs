//! `wninit status --watch`: the progress of a sweep until it is finished.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Status;
use wninit_core::console;
use wninit_core::run::interrupt::{self, EXIT_INTERRUPTED};
use wninit_core::text::visible;

const EVERY: Duration = Duration::from_secs(2);

/// Draws the status again and again on a terminal, and prints a line for each change elsewhere.
/// Ends when the sweep is complete, with exit code 0; on Ctrl-C, with 130; or when nobody reads.
///
/// # Errors
/// The folder is not a sweep's, or its files cannot be read.
pub(super) fn watch(dir: &Path) -> Result<u8> {
    let stop = interrupt::install()?;
    let terminal = console::stdout_is_terminal();
    let (mut drawn, mut last) = (0, String::new());
    loop {
        let status = Status::of(dir)?;
        let text = if terminal {
            let text = status.to_string();
            frame(&text, console::terminal_rows().unwrap_or(24), &mut drawn)
        } else {
            let line = line(&status);
            if line == last {
                String::new()
            } else {
                last.clone_from(&line);
                line
            }
        };
        if !text.is_empty() && !console::print_piece(&text)? {
            return Ok(0);
        }
        if status.complete && status.running.is_empty() {
            return Ok(0);
        }
        let drawn_at = Instant::now();
        while drawn_at.elapsed() < EVERY {
            if stop.load(Ordering::Relaxed) {
                return Ok(EXIT_INTERRUPTED);
            }
            if console::is_closed() {
                return Ok(0);
            }
            sleep(Duration::from_millis(50));
        }
    }
}

/// A text drawn over the previous one, of `drawn` lines, in one piece: no line is cleared before it
/// is written, and long lines are cut at the terminal's edge.
fn frame(text: &str, rows: usize, drawn: &mut usize) -> String {
    let room = rows.saturating_sub(2).max(1);
    let mut lines: Vec<String> = text.lines().map(visible).collect();
    if lines.len() > room {
        let more = lines.len() - room;
        lines.truncate(room);
        lines.push(format!("… and {more} more lines"));
    }
    let up = match *drawn {
        0 => String::new(),
        n => format!("\x1b[{n}A"),
    };
    *drawn = lines.len();
    let lines: String = lines.iter().map(|line| format!("\r{line}\x1b[K\n")).collect();
    format!("{up}\x1b[?7l{lines}\x1b[J\x1b[?7h")
}

/// A sweep in one line.
fn line(status: &Status) -> String {
    let Status { finished, planned, diverged, failed, running, .. } = status;
    let running = match running.len() {
        0 if status.complete => "complete".to_owned(),
        0 => "not running".to_owned(),
        1 => "running".to_owned(),
        n => format!("{n} processes running"),
    };
    format!("{finished}/{planned} finished, {diverged} diverged, {failed} failed; {running}\n")
}

#[cfg(test)]
mod tests {
    use super::frame;

    #[test]
    fn a_frame_goes_over_the_previous_one_and_fits_the_terminal() {
        let mut drawn = 0;
        assert!(!frame("a\nb\n", 24, &mut drawn).contains("\x1b[2A"));
        assert_eq!(drawn, 2);
        let second = frame("a\n", 24, &mut drawn);
        assert!(second.starts_with("\x1b[2A") && second.ends_with("\x1b[J\x1b[?7h"), "{second:?}");
        let many = "x\n".repeat(50);
        let cut = frame(&many, 10, &mut drawn);
        assert_eq!(cut.matches('\n').count(), 9);
        assert!(cut.contains("… and 42 more lines"), "{cut:?}");
        assert!(!frame("\u{1b}[2J", 10, &mut drawn).contains("\x1b[2J"));
    }
}
