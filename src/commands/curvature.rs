//! `wninit curvature`: a table of the curvatures that `wninit-torch` measured.

use std::collections::HashMap;

use wninit_core::cli::Written;
use wninit_core::cli::curvature::Args;
use wninit_core::console::print;
use wninit_core::grid::{Grid, Overrides};
use wninit_core::job::{Field, JobId, SEED_FIELDS};
use wninit_core::plan::start::{Start, starts};
use wninit_core::plan::{Plan, PlannedJob};
use wninit_core::results::{CURVATURE, Curvature, CurvatureQuestion, read_curvatures};
use wninit_core::table::{Column, Display, Style};
use wninit_stats::estimates;

/// Prints a table of the sweep's curvatures.
///
/// # Errors
/// The sweep's grid or its curvatures cannot be read.
pub(super) fn show(args: &Args, written: &Written) -> anyhow::Result<u8> {
    let dir = &written.dir;
    // As it was measured: the file that the command line names may be another one by now.
    let plan = Plan::of(&Grid::load(&dir.join("grid.toml"), &Overrides::default())?)?;
    let starts = starts(plan.jobs.iter().map(|planned| &planned.job));
    let rows = read_curvatures(dir)?;
    let question =
        CurvatureQuestion { method: args.method, share: args.share, tolerance: args.tolerance };
    let shown = table(&starts, &rows, question).text(Style { width: 80, colour: false });
    print(&format!("{shown}{}\n", dir.join(CURVATURE).display()))?;
    Ok(written.code)
}

/// A row a cell: all that tells starts apart but the seeds; over the distinct networks in it.
fn table(starts: &[Start], rows: &[Curvature], question: CurvatureQuestion) -> Display {
    let by_job: HashMap<JobId, &Curvature> =
        rows.iter().filter(|row| row.question == question).map(|row| (row.job.id(), row)).collect();
    let plan = Plan {
        jobs: starts
            .iter()
            .map(|start| PlannedJob { id: start.start.id(), job: start.start.clone() })
            .collect(),
        axes: Vec::new(),
        warnings: Vec::new(),
    };
    let mut fields = plan.varying();
    fields.retain(|field| !SEED_FIELDS.contains(&field.name));
    if fields.is_empty() {
        fields.extend(Field::named("init"));
    }
    let mut cells: Vec<(Vec<String>, Vec<Option<&Curvature>>)> = Vec::new();
    for start in starts {
        let cell: Vec<String> = fields
            .iter()
            .map(|field| field.get(&start.start).map_or_else(String::new, |v| v.to_string()))
            .collect();
        let row = start.jobs.iter().find_map(|job| by_job.get(&job.id()).copied());
        match cells.iter_mut().find(|(other, _)| *other == cell) {
            Some((_, found)) => found.push(row),
            None => cells.push((cell, vec![row])),
        }
    }
    let rows = cells
        .into_iter()
        .map(|(mut cell, found)| {
            let measured: Vec<&Curvature> = found.iter().flatten().copied().collect();
            let logs: Vec<f64> = measured.iter().filter_map(|c| c.log_spectral_norm()).collect();
            let n = |count: usize| if count == 0 { "·".to_owned() } else { count.to_string() };
            let mean = match (estimates::mean(&logs), estimates::sd(&logs)) {
                (Some(mean), Some(sd)) => format!("{mean:.2} ± {sd:.2}"),
                (Some(mean), None) => format!("{mean:.2}"),
                _ => "–".to_owned(),
            };
            let is_negative = |c: &&&Curvature| c.eigenvalue.is_some_and(|x| x < 0.0);
            cell.extend([
                logs.len().to_string(),
                mean,
                n(measured.iter().filter(is_negative).count()),
                n(measured.iter().filter(|c| !c.converged).count()),
                n(found.len() - measured.len()),
            ]);
            cell
        })
        .collect();
    let keys = fields.len();
    let mut columns: Vec<Column> = fields.iter().map(|field| Column::new(field.name)).collect();
    columns.extend([
        Column::number("n"),
        Column::number("ln spectral norm").or("ln norm"),
        Column::number("negative").or("neg"),
        Column::number("not converged").or("open"),
        Column::number("missing").or("miss"),
    ]);
    Display { title: String::new(), columns, keys, rows }
}
