//! Jobs are put together in cohorts and shared out in shards: every job once, those that train well
//! together in one place, and the same on every machine.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use wninit_core::grid::{Grid, Overrides};
use wninit_core::job::{DatasetName, Draft, Job, JobId, Value};
use wninit_core::plan::cohort::{Cohort, cohorts, costliest_first, spread};
use wninit_core::plan::cost::cpu_width;
use wninit_core::plan::shard::{Shard, cost, partition};
use wninit_core::plan::speed::Speeds;
use wninit_core::plan::start::{start_of, starts};
use wninit_core::plan::{Plan, PlannedJob};

fn plan(grid: &str) -> Vec<PlannedJob> {
    let text = format!("name = \"a\"\n[grid]\n{grid}");
    let grid = Grid::parse(&text, Path::new("test.toml"), &Overrides::default());
    Plan::of(&grid.unwrap_or_else(|error| panic!("{error}"))).unwrap().jobs
}

fn jobs(grid: &str) -> Vec<Job> {
    plan(grid).into_iter().map(|planned| planned.job).collect()
}

fn members(cohorts: &[Cohort]) -> Vec<Job> {
    cohorts.iter().flat_map(|cohort| cohort.jobs().to_vec()).collect()
}

fn sizes(cohorts: &[Cohort]) -> Vec<usize> {
    cohorts.iter().map(|cohort| cohort.jobs().len()).collect()
}

#[test]
fn a_sweep_stopped_between_cohorts_has_finished_whole_seeds_first() {
    let jobs = jobs("depth = [2, 5]\nlr = { log = [0.01, 1], count = 9 }\nseed = [0, 1, 2]\n");
    let cohorts = cohorts(jobs.clone(), |_| 8);
    assert_eq!(members(&cohorts), jobs);
    assert_eq!(sizes(&cohorts), [5, 4].repeat(6));
}

#[test]
fn jobs_that_differ_in_the_seed_alone_train_together_and_shapes_apart() {
    let jobs = jobs("depth = [2, 5]\nbatch_size = [64, 128]\nseed = { count = 6 }\n");
    assert_eq!(sizes(&cohorts(jobs, |_| 4)), [3; 8]);
}

#[test]
fn every_job_is_in_one_cohort_whatever_the_width() {
    let jobs = jobs("depth = [2, 5, 7]\nlr = [0.1, 0.2, 0.3, 0.4]\nseed = [0, 1, 2]\n");
    for width in [0, 1, 2, 3, 5, 100] {
        let cohorts = cohorts(jobs.clone(), |_| width);
        let ids = |jobs: &[Job]| jobs.iter().map(Job::id).collect::<HashSet<JobId>>();
        let members = members(&cohorts);
        assert_eq!((members.len(), ids(&members)), (jobs.len(), ids(&jobs)));
        assert!(sizes(&cohorts).iter().all(|size| *size <= width.max(1)));
    }
}

#[test]
fn no_worker_is_idle_while_another_one_has_a_stack() {
    let jobs = jobs("lr = { log = [0.01, 1], count = 8 }\n");
    for (workers, expected) in [(1, &[8][..]), (2, &[4, 4]), (3, &[2, 2, 4]), (100, &[1; 8])] {
        let spread = spread(cohorts(jobs.clone(), |_| 8), workers);
        assert_eq!((members(&spread), &sizes(&spread)[..]), (jobs.clone(), expected));
    }
    assert_eq!(spread(Vec::new(), 4), []);
}

#[test]
fn several_workers_end_at_about_the_same_time_one_seed_after_the_other() {
    let speeds = Speeds::default();
    let seconds = |cohort: &Cohort| speeds.seconds(&cohort.shape(), cohort.jobs().len());
    let deep = "depth = [1, 2, 3, 5, 10, 200]\nlr = { log = [0.01, 1], count = 8 }\n";
    let mut one = cohorts(jobs(deep), |_| 8);
    let longest = seconds(&one[5]);
    assert!(speeds.sweep_seconds(&one, 2) > longest, "the deepest starts last");
    costliest_first(&mut one, seconds);
    assert_eq!(speeds.sweep_seconds(&one, 2), longest);

    let mut three = cohorts(jobs("depth = [2, 5]\nlr = [1, 2]\nseed = [0, 1, 2]\n"), |_| 8);
    costliest_first(&mut three, seconds);
    let order = |c: &Cohort| (c.jobs()[0].init_seed, c.shape().arch.layers());
    let order: Vec<_> = three.iter().map(order).collect();
    assert_eq!(order, [(0, 5), (0, 2), (1, 5), (1, 2), (2, 5), (2, 2)]);
}

/// The cohorts that the parts train on a CPU.
fn trained(jobs: &[PlannedJob], parts: &[Vec<usize>]) -> Vec<Vec<Cohort>> {
    let part = |part: &Vec<usize>| cohorts(part.iter().map(|&i| jobs[i].job.clone()), cpu_width);
    parts.iter().map(part).collect()
}

/// The largest estimated cost of a part over the smallest one, less 1.
fn imbalance(parts: &[Vec<Cohort>]) -> f64 {
    let load = |part: &Vec<Cohort>| part.iter().map(|c| cost(&c.shape(), c.jobs().len())).sum();
    let mut loads: Vec<f64> = parts.iter().map(load).collect();
    loads.sort_by(f64::total_cmp);
    loads[loads.len() - 1] / loads[0] - 1.0
}

