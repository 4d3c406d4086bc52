//! A sweep's grid: a TOML file that says which jobs to train.
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
//! `[[block]]`s are further expansions on top of `[base]`, `extends` takes another file as the
//! base, `[profile.NAME]` is an overlay for `--profile NAME`, and `[[claim]]` and `[[published]]`
//! say what the sweep is meant to show.
//!
//! Whatever is wrong with a grid is a [`GridError`]: one line that names the file, the line, the
//! key and what to do. Every value keeps the [`Place`] where it was written, so that an error found
//! late, such as an `init` that its `norm` cannot have, still points there.

mod parse;
mod write;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use crate::job::{
    Draft, FIELDS, Field, Job, JobError, SEED_FIELDS, Value, choices, nearest, unknown,
};

/// The most combinations that a grid may have, excluded ones included.
pub const MAX_JOBS: usize = 5_000_000;

/// The longest chain of `extends`.
const MAX_EXTENDS: usize = 16;

/// What is wrong with a grid, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.line_of_text())]
pub struct GridError {
    /// The file, or the command-line option.
    pub file: String,
    /// The line in the file, counted from 1.
    pub line: Option<usize>,
    /// The key with its table, for example `grid.lr`; empty where no key is at fault.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl GridError {
    /// `file:line: key: message`, safe to print: one line, no control characters.
    fn line_of_text(&self) -> String {
        let mut text = self.file.clone();
        if let Some(line) = self.line {
            text += &format!(":{line}");
        }
        text += ": ";
        if !self.key.is_empty() {
            text += &format!("{}: ", shorten(&self.key, 200));
        }
        text += &shorten(&self.message, 1500);
        let mut safe = String::with_capacity(text.len());
        for c in text.chars() {
            if c.is_control() {
                safe.extend(c.escape_default())
            } else {
                safe.push(c)
            }
        }
        safe
    }
}

/// The text, with its end replaced by `…` where it is longer than `limit` characters.
fn shorten(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Where something was written: a line of a file, or an option of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    file: Arc<str>,
    line: Option<usize>,
    key: Arc<str>,
}

impl Place {
    /// An error at this place.
    pub fn error(&self, message: impl Into<String>) -> GridError {
        GridError {
            file: self.file.to_string(),
            line: self.line,
            key: self.key.to_string(),
            message: message.into(),
        }
    }

    /// A place that is a whole file or a command-line option.
    fn of(file: &str) -> Place {
        Place {
            file: file.into(),
            line: None,
            key: "".into(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

/// A field with one value.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Which field.
    pub field: &'static Field,
    /// Its value; valid for the field.
    pub value: Value,
    /// Where it was set.
    pub place: Place,
}

/// A field with the values that it takes in turn.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Which field.
    pub field: &'static Field,
    /// Its values, at least one; each valid for the field, none twice.
    pub values: Vec<Value>,
    /// Where the axis was written.
    pub place: Place,
    /// The line of each value; empty if they all stand on the axis's line.
    lines: Vec<usize>,
}

impl Axis {
    /// Where the value of that index was written.
    fn place_of(&self, index: usize) -> Place {
        let line = self.lines.get(index).copied().or(self.place.line);
        Place {
            line,
            ..self.place.clone()
        }
    }

    fn has(&self, value: &Value) -> bool {
        self.values.iter().any(|v| same(v, value))
    }

    /// Keeps the values of which `keep` says so, by index.
    fn retain(&mut self, keep: &[bool]) {
        let mut kept = keep.iter();
        self.values.retain(|_| *kept.next().unwrap_or(&false));
        let mut kept = keep.iter();
        self.lines.retain(|_| *kept.next().unwrap_or(&false));
    }
}

/// Axes of one length that move together.
#[derive(Clone, Debug)]
pub struct Zip {
    /// At least one; all of one length.
    pub axes: Vec<Axis>,
}

/// A condition on one field: its value is one of these.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Which field.
    pub field: &'static Field,
    /// The values, at least one; valid for the field.
    pub values: Vec<Value>,
    /// Where it was written.
    pub place: Place,
}

impl Condition {
    /// Whether the value is one of these.
    pub fn accepts(&self, value: &Value) -> bool {
        self.values.iter().any(|v| same(v, value))
    }

