//! The best initializer of each task: success first, then the accuracy of the runs that train.

use maud::{Markup, html};

use super::chart::Look;
use super::markup::{fold, name};
use super::table_link;
use wninit_core::fmt::{percent, significant};
use wninit_core::grid::Metric;
use wninit_core::table::Table;
use wninit_stats::interval::LEVEL;
use wninit_stats::summary::{Headline, Ranked, Standing, Summary};

/// The answer in large letters.
pub fn headline(summary: &Summary) -> Markup {
    let Headline { which, how_sure, claims } = summary.headline();
    html! {
        div #answer {
            @if let Some(which) = which { p.headline.lead { (which) } }
            @for more in [how_sure, claims].into_iter().flatten() { p.headline { (more) } }
        }
    }
}

pub fn section(summary: &Summary, tables: &[Table]) -> Markup {
    let axes = summary.task_axes();
    let trained = match summary.success_metric {
        Metric::Diverged => "Not diverged",
        _ => "Trained",
    };
    let heads = ["Initializer", trained, "Accuracy of those", "Learning rate", "Against the first"];
    let content = html! {
        table.stacked.answer {
            thead {
                tr {
                    @for &axis in &axes { th scope="col" { (summary.axes[axis].field.name) } }
                    @for heading in heads { th scope="col" { (heading) } }
                }
            }
            tbody {
                @for row in &summary.ranking {
                    tr data-arm=(row.arm) {
                        @for (&axis, &at) in axes.iter().zip(&row.task) {
                            @let field = summary.axes[axis].field.name;
                            th scope="row" data-label=[(row.rank == 1).then_some(field)] {
                                @if row.rank == 1 { (summary.axes[axis].label(at)) }
                            }
                        }
                        td { (Look(row.arm).swatch()) (name(&row.init)) }
                        td.n data-label=(heads[1]) { (row.trained) " of " (row.runs) }
                        td.n data-label=(heads[2]) { (accuracy(row)) }
                        td.n data-label=(heads[3]) { (rates(row)) }
                        td class=(class(row)) { (row.words()) }
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
    };
    fold("ranking", "Which initializer?", &content)
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
