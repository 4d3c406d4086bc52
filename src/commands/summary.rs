//! `wninit summary DIR`: what a sweep has shown so far.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail};
use clap::ValueEnum;

use wninit_core::console;
use wninit_core::grid::{Claim, Grid, Overrides, Published};
use wninit_core::job::{Init, Job, JobId, Value};
use wninit_core::results::{
    Curvature, Record, best_curvatures, document_columns, planned_jobs, read_curvatures,
    read_failures, read_runs, write_atomically,
};
use wninit_core::table::{Column, Display, Style, Table, wrap};
use wninit_core::text::one_line;
use wninit_stats::estimates::{Interval, LEVEL};
use wninit_stats::summary::{
    Axis, Input, PairSummary, Summary, Verdict, documentation, duration, plural,
};

/// What has a sweep shown so far?
///
/// Prints tables and writes them, complete, to DIR/summary/*.csv. Accuracies are on the test set at
/// the best validation epoch; a run that diverged counts as a guess, never as missing; learning
/// rates are chosen on validation. A sweep that is still running has a summary, too.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The sweep's folder, such as results/depth
    pub dir: PathBuf,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// The initializer that the others are compared with [default: the default gain, else datadep]
    #[arg(long, value_name = "INIT", value_parser = Init::from_str)]
    pub baseline: Option<Init>,
    /// Print this table only
    #[arg(long, value_enum, value_name = "NAME")]
    pub table: Option<TableName>,
}

impl Args {
    /// The whole summary of a sweep, as text.
    pub fn of(dir: &Path) -> Args {
        Args { dir: dir.to_owned(), format: Format::Table, baseline: None, table: None }
    }
}

/// How tables are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text for a terminal of 80 columns
    Table,
    /// CSV, one table (cells, unless --table says otherwise)
    Csv,
    /// GitHub's Markdown
    Markdown,
    /// LaTeX, for the package booktabs
    Latex,
}

/// The tables of a summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TableName {
    /// Each setting over its seeds
    Cells,
    /// Each initializer over the whole sweep
    Initializers,
    /// Each initializer against the baseline, setting by setting
    Pairs,
    /// Share of runs that reach an accuracy
    Profiles,
    /// Spread between seeds
    Variance,
    /// What the sweep was meant to show
    Claims,
    /// Published numbers beside ours
    Published,
}

/// Columns of the terminal that tables are made for.
const WIDTH: usize = 80;

/// The most cells that are printed without being asked for: two screens full.
const MOST_CELLS: usize = 60;

/// Makes the summary, writes it to `DIR/summary/` and prints it.
///
/// # Errors
/// The folder is no sweep's, one of its files cannot be read, or the summary cannot be written.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let folder = Folder::read(&args.dir)?;
    let summary = folder.summary(args.baseline)?;
    let tables = summary.tables();
    let style = Style {
        width: WIDTH,
        colour: console::stdout_is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    };
    let text = print(&summary, &tables, &folder.name, args, style)?;
    // As it is, because of the colours: tables and `wrap` leave no other control character in it.
    let printed = console::print_raw(&text);
    write(&args.dir, &tables).context("the summary could not be written")?;
    printed?;
    Ok(0)
}

