//! The tables of a summary, for people.

use std::collections::BTreeSet;

use super::WIDTH;
use wninit_core::fmt::{duration, percent};
use wninit_core::job::Value;
use wninit_core::text::one_line;
use wninit_core::text_table::{Heading, TextColumn, TextTable};
use wninit_stats::interval::LEVEL;
use wninit_stats::summary::{
    CellSummary, ClaimResult, InitializerSummary, PairSummary, PublishedResult, Summary, SweepAxis,
    VarianceSummary,
};

/// The most cells that are printed without being asked for: two screens full.
const MOST_CELLS: usize = 60;

/// Cells that are left out because there are too many: those whose learning rate was not chosen.
pub(super) fn hidden_cells(summary: &Summary) -> usize {
    let several_rates = summary.axes.iter().any(|axis| axis.field.name == "lr");
    if summary.cells.len() <= MOST_CELLS || !several_rates {
        0
    } else {
        summary.cells.len() - summary.chosen.len()
    }
}

/// The columns of some axes; `at` gives a row's place on each.
fn axis_columns<'a, T: 'a>(
    summary: &'a Summary,
    axes: Vec<usize>,
    at: fn(&T) -> &Vec<usize>,
) -> Vec<TextColumn<'a, T>> {
    let column = |(place, axis): (usize, usize)| {
        let axis = &summary.axes[axis];
        heading(axis).cell(move |row: &T| axis.label(at(row)[place]))
    };
    axes.into_iter().enumerate().map(column).collect()
}

fn heading(axis: &SweepAxis) -> Heading {
    let name = axis.field.name;
    let short = match name {
        "batch_size" => "batch",
        "momentum" => "mom",
        "weight_decay" => "decay",
        "warmup_epochs" => "warm",
        "warmup_lr" => "warm lr",
        "train_images" => "images",
        "reduced_memory" => "stem 2",
        name => name,
    };
    let numeric =
        axis.values.iter().flatten().all(|v| matches!(v, Value::Integer(_) | Value::Float(_)));
    if numeric { Heading::number(name).or(short) } else { Heading::new(name).or(short) }
}

/// What `show` makes of a value, if there is one.
fn shown<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map(show).unwrap_or_default()
}

fn p_value(p: f64) -> String {
    if p < 0.001 { "<0.001".to_owned() } else { format!("{p:.3}") }
}

/// A count; a dot for none, so that what went wrong stands out.
fn some(n: usize) -> String {
    if n == 0 { "·".to_owned() } else { n.to_string() }
}

pub(super) fn cells(summary: &Summary) -> TextTable {
    type Row<'a> = &'a CellSummary;
    let partial = summary.cells.iter().any(|c| c.counts.finished != c.counts.planned);
    let n = move |c: &Row| match partial {
        true => format!("{}/{}", c.counts.finished, c.counts.planned),
        false => c.counts.finished.to_string(),
    };
    let accuracy = |c: &Row| match (c.mean, c.sd) {
        (None, _) => String::new(),
        (Some(mean), None) => format!("{mean:.3}        "),
        (Some(mean), Some(sd)) => format!("{mean:.3} ± {sd:.3}"),
    };
    let axes: Vec<usize> = (0..summary.axes.len()).collect();
    let keys = axes.len();
    let mut columns = axis_columns(summary, axes, |c: &Row| &c.at);
    columns.extend([
        Heading::number("n").cell(n),
        Heading::number("diverged").or("div").cell(|c: &Row| some(c.counts.diverged)),
        Heading::number("at chance").or("chance").cell(|c: &Row| some(c.counts.at_chance)),
        Heading::number("success").cell(|c: &Row| shown(c.success_rate, percent)),
        Heading::number("test accuracy").or("accuracy").cell(accuracy),
    ]);
    if hidden_cells(summary) > 0 {
        let title = "Cells at the learning rate chosen on validation: mean ± sd over seeds";
        TextTable::new(title, keys, columns, summary.chosen.iter().map(|&i| &summary.cells[i]))
    } else {
        let title = "Cells: mean ± sd over seeds, a diverged run counted as a guess";
        TextTable::new(title, keys, columns, &summary.cells)
    }
}

