//! Users' files: `path` becomes the fields that say what is in the file.

use std::path::Path;

use super::{Grid, GridError, Place, Setting};
use crate::data::read_own;
use crate::job::{DataHash, FIELDS, PATH, Value};

impl Grid {
    /// Reads the files that the grid names. In place of `path`, it then sets the fields `data_…`, of
    /// which jobs and the grid in a results folder consist; those that are given must be the same.
    pub(super) fn read_files(&mut self) -> Result<(), GridError> {
        let is_file = |value: &Value| matches!(value, Value::Text(word) if word == "file");
        let bases =
            std::iter::once(&self.own.base).chain(self.block.iter().map(|block| &block.base));
        let of_bases = bases.flatten().filter(|s| s.field.name == "dataset").map(|s| &s.value);
        let axes = self.all_axes().filter(|axis| axis.field.name == "dataset");
        let used = of_bases.chain(axes.flat_map(|axis| &axis.values)).any(is_file);
        let Grid { own, block, files, .. } = self;
        for base in std::iter::once(&mut own.base).chain(block.iter_mut().map(|b| &mut b.base)) {
            let Some(at) = base.iter().position(|setting| *setting.field == PATH) else { continue };
            let Setting { value, place, .. } = base.remove(at);
            if !used {
                return Err(
                    place.error("it is for dataset = \"file\": set that, or leave path out")
                );
            }
            let (hash, found) = describe(&value.to_string(), &place)?;
            for new in found {
                match base.iter().find(|setting| setting.field == new.field) {
                    Some(given) if given.value != new.value => {
                        return Err(given.place.error(format!(
                            "{} is given, but {value} has {}; put the right file there, or leave the fields \
                             data_… out to train on this one",
                            given.value, new.value
                        )));
                    }
                    Some(_) => {}
                    None => base.push(new),
                }
            }
            let path = std::path::absolute(value.to_string())
                .map_err(|error| place.error(error.to_string()))?;
            files.retain(|(known, _)| *known != hash); // it has moved
            files.push((hash, path));
        }
        Ok(())
    }
}

/// The content of a file, and the settings that describe it.
fn describe(path: &str, place: &Place) -> Result<(DataHash, Vec<Setting>), GridError> {
    let loaded = place.checked(read_own(Path::new(path)))?;
    let draft = loaded.dataset().draft();
    let hash = draft.data_hash.ok_or_else(|| place.error("a bug: the file has no hash"))?;
    let job = draft.resolve().map_err(|error| place.error(format!("{path}: {error}")))?;
    let fields =
        FIELDS.iter().filter(|field| field.name.starts_with("data_") && field.name != "data_seed");
    let settings = fields
        .filter_map(|field| Some(Setting { field, value: field.get(&job)?, place: place.clone() }));
    Ok((hash, settings.collect()))
}