fn print(
    summary: &Summary,
    tables: &[Table],
    name: &str,
    args: &Args,
    style: Style,
) -> anyhow::Result<Vec<u8>> {
    let tidy = |name: TableName| &tables[name as usize];
    let shown: Vec<Display> = match args.table {
        Some(TableName::Cells) => vec![Display {
            title: "Cells".to_owned(),
            ..tidy(TableName::Cells).display(summary.axes.len())
        }],
        Some(TableName::Initializers) => vec![initializers(summary)],
        Some(TableName::Pairs) => vec![pairs(summary)],
        Some(TableName::Profiles) => vec![profiles(summary)],
        Some(TableName::Variance) => vec![variance(summary)],
        Some(TableName::Claims) => vec![claims(summary)],
        Some(TableName::Published) => vec![published(summary)],
        None => {
            let mut all =
                vec![cells(summary), initializers(summary), claims(summary), published(summary)];
            all.retain(|display| !display.rows.is_empty());
            all
        }
    };
    let mut text = String::new();
    match args.format {
        Format::Csv => {
            let mut bytes = Vec::new();
            tidy(args.table.unwrap_or(TableName::Cells)).write_csv(&mut bytes)?;
            return Ok(bytes);
        }
        Format::Table if args.table.is_none() => story(summary, name, style, &mut text),
        Format::Table => text = join(shown.iter().map(|display| display.text(style))),
        Format::Markdown => text = join(shown.iter().map(Display::markdown)),
        Format::Latex => text = join(shown.iter().map(Display::latex)),
    }
    Ok(text.into_bytes())
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join("\n")
}

/// The whole summary as a person would tell it.
fn story(summary: &Summary, name: &str, style: Style, text: &mut String) {
    let counts = summary.counts;
    let mut head = format!(
        "{}: {} planned, {} finished",
        one_line(name),
        plural(counts.planned, "run"),
        counts.finished
    );
    let parts: Vec<String> = [(counts.diverged, "diverged"), (counts.at_chance, "at chance")]
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{n} {what}"))
        .collect();
    if !parts.is_empty() {
        let _ = write!(head, " ({})", parts.join(", "));
    }
    for (n, what) in [(counts.failed, "failed"), (counts.missing, "missing")] {
        if n > 0 {
            let _ = write!(head, ", {n} {what}");
        }
    }
    let _ = writeln!(text, "{}", style.bold(&wrap(&head, style.width, 2)));
    if !summary.constants.is_empty() {
        let all: Vec<String> = summary
            .constants
            .iter()
            .map(|(name, value)| match *name {
                "dataset" | "model" | "precision" | "init" => value.clone(),
                "norm" => format!("{value} norm"),
                "epochs" => plural_of(value, "epoch"),
                name => format!("{name} {value}"),
            })
            .collect();
        let _ = writeln!(text, "{}", style.dim(&wrap(&all.join(", "), style.width, 2)));
    }
    if counts.finished == 0 {
        let _ = writeln!(text, "\nNothing is finished yet.");
    } else {
        let _ = write!(text, "\n{}", cells(summary).text(style));
        if hidden_cells(summary) > 0 {
            let more = format!(
                "{} with other learning rates not shown: --table cells",
                plural(hidden_cells(summary), "cell")
            );
            let _ = writeln!(text, "{}", style.dim(&more));
        }
        let _ = write!(text, "\n{}", initializers(summary).text(style));
        let _ = writeln!(text, "{}", style.dim(&wrap(&legend(summary), style.width, 0)));
        for answer in answers(summary) {
            let _ = writeln!(text, "{}", wrap(&answer, style.width, 2));
        }
    }
    if !summary.claims.is_empty() {
        let _ = writeln!(text, "\n{}", style.bold("Claims"));
        for claim in &summary.claims {
            let colour = match claim.verdict {
                Verdict::Supported => "32",
                Verdict::Refuted => "31",
                Verdict::Undecided => "33",
            };
            let verdict = style.paint(colour, &format!("{:<10}", claim.verdict));
            let indent = 2 + 10 + 2;
            let room = style.width - indent;
            let margin = "\n".to_owned() + &" ".repeat(indent);
            let words = wrap(&claim.text, room, 0).replace('\n', &margin);
            let reason = wrap(&claim.reason(), room, 0);
            let reason: Vec<String> = reason.lines().map(|line| style.dim(line)).collect();
            let _ = writeln!(text, "  {verdict}  {words}{margin}{}", reason.join(&margin));
        }
    }
    if !summary.published.is_empty() {
        let _ = write!(text, "\n{}", published(summary).text(style));
    }
    if !summary.notes.is_empty() {
        let _ = writeln!(text, "\n{}", style.bold("Notes"));
        for note in &summary.notes {
            let _ = writeln!(text, "  {}", wrap(note, style.width - 2, 0).replace('\n', "\n  "));
        }
    }
}

