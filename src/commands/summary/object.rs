//! A summary as one object: `wninit summary --json`.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use wninit_core::cli::json;
use wninit_core::table::{Datum, Table};
use wninit_stats::summary::{Input, Summary};

/// What `wninit summary --json` prints. The tables are those of `DIR/summary/`, one object a row.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Object<'a> {
    /// the sweep's name
    name: &'a str,
    /// what it asks
    about: Option<&'a str>,
    /// the answer in words
    answer: Answer,
    /// how many runs there are
    counts: Counts,
    /// the tables by name; their columns are those of the CSV files
    tables: Map<String, Value>,
}

/// Runs by how they ended.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Counts {
    /// runs of the plan
    planned: usize,
    /// finished runs, diverged ones included
    finished: usize,
    /// finished runs that diverged
    diverged: usize,
    /// finished runs whose accuracy needs no look at the image
    at_chance: usize,
    /// runs that the machine cut short
    failed: usize,
    /// runs without a result
    missing: usize,
}

impl<'a> Object<'a> {
    pub(super) fn new(
        name: &'a str,
        about: Option<&'a str>,
        summary: &Summary,
        tables: &[Table],
    ) -> Object<'a> {
        let counts = summary.counts;
        Object {
            name,
            about,
            answer: Answer::of(summary),
            counts: Counts {
                planned: counts.planned,
                finished: counts.finished,
                diverged: counts.diverged,
                at_chance: counts.at_chance,
                failed: counts.failed,
                missing: counts.missing,
            },
            tables: tables.iter().map(|table| (table.name.to_owned(), rows(table))).collect(),
        }
    }
}

fn rows(table: &Table) -> Value {
    let row = |row: &Vec<Datum>| -> Map<String, Value> {
        let names = table.columns.iter().map(|column| column.name.to_owned());
        names.zip(row.iter().map(cell)).collect()
    };
    table.rows.iter().map(row).collect::<Vec<_>>().into()
}

fn cell(datum: &Datum) -> Value {
    match datum {
        Datum::Empty => Value::Null,
        Datum::Text(text) => text.as_str().into(),
        Datum::Count(count) => (*count).into(),
        // One that is not finite is null.
        Datum::Number(x) | Datum::Float(x) => (*x).into(),
    }
}

/// The schema of [`Object`]. A table's columns are those of a sweep without axes; the fields that
/// vary come first in its rows.
pub(crate) fn schema() -> anyhow::Result<Value> {
    let mut schema = json::schema::<Object>();
    let cell = json!({ "type": ["string", "number", "null"] });
    let tables: Map<String, Value> = Summary::new(&Input::default())?
        .tables()
        .iter()
        .map(|table| {
            let column = |doc: &wninit_core::table::ColumnDoc| {
                let mut column = cell.clone();
                column["description"] = doc.meaning.into();
                (doc.name.to_owned(), column)
            };
            let columns: Map<String, Value> = table.columns.iter().map(column).collect();
            let names: Vec<&str> = table.columns.iter().map(|doc| doc.name).collect();
            let row = json!({
                "type": "object",
                "properties": columns,
                "required": names,
                "additionalProperties": cell,
            });
            (table.name.to_owned(), json!({ "type": "array", "items": row }))
        })
        .collect();
    let names: Vec<&String> = tables.keys().collect();
    let required = json!(names);
    let of_tables = &mut schema["properties"]["tables"];
    of_tables["properties"] = tables.into();
    of_tables["required"] = required;
    of_tables["additionalProperties"] = false.into();
    Ok(schema)
}
