//! `wninit summary DIR`: the results of a sweep so far.

mod answer;
mod folder;
mod object;
mod only;
mod story;
mod tables;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::ValueEnum;

use object::Object;
use wninit_core::atomic::write_atomically;
use wninit_core::cli::json::{self, JsonArgs};
use wninit_core::cli::{Root, Written, fail};
use wninit_core::console::{self, detail};
use wninit_core::fmt::plural;
use wninit_core::results::document_columns;
use wninit_core::table::Table;
use wninit_core::text_table::{Style, TextTable};
use wninit_stats::summary::Summary;

pub(super) use folder::Folder;
pub(super) use object::schema;

/// Summarise the results of a sweep so far.
///
/// Prints which initializers train, how accurately, and the verdicts on the claims; writes all
/// tables to DIR/summary/*.csv. Accuracies are on the test set at the best validation epoch, over
/// the runs that train; learning rates are chosen on validation. The sweep may still be running.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  wninit summary results/depth
  wninit summary results/depth --only depth=50,100 --table cells
  wninit summary sweeps/depth.toml --json")]
pub struct Args {
    /// The sweep's folder, such as results/depth, or its grid
    #[arg(value_name = "DIR|GRID")]
    pub dir: PathBuf,
    #[command(flatten)]
    pub results: Root,
    /// Print only the rows with these values of an axis, such as depth=40 (repeatable)
    #[arg(long, value_name = "AXIS=A,B")]
    pub only: Vec<String>,
    #[command(flatten)]
    pub json: JsonArgs,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table, conflicts_with = "json")]
    pub format: Format,
    /// The initializer that the others are compared with [default: the default gain, else datadep]
    #[arg(long, value_name = "INIT")]
    pub baseline: Option<String>,
    /// Print only this table
    #[arg(long, value_enum, value_name = "NAME", conflicts_with = "json")]
    pub table: Option<TableName>,
}

impl Args {
    /// The whole summary of a folder, as text.
    fn of(dir: PathBuf) -> Args {
        Args {
            dir,
            results: Root::default(),
            only: Vec::new(),
            json: JsonArgs::default(),
            format: Format::Table,
            baseline: None,
            table: None,
        }
    }
}

/// How tables are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text for a terminal of 100 columns
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
    /// Each initializer in each task, the best first
    Ranking,
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
    /// Claims with their verdicts
    Claims,
    /// Claims in each of their settings
    Settings,
    /// Published numbers beside ours
    Published,
    /// Limits of the numbers
    Notes,
}

/// Width of tables, in terminal columns.
const WIDTH: usize = 100;

/// Makes the summary, writes it to `DIR/summary/` and prints it.
///
/// # Errors
/// The folder is not a sweep's, one of its files cannot be read, or the summary cannot be written.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let dir = args.results.folder(&args.dir)?;
    let began = Instant::now();
    let folder = Folder::read(&dir)?;
    let rows = plural(folder.records.len(), "row");
    detail(&format!("read {rows} of {} in {:.1?}", dir.display(), began.elapsed()));
    let began = Instant::now();
    let mut summary = folder.summary(args.baseline.as_deref())?;
    let tables = summary.tables();
    detail(&format!("summarised in {:.1?}", began.elapsed()));
    for option in &args.only {
        only::keep(&mut summary, option)?;
    }
    let shown = if args.only.is_empty() { tables.clone() } else { summary.tables() };
    if args.json.json {
        let about = folder.about.as_deref();
        let printed = json::print(&Object::new(&folder.name, about, &summary, &shown));
        write(&dir, &tables).context("the summary could not be written")?;
        return printed.map(|()| 0);
    }
    let style = Style { width: WIDTH, colour: console::colour() };
    let text = print(&summary, &shown, &folder.name, args, style);
    // Unescaped, because of the colours: tables and `wrap` remove all other control characters.
    let printed = console::print_raw(&text);
    write(&dir, &tables).context("the summary could not be written")?;
    printed?;
    Ok(0)
}

/// Prints the summary after `wninit-torch run` has trained.
pub(super) fn show(written: &Written) -> u8 {
    let dir = written.dir.clone();
    let summary = run(&Args::of(dir));
    let summarised = summary.unwrap_or_else(|error| fail(&error));
    if written.code == 0 { summarised } else { written.code }
}

