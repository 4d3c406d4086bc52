//! `wninit confirm` chooses on validation in one sweep and plans another one that judges.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::{folder, planned, record};
use proptest::prelude::*;
use wninit_core::grid::{Grid, Overrides};
use wninit_core::job::{Job, JobId, Value};
use wninit_core::plan::Plan;
use wninit_core::results::{Outcome, Record};
use wninit_core::run::sweep;

/// Two gains at two depths; what each learning rate does is for [`accuracy`] to say.
const GRID: &str = r#"
name = "deep"
about = "Which gain trains?"

[base]
dataset = "digits"
width = 16
epochs = 2

[grid]
depth = [2, 50]
init = ["orthogonal_datadep", "orthogonal_proposed"]
lr = { log = [1e-3, 1e-1], count = 3 }
seed = { count = 3 }

[[claim]]
text = "The proposed gain trains more seeds of 50 layers."
metric = "success"
where = { depth = 50 }
compare = { axis = "init", better = "orthogonal_proposed", than = "orthogonal_datadep" }

[[claim]]
text = "The proposed gain is no worse."
metric = "test_acc"
where = { depth = 2 }
compare = { axis = "init", better = "orthogonal_proposed", than = "orthogonal_datadep", margin = -0.1 }

[[published]]
where = { depth = 50, init = "orthogonal_proposed" }
metric = "test_acc"
value = 0.97
"#;

/// The accuracy at a learning rate; `None` where it diverges: everywhere for the data-dependent gain with
/// 50 layers.
fn accuracy(job: &Job) -> Option<f64> {
    let datadep = job.init.name() == "orthogonal_datadep";
    let best = if datadep { 0.1 } else { 0.01 };
    let distance = (job.lr / best).log10().abs();
    // Another order in each of the cells that are compared.
    let factor = 1 + 2 * u64::from(datadep) + u64::from(!datadep && job.lr > 0.05);
    let noise = 0.001 * (job.init_seed * factor % 5) as f64;
    (!datadep || job.arch.layers() == 2).then_some(0.8 - 0.1 * distance + noise)
}

/// A finished job.
fn result(job: &Job, accuracy: Option<f64>) -> Record {
    let whole = record(job);
    let done = if accuracy.is_some() { job.epochs } else { 1 };
    Record {
        outcome: if accuracy.is_some() { Outcome::Ok } else { Outcome::Diverged },
        reason: accuracy.is_none().then(|| "loss".to_owned()),
        epochs_done: done,
        diverged_epoch: accuracy.is_none().then_some(2),
        diverged_step: accuracy.is_none().then_some(7),
        train_loss: accuracy,
        train_acc: accuracy,
        val_loss: accuracy,
        val_acc: accuracy,
        best_val_acc: Some(accuracy.unwrap_or(0.5)),
        best_epoch: Some(1),
        test_loss: accuracy,
        test_acc: accuracy,
        epochs: vec![whole.epochs[0].clone(); done as usize],
        ..whole
    }
}

