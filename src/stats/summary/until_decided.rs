//! Chooses the jobs of a sweep whose seeds are added until its claims are decided.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Input;
use super::Seed;
use super::cells::{self, Cells};
use super::claims::{ClaimResult, settle};
use super::notes::Note;
use crate::verdict::{ALPHA, PATIENCE, Verdict};
use wninit_core::fmt::plural;
use wninit_core::grid::{Claim, Explored, Grid, GridError, Metric, UntilDecided};
use wninit_core::job::{Job, JobId};
use wninit_core::plan::{Plan, PlannedJob};
use wninit_core::results::Record;
use wninit_core::run::until_decided::{Look, Looks};

/// The looks at a sweep and the jobs that they add.
///
/// All cells start with the seeds of the grid. After each look, the cells that an open claim needs
/// ([`Answer::open`](crate::verdict::Answer::open)) get another batch, those with the fewest seeds
/// first, so that compared arms keep the same seeds. Seeds are used in their order. The tests are
/// anytime-valid, so neither the number of looks nor the results that led to them change their
/// error.
pub struct SequentialPlan {
    rule: UntilDecided,
    /// The claims that training can decide.
    claims: Vec<Claim>,
    /// The sweep that chose its learning rates, if one did.
    explored: Option<Explored>,
    /// Every job that may be added, in the plan's order.
    jobs: Vec<(JobId, Job)>,
    /// The cell of each job, and the number of its seed in the cell.
    places: Vec<(usize, usize)>,
    /// Number of seeds planned so far, by cell.
    seeds: Vec<usize>,
    /// Number of looks that added jobs.
    looks: usize,
    /// The message of the last look about each claim.
    said: Vec<String>,
}

impl SequentialPlan {
    /// The plan of a grid with a rule, before the first look; `None` for one without.
    ///
    /// # Errors
    /// The grid does not expand, none of its claims can be decided by training, or one of them
    /// leaves hyperparameters of an arm open, such as several learning rates.
    pub fn of(grid: &Grid) -> Result<Option<SequentialPlan>, GridError> {
        let Some(rule) = grid.until_decided else { return Ok(None) };
        let begun: HashSet<JobId> = Plan::of(grid)?.jobs.into_iter().map(|job| job.id).collect();
        let jobs = Plan::of(&grid.with_all_seeds()?)?.jobs;
        let jobs: Vec<(JobId, Job)> = jobs.into_iter().map(|job| (job.id, job.job)).collect();
        let claims = grid.claims.iter().filter(|claim| claim.metric != Metric::LogSpectralNorm);
        let claims: Vec<Claim> = claims.cloned().collect();

        // The axes are those of the first seeds, so cells keep their numbers as seeds are added.
        let explored = grid.explored.as_ref();
        let sweep = Cells::new(&Input { planned: &jobs, explored, ..Input::default() });
        let results: Vec<_> = claims.iter().map(|c| settle(&sweep, c, Some(rule))).collect();
        refuse_choices(grid, &sweep, &results)?;
        if results.iter().all(|result| result.cells.is_empty()) {
            return Err(grid.cannot_add_seeds("no claim of the grid can be decided by training"));
        }
        let (_, at) = cells::axes(&jobs.iter().map(|(id, job)| (*id, job)).collect::<Vec<_>>());
        let cell = |at: Vec<usize>| sweep.cells.binary_search_by(|cell| cell.at.cmp(&at));
        let cell_of: Vec<usize> = at.into_iter().filter_map(|at| cell(at).ok()).collect();
        let number: Vec<BTreeMap<Seed, usize>> = sweep
            .cells
            .iter()
            .map(|cell| cell.planned.iter().copied().zip(0..).collect())
            .collect();
        let mut seeds = vec![0; sweep.cells.len()];
        let mut places = Vec::with_capacity(jobs.len());
        for ((id, job), cell) in jobs.iter().zip(cell_of) {
            places.push((cell, number[cell][&(job.init_seed, job.data_seed)]));
            seeds[cell] += usize::from(begun.contains(id));
        }
        drop(results);
        let said = vec!["open".to_owned(); claims.len()];
        let explored = explored.cloned();
        Ok(Some(SequentialPlan { rule, claims, explored, jobs, places, seeds, looks: 0, said }))
    }

    /// The maximum number of jobs.
    pub fn most(&self) -> usize {
        self.jobs.len()
    }