/// Cells that are left out because there are too many: those whose learning rate was not chosen.
fn hidden_cells(summary: &Summary) -> usize {
    let several_rates = summary.axes.iter().any(|axis| axis.field.name == "lr");
    if summary.cells.len() <= MOST_CELLS || !several_rates {
        0
    } else {
        summary.cells.len() - summary.chosen.len()
    }
}

fn axis_column(axis: &Axis) -> Column {
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
    if numeric { Column::number(name).or(short) } else { Column::new(name).or(short) }
}

fn cells(summary: &Summary) -> Display {
    let chosen = hidden_cells(summary) > 0;
    let partial = summary.cells.iter().any(|c| c.n_finished != c.n_planned);
    let mut columns: Vec<Column> = summary.axes.iter().map(axis_column).collect();
    columns.push(Column::number("n"));
    columns.push(Column::number("diverged").or("div"));
    columns.push(Column::number("at chance").or("chance"));
    columns.push(Column::number("success"));
    columns.push(Column::number("test accuracy").or("accuracy"));
    let row = |i: usize| {
        let cell = &summary.cells[i];
        let mut row: Vec<String> =
            summary.axes.iter().zip(&cell.at).map(|(axis, &at)| axis.label(at)).collect();
        row.push(if partial {
            format!("{}/{}", cell.n_finished, cell.n_planned)
        } else {
            cell.n_finished.to_string()
        });
        row.push(some(cell.n_diverged));
        row.push(some(cell.n_at_chance));
        row.push(percent(cell.success_rate));
        row.push(match (cell.mean, cell.sd) {
            (None, _) => String::new(),
            (Some(mean), None) => format!("{mean:.3}        "),
            (Some(mean), Some(sd)) => format!("{mean:.3} ± {sd:.3}"),
        });
        row
    };
    let which: Vec<usize> =
        if chosen { summary.chosen.clone() } else { (0..summary.cells.len()).collect() };
    Display {
        title: if chosen {
            "Cells at the learning rate chosen on validation: mean ± sd over seeds".to_owned()
        } else {
            "Cells: mean ± sd over seeds, a diverged run counted as a guess".to_owned()
        },
        columns,
        keys: summary.axes.len(),
        rows: which.into_iter().map(row).collect(),
    }
}

fn initializers(summary: &Summary) -> Display {
    let banded = summary.initializers.iter().any(|s| s.lr_band_decades.is_some());
    let mut columns = vec![
        Column::new("init"),
        Column::number("runs"),
        Column::number("success"),
        Column::number("IQM"),
    ];
    let bootstrapped = summary.initializers.iter().any(|s| s.iqm_interval.is_some());
    if bootstrapped {
        columns.push(Column::new("interval"));
    }
    columns.push(Column::number("near best").or("near"));
    if banded {
        columns.push(Column::number("lr decades").or("lr"));
    }
    columns.push(Column::number("deepest"));
    let rows = summary.initializers.iter().map(|s| {
        let mut row = vec![s.label.clone(), s.n_finished.to_string(), percent(s.success_rate)];
        row.push(s.iqm.map(|iqm| format!("{iqm:.3}")).unwrap_or_default());
        if bootstrapped {
            row.push(
                s.iqm_interval
                    .map(|i| format!("[{:.3}, {:.3}]", i.low, i.high))
                    .unwrap_or_default(),
            );
        }
        row.push(percent(s.near_best));
        if banded {
            row.push(s.lr_band_decades.map(|d| format!("{d:.1}")).unwrap_or_default());
        }
        row.push(match (s.deepest, s.deepest_tested) {
            (Some(deepest), Some(tested)) => format!("{deepest}/{tested}"),
            (None, Some(tested)) => format!("none/{tested}"),
            _ => String::new(),
        });
        row
    });
    Display {
        title: "Initializers over all cells".to_owned(),
        columns,
        keys: 1,
        rows: rows.collect(),
    }
}

