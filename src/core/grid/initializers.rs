//! `[[initializer]]`: own initializers, and the values of `init` that name them.

use super::{Claim, Condition, Expectation, Grid, GridError, Place};
use crate::job::{Definition, Field, Init, Value, unknown};

/// An own initializer of a grid.
#[derive(Clone, Debug)]
pub(super) struct Initializer {
    pub name: String,
    pub rule: Definition,
    pub place: Place,
}

/// As [`Field::check`], but the name of an own initializer passes: [`Grid::bind_initializers`]
/// looks it up, as its definition may stand in another file.
pub(super) fn check(field: &Field, value: &Value) -> Result<(), String> {
    match value {
        Value::Text(_) if field.name == "init" => Ok(()),
        value => field.check(value),
    }
}

/// The child's definitions on top of the parent's, by name.
pub(super) fn merged(mut parent: Vec<Initializer>, child: Vec<Initializer>) -> Vec<Initializer> {
    parent.retain(|inherited| child.iter().all(|own| own.name != inherited.name));
    parent.extend(child);
    parent
}

impl Grid {
    /// Replaces the names of own initializers by their definitions.
    ///
    /// # Errors
    /// At the place of a name that is neither built in nor defined.
    pub(super) fn bind_initializers(&mut self) -> Result<(), GridError> {
        let own = self.initializers.iter().map(|Initializer { name, rule, place }| {
            Ok((name.clone(), place.checked(Init::own(name, rule.clone()))?))
        });
        let own: Vec<(String, Init)> = own.collect::<Result<_, _>>()?;
        let bind = |field: &Field, value: &mut Value, place: &Place| {
            let ("init", Value::Text(text)) = (field.name, &*value) else { return Ok(()) };
            if let Some((_, init)) = own.iter().find(|(name, _)| name == text) {
                *value = Value::Init(*init);
            } else if field.check(value).is_err() {
                let mut known: Vec<&str> = own.iter().map(|(name, _)| name.as_str()).collect();
                Init::all().for_each(|init| known.push(init.name()));
                return Err(place.error(unknown("init", text, known)));
            }
            Ok(())
        };
        for block in self.block.iter_mut().chain([&mut self.own]) {
            for setting in &mut block.base {
                bind(setting.field, &mut setting.value, &setting.place)?;
            }
            for axis in block.grid.iter_mut().chain(block.zip.iter_mut().flat_map(|z| &mut z.axes))
            {
                for index in 0..axis.values.len() {
                    let place = axis.place_of(index);
                    bind(axis.field, &mut axis.values[index], &place)?;
                }
            }
        }
        let excludes = self.block.iter_mut().chain([&mut self.own]).flat_map(|b| &mut b.exclude);
        let excludes = excludes.flat_map(|exclude| &mut exclude.conditions);
        let claims = self.claims.iter_mut().flat_map(Claim::conditions);
        let published = self.published.iter_mut().flat_map(|published| &mut published.filter);
        let explored = self.explored.iter_mut().flat_map(|explored| &mut explored.chosen);
        let chosen = explored.flat_map(|chosen| &mut chosen.setting);
        for condition in excludes.chain(claims).chain(published).chain(chosen) {
            let Condition { field, values, place } = condition;
            values.iter_mut().try_for_each(|value| bind(field, value, place))?;
        }
        Ok(())
    }
}

impl Claim {
    fn conditions(&mut self) -> Vec<&mut Condition> {
        let mut all: Vec<&mut Condition> = self.filter.iter_mut().collect();
        if let Expectation::Compare { better, than, .. } = &mut self.expect {
            all.extend(better.iter_mut().chain(than));
        }
        all
    }
}
