//! Every sweep that comes with the program plans, with each of its profiles.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use wninit_core::grid::{Grid, Overrides};
use wninit_core::plan::cohort::Shape;
use wninit_core::plan::cost;
use wninit_core::plan::{Plan, PlannedJob};

/// The grids under a folder, at any depth.
pub(crate) fn grids(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(grids(&path));
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Every sweep that comes with the program, with each of its profiles.
fn shipped() -> Vec<(PathBuf, Grid)> {
    let sweeps = grids(&crate::root().join("sweeps"));
    assert!(sweeps.len() >= 2, "no sweeps found");
    let with_profiles = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let table: toml::Table = text.parse().unwrap();
        let profiles = table.get("profile").and_then(|p| p.as_table()).cloned().unwrap_or_default();
        let profiles: Vec<Option<String>> = profiles.keys().cloned().map(Some).collect();
        profiles.into_iter().chain([None]).map(move |profile| {
            let overrides = Overrides { profile, ..Overrides::default() };
            let grid = Grid::load(&path, &overrides).unwrap_or_else(|error| panic!("{error}"));
            (path.clone(), grid)
        })
    };
    sweeps.into_iter().flat_map(with_profiles).collect()
}

#[test]
fn every_shipped_sweep_plans_without_a_warning() {
    for (path, grid) in shipped() {
        let plan = Plan::of(&grid).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(plan.warnings, Vec::<String>::new(), "{} of {}", grid.name, path.display());
        assert!(grid.about.is_some(), "{} says what it asks", path.display());
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(grid.name.starts_with(stem), "{}: the name is the file's", path.display());
        let again = Grid::parse(&grid.to_toml(), &path, &Overrides::default()).unwrap();
        assert_eq!(Plan::of(&again).unwrap().jobs, plan.jobs, "{}", path.display());
    }
}

#[test]
fn committed_results_answer_the_claims_of_the_grid_that_makes_them_again() {
    let claims = |grid: &Grid| -> Vec<String> {
        let text = grid.to_toml();
        let tables = text.split("\n\n").filter(|table| table.starts_with("[[claim]]"));
        tables.map(|table| table.trim_end().to_owned()).collect()
    };
    let mut checked = 0;
    for (path, grid) in shipped() {
        let run = crate::root().join("results/paper").join(&grid.name).join("grid.toml");
        if run.exists() {
            let was_run = Grid::load(&run, &Overrides::default()).unwrap();
            assert_eq!(claims(&was_run), claims(&grid), "{} and {}", run.display(), path.display());
            checked += claims(&grid).len();
        }
    }
    assert!(checked > 40, "{checked}");
}

#[test]
fn the_suite_of_the_paper_has_more_than_2500_jobs_in_its_seven_experiments() {
    // The jobs of each sweep, and their arithmetic.
    let size = |path: &Path, profile: Option<&str>| -> Option<(usize, f64)> {
        let overrides = Overrides { profile: profile.map(str::to_owned), ..Overrides::default() };
        let plan = Plan::of(&Grid::load(path, &overrides).ok()?).unwrap();
        let flop = |planned: &PlannedJob| cost::job_flop(&Shape::of(&planned.job));
        Some((plan.jobs.len(), plan.jobs.iter().map(flop).sum()))
    };
    let paths = grids(&crate::root().join("sweeps/paper"));
    assert_eq!(paths.len(), 7, "E2 to E8");
    let full: Vec<(usize, f64)> = paths.iter().map(|path| size(path, None).unwrap()).collect();
    assert!(full.iter().map(|(jobs, _)| jobs).sum::<usize>() >= 2500, "{full:?}");
    // Each has a version for two cores, which do some 2e11 operations a second; it is done sooner
    // than the sum says, since deep networks diverge. The MLPs are largest where they are wide.
    for (path, (_, full)) in paths.iter().zip(full) {
        let (_, small) = size(path, Some("small")).unwrap();
        let (_, largest) = size(path, Some("wide")).unwrap_or((0, full));
        assert!(small < 0.02 * largest && small < 2e15, "{path:?}: {small:e} of {largest:e}");
    }
}

#[test]
fn the_first_sweeps_are_small_and_have_six_seeds_on_each_side() {
    // Two cores do some 8e10 operations a second on networks as narrow as these, and the deep half
    // of `depth` with the data-dependent gain ends at once.
    for (name, most) in [("quick", 1.2e12), ("depth", 4.5e13)] {
        let path = crate::root().join(format!("sweeps/{name}.toml"));
        let plan = Plan::of(&Grid::load(&path, &Overrides::default()).unwrap()).unwrap();
        let flop: f64 = plan.jobs.iter().map(|p| cost::job_flop(&Shape::of(&p.job))).sum();
        assert!(flop < most, "{name}: {flop:e}");
        let mut seeds: HashMap<String, usize> = HashMap::new();
        for planned in &plan.jobs {
            let job = &planned.job;
            *seeds.entry(format!("{} {} {}", job.arch.layers(), job.init, job.lr)).or_default() +=
                1;
        }
        assert!(seeds.values().all(|&seeds| seeds >= 6), "{name}: {seeds:?}");
    }
}
