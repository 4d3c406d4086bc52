//! `curvature.csv`: curvature of the loss at initialization, one row for each job and way of
//! measuring.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use chrono::{DateTime, Utc};

use super::ResultsError;
use super::columns::{cells, docs, float, instant, job_cells, plan_columns};
use super::csv_file::{self, CsvFile};
use super::read::{fields_in, identified};
use crate::atomic::write_atomically;
use crate::columns;
use crate::job::{Job, JobId, choices};
use crate::table::{Column, ColumnDoc};

/// The file's name.
pub const CURVATURE: &str = "curvature.csv";

choices! {
    /// Method for the Hessian's eigenvalue of largest absolute value.
    #[derive(clap::ValueEnum)]
    CurvatureMethod, "method" {
        /// Lanczos' method, until the residual meets the tolerance
        Lanczos = "lanczos",
        /// Power iteration on Hessian-vector products, as in the paper
        Power = "power",
    }
}

/// A way of measuring: rows with the same one are comparable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CurvatureQuestion {
    /// The method.
    pub method: CurvatureMethod,
    /// Share of the first epoch's mini-batches over which the loss is taken.
    pub share: f64,
    /// The relative residual at which the search ends.
    pub tolerance: f64,
}

/// A row of `curvature.csv`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // CURVATURE_COLUMNS documents each
pub struct Curvature {
    pub job: Job,
    pub question: CurvatureQuestion,
    pub images: usize,
    pub iterations: u32,
    pub converged: bool,
    /// `‖Hx − θx‖` of the estimate; `None` if a product was not finite.
    pub residual: Option<f64>,
    /// The eigenvalue of largest absolute value, with its sign; `None` as `residual`.
    pub eigenvalue: Option<f64>,
    pub seconds: f64,
    pub device: String,
    pub cohort_size: u32,
    pub libtorch: String,
    pub git_sha: String,
    pub hostname: String,
    pub finished_at: DateTime<Utc>,
}

impl Curvature {
    /// The largest absolute value of an eigenvalue.
    pub(crate) fn spectral_norm(&self) -> Option<f64> {
        self.eigenvalue.map(f64::abs)
    }

    /// Its natural logarithm; also `None` if the Hessian is zero.
    pub fn log_spectral_norm(&self) -> Option<f64> {
        self.spectral_norm().map(f64::ln).filter(|log| log.is_finite())
    }

    /// Whether measuring again with at most this many iterations would add nothing.
    pub fn is_final(&self, max_iterations: u32) -> bool {
        self.converged || self.eigenvalue.is_none() || self.iterations >= max_iterations
    }
}

/// The columns of `curvature.csv` after `job_id` and the job's fields.
pub static CURVATURE_COLUMNS: &[Column<Curvature>] = columns![Curvature;
    "method": "", "how the eigenvalue was found: lanczos, or power (iteration)", ""
        => |c| c.question.method.name();
    "share": "fraction", "share of the first epoch's mini-batches over which the loss was taken", ""
        => |c| float(c.question.share);
    "tolerance": "", "the residual, relative to the eigenvalue, at which the search ends", ""
        => |c| float(c.question.tolerance);
    "images": "images", "images over which the loss was taken", ""
        => |c| c.images;
    "iterations": "", "Hessian-vector products that it took", ""
        => |c| c.iterations;
    "converged": "", "true if the residual met the tolerance", ""
        => |c| c.converged.to_string();
    "residual": "nats", "norm of Hx - eigenvalue*x, with x of norm 1: an eigenvalue is this near",
        "a product with the Hessian was not finite"
        => |c| float(c.residual);
    "eigenvalue": "nats", "the Hessian's eigenvalue of largest absolute value, with its sign",
        "a product with the Hessian was not finite"
        => |c| float(c.eigenvalue);
    "spectral_norm": "nats", "its absolute value", "a product with the Hessian was not finite"
        => |c| float(c.spectral_norm());
    "log_spectral_norm": "", "natural logarithm of spectral_norm",
        "the Hessian is zero, or a product with it was not finite"
        => |c| float(c.log_spectral_norm());
    "seconds": "seconds", "wall-clock time of the networks that were measured together, divided by their number", ""
        => |c| float(c.seconds);
    "device": "", "device of the measurement: cpu, or cuda:0", ""
        => |c| c.device.as_str();
    "cohort_size": "networks", "networks measured together, this one included", ""
        => |c| c.cohort_size;
    "libtorch": "", "version of libtorch", ""
        => |c| c.libtorch.as_str();
    "git_sha": "", "commit of the program, with -dirty if its sources had changes", ""
        => |c| c.git_sha.as_str();
    "hostname": "", "name of the machine", ""
        => |c| c.hostname.as_str();
    "finished_at": "RFC 3339, UTC", "when it was measured", ""
        => |c| instant(c.finished_at);
];