fn load(path: &Path) -> Grid {
    Grid::load(path, &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn jobs(grid: &Grid) -> Vec<Job> {
    Plan::of(grid).unwrap().jobs.into_iter().map(|planned| planned.job).collect()
}

/// A folder in which `results/NAME` has this sweep, with the jobs that `outcome` finishes.
struct Explored {
    root: tempfile::TempDir,
}

impl Explored {
    fn new(text: &str, outcome: impl Fn(&Job) -> Option<Option<f64>>) -> Explored {
        let explored = Explored { root: folder() };
        explored.finish(text, outcome);
        explored
    }

    fn whole() -> Explored {
        Explored::new(GRID, |job| Some(accuracy(job)))
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// Finishes jobs of a grid, in the folder of its name.
    fn finish(&self, text: &str, outcome: impl Fn(&Job) -> Option<Option<f64>>) {
        let grid = Grid::parse(text, Path::new("a.toml"), &Overrides::default())
            .unwrap_or_else(|error| panic!("{error}"));
        let jobs = jobs(&grid);
        let dir = self.path("results").join(&grid.name);
        let mut sweep =
            sweep::open(&dir, None, &grid.to_toml(), &planned(&jobs), &planned(&jobs)).unwrap();
        let records: Vec<Record> =
            jobs.iter().filter_map(|job| Some(result(job, outcome(job)?))).collect();
        sweep.journal.append(&records).unwrap();
    }

    fn wninit(&self, args: &[&str]) -> Output {
        Command::new(crate::WNINIT).args(args).current_dir(self.root.path()).output().unwrap()
    }

    /// `wninit confirm results/deep` with these options; standard output and standard error.
    fn confirm(&self, options: &[&str]) -> (String, String) {
        let output = self.wninit(&[&["confirm", "results/deep"], options].concat());
        let texts = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        assert_eq!(output.status.code(), Some(0), "{texts:?}");
        texts.into()
    }

    /// Why it refuses.
    fn refused(&self, args: &[&str]) -> String {
        let output = self.wninit(&[&["confirm"], args].concat());
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        error
    }

    fn confirmation(&self) -> Grid {
        load(&self.path("results/deep-confirm/grid.toml"))
    }
}

/// The cell of a job.
fn setting(job: &Job) -> JobId {
    job.with(&[("seed", Value::Integer(0))]).unwrap().id()
}

#[test]
fn each_setting_is_planned_at_its_chosen_learning_rate_with_fresh_seeds() {
    let explored = Explored::whole();
    let (choices, warnings) = explored.confirm(&["--plan-only"]);
    let row = |row: &[&str]| {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert!(choices.lines().any(|line| words(line) == row), "{row:?} is not in\n{choices}");
    };
    row(&"2 orthogonal_datadep 0.1 0.801 3 0.01 (0.701) the largest explored"
        .split(' ')
        .collect::<Vec<_>>());
    row(&"orthogonal_proposed 0.01 0.801 3 0.1 (0.702)".split(' ').collect::<Vec<_>>());
    for warning in [
        "warning: 0.1 is the largest learning rate explored for orthogonal_datadep at depth 2: add 1 to the grid\n",
        "warning: every learning rate explored fails, and 0.001, the smallest, is kept for orthogonal_datadep at \
         depth 50: add 0.0001 to the grid\n",
        "train it with: wninit run results/deep-confirm/grid.toml --summary\n",
    ] {
        assert!(warnings.contains(warning), "{warning:?} is not in\n{warnings}");
    }
    assert!(!warnings.contains("exploratory"), "{warnings}");

    let grid = explored.confirmation();
    assert_eq!(
        (grid.name.as_str(), grid.about.as_deref()),
        ("deep-confirm", Some("Which gain trains?"))
    );
    assert_eq!((grid.claims.len(), grid.published.len()), (2, 1));
    let jobs = jobs(&grid);
    assert_eq!(jobs.len(), 2 * 2 * 20);
    let seeds: BTreeSet<u64> = jobs.iter().map(|job| job.data_seed).collect();
    assert_eq!(seeds, (3..23).collect());
    for job in &jobs {
        let lr = match (job.init.name(), job.arch.layers()) {
            ("orthogonal_datadep", 2) => 0.1,
            ("orthogonal_datadep", _) => 0.001,
            _ => 0.01,
        };
        assert_eq!((job.lr, job.epochs, job.init_seed), (lr, 2, job.data_seed));
    }
    let status = explored.wninit(&["status", "results/deep-confirm"]);
    assert!(String::from_utf8(status.stdout).unwrap().contains("80 jobs planned"));
}

#[test]
fn where_the_choices_come_from_is_kept_whenever_the_grid_is_written_again() {
    let explored = Explored::whole();
    explored.confirm(&["--plan-only", "--seeds", "6"]);
    let path = explored.path("results/deep-confirm/grid.toml");
    let text = fs::read_to_string(&path).unwrap();
    // This is what `wninit run` writes.
    assert_eq!(load(&path).to_toml(), text);
    let line = "{ where = { depth = 2, init = \"orthogonal_proposed\" }, lr = 0.01, val_acc = 0.801, seeds = 3, \
                runner_up = 0.1, runner_up_val_acc = 0.702 },";
    let folder = "folder = \"results/deep\"\ncommits = \"abc\"\nruns = 36\n";
    assert!(text.contains(line) && text.contains(folder), "{text}");
    let child = "extends = \"grid.toml\"\nname = \"child\"";
    let child = Grid::parse(child, &path, &Overrides::default());
    assert!(child.is_err(), "it extends itself");
    fs::write(
        explored.path("child.toml"),
        "extends = \"results/deep-confirm/grid.toml\"\nname = \"child\"",
    )
    .unwrap();
    assert_eq!(load(&explored.path("child.toml")).explored.unwrap().chosen.len(), 4);
}

#[test]
fn a_dry_run_prints_the_plan_and_writes_nothing() {
    let explored = Explored::whole();
    let files = || {
        let mut all: Vec<PathBuf> = Vec::new();
        let mut folders = vec![explored.root.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path.clone())
                }
                all.push(path);
            }
        }
        all.sort();
        all
    };
    let before = files();
    let (plan, warnings) = explored.confirm(&["--dry-run", "--seeds", "4"]);
    assert!(plan.contains("Learning rates chosen on validation\n"), "{plan}");
    assert!(plan.contains("16 jobs: 0 finished, 16 remaining"), "{plan}");
    assert!(plan.contains("cost of the rest: "), "{plan}");
    assert!(warnings.contains("4 seeds are exploratory: give at least 6"), "{warnings}");
    assert_eq!(files(), before);
}

