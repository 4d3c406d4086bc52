//! The earlier sweep that chose a sweep's learning rates.

use super::Condition;
use crate::job::Job;

/// The sweep whose validation accuracies chose the learning rates of this one. `wninit confirm`
/// writes it; the summary then uses its rates instead of choosing.
#[derive(Clone, Debug, Default)]
pub struct Explored {
    /// Its folder, as named on the command line.
    pub folder: String,
    /// The commits of the program that trained it.
    pub commits: String,
    /// Its finished runs.
    pub runs: usize,
    /// Its choice for each setting of all fields but the learning rate and the seeds.
    pub chosen: Vec<Chosen>,
}

/// The learning rate of one setting.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The setting: fields that vary in the sweep, each with one value.
    pub setting: Vec<Condition>,
    /// The learning rate.
    pub lr: f64,
    /// Mean of the best validation accuracies, a fraction, a diverged run counted as a guess; `None`
    /// if no run was finished.
    pub val_acc: Option<f64>,
    /// Number of seeds in the mean.
    pub seeds: usize,
    /// The second-best learning rate with its mean.
    pub runner_up: Option<(f64, f64)>,
    /// A remark on the choice for the reader.
    pub note: Option<String>,
}

impl Explored {
    /// The choice for the setting of a job, whatever the job's own learning rate is.
    pub fn chosen_for(&self, job: &Job) -> Option<&Chosen> {
        let fits = |chosen: &&Chosen| chosen.setting.iter().all(|condition| condition.holds(job));
        // A field that does not apply to a setting has no condition there, so the longest match
        // counts.
        self.chosen.iter().filter(fits).max_by_key(|chosen| chosen.setting.len())
    }
}
