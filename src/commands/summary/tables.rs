//! The tables of a summary, formatted.

use std::collections::BTreeSet;

use super::WIDTH;
use wninit_core::fmt::{duration, p_value, percent};
use wninit_core::grid::Metric;
use wninit_core::job::Value;
use wninit_core::text::one_line;
use wninit_core::text_table::{Heading, TextColumn, TextTable};
use wninit_stats::interval::{Estimate, Interval};
use wninit_stats::summary::{
    CellSummary, ClaimResult, InitializerSummary, Note, PairSummary, PublishedResult, Ranked,
    SettingResult, Summary, SweepAxis, VarianceSummary,
};

/// The columns of some axes; `at` returns a row's place on each.
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

/// A value formatted by `show`, if there is one.
fn shown<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map(show).unwrap_or_default()
}

fn with_interval(value: Option<f64>, interval: Option<Interval>) -> String {
    match (value, interval) {
        (None, _) => String::new(),
        (Some(x), None) => format!("{x:.3}               "),
        (Some(x), Some(i)) => format!("{x:.3} {i:.3}"),
    }
}

fn estimate(estimate: Option<Estimate>) -> String {
    with_interval(estimate.map(|e| e.value), estimate.map(|e| e.interval))
}

/// A count; a dot for 0, so that problems stand out.
fn some(n: usize) -> String {
    if n == 0 { "·".to_owned() } else { n.to_string() }
}

/// The arms of each task, the best first.
pub(super) fn ranking(summary: &Summary) -> TextTable {
    type Row<'a> = &'a Ranked;
    let axes = summary.task_axes();
    let keys = axes.len();
    let several = summary.axis("lr").is_some();
    let mut columns = axis_columns(summary, axes, |r: &Row| &r.task);
    let trained = match summary.success_metric {
        Metric::Diverged => "not diverged",
        _ => "trained",
    };
    columns.extend([
        Heading::new("init").cell(|r: &Row| r.init.clone()),
        Heading::number(trained).cell(|r: &Row| format!("{}/{}", r.trained, r.runs)),
        Heading::number("accuracy of those").or("accuracy").cell(|r: &Row| estimate(r.accuracy)),
        Heading::number("n").cell(|r: &Row| r.n.to_string()),
        Heading::new("against the first").cell(|r: &Row| r.words()),
    ]);
    let title = match several {
        true => {
            "Who trains (runs at every lr), and how accurately (at the lr chosen on validation)"
        }
        false => "Who trains, and how accurately",
    };
    TextTable::new(title, keys, columns, &summary.ranking)
}

pub(super) fn cells(summary: &Summary) -> TextTable {
    type Row<'a> = &'a CellSummary;
    let axes: Vec<usize> = (0..summary.axes.len()).collect();
    let keys = axes.len();
    let mut columns = axis_columns(summary, axes, |c: &Row| &c.at);
    columns.extend([
        Heading::number("diverged").or("div").cell(|c: &Row| some(c.counts.diverged)),
        Heading::number("at chance").or("chance").cell(|c: &Row| some(c.counts.at_chance)),
        Heading::number("missing")
            .or("miss")
            .cell(|c: &Row| some(c.counts.missing + c.counts.failed)),
        Heading::number("trained").cell(|c: &Row| format!("{}/{}", c.trained, c.runs.len())),
        Heading::number("95 % interval")
            .or("interval")
            .cell(|c: &Row| shown(c.success, |s| format!("{:.2}", s.interval))),
        Heading::number("accuracy of those")
            .or("accuracy")
            .cell(|c: &Row| with_interval(c.accuracy, c.accuracy_interval)),
    ]);
    TextTable::new("Cells", keys, columns, &summary.cells)
}

pub(super) fn initializers(summary: &Summary) -> TextTable {
    type Row<'a> = &'a InitializerSummary;
    let any = |is: fn(&InitializerSummary) -> bool| summary.initializers.iter().any(is);
    let of = |(k, n): (usize, usize)| format!("{k}/{n}");
    let banded = any(|s| s.lr_band_decades.is_some());
    let columns = [
        (true, Heading::new("init").cell(|s: &Row| s.label.clone())),
        (true, Heading::number("trained").cell(move |s: &Row| of(s.trained))),
        (true, Heading::number("share of seeds").or("share").cell(|s: &Row| estimate(s.success))),
        (
            summary.axis("lr").is_some(),
            Heading::number("at chosen lr").or("chosen").cell(move |s: &Row| of(s.trained_chosen)),
        ),
        (
            banded,
            Heading::number("lr decades")
                .or("decades")
                .cell(|s: &Row| shown(s.lr_band_decades, |d| format!("{d:.1}"))),
        ),
    ];
    let columns = columns.into_iter().filter(|(shown, _)| *shown).map(|(_, column)| column);
    TextTable::new("Initializers over all cells", 1, columns.collect(), &summary.initializers)
}