#[test]
fn the_sweep_can_be_named_by_its_grid() {
    let explored = Explored::whole();
    fs::write(explored.path("deep.toml"), GRID).unwrap();
    for grid in ["deep.toml", "results/deep/grid.toml"] {
        let output = explored.wninit(&["confirm", grid, "--dry-run"]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("deep-confirm\n"), "{text}");
    }
}

#[test]
fn what_cannot_be_confirmed_is_refused() {
    let explored = Explored::whole();
    let says = |args: &[&str], text: &str| {
        let error = explored.refused(args);
        assert!(error.contains(text), "{text:?} is not in {error}");
    };
    says(&["nowhere"], "there is no nowhere: expected a grid file, such as");
    says(&["results"], "is not a sweep's folder");
    says(&["results/deep", "--seeds", "1"], "1 is not in 2..");
    says(&["results/deep", "--name", "deep"], "is the folder of the sweep that explored");
    says(&["results/deep", "--name", "../deep"], "cannot name a results folder");
    fs::create_dir_all(explored.path("results/paper")).unwrap();
    says(
        &["results/deep", "--results", "results/paper"],
        "is not written to: give another --results",
    );

    // Nothing of one setting is finished.
    let unfinished = Explored::new(GRID, |job| (job.arch.layers() == 2).then(|| accuracy(job)));
    let error = unfinished.refused(&["results/deep"]);
    assert!(
        error.contains("no learning rate can be chosen for 2 settings: orthogonal_datadep at depth 50: no run is finished")
            && error.contains("finish the exploration: wninit run results/deep/grid.toml"),
        "{error}"
    );
    fs::remove_file(explored.path("results/deep/grid.toml")).unwrap();
    says(&["results/deep"], "has no grid to confirm");
}

#[test]
fn a_learning_rate_with_fewer_finished_seeds_is_refused_aloud() {
    let lucky = |job: &Job| match (job.lr > 0.05, job.init_seed) {
        (true, 0) => Some(Some(0.99)),
        (true, _) => None,
        _ => Some(accuracy(job)),
    };
    let explored = Explored::new(GRID, lucky);
    let error = explored.refused(&["results/deep"]);
    assert!(error.contains(
        "orthogonal_datadep at depth 50: every learning rate that all its 3 seeds finished fails"
    ));
    let explored = Explored::new(
        &GRID
            .replace("[2, 50]", "[2]")
            .replace("where = { depth = 50 }\n", "")
            .replace("depth = 50, ", ""),
        lucky,
    );
    let (_, warnings) = explored.confirm(&["--plan-only"]);
    assert!(
        warnings.contains("fewer finished seeds than others are refused: 0.1 with 1 finished seed for orthogonal_datadep;"),
        "{warnings}"
    );
    assert!(jobs(&explored.confirmation()).iter().all(|job| job.lr == 0.01));
}

