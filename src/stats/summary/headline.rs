//! The answer of a sweep in a sentence or two: who trains, else who is more accurate.

use std::collections::BTreeSet;

use super::{Ranked, Standing, Summary};
use crate::verdict::Verdict;
use wninit_core::fmt::{p_value, plural};
use wninit_core::grid::Metric;
use wninit_core::text::MOST_NAMED;

/// The initializers of a task, the best first.
type Task<'a> = &'a [Ranked];

/// The arms of a task that do worse than the first.
type Failing = fn(Task) -> BTreeSet<usize>;

/// The answer of a sweep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headline {
    /// Which initializer: the main difference between them. `None` if there is only one and no claim
    /// is decided.
    pub which: Option<String>,
    /// How sure that is: the numbers of the claim that is stated, else where an initializer is shown
    /// to be better than all others, by the ranking's tests. `None` if nothing is compared.
    pub how_sure: Option<String>,
    /// How many claims have which verdict. `None` if the sweep has none.
    pub claims: Option<String>,
}

impl Summary {
    /// The answer in words. Who trains comes first, if the ranking's tests show a difference; then a
    /// claim that is decided; then what was seen in too few seeds for a test; then accuracy.
    pub fn headline(&self) -> Headline {
        let tasks: Vec<Task> = self.ranking.chunk_by(|a, b| a.task == b.task).collect();
        let trained = tasks.iter().flat_map(|task| task.iter()).any(|row| row.trained > 0);
        let by_success = |failing: Failing| {
            self.beyond_a_depth(&tasks, failing).or_else(|| self.in_one_task(&tasks, failing))
        };
        let untested =
            || Some(by_success(always_fails)? + " The seeds are too few for a test of all pairs.");
        let compared = tasks.iter().any(|task| task.len() > 1);
        let shown = compared.then(|| by_success(fails_more)).flatten();
        let (which, numbers) = match (shown, self.decided()) {
            (Some(shown), _) => (Some(shown), None),
            (None, Some((claim, numbers))) if trained || !compared => (Some(claim), Some(numbers)),
            _ if !compared => (None, None),
            _ if !trained => (Some("Nothing trains.".to_owned()), None),
            _ => (untested().or_else(|| Some(self.by_accuracy(&tasks))), None),
        };
        let how_sure = numbers.or_else(|| self.how_sure(&tasks));
        Headline { which, how_sure, claims: self.verdicts() }
    }

    /// The layers of a row's networks; `None` if its task has networks of several depths.
    fn layers(&self, row: &Ranked) -> Option<u32> {
        let axes = self.task_axes();
        let here = self.cells.iter().filter(|cell| {
            cell.arm == row.arm
                && axes.iter().zip(&row.task).all(|(&axis, &at)| cell.at[axis] == at)
        });
        let layers: BTreeSet<u32> = here.map(|cell| cell.job.arch.layers()).collect();
        layers.first().copied().filter(|_| layers.len() == 1)
    }

    /// "From 50 layers on, a trains in 0 of 24 runs; b in 24 of 24.", if the tasks are depths.
    fn beyond_a_depth(&self, tasks: &[Task], failing: Failing) -> Option<String> {
        let axes = self.task_axes();
        let [axis] = axes[..] else { return None };
        if !["depth", "blocks"].contains(&self.axes[axis].field.name) {
            return None;
        }
        let mut by_depth: Vec<(u32, Task)> = tasks
            .iter()
            .map(|task| Some((self.layers(&task[0])?, *task)))
            .collect::<Option<_>>()?;
        by_depth.sort_by_key(|(layers, _)| *layers);
        let mut fail: BTreeSet<usize> = (0..self.initializers.len()).collect();
        let mut best: Option<(usize, u32, BTreeSet<usize>)> = None;
        for (depths, (layers, task)) in (1..).zip(by_depth.iter().rev()) {
            fail = fail.intersection(&failing(task)).copied().collect();
            // The more arms fail at the more depths, the more it says.
            let said = fail.len() * depths;
            if said > 0 && best.as_ref().is_none_or(|(most, ..)| said >= *most) {
                best = Some((said, *layers, fail.clone()));
            }
        }
        let (_, from, fail) = best?;
        let tail: Vec<Task> = by_depth
            .into_iter()
            .filter(|(layers, _)| *layers >= from)
            .map(|(_, task)| task)
            .collect();
        Some(format!("From {from} layers on, {}.", self.shares(&tail, &fail)))
    }

