//! The contents of a grid's tables: settings, axes and conditions on fields.

use std::fmt;

use super::Place;
use crate::job::{Field, Job, SEED_FIELDS, Value};

/// A field with one value.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub field: &'static Field,
    /// Valid for the field.
    pub value: Value,
    pub place: Place,
}

/// A field with a list of values.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Axis {
    pub field: &'static Field,
    /// Its values, at least one, each valid for the field. They are distinct, unless the axis is
    /// zipped.
    pub values: Vec<Value>,
    pub place: Place,
    /// The line of each value; empty if all are on the axis's line.
    pub(super) lines: Vec<usize>,
}

impl Axis {
    /// Where the value of that index was written.
    pub(super) fn place_of(&self, index: usize) -> Place {
        let line = self.lines.get(index).copied().or(self.place.line);
        Place { line, ..self.place.clone() }
    }

    pub(super) fn has(&self, value: &Value) -> bool {
        self.values.iter().any(|v| same(v, value))
    }

    /// Keeps the values at the indices that are true in `keep`.
    pub(super) fn retain(&mut self, keep: &[bool]) {
        let mut kept = keep.iter();
        self.values.retain(|_| *kept.next().unwrap_or(&false));
        let mut kept = keep.iter();
        self.lines.retain(|_| *kept.next().unwrap_or(&false));
    }
}

/// Axes of one length that move together.
#[derive(Clone, Debug)]
pub(crate) struct Zip {
    /// At least one; all of one length.
    pub axes: Vec<Axis>,
}

/// A condition on one field: its value is one of these.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Condition {
    pub field: &'static Field,
    /// The values, at least one; valid for the field.
    pub values: Vec<Value>,
    pub place: Place,
}

impl Condition {
    /// A condition that was not read from a file; the values must be valid for the field.
    pub fn new(field: &'static Field, values: Vec<Value>) -> Condition {
        Condition { field, values, place: Place::nowhere() }
    }

    /// Whether the field is a seed, which distinguishes replicates of one setting.
    pub fn is_about_seeds(&self) -> bool {
        SEED_FIELDS.contains(&self.field.name)
    }

    /// The values as text.
    pub fn values_joined(&self, separator: &str) -> String {
        self.values.iter().map(Value::in_words).collect::<Vec<_>>().join(separator)
    }

    /// Whether the value is one of these.
    pub(crate) fn accepts(&self, value: &Value) -> bool {
        self.values.iter().any(|v| same(v, value))
    }

    /// Whether the job's value is one of these.
    pub fn holds(&self, job: &Job) -> bool {
        self.field.get(job).is_some_and(|value| self.accepts(&value))
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.field.name, self.values_joined(" or "))
    }
}

/// Combinations to leave out: those that meet every condition.
#[derive(Clone, Debug)]
pub(crate) struct Exclude {
    pub(super) conditions: Vec<Condition>,
    pub(super) place: Place,
    /// Inherited from a file or profile, so that it need not match.
    pub(super) inherited: bool,
}

/// Settings and axes of a file or of a block, which are expanded to jobs.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    pub base: Vec<Setting>,
    pub grid: Vec<Axis>,
    pub zip: Vec<Zip>,
    pub exclude: Vec<Exclude>,
}

impl Block {
    /// The axes, zipped ones last.
    pub fn axes(&self) -> impl Iterator<Item = &Axis> {
        self.grid.iter().chain(self.zip.iter().flat_map(|zip| &zip.axes))
    }

    /// Every field that is set here, with its place.
    pub fn fields(&self) -> impl Iterator<Item = (&'static Field, &Place)> {
        fields(&self.base, &self.grid, &self.zip)
    }
}

/// Every field of settings and axes, with its place.
pub(super) fn fields<'a>(
    base: &'a [Setting],
    grid: &'a [Axis],
    zip: &'a [Zip],
) -> impl Iterator<Item = (&'static Field, &'a Place)> {
    let axes = grid.iter().chain(zip.iter().flat_map(|zip| &zip.axes));
    let base = base.iter().map(|setting| (setting.field, &setting.place));
    base.chain(axes.map(|axis| (axis.field, &axis.place)))
}

/// Whether two values are equal in meaning: `1`, `1.0` and `"1"` do, and so do `[1, 8, 8]` and
/// `"1x8x8"`.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Integer(a), Value::Integer(b)) => a == b,
        (Value::Text(a), Value::Text(b)) if a == b => true,
        (Value::Init(a), Value::Init(b)) => a == b,
        _ => canonical(a) == canonical(b),
    }
}

/// A text that is equal for values that mean the same.
pub(super) fn canonical(value: &Value) -> String {
    let number = |x: f64| (x + 0.0).to_string(); // + 0.0 makes -0 a 0
    match value {
        Value::Float(x) => number(*x),
        Value::Text(text) => match (text.trim().parse::<i128>(), text.trim().parse::<f64>()) {
            (Ok(n), _) => n.to_string(),
            (_, Ok(x)) => number(x),
            _ => text.clone(),
        },
        other => other.to_string(),
    }
}
