//! What a run that was killed leaves for the next one: the jobs that it was training.
//!
//! A run that the system kills for want of memory cannot say so, and the next one would do the
//! same again. So the pool keeps a note of the cohorts under way in `under_way.json`. A run that
//! ends by itself, after Ctrl-C, SIGTERM and SIGHUP too, leaves none under way; where one finds some, the
//! run before it was killed. That may happen to anybody once. Jobs that it happened to twice are
//! tried in halves, and after all others. Nobody knows why it happened, so it is no failure of
//! these jobs and does not stand in `failures.csv`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Running;
use crate::job::JobId;
use crate::plan::cohort::{Cohort, Shape};

const FILE: &str = "under_way.json";

/// So many kills look like more than an accident.
const TOO_OFTEN: u32 = 2;

/// The contents of the file.
#[derive(Default, PartialEq, Serialize, Deserialize)]
struct Note {
    /// The cohorts that are being trained.
    under_way: Vec<Stack>,
    /// By job: how often a run was killed while it trained the job, which is not finished.
    killed: BTreeMap<String, Killed>,
}

/// A cohort under way.
#[derive(PartialEq, Serialize, Deserialize)]
struct Stack {
    /// How many jobs it had at its start.
    width: usize,
    /// Those that are not finished.
    jobs: Vec<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Killed {
    times: u32,
    /// The width of the cohort, the last time.
    width: usize,
}

impl Killed {
    /// Half of the width at which it was killed.
    fn half(self) -> usize {
        (self.width / 2).max(1)
    }
}

/// The note on the cohorts under way.
pub(super) struct UnderWay {
    file: PathBuf,
    /// What stands in the file; `None` if there is none.
    written: Option<Note>,
    killed: BTreeMap<String, Killed>,
}

/// What the last run's end means for this one.
#[derive(Default)]
pub(super) struct RetryPolicy {
    /// For the user to read; `None` if the last run was not killed.
    pub message: Option<String>,
    /// The widths from which shapes are tried no wider.
    pub widths: HashMap<Shape, usize>,
}

impl UnderWay {
    /// Reads what the last run left in a sweep's folder, which this process must hold. Only jobs
    /// that are to be trained count. A file that cannot be read is as good as none.
    pub(crate) fn open(dir: &Path, cohorts: &[Cohort]) -> (UnderWay, RetryPolicy) {
        let file = dir.join(FILE);
        let found: Option<Note> =
            fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let mut under_way = UnderWay { file, written: found, killed: BTreeMap::new() };
        let Some(found) = &under_way.written else {
            // Without one there are no ids to compute either: a sweep may have 100,000 jobs.
            return (under_way, RetryPolicy::default());
        };
        let shapes: HashMap<String, Shape> = cohorts
            .iter()
            .flat_map(|cohort| cohort.jobs().iter().map(|job| (job.id(), cohort.shape())))
            .map(|(id, shape)| (id.to_string(), shape))
            .collect();
        let mut killed = found.killed.clone();
        let mut struck: BTreeMap<String, usize> = BTreeMap::new();
        let mut narrowed = None;
        for stack in &found.under_way {
            for id in &stack.jobs {
                let Some(shape) = shapes.get(id) else { continue };
                let before = killed.get(id).map_or(0, |killed| killed.times);
                let now = Killed { times: before.saturating_add(1), width: stack.width };
                killed.insert(id.clone(), now);
                *struck.entry(shape.arch.to_string()).or_default() += 1;
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
        let message = (!struck.is_empty()).then(|| kill_message(&struck, narrowed));
        under_way.killed = killed;
        (under_way, RetryPolicy { message, widths })
    }

    /// Notes what is under way from now on. `finished` tells the jobs that are on the disk.
    pub(crate) fn set<'r>(
        &mut self,
        running: impl Iterator<Item = &'r Running>,
        finished: impl Fn(JobId) -> bool,
    ) {
        self.killed.retain(|id, _| !id.parse::<JobId>().is_ok_and(&finished));
        let stack = |running: &Running| Stack {
            width: running.task.cohort.jobs().len(),
            jobs: running.unfinished.iter().map(|(id, _)| id.to_string()).collect(),
        };
        let note = Note { under_way: running.map(stack).collect(), killed: self.killed.clone() };
        let wanted = (note != Note::default()).then_some(note);
        if wanted == self.written {
            return;
        }
        // Not being able to leave a note must not stop a sweep. Nor is it worth a sync: what the
        // system has accepted survives a kill, and a loss of power says nothing about the jobs.
        let partial = self.file.with_extension("json.partial");
        let done = match &wanted {
            None => fs::remove_file(&self.file),
            Some(note) => serde_json::to_vec(note)
                .map_err(Into::into)
                .and_then(|text| fs::write(&partial, text))
                .and_then(|()| fs::rename(&partial, &self.file)),
        };
        if done.is_err() {
            // A note that is no longer true would be worse than none.
            let _ = fs::remove_file(&self.file);
        }
        self.written = wanted;
    }
}

/// What to tell of a run that was killed: the jobs of each network that it was training, and how
/// wide their cohorts may be now if it was not the first time.
fn kill_message(struck: &BTreeMap<String, usize>, width: Option<usize>) -> String {
    const SHOWN: usize = 3;
    let mut networks: Vec<String> =
        struck.iter().take(SHOWN).map(|(network, n)| format!("{n} of {network}")).collect();
    if struck.len() > SHOWN {
        networks.push(format!("and those of {} other networks", struck.len() - SHOWN));
    }
    let jobs: usize = struck.values().sum();
    let start = format!(
        "the last run was killed, or crashed, while it trained {jobs} jobs: {}.\n",
        networks.join(", ")
    );
    let end = match width {
        None => "They are tried again. If the system killed it for want of memory, take fewer --workers".to_owned(),
        Some(1) => "It was not the first time, so memory may be short: they come last now, each by itself. \
                    If that does not help, take fewer --workers or --recompute on".to_owned(),
        Some(width) => format!(
            "It was not the first time, so memory may be short: they come last now, at most {width} at once. \
             If that does not help, take fewer --workers or --recompute on"
        ),
    };
    start + &end
}
