//! `wninit curvature`: the curvature of the loss at a grid's initial networks.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::shared_out::shared_out;
use crate::probe::curvature::measure;
use crate::probe::eigen::{Eigen, SolverOptions};
use crate::train::Libtorch;
use crate::{device, ffi};
use chrono::Utc;
use wninit_core::cli::curvature::Args;
use wninit_core::cli::{Ended, Written};
use wninit_core::console::{alert, say, warn};
use wninit_core::data::{self, Sources};
use wninit_core::fmt::duration;
use wninit_core::job::{Job, JobId};
use wninit_core::plan::Plan;
use wninit_core::plan::cohort::{self, Cohort};
use wninit_core::plan::cost;
use wninit_core::plan::start::{Start, start_of, starts};
use wninit_core::results::{
    Curvature, CurvatureQuestion, FailureReason, ResultsError, curvature_docs, document_columns,
    hostname, one_line, read_curvatures, write_curvatures,
};
use wninit_core::run::interrupt::{self, EXIT_INTERRUPTED};
use wninit_core::run::pool::EXIT_UNFINISHED;
use wninit_core::run::trainer::Stop;
use wninit_core::run::{sweep, until_decided};
use wninit_core::usage::UsageError;

/// Measures the initial networks without a final row.
///
/// # Errors
/// The grid or the command line is invalid, or the results folder cannot be used.
pub(crate) fn run(args: &Args, commit: &'static str) -> anyhow::Result<Ended> {
    let (grid, dir) = args.grid.load(&args.results)?;
    let plan = Plan::of(&grid)?;
    let devices =
        device::workers(&args.device, args.workers.map(usize::from)).map_err(UsageError)?;
    warn(&plan.warnings);
    let jobs = until_decided::asked_for(&grid, plan, &dir)?;
    let ids: Vec<JobId> = jobs.iter().map(|planned| planned.id).collect();
    let stop = interrupt::install()?;
    let folder = args.data.clone().unwrap_or_else(data::default_dir);
    let sources = Sources::new(folder, grid.files.clone())
        .checked(jobs.iter().map(|planned| &planned.job))?;
    // Holds the folder's lock until the end.
    let sweep = sweep::open(&dir, None, &grid.to_toml(), &jobs, &jobs)?;
    if let Some(change) = &sweep.change {
        say(&change.to_string());
    }
    document_columns(&dir, &[curvature_docs()])?;
    let question =
        CurvatureQuestion { method: args.method, share: args.share, tolerance: args.tolerance };
    let max_iterations = u32::from(args.max_iterations);
    let mut rows = read_curvatures(&dir)?;
    let starts = starts(jobs.iter().map(|planned| &planned.job));
    let copied = copy_rows(&mut rows, &starts, question, max_iterations);
    if copied {
        write_curvatures(&dir, &ids, &rows)?;
    }

    let by_start: HashMap<JobId, &Start> =
        starts.iter().map(|start| (start.start.id(), start)).collect();
    let known = finished(&rows, question, max_iterations);
    let missing: Vec<Job> = starts
        .iter()
        .filter(|start| start.jobs.iter().any(|job| !known.contains_key(&job.id())))
        .map(|start| start.start.clone())
        .collect();
    let width = args.cohort_width.map(usize::from);
    let all = missing.len();
    let cohorts = cohort::cohorts(missing, |shape| width.unwrap_or_else(|| cost::cpu_width(shape)));

    if all > 0 {
        let known = match starts.len() - all {
            0 => String::new(),
            known => format!("; {known} more are known"),
        };
        say(&format!("{all} networks to measure{known}"));
    }
    let names: Vec<String> = devices.iter().map(|device| device::name(*device)).collect();
    let trainer = Libtorch::new(devices, sources, Arc::clone(&stop), commit);
    let options =
        SolverOptions { method: args.method, tolerance: args.tolerance, max_iterations, basis: 40 };
    let began = Instant::now();
    let (mut done, mut failed) = (0, 0);
    let mut broken: Option<ResultsError> = None;
    let work = |worker: usize, cohort: Cohort| {
        (worker, measure_all(&trainer, worker, cohort, question, &options))
    };
    shared_out(cohorts, names.len(), &stop, work, |(worker, parts)| {
        for (cohort, measured) in parts {
            let count = cohort.jobs().len();
            let starts = cohort.jobs().iter().filter_map(|job| by_start.get(&job.id()));
            let (eigens, images, seconds) = match measured {
                Ok(measured) => measured,
                Err((reason, error)) => {
                    failed += count;
                    let first = starts.map(|start| start.jobs[0].id().to_string()).next();
                    let more =
                        if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
                    let id = first.unwrap_or_default();
                    alert(&format!("failed: job {id}{more}: {reason}: {}", one_line(&error)));
                    continue;
                }
            };
            done += count;
            for (start, eigen) in starts.zip(eigens) {
                let row = |job: &Job| Curvature {
                    job: job.clone(),
                    question,
                    images,
                    iterations: eigen.iterations,
                    converged: eigen.converged,
                    residual: eigen.residual,
                    eigenvalue: eigen.value,
                    seconds: seconds / count as f64,
                    device: names[worker].clone(),
                    cohort_size: count as u32,
                    libtorch: ffi::LIBTORCH.to_owned(),
                    git_sha: commit.to_owned(),
                    hostname: hostname(),
                    finished_at: Utc::now(),
                };
                rows.retain(|old| old.question != question || start_of(&old.job) != start.start);
                rows.extend(start.jobs.iter().map(row));
            }
        }
        if let Err(error) = write_curvatures(&dir, &ids, &rows) {
            broken = Some(error);
            return false;
        }
        let seconds = began.elapsed().as_secs_f64();
        let left = seconds / (done + failed) as f64 * (all - done - failed) as f64;
        let rest = match all - done - failed {
            0 => String::new(),
            _ => format!(", about {} left", duration(left)),
        };
        say(&format!("{}/{all} networks{rest}", done + failed));
        true
    });
    if let Some(error) = broken {
        return Err(error.into());
    }
    let left = all - done - failed;
    let code = match () {
        () if left > 0 && stop.load(Ordering::Relaxed) => {
            say(&format!("interrupted; {left} networks are left; the same command continues"));
            EXIT_INTERRUPTED
        }
        () if failed > 0 => EXIT_UNFINISHED,
        () => 0,
    };
    Ok(Ended::Written(Written { dir, code }))
}

