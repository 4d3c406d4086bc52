//! Tables: tidy ones for files, narrow ones for people.

use std::fmt::Write as _;
use std::io;

use crate::text::{self, one_line};

/// A cell of a tidy table.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum {
    /// Not measured, or not defined.
    Empty,
    /// A word or a sentence.
    Text(String),
    /// A count.
    Count(usize),
    /// A number; one that is not finite is written as an empty cell.
    Number(f64),
}

impl From<usize> for Datum {
    fn from(count: usize) -> Datum {
        Datum::Count(count)
    }
}

impl From<f64> for Datum {
    fn from(number: f64) -> Datum {
        Datum::Number(number)
    }
}

impl From<&str> for Datum {
    fn from(text: &str) -> Datum {
        Datum::Text(text.to_owned())
    }
}

impl From<String> for Datum {
    fn from(text: String) -> Datum {
        Datum::Text(text)
    }
}

impl<T: Into<Datum>> From<Option<T>> for Datum {
    fn from(value: Option<T>) -> Datum {
        value.map_or(Datum::Empty, Into::into)
    }
}

impl Datum {
    /// The cell in a CSV file. Numbers are exact; text is one line and no spreadsheet's formula.
    pub fn csv(&self) -> String {
        match self {
            Datum::Empty => String::new(),
            Datum::Count(count) => count.to_string(),
            Datum::Number(x) if !x.is_finite() => String::new(),
            Datum::Number(x) if *x != 0.0 && (x.abs() < 1e-5 || x.abs() >= 1e15) => {
                format!("{x:e}")
            }
            Datum::Number(x) => format!("{}", x + 0.0), // no -0
            Datum::Text(text) => text::cell(text),
        }
    }

    /// The cell for people: four significant digits.
    pub(crate) fn short(&self) -> String {
        match self {
            Datum::Number(x) if x.is_finite() => significant(*x, 4),
            other => one_line(&other.csv()),
        }
    }
}

/// A tidy table: one row an observation, one column a variable.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The file's name, without `.csv`.
    pub name: &'static str,
    /// The columns' names.
    pub columns: Vec<String>,
    /// The rows, each as long as `columns`.
    pub rows: Vec<Vec<Datum>>,
}

impl Table {
    /// Writes the table as CSV (RFC 4180, LF).
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_csv(&self, to: impl io::Write) -> io::Result<()> {
        let mut writer = csv::Writer::from_writer(to);
        writer.write_record(&self.columns)?;
        for row in &self.rows {
            writer.write_record(row.iter().map(Datum::csv))?;
        }
        writer.flush()
    }

    /// The table for people, with all its columns; the first `keys` of them tell the rows apart.
    pub fn display(&self, keys: usize) -> Display {
        let columns = self.columns.iter().enumerate().map(|(i, name)| Column {
            numeric: self.rows.iter().all(|row| !matches!(row[i], Datum::Text(_))),
            ..Column::new(name.clone())
        });
        let rows = self.rows.iter().map(|row| row.iter().map(Datum::short).collect());
        Display { title: String::new(), columns: columns.collect(), keys, rows: rows.collect() }
    }
}

/// A column of a [`Display`].
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its heading.
    pub name: String,
    /// Its heading where space is short.
    pub short: String,
    /// Aligned to the right.
    pub numeric: bool,
}

impl Column {
    /// A column of words, aligned to the left.
    pub fn new(name: impl Into<String>) -> Column {
        let name = name.into();
        Column { short: name.clone(), name, numeric: false }
    }

    /// A column of numbers, aligned to the right.
    pub fn number(name: impl Into<String>) -> Column {
        Column { numeric: true, ..Column::new(name) }
    }

    /// The same with another heading where space is short.
    pub fn or(self, short: impl Into<String>) -> Column {
        Column { short: short.into(), ..self }
    }
}

/// A table for people: words that are ready to be read, printed as text, Markdown or LaTeX.
#[derive(Clone, Debug, PartialEq)]
pub struct Display {
    /// The line above it.
    pub title: String,
    /// The columns.
    pub columns: Vec<Column>,
    /// How many columns, from the left, tell the rows apart. They are repeated where the table
    /// is split, and in text a value equal to the one above it is left out.
    pub keys: usize,
    /// The rows, each as long as `columns`.
    pub rows: Vec<Vec<String>>,
}

/// How text is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// The most columns of a line.
    pub width: usize,
    /// Whether the terminal shows bold and colours.
    pub colour: bool,
}