    /// Whether the job's value is one of these.
    pub fn holds(&self, job: &Job) -> bool {
        self.field
            .get(job)
            .is_some_and(|value| self.accepts(&value))
    }
}

/// Combinations to leave out: those that meet every condition.
#[derive(Clone, Debug)]
pub struct Exclude {
    conditions: Vec<Condition>,
    place: Place,
    /// Written in a file or profile that another one builds upon, so that it need not match.
    inherited: bool,
}

/// A further expansion on top of the file's base.
#[derive(Clone, Debug, Default)]
struct Block {
    base: Vec<Setting>,
    grid: Vec<Axis>,
    zip: Vec<Zip>,
    exclude: Vec<Exclude>,
}

choices! {
    /// What is measured of a finished job.
    Metric, "metric" {
        /// Test accuracy at the best validation epoch, a fraction.
        TestAcc = "test_acc",
        /// Test loss at the best validation epoch, in nats.
        TestLoss = "test_loss",
        /// Best validation accuracy of all epochs, a fraction.
        BestValAcc = "best_val_acc",
        /// Validation accuracy of the last epoch, a fraction.
        ValAcc = "val_acc",
        /// Validation loss of the last epoch, in nats.
        ValLoss = "val_loss",
        /// Training accuracy of the last epoch, a fraction.
        TrainAcc = "train_acc",
        /// Training loss of the last epoch, in nats.
        TrainLoss = "train_loss",
        /// The epoch with the best validation accuracy, counted from 1.
        BestEpoch = "best_epoch",
        /// Whole epochs with finite losses.
        EpochsDone = "epochs_done",
        /// 1 if the job diverged, 0 if not.
        Diverged = "diverged",
        /// 1 if the job trained (it neither diverged nor stayed at chance), 0 if not.
        Success = "success",
        /// Wall-clock seconds of the job.
        TrainSeconds = "train_seconds",
        /// Training images per second.
        ImagesPerSecond = "images_per_second",
    }
}

impl Metric {
    /// Whether a smaller number is the better one.
    pub fn lower_is_better(self) -> bool {
        use Metric::*;
        matches!(
            self,
            TestLoss | ValLoss | TrainLoss | Diverged | TrainSeconds | BestEpoch
        )
    }

    /// Whether it is a share of something, from 0 to 1.
    pub fn is_fraction(self) -> bool {
        use Metric::*;
        matches!(
            self,
            TestAcc | BestValAcc | ValAcc | TrainAcc | Diverged | Success
        )
    }
}

/// A statement that the sweep's results are to decide.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The statement in words.
    pub text: String,
    /// What it is about.
    pub metric: Metric,
    /// The jobs that it is about.
    pub filter: Vec<Condition>,
    /// What it says about them.
    pub expect: Expectation,
    place: Place,
    inherited: bool,
}

/// What a claim says about the mean of its metric.
#[derive(Clone, Debug)]
pub enum Expectation {
    /// One value of an axis does better than another, all else being equal. Better is higher,
    /// or lower where [`Metric::lower_is_better`].
    Compare {
        /// The axis.
        axis: &'static Field,
        /// The value that does better …
        better: Value,
        /// … than this one …
        than: Value,
        /// … by at least this much; 0 or more.
        margin: f64,
    },
    /// The mean lies between bounds; at least one of them is given.
    Within {
        /// Lower bound.
        at_least: Option<f64>,
        /// Upper bound.
        at_most: Option<f64>,
    },
}

/// A number from the literature to print beside ours.
#[derive(Clone, Debug)]
pub struct Published {
    /// The jobs that it is about.
    pub filter: Vec<Condition>,
    /// What it is.
    pub metric: Metric,
    /// The number.
    pub value: f64,
    /// Its uncertainty, as published.
    pub spread: Option<f64>,
    /// Where it was published.
    pub source: Option<String>,
    place: Place,
    inherited: bool,
}

/// What the command line changes in a grid.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `key=value`: sets a field for all jobs.
    pub set: Vec<String>,
    /// `axis=a,b`: keeps part of an axis.
    pub only: Vec<String>,
    /// The overlay `[profile.NAME]` to apply.
    pub profile: Option<String>,
}

/// What one file, or one profile in it, says.
#[derive(Clone, Debug, Default)]
struct Layer {
    name: Option<(String, Option<Place>)>,
    about: Option<String>,
    extends: Option<(PathBuf, Place)>,
    base: Vec<Setting>,
    grid: Vec<Axis>,
    zip: Option<Vec<Zip>>,
    exclude: Option<Vec<Exclude>>,
    block: Option<Vec<Block>>,
    claim: Option<Vec<Claim>>,
    published: Option<Vec<Published>>,
    profile: Vec<(String, Layer)>,
}

/// A grid, complete: `extends` merged, profile and overrides applied, every value checked.
#[derive(Clone, Debug)]
pub struct Grid {
    /// The sweep's name, and the name of its folder.
    pub name: String,
    /// What the sweep asks.
    pub about: Option<String>,
    /// The statements that the results are to decide.
    pub claims: Vec<Claim>,
    /// Numbers to print beside ours.
    pub published: Vec<Published>,
    /// What a user should know and that is no error.
    pub warnings: Vec<String>,
    place: Place,
    base: Vec<Setting>,
    grid: Vec<Axis>,
    zip: Vec<Zip>,
    exclude: Vec<Exclude>,
    block: Vec<Block>,
}