/// What the columns of [`initializers`] mean.
fn legend(summary: &Summary) -> String {
    let mut text = format!(
        "success: converged to better than chance. IQM: interquartile mean of test accuracy. \
         near best: runs within {} of the best cell of their depth.",
        wninit_stats::summary::NEAR_BEST
    );
    if summary.initializers.iter().any(|s| s.lr_band_decades.is_some()) {
        text += " lr decades: width of the band of learning rates with which most seeds succeed, mean over depths.";
    }
    text + " deepest: layers that most seeds train / layers tried."
}

/// What the initializers amount to, a sentence each.
fn answers(summary: &Summary) -> Vec<String> {
    let mut answers = Vec::new();
    let Some(baseline) = summary.baseline.map(|b| summary.initializers[b].label.as_str()) else {
        return answers;
    };
    for arm in &summary.initializers {
        let Some(d) = arm.difference else { continue };
        let verb = match d.interval {
            Some(Interval { low, .. }) if low > 0.0 => "is better than",
            Some(Interval { high, .. }) if high < 0.0 => "is worse than",
            Some(_) => "is not shown to differ from",
            None => "against",
        };
        let interval = match d.interval {
            Some(i) => format!(" [{:+.3}, {:+.3}]", i.low, i.high),
            None => String::new(),
        };
        answers.push(format!(
            "{} {verb} {baseline}: {:+.3}{interval} test accuracy, each at its best lr, {} paired.",
            arm.label,
            d.mean,
            plural(d.n, "seed")
        ));
    }
    let incomplete: Vec<&str> = summary
        .initializers
        .iter()
        .filter(|arm| !arm.is_baseline && arm.n_finished > 0 && arm.difference.is_none())
        .map(|arm| arm.label.as_str())
        .collect();
    if !incomplete.is_empty() {
        answers.push(format!(
            "No overall difference from {baseline} for {}: no seed is finished in every setting. \
             --table pairs has the differences setting by setting.",
            incomplete.join(", ")
        ));
    }
    answers
}

fn pairs(summary: &Summary) -> Display {
    let axes = summary.context_axes();
    let mut columns: Vec<Column> =
        axes.iter().map(|&axis| axis_column(&summary.axes[axis])).collect();
    columns.push(Column::new("init"));
    columns.push(Column::number("lr"));
    columns.push(Column::number("seeds").or("n"));
    columns.push(Column::number("difference").or("diff"));
    columns.push(Column::number(format!("{:.0} % interval", LEVEL * 100.0)).or("interval"));
    columns.push(Column::number("p (Holm)").or("p"));
    columns.push(Column::number("P(better)"));
    let row = |p: &PairSummary| {
        let mut row: Vec<String> =
            axes.iter().zip(&p.context).map(|(&axis, &at)| summary.axes[axis].label(at)).collect();
        row.push(summary.initializers[p.arm].label.clone());
        row.push(p.lr.to_string());
        row.push(p.difference.map_or(0, |d| d.n).to_string());
        row.push(p.difference.map(|d| format!("{:+.3}", d.mean)).unwrap_or_default());
        row.push(
            p.difference
                .and_then(|d| d.interval)
                .map(|i| format!("[{:+.3}, {:+.3}]", i.low, i.high))
                .unwrap_or_default(),
        );
        row.push(p.p_holm.map(p_value).unwrap_or_default());
        row.push(p.better.map(|b| format!("{:.2}", b.value)).unwrap_or_default());
        row
    };
    let baseline =
        summary.baseline.map(|b| summary.initializers[b].label.as_str()).unwrap_or_default();
    Display {
        title: format!(
            "Test accuracy against {baseline}, each at its best lr on validation, paired by seed"
        ),
        columns,
        keys: axes.len() + 1,
        rows: summary.pairs.iter().map(row).collect(),
    }
}

