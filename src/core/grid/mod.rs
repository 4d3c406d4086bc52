//! A sweep's grid: a TOML file that defines the jobs to train.
//!
//! ```toml
//! name = "depth"                    # the results go to results/depth/
//! about = "Does it still train when it gets deeper?"
//!
//! [base]                            # what all jobs share; any field of `job::FIELDS`
//! dataset = "fashion-mnist"
//!
//! [grid]                            # axes: every combination is a job
//! depth = [2, 10, 50]
//! lr = { log = [1e-3, 1e-1], count = 3 }
//! seed = { count = 5 }              # 0, 1, …; `{ from, count }` starts elsewhere
//!
//! [[zip]]                           # axes that move together
//! batch_size = [64, 256]
//! momentum = [0.9, 0.8]
//!
//! [[exclude]]                       # combinations to leave out
//! depth = [10, 50]
//! batch_size = 256
//! ```
//!
//! `[[block]]`s are further expansions on top of `[base]`, `extends` uses another file as the base,
//! `[profile.NAME]` is an overlay for `--profile NAME`, and `[[claim]]` and `[[published]]` state
//! what the sweep is meant to show. `until_decided` adds seeds until the claims are decided.
//! `[explored]` names the sweep that chose the learning rates. `[[initializer]]` defines a further
//! value of `init`. `path` under `[base]` names a user's file, and `[[data]]` where a file of a known
//! content is.
//!
//! Every error in a grid is a [`GridError`]: one line that names the file, the line, the key and
//! what to do. Every value keeps the [`Place`] where it was written, so that an error found late,
//! such as an `init` that its `norm` cannot have, still points there.

mod axis;
mod claim;
mod confirm;
mod data_files;
mod error;
mod expansion;
mod explored;
mod initializers;
mod keys;
mod layers;
mod overrides;
mod parse;
mod schema;
mod template;
mod until_decided;
mod write;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

pub use axis::{Axis, Condition};
use axis::{Block, Exclude, Zip, canonical};
pub(crate) use axis::{Setting, same};
pub use claim::{Claim, Expectation, Metric, Published, Scope};
pub use confirm::FreshSeeds;
use error::shorten;
pub use error::{GridError, Place};
pub(crate) use expansion::Expansion;
use expansion::{Unset, occurs};
pub use explored::{Chosen, Explored};
use initializers::Initializer;
use layers::{Layer, extend, overlay};
pub use overrides::Overrides;
pub use schema::json_schema;
pub use template::template;
pub use until_decided::UntilDecided;

use crate::job::{DataHash, FIELDS, Field, PATH, SEED_FIELDS, unknown};

/// The most combinations that a grid may have, excluded ones included.
pub(crate) const MAX_JOBS: usize = 2_000_000;

/// A grid, complete: `extends` merged, profile and overrides applied, every value checked.
#[derive(Clone, Debug)]
pub struct Grid {
    /// The sweep's name, and the name of its folder.
    pub name: String,
    /// The question that the sweep answers.
    pub about: Option<String>,
    /// The claims to be decided by the results.
    pub claims: Vec<Claim>,
    /// Numbers to print beside ours.
    pub published: Vec<Published>,
    /// The rule for adding seeds until the claims are decided; `None` if the number of seeds is
    /// fixed.
    pub until_decided: Option<UntilDecided>,
    /// Where its learning rates were chosen, if it confirms another sweep.
    pub explored: Option<Explored>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
    initializers: Vec<Initializer>,
    /// The absolute paths of users' files, by what is in them.
    pub files: Vec<(DataHash, PathBuf)>,
    place: Place,
    own: Block,
    block: Vec<Block>,
}

impl Grid {
    /// Reads a grid from its file and the files that it extends.
    ///
    /// # Errors
    /// The first error in the grid.
    pub fn load(path: &Path, overrides: &Overrides) -> Result<Grid, GridError> {
        Grid::resolve(parse::file(path, None)?, path, overrides)
    }

    /// Reads a grid from text; `path` names it in errors, and `extends` is relative to it.
    ///
    /// # Errors
    /// As [`Grid::load`].
    pub fn parse(text: &str, path: &Path, overrides: &Overrides) -> Result<Grid, GridError> {
        Grid::resolve(parse::text(text, path)?, path, overrides)
    }