/// Each member's eigenvalue, the number of images, and the seconds of all members.
type Measured = Result<(Vec<Eigen>, usize, f64), (FailureReason, anyhow::Error)>;

/// Measures a cohort, in halves if memory runs out.
fn measure_all(
    trainer: &Libtorch,
    worker: usize,
    cohort: Cohort,
    question: CurvatureQuestion,
    options: &SolverOptions,
) -> Vec<(Cohort, Measured)> {
    let began = Instant::now();
    match measure(trainer, worker, &cohort, question.share, options) {
        Ok((eigens, images)) => {
            vec![(cohort, Ok((eigens, images, began.elapsed().as_secs_f64())))]
        }
        Err(Stop::Interrupted) => Vec::new(),
        Err(Stop::Failed { reason: FailureReason::Memory, .. }) if cohort.jobs().len() > 1 => {
            let halves = cohort.halves().into_iter().flatten();
            halves.flat_map(|half| measure_all(trainer, worker, half, question, options)).collect()
        }
        Err(Stop::Failed { reason, error }) => vec![(cohort, Err((reason, error)))],
    }
}

/// The final rows of a question, by job.
fn finished(
    rows: &[Curvature],
    question: CurvatureQuestion,
    max_iterations: u32,
) -> HashMap<JobId, &Curvature> {
    rows.iter()
        .filter(|row| row.question == question && row.is_final(max_iterations))
        .map(|row| (row.job.id(), row))
        .collect()
}

/// Copies rows to jobs with the same initial network; returns whether there were any.
fn copy_rows(
    rows: &mut Vec<Curvature>,
    starts: &[Start],
    question: CurvatureQuestion,
    max_iterations: u32,
) -> bool {
    let known = finished(rows, question, max_iterations);
    let by_start: HashMap<JobId, &Curvature> =
        known.values().map(|row| (start_of(&row.job).id(), *row)).collect();
    let mut copies = Vec::new();
    for start in starts {
        let Some(row) = by_start.get(&start.start.id()) else { continue };
        for job in start.jobs.iter().filter(|job| !known.contains_key(&job.id())) {
            copies.push(Curvature { job: job.clone(), ..(*row).clone() });
        }
    }
    let new: Vec<JobId> = copies.iter().map(|row| row.job.id()).collect();
    rows.retain(|row| row.question != question || !new.contains(&row.job.id()));
    rows.extend(copies);
    !new.is_empty()
}
