//! The JSON schema of the grid format, for editors and other programs.
//!
//! A number may also be written as a string in a grid (`lr = "0.1"`, as in a CSV cell); the schema
//! leaves that out.

use serde_json::{Map, Value as Json, json};

use super::claim::{Metric, Scope};
use super::keys::{Holds, Key, Table};
use super::parse::MAX_TABLES;
use super::{MAX_JOBS, MAX_NAME};
use crate::job::{Choice, Choices, Direction, FIELDS, Field, Kind, MAX_INIT_NAME, MAX_SIZE, PATH};

/// The grid format as a JSON schema, draft 2020-12.
pub fn json_schema() -> Json {
    let mut schema = table(Table::File);
    let mut definitions: Map<String, Json> =
        Table::BELOW_FILE.iter().map(|kind| (format!("{kind:?}"), table(*kind))).collect();
    definitions.extend(FIELDS.iter().map(|field| (field.name.to_owned(), value(field))));
    let about = "A sweep of wninit: which networks to train. Numbers and words have the ranges and \
                 defaults of this version of the program.";
    extend(
        &mut schema,
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "wninit grid",
            "description": about,
            "anyOf": [{ "required": ["name"] }, { "required": ["extends"] }],
            "$defs": definitions,
        }),
    );
    schema
}

/// Adds the members of one object to another.
fn extend(schema: &mut Json, more: Json) {
    if let (Json::Object(schema), Json::Object(more)) = (schema, more) {
        schema.extend(more);
    }
}

fn reference(name: &str) -> Json {
    json!({ "$ref": format!("#/$defs/{name}") })
}

