//! A sweep's folder, read for a summary or a report.

use std::fs;
use std::path::Path;

use anyhow::bail;

use wninit_core::grid::{Claim, Grid, Overrides, Published, UntilDecided};
use wninit_core::job::{Init, Job, JobId};
use wninit_core::results::{
    Curvature, Record, best_curvatures, planned_jobs, read_curvatures, read_failures, read_runs,
};
use wninit_stats::summary::{Input, Note, Summary};

/// What a sweep's folder holds.
pub struct Folder {
    pub name: String,
    pub about: Option<String>,
    pub records: Vec<Record>,
    planned: Vec<(JobId, Job)>,
    curvatures: Vec<Curvature>,
    failed: Vec<JobId>,
    claims: Vec<Claim>,
    until_decided: Option<UntilDecided>,
    published: Vec<Published>,
    warnings: Vec<String>,
}

impl Folder {
    /// Reads a sweep's folder, its shards included.
    ///
    /// # Errors
    /// The folder is no sweep's, or a file of it other than its grid cannot be read.
    pub fn read(dir: &Path) -> anyhow::Result<Folder> {
        if !dir.is_dir() {
            bail!("there is no folder {}; name a sweep's, such as results/depth", dir.display());
        }
        let runs = read_runs(dir)?;
        let planned = planned_jobs(dir)?;
        if planned.is_none() && runs.records.is_empty() {
            bail!("{} is no sweep's folder: it has neither plan.csv nor runs.csv", dir.display());
        }
        let full = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        let mut folder = Folder {
            name: full.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            about: None,
            records: runs.records,
            planned: planned.unwrap_or_default(),
            curvatures: best_curvatures(read_curvatures(dir)?),
            failed: read_failures(dir)?.into_iter().map(|failure| failure.id).collect(),
            claims: Vec::new(),
            until_decided: None,
            published: Vec::new(),
            warnings: runs.warnings,
        };
        folder.warnings.extend(runs.conflicts.iter().map(ToString::to_string));
        // The numbers need no grid, only what was claimed does.
        match Grid::load(&dir.join("grid.toml"), &Overrides::default()) {
            Ok(grid) => {
                folder.name = grid.name;
                folder.about = grid.about;
                folder.claims = grid.claims;
                folder.until_decided = grid.until_decided;
                folder.published = grid.published;
                folder.warnings.extend(grid.warnings);
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
    pub fn summary(&self, baseline: Option<Init>) -> anyhow::Result<Summary> {
        let mut summary = Summary::new(&Input {
            planned: &self.planned,
            records: &self.records,
            curvatures: &self.curvatures,
            failed: &self.failed,
            claims: &self.claims,
            until_decided: self.until_decided,
            published: &self.published,
            baseline,
        })?;
        summary.notes.extend(self.warnings.iter().map(|text| Note::new("files", text)));
        Ok(summary)
    }
}
