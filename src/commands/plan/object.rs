//! What a grid means and costs, as one object: `wninit plan --json`, and the table of several grids.

use std::collections::BTreeSet;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::{epochs_for, networks, remaining, so_far};
use wninit_core::data::{self, Sources, fetch, files};
use wninit_core::grid::Grid;
use wninit_core::job::{Job, Value};
use wninit_core::plan::cohort::Cohort;
use wninit_core::plan::cost::{self, ModelCost};
use wninit_core::plan::speed::Speeds;
use wninit_core::results;

/// What `wninit plan --json` prints.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Plans {
    /// each sweep, in the order of the command line
    pub sweeps: Vec<PlannedSweep>,
}

/// A sweep, and the cost of its unfinished jobs.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct PlannedSweep {
    /// its name
    pub name: String,
    /// what it asks
    pub about: Option<String>,
    /// the folder of its results
    pub folder: String,
    /// the fields that vary, with their values
    pub axes: Vec<PlannedAxis>,
    /// jobs, finished ones included
    pub jobs: usize,
    /// most jobs that there can be, if seeds are added until claims are decided
    pub most_jobs: Option<usize>,
    /// jobs that are finished
    pub finished: usize,
    /// jobs that are not
    pub remaining: usize,
    /// cohorts in which the remaining jobs train
    pub cohorts: usize,
    /// floating-point operations of the remaining jobs
    pub flop: f64,
    /// estimated seconds of the remaining jobs on all workers of this machine, if nothing diverges
    pub seconds: f64,
    /// workers of this machine, each a core or a GPU
    pub workers: usize,
    /// the GPU of the estimate; null for the CPU
    pub gpu: Option<String>,
    /// whether all networks were timed on this machine; otherwise the estimate is from operation counts
    pub measured: bool,
    /// estimated hours of the remaining jobs on one core of this machine
    pub core_hours: f64,
    /// estimated hours of the remaining jobs on one GPU
    pub gpu_hours: f64,
    /// bytes of the sweep's CSV files when all jobs are finished
    pub disk_bytes: f64,
    /// the networks that the jobs train
    pub networks: Vec<Network>,
    /// data sets that are missing or damaged, with the remedy
    pub missing_data: Vec<String>,
    /// what may be a mistake in the grid
    pub warnings: Vec<String>,
}

/// A field that varies.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct PlannedAxis {
    /// the field
    pub field: &'static str,
    /// its values
    pub values: Vec<serde_json::Value>,
}

/// A network that jobs train.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Network {
    /// model and sizes
    pub model: String,
    /// normalisation
    pub norm: String,
    /// data set
    pub dataset: String,
    /// jobs that train it
    pub jobs: usize,
    /// trainable parameters
    pub parameters: f64,
    /// floating-point operations of one image's forward pass
    pub forward_flop: f64,
    /// bytes of memory that a worker needs on a CPU
    pub memory_bytes: f64,
}

impl PlannedSweep {
    /// The plan of a grid whose results are in a folder, and its cost by the known speeds.
    ///
    /// # Errors
    /// The grid is invalid, or the results cannot be read.
    pub fn of(grid: &Grid, dir: PathBuf, speeds: &Speeds) -> anyhow::Result<PlannedSweep> {
        let (plan, path) = so_far(grid, &dir)?;
        let cohorts = remaining(&plan, &results::finished_ids(&dir)?, speeds);
        let left = cohorts.iter().map(|cohort| cohort.jobs().len()).sum();
        let [core, gpu] = speeds.clone().of_a_core_and_a_gpu();
        let hours = |speeds: &Speeds| {
            let seconds = cohorts.iter().map(|c| speeds.seconds(&c.shape(), c.jobs().len()));
            seconds.fold(0.0, |sum, s| sum + s) * epochs_for(grid) / 3600.0
        };
        let flop = |c: &Cohort| cost::job_flop(&c.shape()) * c.jobs().len() as f64;
        let workers = super::workers(speeds);
        Ok(PlannedSweep {
            name: grid.name.clone(),
            about: grid.about.clone(),
            folder: dir.display().to_string(),
            axes: plan
                .axes
                .iter()
                .map(|axis| PlannedAxis {
                    field: axis.field.name,
                    values: axis.values.iter().map(json).collect(),
                })
                .collect(),
            jobs: plan.jobs.len(),
            most_jobs: path.map(|path| path.most()),
            finished: plan.jobs.len() - left,
            remaining: left,
            cohorts: cohorts.len(),
            flop: cohorts.iter().map(flop).fold(0.0, |sum, x| sum + x),
            seconds: speeds.sweep_seconds(&cohorts, workers),
            workers,
            gpu: speeds.gpu().map(str::to_owned),
            measured: cohorts.iter().all(|c| speeds.knows(&c.shape(), c.jobs().len())),
            core_hours: hours(&core),
            gpu_hours: hours(&gpu),
            disk_bytes: plan.jobs.iter().map(|planned| disk(&planned.job)).sum(),
            networks: networks(&plan)
                .into_iter()
                .map(|(shape, jobs)| Network {
                    model: shape.arch.to_string(),
                    norm: shape.norm.to_string(),
                    dataset: shape.dataset.name().to_string(),
                    jobs,
                    parameters: ModelCost::of(&shape).parameters as f64,
                    forward_flop: ModelCost::of(&shape).forward_flop,
                    memory_bytes: super::memory(&(shape, jobs)),
                })
                .collect(),
            missing_data: missing_data(cohorts.iter().flat_map(Cohort::jobs), grid),
            warnings: plan.warnings,
        })
    }
}

/// Bytes of a job on disk: its rows, those of its epochs, and its line of the plan.
fn disk(job: &Job) -> f64 {
    700.0 + 110.0 * f64::from(job.epochs) + 250.0
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Integer(n) => (*n).into(),
        Value::Float(x) => (*x).into(),
        Value::Boolean(truth) => (*truth).into(),
        Value::Text(_) | Value::List(_) | Value::Init(_) => value.to_string().into(),
    }
}

/// Why data sets of some jobs cannot be read from the default data folder, one line each.
pub(super) fn missing_data<'j>(jobs: impl Iterator<Item = &'j Job>, grid: &Grid) -> Vec<String> {
    let dir = data::default_dir();
    let jobs: Vec<&Job> = jobs.collect();
    let names: BTreeSet<_> = jobs.iter().map(|job| job.dataset.name()).collect();
    let sets = names
        .into_iter()
        .filter_map(|dataset| fetch::check(&files::Place { dataset, dir: dir.clone() }).err());
    let files = Sources::new(dir.clone(), grid.files.clone()).check(jobs).err();
    sets.chain(files).map(|error| error.to_string()).collect()
}
