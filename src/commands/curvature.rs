//! `wninit curvature`: a table of the curvatures that `wninit-torch` measured.

use std::collections::HashMap;

use wninit_core::cli::Written;
use wninit_core::cli::curvature::Args;
use wninit_core::console::print;
use wninit_core::grid::{Grid, Overrides};
use wninit_core::job::{Field, JobId, SEED_FIELDS};
use wninit_core::plan::start::{Start, starts};
use wninit_core::plan::{Plan, varying};
use wninit_core::results::{CURVATURE, Curvature, CurvatureQuestion, read_curvatures};
use wninit_core::text_table::{Heading, Style, TextColumn, TextTable};
use wninit_stats::describe;

/// Prints a table of the sweep's curvatures.
///
/// # Errors
/// The sweep's grid or its curvatures cannot be read.
pub(super) fn show(args: &Args, written: &Written) -> anyhow::Result<u8> {
    let dir = &written.dir;
    // The grid as measured: the file on the command line may have changed since.
    let plan = Plan::of(&Grid::load(&dir.join("grid.toml"), &Overrides::default())?)?;
    let starts = starts(plan.jobs.iter().map(|planned| &planned.job));
    let rows = read_curvatures(dir)?;
    let question =
        CurvatureQuestion { method: args.method, share: args.share, tolerance: args.tolerance };
    let shown = table(&starts, &rows, question).text(Style { width: 80, colour: false });
    print(&format!("{shown}{}\n", dir.join(CURVATURE).display()))?;
    Ok(written.code)
}

/// One row per cell, which is a start without its seeds; statistics are over its distinct networks.
fn table(starts: &[Start], rows: &[Curvature], question: CurvatureQuestion) -> TextTable {
    let by_job: HashMap<JobId, &Curvature> =
        rows.iter().filter(|row| row.question == question).map(|row| (row.job.id(), row)).collect();
    let mut fields = varying(starts.iter().map(|start| &start.start));
    fields.retain(|field| !SEED_FIELDS.contains(&field.name));
    if fields.is_empty() {
        fields.extend(Field::named("init"));
    }
    // The values of the fields, and the row of each start, if it was measured.
    type Cell<'a> = (Vec<String>, Vec<Option<&'a Curvature>>);
    let mut cells: Vec<Cell> = Vec::new();
    for start in starts {
        let at: Vec<String> = fields
            .iter()
            .map(|field| field.get(&start.start).map_or_else(String::new, |v| v.to_string()))
            .collect();
        let row = start.jobs.iter().find_map(|job| by_job.get(&job.id()).copied());
        match cells.iter_mut().find(|(other, _)| *other == at) {
            Some((_, found)) => found.push(row),
            None => cells.push((at, vec![row])),
        }
    }
    let logs = |(_, found): &Cell| -> Vec<f64> {
        found.iter().flatten().filter_map(|c| c.log_spectral_norm()).collect()
    };
    let mean = move |cell: &Cell| match (describe::mean(&logs(cell)), describe::sd(&logs(cell))) {
        (Some(mean), Some(sd)) => format!("{mean:.2} ± {sd:.2}"),
        (Some(mean), None) => format!("{mean:.2}"),
        _ => "–".to_owned(),
    };
    fn count(found: &[Option<&Curvature>], is: impl Fn(Option<&Curvature>) -> bool) -> String {
        match found.iter().filter(|row| is(**row)).count() {
            0 => "·".to_owned(),
            n => n.to_string(),
        }
    }
    let mut columns: Vec<TextColumn<Cell>> = (0..fields.len())
        .map(|i| Heading::new(fields[i].name).cell(move |(at, _): &Cell| at[i].clone()))
        .collect();
    columns.extend([
        Heading::number("n").cell(move |cell: &Cell| logs(cell).len().to_string()),
        Heading::number("ln spectral norm").or("ln norm").cell(mean),
        Heading::number("negative").or("neg").cell(|(_, found): &Cell| {
            count(found, |row| row.and_then(|c| c.eigenvalue).is_some_and(|x| x < 0.0))
        }),
        Heading::number("not converged")
            .or("open")
            .cell(|(_, found): &Cell| count(found, |row| row.is_some_and(|c| !c.converged))),
        Heading::number("missing")
            .or("miss")
            .cell(|(_, found): &Cell| count(found, |row| row.is_none())),
    ]);
    TextTable::new("", fields.len(), columns, cells)
}
