//! Chooses the learning rate of each setting on validation, to be tested on fresh seeds.
//!
//! A setting is everything that varies except the learning rate and the seeds: an arm in its
//! context. The rate with the best mean validation accuracy is chosen; a diverged run counts as a
//! guess. A rate with fewer finished seeds than another one of the setting is refused, because a
//! high mean of few seeds is easier to reach; the others are compared on the seeds that all of them
//! have. Of equal rates the smaller one is chosen; if none trains, the smallest. No result on the
//! test set is used.

use super::cells::{Cell, Cells, Run, chance, chance_bound, largest_class};
use super::sample::names_lr;
use super::{Input, Seed};
use crate::describe;
use crate::student::EQUAL;
use std::collections::BTreeSet;
use wninit_core::fmt::plural;
use wninit_core::grid::{Chosen, Claim, Condition, Expectation};
use wninit_core::job::Job;
use wninit_core::results::Outcome;

/// The choice for a setting.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The setting, the learning rate, and the numbers behind it.
    pub chosen: Chosen,
    /// A job of the chosen cell.
    pub job: Job,
    /// A learning rate to explore as well, if the chosen one is the smallest or the largest.
    pub edge: Option<Edge>,
    /// Whether no run of any rate trains.
    pub fails: bool,
    /// Refused rates, with the number of seeds that they finished.
    pub refused: Vec<(f64, usize)>,
}

/// The end of the explored learning rates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Edge {
    /// The smallest one was chosen; this one comes before it.
    Smallest(f64),
    /// The largest one was chosen; this one comes after it.
    Largest(f64),
}

impl Choice {
    /// Display name of the setting: `orthogonal_datadep at depth 10`.
    pub fn setting(&self) -> String {
        in_words(&self.chosen.setting)
    }
}

/// `orthogonal_datadep at depth 10, width 64`; empty for none.
fn in_words(setting: &[Condition]) -> String {
    let (init, rest): (Vec<&Condition>, Vec<&Condition>) =
        setting.iter().partition(|condition| condition.field.name == "init");
    let mut text = init.iter().map(|init| init.values_joined("")).collect::<String>();
    let rest: Vec<String> =
        rest.iter().map(|c| format!("{} {}", c.field.name, c.values_joined(""))).collect();
    if !rest.is_empty() {
        text += if text.is_empty() { "" } else { " at " };
        text += &rest.join(", ");
    }
    text
}