    /// The jobs planned so far, with their ids.
    fn planned(&self) -> Vec<(JobId, Job)> {
        let asked = |(_, (cell, number)): &(_, &(usize, usize))| *number < self.seeds[*cell];
        self.jobs.iter().zip(&self.places).filter(asked).map(|(job, _)| job.clone()).collect()
    }

    /// The message of a look: the state of each claim, and which are open.
    fn message(&mut self, results: &[ClaimResult]) -> String {
        let seeds = self.seeds.iter().max().copied().unwrap_or(0);
        let open: Vec<&str> =
            results.iter().filter(|r| r.is_open()).map(|r| r.text.as_str()).collect();
        let mut text = format!(
            "look {}, {}: {} of {} open",
            self.looks + 1,
            plural(seeds, "seed"),
            open.len(),
            plural(results.len(), "claim"),
        );
        if !open.is_empty() {
            text += &format!(": {}", open.join(" | "));
        }
        for (result, said) in results.iter().zip(&mut self.said) {
            let now = match (result.verdict(), result.is_open()) {
                (_, true) => "open".to_owned(),
                (Verdict::Undecided, false) if result.answer.open.is_empty() => {
                    "undecided, as settings disagree".to_owned()
                }
                (Verdict::Undecided, false) => {
                    format!("undecided at the maximum number of seeds, {}", self.rule.max_seeds)
                }
                (verdict, false) => verdict.to_string(),
            };
            if now != *said {
                text += &format!("\n  {now} (n = {}): {}", result.n(), result.text);
                *said = now;
            }
        }
        text
    }
}

impl Looks for SequentialPlan {
    fn jobs(&self) -> Vec<PlannedJob> {
        self.planned().into_iter().map(|(id, job)| PlannedJob { id, job }).collect()
    }

    fn look(&mut self, records: &[Record]) -> Option<Look> {
        let planned = self.planned();
        let finished: HashSet<JobId> = records.iter().map(|record| record.job.id()).collect();
        if !planned.iter().all(|(id, _)| finished.contains(id)) {
            return None;
        }
        let explored = self.explored.as_ref();
        let sweep = Cells::new(&Input { planned: &planned, records, explored, ..Input::default() });
        let settled = |claim: &Claim| settle(&sweep, claim, Some(self.rule));
        let results: Vec<ClaimResult> = self.claims.iter().map(settled).collect();
        let message = self.message(&results);
        let before = self.seeds.clone();
        for result in results.iter().filter(|result| result.is_open()) {
            for &cell in result.answer.open.iter().flat_map(|&i| result.cells[i].iter().flatten()) {
                let wanted = (result.seeds + self.rule.batch).min(self.rule.max_seeds);
                self.seeds[cell] = self.seeds[cell].max(wanted);
            }
        }
        let more = self.seeds != before;
        self.looks += usize::from(more);
        Some(Look { message, more })
    }
}

/// An error if a side of a claim has several settings of its hyperparameters: the best one may
/// change from look to look, and a test of the current best is not valid.
fn refuse_choices(grid: &Grid, sweep: &Cells, results: &[ClaimResult]) -> Result<(), GridError> {
    for result in results {
        let Some(cells) = result.cells.iter().flatten().find(|cells| cells.len() > 1) else {
            continue;
        };
        let places = || cells.iter().map(|&cell| &sweep.cells[cell].at);
        let varies = |&axis: &usize| places().map(|at| at[axis]).collect::<BTreeSet<_>>().len() > 1;
        let varying: Vec<&str> =
            (0..sweep.axes.len()).filter(varies).map(|axis| sweep.axes[axis].field.name).collect();
        return Err(grid.cannot_add_seeds(&format!(
            "the claim \"{}\" leaves {} open, of which the best would be chosen in the seeds that judge it; \
             until_decided needs one value of it for each arm: explore first, then `wninit confirm DIR --until-decided`",
            result.text,
            varying.join(" and ")
        )));
    }
    Ok(())
}

/// The rule, as a note of the summary.
pub(super) fn in_words(UntilDecided { max_seeds, batch }: UntilDecided) -> Note {
    let text = format!(
        "Seeds were added until the claims were decided, {batch} at a time, at most {max_seeds}. Their tests are \
         anytime-valid: each claim is wrongly decided with probability {} % at most over the whole path, \
         however often it was looked at. All other p values and intervals take the number of seeds as fixed. \
         A setting is given up if an arm trains in fewer than two of its first {PATIENCE} seeds.",
        100.0 * ALPHA
    );
    Note::new("claims", text)
}