#[test]
fn every_job_is_in_one_shard() {
    let jobs = plan("depth = [2, 5, 40]\nlr = [0.1, 0.2, 0.3]\nseed = { count = 7 }\n");
    for count in [1, 2, 3, 16, 63, 64, 500] {
        let parts = partition(&jobs, count);
        assert_eq!(parts.len(), count as usize);
        assert!(parts.iter().all(|part| part.is_sorted()), "in the plan's order");
        let mut all = parts.concat();
        all.sort_unstable();
        assert_eq!(all, (0..63).collect::<Vec<_>>());
    }
}

#[test]
fn a_hundred_thousand_jobs_load_256_machines_equally_and_still_train_together() {
    // Networks of 1 to 400 layers; 50 jobs of a shape and seed are 7 cohorts in one place.
    let mixed = plan(
        "depth = [1, 2, 3, 5, 8, 13, 20, 30, 50, 80, 120, 180, 250, 300, 350, 360, 370, 380, 390, 400]\n\
         lr = { log = [1e-4, 1], count = 10 }\n\
         init = [\"he\", \"orthogonal\", \"he_proposed\", \"he_datadep\", \"orthogonal_proposed\"]\n\
         seed = { count = 100 }\n",
    );
    let equal = plan("lr = { log = [1e-6, 1], count = 100 }\nseed = { count = 1000 }\n");
    for (jobs, widest) in [(mixed, 5.0), (equal, 1.0)] {
        assert_eq!(jobs.len(), 100_000);
        let parts = partition(&jobs, 256);
        let cohorts = trained(&jobs, &parts);
        assert!(imbalance(&cohorts) < 0.02, "{}", imbalance(&cohorts));
        let width = 100_000.0 / cohorts.iter().map(Vec::len).sum::<usize>() as f64;
        assert!(width >= widest, "{width}");
        let even = parts.iter().all(|part| (380..=400).contains(&part.len()));
        assert!(even || widest > 1.0, "jobs that cost the same are spread to the last one");
    }
}

#[test]
fn jobs_of_a_shape_stay_together_where_the_loads_allow_it() {
    let jobs =
        plan("depth = [5, 10]\nlr = { log = [1e-3, 1], count = 16 }\nseed = { count = 4 }\n");
    for part in trained(&jobs, &partition(&jobs, 4)) {
        let mut shapes: Vec<_> =
            part.iter().map(|c| (c.shape().arch.layers(), c.jobs().len())).collect();
        shapes.sort_unstable();
        assert_eq!(shapes, [(5, 8), (5, 8), (10, 8), (10, 8)]);
    }
}

#[test]
fn machines_agree_on_the_shards_whatever_the_order_of_the_grid() {
    let ids = |grid: &str| -> Vec<HashSet<JobId>> {
        let jobs = plan(grid);
        let ids = |part: Vec<usize>| part.into_iter().map(|i| jobs[i].id).collect();
        partition(&jobs, 5).into_iter().map(ids).collect()
    };
    let one = ids("depth = [2, 5, 40]\nlr = [0.1, 0.2, 0.3]\nseed = [0, 1, 2, 3]\n");
    let other = ids("seed = [3, 1, 0, 2]\nlr = [0.3, 0.1, 0.2]\ndepth = [5, 40, 2]\n");
    assert_eq!(one, other);
    // Those with different versions of the program should agree, too. Who changes this on purpose
    // loses no result: finished jobs are not trained again.
    let jobs = plan("dataset = [\"digits\"]\ndepth = [2, 5]\nseed = [0, 1]\n");
    assert_eq!(partition(&jobs, 2), [[0, 1], [2, 3]]);
}

#[test]
fn a_shard_is_written_as_a_fraction() {
    assert_eq!("3/16".parse(), Ok(Shard { index: 3, count: 16 }));
    assert_eq!(Shard { index: 3, count: 16 }.to_string(), "3/16");
    for wrong in ["", "/", "1/", "/4", "1.5/4", "1/2/3", "1/100001"] {
        let error = wrong.parse::<Shard>().unwrap_err();
        assert!(error.contains("1 ≤ i ≤ n"), "{wrong}: {error}");
    }
}

#[test]
fn jobs_that_differ_in_how_they_are_trained_start_from_the_same_network() {
    let job = |changes: &[(&str, &str)]| {
        let draft = Draft { dataset: Some(DatasetName::Digits), ..Draft::default() };
        let text = |&(name, text): &(_, &str)| (name, Value::Text(text.to_owned()));
        let changes: Vec<_> = changes.iter().map(text).collect();
        draft.resolve().unwrap().with(&changes).unwrap()
    };
    let base = start_of(&job(&[]));
    for change in [
        ("lr", "0.3"),
        ("momentum", "0"),
        ("weight_decay", "1e-4"),
        ("epochs", "7"),
        ("warmup_epochs", "1"),
        ("schedule", "halves"),
        ("precision", "bf16"),
        ("test_images", "100"),
    ] {
        assert_eq!(start_of(&job(&[change])), base, "{change:?}");
    }
    for change in [
        ("init", "he_datadep"),
        ("init_seed", "1"),
        ("data_seed", "1"),
        ("batch_size", "32"),
        ("depth", "3"),
        ("train_images", "100"),
        ("input", "standardised"),
        ("activation", "tanh"),
    ] {
        assert_ne!(start_of(&job(&[change])), base, "{change:?}");
    }
    let jobs = jobs("lr = [0.1, 0.01, 0.001]\nseed = [0, 1]\n");
    let starts = starts(&jobs);
    let of_each: BTreeMap<u64, usize> =
        starts.iter().map(|start| (start.start.init_seed, start.jobs.len())).collect();
    assert_eq!(of_each, [(0, 3), (1, 3)].into(), "one start for all learning rates");
}
