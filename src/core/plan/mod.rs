//! The jobs of a grid, each once, in training order.
//!
//! The order is seed-major: every cell of the grid with its first seed, then every cell with its
//! second, and so on. A sweep that is stopped halfway is a balanced, smaller sweep.

pub mod cohort;
pub mod cost;
pub mod shard;
pub mod speed;
pub mod start;

use std::collections::HashSet;

use rayon::prelude::*;

use crate::grid::{Axis, Expansion, Grid, GridError, Setting, same};
use crate::job::{FIELDS, Field, Job, JobId};

/// A job with its id.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct PlannedJob {
    pub id: JobId,
    pub job: Job,
}

impl From<Job> for PlannedJob {
    fn from(job: Job) -> PlannedJob {
        PlannedJob { id: job.id(), job }
    }
}

/// Every job of a sweep.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The jobs in training order; ids are distinct.
    pub jobs: Vec<PlannedJob>,
    /// The grid's axes, for display.
    pub axes: Vec<Axis>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

/// A combination of an expansion, by number.
#[derive(Clone, Copy)]
struct Origin {
    expansion: u32,
    combination: u32,
}

impl Plan {
    /// Expands a grid.
    ///
    /// # Errors
    /// If a combination is not a valid job, two combinations are the same job, or no job is left.
    pub fn of(grid: &Grid) -> Result<Plan, GridError> {
        let expansions = grid.expansions()?;
        let planned = expand(&expansions)?;
        if planned.is_empty() {
            return Err(grid.place().error("the grid has no jobs: every combination is excluded"));
        }
        refuse_duplicates(&expansions, &planned)?;
        let jobs: Vec<PlannedJob> = planned.into_iter().map(|(job, _)| job).collect();
        let mut warnings = grid.warnings.clone();
        warnings.extend(idle_settings(grid.base(), &jobs));
        Ok(Plan { jobs, axes: grid.axes(), warnings })
    }

    /// The jobs that are not among the finished ones, in order.
    pub fn remaining<'p>(
        &'p self,
        finished: &'p HashSet<JobId>,
    ) -> impl Iterator<Item = &'p PlannedJob> {
        self.jobs.iter().filter(|planned| !finished.contains(&planned.id))
    }

    /// The fields in which its jobs differ, in the order of the CSV columns.
    pub fn varying(&self) -> Vec<&'static Field> {
        varying(self.jobs.iter().map(|planned| &planned.job))
    }
}

/// The fields in which jobs differ, in the order of the CSV columns.
pub fn varying<'j>(jobs: impl IntoIterator<Item = &'j Job>) -> Vec<&'static Field> {
    let jobs: Vec<&Job> = jobs.into_iter().collect();
    let differs = |field: &&Field| {
        let value = jobs.first().and_then(|job| field.get(job));
        jobs.par_iter().any(|job| field.get(job) != value)
    };
    FIELDS.iter().filter(differs).collect()
}

/// The jobs of all expansions, replicate by replicate.
fn expand(expansions: &[Expansion]) -> Result<Vec<(PlannedJob, Origin)>, GridError> {
    let replicates = expansions.iter().map(Expansion::replicates).max().unwrap_or(0);
    // Stretches of combinations in training order, each with its position in the plan.
    let mut stretches: Vec<(usize, u32, u32)> = Vec::new();
    let mut total = 0;
    for replicate in 0..replicates {
        for (number, expansion) in expansions.iter().enumerate() {
            if replicate < expansion.replicates() {
                stretches.push((total, number as u32, (replicate * expansion.cells()) as u32));
                total += expansion.cells();
            }
        }
    }
    let combination = |position: usize| {
        let stretch = stretches.partition_point(|(start, ..)| *start <= position) - 1;
        let (start, expansion, first) = stretches[stretch];
        let combination = first + (position - start) as u32;
        (&expansions[expansion as usize], Origin { expansion, combination })
    };
    let combinations = (0..total).into_par_iter().with_min_len(1024).map(combination);
    let job = |(expansion, origin): (&Expansion, Origin)| match expansion
        .job(origin.combination as usize)
    {
        Ok(None) => None,
        Ok(Some(job)) => Some(Ok((job.into(), origin))),
        Err(_) => Some(Err(())),
    };
    let planned: Result<Vec<_>, ()> = combinations.clone().filter_map(job).collect();
    planned.or_else(|()| {
        // Once more, for the first error in file order: in parallel any error may come first.
        let error = combinations.find_map_first(|(expansion, origin)| {
            let combination = origin.combination as usize;
            expansion.job(combination).err().map(|error| expansion.explain(combination, &error))
        });
        error.map_or_else(|| Ok(Vec::new()), Err)
    })
}