impl Grid {
    /// Reads a grid from its file and whatever that extends.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn load(path: &Path, overrides: &Overrides) -> Result<Grid, GridError> {
        Grid::resolve(parse::file(path, None)?, path, overrides)
    }

    /// Reads a grid from text; `path` stands for it in errors, and `extends` is relative to it.
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
            let stem = path
                .file_stem()
                .map_or("sweep".into(), |stem| stem.to_string_lossy());
            return Err(Place {
                key: "name".into(),
                ..file
            }
            .error(format!(
                "a grid needs a name, which names its results folder: name = {:?}",
                stem
            )));
        };
        check_name(&name).map_err(|message| place.as_ref().unwrap_or(&file).error(message))?;
        let mut grid = Grid {
            name,
            about: layer.about,
            claims: layer.claim.unwrap_or_default(),
            published: layer.published.unwrap_or_default(),
            warnings: Vec::new(),
            place: file,
            base: layer.base,
            grid: layer.grid,
            zip: layer.zip.unwrap_or_default(),
            exclude: layer.exclude.unwrap_or_default(),
            block: layer.block.unwrap_or_default(),
        };
        grid.check_seeds()?;
        grid.expansions()?;
        grid.drop_what_never_occurs(false)?;
        if !overrides.set.is_empty() || !overrides.only.is_empty() {
            overrides
                .set
                .iter()
                .try_for_each(|option| grid.set(option))?;
            overrides
                .only
                .iter()
                .try_for_each(|option| grid.keep_only(option))?;
            grid.check_seeds()?;
            grid.drop_what_never_occurs(true)?;
        }
        Ok(grid)
    }

    /// Whether the file's own axes make jobs: without axes, blocks stand alone.
    fn has_own_jobs(&self) -> bool {
        self.block.is_empty() || !self.grid.is_empty() || !self.zip.is_empty()
    }

    /// The expansions whose union is the sweep.
    ///
    /// # Errors
    /// If there are more than [`MAX_JOBS`] combinations.
    pub fn expansions(&self) -> Result<Vec<Expansion<'_>>, GridError> {
        let mut all = Vec::new();
        let mut total = 0;
        if self.has_own_jobs() {
            all.push(Expansion::new(
                self.base.iter().collect(),
                &self.grid,
                &self.zip,
                [&self.exclude[..], &[]],
                &mut total,
            )?);
        }
        for block in &self.block {
            let own: Vec<&Field> = fields_of(&block.base, &block.grid, &block.zip).collect();
            let inherited = self
                .base
                .iter()
                .filter(|setting| !own.contains(&setting.field));
            let base = inherited.chain(&block.base).collect();
            all.push(Expansion::new(
                base,
                &block.grid,
                &block.zip,
                [&self.exclude[..], &block.exclude],
                &mut total,
            )?);
        }
        Ok(all)
    }

    /// The settings that all jobs share unless a block says otherwise.
    pub fn base(&self) -> &[Setting] {
        &self.base
    }

    /// Every axis with its values: those of equal name in several blocks joined, in file order.
    pub fn axes(&self) -> Vec<Axis> {
        let own = self
            .grid
            .iter()
            .chain(self.zip.iter().flat_map(|zip| &zip.axes));
        let blocks = self
            .block
            .iter()
            .flat_map(|b| b.grid.iter().chain(b.zip.iter().flat_map(|zip| &zip.axes)));
        let mut axes: Vec<Axis> = Vec::new();
        for axis in own.chain(blocks) {
            match axes.iter_mut().find(|known| known.field == axis.field) {
                None => axes.push(axis.clone()),
                Some(known) => {
                    let mut seen: HashSet<String> = known.values.iter().map(canonical).collect();
                    known.values.extend(
                        axis.values
                            .iter()
                            .filter(|v| seen.insert(canonical(v)))
                            .cloned(),
                    );
                }
            }
        }
        axes
    }

    /// `seed` stands for `init_seed` and `data_seed`, so that with both of them it means nothing.
    fn check_seeds(&self) -> Result<(), GridError> {
        for expansion in self.expansions()? {
            let places: Option<Vec<Place>> = SEED_FIELDS
                .iter()
                .map(|name| expansion.place_of(name))
                .collect();
            if let Some([seed, init, data]) = places.as_deref() {
                return Err(seed.error(format!(
                    "it is the default of init_seed and data_seed, and both are given ({init}, {data}): leave one out"
                )));
            }
        }
        Ok(())
    }

    /// Finds excludes, claims and published numbers that concern no job. Where the user has just
    /// written them, that is a mistake; where they were inherited or the command line took the jobs
    /// away, they are left out.
    fn drop_what_never_occurs(&mut self, lenient: bool) -> Result<(), GridError> {
        let expansions = self.expansions()?;
        let all: Vec<&Expansion> = expansions.iter().collect();
        let own = usize::from(self.has_own_jobs());
        let mut keep = Vec::new();
        let verdict = |problem: Result<(), GridError>, inherited: bool| match problem {
            Err(error) if !lenient && !inherited => Err(error),
            problem => Ok(problem),
        };
        for exclude in &self.exclude {
            keep.push(verdict(exclude.occurs(&all), exclude.inherited)?.is_ok());
        }
        let mut keep_in_blocks = Vec::new();
        for (block, expansion) in self.block.iter().zip(&expansions[own..]) {
            for exclude in &block.exclude {
                keep_in_blocks
                    .push(verdict(exclude.occurs(&[expansion]), exclude.inherited)?.is_ok());
            }
        }
        let mut warnings = Vec::new();
        let mut keep_claims = Vec::new();
        for claim in &self.claims {
            let problem = verdict(claim.occurs(&all), claim.inherited)?;
            keep_claims.push(problem.is_ok());
            warnings.extend(
                problem
                    .err()
                    .map(|error| format!("{error}; this claim is left out")),
            );
        }
        let mut keep_published = Vec::new();
        for published in &self.published {
            let problem = occurs(&published.filter, &all, Unset::Accepted, &published.place);
            keep_published.push(verdict(problem, published.inherited)?.is_ok());
        }
        drop(expansions);
        retain(&mut self.exclude, keep);
        retain(&mut self.claims, keep_claims);
        retain(&mut self.published, keep_published);
        let mut keep = keep_in_blocks.into_iter();
        for block in &mut self.block {
            block.exclude.retain(|_| keep.next().unwrap_or(true));
        }
        self.warnings.extend(warnings);
        Ok(())
    }

    /// `--set key=value`
    fn set(&mut self, option: &str) -> Result<(), GridError> {
        let place = Place::of(&format!("--set {option}"));
        let (key, text) = option
            .split_once('=')
            .ok_or_else(|| place.error("expected key=value, for example --set epochs=3"))?;
        let (key, text) = (key.trim(), text.trim());
        let field = field_named(key).map_err(|message| place.error(message))?;
        let value = from_option(text);
        field
            .set(&mut Draft::default(), &value)
            .map_err(|message| place.error(message))?;
        if let Some(axis) = self.all_axes().find(|axis| axis.field == field) {
            return Err(place.error(format!(
                "{key} is an axis of this grid ({}); keep part of it with --only {key}={text}",
                axis.place
            )));
        }
        for block in &mut self.block {
            block.base.retain(|setting| setting.field != field);
        }
        self.base.retain(|setting| setting.field != field);
        self.base.push(Setting {
            field,
            value,
            place,
        });
        Ok(())
    }

    /// `--only axis=a,b`
    fn keep_only(&mut self, option: &str) -> Result<(), GridError> {
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
        let wanted: Vec<Value> = list
            .split(',')
            .map(|text| from_option(text.trim()))
            .collect();
        if let Some(value) = wanted.iter().find(|value| !axis.has(value)) {
            return Err(place.error(not_on(axis, value)));
        }
        let field = axis.field;
        // A part of the sweep in which the field has no wanted value is left out as a whole.
        let base_fits = |base: &[Setting]| {
            base.iter()
                .find(|s| s.field == field)
                .map(|s| wanted.iter().any(|w| same(w, &s.value)))
        };
        let own_fits = keep_values(&mut self.grid, &mut self.zip, field, &wanted);
        if own_fits.or(base_fits(&self.base)) == Some(false) && !self.block.is_empty() {
            self.grid.clear();
            self.zip.clear();
        }
        let outer = base_fits(&self.base);
        self.block.retain_mut(|block| {
            let fits = keep_values(&mut block.grid, &mut block.zip, field, &wanted);
            fits.or(base_fits(&block.base)).or(outer) != Some(false)
        });
        Ok(())
    }

    fn all_axes(&self) -> impl Iterator<Item = &Axis> {
        let blocks = self.block.iter().flat_map(|block| {
            block
                .grid
                .iter()
                .chain(block.zip.iter().flat_map(|z| &z.axes))
        });
        self.grid
            .iter()
            .chain(self.zip.iter().flat_map(|zip| &zip.axes))
            .chain(blocks)
    }

    /// The grid as a TOML file that stands alone and means the same jobs.
    pub fn to_toml(&self) -> String {
        write::grid(self)
    }

    /// The file that the grid was read from.
    pub fn place(&self) -> &Place {
        &self.place
    }
}