pub(super) fn initializers(summary: &Summary) -> TextTable {
    type Row<'a> = &'a InitializerSummary;
    let deepest = |s: &Row| match (s.deepest, s.deepest_tested) {
        (Some(deepest), Some(tested)) => format!("{deepest}/{tested}"),
        (None, Some(tested)) => format!("none/{tested}"),
        _ => String::new(),
    };
    let any = |is: fn(&InitializerSummary) -> bool| summary.initializers.iter().any(is);
    let bootstrapped = any(|s| s.iqm_interval.is_some());
    let banded = any(|s| s.lr_band_decades.is_some());
    let columns = [
        (true, Heading::new("init").cell(|s: &Row| s.label.clone())),
        (true, Heading::number("runs").cell(|s: &Row| s.counts.finished.to_string())),
        (true, Heading::number("success").cell(|s: &Row| shown(s.success_rate, percent))),
        (true, Heading::number("IQM").cell(|s: &Row| shown(s.iqm, |iqm| format!("{iqm:.3}")))),
        (
            bootstrapped,
            Heading::new("interval").cell(|s: &Row| shown(s.iqm_interval, |i| format!("{i:.3}"))),
        ),
        (true, Heading::number("near best").or("near").cell(|s: &Row| shown(s.near_best, percent))),
        (
            banded,
            Heading::number("lr decades")
                .or("lr")
                .cell(|s: &Row| shown(s.lr_band_decades, |d| format!("{d:.1}"))),
        ),
        (true, Heading::number("deepest").cell(deepest)),
    ];
    let columns = columns.into_iter().filter(|(shown, _)| *shown).map(|(_, column)| column);
    TextTable::new("Initializers over all cells", 1, columns.collect(), &summary.initializers)
}

fn baseline(summary: &Summary) -> &str {
    summary.baseline.map(|b| summary.initializers[b].label.as_str()).unwrap_or_default()
}

pub(super) fn pairs(summary: &Summary) -> TextTable {
    type Row<'a> = &'a PairSummary;
    let interval = |p: &Row| p.difference.and_then(|d| d.interval);
    let axes = summary.context_axes();
    let keys = axes.len() + 1;
    let mut columns = axis_columns(summary, axes, |p: &Row| &p.context);
    columns.extend([
        Heading::new("init").cell(|p: &Row| p.init.clone()),
        Heading::number("lr").cell(|p: &Row| p.lr.to_string()),
        Heading::number("seeds")
            .or("n")
            .cell(|p: &Row| p.difference.map_or(0, |d| d.n).to_string()),
        Heading::number("difference")
            .or("diff")
            .cell(|p: &Row| shown(p.difference, |d| format!("{:+.3}", d.mean))),
        Heading::number(format!("{} interval", percent(LEVEL)))
            .or("interval")
            .cell(move |p: &Row| shown(interval(p), |i| format!("{i:+.3}"))),
        Heading::number("p (Holm)").or("p").cell(move |p: &Row| shown(p.p_holm, p_value)),
        Heading::number("P(better)").cell(|p: &Row| shown(p.better, |b| format!("{:.2}", b.value))),
    ]);
    let title = format!(
        "Test accuracy against {}, each at its best lr on validation, paired by seed",
        baseline(summary)
    );
    TextTable::new(title, keys, columns, &summary.pairs)
}

pub(super) fn profiles(summary: &Summary) -> TextTable {
    let taus = summary.profiles.first().map(|p| p.points.as_slice()).unwrap_or_default();
    let mut columns =
        vec![Heading::number("accuracy").cell(|i: &usize| format!("{:.2}", taus[*i].tau))];
    columns.extend(summary.profiles.iter().map(|p| {
        let heading = Heading::number(summary.initializers[p.arm].label.clone());
        heading.cell(|i: &usize| shown(p.points.get(*i), |point| percent(point.share)))
    }));
    let title = "Share of runs with at least this test accuracy";
    TextTable::new(title, 1, columns, (0..taus.len()).step_by(5))
}

