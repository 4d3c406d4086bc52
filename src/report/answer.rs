//! The best initializer of each task: success first, then the accuracy of the runs that train.

use maud::{Markup, html};

use super::chart::Look;
use super::markup::name;
use super::table_link;
use wninit_core::fmt::{percent, plural, significant};
use wninit_core::grid::Metric;
use wninit_core::table::Table;
use wninit_stats::interval::LEVEL;
use wninit_stats::summary::{Ranked, Standing, Summary};
use wninit_stats::verdict::Verdict;

pub fn section(summary: &Summary, tables: &[Table]) -> Markup {
    let axes = summary.task_axes();
    let trained = match summary.success_metric {
        Metric::Diverged => "Not diverged",
        _ => "Trained",
    };
    html! {
        section #answer {
            h2 { "Which initializer?" }
            (in_short(summary))
            div.scroll {
                table.answer {
                    thead {
                        tr {
                            @for &axis in &axes { th scope="col" { (summary.axes[axis].field.name) } }
                            @for heading in ["Initializer", trained, "Accuracy of those", "Learning rate", "Against the first"] {
                                th scope="col" { (heading) }
                            }
                        }
                    }
                    tbody {
                        @for row in &summary.ranking {
                            tr {
                                @for (&axis, &at) in axes.iter().zip(&row.task) {
                                    th scope="row" { @if row.rank == 1 { (summary.axes[axis].label(at)) } }
                                }
                                td { (Look(row.arm).swatch()) (name(&row.init)) }
                                td.n { (row.trained) " of " (row.runs) }
                                td.n { (accuracy(row)) }
                                td.n { (rates(row)) }
                                td class=(class(row)) { (row.words()) }
                            }
                        }
                    }
                }
            }
            p.fine {
                "The first is the initializer of which most runs train, at every learning rate; of equals that with \
                 the best validation accuracy. Accuracies are on the test set, over the seeds that train, at the \
                 learning rate that validation chose, with " (percent(LEVEL)) " intervals that allow for the choice. \
                 Differences are paired by seed: success decides first, then accuracy; errors are 5 % over all pairs \
                 of initializers of a task. Where no difference is shown, the number is the one that as many seeds \
                 find with probability 0.8."
            }
            p.data { (table_link(tables, "ranking")) }
        }
    }
}

fn in_short(summary: &Summary) -> Markup {
    let unfinished = summary.counts.planned - summary.counts.finished;
    let others = summary.inits_not_tried().len();
    let of = |verdict: Verdict| summary.claims.iter().filter(|c| c.verdict() == verdict).count();
    let verdicts: Vec<String> = Verdict::ALL
        .into_iter()
        .map(|verdict| (of(verdict), verdict))
        .filter(|(n, _)| *n > 0)
        .map(|(n, verdict)| format!("{n} {verdict}"))
        .collect();
    html! {
        ul.short {
            @if !verdicts.is_empty() {
                li { "What the sweep asks: " a href="#claims" { (plural(summary.claims.len(), "claim")) } ", "
                     (verdicts.join(", ")) "." }
            }
            li {
                "Not measured: "
                @if unfinished > 0 { (plural(unfinished, "run")) " of the plan; " }
                @if others > 0 { (plural(others, "other initializer")) "; " }
                "all that was " a href="#gaps" { "held fixed" } "."
            }
        }
    }
}

fn accuracy(row: &Ranked) -> String {
    row.accuracy.map_or_else(
        || "–".to_owned(),
        |a| format!("{:.3} {:.3}, n = {}", a.value, a.interval, row.n),
    )
}

fn rates(row: &Ranked) -> String {
    if row.trained == 0 {
        return "–".to_owned(); // no rate is better than the others
    }
    let [low, high] = [row.lr.0, row.lr.1].map(|lr| significant(lr, 3));
    if low == high { low } else { format!("{low} to {high}") }
}

fn class(row: &Ranked) -> &'static str {
    match row.standing {
        Standing::First => "yes",
        Standing::NeverTrains { shown: true }
        | Standing::TrainsLess
        | Standing::LessAccurate
        | Standing::NothingTrains => "no",
        _ => "maybe",
    }
}