/// Keeps the wanted values of the field's axis; `None` if it is no axis here, `Some(false)` if
/// none is left.
fn keep_values(
    grid: &mut [Axis],
    zips: &mut [Zip],
    field: &Field,
    wanted: &[Value],
) -> Option<bool> {
    let mut found = None;
    let keep = |axis: &Axis| -> Vec<bool> {
        axis.values
            .iter()
            .map(|value| wanted.iter().any(|w| same(w, value)))
            .collect()
    };
    if let Some(axis) = grid.iter_mut().find(|axis| axis.field == field) {
        let keep = keep(axis);
        axis.retain(&keep);
        found = Some(keep.contains(&true));
    }
    if let Some(zip) = zips
        .iter_mut()
        .find(|zip| zip.axes.iter().any(|axis| axis.field == field))
    {
        let keep = zip
            .axes
            .iter()
            .find(|axis| axis.field == field)
            .map(keep)
            .unwrap_or_default();
        zip.axes.iter_mut().for_each(|axis| axis.retain(&keep));
        found = Some(keep.contains(&true));
    }
    found
}

fn retain<T>(items: &mut Vec<T>, keep: Vec<bool>) {
    let mut keep = keep.into_iter();
    items.retain(|_| keep.next().unwrap_or(true));
}

/// The layer on top of all that it extends.
fn extend(child: Layer, path: &Path) -> Result<Layer, GridError> {
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
fn overlay(mut parent: Layer, child: Layer) -> Layer {
    let mut given: Vec<&Field> = child.base.iter().map(|s| s.field).collect();
    given.extend(
        child
            .zip
            .iter()
            .flatten()
            .flat_map(|zip| &zip.axes)
            .map(|axis| axis.field),
    );
    let axes: Vec<&Field> = child.grid.iter().map(|axis| axis.field).collect();

    parent.grid.retain(|axis| !given.contains(&axis.field));
    for axis in child.grid {
        match parent.grid.iter_mut().find(|old| old.field == axis.field) {
            Some(old) => *old = axis, // the order of the axes stays the parent's
            None => parent.grid.push(axis),
        }
    }
    given.extend(axes);
    parent
        .base
        .retain(|setting| !given.contains(&setting.field));
    parent.base.extend(child.base);
    for zip in parent.zip.iter_mut().flatten() {
        zip.axes.retain(|axis| !given.contains(&axis.field));
    }
    parent
        .zip
        .iter_mut()
        .for_each(|zips| zips.retain(|zip| !zip.axes.is_empty()));

    parent
        .exclude
        .iter_mut()
        .flatten()
        .for_each(|exclude| exclude.inherited = true);
    let in_blocks = parent
        .block
        .iter_mut()
        .flatten()
        .flat_map(|block| &mut block.exclude);
    in_blocks.for_each(|exclude| exclude.inherited = true);
    parent
        .claim
        .iter_mut()
        .flatten()
        .for_each(|claim| claim.inherited = true);
    parent
        .published
        .iter_mut()
        .flatten()
        .for_each(|published| published.inherited = true);
    parent
        .profile
        .retain(|(name, _)| !child.profile.iter().any(|(own, _)| own == name));
    parent.profile.extend(child.profile);
    Layer {
        name: child.name.or(parent.name),
        about: child.about.or(parent.about),
        zip: child.zip.or(parent.zip),
        exclude: child.exclude.or(parent.exclude),
        block: child.block.or(parent.block),
        claim: child.claim.or(parent.claim),
        published: child.published.or(parent.published),
        ..parent
    }
}

/// Every combination of some axes on top of some settings.
///
/// Combinations are numbered with the seeds slowest: all of the first replicate, then all of the
/// second, and so on. A replicate is one setting of the axes that hold seeds.
pub struct Expansion<'g> {
    base: Vec<&'g Setting>,
    draft: Draft,
    /// Axes that move together, slowest first.
    dimensions: Vec<Vec<&'g Axis>>,
    /// How many of the first dimensions hold seeds.
    seed_dimensions: usize,
    /// The axes again, to look up values.
    axes: Vec<IndexedAxis<'g>>,
    excluded: Vec<Selection>,
}