fn profiles(summary: &Summary) -> Display {
    let mut columns = vec![Column::number("accuracy")];
    columns.extend(
        summary.profiles.iter().map(|p| Column::number(summary.initializers[p.arm].label.clone())),
    );
    let taus = summary.profiles.first().map(|p| p.points.as_slice()).unwrap_or_default();
    let row = |(i, (tau, _)): (usize, &(f64, f64))| {
        let shares =
            summary.profiles.iter().map(|p| percent(p.points.get(i).map(|(_, share)| *share)));
        std::iter::once(format!("{tau:.2}")).chain(shares).collect()
    };
    Display {
        title: "Share of runs with at least this test accuracy".to_owned(),
        columns,
        keys: 1,
        rows: taus.iter().enumerate().step_by(5).map(row).collect(),
    }
}

fn variance(summary: &Summary) -> Display {
    let baseline =
        summary.baseline.map(|b| summary.initializers[b].label.as_str()).unwrap_or_default();
    let rows = summary.variance.iter().map(|v| {
        vec![
            v.scope.name().to_owned(),
            summary.initializers[v.arm].label.clone(),
            v.n_cells.to_string(),
            v.pooled.map(|p| format!("{:.4}", p.sd)).unwrap_or_default(),
            v.pooled.map(|p| p.df.to_string()).unwrap_or_default(),
            v.ratio.map(|r| format!("{:.2}", r.value)).unwrap_or_default(),
            v.ratio
                .map(|r| format!("[{:.2}, {:.2}]", r.interval.low, r.interval.high))
                .unwrap_or_default(),
        ]
    });
    Display {
        title: format!(
            "Seed sd of test accuracy pooled over cells, and its ratio to that of {baseline}"
        ),
        columns: vec![
            Column::new("runs"),
            Column::new("init"),
            Column::number("cells"),
            Column::number("sd"),
            Column::number("df"),
            Column::number("ratio"),
            Column::number("interval"),
        ],
        keys: 2,
        rows: rows.collect(),
    }
}

fn claims(summary: &Summary) -> Display {
    let rows = summary.claims.iter().map(|c| {
        vec![
            one_line(&c.text),
            c.verdict.to_string(),
            c.estimate.map(|x| format!("{x:.3}")).unwrap_or_default(),
            c.interval.map(|i| format!("[{:.3}, {:.3}]", i.low, i.high)).unwrap_or_default(),
            c.n.to_string(),
            c.seeds_needed.map(|n| n.to_string()).unwrap_or_default(),
            c.seconds_needed.map(duration).unwrap_or_default(),
        ]
    });
    Display {
        title: "Claims".to_owned(),
        columns: vec![
            Column::new("claim"),
            Column::new("verdict"),
            Column::number("estimate"),
            Column::number("interval"),
            Column::number("n"),
            Column::number("seeds needed").or("needs"),
            Column::number("costs"),
        ],
        keys: 1,
        rows: rows.collect(),
    }
}

/// Published numbers beside ours, a line each: where there is no room for it, their uncertainty is left
/// to `published.csv`.
fn published(summary: &Summary) -> Display {
    let whole = published_with(summary, true);
    if whole.fits(WIDTH) { whole } else { published_with(summary, false) }
}

fn published_with(summary: &Summary, spreads: bool) -> Display {
    let metrics: BTreeSet<&str> = summary.published.iter().map(|p| p.metric.name()).collect();
    let rows = summary.published.iter().map(|p| {
        let mut row = vec![if p.briefly.is_empty() { "all".to_owned() } else { p.briefly.clone() }];
        if metrics.len() > 1 {
            row.push(p.metric.to_string());
        }
        row.push(match p.spread {
            Some(spread) if spreads => format!("{} ± {spread}", p.published),
            _ => p.published.to_string(),
        });
        row.push(match (p.mean, p.sd) {
            (None, _) => "not measured".to_owned(),
            (Some(mean), None) => format!("{mean:.3}"),
            (Some(mean), Some(sd)) => format!("{mean:.3} ± {sd:.3}"),
        });
        row.push(p.n.to_string());
        row
    });
    let mut columns = vec![Column::new("where")];
    if metrics.len() > 1 {
        columns.push(Column::new("metric"));
    }
    columns.extend(["published", "ours", "n"].map(Column::number));
    let what = match metrics.first() {
        Some(metric) if metrics.len() == 1 => format!("Published {metric}"),
        _ => "Published".to_owned(),
    };
    Display {
        title: format!("{what} beside ours (mean ± sd over seeds)"),
        columns,
        keys: 0,
        rows: rows.collect(),
    }
}