impl Style {
    /// Bold, where the terminal has it.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Dim, where the terminal has it.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// In an ANSI colour (`32` green, `31` red, `33` yellow), where the terminal has it.
    pub fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

const GAP: usize = 2;

impl Display {
    /// The table as text. Where it is too wide, headings are shortened, then long words in the
    /// rows, and then it is split into several that repeat the key columns.
    pub fn text(&self, style: Style) -> String {
        let table = self.narrowed(style.width);
        let mut text = String::new();
        if !self.title.is_empty() {
            let _ = writeln!(text, "{}", style.bold(&wrap(&self.title, style.width, 0)));
        }
        for (part, columns) in table.split(style.width).iter().enumerate() {
            if part > 0 {
                text.push('\n');
            }
            table.print(columns, style, &mut text);
        }
        text
    }

    /// Whether [`text`](Display::text) leaves the table in one piece at this width.
    pub fn fits(&self, width: usize) -> bool {
        self.narrowed(width).split(width).len() == 1
    }

    /// The table with no more words shortened than the width asks for.
    fn narrowed(&self, width: usize) -> Display {
        let wide = |t: &Display| {
            t.widths().iter().sum::<usize>() + GAP * t.columns.len().saturating_sub(1)
        };
        let mut table = self.clone();
        if wide(&table) > width {
            for column in &mut table.columns {
                column.name = column.short.clone();
            }
        }
        if wide(&table) > width {
            for cell in table.rows.iter_mut().flatten() {
                *cell = cell.replace("orthogonal", "orth");
            }
        }
        table
    }

    fn widths(&self) -> Vec<usize> {
        let width = |i: usize, column: &Column| {
            let cells = self.rows.iter().map(|row| length(&row[i]));
            cells.max().unwrap_or(0).max(length(&column.name))
        };
        self.columns.iter().enumerate().map(|(i, column)| width(i, column)).collect()
    }

    /// The columns of each part of the table, such that every part fits.
    fn split(&self, width: usize) -> Vec<Vec<usize>> {
        let widths = self.widths();
        let keys: Vec<usize> = (0..self.keys.min(self.columns.len())).collect();
        let keys_wide: usize = keys.iter().map(|&i| widths[i] + GAP).sum();
        let mut parts = vec![keys.clone()];
        let mut used = keys_wide;
        for (i, &width_of) in widths.iter().enumerate().skip(keys.len()) {
            let last = parts.len() - 1;
            if used + width_of > width && parts[last].len() > keys.len() {
                parts.push(keys.clone());
                used = keys_wide;
            }
            let last = parts.len() - 1;
            parts[last].push(i);
            used += width_of + GAP;
        }
        parts
    }

    fn print(&self, columns: &[usize], style: Style, text: &mut String) {
        let widths = self.widths();
        let mut line = |cells: &mut dyn Iterator<Item = &str>, bold: bool| {
            let padded: Vec<String> = columns
                .iter()
                .zip(cells)
                .map(|(&i, cell)| {
                    let space = " ".repeat(widths[i].saturating_sub(length(cell)));
                    if self.columns[i].numeric { space + cell } else { cell.to_owned() + &space }
                })
                .collect();
            let joined = padded.join(&" ".repeat(GAP));
            let line = joined.trim_end();
            let _ = writeln!(text, "{}", if bold { style.dim(line) } else { line.to_owned() });
        };
        line(&mut columns.iter().map(|&i| self.columns[i].name.as_str()), true);
        let mut above: Option<&Vec<String>> = None;
        for row in &self.rows {
            let same = above.map_or(0, |above| {
                above.iter().zip(row).take(self.keys).take_while(|(a, b)| a == b).count()
            });
            line(&mut columns.iter().map(|&i| if i < same { "" } else { row[i].as_str() }), false);
            above = Some(row);
        }
    }

    /// The table in GitHub's Markdown.
    pub fn markdown(&self) -> String {
        let escape = |text: &str| one_line(text).replace('\\', "\\\\").replace('|', "\\|");
        let row = |cells: &mut dyn Iterator<Item = String>| {
            format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
        };
        let mut text = String::new();
        if !self.title.is_empty() {
            let _ = writeln!(text, "**{}**\n", escape(&self.title));
        }
        text += &row(&mut self.columns.iter().map(|c| escape(&c.name)));
        text += &row(&mut self
            .columns
            .iter()
            .map(|c| if c.numeric { "---:" } else { "---" }.to_owned()));
        for cells in &self.rows {
            text += &row(&mut cells.iter().map(|cell| escape(cell)));
        }
        text
    }