/// Conditions as (dimension, the indices along it that meet them, ascending).
type Selection = Vec<(usize, Vec<u32>)>;

/// An axis whose values are found without searching.
struct IndexedAxis<'g> {
    axis: &'g Axis,
    dimension: usize,
    index: OnceLock<HashMap<String, u32>>,
}

impl IndexedAxis<'_> {
    fn index_of(&self, value: &Value) -> Option<u32> {
        let index = self
            .index
            .get_or_init(|| self.axis.values.iter().map(canonical).zip(0..).collect());
        index.get(&canonical(value)).copied()
    }
}

impl<'g> Expansion<'g> {
    fn new(
        base: Vec<&'g Setting>,
        grid: &'g [Axis],
        zip: &'g [Zip],
        exclude: [&'g [Exclude]; 2],
        total: &mut usize,
    ) -> Result<Expansion<'g>, GridError> {
        let dimensions = grid
            .iter()
            .map(|axis| vec![axis])
            .chain(zip.iter().map(|zip| zip.axes.iter().collect()));
        let (mut seeds, rest): (Vec<Vec<&Axis>>, _) = dimensions.partition(|dimension| {
            dimension
                .iter()
                .any(|axis| SEED_FIELDS.contains(&axis.field.name))
        });
        let seed_dimensions = seeds.len();
        seeds.extend(rest);

        let mut combinations = 1_usize;
        for axis in seeds.iter().map(|dimension| dimension[0]) {
            combinations = combinations.saturating_mul(axis.values.len());
            if combinations.saturating_add(*total) > MAX_JOBS {
                return Err(axis.place.error(format!(
                    "with this axis the grid has more than {MAX_JOBS} jobs"
                )));
            }
        }
        *total += combinations;

        let mut draft = Draft::default();
        for setting in &base {
            setting
                .field
                .set(&mut draft, &setting.value)
                .map_err(|message| setting.place.error(message))?;
        }
        let indexed = seeds.iter().enumerate().flat_map(|(dimension, axes)| {
            axes.iter().map(move |&axis| IndexedAxis {
                axis,
                dimension,
                index: OnceLock::new(),
            })
        });
        let axes = indexed.collect();
        let mut expansion = Expansion {
            base,
            draft,
            dimensions: seeds,
            seed_dimensions,
            axes,
            excluded: Vec::new(),
        };
        let excluded = exclude
            .into_iter()
            .flatten()
            .filter_map(|e| expansion.compile(&e.conditions, Unset::Refused));
        expansion.excluded = excluded.collect();
        Ok(expansion)
    }