fn baseline(summary: &Summary) -> &str {
    summary.baseline.map(|b| summary.initializers[b].label.as_str()).unwrap_or_default()
}

pub(super) fn pairs(summary: &Summary) -> TextTable {
    type Row<'a> = &'a PairSummary;
    let axes = summary.context_axes();
    let keys = axes.len() + 1;
    let mut columns = axis_columns(summary, axes, |p: &Row| &p.context);
    columns.extend([
        Heading::new("init").cell(|p: &Row| p.init.clone()),
        Heading::number("trains more by")
            .or("success")
            .cell(|p: &Row| shown(p.difference.success.estimate, |x| format!("{x:+.2}"))),
        Heading::number("p (Holm)")
            .or("p")
            .cell(|p: &Row| shown(p.difference.success.p_holm, p_value)),
        Heading::number("accuracy better by").or("accuracy").cell(|p: &Row| {
            let accuracy = &p.difference.accuracy;
            let interval = shown(accuracy.interval(), |i| format!(" {i:+.3}"));
            shown(accuracy.estimate, |x| format!("{x:+.3}{interval}"))
        }),
        Heading::number("n").cell(|p: &Row| p.difference.accuracy.n.to_string()),
        Heading::number("p (Holm)")
            .or("p")
            .cell(|p: &Row| shown(p.difference.accuracy.p_holm, p_value)),
    ]);
    let title =
        format!("Against {}: success first, then accuracy given success", baseline(summary));
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
        Heading::new("init").cell(|v: &Row| v.init.clone()),
        Heading::number("cells").cell(|v: &Row| v.n_cells.to_string()),
        Heading::number("sd").cell(|v: &Row| shown(v.sd, |sd| format!("{sd:.4}"))),
        Heading::number("df").cell(|v: &Row| shown(v.df, |df| df.to_string())),
        Heading::number("ratio").cell(|v: &Row| shown(v.ratio, |r| format!("{:.2}", r.value))),
        Heading::number("interval")
            .cell(|v: &Row| shown(v.ratio, |r| format!("{:.2}", r.interval))),
        Heading::number("seeds").cell(|v: &Row| v.n_seeds.to_string()),
    ];
    let title = format!(
        "Sd of test accuracy between the seeds that train, and its ratio to that of {}",
        baseline(summary)
    );
    TextTable::new(title, 1, columns, &summary.variance)
}

pub(super) fn notes(summary: &Summary) -> TextTable {
    let columns = vec![
        Heading::new("about").cell(|n: &&Note| n.kind.to_owned()),
        Heading::new("note").cell(|n: &&Note| one_line(&n.text)),
    ];
    TextTable::new("Notes", 1, columns, &summary.notes)
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

/// A table for each claim with more than one setting.
pub(super) fn settings(summary: &Summary) -> Vec<TextTable> {
    type Row = SettingResult;
    let of = |claim: &ClaimResult| {
        let columns = vec![
            Heading::new("setting").cell(|s: &Row| s.setting.clone()),
            Heading::new("verdict").cell(|s: &Row| s.decision.verdict.to_string()),
            Heading::number("estimate").cell(|s: &Row| shown(s.estimate, |x| format!("{x:.3}"))),
            Heading::number("interval").cell(|s: &Row| shown(s.interval, |i| format!("{i:.3}"))),
            Heading::number("n").cell(|s: &Row| s.decision.n.to_string()),
            Heading::number("p").cell(|s: &Row| shown(s.decision.p, p_value)),
        ];
        TextTable::new(one_line(&claim.text), 1, columns, claim.in_settings())
    };
    summary.claims.iter().map(of).filter(|table| !table.rows.is_empty()).collect()
}

/// Published numbers beside ours, one line each; without room for it, their uncertainty is only in
/// `published.csv`.
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
            (None, _) if p.success.1 == 0 => "not measured".to_owned(),
            (None, _) => "does not train".to_owned(),
            (Some(mean), None) => format!("{mean:.3}"),
            (Some(mean), Some(sd)) => format!("{mean:.3} ± {sd:.3}"),
        }),
        Heading::number("n").cell(|p: &Row| p.n.to_string()),
        Heading::number("trained").cell(|p: &Row| format!("{}/{}", p.success.0, p.success.1)),
    ]);
    let what = match metrics.first() {
        Some(metric) if metrics.len() == 1 => format!("Published {metric}"),
        _ => "Published".to_owned(),
    };
    let title = format!("{what} beside ours (mean ± sd over seeds)");
    TextTable::new(title, 0, columns, &summary.published)
}
