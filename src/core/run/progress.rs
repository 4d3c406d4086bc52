//! How far a run is: a bar on a terminal, a line now and then elsewhere, and `progress.json` for
//! `wninit status`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use crate::console::{say, stderr_is_terminal};
use crate::fmt::duration;
use crate::results::write_atomically;

const FILE: &str = "progress.json";
const STEPS: u64 = 10_000;

/// Where a run stands: the contents of `progress.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The running process.
    pub pid: u32,
    /// The machine on which it runs.
    pub host: String,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When this was written.
    pub updated_at: DateTime<Utc>,
    /// Jobs of the plan.
    pub planned: usize,
    /// Jobs that are finished, by this run or before it.
    pub finished: usize,
    /// Jobs that this run finished and that diverged.
    pub diverged: usize,
    /// Jobs that failed in this run and were not finished since.
    pub failed: usize,
    /// Jobs being trained at this moment.
    pub running: usize,
    /// Share of this run's work that is done, weighted by cost, from 0 to 1.
    pub fraction: f64,
    /// Seconds that the rest will take at the pace so far; `None` while there is none.
    pub eta_seconds: Option<f64>,
}

impl Progress {
    /// The last words of the process that ran, or runs, the sweep; `None` if it left none that
    /// can be read.
    pub fn read(dir: &Path) -> Option<Progress> {
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
    said: Instant,
}

impl Display {
    /// How often `progress.json` is written.
    const FILE_EVERY: Duration = Duration::from_secs(1);
    /// How often a line is printed where stderr is no terminal.
    const LINE_EVERY: Duration = Duration::from_secs(5);

    pub(crate) fn new(dir: &Path) -> Display {
        let bar = stderr_is_terminal().then(|| {
            let bar = ProgressBar::new(STEPS);
            if let Ok(style) = ProgressStyle::with_template("{bar:20} {percent:>3} %  {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Display { file: dir.join(FILE), bar, written: None, said: Instant::now() }
    }

    /// Whether [`Display::show`] has something to do, so that nobody counts jobs for nothing.
    pub(crate) fn due(&self) -> bool {
        self.written.is_none_or(|at| at.elapsed() >= Self::FILE_EVERY)
    }

    /// Shows where the run stands.
    pub(crate) fn show(&mut self, progress: &Progress) {
        // Not being able to say how far it is must not stop a sweep; the journal will complain.
        if let Ok(json) = serde_json::to_string_pretty(progress) {
            write_atomically(&self.file, format!("{json}\n").as_bytes()).ok();
        }
        self.written = Some(Instant::now());
        match &self.bar {
            Some(bar) => {
                bar.set_position((progress.fraction * STEPS as f64) as u64);
                bar.set_message(progress.line());
            }
            None if self.said.elapsed() >= Self::LINE_EVERY => {
                self.said = Instant::now();
                say(&progress.line());
            }
            None => {}
        }
    }

    /// Prints a message without disturbing the bar.
    pub(crate) fn say(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(message)),
            None => say(message),
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