    fn resolve(child: Layer, path: &Path, overrides: &Overrides) -> Result<Grid, GridError> {
        let file = Place::of(&path.display().to_string());
        let mut layer = extend(child, path)?;
        let profiles = std::mem::take(&mut layer.profile);
        if let Some(wanted) = &overrides.profile {
            let place = Place::of(&format!("--profile {wanted}"));
            let names: Vec<String> = profiles.iter().map(|(name, _)| name.clone()).collect();
            let Some((_, profile)) = profiles.into_iter().find(|(name, _)| name == wanted) else {
                return Err(place.error(if names.is_empty() {
                    format!("{file} has no profiles")
                } else {
                    unknown("profile", wanted, names.iter().map(String::as_str))
                }));
            };
            let name = layer.name.take();
            layer = overlay(layer, profile);
            layer.name = name.map(|(name, place)| (format!("{name}-{wanted}"), place));
        }
        let Some((name, place)) = layer.name else {
            let stem = path.file_stem().map_or("sweep".into(), |stem| stem.to_string_lossy());
            return Err(Place { key: "name".into(), ..file }.error(format!(
                "a grid needs a name, which names its results folder: name = {:?}",
                stem
            )));
        };
        place.as_ref().unwrap_or(&file).checked(check_name(&name))?;
        let mut grid = Grid {
            name,
            about: layer.about,
            claims: layer.claim.unwrap_or_default(),
            published: layer.published.unwrap_or_default(),
            until_decided: None,
            explored: layer.explored,
            warnings: Vec::new(),
            initializers: layer.initializer,
            files: layer.data,
            place: file,
            own: Block {
                base: layer.base,
                grid: layer.grid,
                zip: layer.zip.unwrap_or_default(),
                exclude: layer.exclude.unwrap_or_default(),
            },
            block: layer.block.unwrap_or_default(),
        };
        grid.bind_initializers()?;
        grid.check_seeds()?;
        grid.expansions()?;
        grid.drop_what_never_occurs(false)?;
        if !overrides.set.is_empty() || !overrides.only.is_empty() {
            overrides.set.iter().try_for_each(|option| grid.set(option))?;
            overrides.only.iter().try_for_each(|option| grid.keep_only(option))?;
            grid.bind_initializers()?;
            grid.check_seeds()?;
            grid.drop_what_never_occurs(true)?;
        }
        grid.read_files()?;
        if let Some(wanted) = layer.until_decided {
            grid.set_until_decided(&wanted)?;
        }
        Ok(grid)
    }

    /// Whether the file's own axes make jobs: without axes, only its blocks do.
    fn has_own_jobs(&self) -> bool {
        self.block.is_empty() || self.own.axes().next().is_some()
    }