    /// The number of replicates: settings of the axes that hold seeds.
    pub fn replicates(&self) -> usize {
        self.dimensions[..self.seed_dimensions]
            .iter()
            .map(|dimension| dimension[0].values.len())
            .product()
    }

    /// Combinations of one replicate, excluded ones included.
    pub fn cells(&self) -> usize {
        self.dimensions[self.seed_dimensions..]
            .iter()
            .map(|dimension| dimension[0].values.len())
            .product()
    }

    /// The combinations that meet all conditions; `None` if there are none.
    fn compile(&self, conditions: &[Condition], unset: Unset) -> Option<Selection> {
        let mut selection: Selection = Vec::new();
        for condition in conditions {
            if let Some(axis) = self.axis(condition.field) {
                let mut indices: Vec<u32> = condition
                    .values
                    .iter()
                    .filter_map(|v| axis.index_of(v))
                    .collect();
                indices.sort_unstable();
                match selection
                    .iter_mut()
                    .find(|(known, _)| *known == axis.dimension)
                {
                    Some((_, known)) => known.retain(|i| indices.binary_search(i).is_ok()),
                    None => selection.push((axis.dimension, indices)),
                }
            } else if let Some(setting) = self.base.iter().find(|s| s.field == condition.field) {
                if !condition.accepts(&setting.value) {
                    return None;
                }
            } else if unset == Unset::Refused {
                return None;
            }
        }
        selection
            .iter()
            .all(|(_, indices)| !indices.is_empty())
            .then_some(selection)
    }