    /// "With depth 50, a trains in 0 of 24 runs; b in 24 of 24.": the largest difference of a task.
    fn in_one_task(&self, tasks: &[Task], failing: Failing) -> Option<String> {
        let gap = |task: &Task| {
            let share = |row: &Ranked| row.trained as f64 / row.runs.max(1) as f64;
            let fail = failing(task);
            let worst = task.iter().filter(|row| fail.contains(&row.arm)).map(share);
            Some(share(&task[0]) - worst.reduce(f64::min)?)
        };
        let gaps = tasks.iter().filter_map(|task| Some((gap(task)?, *task)));
        let (_, task) = gaps.max_by(|a, b| a.0.total_cmp(&b.0))?;
        let shares = self.shares(&[task], &failing(task));
        let place = self.place_of(task);
        Some(match place.as_str() {
            "" => format!("{shares}."),
            place => format!("With {place}, {shares}."),
        })
    }

    /// "a trains in 0 of 24 runs; b in 24 of 24": those that fail first.
    fn shares(&self, tasks: &[Task], fail: &BTreeSet<usize>) -> String {
        let diverged = self.success_metric == Metric::Diverged;
        let (one, several) = if diverged { ("diverges", "diverge") } else { ("trains", "train") };
        let count = |arms: &dyn Fn(usize) -> bool| {
            let rows = || tasks.iter().flat_map(|task| task.iter()).filter(|row| arms(row.arm));
            let (k, n) = rows().fold((0, 0), |(k, n), row| (k + row.trained, n + row.runs));
            let names: BTreeSet<usize> = rows().map(|row| row.arm).collect();
            let names: Vec<&str> =
                names.iter().map(|&arm| self.initializers[arm].label.as_str()).collect();
            (names, if diverged { n - k } else { k }, n)
        };
        let (losers, k, n) = count(&|arm| fail.contains(&arm));
        let verb = if losers.len() == 1 { one } else { several };
        let (others, other_k, other_n) = count(&|arm| !fail.contains(&arm));
        let (losers, others) = (and(&losers), and(&others));
        format!("{losers} {verb} in {k} of {n} runs; {others} in {other_k} of {other_n}")
    }

    /// "b is shown to be better than all others at depth 50 and depth 100, not elsewhere."
    fn how_sure(&self, tasks: &[Task]) -> Option<String> {
        let worse =
            |row: &Ranked| row.standing.fails_more() || row.standing == Standing::LessAccurate;
        let compared = |task: &&Task| task.len() > 1 && task[0].standing != Standing::NothingTrains;
        let compared: Vec<Task> = tasks.iter().filter(compared).copied().collect();
        let shown = compared.iter().filter(|rows| rows[1..].iter().all(worse));
        let mut best: Vec<(&str, Vec<String>)> = Vec::new();
        for task in shown {
            let place = self.place_of(task);
            match best.iter_mut().find(|(init, _)| *init == task[0].init) {
                Some((_, places)) => places.push(place),
                None => best.push((&task[0].init, vec![place])),
            }
        }
        let n = compared.len();
        let words = |(init, places): &(&str, Vec<String>)| {
            let places: Vec<&str> = places.iter().map(String::as_str).collect();
            match places[..] {
                [""] => format!("{init} is shown to be better than all others"),
                _ if places.len() == n => {
                    format!("{init} is shown to be better than all others in every setting")
                }
                _ => format!("{init} is shown to be better than all others at {}", and(&places)),
            }
        };
        let all = best.iter().map(|(_, places)| places.len()).sum::<usize>() == n;
        let words: Vec<String> = best.iter().map(words).collect();
        match (n, words.is_empty()) {
            (0, _) => None,
            (1, true) => Some("No initializer is shown to be better than all others.".to_owned()),
            (n, true) => Some(format!(
                "In none of {n} settings is an initializer shown to be better than all others."
            )),
            _ if all => Some(words.join("; ") + "."),
            _ => Some(words.join("; ") + ", not elsewhere."),
        }
    }

    fn place_of(&self, task: Task) -> String {
        let axes = self.task_axes();
        let words = axes.iter().zip(&task[0].task).filter_map(|(&axis, &at)| {
            let (name, label) = (self.axes[axis].field.name, self.axes[axis].label(at));
            (!label.is_empty()).then(|| format!("{name} {label}"))
        });
        words.collect::<Vec<_>>().join(", ")
    }