fn header() -> impl Iterator<Item = &'static str> {
    plan_columns().chain(CURVATURE_COLUMNS.iter().map(|column| column.name))
}

/// The documentation of the file for `columns.json`.
pub fn curvature_docs() -> (String, Vec<ColumnDoc>) {
    (CURVATURE.to_owned(), docs(true, CURVATURE_COLUMNS))
}

/// The rows of a sweep's `curvature.csv`; none if there is no such file.
///
/// # Errors
/// The file lacks a column, or has a row that fails validation.
pub fn read_curvatures(dir: &Path) -> Result<Vec<Curvature>, ResultsError> {
    let Some(table) = CsvFile::load(&dir.join(CURVATURE))? else {
        return Ok(Vec::new());
    };
    table.demand(header())?;
    let fields = fields_in(&table);
    table
        .rows()
        .map(|row| {
            let row = row?;
            let number = |column: &str| {
                row.finite(column)?
                    .ok_or_else(|| row.error(format!("the column `{column}` is empty")))
            };
            let method: String = row.required("method")?;
            Ok(Curvature {
                job: identified(&row, &fields, &HashMap::new())?.1,
                question: CurvatureQuestion {
                    method: method.parse().map_err(|message: String| row.error(message))?,
                    share: number("share")?,
                    tolerance: number("tolerance")?,
                },
                images: row.required("images")?,
                iterations: row.required("iterations")?,
                converged: row.required("converged")?,
                residual: row.finite("residual")?,
                eigenvalue: row.finite("eigenvalue")?,
                seconds: row.finite("seconds")?.unwrap_or(f64::NAN),
                device: row.text("device"),
                cohort_size: row.required("cohort_size")?,
                libtorch: row.text("libtorch"),
                git_sha: row.text("git_sha"),
                hostname: row.text("hostname"),
                finished_at: row.required("finished_at")?,
            })
        })
        .collect()
}

/// The most reliable row of each job: converged rows first, then the larger share, the finer
/// tolerance, and Lanczos' method before power iteration. In the order of the rows.
pub fn best_curvatures(rows: Vec<Curvature>) -> Vec<Curvature> {
    let worth = |row: &Curvature| {
        let CurvatureQuestion { method, share, tolerance } = row.question;
        (row.converged, share, -tolerance, method == CurvatureMethod::Lanczos)
    };
    let mut places: HashMap<JobId, usize> = HashMap::new();
    let mut best: Vec<Curvature> = Vec::new();
    for row in rows {
        match places.entry(row.job.id()) {
            Entry::Vacant(place) => {
                place.insert(best.len());
                best.push(row);
            }
            Entry::Occupied(place) => {
                let other = &mut best[*place.get()];
                if worth(&row) > worth(other) {
                    *other = row;
                }
            }
        }
    }
    best
}

/// Writes a sweep's `curvature.csv` as a whole: rows in the order of `plan`, then those of jobs that
/// are not in it, each group in the order given.
///
/// # Errors
/// A write fails; the old file is still there.
pub fn write_curvatures(
    dir: &Path,
    plan: &[JobId],
    rows: &[Curvature],
) -> Result<(), ResultsError> {
    let places: HashMap<JobId, usize> = plan.iter().copied().zip(0..).collect();
    let place = |row: &&Curvature| places.get(&row.job.id()).copied().unwrap_or(usize::MAX);
    let mut rows: Vec<&Curvature> = rows.iter().collect();
    rows.sort_by_cached_key(place);
    let mut text = csv_file::line(header());
    for row in rows {
        text +=
            &csv_file::line(job_cells(row.job.id(), &row.job).chain(cells(CURVATURE_COLUMNS, row)));
    }
    Ok(write_atomically(&dir.join(CURVATURE), text.as_bytes())?)
}
