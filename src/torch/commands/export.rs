//! `wninit export`: writes a job's network as a safetensors file.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::Context;

use crate::device;
use crate::train::{Libtorch, as_safetensors};
use wninit_core::atomic::write_atomically;
use wninit_core::cli::export::{Args, At};
use wninit_core::console::{self, warn};
use wninit_core::data;
use wninit_core::job::{FIELDS, Job, JobId};
use wninit_core::results::{Record, differences, planned_jobs, read_runs};
use wninit_core::run::interrupt::{self, EXIT_INTERRUPTED};
use wninit_core::run::trainer::Stop;
use wninit_core::usage::{UsageError, usage};

/// Writes a file for each job that is named, and prints its path.
///
/// # Errors
/// The folder has no such job, the job cannot be trained, or the file cannot be written.
pub(crate) fn run(args: &Args, commit: &'static str) -> anyhow::Result<u8> {
    let dir = args.results.folder(&args.dir)?;
    let runs = read_runs(&dir)?;
    warn(&runs.warnings);
    let mut jobs: HashMap<JobId, Job> =
        planned_jobs(&dir, &runs)?.unwrap_or_default().into_iter().collect();
    let finished = runs.records.iter().map(|record| record.job.clone());
    jobs.extend(runs.ids.iter().copied().zip(finished));
    let mut seen = HashSet::new();
    let wanted: Vec<&JobId> = args.job.iter().filter(|id| seen.insert(**id)).collect();
    if let Some(id) = wanted.iter().find(|id| !jobs.contains_key(id)) {
        return Err(usage(format!(
            "--job {id}: {} has no such job; the column job_id of its plan.csv lists them",
            dir.display()
        )));
    }
    let mut devices = device::workers(&args.device, Some(1)).map_err(UsageError)?;
    devices.truncate(1);
    let stop = interrupt::install()?;
    let folder = args.data.clone().unwrap_or_else(data::default_dir);
    let trainer = Libtorch::new(devices, folder, Arc::clone(&stop), commit);
    let out = args.out.clone().unwrap_or_else(|| dir.join("export"));
    std::fs::create_dir_all(&out).with_context(|| {
        format!("cannot make the folder {}; choose another with --out", out.display())
    })?;
    for id in wanted {
        let job = &jobs[id];
        let fields: serde_json::Map<String, serde_json::Value> = FIELDS
            .iter()
            .filter_map(|field| Some((field.name.to_owned(), field.get(job)?.to_string().into())))
            .collect();
        let mut metadata = HashMap::from([
            ("job_id".to_owned(), id.to_string()),
            ("job".to_owned(), serde_json::to_string(&fields)?),
            ("git_sha".to_owned(), commit.to_owned()),
        ]);
        if let Some(rule) = job.init.rule() {
            metadata.insert("init_rule".to_owned(), rule.to_string());
        }
        let (name, tensors) = match args.at {
            At::Start => ("start", trainer.state_at_start(job).map(Some)),
            At::Best => {
                let trained = trainer.state_at_best(job).map(|(again, tensors)| {
                    let row = runs.records.iter().find(|row| row.job.id() == *id);
                    warn(row.map_or_else(Vec::new, |row| changed(row, &again)));
                    metadata
                        .extend(again.best_epoch.map(|e| ("best_epoch".to_owned(), e.to_string())));
                    metadata.extend(again.test_acc.map(|x| ("test_acc".to_owned(), x.to_string())));
                    tensors
                });
                ("best", trained)
            }
        };
        let tensors = match tensors {
            Ok(Some(tensors)) => tensors,
            Ok(None) => {
                return Err(usage(format!(
                    "--job {id} diverged before an epoch was whole, so it has no best epoch; \
                     --at start exports its initial network"
                )));
            }
            Err(Stop::Interrupted) => return Ok(EXIT_INTERRUPTED),
            Err(Stop::Failed { error, .. }) => return Err(error.context(format!("job {id}"))),
        };
        let file = out.join(format!("{id}-{name}.safetensors"));
        write_atomically(&file, &as_safetensors(tensors, metadata)?)?;
        console::print(&format!("{}\n", file.display()))?;
    }
    Ok(0)
}

/// A warning for each column in which a job's row differs from the training that is exported.
fn changed(row: &Record, again: &Record) -> Vec<String> {
    let id = row.job.id();
    let warning = |(column, row, again)| {
        format!("job {id}: {column} is {again} now and {row} in its row; see `wninit verify`")
    };
    differences(row, again).into_iter().map(warning).collect()
}
