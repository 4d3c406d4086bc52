//! A fixed part of a plan for each of several machines.
//!
//! A partition depends on the set of jobs and on the number of parts alone: not on what is
//! finished, on the machine, on anything measured, or on the order in which a grid names its
//! axes. So machines that never speak to each other agree on who does what, and a job array that
//! is queued again finds its checkpoints.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::plan::PlannedJob;
use crate::plan::cohort::{self, Shape};
use crate::plan::cost::{self, Rates};

/// A part of a sweep: `i` of `n`, with 1 ≤ i ≤ n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which part, counted from 1.
    pub index: u32,
    /// Of how many.
    pub count: u32,
}

impl Shard {
    /// The largest number of parts.
    pub const MOST: u32 = 100_000;

    /// The folder of this part's results.
    pub(crate) fn folder(self, dir: &Path) -> PathBuf {
        dir.join("shards").join(format!("{}-of-{}", self.index, self.count))
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let shard = text.split_once('/').and_then(|(index, count)| {
            Some(Shard { index: index.parse().ok()?, count: count.parse().ok()? })
        });
        let fits = |s: &Shard| 1 <= s.index && s.index <= s.count && s.count <= Shard::MOST;
        shard
            .filter(fits)
            .ok_or_else(|| format!("expected i/n with 1 ≤ i ≤ n ≤ {}, such as 3/16", Shard::MOST))
    }
}

/// The most jobs that are kept together. Wider than what a CPU trains at once, so that a GPU is
/// filled, too; and it does not depend on which of the two there is.
const WIDTH: usize = 32;

/// What it takes to train jobs of a shape together: seconds on a processor that is the same
/// everywhere.
pub fn cost(shape: &Shape, jobs: usize) -> f64 {
    cost::seconds(shape, jobs, &Rates::CPU)
}

/// A number that can be sorted by.
#[derive(Clone, Copy, PartialEq)]
struct Cost(f64);

impl Eq for Cost {}

