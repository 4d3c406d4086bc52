//! Progress of a run: a bar on a terminal, occasional lines elsewhere, and `progress.json` for
//! `wninit status`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use crate::atomic::write_atomically;
use crate::console::{alert, draws_progress, say};
use crate::fmt::duration;

const FILE: &str = "progress.json";
const STEPS: u64 = 10_000;

/// The contents of `progress.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct RunProgress {
    pub pid: u32,
    pub host: String,
    pub started_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub planned: usize,
    /// Finished jobs, of this run and of earlier ones.
    pub finished: usize,
    /// Diverged jobs of this run.
    pub diverged: usize,
    /// Jobs that failed in this run and have not finished since.
    pub failed: usize,
    pub running: usize,
    /// The fraction of this run's work that is done, weighted by cost.
    pub fraction: f64,
    /// Estimated remaining seconds; `None` before the first progress.
    pub eta_seconds: Option<f64>,
}

impl RunProgress {
    /// Reads `progress.json` of the last or current run; `None` if it is missing or unreadable.
    pub fn read(dir: &Path) -> Option<RunProgress> {
        serde_json::from_slice(&fs::read(dir.join(FILE)).ok()?).ok()
    }

    fn line(&self) -> String {
        let mut line = format!("{}/{} jobs", self.finished, self.planned);
        let mut add = |n: usize, what: &str| {
            if n > 0 {
                line.push_str(&format!(", {n} {what}"));
            }
        };
        add(self.running, "running");
        add(self.diverged, "diverged");
        add(self.failed, "failed");
        if let Some(seconds) = self.eta_seconds {
            line.push_str(&format!(", about {} left", duration(seconds)));
        }
        line
    }
}

/// Shows a run's progress on stderr and keeps `progress.json` up to date.
pub(crate) struct Display {
    file: PathBuf,
    bar: Option<ProgressBar>,
    written: Option<Instant>,
    printed: Instant,
}

impl Display {
    /// How often `progress.json` is written.
    const FILE_EVERY: Duration = Duration::from_secs(1);
    /// How often a line is printed if stderr is not a terminal.
    const LINE_EVERY: Duration = Duration::from_secs(5);

    pub(crate) fn new(dir: &Path) -> Display {
        let bar = draws_progress().then(|| {
            let bar = ProgressBar::new(STEPS);
            if let Ok(style) = ProgressStyle::with_template("{bar:20} {percent:>3} %  {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Display { file: dir.join(FILE), bar, written: None, printed: Instant::now() }
    }

    /// Whether it is time for [`Display::show`].
    pub(crate) fn due(&self) -> bool {
        self.written.is_none_or(|at| at.elapsed() >= Self::FILE_EVERY)
    }

    pub(crate) fn show(&mut self, progress: &RunProgress) {
        // A write error must not stop a sweep; the journal reports it.
        if let Ok(json) = serde_json::to_string_pretty(progress) {
            write_atomically(&self.file, format!("{json}\n").as_bytes()).ok();
        }
        self.written = Some(Instant::now());
        match &self.bar {
            Some(bar) => {
                bar.set_position((progress.fraction * STEPS as f64) as u64);
                bar.set_message(progress.line());
            }
            None if self.printed.elapsed() >= Self::LINE_EVERY => {
                self.printed = Instant::now();
                say(&progress.line());
            }
            None => {}
        }
    }

    /// Prints what happened above the bar.
    pub(crate) fn print(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| alert(message)),
            None => alert(message),
        }
    }

    /// Removes the bar.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