/// Finishes a confirmation.
fn judge(explored: &Explored) {
    let text = fs::read_to_string(explored.path("results/deep-confirm/grid.toml")).unwrap();
    explored.finish(&text, |job| Some(accuracy(job)));
}

#[test]
fn the_same_choices_go_on_and_other_ones_are_refused_where_there_are_rows() {
    let explored = Explored::whole();
    let path = explored.path("results/deep-confirm/grid.toml");
    explored.confirm(&["--plan-only", "--seeds", "6"]);
    // Without rows it is written anew.
    explored.confirm(&["--plan-only", "--seeds", "7"]);
    assert_eq!(jobs(&explored.confirmation()).len(), 28);
    judge(&explored);
    let text = fs::read_to_string(&path).unwrap();
    let (plan, _) = explored.confirm(&["--dry-run", "--seeds", "7"]);
    assert!(plan.contains("28 jobs: 28 finished"), "{plan}");
    explored.confirm(&["--plan-only", "--seeds", "7"]);
    let seven = explored.refused(&["results/deep", "--seeds", "8"]);
    assert!(
        seven.contains("28 finished runs of a sweep with other seeds: give another --name"),
        "{seven}"
    );

    // A further learning rate is explored, and better.
    let wider = GRID.replace("1e-3, 1e-1], count = 3", "1e-3, 1], count = 4");
    explored.finish(&wider, |job| (job.lr == 1.0).then_some(Some(0.9)));
    let other = explored.refused(&["results/deep", "--seeds", "7", "--plan-only"]);
    assert!(
        other.contains("other choices (0.1 instead of 1 for depth = 2, init = orthogonal_datadep)"),
        "{other}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    explored.confirm(&["--seeds", "7", "--plan-only", "--name", "again"]);
    assert_eq!(load(&explored.path("results/again/grid.toml")).name, "again");
}

/// A column of the claims of a sweep.
fn claims(explored: &Explored, column: &str) -> Vec<String> {
    let csv = explored
        .wninit(&["summary", "results/deep-confirm", "--table", "claims", "--format", "csv"])
        .stdout;
    let mut reader = csv::Reader::from_reader(&csv[..]);
    let at = reader.headers().unwrap().iter().position(|name| name == column).unwrap();
    reader.records().map(|row| row.unwrap()[at].to_owned()).collect()
}

#[test]
fn arms_with_different_learning_rates_are_compared_and_nothing_is_chosen_in_the_seeds_that_judge() {
    let explored = Explored::whole();
    explored.confirm(&["--plan-only"]);
    judge(&explored);
    assert_eq!(claims(&explored, "verdict"), ["supported", "supported"]);
    assert_eq!(claims(&explored, "choices"), ["1", "1"]);
    assert_eq!(claims(&explored, "n"), ["20", "20"]);
    assert_eq!(claims(&explored, "n_success"), ["20", "20"]);
    assert_eq!(claims(&explored, "n_runs_other"), ["20", "20"]);
    let summary = explored.wninit(&["summary", "results/deep-confirm"]).stdout;
    let summary =
        String::from_utf8(summary).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        summary.contains("Learning rates were chosen in results/deep on validation (3 seeds each); judged here by 20 fresh seeds."),
        "{summary}"
    );
    let remark =
        "At depth 50 init orthogonal_datadep: every learning rate fails, the smallest is kept.";
    assert!(summary.contains(remark), "{summary}");
    assert!(!summary.contains("Hyperparameters were chosen in these seeds"), "{summary}");
}

#[test]
fn a_claim_keeps_the_learning_rates_that_it_names_and_leaves_them_to_itself() {
    let named = "\n[[claim]]\ntext = \"At 0.001.\"\nmetric = \"success\"\nwhere = { depth = 2, lr = 0.001 }\n\
                 compare = { axis = \"init\", better = \"orthogonal_proposed\", than = \"orthogonal_datadep\", margin = -0.9 }\n\
                 [[claim]]\ntext = \"0.1 is worse.\"\nmetric = \"test_acc\"\nwhere = { depth = 50, init = \"orthogonal_proposed\" }\n\
                 compare = { axis = \"lr\", better = 0.01, than = 0.1, margin = 0.05 }\n";
    let explored = Explored::new(&format!("{GRID}{named}"), |job| Some(accuracy(job)));
    explored.confirm(&["--plan-only"]);
    // The four chosen ones, 0.001 with two layers, and 0.1 for one gain with 50.
    assert_eq!(jobs(&explored.confirmation()).len(), (4 + 2 + 1) * 20);
    judge(&explored);
    assert_eq!(claims(&explored, "verdict"), ["supported"; 4]);
    assert_eq!(claims(&explored, "choices"), ["1"; 4]);
    assert_eq!(claims(&explored, "n_runs"), ["20"; 4]);
}

