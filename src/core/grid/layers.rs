//! Layers: the content of one file or profile, and how one is merged on top of another.

use std::path::{Path, PathBuf};

use super::initializers::{Initializer, merged};
use super::until_decided::Wanted;
use super::{
    Axis, Block, Claim, Exclude, Explored, GridError, Place, Published, Setting, Zip, parse,
};
use crate::job::{DataHash, Field};

/// The longest chain of `extends`.
const MAX_EXTENDS: usize = 16;

/// The content of one file, or of one profile in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    pub name: Option<(String, Option<Place>)>,
    pub about: Option<String>,
    pub extends: Option<(PathBuf, Place)>,
    pub base: Vec<Setting>,
    pub grid: Vec<Axis>,
    pub zip: Option<Vec<Zip>>,
    pub exclude: Option<Vec<Exclude>>,
    pub block: Option<Vec<Block>>,
    pub claim: Option<Vec<Claim>>,
    pub published: Option<Vec<Published>>,
    pub until_decided: Option<Wanted>,
    pub explored: Option<Explored>,
    pub initializer: Vec<Initializer>,
    pub data: Vec<(DataHash, PathBuf)>,
    pub profile: Vec<(String, Layer)>,
}

/// The layer on top of all that it extends.
pub(super) fn extend(child: Layer, path: &Path) -> Result<Layer, GridError> {
    let identity = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut seen = vec![identity(path)];
    let mut directory = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut chain = vec![child];
    while let Some((parent, place)) = chain.last_mut().and_then(|layer| layer.extends.take()) {
        let parent = directory.join(parent);
        if seen.contains(&identity(&parent)) {
            return Err(place.error(format!(
                "{} extends itself in the end; break the circle",
                parent.display()
            )));
        }
        if chain.len() >= MAX_EXTENDS {
            return Err(place.error(format!("more than {MAX_EXTENDS} files extend each other")));
        }
        seen.push(identity(&parent));
        chain.push(parse::file(&parent, Some(&place))?);
        directory = parent.parent().unwrap_or(Path::new("")).to_owned();
    }
    let root = chain.pop().unwrap_or_default();
    Ok(chain.into_iter().rev().fold(root, overlay))
}

/// `child` on top of `parent`: tables merge key by key, lists and words are replaced.
pub(super) fn overlay(mut parent: Layer, child: Layer) -> Layer {
    let mut given: Vec<&Field> = child.base.iter().map(|s| s.field).collect();
    given.extend(child.zip.iter().flatten().flat_map(|zip| &zip.axes).map(|axis| axis.field));
    let axes: Vec<&Field> = child.grid.iter().map(|axis| axis.field).collect();

    parent.grid.retain(|axis| !given.contains(&axis.field));
    for axis in child.grid {
        match parent.grid.iter_mut().find(|old| old.field == axis.field) {
            Some(old) => *old = axis, // the order of the axes stays the parent's
            None => parent.grid.push(axis),
        }
    }
    given.extend(axes);
    parent.base.retain(|setting| !given.contains(&setting.field));
    parent.base.extend(child.base);
    for zip in parent.zip.iter_mut().flatten() {
        zip.axes.retain(|axis| !given.contains(&axis.field));
    }
    parent.zip.iter_mut().for_each(|zips| zips.retain(|zip| !zip.axes.is_empty()));

    parent.exclude.iter_mut().flatten().for_each(|exclude| exclude.inherited = true);
    let in_blocks = parent.block.iter_mut().flatten().flat_map(|block| &mut block.exclude);
    in_blocks.for_each(|exclude| exclude.inherited = true);
    parent.claim.iter_mut().flatten().for_each(|claim| claim.inherited = true);
    parent.published.iter_mut().flatten().for_each(|published| published.inherited = true);
    parent.profile.retain(|(name, _)| !child.profile.iter().any(|(own, _)| own == name));
    parent.profile.extend(child.profile);
    parent.data.retain(|(hash, _)| !child.data.iter().any(|(own, _)| own == hash));
    parent.data.extend(child.data);
    Layer {
        name: child.name.or(parent.name),
        about: child.about.or(parent.about),
        zip: child.zip.or(parent.zip),
        exclude: child.exclude.or(parent.exclude),
        block: child.block.or(parent.block),
        claim: child.claim.or(parent.claim),
        published: child.published.or(parent.published),
        until_decided: child.until_decided.or(parent.until_decided),
        explored: child.explored.or(parent.explored),
        initializer: merged(parent.initializer, child.initializer),
        ..parent
    }
}