pub(super) fn variance(summary: &Summary) -> TextTable {
    type Row<'a> = &'a VarianceSummary;
    let columns = vec![
        Heading::new("runs").cell(|v: &Row| v.scope.name().to_owned()),
        Heading::new("init").cell(|v: &Row| v.init.clone()),
        Heading::number("cells").cell(|v: &Row| v.n_cells.to_string()),
        Heading::number("sd").cell(|v: &Row| shown(v.pooled, |p| format!("{:.4}", p.sd))),
        Heading::number("df").cell(|v: &Row| shown(v.pooled, |p| p.df.to_string())),
        Heading::number("ratio").cell(|v: &Row| shown(v.ratio, |r| format!("{:.2}", r.value))),
        Heading::number("interval")
            .cell(|v: &Row| shown(v.ratio, |r| format!("{:.2}", r.interval))),
    ];
    let title = format!(
        "Seed sd of test accuracy pooled over cells, and its ratio to that of {}",
        baseline(summary)
    );
    TextTable::new(title, 2, columns, &summary.variance)
}

pub(super) fn claims(summary: &Summary) -> TextTable {
    type Row<'a> = &'a ClaimResult;
    let columns = vec![
        Heading::new("claim").cell(|c: &Row| one_line(&c.text)),
        Heading::new("verdict").cell(|c: &Row| c.verdict().to_string()),
        Heading::number("estimate").cell(|c: &Row| shown(c.estimate, |x| format!("{x:.3}"))),
        Heading::number("interval").cell(|c: &Row| shown(c.interval, |i| format!("{i:.3}"))),
        Heading::number("n").cell(|c: &Row| c.n().to_string()),
        Heading::number("p").cell(|c: &Row| shown(c.answer.overall.p, p_value)),
        Heading::number("p (Holm)")
            .or("Holm")
            .cell(|c: &Row| shown(c.answer.overall.p_holm, p_value)),
        Heading::number("seeds needed")
            .or("needs")
            .cell(|c: &Row| shown(c.needed().and_then(|s| s.n), |n| n.to_string())),
        Heading::number("costs").cell(|c: &Row| shown(c.seconds_needed, duration)),
    ];
    TextTable::new("Claims", 1, columns, &summary.claims)
}

/// Published numbers beside ours, a line each: where there is no room for it, their uncertainty is left
/// to `published.csv`.
pub(super) fn published(summary: &Summary) -> TextTable {
    let whole = published_with(summary, true);
    if whole.fits(WIDTH) { whole } else { published_with(summary, false) }
}

fn published_with(summary: &Summary, spreads: bool) -> TextTable {
    type Row<'a> = &'a PublishedResult;
    let metrics: BTreeSet<&str> = summary.published.iter().map(|p| p.metric.name()).collect();
    let mut columns = vec![Heading::new("where").cell(|p: &Row| match p.briefly.as_str() {
        "" => "all".to_owned(),
        briefly => briefly.to_owned(),
    })];
    if metrics.len() > 1 {
        columns.push(Heading::new("metric").cell(|p: &Row| p.metric.to_string()));
    }
    columns.extend([
        Heading::number("published").cell(move |p: &Row| match p.spread {
            Some(spread) if spreads => format!("{} ± {spread}", p.published),
            _ => p.published.to_string(),
        }),
        Heading::number("ours").cell(|p: &Row| match (p.mean, p.sd) {
            (None, _) => "not measured".to_owned(),
            (Some(mean), None) => format!("{mean:.3}"),
            (Some(mean), Some(sd)) => format!("{mean:.3} ± {sd:.3}"),
        }),
        Heading::number("n").cell(|p: &Row| p.n.to_string()),
    ]);
    let what = match metrics.first() {
        Some(metric) if metrics.len() == 1 => format!("Published {metric}"),
        _ => "Published".to_owned(),
    };
    let title = format!("{what} beside ours (mean ± sd over seeds)");
    TextTable::new(title, 0, columns, &summary.published)
}