/// A count; a dot for none, so that what went wrong stands out.
fn some(n: usize) -> String {
    if n == 0 { "·".to_owned() } else { n.to_string() }
}

/// "1 epoch", "2 epochs".
fn plural_of(count: &str, what: &str) -> String {
    count.parse().map_or_else(|_| format!("{count} {what}s"), |n| plural(n, what))
}

fn percent(share: Option<f64>) -> String {
    share.map(|share| format!("{:.0} %", share * 100.0)).unwrap_or_default()
}

fn p_value(p: f64) -> String {
    if p < 0.001 { "<0.001".to_owned() } else { format!("{p:.3}") }
}

/// Writes every table to `dir/summary/`, each as a whole, and what their columns mean.
fn write(dir: &Path, tables: &[Table]) -> anyhow::Result<()> {
    let folder = dir.join("summary");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for table in tables {
        let mut bytes = Vec::new();
        table.write_csv(&mut bytes)?;
        write_atomically(&folder.join(table.name).with_extension("csv"), &bytes)?;
    }
    let described = tables
        .iter()
        .map(|table| (format!("summary/{}.csv", table.name), documentation(table)))
        .collect::<Vec<_>>();
    document_columns(dir, &described)?;
    Ok(())
}

/// What a sweep's folder says.
pub(super) struct Folder {
    /// The sweep's name.
    pub name: String,
    /// What the sweep asks.
    pub about: Option<String>,
    /// The finished jobs.
    pub records: Vec<Record>,
    planned: Vec<(JobId, Job)>,
    curvatures: Vec<Curvature>,
    failed: Vec<JobId>,
    claims: Vec<Claim>,
    published: Vec<Published>,
    warnings: Vec<String>,
}

impl Folder {
    /// Reads a sweep's folder, its shards included.
    ///
    /// # Errors
    /// The folder is no sweep's, or a file of it other than its grid cannot be read.
    pub(super) fn read(dir: &Path) -> anyhow::Result<Folder> {
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
                folder.published = grid.published;
                folder.warnings.extend(grid.warnings);
            }
            Err(error) => folder.warnings.push(format!(
                "{error}; without the grid there are no claims and no published numbers"
            )),
        }
        Ok(folder)
    }

    /// What its results amount to.
    ///
    /// # Errors
    /// As [`Summary::new`].
    pub(super) fn summary(&self, baseline: Option<Init>) -> anyhow::Result<Summary> {
        let mut summary = Summary::new(&Input {
            planned: &self.planned,
            records: &self.records,
            curvatures: &self.curvatures,
            failed: &self.failed,
            claims: &self.claims,
            published: &self.published,
            baseline,
        })?;
        summary.notes.extend_from_slice(&self.warnings);
        Ok(summary)
    }
}

