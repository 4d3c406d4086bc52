//! CSV files in which every row is one line.
//!
//! Because a row never spans lines, appending is safe: a crash leaves at most one incomplete last
//! line, which is recognised.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::columns::is_later;
use super::{JOB_ID, ResultsError};
use crate::job::JobId;
use crate::text;

/// One line of CSV, newline included.
pub(super) fn line<C: AsRef<str>>(cells: impl IntoIterator<Item = C>) -> String {
    let mut line = String::new();
    for (i, cell) in cells.into_iter().enumerate() {
        let cell = cell.as_ref();
        if i > 0 {
            line.push(',');
        }
        if cell.contains([',', '"']) {
            line.push('"');
            line.push_str(&cell.replace('"', "\"\""));
            line.push('"');
        } else {
            line.push_str(cell);
        }
    }
    line.push('\n');
    line
}

/// The cells of a line. (The csv crate would take 20 µs to set itself up for each.)
fn cells(line: &str) -> Vec<Cow<'_, str>> {
    let mut cells = Vec::with_capacity(64);
    let mut rest = Some(line);
    while let Some(text) = rest {
        // By bytes, since cells are short and std's searches for a char take longer to set up.
        let (cell, after) = match text.as_bytes().first() {
            Some(b'"') => unquote(&text[1..]),
            _ => match text.bytes().position(|byte| byte == b',') {
                Some(comma) => (text[..comma].into(), Some(&text[comma + 1..])),
                None => (text.into(), None),
            },
        };
        cells.push(cell);
        rest = after;
    }
    cells
}

/// A cell whose opening quote was taken off, and what follows after the comma, if there is one. An
/// unclosed quote extends to the end of the line, which then has too few cells.
fn unquote(text: &str) -> (Cow<'_, str>, Option<&str>) {
    let mut from = 0;
    while let Some(quote) = text[from..].find('"').map(|i| from + i) {
        match text.as_bytes().get(quote + 1) {
            Some(b'"') => from = quote + 2,
            next => {
                let end = text[quote + 1..].find(',').map(|i| quote + 1 + i);
                let mut cell = Cow::Borrowed(&text[..quote]);
                if from > 0 {
                    cell = cell.replace("\"\"", "\"").into();
                }
                if next.is_some_and(|&b| b != b',') {
                    cell.to_mut().push_str(&text[quote + 1..end.unwrap_or(text.len())]);
                }
                return (cell, end.map(|end| &text[end + 1..]));
            }
        }
    }
    (text.into(), None)
}

/// An incomplete last row.
pub(super) struct Torn {
    pub line: usize,
    pub text: String,
}

/// A CSV file in memory.
pub(super) struct CsvFile {
    pub path: PathBuf,
    bytes: Vec<u8>,
    body: usize,
    /// The header's names, in the file's order.
    pub header: Vec<String>,
    index: HashMap<String, usize>,
    rows: Vec<(usize, Range<usize>)>,
    /// Length in bytes of the complete lines.
    whole: usize,
    /// The last line, if it is incomplete.
    pub torn: Option<Torn>,
}

