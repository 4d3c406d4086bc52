//! A sweep's folder, read for a summary or a report.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use wninit_core::fmt::plural;
use wninit_core::grid::{Explored, Grid, Overrides};
use wninit_core::job::{Job, JobId};
use wninit_core::results::{
    Curvature, Record, best_curvatures, planned_jobs, read_curvatures, read_failures, read_runs,
};
use wninit_core::text::listed;
use wninit_core::usage::{UsageError, usage};
use wninit_stats::summary::{Input, Note, Summary};

/// The contents of a sweep's folder.
pub struct Folder {
    pub name: String,
    pub about: Option<String>,
    pub records: Vec<Record>,
    pub planned: Vec<(JobId, Job)>,
    /// `None` if it cannot be read; a warning says why.
    pub grid: Option<Grid>,
    curvatures: Vec<Curvature>,
    failed: Vec<JobId>,
    pub warnings: Vec<String>,
}

impl Folder {
    /// Reads a sweep's folder, its shards included.
    ///
    /// # Errors
    /// The folder is not a sweep's, or a file other than its grid cannot be read.
    pub fn read(dir: &Path) -> anyhow::Result<Folder> {
        if !dir.is_dir() {
            return Err(usage(format!(
                "there is no folder {}; name a sweep's, such as results/depth",
                dir.display()
            )));
        }
        let runs = read_runs(dir)?;
        let planned = planned_jobs(dir, &runs)?;
        if planned.is_none() && runs.records.is_empty() {
            return Err(usage(format!(
                "{} is not a sweep's folder: it has neither plan.csv nor runs.csv",
                dir.display()
            )));
        }
        let full = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        let mut folder = Folder {
            name: full.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            about: None,
            records: runs.records,
            planned: planned.unwrap_or_default(),
            curvatures: best_curvatures(read_curvatures(dir)?),
            failed: read_failures(dir)?.into_iter().map(|failure| failure.id).collect(),
            grid: None,
            warnings: runs.warnings,
        };
        folder.warnings.extend(runs.conflicts.iter().map(ToString::to_string));
        // Only claims need the grid.
        match Grid::load(&dir.join("grid.toml"), &Overrides::default()) {
            Ok(grid) => {
                folder.name.clone_from(&grid.name);
                folder.about.clone_from(&grid.about);
                folder.warnings.extend_from_slice(&grid.warnings);
                folder.grid = Some(grid);
            }
            Err(error) => folder.warnings.push(format!(
                "{error}; without the grid there are no claims and no published numbers"
            )),
        }
        Ok(folder)
    }

    /// The summary of its results.
    ///
    /// # Errors
    /// As [`Summary::new`].
    pub fn summary(&self, baseline: Option<&str>) -> anyhow::Result<Summary> {
        let input = self.input(baseline);
        let mut summary = Summary::new(&input).map_err(|error| UsageError(error.into()))?;
        if let Some(explored) = input.explored {
            summary.notes.insert(0, Note::new("claims", self.confirms(explored)));
        }
        summary.notes.extend(self.warnings.iter().map(|text| Note::new("files", text)));
        Ok(summary)
    }

    /// The input of the summary.
    pub fn input<'a>(&'a self, baseline: Option<&'a str>) -> Input<'a> {
        let grid = self.grid.as_ref();
        Input {
            planned: &self.planned,
            records: &self.records,
            curvatures: &self.curvatures,
            failed: &self.failed,
            claims: grid.map_or(&[], |grid| &grid.claims),
            until_decided: grid.and_then(|grid| grid.until_decided),
            published: grid.map_or(&[], |grid| &grid.published),
            explored: grid.and_then(|grid| grid.explored.as_ref()),
            baseline,
        }
    }

    /// The origin of the learning rates.
    fn confirms(&self, explored: &Explored) -> String {
        let seeds = || explored.chosen.iter().map(|chosen| chosen.seeds);
        let each = match (seeds().min(), seeds().max()) {
            (Some(least), Some(most)) if least < most => format!("{least} to {most} seeds each"),
            (_, most) => format!("{} each", plural(most.unwrap_or(0), "seed")),
        };
        let judges: BTreeSet<(u64, u64)> =
            self.planned.iter().map(|(_, job)| (job.init_seed, job.data_seed)).collect();
        let mut remarks: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for chosen in &explored.chosen {
            let words = chosen.setting.iter().map(|c| c.to_string().replace(" = ", " "));
            let setting = words.collect::<Vec<_>>().join(" ");
            let setting = if setting.is_empty() { "every setting".to_owned() } else { setting };
            if let Some(note) = &chosen.note {
                remarks.entry(note).or_default().push(setting);
            }
        }
        let remarks = remarks.iter().map(|(note, at)| format!(" At {}: {note}.", listed(at)));
        format!(
            "Learning rates were chosen in {} on validation ({each}); judged here by {}. Claims that \
             name no learning rate, also those about success, are about the chosen ones.{}",
            explored.folder,
            plural(judges.len(), "fresh seed"),
            remarks.collect::<String>()
        )
    }
}
