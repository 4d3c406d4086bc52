//! The first lines of a summary: which initializer, and how sure that is, from the ranking.

use schemars::JsonSchema;
use serde::Serialize;

use wninit_core::fmt::plural;
use wninit_stats::summary::{Ranked, Standing, Summary};

/// The answer to a sweep's question, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Answer {
    /// which initializer comes first, and where; null if nothing is finished
    pub which: Option<String>,
    /// whether the others are shown to be worse
    pub how_sure: Option<String>,
}

/// The most tasks that are listed by name.
const MOST: usize = 8;

impl Answer {
    /// The answer of a summary's ranking.
    pub(super) fn of(summary: &Summary) -> Answer {
        let tasks: Vec<&[Ranked]> = summary.ranking.chunk_by(|a, b| a.task == b.task).collect();
        let axes = summary.task_axes();
        let labels = |tasks: &[&[Ranked]]| {
            let mut all: Vec<String> = Vec::new();
            for task in tasks.iter().filter_map(|rows| rows.first()) {
                let of = axes.iter().zip(&task.task);
                let at: Vec<String> = of.map(|(&axis, &at)| summary.axes[axis].label(at)).collect();
                all.push(at.join(" × "));
            }
            let names: Vec<&str> = axes.iter().map(|&axis| summary.axes[axis].field.name).collect();
            let names = names.join(" × ");
            match all.len() {
                n if n > MOST => format!("{} of {names}", plural(n, "setting")),
                _ => format!("{names} {}", all.join(", ")),
            }
        };
        let first = |rows: &[Ranked]| -> Option<Ranked> { rows.first().cloned() };
        let nothing = |rows: &&[Ranked]| {
            rows.first().is_some_and(|row| row.standing == Standing::NothingTrains)
        };
        let (dead, alive): (Vec<&[Ranked]>, Vec<&[Ranked]>) =
            tasks.iter().partition(|t| nothing(t));
        if tasks.is_empty() {
            return Answer { which: None, how_sure: None };
        }
        // Who comes first, in the order of the tasks.
        let mut winners: Vec<(String, Vec<&[Ranked]>)> = Vec::new();
        for &rows in &alive {
            let Some(row) = first(rows) else { continue };
            match winners.iter_mut().find(|(init, _)| *init == row.init) {
                Some((_, tasks)) => tasks.push(rows),
                None => winners.push((row.init, vec![rows])),
            }
        }
        winners.sort_by_key(|(_, tasks)| std::cmp::Reverse(tasks.len()));
        let everywhere = winners.len() == 1 && dead.is_empty();
        let mut parts: Vec<String> = winners
            .iter()
            .map(|(init, tasks)| match everywhere {
                true if axes.is_empty() => {
                    format!(
                        "{init} comes first{}",
                        tasks.first().map_or_else(String::new, |rows| numbers(rows))
                    )
                }
                true => format!("{init} comes first at every {}", names(summary)),
                false => format!("{init} comes first at {}", labels(tasks)),
            })
            .collect();
        if !dead.is_empty() {
            let at = if axes.is_empty() { String::new() } else { format!(" at {}", labels(&dead)) };
            parts.push(format!("nothing trains{at}"));
        }
        let which = Some(format!("{}.", parts.join("; ")));
        if alive.is_empty() {
            return Answer { which, how_sure: None };
        }
        let others = alive.iter().filter(|rows| rows.len() > 1).count();
        let shown = |rows: &&&[Ranked]| rows.len() > 1 && rows[1..].iter().all(is_worse);
        let decided: Vec<&[Ranked]> = alive.iter().filter(shown).copied().collect();
        let how_sure = if others == 0 {
            "There is no other initializer to compare it with.".to_owned()
        } else if decided.len() == others {
            "Every other initializer is shown to be worse there (errors 5 %).".to_owned()
        } else {
            let open: Vec<&[Ranked]> =
                alive.iter().filter(|rows| rows.len() > 1 && !shown(rows)).copied().collect();
            let rivals = rivals(&open);
            match decided.len() {
                0 => format!("Not shown to be worse (errors 5 %): {rivals}."),
                n => format!(
                    "Every other initializer is shown to be worse (errors 5 %) in {n} of {}; elsewhere not: {rivals}.",
                    plural(others, "setting")
                ),
            }
        };
        Answer { which, how_sure: Some(how_sure) }
    }

    /// The lines of a terminal.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |question: &str, answer: &Option<String>| {
            answer.as_ref().map(|answer| format!("{question} {answer}"))
        };
        [line("Which initializer?", &self.which), line("How sure?", &self.how_sure)]
            .into_iter()
            .flatten()
            .collect()
    }
}

fn names(summary: &Summary) -> String {
    let names: Vec<&str> =
        summary.task_axes().iter().map(|&axis| summary.axes[axis].field.name).collect();
    names.join(" and ")
}

/// Runs that train, and their accuracy.
fn numbers(rows: &[Ranked]) -> String {
    let Some(row) = rows.first() else { return String::new() };
    let accuracy = row.accuracy.map(|a| format!(", accuracy {:.3}", a.value)).unwrap_or_default();
    format!(": {} of {} train{accuracy}", row.trained, plural(row.runs, "run"))
}

/// Whether it is shown to be worse than the first.
fn is_worse(row: &Ranked) -> bool {
    matches!(
        row.standing,
        Standing::NeverTrains { shown: true } | Standing::TrainsLess | Standing::LessAccurate
    )
}

/// The initializers that are not shown to be worse than the first somewhere.
fn rivals(tasks: &[&[Ranked]]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for row in tasks.iter().flat_map(|rows| &rows[1..]).filter(|row| !is_worse(row)) {
        if !names.contains(&row.init.as_str()) {
            names.push(&row.init);
        }
    }
    names.join(", ")
}