/// The made-up sweeps of the statistics' own tests.
#[cfg(test)]
#[path = "../stats/summary/testing.rs"]
mod testing;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::testing::depth_sweep;
    use super::*;
    use wninit_core::grid::{Expectation, Metric};
    use wninit_core::job::Field;

    const NARROW: Style = Style { width: WIDTH, colour: false };

    fn args(format: Format, table: Option<TableName>) -> Args {
        Args { dir: PathBuf::new(), format, baseline: None, table }
    }

    fn claimed(text: &str) -> Summary {
        let value = |name: &str| Value::Text(name.to_owned());
        let compare = Expectation::compare(
            Field::named("init").unwrap(),
            value("orthogonal_proposed"),
            value("orthogonal_datadep"),
            0.1,
        );
        let claim = Claim::new(text, Metric::TestAcc, Vec::new(), compare);
        let records = depth_sweep();
        Summary::new(&Input { records: &records, claims: &[claim], ..Input::default() }).unwrap()
    }

    fn printed(summary: &Summary, format: Format, table: Option<TableName>) -> String {
        let args = args(format, table);
        String::from_utf8(print(summary, &summary.tables(), "depth", &args, NARROW).unwrap())
            .unwrap()
    }

    #[test]
    fn everything_fits_a_terminal_of_80_columns() {
        let summary =
            claimed(&"The proposed gain trains a deep network where the others do not. ".repeat(4));
        for table in
            std::iter::once(None).chain(TableName::value_variants().iter().copied().map(Some))
        {
            for line in printed(&summary, Format::Table, table).lines() {
                // Claims are prose; they wrap in the whole summary, and in a table of their own they are one cell.
                if table != Some(TableName::Claims) {
                    assert!(line.chars().count() <= WIDTH, "{table:?}: {line}");
                }
            }
        }
    }

    #[test]
    fn the_first_table_says_how_many_diverged_and_succeeded_and_how_well_they_did() {
        let text = printed(&claimed("It trains."), Format::Table, None);
        assert!(
            text.starts_with("depth: 60 runs planned, 60 finished (10 diverged, 15 at chance)\n"),
            "{text}"
        );
        assert!(
            text.contains(
                "   50  orthogonal           0.01  5         ·          5      0 %  0.100 ± 0.000"
            ),
            "{text}"
        );
        assert!(text.contains("supported   It trains."), "{text}");
        assert!(text.find("Cells").unwrap() < text.find("Initializers").unwrap());
        assert!(text.find("Initializers").unwrap() < text.find("Claims").unwrap());
    }

    #[test]
    fn a_claim_can_neither_start_a_formula_nor_move_the_cursor() {
        let summary = claimed("=HYPERLINK(\"http://x\")\u{1b}[2J\nnext");
        assert!(!printed(&summary, Format::Table, None).contains('\u{1b}'));
        let csv = printed(&summary, Format::Csv, Some(TableName::Claims));
        assert!(csv.lines().nth(1).unwrap().starts_with("\"'=HYPERLINK"), "{csv}");
    }

    #[test]
    fn the_csv_is_a_table_and_nothing_else() {
        for &table in TableName::value_variants() {
            let csv = printed(&claimed("It trains."), Format::Csv, Some(table));
            let mut reader = csv::Reader::from_reader(csv.as_bytes());
            let rows = reader.records().collect::<Result<Vec<_>, _>>().unwrap();
            assert_eq!(rows.is_empty(), table == TableName::Published, "{table:?}");
        }
    }

    #[test]
    fn markdown_and_latex_escape_what_is_special_there() {
        let summary = claimed("100 % | of_it & more");
        assert!(printed(&summary, Format::Markdown, None).contains("| 100 % \\| of_it & more |"));
        let latex = printed(&summary, Format::Latex, None);
        assert!(latex.contains("100 \\% | of\\_it \\& more"), "{latex}");
        assert!(latex.contains("orthogonal\\_proposed") && latex.contains("0.100 $\\pm$ 0.000"));
    }

    #[test]
    fn the_tables_are_written_beside_the_results() {
        let dir = tempfile::tempdir().unwrap();
        let summary = claimed("It trains.");
        write(dir.path(), &summary.tables()).unwrap();
        write(dir.path(), &summary.tables()).unwrap();
        let cells = fs::read_to_string(dir.path().join("summary/cells.csv")).unwrap();
        assert_eq!(cells.lines().count(), 1 + 12);
        assert_eq!(fs::read_dir(dir.path().join("summary")).unwrap().count(), 7);
    }
}