/// An error if two combinations are one job, or two jobs share an id.
fn refuse_duplicates(
    expansions: &[Expansion],
    planned: &[(PlannedJob, Origin)],
) -> Result<(), GridError> {
    let mut order: Vec<u32> = (0..planned.len() as u32).collect();
    order.par_sort_unstable_by_key(|&i| (planned[i as usize].0.id, i));
    // Of several, the one that comes first in the plan.
    let twice = order
        .windows(2)
        .filter(|pair| planned[pair[0] as usize].0.id == planned[pair[1] as usize].0.id);
    let Some(pair) = twice.min_by_key(|pair| pair[1]) else {
        return Ok(());
    };
    let [(first, from), (second, to)] = [&planned[pair[0] as usize], &planned[pair[1] as usize]];
    let settings = |origin: &Origin| {
        expansions[origin.expansion as usize].settings(origin.combination as usize)
    };
    let (before, after) = (settings(from), settings(to));
    let (mut left, mut right) = (differing(&before, &after), differing(&after, &before));
    // An axis, whose values come last, is a better place to report than the base.
    let culprit = right.last().copied().or(after.last());
    let place = &culprit.map_or_else(|| expansions[0].place(), |setting| setting.place.clone());
    if left.is_empty() && right.is_empty() {
        left = axis_settings(&expansions[from.expansion as usize], &before);
        right = axis_settings(&expansions[to.expansion as usize], &after);
    }
    let words = |settings: &[&Setting]| match settings {
        [] => "the rest alone".to_owned(),
        list => list
            .iter()
            .map(|s| format!("{} = {} ({})", s.field.name, s.value, s.place))
            .collect::<Vec<_>>()
            .join(", "),
    };
    if first.job != second.job {
        return Err(place.error(format!(
            "two different jobs have the same id {} (a hash collision): {} and {}; change a value slightly",
            first.id,
            words(&left),
            words(&right)
        )));
    }
    let idle = left
        .iter()
        .chain(&right)
        .find(|s| s.field.get(&second.job).is_none() && !s.field.empty.is_empty());
    let why = match idle {
        Some(setting) => {
            format!(": {} does not apply, since {}", setting.field.name, setting.field.empty)
        }
        None => String::new(),
    };
    Err(place.error(format!(
        "two combinations are the same job {}{why}; {} and {}",
        first.id,
        words(&left),
        words(&right)
    )))
}

/// The settings that differ from the other combination's.
fn differing<'s>(of: &'s [Setting], other: &[Setting]) -> Vec<&'s Setting> {
    of.iter()
        .filter(|s| !other.iter().any(|o| o.field == s.field && same(&o.value, &s.value)))
        .collect()
}

fn axis_settings<'s>(expansion: &Expansion, settings: &'s [Setting]) -> Vec<&'s Setting> {
    let names: Vec<&str> = expansion.axis_names().collect();
    settings.iter().filter(|setting| names.contains(&setting.field.name)).collect()
}

/// A warning for each setting of the base that makes no difference to any job.
fn idle_settings(base: &[Setting], jobs: &[PlannedJob]) -> Vec<String> {
    // A job stores these as `None` if they have their default, but they do apply.
    let forgotten = |field: &Field| field.optional || field.name == "seed";
    let applies =
        |setting: &Setting| jobs.iter().any(|planned| setting.field.get(&planned.job).is_some());
    let idle = base.iter().filter(|s| !forgotten(s.field) && !applies(s));
    idle.map(|s| format!("{}", s.place.error(format!("no job uses it: {}", s.field.empty))))
        .collect()
}