/// Chooses the learning rate of each setting of a sweep.
///
/// # Errors
/// One message for each setting in which no rate can be chosen.
pub fn choices(input: &Input) -> Result<Vec<Choice>, Vec<String>> {
    let sweep = Cells::new(input);
    let axes = sweep.axes_without(&sweep.axis("lr").into_iter().collect::<Vec<_>>());
    let (mut choices, mut problems) = (Vec::new(), Vec::new());
    for cells in sweep.group(&axes).into_values() {
        let cells: Vec<&Cell> = cells.into_iter().map(|i| &sweep.cells[i]).collect();
        let value = |&axis: &usize| {
            let axis = &sweep.axes[axis];
            axis.field.get(cells[0].job).map(|value| Condition::new(axis.field, vec![value]))
        };
        let setting: Vec<Condition> = axes.iter().filter_map(value).collect();
        match choose(&cells, setting) {
            Ok(choice) => choices.push(choice),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(choices) } else { Err(problems) }
}

/// A job of each cell of a claim that names its learning rate: nothing is chosen there.
pub fn named(input: &Input) -> Vec<Job> {
    let sides = |claim: &Claim| -> Vec<Vec<Condition>> {
        match &claim.expect {
            Expectation::Compare { better, than, .. } => {
                [better, than].map(|side| claim.filter.iter().chain(side).cloned().collect()).into()
            }
            Expectation::Within { .. } => vec![claim.filter.clone()],
        }
    };
    let filters: Vec<Vec<Condition>> =
        input.claims.iter().flat_map(sides).filter(|filter| names_lr(filter)).collect();
    let about = |filter: &Vec<Condition>, job: &Job| {
        filter.iter().all(|condition| condition.is_about_seeds() || condition.holds(job))
    };
    let cells = Cells::new(input).cells;
    let jobs = cells.into_iter().map(|cell| cell.job);
    jobs.filter(|job| filters.iter().any(|filter| about(filter, job))).cloned().collect()
}

/// The validation accuracy by which a run is ranked.
fn score(run: &Run) -> f64 {
    run.validation().unwrap_or_else(|| chance(&run.record.job))
}

/// Whether its validation accuracy needs a look at the image. A row has the share of the largest
/// class of the test images only; if they are few, it is that of few.
fn trains(run: &Run) -> bool {
    let job = &run.record.job;
    let share = match job.test_images {
        Some(_) => job.dataset.largest_class(),
        None => largest_class(run.record),
    };
    run.record.outcome == Outcome::Ok && score(run) > chance_bound(job.validated(), share)
}

/// The runs of a cell with these seeds.
fn shared<'s, 'a>(
    cell: &'s Cell<'a>,
    seeds: &'s BTreeSet<Seed>,
) -> impl Iterator<Item = &'s Run<'a>> {
    cell.runs.iter().filter(|run| seeds.contains(&run.seed))
}

/// Chooses among cells that differ in their learning rate, in ascending order.
fn choose(cells: &[&Cell], setting: Vec<Condition>) -> Result<Choice, String> {
    let seeds = |cell: &Cell| cell.runs.iter().map(|run| run.seed).collect::<BTreeSet<Seed>>();
    let most = cells.iter().map(|cell| cell.runs.len()).max().unwrap_or(0);
    let (able, refused): (Vec<&Cell>, Vec<&Cell>) =
        cells.iter().partition(|cell| cell.runs.len() == most);
    let common = able
        .iter()
        .map(|cell| seeds(cell))
        .reduce(|a, b| a.intersection(&b).copied().collect())
        .unwrap_or_default();
    let name = in_words(&setting);
    let name = if name.is_empty() { "the sweep" } else { &name };
    if common.is_empty() && cells.len() > 1 {
        let why = if most == 0 {
            "no run is"
        } else {
            "its learning rates have no seed in common that is"
        };
        return Err(format!("{name}: {why} finished"));
    }
    let mut scores: Vec<(f64, &Cell)> = able
        .iter()
        .filter_map(|cell| {
            let scores: Vec<f64> = shared(cell, &common).map(score).collect();
            Some((describe::mean(&scores)?, *cell))
        })
        .collect();
    let fails = !common.is_empty() && !able.iter().any(|cell| shared(cell, &common).any(trains));
    if fails && !refused.is_empty() {
        return Err(format!(
            "{name}: every learning rate that all its {} finished fails, and {} finished fewer",
            plural(most, "seed"),
            lrs(&refused),
        ));
    }
    let mut chosen = 0;
    let mut second: Option<usize> = None;
    for at in 1..scores.len() {
        if !fails && scores[at].0 > scores[chosen].0 + EQUAL {
            second = Some(chosen);
            chosen = at;
        } else if second.is_none_or(|second| scores[at].0 > scores[second].0 + EQUAL) {
            second = Some(at);
        }
    }
    let runner_up =
        second.filter(|_| !fails).map(|second| (scores[second].1.job.lr, scores[second].0));
    let (val_acc, cell) = match scores.is_empty() {
        true => (None, cells[0]),
        false => {
            let (score, cell) = scores.swap_remove(chosen);
            (Some(score), cell)
        }
    };
    let rates: Vec<f64> = cells.iter().map(|cell| cell.job.lr).collect();
    let edge = edge(&rates, cell.job.lr);
    let mut notes = Vec::new();
    if fails {
        notes.push(match edge {
            Some(_) => "every learning rate fails, the smallest is kept".to_owned(),
            None => "every run fails".to_owned(),
        });
    } else if let Some(edge) = edge {
        notes.push(match edge {
            Edge::Smallest(_) => "the smallest explored".to_owned(),
            Edge::Largest(_) => "the largest explored".to_owned(),
        });
    }
    if !refused.is_empty() {
        notes.push(format!("{} unfinished and refused", lrs(&refused)));
    }
    let rounded = |x: f64| (x * 1e6).round() / 1e6;
    let chosen = Chosen {
        setting,
        lr: cell.job.lr,
        val_acc: val_acc.map(rounded),
        seeds: common.len(),
        runner_up: runner_up.map(|(lr, x)| (lr, rounded(x))),
        note: (!notes.is_empty()).then(|| notes.join("; ")),
    };
    let refused = refused.iter().map(|cell| (cell.job.lr, cell.runs.len())).collect();
    Ok(Choice { chosen, job: cell.job.clone(), edge, fails, refused })
}

fn lrs(cells: &[&Cell]) -> String {
    cells.iter().map(|cell| cell.job.lr.to_string()).collect::<Vec<_>>().join(", ")
}

/// The rate to explore next if the chosen one of ascending learning rates is the first or the last.
fn edge(rates: &[f64], chosen: f64) -> Option<Edge> {
    let next = |end: f64, inner: f64| {
        let ratio = end / inner;
        tidy(end * if ratio.is_finite() && ratio > 0.0 { ratio } else { 3.0 })
    };
    match rates {
        [first, second, ..] if chosen == *first && *first > 0.0 => {
            Some(Edge::Smallest(next(*first, *second)))
        }
        [.., before, last] if chosen == *last => Some(Edge::Largest(next(*last, *before))),
        _ => None,
    }
}

/// The nearest 1 or 3 times a power of ten (as in 0.001, 0.003, 0.01), if it is near; else two
/// digits.
fn tidy(x: f64) -> f64 {
    const NEAR: f64 = 0.12; // 10/3 and 3 differ by 0.105 in their logarithms
    let power = x.log10().floor() as i32;
    let round = |mantissa: u32, power: i32| format!("{mantissa}e{power}").parse().unwrap_or(x);
    let near: [f64; 3] = [round(1, power), round(3, power), round(1, power + 1)];
    let near = near.into_iter().find(|y| (x / y).ln().abs() < NEAR);
    near.unwrap_or_else(|| format!("{x:.1e}").parse().unwrap_or(x))
}
