//! A grid means every combination of its axes once, in an order in which a part of it is a smaller
//! sweep; `extends`, profiles and overrides change what they say they change.

use std::collections::HashSet;
use std::path::Path;

use proptest::prelude::*;
use wninit_core::grid::{Grid, GridError, Overrides};
use wninit_core::job::{FIELDS, Field, Job, JobId};
use wninit_core::plan::Plan;

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
settings = "mean"
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

#[test]
fn the_grid_as_it_was_run_reads_the_same() {
    let text = grid(FULL).to_toml();
    assert!(text.contains("settings = \"mean\""), "{text}");
    assert_eq!(grid(&text).to_toml(), text);
}

fn grid_with(text: &str, overrides: &Overrides) -> Result<Grid, GridError> {
    Grid::parse(text, Path::new("test.toml"), overrides)
}

fn grid(text: &str) -> Grid {
    grid_with(text, &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn plan_of(grid: &Grid) -> Plan {
    Plan::of(grid).unwrap_or_else(|error| panic!("{error}"))
}

/// The plan of a grid with a name.
fn plan(text: &str) -> Plan {
    plan_of(&grid(&format!("name = \"a\"\n{text}")))
}

fn ids(grid: &Grid) -> Vec<JobId> {
    plan_of(grid).jobs.iter().map(|planned| planned.id).collect()
}

fn only(option: &str) -> Overrides {
    Overrides { only: vec![option.into()], ..Overrides::default() }
}

fn set(options: &[&str]) -> Overrides {
    let set = options.iter().map(|option| (*option).to_owned()).collect();
    Overrides { set, ..Overrides::default() }
}

fn profile(name: &str) -> Overrides {
    Overrides { profile: Some(name.into()), ..Overrides::default() }
}

/// Reads files `(name, text)` from a folder, the first one as the grid.
fn load(files: &[(&str, &str)]) -> Result<Grid, GridError> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    Grid::load(&folder.path().join(files[0].0), &Overrides::default())
}

/// The distinct values of a field, in the order of the jobs.
fn column(grid: &Grid, field: &str) -> Vec<String> {
    let field = Field::named(field).unwrap();
    let mut values = Vec::new();
    for planned in plan_of(grid).jobs {
        let value = field.get(&planned.job).map_or(String::new(), |v| v.to_string());
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

/// The columns of these fields are these.
#[track_caller]
fn assert_columns(grid: &Grid, columns: &[(&str, &[&str])]) {
    for (field, values) in columns {
        assert_eq!(column(grid, field), *values, "{field}");
    }
}

#[test]
fn a_grid_means_every_combination_but_the_excluded_ones() {
    let full = grid(FULL);
    // depth 2 with both inits, 5 and 10 with one; 3 rates, 2 batch sizes, 3 seeds. The block: 2 x 10 - 1.
    assert_eq!(ids(&full).len(), (2 + 1 + 1) * 3 * 2 * 3 + 19);
    assert_columns(&full, &[("lr", &["0.001", "0.01", "0.1"])]);
    let pairs: HashSet<_> = plan_of(&full)
        .jobs
        .iter()
        .map(|p| (p.job.batch_size, p.job.momentum.to_string()))
        .collect();
    let expected = [(64, "0.9"), (256, "0.8"), (128, "0.9")].map(|(b, m)| (b, m.to_owned()));
    assert_eq!(pairs, expected.into(), "zipped axes move together");
    assert_eq!(ids(&grid("name = \"one\"")).len(), 1, "without axes it is one job");
}

#[test]
fn arms_that_share_a_value_are_a_zip_and_equal_arms_an_error() {
    let arms = |norms: &str, more: &str| {
        let inits = "init = [\"he\", \"orthogonal\", \"he\"]";
        grid(&format!("name = \"a\"\n[[zip]]\nnorm = [{norms}]\n{inits}\n{more}"))
    };
    let different = r#""weight", "weight", "none""#;
    let plan = plan_of(&arms(different, ""));
    let norm = &plan.axes[0];
    assert_eq!((plan.jobs.len(), norm.field.name, norm.values.len()), (3, "norm", 2));
    let exclude = "[[exclude]]\nnorm = \"weight\"\ninit = \"orthogonal\"\n";
    assert_eq!(ids(&arms(different, exclude)).len(), 2);
    let error = Plan::of(&arms(r#""weight", "weight", "weight""#, "")).unwrap_err();
    assert!(error.message.contains("the same job"), "{error}");
}

#[test]
fn blocks_stand_alone_where_the_file_has_no_axes_and_set_reaches_each() {
    let text = "name = \"a\"\n[base]\nlr = 0.5\n[[block]]\nbase = { epochs = 3 }\n\
                [[block]]\nbase = { lr = 1, epochs = 4, model = \"wrn\" }\n";
    assert_columns(&grid(text), &[("lr", &["0.5", "1"]), ("epochs", &["3", "4"])]);
    let changed = grid_with(text, &set(&["epochs = 9", "k=2"])).unwrap();
    assert_columns(&changed, &[("epochs", &["9"]), ("k", &["", "2"])]);
}

#[test]
fn the_stored_grid_means_the_same_jobs_claims_and_numbers() {
    let options = [only("depth=2"), only("seed=1,5"), set(&["epochs=7"]), set(&["augment=none"])];
    for overrides in options.into_iter().chain([Overrides::default(), profile("small")]) {
        let first = grid_with(FULL, &overrides).unwrap_or_else(|error| panic!("{error}"));
        let text = first.to_toml();
        let again = grid(&text);
        assert_eq!((ids(&again), again.to_toml()), (ids(&first), text));
        let said = |grid: &Grid| {
            let (claims, numbers) = (grid.claims.len(), grid.published.len());
            (grid.name.clone(), grid.about.clone(), claims, numbers)
        };
        assert_eq!(said(&again), said(&first));
    }
}

#[test]
fn an_axis_may_be_a_range() {
    for (range, values) in [
        (
            "lr = { log = [1e-4, 1e-2], count = 5 }",
            &["0.0001", "0.000316227766", "0.001", "0.00316227766", "0.01"][..],
        ),
        ("lr = { log = [0.3, 7], count = 1 }", &["0.3"]),
        ("lr = { log = [1, 1e-3], count = 4 }", &["1", "0.1", "0.01", "0.001"]),
        ("width = { log = [16, 256], count = 5 }", &["16", "32", "64", "128", "256"]),
        ("epochs = { from = 3, count = 3 }", &["3", "4", "5"]),
    ] {
        let field = range.split(' ').next().unwrap();
        assert_columns(&grid(&format!("name = \"a\"\n[grid]\n{range}\n")), &[(field, values)]);
    }
}

#[test]
fn only_keeps_part_of_an_axis_and_whole_blocks_without_it_go() {
    for (option, field, values) in [
        ("depth=2,10", "depth", &["2", "10", ""][..]),
        ("init=orthogonal_hanin", "model", &["wrn"]),
        ("batch_size=256", "momentum", &["0.8", "0.9"]), // the block keeps its default
        ("lr=0.010", "lr", &["0.01"]),
    ] {
        assert_columns(&grid_with(FULL, &only(option)).unwrap(), &[(field, values)]);
    }
}

#[test]
fn a_profile_is_an_overlay_with_a_folder_of_its_own() {
    let small = grid_with(FULL, &profile("small")).unwrap();
    assert_eq!(small.name, "full-small");
    assert_columns(&small, &[("lr", &["0.5", "0.01"]), ("epochs", &["1"])]);
    assert_eq!(small.claims.len(), 1, "a claim about jobs that it does not have is left out");
    assert!(small.warnings[0].contains("this claim is left out"), "{:?}", small.warnings);
}

#[test]
fn a_child_wins_over_what_it_extends() {
    let parent = "name = \"parent\"\nabout = \"p\"\n[base]\nlr = 0.1\nwidth = 32\n[grid]\ndepth = [2, 5]\nseed = [0, 1]\n\
                  [[zip]]\nbatch_size = [64, 128]\nmomentum = [0, 0.5]\n[[exclude]]\ndepth = 5\nseed = 1\n";
    let child = "extends = \"parent.toml\"\nname = \"child\"\n[base]\ndepth = 3\nmomentum = 0.9\n[grid]\nlr = [0.2, 0.3]\n";
    let child = load(&[("child.toml", child), ("parent.toml", parent)]).unwrap();
    assert_eq!((child.name.as_str(), child.about.as_deref()), ("child", Some("p")));
    assert_columns(&child, &[("depth", &["3"]), ("lr", &["0.2", "0.3"]), ("width", &["32"])]);
    assert_columns(&child, &[("momentum", &["0.9"]), ("seed", &["0", "1"])]);
    assert_eq!(ids(&child).len(), 2 * 2 * 2, "the parent's exclude concerns no job any more");

    let names: Vec<String> = (0..40).map(|i| format!("{i}.toml")).collect();
    let texts: Vec<String> = (1..41).map(|i| format!("extends = \"{i}.toml\"")).collect();
    let chain = names.iter().zip(&texts).map(|(name, text)| (name.as_str(), text.as_str()));
    let error = load(&chain.collect::<Vec<_>>()).unwrap_err();
    assert!(error.message.contains("more than 16"), "{error}");
}

#[test]
fn places_count_lines_from_one() {
    let text = "name = \"a\"\r\n\r\n[base]\r\nlr = \"x\"\r\n";
    let error = grid_with(text, &Overrides::default()).unwrap_err();
    assert_eq!(error.to_string(), "test.toml:4: base.lr: expected a number, got \"x\"");
}

/// Both seeds and what `of` gives of each job.
fn order<T>(plan: &Plan, of: fn(&Job) -> T) -> Vec<(u64, u64, T)> {
    let job = |job: &Job| (job.init_seed, job.data_seed, of(job));
    plan.jobs.iter().map(|planned| job(&planned.job)).collect()
}

#[test]
fn a_sweep_stopped_halfway_is_a_balanced_smaller_sweep() {
    let seeds_last = plan("[grid]\ndepth = [5, 2]\nlr = [0.1, 0.2]\nseed = [3, 1]\n");
    let cells = [(5, 0.1), (5, 0.2), (2, 0.1), (2, 0.2)];
    let expected = [3, 1].map(|seed| cells.map(|cell| (seed, seed, cell))).concat();
    assert_eq!(order(&seeds_last, |job| (job.arch.layers(), job.lr)), expected);

    let blocks = "[[block]]\ngrid = { depth = [2], seed = [0, 1, 2] }\n\
                  [[block]]\ngrid = { depth = [9], seed = [0, 1] }\n";
    let expected = [(0, 2), (0, 9), (1, 2), (1, 9), (2, 2)].map(|(seed, d)| (seed, seed, d));
    assert_eq!(order(&plan(blocks), |job| job.arch.layers()), expected, "block after block");

    let both = plan("[grid]\nlr = [0.1, 0.2]\ninit_seed = [0, 1]\ndata_seed = [0, 1]\n");
    let pairs = [(0, 0), (0, 1), (1, 0), (1, 1)];
    let expected = pairs.map(|(init, data)| [0.1, 0.2].map(|lr| (init, data, lr))).concat();
    assert_eq!(order(&both, |job| job.lr), expected, "either seed makes replicates");

    let one = plan("[base]\ninit_seed = 7\n[grid]\nseed = [1, 2]\n");
    let given = [(7, 1, ()), (7, 2, ())];
    assert_eq!(order(&one, |_| ()), given, "seed is the default of the one that is not given");
}

#[test]
fn adding_seeds_keeps_every_earlier_job() {
    let seeds =
        |count: usize| plan(&format!("[grid]\nlr = [0.1, 0.2]\nseed = {{ count = {count} }}\n"));
    let ids = |plan: &Plan| plan.jobs.iter().map(|planned| planned.id).collect::<HashSet<_>>();
    let finished = ids(&seeds(3));
    assert!(finished.is_subset(&ids(&seeds(5))));
    assert_eq!(seeds(5).remaining(&finished).count(), 4);
}

#[test]
fn the_first_impossible_combination_is_named_every_time() {
    let text = "name = \"a\"\n[base]\nmodel = \"mlp\"\n[grid]\nseed = { count = 5000 }\n\
                init = [\"he\",\n\"he_hanin\",\n\"orthogonal_hanin\"]\n";
    let first = Plan::of(&grid(text)).unwrap_err();
    assert_eq!(first.line, Some(7), "{first}");
    assert!((0..10).all(|_| Plan::of(&grid(text)).unwrap_err() == first));
}

#[test]
fn a_setting_that_no_job_uses_is_a_warning() {
    let warnings = plan("[base]\nmodel = \"wrn\"\ndepth = 5\nmicro_batch = 128\n").warnings;
    assert_eq!(warnings, ["test.toml:4: base.depth: no job uses it: the model is resnet or wrn"]);
}

#[test]
fn plan_csv_has_a_row_for_each_job_and_every_field() {
    let plan = plan("[grid]\ndepth = [2, 5]\n");
    let csv = wninit_core::results::plan_csv(&plan.jobs);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    assert_eq!(reader.headers().unwrap().len(), FIELDS.len() + 2, "job_id and init_rule");
    let ids: Vec<String> = reader.records().map(|row| row.unwrap()[0].to_owned()).collect();
    assert_eq!(ids, plan.jobs.iter().map(|p| p.id.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_hundred_thousand_jobs_have_as_many_ids() {
    let plan = plan("[grid]\nlr = { log = [1e-6, 1], count = 100 }\nseed = { count = 1000 }\n");
    assert_eq!(plan.jobs.iter().map(|p| p.id).collect::<HashSet<_>>().len(), 100_000);
    let varying: Vec<&str> = plan.varying().iter().map(|field| field.name).collect();
    assert_eq!(varying, ["lr", "seed", "init_seed", "data_seed"]);
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
                Ok(grid) => {
                    let stored = grid.to_toml();
                    let again = grid_with(&stored, &Overrides::default());
                    prop_assert!(again.is_ok(), "{:?}\n{}", again.err(), stored);
                    match (Plan::of(&grid), Plan::of(&again.unwrap())) {
                        (Ok(plan), Ok(again)) => prop_assert_eq!(plan.jobs, again.jobs),
                        (Err(error), again) => prop_assert!(again.is_err(), "{} vanished", error),
                        (Ok(_), Err(error)) => prop_assert!(false, "{} after storing", error),
                    }
                }
            }
        }
    }
}