    /// The expansions whose union is the sweep.
    ///
    /// # Errors
    /// If there are more than [`MAX_JOBS`] combinations.
    pub(crate) fn expansions(&self) -> Result<Vec<Expansion<'_>>, GridError> {
        let mut all = Vec::new();
        let mut total = 0;
        let own = &self.own;
        if self.has_own_jobs() {
            all.push(Expansion::new(own.base.iter().collect(), own, &[], &mut total)?);
        }
        for block in &self.block {
            let set: Vec<&Field> = block.fields().map(|(field, _)| field).collect();
            let inherited = own.base.iter().filter(|setting| !set.contains(&setting.field));
            let base = inherited.chain(&block.base).collect();
            all.push(Expansion::new(base, block, &own.exclude, &mut total)?);
        }
        Ok(all)
    }

    /// The settings that all jobs share unless a block overrides them.
    pub(crate) fn base(&self) -> &[Setting] {
        &self.own.base
    }

    /// Every axis with its distinct values, in file order; axes of the same name in several blocks
    /// are joined.
    pub(crate) fn axes(&self) -> Vec<Axis> {
        let mut axes: Vec<Axis> = Vec::new();
        let mut seen: HashMap<&str, HashSet<String>> = HashMap::new();
        for axis in self.all_axes() {
            let known = match axes.iter().position(|known| known.field == axis.field) {
                Some(known) => known,
                None => {
                    axes.push(Axis { values: Vec::new(), lines: Vec::new(), ..axis.clone() });
                    axes.len() - 1
                }
            };
            let seen = seen.entry(axis.field.name).or_default();
            let new = axis.values.iter().filter(|value| seen.insert(canonical(value)));
            axes[known].values.extend(new.cloned());
        }
        axes
    }

    /// `seed` is the default of `init_seed` and `data_seed`, so it has no effect if both are given.
    fn check_seeds(&self) -> Result<(), GridError> {
        for expansion in self.expansions()? {
            let places: Option<Vec<&Place>> =
                SEED_FIELDS.iter().map(|name| expansion.place_of(name)).collect();
            if let Some([seed, init, data]) = places.as_deref() {
                return Err(seed.error(format!(
                    "it is the default of init_seed and data_seed, and both are given ({init}, {data}): leave one out"
                )));
            }
        }
        Ok(())
    }

    /// Finds excludes, claims and published numbers that match no job. This is an error, unless
    /// they are inherited or the command line removed the jobs: then they are left out.
    fn drop_what_never_occurs(&mut self, lenient: bool) -> Result<(), GridError> {
        let expansions = self.expansions()?;
        let all: Vec<&Expansion> = expansions.iter().collect();
        let own = usize::from(self.has_own_jobs());
        let verdict = |problem: Result<(), GridError>, inherited: bool| match problem {
            Err(error) if !lenient && !inherited => Err(error),
            problem => Ok(problem.err()),
        };
        let exclude = |exclude: &Exclude, expansions: &[&Expansion]| {
            Ok(verdict(exclude.occurs(expansions), exclude.inherited)?.is_none())
        };
        let own_excludes = self.own.exclude.iter().map(|e| exclude(e, &all));
        let keep_own = own_excludes.collect::<Result<Vec<bool>, GridError>>()?;
        let blocks = self.block.iter().zip(&expansions[own..]);
        let in_blocks = blocks.flat_map(|(block, e)| block.exclude.iter().map(move |x| (x, e)));
        let keep_in_blocks = in_blocks.map(|(x, expansion)| exclude(x, &[expansion]));
        let keep_in_blocks = keep_in_blocks.collect::<Result<Vec<bool>, GridError>>()?;
        let mut warnings = Vec::new();
        let mut keep_claims = Vec::new();
        for claim in &self.claims {
            let problem = verdict(claim.occurs(&all), claim.inherited)?;
            keep_claims.push(problem.is_none());
            warnings.extend(problem.map(|error| format!("{error}; this claim is left out")));
        }
        let mut keep_published = Vec::new();
        for published in &self.published {
            let problem = occurs(&published.filter, &all, Unset::Accepted, &published.place);
            keep_published.push(verdict(problem, published.inherited)?.is_none());
        }
        drop(expansions);
        retain(&mut self.own.exclude, keep_own);
        retain(&mut self.claims, keep_claims);
        retain(&mut self.published, keep_published);
        let mut keep = keep_in_blocks.into_iter();
        for block in &mut self.block {
            block.exclude.retain(|_| keep.next().unwrap_or(true));
        }
        self.warnings.extend(warnings);
        Ok(())
    }

    fn all_axes(&self) -> impl Iterator<Item = &Axis> {
        self.own.axes().chain(self.block.iter().flat_map(Block::axes))
    }

    /// The grid as a self-contained TOML file with the same jobs.
    pub fn to_toml(&self) -> String {
        write::grid(self)
    }

    /// The file that the grid was read from.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }
}

fn retain<T>(items: &mut Vec<T>, keep: Vec<bool>) {
    let mut keep = keep.into_iter();
    items.retain(|_| keep.next().unwrap_or(true));
}

/// The field of that name, or an error message.
fn field_named(name: &str) -> Result<&'static Field, String> {
    if name == PATH.name {
        return Err(
            "path stands under [base], and names one file: give each file a [[block]]".to_owned()
        );
    }
    Field::named(name)
        .ok_or_else(|| unknown("key", &shorten(name, 100), FIELDS.iter().map(|f| f.name)))
}

/// The field of that name, or `path`, which only a base may set.
fn setting_named(name: &str) -> Result<&'static Field, String> {
    if name == PATH.name { Ok(&PATH) } else { field_named(name) }
}

/// The words joined by commas, without the middle of a long list.
fn list_of<'a>(words: impl ExactSizeIterator<Item = &'a str>, limit: usize) -> String {
    let words: Vec<&str> = words.collect();
    if words.len() <= limit {
        return words.join(", ");
    }
    format!("{}, …, {}", words[..limit - 1].join(", "), words[words.len() - 1])
}

/// The longest name of a sweep, in bytes.
const MAX_NAME: usize = 100;

/// A sweep's name becomes the name of a folder.
fn check_name(name: &str) -> Result<(), String> {
    let wrong =
        |why: &str| Err(format!("{:?} cannot name a results folder: {why}", shorten(name, 120)));
    match name {
        "" => wrong("it is empty"),
        _ if name.len() > MAX_NAME => wrong("it is longer than 100 bytes"),
        _ if name.contains(['/', '\\']) => wrong("it contains a slash or a backslash"),
        _ if name.starts_with(['.', '-']) => wrong("it starts with a dot or a dash"),
        _ if name.contains("..") => wrong("it contains \"..\""),
        _ if name.chars().any(char::is_control) => wrong("it contains a control character"),
        _ if name.trim() != name => wrong("it starts or ends with a space"),
        _ => Ok(()),
    }
}
