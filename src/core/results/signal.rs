//! `signal.csv`: signal norms at initialization, one row for each layer of each network.

use std::path::Path;

use super::columns::cells;
use super::csv_file::{self, CsvFile};
use super::{JOB_ID, ResultsError};
use crate::columns;
use crate::job::JobId;
use crate::table::{Column, ColumnDoc};

/// The file's name.
pub const SIGNALS: &str = "signal.csv";

/// A network whose signals were measured.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // SIGNAL_COLUMNS documents each
pub struct ProbedNetwork {
    pub job: Option<JobId>,
    pub net: String,
    pub init: String,
    pub init_seed: u64,
    pub data_seed: Option<u64>,
}

/// The signals at one layer. For a job, the gradient is that of the mean loss; for a synthetic
/// network, it is N(0, 1) at the last hidden layer.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // SIGNAL_COLUMNS documents each
pub struct LayerSignal {
    pub layer: usize,
    pub name: String,
    pub forward_norm: f64,
    pub forward_ratio: f64,
    pub backward_norm: f64,
    pub backward_ratio: f64,
}

/// A row of `signal.csv`. A norm or ratio that is not finite is written as an empty cell, and read as infinite.
#[derive(Clone, Debug)]
pub struct Signal {
    /// The network.
    pub network: ProbedNetwork,
    /// The measurement at one of its layers.
    pub layer: LayerSignal,
}

const LOST: &str = "not a finite number";

static SIGNAL_COLUMNS: &[Column<Signal>] = columns![Signal;
    "job_id": "", "the first job of the plan with this initial network", "a synthetic network" => |s| s.network.job.map(|id| id.to_string());
    "net": "", "the network: the synthetic one, or the fields that distinguish it in the grid", "" => |s| s.network.net.as_str();
    "init": "", "the initializer", "" => |s| s.network.init.as_str();
    "init_seed": "", "seed of the initial parameters", "" => |s| s.network.init_seed;
    "data_seed": "", "seed of the images", "a synthetic network" => |s| s.network.data_seed;
    "layer": "", "0 for the input, then 1, 2, ... to the last hidden layer", "" => |s| s.layer.layer;
    "name": "", "the layer's name", "" => |s| s.layer.name.as_str();
    "forward_norm": "", "mean over samples of the norm of the layer's output", LOST => |s| s.layer.forward_norm;
    "forward_ratio": "", "mean over samples of that norm divided by the input's", LOST => |s| s.layer.forward_ratio;
    "backward_norm": "", "mean over samples of the norm of the gradient with respect to the layer's output", LOST
        => |s| s.layer.backward_norm;
    "backward_ratio": "", "mean over samples of that norm divided by the last hidden layer's", LOST
        => |s| s.layer.backward_ratio;
];

/// The documentation of the file for `columns.json`.
pub fn signal_docs() -> (String, Vec<ColumnDoc>) {
    (SIGNALS.to_owned(), SIGNAL_COLUMNS.iter().map(|column| column.doc).collect())
}

/// The text of `signal.csv`.
pub fn signals_csv(rows: &[Signal]) -> String {
    let header = csv_file::line(SIGNAL_COLUMNS.iter().map(|column| column.name));
    rows.iter().fold(header, |text, row| text + &csv_file::line(cells(SIGNAL_COLUMNS, row)))
}

/// The rows of a `signal.csv`.
///
/// # Errors
/// There is no such file, it lacks a column, or a row fails validation.
pub fn read_signals(path: &Path) -> Result<Vec<Signal>, ResultsError> {
    let file = CsvFile::load(path)?;
    let file =
        file.ok_or_else(|| ResultsError::row(path, 1, "there is no such file with a header"))?;
    file.demand(SIGNAL_COLUMNS.iter().map(|column| column.name))?;
    let signal = |row: Result<csv_file::Row, ResultsError>| {
        let row = row?;
        let number = |column| row.finite(column).map(|x| x.unwrap_or(f64::INFINITY));
        let network = ProbedNetwork {
            job: row.optional(JOB_ID)?,
            net: row.text("net"),
            init: row.text("init"),
            init_seed: row.required("init_seed")?,
            data_seed: row.optional("data_seed")?,
        };
        let layer = LayerSignal {
            layer: row.required("layer")?,
            name: row.text("name"),
            forward_norm: number("forward_norm")?,
            forward_ratio: number("forward_ratio")?,
            backward_norm: number("backward_norm")?,
            backward_ratio: number("backward_ratio")?,
        };
        Ok(Signal { network, layer })
    };
    file.rows().map(signal).collect()
}
