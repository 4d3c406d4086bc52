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
    /// whether the others are shown to be worse; null if nothing trains
    pub how_sure: Option<String>,
}

/// The arms of a task, the best first; at least one.
type Task<'a> = &'a [Ranked];

impl Answer {
    /// The answer of a summary's ranking.
    pub(super) fn of(summary: &Summary) -> Answer {
        let tasks: Vec<Task> = summary.ranking.chunk_by(|a, b| a.task == b.task).collect();
        let (dead, alive): (Vec<Task>, Vec<Task>) =
            tasks.iter().partition(|rows| rows[0].standing == Standing::NothingTrains);
        Answer {
            which: (!tasks.is_empty()).then(|| which(summary, &dead, &alive)),
            how_sure: (!alive.is_empty()).then(|| how_sure(&alive)),
        }
    }

    /// The lines of a terminal.
    pub(super) fn lines(&self) -> Vec<String> {
        let answers = [("Which initializer?", &self.which), ("How sure?", &self.how_sure)];
        let line = |(question, answer): (&str, &Option<String>)| {
            answer.as_ref().map(|answer| format!("{question} {answer}"))
        };
        answers.into_iter().filter_map(line).collect()
    }
}

/// Who comes first, and in which tasks; the winner of most tasks is named first.
fn which(summary: &Summary, dead: &[Task], alive: &[Task]) -> String {
    let mut winners: Vec<(&str, Vec<Task>)> = Vec::new();
    for &rows in alive {
        match winners.iter_mut().find(|(init, _)| *init == rows[0].init) {
            Some((_, tasks)) => tasks.push(rows),
            None => winners.push((&rows[0].init, vec![rows])),
        }
    }
    winners.sort_by_key(|(_, tasks)| std::cmp::Reverse(tasks.len()));
    let only = winners.len() == 1 && dead.is_empty();
    let first = |(init, tasks): &(&str, Vec<Task>)| match tasks[..] {
        [[row, ..]] if only => {
            let accuracy = row.accuracy.map(|a| format!(", accuracy {:.3}", a.value));
            let (trained, runs) = (row.trained, plural(row.runs, "run"));
            format!("{init} comes first: {trained} of {runs} train{}", accuracy.unwrap_or_default())
        }
        _ if only => format!("{init} comes first everywhere"),
        _ => format!("{init} comes first{}", at(summary, tasks)),
    };
    let mut parts: Vec<String> = winners.iter().map(first).collect();
    if !dead.is_empty() {
        parts.push(format!("nothing trains{}", at(summary, dead)));
    }
    parts.join("; ") + "."
}

/// Tasks by the values of their axes: ` at depth 2, 10`, or how many of many.
fn at(summary: &Summary, tasks: &[Task]) -> String {
    const MOST: usize = 8;
    let axes: Vec<_> = summary.task_axes().iter().map(|&axis| &summary.axes[axis]).collect();
    let names: Vec<&str> = axes.iter().map(|axis| axis.field.name).collect();
    let values = tasks.iter().take(MOST).map(|rows| {
        let places = axes.iter().zip(&rows[0].task);
        places.map(|(axis, &at)| axis.label(at)).collect::<Vec<_>>().join(" × ")
    });
    let values: Vec<String> = values.collect();
    match tasks.len() {
        _ if axes.is_empty() => String::new(),
        n if n > MOST => format!(" in {n} settings of {}", names.join(" × ")),
        _ => format!(" at {} {}", names.join(" × "), values.join(", ")),
    }
}

/// Whether the initializers that do not come first are shown to be worse there.
fn how_sure(alive: &[Task]) -> String {
    let worse = |row: &Ranked| {
        matches!(
            row.standing,
            Standing::NeverTrains { shown: true } | Standing::TrainsLess | Standing::LessAccurate
        )
    };
    let compared: Vec<Task> = alive.iter().copied().filter(|rows| rows.len() > 1).collect();
    let shown = compared.iter().filter(|rows| rows[1..].iter().all(worse)).count();
    let mut rivals: Vec<&str> = Vec::new();
    for row in compared.iter().flat_map(|rows| &rows[1..]).filter(|row| !worse(row)) {
        if !rivals.contains(&row.init.as_str()) {
            rivals.push(&row.init);
        }
    }
    let rivals = rivals.join(", ");
    match (compared.len(), shown) {
        (0, _) => "There is no other initializer to compare it with.".to_owned(),
        (all, shown) if shown == all => {
            "Every other initializer is shown to be worse there (errors 5 %).".to_owned()
        }
        (1, _) => format!("Not shown to be worse (errors 5 %): {rivals}."),
        (all, shown) => format!(
            "Every other initializer is shown to be worse in {shown} of {} (errors 5 %); elsewhere not: {rivals}.",
            plural(all, "setting")
        ),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::testing::depth_sweep;
    use super::*;
    use wninit_stats::summary::Input;

    #[test]
    fn the_answer_names_the_first_where_it_is_first_and_who_may_be_as_good() {
        let records = depth_sweep();
        let summary = Summary::new(&Input { records: &records, ..Input::default() }).unwrap();
        let Answer { which, how_sure } = Answer::of(&summary);
        let (which, how_sure) = (which.unwrap(), how_sure.unwrap());
        // At depth 50 nothing else trains; at depth 2 accuracies differ by 0.001.
        assert!(which.contains("orthogonal_proposed comes first"), "{which}");
        assert!(how_sure.contains(" of 2 settings (errors 5 %); elsewhere not: "), "{how_sure}");
        let nothing = Answer::of(&Summary::new(&Input::default()).unwrap());
        assert_eq!(nothing, Answer { which: None, how_sure: None });

        let dead: Vec<_> = records
            .into_iter()
            .filter(|r| r.job.arch.layers() == 50 && r.job.init.name() != "orthogonal_proposed")
            .collect();
        let summary = Summary::new(&Input { records: &dead, ..Input::default() }).unwrap();
        let Answer { which, how_sure } = Answer::of(&summary);
        assert_eq!((which.as_deref(), how_sure), (Some("nothing trains."), None));
    }
}