/// Any small sweep: axes, a zip, blocks of their own, and one of several ways to give seeds.
fn any_grid() -> impl Strategy<Value = String> {
    let rates = prop::collection::btree_set(1..6_i32, 1..4);
    let depths = prop::collection::btree_set(1..9_u32, 1..4);
    let seeds = prop_oneof![
        Just("seed = { count = 2 }"),
        Just("seed = [9223372036854775806, 3]"),
        Just("init_seed = [4, 5]"),
        Just("data_seed = [4, 7]\ninit_seed = [1, 2]"),
    ];
    let more = prop_oneof![
        Just(""),
        Just("[[zip]]\nbatch_size = [32, 64]\nmomentum = [0.5, 0.9]\n"),
        Just("[[exclude]]\ninit = \"he\"\nlr = 0.001\n"),
        Just(
            "[[block]]\nbase = { model = \"wrn\", blocks = 1 }\ngrid = { norm = [\"weight\", \"batch\"], init = [\"he\"], lr = [0.5, 0.25] }\n"
        ),
    ];
    (rates, depths, seeds, more).prop_map(|(rates, depths, seeds, more)| {
        let depths: Vec<u32> = depths.into_iter().collect();
        let rates: Vec<String> = rates.iter().map(|rate| format!("1e-{rate}")).collect();
        let more = if rates.iter().any(|rate| rate == "1e-3") { more } else { more.trim_start_matches("[[exclude]]\ninit = \"he\"\nlr = 0.001\n") };
        format!(
            "name = \"deep\"\n[base]\ndataset = \"synthetic\"\nepochs = 2\n[grid]\ndepth = {depths:?}\ninit = [\"he\", \"orthogonal\"]\nlr = [{}]\n{seeds}\n{more}",
            rates.join(", ")
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_setting_gets_every_fresh_seed_once(grid in any_grid(), luck in any::<u64>(), n in 2..9_u32) {
        // An accuracy for each cell, some of them failures.
        let outcome = |job: &Job| {
            let id: String = setting(job).to_string();
            let x = (u64::from_str_radix(&id, 16).unwrap() ^ luck) % 1000;
            Some((x > 200).then_some(x as f64 / 1000.0))
        };
        let explored = Explored::new(&grid, outcome);
        explored.confirm(&["--plan-only", "--seeds", &n.to_string()]);
        let before = jobs(&load(&explored.path("results/deep/grid.toml")));
        let after = jobs(&explored.confirmation());

        let without_rate = |job: &Job| setting(&job.with(&[("lr", Value::Float(0.125))]).unwrap());
        let settings: HashSet<JobId> = before.iter().map(without_rate).collect();
        let mut count: HashMap<JobId, u32> = HashMap::new();
        after.iter().for_each(|job| *count.entry(without_rate(job)).or_default() += 1);
        prop_assert_eq!(count.keys().copied().collect::<HashSet<_>>(), settings);
        prop_assert!(count.values().all(|seeds| *seeds == n), "{:?}", count);
        let cells: HashSet<JobId> = before.iter().map(setting).collect();
        prop_assert!(after.iter().all(|job| cells.contains(&setting(job))), "a new cell");
        prop_assert_eq!(after.iter().map(setting).collect::<HashSet<_>>().len(), count.len(), "a rate each");
        let pairs = |jobs: &[Job]| jobs.iter().map(|job| (job.init_seed, job.data_seed)).collect::<BTreeSet<_>>();
        prop_assert!(pairs(&before).is_disjoint(&pairs(&after)));
        let init = |jobs: &[Job]| jobs.iter().map(|job| job.init_seed).collect::<BTreeSet<_>>();
        prop_assert!(init(&before).is_disjoint(&init(&after)));
    }
}
