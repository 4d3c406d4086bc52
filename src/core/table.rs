//! Tidy tables (one row per observation, one column per variable) and the meanings of their
//! columns.

use std::ops::Deref;

use crate::text;

/// A cell of a tidy table.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum {
    /// Not measured, or not defined.
    Empty,
    /// A word or a sentence.
    Text(String),
    /// A count.
    Count(u64),
    /// A number; one that is not finite is written as an empty cell.
    Number(f64),
    /// A number that keeps its decimal point, `2.0`, as in `runs.csv`.
    Float(f64),
}

macro_rules! datum_from {
    ($($from:ty => |$value:ident| $datum:expr;)+) => {
        $(impl From<$from> for Datum {
            fn from($value: $from) -> Datum { $datum }
        })+
    };
}

datum_from! {
    usize => |count| Datum::Count(count as u64);
    u32 => |count| Datum::Count(count.into());
    u64 => |count| Datum::Count(count);
    f64 => |number| Datum::Number(number);
    &str => |text| Datum::Text(text.to_owned());
    String => |text| Datum::Text(text);
}

impl<T: Into<Datum>> From<Option<T>> for Datum {
    fn from(value: Option<T>) -> Datum {
        value.map_or(Datum::Empty, Into::into)
    }
}

impl Datum {
    /// The cell in a CSV file. Numbers are exact; text is one line that no spreadsheet evaluates.
    pub fn csv(&self) -> String {
        match self {
            Datum::Empty => String::new(),
            Datum::Count(count) => count.to_string(),
            Datum::Number(x) | Datum::Float(x) if !x.is_finite() => String::new(),
            Datum::Number(x) if *x != 0.0 && (x.abs() < 1e-5 || x.abs() >= 1e15) => {
                format!("{x:e}")
            }
            Datum::Number(x) => format!("{}", x + 0.0), // no -0
            Datum::Float(x) => format!("{x:?}"),
            Datum::Text(text) => text::cell(text),
        }
    }
}

/// Documentation of a column of a CSV file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnDoc {
    /// The name in the header.
    pub name: &'static str,
    /// The unit, or an empty string.
    pub unit: &'static str,
    /// The meaning of the cells.
    pub meaning: &'static str,
    /// What an empty cell means, or an empty string if no cell is empty.
    pub empty: &'static str,
}

/// A column of a table whose rows are made from a `T`; [`columns!`](crate::columns) lists them.
pub struct Column<T> {
    /// Its documentation.
    pub doc: ColumnDoc,
    /// The cell of a row.
    pub value: fn(&T) -> Datum,
}

impl<T> Deref for Column<T> {
    type Target = ColumnDoc;
    fn deref(&self) -> &ColumnDoc {
        &self.doc
    }
}

/// The columns of a table, each as `name: unit, meaning, what an empty cell means => |row| cell;`.
#[macro_export]
macro_rules! columns {
    ($row:ty; $($name:literal: $unit:expr, $meaning:expr, $empty:expr => |$of:ident| $value:expr;)+) => {
        &[$($crate::table::Column::<$row> {
            doc: $crate::table::ColumnDoc { name: $name, unit: $unit, meaning: $meaning, empty: $empty },
            value: |$of| ($value).into(),
        },)+]
    };
}

/// A tidy table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The file's name, without `.csv`.
    pub name: &'static str,
    /// The columns.
    pub columns: Vec<ColumnDoc>,
    /// The rows, each as long as `columns`.
    pub rows: Vec<Vec<Datum>>,
}

impl Table {
    /// A table of rows that are made from `items`.
    pub fn new<T>(name: &'static str, columns: &[Column<T>], items: &[T]) -> Table {
        let row = |item| columns.iter().map(|column| (column.value)(item)).collect();
        let docs = columns.iter().map(|column| column.doc).collect();
        Table { name, columns: docs, rows: items.iter().map(row).collect() }
    }

    /// The table as CSV (RFC 4180, LF).
    pub fn csv(&self) -> Vec<u8> {
        csv(self.columns.iter().map(|column| column.name), &self.rows)
    }
}

/// A header and rows as CSV.
pub fn csv<'a>(header: impl IntoIterator<Item = &'a str>, rows: &[Vec<Datum>]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing to memory fails only if rows differ in length; then the row is cut.
    let _ = writer.write_record(header);
    for row in rows {
        let _ = writer.write_record(row.iter().map(Datum::csv));
    }
    writer.into_inner().unwrap_or_default()
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
}