/// An object with exactly these properties.
fn object(properties: impl Iterator<Item = (&'static str, Json)>) -> Json {
    let properties: Map<String, Json> =
        properties.map(|(name, schema)| (name.to_owned(), schema)).collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn fields(schema: impl Fn(&Field) -> Json) -> Json {
    object(FIELDS.iter().map(|field| (field.name, schema(field))))
}

fn table(kind: Table) -> Json {
    let list =
        |field: &Field| json!({ "type": "array", "items": reference(field.name), "minItems": 1 });
    match kind {
        Table::Base => {
            let mut base = fields(|field| reference(field.name));
            base["properties"][PATH.name] = value(&PATH);
            base
        }
        Table::Grid => fields(|field| axis(field, true)),
        Table::Zip => with(fields(|field| axis(field, false)), json!({ "minProperties": 1 })),
        Table::Conditions => {
            let condition =
                |field: &Field| json!({ "anyOf": [reference(field.name), list(field)] });
            with(fields(condition), json!({ "minProperties": 1 }))
        }
        Table::Claim => with(
            keyed(kind),
            json!({
                "required": ["text", "metric"],
                "oneOf": [
                    { "required": ["compare"] },
                    { "anyOf": [{ "required": ["at_least"] }, { "required": ["at_most"] }] },
                ],
            }),
        ),
        Table::Compare => {
            // A side is a value of the axis, or a table of conditions if no axis is given.
            let of = |field: &Field| {
                json!({
                    "if": { "properties": { "axis": { "const": field.name } }, "required": ["axis"] },
                    "then": { "properties": { "better": reference(field.name), "than": reference(field.name) } },
                })
            };
            let mut sides: Vec<Json> = FIELDS.iter().map(of).collect();
            let conditions = reference(&format!("{:?}", Table::Conditions));
            sides.push(json!({
                "if": { "not": { "required": ["axis"] } },
                "then": { "properties": { "better": conditions, "than": conditions } },
            }));
            with(keyed(kind), json!({ "required": ["better", "than"], "allOf": sides }))
        }
        Table::Published => {
            let fractions: Vec<&str> =
                Metric::ALL.iter().filter(|m| m.is_fraction()).map(|m| m.name()).collect();
            with(
                keyed(kind),
                json!({
                    "required": ["metric", "value"],
                    "if": { "properties": { "metric": { "enum": fractions } } },
                    "then": { "properties": { "value": { "minimum": 0, "maximum": 1 } } },
                }),
            )
        }
        Table::Explored => with(keyed(kind), json!({ "required": ["folder", "chosen"] })),
        Table::Chosen => with(keyed(kind), json!({ "required": ["lr"] })),
        Table::Initializer => with(keyed(kind), json!({ "required": ["name", "direction"] })),
        Table::Data => with(keyed(kind), json!({ "required": ["hash", "path"] })),
        Table::File | Table::Profile | Table::Block | Table::Range | Table::UntilDecided => {
            keyed(kind)
        }
    }
}

fn with(mut schema: Json, more: Json) -> Json {
    extend(&mut schema, more);
    schema
}

/// A table with fixed keys.
fn keyed(kind: Table) -> Json {
    object(kind.keys().iter().map(|key| (key.name, of_key(key))))
}

fn of_key(key: &Key) -> Json {
    let schema = match key.holds {
        Holds::Name => json!({
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_NAME,
            "pattern": r"^[^/\\\u0000-\u001f\u007f-\u009f]+$",
            "not": { "pattern": r"^[.\s-]|\.\.|\s$" },
        }),
        Holds::Text => json!({ "type": "string" }),
        Holds::Number => json!({ "type": "number" }),
        Holds::Whole => json!({ "type": "integer" }),
        Holds::Count => json!({ "type": "integer", "minimum": 1, "maximum": MAX_JOBS }),
        Holds::Ends => {
            let end = json!({ "type": "number", "exclusiveMinimum": 0 });
            json!({ "type": "array", "items": end, "minItems": 2, "maxItems": 2 })
        }
        Holds::InitName => init_name(),
        Holds::Direction => words(&Direction::choices()),
        Holds::Expression => json!({ "type": ["string", "number"] }),
        Holds::Metric => words(&Metric::choices()),
        Holds::Scope => words(&Scope::choices()),
        Holds::Field => {
            json!({ "enum": FIELDS.iter().map(|field| field.name).collect::<Vec<_>>() })
        }
        Holds::Hash => hash(),
        Holds::Side => json!({}),
        Holds::Table(kind) => reference(&format!("{kind:?}")),
        Holds::Tables(kind) => {
            json!({ "type": "array", "items": reference(&format!("{kind:?}")), "maxItems": MAX_TABLES })
        }
        Holds::NamedTables(kind) => {
            json!({ "type": "object", "additionalProperties": reference(&format!("{kind:?}")) })
        }
    };
    with(json!({ "description": key.about }), schema)
}

fn hash() -> Json {
    json!({ "type": "string", "pattern": "^sha256:[0-9a-f]{16}$" })
}

/// One of some words, with the meaning of each for the editors that show it.
fn words(choices: &[Choice]) -> Json {
    let names: Vec<&str> = choices.iter().map(|choice| choice.name).collect();
    let meanings: Vec<&str> = choices.iter().map(|choice| choice.about.as_str()).collect();
    json!({ "type": "string", "enum": names, "x-taplo": { "docs": { "enumValues": meanings } } })
}

/// The name of an own initializer.
fn init_name() -> Json {
    json!({ "type": "string", "pattern": format!("^[A-Za-z][A-Za-z0-9_.-]{{0,{}}}$", MAX_INIT_NAME - 1) })
}

/// A value of a field.
fn value(field: &Field) -> Json {
    let mut about = field.about.to_owned();
    if !field.unit.is_empty() {
        about += &format!(" (unit: {})", field.unit);
    }
    if !field.constant {
        about += &format!(". Default: {}", field.default);
    }
    let mut schema = with(
        json!({ "description": about }),
        match field.kind {
            Kind::Choice(choices) if field.name == "init" => {
                json!({ "anyOf": [words(&choices()), init_name()] })
            }
            Kind::Choice(choices) => words(&choices()),
            Kind::Whole(low, high) => json!({ "type": "integer", "minimum": low, "maximum": high }),
            Kind::Number(low, high, why_not_low) => {
                let low_key = if why_not_low.is_empty() { "minimum" } else { "exclusiveMinimum" };
                let mut range = json!({ "type": "number", low_key: low });
                if high < f64::MAX {
                    range["maximum"] = json!(high);
                }
                range
            }
            Kind::Boolean => json!({ "type": "boolean" }),
            Kind::Hash => hash(),
            Kind::Path => json!({ "type": "string" }),
            Kind::Sizes => {
                let size = json!({ "type": "integer", "minimum": 1, "maximum": MAX_SIZE });
                json!({ "anyOf": [
                { "type": "array", "items": size, "minItems": 3, "maxItems": 3 },
                { "type": "string", "pattern": r"^\d{1,4}x\d{1,4}x\d{1,4}$" },
            ] })
            }
        },
    );
    if field.constant {
        let text = Json::String(field.default.to_owned());
        schema["default"] = match field.kind {
            Kind::Choice(_) | Kind::Sizes | Kind::Hash | Kind::Path => text,
            Kind::Whole(..) | Kind::Number(..) | Kind::Boolean => {
                serde_json::from_str(field.default).unwrap_or(text)
            }
        };
    }
    schema
}

/// An axis: a list of values, or a range of numbers.
fn axis(field: &Field, unique: bool) -> Json {
    let mut list = json!({ "type": "array", "items": reference(field.name), "minItems": 1 });
    if unique {
        list["uniqueItems"] = json!(true);
    }
    let ranges = match field.kind {
        Kind::Whole(..) => json!({
            "required": ["count"],
            "not": { "required": ["log", "from"] },
        }),
        Kind::Number(..) => {
            json!({ "required": ["log", "count"], "not": { "required": ["from"] } })
        }
        Kind::Choice(_) | Kind::Boolean | Kind::Sizes | Kind::Hash | Kind::Path => return list,
    };
    json!({ "description": field.about, "anyOf": [list, with(table(Table::Range), ranges)] })
}
