//! A fixed part of a plan for each of several machines.
//!
//! A partition depends only on the set of jobs and the number of parts: not on finished jobs, the
//! machine, measured speeds, or the order of a grid's axes. So machines agree on their parts
//! without communication, and a job array that is queued again finds its checkpoints.

use std::cmp::Reverse;
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
    /// The number of parts.
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

/// The largest group of jobs that stays together. It is wider than a cohort on a CPU, so that it
/// fills a GPU, and it is the same on CPU and GPU, so that machines agree.
const WIDTH: usize = 32;

/// The cost of training jobs of a shape together, in seconds on a fixed reference processor.
pub fn cost(shape: &Shape, jobs: usize) -> f64 {
    cost::seconds(shape, jobs, &Rates::CPU)
}

/// Divides a plan into `count` parts that cost about the same; for each, the positions of its jobs
/// in the plan, in the plan's order.
///
/// Jobs of one shape and seed that train well together stay together, the costliest first, each
/// group for the part with the least work. A group that would lift this part above its share is
/// halved first, down to single jobs: parts differ by the cost of a small job, and few groups are
/// divided.
pub fn partition(jobs: &[PlannedJob], count: u32) -> Vec<Vec<usize>> {
    let count = count.max(1) as usize;
    let mut sorted: Vec<usize> = (0..jobs.len()).collect();
    sorted.sort_unstable_by_key(|&i| (jobs[i].job.init_seed, jobs[i].job.data_seed, jobs[i].id));
    let sorted = sorted.into_iter().map(|i| (i, &jobs[i].job));
    let groups = cohort::groups(sorted, |(_, job)| job, |_| WIDTH);
    // Ties are broken by the first job's id, which does not depend on the order of axes. Costs are
    // not negative, so they sort like their bits.
    let priced = |group: Vec<usize>| {
        let price = cost(&Shape::of(&jobs[group[0]].job), group.len());
        (price.to_bits(), Reverse(jobs[group[0]].id), group)
    };
    let mut waiting: BinaryHeap<_> = groups
        .into_iter()
        .map(|group| priced(group.into_iter().map(|(i, _)| i).collect()))
        .collect();
    // Summed in a fixed order, or the sum's last digit would differ.
    let mut prices: Vec<f64> = waiting.iter().map(|(price, ..)| f64::from_bits(*price)).collect();
    prices.sort_unstable_by(f64::total_cmp);
    let share = prices.iter().sum::<f64>() / count as f64 * (1.0 + 1e-9);

    let mut loads: BinaryHeap<_> = (0..count).map(|part| Reverse((0, part))).collect();
    let mut parts = vec![Vec::new(); count];
    while let Some((price, _, mut group)) = waiting.pop() {
        let Some(mut least) = loads.peek_mut() else { break };
        let Reverse((load, part)) = *least;
        let load = f64::from_bits(load) + f64::from_bits(price);
        if group.len() > 1 && load > share {
            let rest = group.split_off(group.len().div_ceil(2));
            waiting.extend([group, rest].map(priced));
        } else {
            parts[part].append(&mut group);
            *least = Reverse((load.to_bits(), part));
        }
    }
    for part in &mut parts {
        part.sort_unstable();
    }
    parts
}