    fn axis(&self, field: &Field) -> Option<&IndexedAxis<'g>> {
        self.axes.iter().find(|indexed| indexed.axis.field == field)
    }

    /// Whether the field has this value in some combination, excluded ones included.
    fn takes(&self, field: &Field, value: &Value) -> bool {
        match self.axis(field) {
            Some(axis) => axis.index_of(value).is_some(),
            None => self
                .base
                .iter()
                .any(|s| s.field == field && same(&s.value, value)),
        }
    }

    /// The index along each dimension of a combination, slowest dimension first.
    fn indices(&self, combination: usize) -> [u32; 32] {
        debug_assert!(
            self.dimensions.len() <= 32,
            "a field is an axis once, and there are {} fields",
            FIELDS.len()
        );
        let mut indices = [0; 32];
        let mut rest = combination;
        for (dimension, index) in self.dimensions.iter().zip(&mut indices).rev() {
            let length = dimension[0].values.len();
            *index = (rest % length) as u32;
            rest /= length;
        }
        indices
    }

    /// The job of a combination, `0 .. replicates() * cells()`; `None` if it is excluded.
    ///
    /// # Errors
    /// If its fields do not go together; [`Expansion::explain`] says where they were set.
    pub fn job(&self, combination: usize) -> Result<Option<Job>, JobError> {
        let indices = self.indices(combination);
        let within = |(dimension, chosen): &(usize, Vec<u32>)| {
            chosen.binary_search(&indices[*dimension]).is_ok()
        };
        if self
            .excluded
            .iter()
            .any(|exclude| exclude.iter().all(within))
        {
            return Ok(None);
        }
        let mut draft = self.draft.clone();
        for (dimension, &index) in self.dimensions.iter().zip(&indices) {
            for axis in dimension {
                let set = axis.field.set(&mut draft, &axis.values[index as usize]);
                set.map_err(|message| JobError {
                    field: axis.field.name,
                    message,
                })?;
            }
        }
        draft.resolve().map(Some)
    }

    /// Every field that a combination sets, with its value and where that was written; axes last.
    pub fn settings(&self, combination: usize) -> Vec<Setting> {
        let indices = self.indices(combination);
        let axes = self
            .dimensions
            .iter()
            .zip(indices)
            .flat_map(|(dimension, index)| {
                dimension.iter().map(move |axis| Setting {
                    field: axis.field,
                    value: axis.values[index as usize].clone(),
                    place: axis.place_of(index as usize),
                })
            });
        self.base
            .iter()
            .map(|setting| (*setting).clone())
            .chain(axes)
            .collect()
    }

    /// A place to point at where no single value is to blame.
    pub(crate) fn place(&self) -> Place {
        let axis = self.axes.first().map(|indexed| &indexed.axis.place);
        axis.or(self.base.first().map(|s| &s.place))
            .cloned()
            .unwrap_or_else(|| Place::of("grid"))
    }

    /// The names of its axes.
    pub fn axis_names(&self) -> impl Iterator<Item = &'static str> {
        self.dimensions.iter().flatten().map(|axis| axis.field.name)
    }

    /// Whether the field is set here, by an axis or by the base.
    fn place_of(&self, field: &str) -> Option<Place> {
        let axis = self
            .dimensions
            .iter()
            .flatten()
            .find(|axis| axis.field.name == field)
            .map(|axis| &axis.place);
        axis.or_else(|| {
            self.base
                .iter()
                .find(|s| s.field.name == field)
                .map(|s| &s.place)
        })
        .cloned()
    }

    /// The values of a field here.
    fn values_of(&self, field: &Field) -> &[Value] {
        let axis = self
            .dimensions
            .iter()
            .flatten()
            .find(|axis| axis.field == field)
            .map(|axis| &axis.values[..]);
        let base = || {
            self.base
                .iter()
                .find(|s| s.field == field)
                .map(|s| std::slice::from_ref(&s.value))
        };
        axis.or_else(base).unwrap_or_default()
    }

    /// Says at which line the value stands that makes a combination impossible, and at which the
    /// one that it conflicts with.
    pub fn explain(&self, combination: usize, error: &JobError) -> GridError {
        let settings = self.settings(combination);
        let resolves_without = |left_out: &Setting| {
            let mut draft = Draft::default();
            let others = settings
                .iter()
                .filter(|setting| setting.field != left_out.field);
            others.fold(true, |ok, s| {
                s.field.set(&mut draft, &s.value).is_ok() && ok
            }) && draft.resolve().is_ok()
        };
        let culprit = settings
            .iter()
            .find(|setting| setting.field.name == error.field);
        let partners: Vec<&Setting> = settings
            .iter()
            .filter(|setting| setting.field.name != error.field && resolves_without(setting))
            .collect();
        let mut message = error.message.clone();
        if culprit.is_some() && !partners.is_empty() {
            let list: Vec<String> = partners
                .iter()
                .map(|s| {
                    format!(
                        "{} = {} at {}",
                        s.field.name,
                        write::value(&s.value),
                        s.place
                    )
                })
                .collect();
            message += &format!(" ({})", list.join("; "));
        }
        match culprit.or(partners.first().copied()) {
            Some(setting) => setting.place.error(message),
            // Nothing is set: the defaults do not go together, which is a mistake of ours.
            None => Place::of("grid").error(format!("{}: {message}", error.field)),
        }
    }
}

/// What a condition makes of a field that is nowhere set and so has its default.
#[derive(Clone, Copy, PartialEq)]
enum Unset {
    Accepted,
    Refused,
}

/// Whether some combination meets all conditions; else an error that says which one is to blame.
fn occurs(
    conditions: &[Condition],
    expansions: &[&Expansion],
    unset: Unset,
    place: &Place,
) -> Result<(), GridError> {
    for condition in conditions {
        let key = condition.field.name;
        let setters: Vec<&&Expansion> = expansions
            .iter()
            .filter(|e| e.place_of(key).is_some())
            .collect();
        if setters.is_empty() && unset == Unset::Refused {
            let set: Vec<&str> = FIELDS
                .iter()
                .map(|f| f.name)
                .filter(|name| expansions.iter().any(|e| e.place_of(name).is_some()))
                .collect();
            let hint = nearest(key, set)
                .map(|word| format!("; did you mean \"{word}\"?"))
                .unwrap_or_default();
            return Err(condition.place.error(format!(
                "{key} is neither an axis nor in [base], so it matches no job{hint}"
            )));
        }
        if setters.len() < expansions.len() && unset == Unset::Accepted {
            continue;
        }
        for value in &condition.values {
            if !setters.iter().any(|e| e.takes(condition.field, value)) {
                let mut values: Vec<String> = Vec::new();
                for text in setters
                    .iter()
                    .flat_map(|e| e.values_of(condition.field))
                    .take(1000)
                    .map(canonical)
                {
                    if !values.contains(&text) {
                        values.push(text);
                    }
                }
                return Err(condition.place.error(format!(
                    "{key} = {} occurs in no job (values: {})",
                    write::value(value),
                    list_of(values.iter().map(String::as_str), 12)
                )));
            }
        }
    }
    if expansions
        .iter()
        .any(|e| e.compile(conditions, unset).is_some())
    {
        Ok(())
    } else {
        Err(place.error("no job meets all of its conditions"))
    }
}