impl PartialOrd for Cost {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Cost {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Divides a plan into `count` parts that cost about the same; for each, the positions of its jobs
/// in the plan, in the plan's order.
///
/// Jobs of one shape and seed that train well together stay together, the costliest first, each
/// group for the part that has least to do. A group that would lift this part above its share is
/// halved first, down to single jobs: parts differ by the cost of a small job, and few groups
/// are divided.
pub fn partition(jobs: &[PlannedJob], count: u32) -> Vec<Vec<usize>> {
    let count = count.max(1) as usize;
    let mut sorted: Vec<usize> = (0..jobs.len()).collect();
    sorted.sort_unstable_by_key(|&i| (jobs[i].job.init_seed, jobs[i].job.data_seed, jobs[i].id));
    let sorted = sorted.into_iter().map(|i| (i, &jobs[i].job));
    let groups = cohort::groups(sorted, |(_, job)| job, |_| WIDTH);
    // Equal costs are told apart by the first job's id, which no grid decides.
    let priced = |group: Vec<usize>| {
        let price = Cost(cost(&Shape::of(&jobs[group[0]].job), group.len()));
        (price, Reverse(jobs[group[0]].id), group)
    };
    let mut waiting: BinaryHeap<_> = groups
        .into_iter()
        .map(|group| priced(group.into_iter().map(|(i, _)| i).collect()))
        .collect();
    // From the same order each time, or the sum's last digit would differ.
    let mut prices: Vec<f64> = waiting.iter().map(|(price, ..)| price.0).collect();
    prices.sort_unstable_by(f64::total_cmp);
    let share = prices.iter().sum::<f64>() / count as f64 * (1.0 + 1e-9);

    let mut loads: BinaryHeap<_> = (0..count).map(|part| Reverse((Cost(0.0), part))).collect();
    let mut parts = vec![Vec::new(); count];
    while let Some((price, _, mut group)) = waiting.pop() {
        let Some(mut least) = loads.peek_mut() else { break };
        let Reverse((Cost(load), part)) = *least;
        if group.len() > 1 && load + price.0 > share {
            let rest = group.split_off(group.len().div_ceil(2));
            waiting.extend([group, rest].map(priced));
        } else {
            parts[part].append(&mut group);
            *least = Reverse((Cost(load + price.0), part));
        }
    }
    for part in &mut parts {
        part.sort_unstable();
    }
    parts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::grid::{Grid, Overrides};
    use crate::job::{Job, JobId};
    use crate::plan::Plan;
    use crate::plan::cohort::Cohort;

    fn plan(text: &str) -> Vec<PlannedJob> {
        let text = format!("name = \"a\"\n{text}");
        let grid = Grid::parse(&text, Path::new("test.toml"), &Overrides::default());
        Plan::of(&grid.unwrap_or_else(|error| panic!("{error}"))).unwrap().jobs
    }

    /// The cohorts that the parts train on a CPU.
    fn cohorts(jobs: &[PlannedJob], parts: &[Vec<usize>]) -> Vec<Vec<Cohort>> {
        let jobs =
            |part: &Vec<usize>| -> Vec<Job> { part.iter().map(|&i| jobs[i].job.clone()).collect() };
        parts.iter().map(|part| cohort::cohorts(jobs(part), cost::cpu_width)).collect()
    }

    /// The largest estimated cost of a part over the smallest one, less 1.
    fn spread(cohorts: &[Vec<Cohort>]) -> f64 {
        let load = |part: &Vec<Cohort>| -> f64 {
            part.iter().map(|c| cost(&c.shape(), c.jobs().len())).sum()
        };
        let loads: Vec<f64> = cohorts.iter().map(load).collect();
        loads.iter().copied().fold(0.0, f64::max)
            / loads.iter().copied().fold(f64::INFINITY, f64::min)
            - 1.0
    }

    /// 100,000 jobs: networks of 1 to 400 layers.
    const MIXED: &str = "[grid]\ndepth = [1, 2, 3, 5, 8, 13, 20, 30, 50, 80, 120, 180, 250, 300, 350, 360, 370, 380, 390, 400]\n\
        lr = { log = [1e-4, 1], count = 10 }\ninit = [\"he\", \"orthogonal\", \"he_proposed\", \"he_datadep\", \"orthogonal_proposed\"]\n\
        seed = { count = 100 }\n";

    #[test]
    fn every_job_is_in_one_part() {
        let jobs = plan("[grid]\ndepth = [2, 5, 40]\nlr = [0.1, 0.2, 0.3]\nseed = { count = 7 }\n");
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
    fn a_hundred_thousand_mixed_jobs_load_256_machines_equally_and_still_train_together() {
        let jobs = plan(MIXED);
        assert_eq!(jobs.len(), 100_000);
        let cohorts = cohorts(&jobs, &partition(&jobs, 256));
        let spread = spread(&cohorts);
        assert!(spread < 0.02, "{spread}");
        let number = cohorts.iter().map(Vec::len).sum::<usize>();
        // 50 jobs of a shape and seed are 7 cohorts where all are trained in one place.
        let width = 100_000.0 / number as f64;
        assert!(width > 5.0, "{width}");
    }

    #[test]
    fn jobs_that_cost_the_same_are_spread_to_the_last_one() {
        let jobs = plan("[grid]\nlr = { log = [1e-6, 1], count = 100 }\nseed = { count = 1000 }\n");
        let parts = partition(&jobs, 256);
        let spread = spread(&cohorts(&jobs, &parts));
        assert!(spread < 0.02, "{spread}");
        assert!(parts.iter().all(|part| (380..=400).contains(&part.len())));
    }

    #[test]
    fn jobs_of_a_shape_stay_together_where_the_loads_allow_it() {
        let jobs = plan(
            "[grid]\ndepth = [5, 10]\nlr = { log = [1e-3, 1], count = 16 }\nseed = { count = 4 }\n",
        );
        for part in cohorts(&jobs, &partition(&jobs, 4)) {
            let shapes: Vec<_> =
                part.iter().map(|c| (c.shape().arch.layers(), c.jobs().len())).collect();
            let mut sorted = shapes.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [(5, 8), (5, 8), (10, 8), (10, 8)]);
        }
    }

    #[test]
    fn the_order_of_a_grids_axes_and_values_changes_nothing() {
        let ids = |text: &str| -> Vec<Vec<JobId>> {
            let jobs = plan(text);
            let ids = |part: Vec<usize>| {
                let mut ids: Vec<JobId> = part.into_iter().map(|i| jobs[i].id).collect();
                ids.sort_unstable();
                ids
            };
            partition(&jobs, 5).into_iter().map(ids).collect()
        };
        let one = ids("[grid]\ndepth = [2, 5, 40]\nlr = [0.1, 0.2, 0.3]\nseed = [0, 1, 2, 3]\n");
        let other = ids("[grid]\nseed = [3, 1, 0, 2]\nlr = [0.3, 0.1, 0.2]\ndepth = [5, 40, 2]\n");
        assert_eq!(one, other);
    }

    #[test]
    fn a_partition_is_the_same_for_ever() {
        // Machines with different versions of the program should agree, too. Who changes this on
        // purpose loses no result: finished jobs are not trained again.
        let jobs = plan("[base]\ndataset = \"digits\"\n[grid]\ndepth = [2, 5]\nseed = [0, 1]\n");
        let parts = partition(&jobs, 2);
        assert_eq!(parts, [[0, 1], [2, 3]]);
    }

    #[test]
    fn a_part_is_written_as_a_fraction() {
        assert_eq!("3/16".parse(), Ok(Shard { index: 3, count: 16 }));
        assert_eq!(Shard { index: 3, count: 16 }.to_string(), "3/16");
        for wrong in
            ["0/4", "5/4", "x", "", "/", "1/", "/4", "1/0", "-1/4", "1.5/4", "1/2/3", "1/100001"]
        {
            let error = wrong.parse::<Shard>().unwrap_err();
            assert!(error.contains("1 ≤ i ≤ n"), "{wrong}: {error}");
        }
    }
}