    /// The table in LaTeX, for the package `booktabs`.
    pub fn latex(&self) -> String {
        let row = |cells: &mut dyn Iterator<Item = &String>| {
            format!("    {} \\\\\n", cells.map(|c| latex_text(c)).collect::<Vec<_>>().join(" & "))
        };
        let spec: String = self.columns.iter().map(|c| if c.numeric { 'r' } else { 'l' }).collect();
        let mut text = String::from("\\begin{table}\n  \\centering\n");
        if !self.title.is_empty() {
            let _ = writeln!(text, "  \\caption{{{}}}", latex_text(&self.title));
        }
        let _ = writeln!(text, "  \\begin{{tabular}}{{{spec}}}\n    \\toprule");
        text += &row(&mut self.columns.iter().map(|c| &c.name));
        text += "    \\midrule\n";
        for cells in &self.rows {
            text += &row(&mut cells.iter());
        }
        text + "    \\bottomrule\n  \\end{tabular}\n\\end{table}\n"
    }
}

fn latex_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in one_line(text).chars() {
        match c {
            '\\' => escaped += "\\textbackslash{}",
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', c]),
            '~' => escaped += "\\textasciitilde{}",
            '^' => escaped += "\\textasciicircum{}",
            '±' => escaped += "$\\pm$",
            '−' => escaped += "$-$",
            '≥' => escaped += "$\\geq$",
            '≤' => escaped += "$\\leq$",
            'δ' => escaped += "$\\delta$",
            '…' => escaped += "\\dots{}",
            c => escaped.push(c),
        }
    }
    escaped
}

/// The number with so many significant digits, without trailing zeros after the point.
pub fn significant(x: f64, digits: usize) -> String {
    if x == 0.0 {
        return "0".to_owned();
    }
    let magnitude = x.abs().log10().floor() as i32;
    if !(-4..15).contains(&magnitude) {
        return format!("{x:.*e}", digits - 1);
    }
    let text = format!("{x:.*}", (digits as i32 - 1 - magnitude).max(0) as usize);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// The text in lines of at most `width` columns, all but the first indented.
pub fn wrap(text: &str, width: usize, indent: usize) -> String {
    let (mut wrapped, mut column) = (String::new(), 0);
    for word in one_line(text).split_whitespace() {
        if column > 0 && column + 1 + length(word) > width {
            wrapped.push('\n');
            wrapped.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > 0 {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += length(word);
    }
    wrapped
}

fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_csv_read_back_exactly_and_text_never_starts_a_formula() {
        for x in [0.1 + 0.2, 1e-9, -1e300, 5e-324, 0.0, 123_456.0] {
            assert_eq!(Datum::Number(x).csv().parse(), Ok(x));
        }
        assert_eq!(Datum::Number(f64::NAN).csv(), "");
        assert_eq!(Datum::Number(-0.0).csv(), "0");
        for text in ["=1+1", "+1", "-1", "@x", "\tx"] {
            assert!(Datum::from(text).csv().starts_with('\''));
        }
        assert_eq!(Datum::from("a-b").csv(), "a-b");
    }

    #[test]
    fn significant_digits_are_kept_and_no_more() {
        for (x, text) in [
            (0.123_456, "0.1235"),
            (12.0, "12"),
            (1234.56, "1235"),
            (-0.5, "-0.5"),
            (1e-7, "1.000e-7"),
        ] {
            assert_eq!(significant(x, 4), text);
        }
    }

    fn wide() -> Display {
        let columns = std::iter::once(Column::new("key"))
            .chain((0..12).map(|i| Column::number(format!("column {i}"))))
            .collect();
        let row = |key: &str| {
            std::iter::once(key.to_owned()).chain((0..12).map(|i| i.to_string())).collect()
        };
        Display { title: String::new(), columns, keys: 1, rows: vec![row("a"), row("b")] }
    }

    #[test]
    fn a_table_that_is_too_wide_is_split_and_repeats_its_keys() {
        let text = wide().text(Style { width: 80, colour: false });
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert_eq!(text.matches("key").count(), 2);
        assert_eq!(text.lines().filter(|line| line.starts_with('b')).count(), 2);
        assert!((0..12).all(|i| text.contains(&format!("column {i}"))));
    }

    #[test]
    fn a_table_fits_where_it_is_printed_in_one_piece() {
        for width in [20, 40, 60, 80, 200] {
            let printed = wide().text(Style { width, colour: false });
            assert_eq!(wide().fits(width), !printed.contains("\n\n"), "{width}\n{printed}");
        }
        assert!(!wide().fits(20) && wide().fits(200));
    }

    #[test]
    fn there_is_no_colour_where_there_is_no_terminal() {
        let table = Display { title: "Title".to_owned(), ..wide() };
        assert!(!table.text(Style { width: 80, colour: false }).contains('\x1b'));
        assert!(table.text(Style { width: 80, colour: true }).starts_with("\x1b[1mTitle\x1b[0m\n"));
    }

    #[test]
    fn long_text_is_wrapped_and_loses_what_moves_the_cursor() {
        assert_eq!(wrap("one two three", 7, 2), "one two\n  three");
        assert_eq!(wrap("a\x1b[2Jb\n c", 80, 0), "a [2Jb c");
    }
}