impl Exclude {
    fn occurs(&self, expansions: &[&Expansion]) -> Result<(), GridError> {
        occurs(&self.conditions, expansions, Unset::Refused, &self.place).map_err(|error| {
            GridError {
                message: format!("{}: it excludes nothing", error.message),
                ..error
            }
        })
    }
}

impl Claim {
    fn occurs(&self, expansions: &[&Expansion]) -> Result<(), GridError> {
        occurs(&self.filter, expansions, Unset::Accepted, &self.place)?;
        if let Expectation::Compare {
            axis, better, than, ..
        } = &self.expect
        {
            let key = format!("{}.compare", self.place.key);
            let place = Place {
                key: key.into(),
                ..self.place.clone()
            };
            let names: Vec<&str> = expansions.iter().flat_map(|e| e.axis_names()).collect();
            if !names.contains(&axis.name) {
                let names: std::collections::BTreeSet<&str> = names.into_iter().collect();
                return Err(place.error(unknown("axis", axis.name, names)));
            }
            for value in [better, than] {
                let also = Condition {
                    field: axis,
                    values: vec![value.clone()],
                    place: place.clone(),
                };
                let conditions: Vec<Condition> =
                    self.filter.iter().cloned().chain([also]).collect();
                occurs(&conditions, expansions, Unset::Accepted, &place)?;
            }
        }
        Ok(())
    }
}

/// Whether two values mean the same: `1`, `1.0` and `"1"` do, and so do `[1, 8, 8]` and `"1x8x8"`.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Integer(a), Value::Integer(b)) => a == b,
        (Value::Text(a), Value::Text(b)) if a == b => true,
        _ => canonical(a) == canonical(b),
    }
}

/// A text that is equal for values that mean the same.
fn canonical(value: &Value) -> String {
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

/// What a word of the command line means.
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

/// The field of that name, or what to say if there is none.
fn field_named(name: &str) -> Result<&'static Field, String> {
    Field::named(name)
        .ok_or_else(|| unknown("key", &shorten(name, 100), FIELDS.iter().map(|f| f.name)))
}

fn fields_of<'a>(
    base: &'a [Setting],
    grid: &'a [Axis],
    zip: &'a [Zip],
) -> impl Iterator<Item = &'static Field> + 'a {
    let axes = grid
        .iter()
        .chain(zip.iter().flat_map(|zip| &zip.axes))
        .map(|axis| axis.field);
    base.iter().map(|setting| setting.field).chain(axes)
}

fn not_on(axis: &Axis, value: &Value) -> String {
    let text = canonical(value);
    let words: Vec<String> = axis.values.iter().take(1000).map(canonical).collect();
    let is_word = matches!(value, Value::Text(_));
    let near = nearest(&text, words.iter().map(String::as_str)).filter(|_| is_word);
    let hint = near
        .map(|word| format!("; did you mean \"{word}\"?"))
        .unwrap_or_default();
    let values = axis
        .values
        .iter()
        .take(1000)
        .map(canonical)
        .collect::<Vec<_>>();
    format!(
        "{text} is not on the axis {}{hint} (values: {})",
        axis.field.name,
        list_of(values.iter().map(String::as_str), 20)
    )
}

/// The words with commas, the middle of a long list left out.
fn list_of<'a>(words: impl ExactSizeIterator<Item = &'a str>, limit: usize) -> String {
    let words: Vec<&str> = words.collect();
    if words.len() <= limit {
        return words.join(", ");
    }
    format!(
        "{}, …, {}",
        words[..limit - 1].join(", "),
        words[words.len() - 1]
    )
}

/// A sweep's name becomes the name of a folder.
fn check_name(name: &str) -> Result<(), String> {
    let wrong = |why: &str| {
        Err(format!(
            "{:?} cannot name a results folder: {why}",
            shorten(name, 120)
        ))
    };
    match name {
        "" => wrong("it is empty"),
        _ if name.len() > 100 => wrong("it is longer than 100 bytes"),
        _ if name.contains(['/', '\\']) => wrong("it contains a slash or a backslash"),
        _ if name.starts_with(['.', '-']) => wrong("it starts with a dot or a dash"),
        _ if name.contains("..") => wrong("it contains \"..\""),
        _ if name.chars().any(char::is_control) => wrong("it contains a control character"),
        _ if name.trim() != name => wrong("it starts or ends with a space"),
        _ => Ok(()),
    }
}