fn print(summary: &Summary, written: &[Table], name: &str, args: &Args, style: Style) -> Vec<u8> {
    let shown = |name: TableName| match name {
        TableName::Ranking => vec![tables::ranking(summary)],
        TableName::Cells => vec![tables::cells(summary)],
        TableName::Initializers => vec![tables::initializers(summary)],
        TableName::Pairs => vec![tables::pairs(summary)],
        TableName::Profiles => vec![tables::profiles(summary)],
        TableName::Variance => vec![tables::variance(summary)],
        TableName::Claims => vec![tables::claims(summary)],
        TableName::Settings => tables::settings(summary),
        TableName::Published => vec![tables::published(summary)],
        TableName::Notes => vec![tables::notes(summary)],
    };
    let shown: Vec<TextTable> = match args.table {
        Some(name) => shown(name),
        None => [TableName::Ranking, TableName::Claims, TableName::Published, TableName::Notes]
            .into_iter()
            .flat_map(shown)
            .filter(|table| !table.rows.is_empty())
            .collect(),
    };
    let joined = |print: &dyn Fn(&TextTable) -> String| {
        shown.iter().map(print).collect::<Vec<_>>().join("\n")
    };
    let text = match args.format {
        Format::Csv => return written[args.table.unwrap_or(TableName::Cells) as usize].csv(),
        Format::Table if args.table.is_none() => story::story(summary, name, style),
        Format::Table => joined(&|table| table.text(style)),
        Format::Markdown => joined(&TextTable::markdown),
        Format::Latex => joined(&TextTable::latex),
    };
    text.into_bytes()
}

/// Writes every table to `dir/summary/`, each atomically, and documents their columns.
fn write(dir: &Path, tables: &[Table]) -> anyhow::Result<()> {
    let folder = dir.join("summary");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    for table in tables {
        write_atomically(&folder.join(table.name).with_extension("csv"), &table.csv())?;
    }
    let documented = |table: &Table| (format!("summary/{}.csv", table.name), table.columns.clone());
    document_columns(dir, &tables.iter().map(documented).collect::<Vec<_>>())?;
    Ok(())
}

/// The made-up sweeps of the statistics' own tests.
#[cfg(test)]
#[path = "../../../tests/common/sweeps.rs"]
mod testing;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::testing::depth_sweep;
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;
    use wninit_core::grid::Claim;
    use wninit_core::grid::{Expectation, Metric};
    use wninit_core::job::Field;
    use wninit_core::job::Value;
    use wninit_stats::summary::Input;

    const NARROW: Style = Style { width: WIDTH, colour: false };

    fn args(format: Format, table: Option<TableName>) -> Args {
        Args { format, table, ..Args::of(PathBuf::new()) }
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
        String::from_utf8(print(summary, &summary.tables(), "depth", &args, NARROW)).unwrap()
    }

    fn in_one_line(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn everything_fits_a_terminal_of_100_columns() {
        let summary =
            claimed(&"The proposed gain trains a deep network where the others do not. ".repeat(4));
        for table in
            std::iter::once(None).chain(TableName::value_variants().iter().copied().map(Some))
        {
            for line in printed(&summary, Format::Table, table).lines() {
                // Claims are prose; they wrap in the whole summary, and in a table of their own they are one cell.
                if ![Some(TableName::Claims), Some(TableName::Notes)].contains(&table) {
                    assert!(line.chars().count() <= WIDTH, "{table:?}: {line}");
                }
            }
        }
    }

    #[test]
    fn the_first_table_says_who_trains_and_how_accurately() {
        let text = printed(&claimed("It trains."), Format::Table, None);
        assert!(
            text.starts_with("depth: 60 runs planned, 60 finished (10 diverged, 15 at chance)\n"),
            "{text}"
        );
        let line = in_one_line(text.lines().find(|line| line.contains("   50  ")).unwrap());
        assert!(line.starts_with("50 orth"), "{line}");
        assert!(line.contains("_proposed 5/10 0.800 [0."), "{line}");
        // At depth 2 the difference is 0.001, and at depth 50 the other arm never trains.
        assert!(text.contains("refuted       It trains."), "{text}");
        assert!(in_one_line(&text).contains("Not testable at depth 50."), "{text}");
        assert!(text.find("Who trains").unwrap() < text.find("Claims").unwrap());
        assert!(text.contains("Not tested: anything else, nor the initializers he, "), "{text}");
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
        assert!(latex.contains("orthogonal\\_proposed") && latex.contains("{tabular}"));
    }

    #[test]
    fn the_tables_are_written_beside_the_results() {
        let dir = tempfile::tempdir().unwrap();
        let summary = claimed("It trains.");
        write(dir.path(), &summary.tables()).unwrap();
        write(dir.path(), &summary.tables()).unwrap();
        let cells = fs::read_to_string(dir.path().join("summary/cells.csv")).unwrap();
        assert_eq!(cells.lines().count(), 1 + 12);
        let written = fs::read_dir(dir.path().join("summary")).unwrap().map(|entry| {
            let path = entry.unwrap().path();
            path.file_stem().unwrap().to_str().unwrap().to_owned()
        });
        let printable = TableName::value_variants()
            .iter()
            .map(|table| table.to_possible_value().unwrap().get_name().to_owned());
        assert_eq!(written.collect::<BTreeSet<_>>(), printable.collect());
    }
}
