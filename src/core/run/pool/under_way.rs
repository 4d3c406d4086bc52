//! Detects runs that were killed.
//!
//! The OOM killer leaves no chance to record a failure, and the next run would repeat it. So the cohorts
//! in training are persisted in `under_way.json`. A run that ends by itself, also after Ctrl-C, SIGTERM or
//! SIGHUP, leaves none there; if a run finds some, the previous run was killed. Jobs that were in training
//! during two kills are retried last, at half width. The cause of a kill is unknown, so it is not a failure
//! of these jobs and has no row in `failures.csv`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::scheduler::Running;
use crate::job::JobId;
use crate::plan::cohort::{Cohort, Shape};

const FILE: &str = "under_way.json";

/// After so many kills, a job's cohorts are narrowed.
const TOO_OFTEN: u32 = 2;

/// The contents of the file.
#[derive(Default, PartialEq, Serialize, Deserialize)]
struct Note {
    under_way: Vec<CohortUnderWay>,
    /// By job that is not finished: how often a run was killed while training it.
    killed: BTreeMap<String, Killed>,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct CohortUnderWay {
    /// The number of its jobs at its start.
    width: usize,
    /// Those that are not finished.
    jobs: Vec<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Killed {
    times: u32,
    /// The width of the last cohort.
    width: usize,
}

impl Killed {
    fn half(self) -> usize {
        (self.width / 2).max(1)
    }
}

/// The file `under_way.json`.
pub(super) struct UnderWay {
    file: PathBuf,
    /// The file's contents; `None` if there is none.
    written: Option<Note>,
    killed: BTreeMap<String, Killed>,
}

/// How jobs of a killed run are retried.
#[derive(Default)]
pub(super) struct RetryPolicy {
    /// For the user; `None` if the last run was not killed.
    pub message: Option<String>,
    /// Maximum widths by shape; their cohorts are retried last.
    pub widths: HashMap<Shape, usize>,
}

impl UnderWay {
    /// Reads the file of the last run; this process must hold the folder's lock. Only jobs of `cohorts`
    /// count. An unreadable file is ignored.
    pub(crate) fn open(dir: &Path, cohorts: &[Cohort]) -> (UnderWay, RetryPolicy) {
        let file = dir.join(FILE);
        let found: Option<Note> =
            fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let mut under_way = UnderWay { file, written: found, killed: BTreeMap::new() };
        let Some(found) = &under_way.written else {
            // Avoids computing the ids of up to 100,000 jobs.
            return (under_way, RetryPolicy::default());
        };
        let shapes: HashMap<String, Shape> = cohorts
            .iter()
            .flat_map(|cohort| cohort.jobs().iter().map(|job| (job.id(), cohort.shape())))
            .map(|(id, shape)| (id.to_string(), shape))
            .collect();
        let mut killed = found.killed.clone();
        let mut affected: BTreeMap<String, usize> = BTreeMap::new();
        let mut narrowed = None;
        for stack in &found.under_way {
            for id in &stack.jobs {
                let Some(shape) = shapes.get(id) else { continue };
                let before = killed.get(id).map_or(0, |killed| killed.times);
                let now = Killed { times: before.saturating_add(1), width: stack.width };
                killed.insert(id.clone(), now);
                *affected.entry(shape.arch.to_string()).or_default() += 1;
                if now.times >= TOO_OFTEN {
                    narrowed = narrowed.max(Some(now.half()));
                }
            }
        }
        killed.retain(|id, _| shapes.contains_key(id));

        let mut widths: HashMap<Shape, usize> = HashMap::new();
        for (id, killed) in killed.iter().filter(|(_, killed)| killed.times >= TOO_OFTEN) {
            let width = widths.entry(shapes[id]).or_insert(usize::MAX);
            *width = killed.half().min(*width);
        }
        let message = (!affected.is_empty()).then(|| kill_message(&affected, narrowed));
        under_way.killed = killed;
        (under_way, RetryPolicy { message, widths })
    }

    /// Writes the in-flight cohorts. `finished` returns whether a job is on disk.
    pub(crate) fn set<'r>(
        &mut self,
        running: impl Iterator<Item = &'r Running>,
        finished: impl Fn(JobId) -> bool,
    ) {
        self.killed.retain(|id, _| !id.parse::<JobId>().is_ok_and(&finished));
        let cohort = |running: &Running| CohortUnderWay {
            width: running.task.cohort.jobs().len(),
            jobs: running.unfinished.iter().map(|(id, _)| id.to_string()).collect(),
        };
        let note = Note { under_way: running.map(cohort).collect(), killed: self.killed.clone() };
        let wanted = (note != Note::default()).then_some(note);
        if wanted == self.written {
            return;
        }
        // A write error must not stop a sweep. No sync is needed: written data survives a kill, and a
        // power loss is not caused by the jobs.
        let partial = self.file.with_extension("json.partial");
        let done = match &wanted {
            None => fs::remove_file(&self.file),
            Some(note) => serde_json::to_vec(note)
                .map_err(Into::into)
                .and_then(|text| fs::write(&partial, text))
                .and_then(|()| fs::rename(&partial, &self.file)),
        };
        if done.is_err() {
            // An outdated file would be worse than none.
            let _ = fs::remove_file(&self.file);
        }
        self.written = wanted;
    }
}

/// The message after a kill: the affected jobs by network, and the new width of their cohorts after a
/// repeated kill.
fn kill_message(affected: &BTreeMap<String, usize>, width: Option<usize>) -> String {
    const SHOWN: usize = 3;
    let mut networks: Vec<String> =
        affected.iter().take(SHOWN).map(|(network, n)| format!("{n} of {network}")).collect();
    if affected.len() > SHOWN {
        networks.push(format!("and those of {} other networks", affected.len() - SHOWN));
    }
    let jobs: usize = affected.values().sum();
    let start = format!(
        "the last run was killed, or crashed, while it trained {jobs} jobs: {}.\n",
        networks.join(", ")
    );
    let end = match width {
        None => "They are retried. If memory ran out, use fewer --workers".to_owned(),
        Some(1) => "It was not the first time, so memory may be short: they are retried last, one at a time. \
                    If that does not help, use fewer --workers or --recompute on".to_owned(),
        Some(width) => format!(
            "It was not the first time, so memory may be short: they are retried last, at most {width} at a time. \
             If that does not help, use fewer --workers or --recompute on"
        ),
    };
    start + &end
}
