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
//! say what the sweep is meant to show. `[explored]` says where its learning rates were chosen.
//!
//! Whatever is wrong with a grid is a [`GridError`]: one line that names the file, the line, the
//! key and what to do. Every value keeps the [`Place`] where it was written, so that an error found
//! late, such as an `init` that its `norm` cannot have, still points there.

mod axis;
mod claim;
mod confirm;
mod error;
mod expansion;
mod explored;
mod keys;
mod layers;
mod overrides;
mod parse;
mod schema;
mod write;

use std::collections::{HashMap, HashSet};
use std::path::Path;

pub use axis::{Axis, Condition};
use axis::{Block, Exclude, Zip, canonical};
pub(crate) use axis::{Setting, same};
pub use claim::{Claim, Expectation, Metric, Published};
pub use confirm::FreshSeeds;
use error::shorten;
pub use error::{GridError, Place};
pub(crate) use expansion::Expansion;
use expansion::{Unset, occurs};
pub use explored::{Chosen, Explored};
use layers::{Layer, extend, overlay};
pub use overrides::Overrides;
pub use schema::json_schema;

use crate::job::{FIELDS, Field, SEED_FIELDS, unknown};

/// The most combinations that a grid may have, excluded ones included.
pub(crate) const MAX_JOBS: usize = 2_000_000;

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
    /// Where its learning rates were chosen, if it confirms another sweep.
    pub explored: Option<Explored>,
    /// What a user should know and that is no error.
    pub warnings: Vec<String>,
    place: Place,
    own: Block,
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
            let stem = path.file_stem().map_or("sweep".into(), |stem| stem.to_string_lossy());
            return Err(Place { key: "name".into(), ..file }.error(format!(
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
            explored: layer.explored,
            warnings: Vec::new(),
            place: file,
            own: Block {
                base: layer.base,
                grid: layer.grid,
                zip: layer.zip.unwrap_or_default(),
                exclude: layer.exclude.unwrap_or_default(),
            },
            block: layer.block.unwrap_or_default(),
        };
        grid.check_seeds()?;
        grid.expansions()?;
        grid.drop_what_never_occurs(false)?;
        if !overrides.set.is_empty() || !overrides.only.is_empty() {
            overrides.set.iter().try_for_each(|option| grid.set(option))?;
            overrides.only.iter().try_for_each(|option| grid.keep_only(option))?;
            grid.check_seeds()?;
            grid.drop_what_never_occurs(true)?;
        }
        Ok(grid)
    }

    /// Whether the file's own axes make jobs: without axes, blocks stand alone.
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

    /// The settings that all jobs share unless a block says otherwise.
    pub(crate) fn base(&self) -> &[Setting] {
        &self.own.base
    }

    /// Every axis with its values, each once: those of equal name in several blocks joined, in
    /// file order.
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

    /// `seed` stands for `init_seed` and `data_seed`, so that with both of them it means nothing.
    fn check_seeds(&self) -> Result<(), GridError> {
        for expansion in self.expansions()? {
            let places: Option<Vec<Place>> =
                SEED_FIELDS.iter().map(|name| expansion.place_of(name)).collect();
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
        for exclude in &self.own.exclude {
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
            warnings.extend(problem.err().map(|error| format!("{error}; this claim is left out")));
        }
        let mut keep_published = Vec::new();
        for published in &self.published {
            let problem = occurs(&published.filter, &all, Unset::Accepted, &published.place);
            keep_published.push(verdict(problem, published.inherited)?.is_ok());
        }
        drop(expansions);
        retain(&mut self.own.exclude, keep);
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

    /// The grid as a TOML file that stands alone and means the same jobs.
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

/// The field of that name, or what to say if there is none.
fn field_named(name: &str) -> Result<&'static Field, String> {
    Field::named(name)
        .ok_or_else(|| unknown("key", &shorten(name, 100), FIELDS.iter().map(|f| f.name)))
}

/// The words with commas, the middle of a long list left out.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::Plan;
    use proptest::prelude::*;

    /// Everything that a grid may say.
    const FULL: &str = r#"
name = "full"
about = "All that a grid may say, with \"quotes\" and \\ signs."

[base]
dataset = "synthetic"
synthetic_shape = [1, 8, 8]
width = 16
epochs = 2
micro_batch = 32

[grid]
depth = [2, 5, 10]
init = ["orthogonal_datadep", "orthogonal_proposed"]
lr = { log = [1e-3, 1e-1], count = 3 }
seed = { count = 3 }

[[zip]]
batch_size = [64, 256]
momentum = [0.9, 0.8]

[[exclude]]
init = "orthogonal_datadep"
depth = [5, 10]

[[block]]
[block.base]
model = "wrn"
blocks = 1
[block.grid]
init = ["orthogonal_hanin", "orthogonal"]
seed = { from = 5, count = 10 }
[[block.exclude]]
init = "orthogonal"
seed = 7

[[claim]]
text = "Deep nets train."
metric = "test_acc"
where = { depth = [5, 10], model = "mlp" }
compare = { axis = "lr", better = 0.01, than = 1e-3, margin = 0.1 }

[[claim]]
text = "One setting is no worse than another one."
metric = "test_acc"
where = { model = "mlp" }
compare = { better = { batch_size = 64, lr = [0.01, 0.1] }, than = { batch_size = 256 }, margin = -0.01 }

[[claim]]
text = "All of them."
metric = "success"
at_least = 0.5

[[published]]
where = { depth = 10, init = "orthogonal_proposed" }
metric = "test_acc"
value = 0.97
spread = 0.01
source = "a table"

[profile.small]
grid = { depth = [2], lr = [0.5] }
base = { epochs = 1 }
exclude = []
"#;

    fn grid_with(text: &str, overrides: &Overrides) -> Result<Grid, GridError> {
        Grid::parse(text, Path::new("test.toml"), overrides)
    }

    fn grid(text: &str) -> Grid {
        grid_with(text, &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn ids(grid: &Grid) -> Vec<crate::job::JobId> {
        Plan::of(grid)
            .unwrap_or_else(|error| panic!("{error}"))
            .jobs
            .iter()
            .map(|job| job.id)
            .collect()
    }

    /// Reads files `(name, text)` from a folder, the first one as the grid.
    fn load(files: &[(&str, &str)], overrides: &Overrides) -> Result<Grid, GridError> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Grid::load(&folder.path().join(files[0].0), overrides)
    }

    fn column(grid: &Grid, field: &str) -> Vec<String> {
        let field = Field::named(field).unwrap();
        let mut values = Vec::new();
        for planned in Plan::of(grid).unwrap().jobs {
            let value = field.get(&planned.job).map_or(String::new(), |v| v.to_string());
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    }

    #[test]
    fn a_grid_means_every_combination_but_the_excluded_ones() {
        let full = grid(FULL);
        // depth 2 with both inits, 5 and 10 with one; 3 rates, 2 batch sizes, 3 seeds. The block: 2 x 10 - 1.
        assert_eq!(ids(&full).len(), (2 + 1 + 1) * 3 * 2 * 3 + 19);
        assert_eq!(column(&full, "lr"), ["0.001", "0.01", "0.1"]);
        let plan = Plan::of(&full).unwrap();
        let pair = |batch: u32, momentum: f64| {
            plan.jobs.iter().any(|p| p.job.batch_size == batch && p.job.momentum == momentum)
        };
        assert!(pair(64, 0.9) && pair(256, 0.8) && !pair(64, 0.8), "zipped axes move together");
    }

    #[test]
    fn arms_that_share_a_value_are_a_zip_and_equal_arms_an_error() {
        let arms = |norms: &str| {
            format!(
                "name = \"a\"\n[[zip]]\nnorm = [{norms}]\ninit = [\"he\", \"orthogonal\", \"he\"]\n"
            )
        };
        let grid = grid(&arms(r#""weight", "weight", "none""#));
        assert_eq!(ids(&grid).len(), 3);
        let norm = &grid.axes()[0];
        assert_eq!((norm.field.name, norm.values.len()), ("norm", 2), "each value is named once");
        let text = arms(r#""weight", "weight", "weight""#);
        let equal = grid_with(&text, &Overrides::default()).unwrap();
        let error = Plan::of(&equal).unwrap_err();
        assert!(error.message.contains("the same job"), "{error}");
        let text = arms(r#""weight", "weight", "none""#)
            + "[[exclude]]\nnorm = \"weight\"\ninit = \"orthogonal\"\n";
        assert_eq!(ids(&grid_with(&text, &Overrides::default()).unwrap()).len(), 2);
    }

    #[test]
    fn a_grid_without_axes_is_one_job() {
        assert_eq!(ids(&grid("name = \"one\"")).len(), 1);
    }

    #[test]
    fn blocks_stand_alone_where_the_file_has_no_axes() {
        let text = "name = \"a\"\n[base]\nlr = 0.5\n[[block]]\nbase = { depth = 3 }\n[[block]]\nbase = { lr = 1 }\n";
        let blocks = grid(text);
        assert_eq!(ids(&blocks).len(), 2);
        assert_eq!(column(&blocks, "lr"), ["0.5", "1"]);
    }

    #[test]
    fn the_stored_grid_means_the_same_jobs_claims_and_numbers() {
        let only = |only: &str| Overrides { only: vec![only.into()], ..Overrides::default() };
        let set = |set: &str| Overrides { set: vec![set.into()], ..Overrides::default() };
        let small = Overrides { profile: Some("small".into()), ..Overrides::default() };
        for overrides in [
            Overrides::default(),
            only("depth=2"),
            only("seed=1,5"),
            set("epochs=7"),
            set("augment=none"),
            small,
        ] {
            let first = grid_with(FULL, &overrides)
                .unwrap_or_else(|error| panic!("{overrides:?}: {error}"));
            let text = first.to_toml();
            let again = grid(&text);
            assert_eq!(ids(&again), ids(&first), "{text}");
            assert_eq!(again.to_toml(), text);
            assert_eq!((&again.name, &again.about), (&first.name, &first.about));
            assert_eq!(again.claims.len(), first.claims.len());
            assert_eq!(again.published.len(), first.published.len());
        }
    }

    #[test]
    fn a_logarithmic_axis_has_both_ends_and_round_numbers() {
        let axis = |range: &str| {
            column(
                &grid(&format!("name = \"a\"\n[grid]\n{range}\n")),
                range.split(' ').next().unwrap(),
            )
        };
        assert_eq!(
            axis("lr = { log = [1e-4, 1e-2], count = 5 }"),
            ["0.0001", "0.000316227766", "0.001", "0.00316227766", "0.01"]
        );
        assert_eq!(axis("lr = { log = [0.3, 7], count = 1 }"), ["0.3"]);
        assert_eq!(axis("lr = { log = [1, 1e-3], count = 4 }"), ["1", "0.1", "0.01", "0.001"]);
        assert_eq!(
            axis("width = { log = [16, 256], count = 5 }"),
            ["16", "32", "64", "128", "256"]
        );
        assert_eq!(axis("epochs = { from = 3, count = 3 }"), ["3", "4", "5"]);
    }

    #[test]
    fn only_keeps_part_of_an_axis_and_whole_blocks_without_it_go() {
        let only = |option: &str| {
            grid_with(FULL, &Overrides { only: vec![option.into()], ..Overrides::default() })
                .unwrap()
        };
        assert_eq!(column(&only("depth=2,10"), "depth"), ["2", "10", ""]);
        assert_eq!(column(&only("init=orthogonal_hanin"), "model"), ["wrn"]);
        assert_eq!(
            column(&only("batch_size=256"), "momentum"),
            ["0.8", "0.9"],
            "the block keeps its default"
        );
        assert_eq!(column(&only("lr=0.010"), "lr"), ["0.01"]);
    }

    #[test]
    fn set_reaches_every_block() {
        let set =
            Overrides { set: vec!["epochs = 9".into(), "k=2".into()], ..Overrides::default() };
        let text = "name = \"a\"\n[[block]]\nbase = { epochs = 3 }\n[[block]]\nbase = { epochs = 4, model = \"wrn\" }\n";
        let changed = grid_with(text, &set).unwrap();
        assert_eq!(
            (column(&changed, "epochs"), column(&changed, "k")),
            (vec!["9".into()], vec!["".into(), "2".into()])
        );
    }

    #[test]
    fn a_profile_is_an_overlay_with_a_folder_of_its_own() {
        let small =
            grid_with(FULL, &Overrides { profile: Some("small".into()), ..Overrides::default() })
                .unwrap();
        assert_eq!(small.name, "full-small");
        assert_eq!(
            (column(&small, "lr"), column(&small, "epochs")),
            (vec!["0.5".into(), "0.01".into()], vec!["1".into()])
        );
        assert_eq!(
            small.claims.len(),
            1,
            "a claim about jobs that the profile does not have is left out"
        );
        assert!(small.warnings[0].contains("this claim is left out"), "{:?}", small.warnings);
    }

    #[test]
    fn a_child_wins_over_what_it_extends() {
        let parent = "name = \"parent\"\nabout = \"p\"\n[base]\nlr = 0.1\nwidth = 32\n[grid]\ndepth = [2, 5]\nseed = [0, 1]\n\
                      [[zip]]\nbatch_size = [64, 128]\nmomentum = [0, 0.5]\n[[exclude]]\ndepth = 5\nseed = 1\n";
        let child = "extends = \"parent.toml\"\nname = \"child\"\n[base]\ndepth = 3\nmomentum = 0.9\n[grid]\nlr = [0.2, 0.3]\n";
        let child =
            load(&[("child.toml", child), ("parent.toml", parent)], &Overrides::default()).unwrap();
        assert_eq!((child.name.as_str(), child.about.as_deref()), ("child", Some("p")));
        for (field, values) in [
            ("depth", vec!["3"]),
            ("lr", vec!["0.2", "0.3"]),
            ("momentum", vec!["0.9"]),
            ("width", vec!["32"]),
            ("seed", vec!["0", "1"]),
        ] {
            assert_eq!(column(&child, field), values, "{field}");
        }
        assert_eq!(ids(&child).len(), 2 * 2 * 2, "the parent's exclude concerns no job any more");
    }

    #[test]
    fn a_long_chain_of_extends_ends_in_an_error() {
        let names: Vec<String> = (0..40).map(|i| format!("{i}.toml")).collect();
        let texts: Vec<String> = (0..40).map(|i| format!("extends = \"{}.toml\"", i + 1)).collect();
        let files: Vec<(&str, &str)> =
            names.iter().zip(&texts).map(|(n, t)| (n.as_str(), t.as_str())).collect();
        assert!(load(&files, &Overrides::default()).unwrap_err().message.contains("more than 16"));
    }

    #[test]
    fn a_seed_may_be_the_default_of_the_seed_that_is_not_given() {
        let one = grid("name = \"a\"\n[base]\ninit_seed = 7\n[grid]\nseed = [1, 2]\n");
        assert_eq!(
            (column(&one, "init_seed"), column(&one, "data_seed")),
            (vec!["7".into()], vec!["1".into(), "2".into()])
        );
    }

    #[test]
    fn places_count_lines_from_one() {
        let error =
            grid_with("name = \"a\"\r\n\r\n[base]\r\nlr = \"x\"\r\n", &Overrides::default())
                .unwrap_err();
        assert_eq!((error.line, error.key.as_str()), (Some(4), "base.lr"));
        assert_eq!(error.to_string(), "test.toml:4: base.lr: expected a number, got \"x\"");
    }

    /// Combinations of a grid, or a large number if it is bad.
    fn combinations(grid: &Grid) -> usize {
        let expansions = grid.expansions();
        expansions.map_or(usize::MAX, |all| all.iter().map(|e| e.replicates() * e.cells()).sum())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_grid_whatever_makes_the_program_panic_and_what_it_accepts_it_can_store(
            edits in prop::collection::vec((0..FULL.len(), 0..12usize, prop::sample::select(vec![
                "", "[", "]", "{", "}", "=", "\"", "\n", ",", ".", "#", "-", "0", "1e999", "nan", "[[", "]]",
                "99999999999999999999", "lr = 1\n", "seed", "count", "[grid]\n", "[[zip]]\n", "[[exclude]]\n", "depth = 2\n",
                "[profile.x]\n", "[[block]]\n", "extends = \"test.toml\"\n", "\u{0}", "é", "true", "1979-05-27", "[]", "{}", "\"\"",
            ])), 1..4),
            option in prop::sample::select(vec!["", "lr=0.01", "depth=2", "seed=", "=", "init=orthogonal", "é=1", "batch_size=64,256"]),
            profile in prop::sample::select(vec![None, Some("small".to_owned()), Some("x".to_owned())]),
        ) {
            let mut text = FULL.to_owned();
            for (start, length, new) in edits {
                let boundary = |mut at: usize| { while !text.is_char_boundary(at.min(text.len())) { at += 1 } at.min(text.len()) };
                let (start, end) = (boundary(start), boundary(start + length));
                text.replace_range(start..end, new);
            }
            let options = |wanted: bool| if wanted && !option.is_empty() { vec![option.to_owned()] } else { Vec::new() };
            for set in [true, false] {
                let overrides = Overrides { set: options(set), only: options(!set), profile: profile.clone() };
                match grid_with(&text, &overrides) {
                    Err(error) => prop_assert!(error.to_string().lines().count() == 1),
                    Ok(grid) if combinations(&grid) < 2000 => {
                        let stored = grid.to_toml();
                        let again = grid_with(&stored, &Overrides::default());
                        prop_assert!(again.is_ok(), "{:?}\n{}", again.err(), stored);
                        match (Plan::of(&grid), Plan::of(&again.unwrap())) {
                            (Ok(plan), Ok(again)) => prop_assert_eq!(plan.jobs, again.jobs),
                            (Err(error), again) => prop_assert!(again.is_err(), "{} vanished", error),
                            (Ok(_), Err(error)) => prop_assert!(false, "{} after storing", error),
                        }
                    }
                    Ok(_) => {}
                }
            }
        }
    }
}