    fn by_accuracy(&self, tasks: &[Task]) -> String {
        // The ranking is by validation accuracy, so the second may be more accurate on the test set.
        let differ =
            |row: &&Ranked| matches!(row.standing, Standing::LessAccurate | Standing::MoreAccurate);
        let gap = |row: &Ranked| row.behind.as_ref().and_then(|c| c.accuracy.estimate);
        let rows =
            tasks.iter().flat_map(|task| task.iter().filter(differ).map(move |row| (*task, row)));
        let known = rows.filter_map(|(task, row)| Some((gap(row)?, task, row)));
        let largest = known.max_by(|a, b| a.0.abs().total_cmp(&b.0.abs()));
        let Some((gap, task, row)) = largest else {
            return format!("No difference between the initializers is shown. {}", self.totals());
        };
        let (more, less) = if gap > 0.0 { (&task[0], row) } else { (row, &task[0]) };
        let p = row.behind.as_ref().and_then(|c| c.accuracy.p);
        let place = self.place_of(task);
        format!(
            "No difference in who {} is shown; {} is more accurate than {} by {:.3}{}{}.",
            if self.success_metric == Metric::Diverged { "diverges" } else { "trains" },
            more.init,
            less.init,
            gap.abs(),
            if place.is_empty() { String::new() } else { format!(" with {place}") },
            p.map(|p| format!(" (p = {})", p_value(p))).unwrap_or_default(),
        )
    }

    /// The first claim that compares initializers or settings and is decided, overall or else in some
    /// of its settings, with its numbers.
    fn decided(&self) -> Option<(String, String)> {
        let claims = || self.claims.iter().filter(|claim| claim.success.len() == 2);
        let overall = claims().find_map(|claim| match claim.verdict() {
            Verdict::Supported => Some((format!("Supported: {}", claim.text), claim.brief())),
            Verdict::Refuted => Some((format!("Refuted: {}", claim.text), claim.brief())),
            Verdict::Undecided | Verdict::NotTestable => None,
        });
        let in_some = || {
            claims().find_map(|claim| {
                let at = claim.answer.settings_with(Verdict::Supported);
                let against = claim.answer.settings_with(Verdict::Refuted);
                let settings = claim.answer.settings.len();
                (settings > 1 && !at.is_empty() && against.is_empty()).then(|| {
                    let places = match at.len() {
                        ..=MOST_NAMED => format!("at {}", and(&at)),
                        n => format!("in {n} of {settings} settings"),
                    };
                    let text = &claim.text;
                    let said = format!(
                        "Supported {places} (each alone), undecided over all settings: {text}"
                    );
                    (said, format!("Over all settings: {}", claim.brief()))
                })
            })
        };
        overall.or_else(in_some)
    }

    /// "Trained: a 12 of 24 runs, b 10 of 24."
    fn totals(&self) -> String {
        let mut totals = vec![(0, 0); self.initializers.len()];
        for row in &self.ranking {
            let (k, n) = totals[row.arm];
            totals[row.arm] = (k + row.trained, n + row.runs);
        }
        let diverged = self.success_metric == Metric::Diverged;
        let words = self.initializers.iter().zip(totals).enumerate().map(|(i, (arm, (k, n)))| {
            let k = if diverged { n - k } else { k };
            format!("{} {k} of {n}{}", arm.label, if i == 0 { " runs" } else { "" })
        });
        let words: Vec<String> = words.collect();
        format!("{}: {}.", if diverged { "Diverged" } else { "Trained" }, words.join(", "))
    }

    /// "3 claims: 2 supported, 1 undecided."
    fn verdicts(&self) -> Option<String> {
        let count = |v: Verdict| self.claims.iter().filter(|claim| claim.verdict() == v).count();
        let counts = Verdict::ALL.into_iter().map(|v| (count(v), v)).filter(|(n, _)| *n > 0);
        let words: Vec<String> = counts.map(|(n, verdict)| format!("{n} {verdict}")).collect();
        let n = self.claims.len();
        (n > 0).then(|| format!("{}: {}.", plural(n, "claim"), words.join(", ")))
    }
}

/// "a", "a and b", "a, b and c".
fn and(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

/// The arms of which fewer runs train than of the first, shown by a test.
fn fails_more(task: Task) -> BTreeSet<usize> {
    task.iter().filter(|row| row.standing.fails_more()).map(|row| row.arm).collect()
}

/// The arms of which no run trains.
fn always_fails(task: Task) -> BTreeSet<usize> {
    let never = |standing| matches!(standing, Standing::NeverTrains { .. });
    task.iter().filter(|row| never(row.standing)).map(|row| row.arm).collect()
}
