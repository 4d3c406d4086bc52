//! `--set`, `--only` and `--profile`: changes of the command line to a grid.

use super::axis::{canonical, same};
use super::initializers::check;
use super::{Axis, Block, Grid, GridError, Place, Setting, list_of, setting_named};
use crate::job::{Field, PATH, Value, did_you_mean, unknown};

/// Changes of the command line to a grid.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Overrides {
    /// Set a field for all jobs, overriding the grid (repeatable)
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Changes of the grid")]
    pub set: Vec<String>,
    /// Keep only these values of an axis (repeatable)
    #[arg(long, value_name = "AXIS=A,B", help_heading = "Changes of the grid")]
    pub only: Vec<String>,
    /// Apply the grid's overlay [profile.NAME]
    #[arg(long, value_name = "NAME", help_heading = "Changes of the grid")]
    pub profile: Option<String>,
}

impl Overrides {
    /// Whether they change nothing.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.only.is_empty() && self.profile.is_none()
    }
}

impl Grid {
    /// `--set key=value`
    pub(super) fn set(&mut self, option: &str) -> Result<(), GridError> {
        let place = Place::of(&format!("--set {option}"));
        let (key, text) = option
            .split_once('=')
            .ok_or_else(|| place.error("expected key=value, for example --set epochs=3"))?;
        let (key, text) = (key.trim(), text.trim());
        let field = place.checked(setting_named(key))?;
        let value = if *field == PATH { Value::Text(text.to_owned()) } else { from_option(text) };
        place.checked(check(field, &value))?;
        if let Some(axis) = self.all_axes().find(|axis| axis.field == field) {
            return Err(place.error(format!(
                "{key} is an axis of this grid ({}); keep part of it with --only {key}={text}",
                axis.place
            )));
        }
        for block in self.block.iter_mut().chain([&mut self.own]) {
            block.base.retain(|setting| setting.field != field);
        }
        self.own.base.push(Setting { field, value, place });
        Ok(())
    }

    /// `--only axis=a,b`
    pub(super) fn keep_only(&mut self, option: &str) -> Result<(), GridError> {
        let place = Place::of(&format!("--only {option}"));
        let (key, list) = option.split_once('=').ok_or_else(|| {
            place.error("expected axis=value,value, for example --only depth=2,10")
        })?;
        let key = key.trim();
        let axes = self.axes();
        let Some(axis) = axes.iter().find(|axis| axis.field.name == key) else {
            let hint = if Field::named(key).is_some() {
                "; use --set for a field that is none"
            } else {
                ""
            };
            return Err(place.error(if axes.is_empty() {
                format!("this grid has no axes{hint}")
            } else {
                unknown("axis", key, axes.iter().map(|axis| axis.field.name)) + hint
            }));
        };
        let wanted: Vec<Value> = list.split(',').map(|text| from_option(text.trim())).collect();
        if let Some(value) = wanted.iter().find(|value| !axis.has(value)) {
            return Err(place.error(not_on(axis, value)));
        }
        let field = axis.field;
        // A block in which the field has no wanted value is left out.
        let base_fits = |block: &Block| {
            let setting = block.base.iter().find(|s| s.field == field)?;
            Some(wanted.iter().any(|w| same(w, &setting.value)))
        };
        let outer = base_fits(&self.own);
        let own_fits = keep_values(&mut self.own, field, &wanted).or(outer);
        if own_fits == Some(false) && !self.block.is_empty() {
            self.own.grid.clear();
            self.own.zip.clear();
        }
        self.block.retain_mut(|block| {
            keep_values(block, field, &wanted).or(base_fits(block)).or(outer) != Some(false)
        });
        Ok(())
    }
}

/// Keeps the wanted values of the field's axis; `None` if it is no axis here, `Some(false)` if
/// none is left.
fn keep_values(block: &mut Block, field: &Field, wanted: &[Value]) -> Option<bool> {
    let axis = block.axes().find(|axis| axis.field == field)?;
    let keep: Vec<bool> =
        axis.values.iter().map(|value| wanted.iter().any(|w| same(w, value))).collect();
    let zip = block.zip.iter_mut().find(|zip| zip.axes.iter().any(|axis| axis.field == field));
    match zip {
        Some(zip) => zip.axes.iter_mut().for_each(|axis| axis.retain(&keep)),
        None => block.grid.iter_mut().filter(|a| a.field == field).for_each(|a| a.retain(&keep)),
    }
    Some(keep.contains(&true))
}

/// The value of a command-line word.
fn from_option(text: &str) -> Value {
    if let Ok(n) = text.parse::<i64>() {
        Value::Integer(n)
    } else if let Ok(truth) = text.parse::<bool>() {
        Value::Boolean(truth)
    } else if let Some(x) = text.parse::<f64>().ok().filter(|x| x.is_finite()) {
        Value::Float(x)
    } else {
        Value::Text(text.to_owned())
    }
}

fn not_on(axis: &Axis, value: &Value) -> String {
    let text = canonical(value);
    let values: Vec<String> = axis.values.iter().take(1000).map(canonical).collect();
    let words = || values.iter().map(String::as_str);
    let is_word = matches!(value, Value::Text(_));
    let hint = if is_word { did_you_mean(&text, words()) } else { String::new() };
    let (name, list) = (axis.field.name, list_of(words(), 20));
    format!("{text} is not on the axis {name}{hint} (values: {list})")
}