impl CsvFile {
    /// Reads a file; `None` if there is none, or if its header is incomplete.
    pub(crate) fn load(path: &Path) -> Result<Option<CsvFile>, ResultsError> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(CsvFile::parse(path, bytes)?.ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ResultsError::io("read", path, error)),
        }
    }

    /// Parses a file's bytes, which are returned if the header is incomplete.
    pub(crate) fn parse(
        path: &Path,
        bytes: Vec<u8>,
    ) -> Result<Result<CsvFile, Vec<u8>>, ResultsError> {
        let mut lines = Vec::new();
        let mut start = 0;
        for (number, line) in bytes.split_inclusive(|&b| b == b'\n').enumerate() {
            lines.push((number + 1, start..start + line.len()));
            start += line.len();
        }
        if lines.first().is_none_or(|(_, range)| bytes[range.end - 1] != b'\n') {
            return Ok(Err(bytes));
        }
        let (_, first) = lines.remove(0);
        let body = first.end;
        let error = |message: &str| ResultsError::row(path, 1, message);
        let header = text(&bytes[first.clone()]).ok_or_else(|| error("the header is not UTF-8"))?;
        let header = header.strip_prefix('\u{feff}').unwrap_or(header);
        let header: Vec<String> = cells(header).iter().map(|cell| cell.trim().to_owned()).collect();
        let index: HashMap<_, _> = header.iter().cloned().zip(0..).collect();
        if index.len() < header.len() {
            return Err(error("two columns have the same name"));
        }

        let mut whole = bytes.len();
        let torn = lines.pop_if(|(_, range)| {
            let line = &bytes[range.clone()];
            let finished = line.ends_with(b"\n")
                && text(line)
                    .is_some_and(|line| line.is_empty() || cells(line).len() == header.len());
            !finished
        });
        let torn = torn.map(|(line, range)| {
            whole = range.start;
            Torn { line, text: text::cell(&String::from_utf8_lossy(&bytes[range])) }
        });
        lines.retain(|(_, range)| text(&bytes[range.clone()]) != Some(""));
        let path = path.to_owned();
        Ok(Ok(CsvFile { path, bytes, body, header, index, rows: lines, whole, torn }))
    }

    /// The header's line as in the file, its line end included.
    pub(crate) fn first_line(&self) -> &[u8] {
        &self.bytes[..self.body]
    }

    /// The last line's bytes, if it is incomplete.
    pub(crate) fn unfinished(&self) -> &[u8] {
        &self.bytes[self.whole..]
    }

    pub(crate) fn position(&self, column: &str) -> Option<usize> {
        self.index.get(column).copied()
    }

    /// Checks that the file has these columns, except those that earlier versions did not write.
    pub(crate) fn demand<'a>(
        &self,
        columns: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), ResultsError> {
        let missing: Vec<_> = columns
            .into_iter()
            .filter(|name| !self.index.contains_key(*name) && !is_later(name))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(ResultsError::Columns { file: self.path.clone(), missing: missing.join("`, `") })
    }

    /// The complete rows, without blank lines.
    pub(crate) fn rows(&self) -> impl ExactSizeIterator<Item = Result<Row<'_>, ResultsError>> {
        (0..self.rows.len()).map(|i| self.row(i))
    }

    /// The job of each row.
    pub(crate) fn ids(&self) -> Result<Vec<JobId>, ResultsError> {
        self.demand([JOB_ID])?;
        (0..self.len()).into_par_iter().map(|i| self.row(i)?.required(JOB_ID)).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn line(&self, i: usize) -> Result<&str, ResultsError> {
        let (number, range) = &self.rows[i];
        text(&self.bytes[range.clone()])
            .ok_or_else(|| ResultsError::row(&self.path, *number, "the line is not UTF-8"))
    }

    /// A complete row.
    pub(crate) fn row(&self, i: usize) -> Result<Row<'_>, ResultsError> {
        let (number, _) = &self.rows[i];
        let error = |message: String| ResultsError::row(&self.path, *number, message);
        let cells = cells(self.line(i)?);
        if cells.len() != self.header.len() {
            return Err(error(format!(
                "{} cells, but the header has {}",
                cells.len(),
                self.header.len()
            )));
        }
        Ok(Row { table: self, line: *number, cells })
    }

    /// The complete lines with further, empty columns at the end.
    pub(crate) fn widened(&self, columns: &[&str]) -> Result<Vec<u8>, ResultsError> {
        let mut text = line(self.header.iter().map(String::as_str).chain(columns.iter().copied()));
        for i in 0..self.len() {
            text.push_str(self.line(i)?);
            text.extend(columns.iter().map(|_| ','));
            text.push('\n');
        }
        Ok(text.into_bytes())
    }

    /// The header and the rows that `keep` chooses, as in the file.
    pub(crate) fn filtered(&self, keep: &[bool]) -> Vec<u8> {
        let mut bytes = self.first_line().to_vec();
        for ((_, range), _) in self.rows.iter().zip(keep).filter(|(_, keep)| **keep) {
            bytes.extend_from_slice(&self.bytes[range.clone()]);
        }
        bytes
    }
}

fn text(line: &[u8]) -> Option<&str> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)).ok()
}

/// A complete row of a [`CsvFile`].
pub(super) struct Row<'a> {
    table: &'a CsvFile,
    pub line: usize,
    cells: Vec<Cow<'a, str>>,
}

impl Row<'_> {
    /// The cell of a column; empty if the file has no such column.
    pub(crate) fn cell(&self, column: &str) -> &str {
        self.table.position(column).map_or("", |place| self.at(place))
    }

    /// The cell at a position from [`CsvFile::position`].
    pub(crate) fn at(&self, place: usize) -> &str {
        &self.cells[place]
    }

    /// The value of a cell; `None` if it is empty.
    pub(crate) fn optional<V: std::str::FromStr>(
        &self,
        column: &str,
    ) -> Result<Option<V>, ResultsError> {
        match self.cell(column) {
            "" => Ok(None),
            cell => cell.trim().parse().map(Some).map_err(|_| {
                self.error(format!("\"{cell}\" is not a valid value of the column `{column}`"))
            }),
        }
    }

    /// The value of a cell that must not be empty.
    pub(crate) fn required<V: std::str::FromStr>(&self, column: &str) -> Result<V, ResultsError> {
        self.optional(column)?.ok_or_else(|| self.error(format!("the column `{column}` is empty")))
    }

    /// A finite number; `None` if the cell is empty.
    pub(crate) fn finite(&self, column: &str) -> Result<Option<f64>, ResultsError> {
        match self.optional::<f64>(column)? {
            Some(x) if !x.is_finite() => {
                Err(self.error(format!("{x} in the column `{column}` is no number")))
            }
            value => Ok(value),
        }
    }

    pub(crate) fn text(&self, column: &str) -> String {
        text::from_cell(self.cell(column)).to_owned()
    }

    pub(crate) fn error(&self, message: impl Into<String>) -> ResultsError {
        ResultsError::row(&self.table.path, self.line, message)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_cells_whatever_are_read_back_and_as_the_csv_crate_reads_them(
            row in proptest::collection::vec("[ -~äöü€]{0,12}", 1..8),
        ) {
            let written = line(&row);
            let text = written.strip_suffix('\n').unwrap();
            proptest::prop_assert_eq!(cells(text), row.clone());
            if !text.is_empty() {
                let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(written.as_bytes());
                let record = reader.records().next().unwrap().unwrap();
                proptest::prop_assert_eq!(record.iter().collect::<Vec<_>>(), row);
            }
        }

        #[test]
        fn no_line_whatever_makes_the_reader_panic(text in "\\PC*", quoted in "[\",a]{0,20}") {
            cells(&text);
            cells(&quoted);
        }
    }
}
