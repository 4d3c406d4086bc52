//! Which initializer to use, first in short, then depth by depth.

use maud::{Markup, PreEscaped, html};

use super::chart::Look;
use super::gaps::not_tried;
use super::markup::{listed, name};
use wninit_core::fmt::{percent, plural, significant};
use wninit_stats::interval::LEVEL;
use wninit_stats::summary::{Advice, Recommendation, Rival, Summary, chance};

pub fn section(summary: &Summary) -> Markup {
    let several = summary.recommendations.len() > 1;
    let deep = summary.recommendations.last().is_some_and(|r| r.layers.is_some());
    html! {
        section #answer {
            h2 { "Which initializer?" }
            (in_short(summary))
            table.answer {
                thead {
                    tr {
                        @if deep { th.n scope="col" { "Layers" } }
                        th scope="col" { "Use" }
                        th scope="col" { "How sure" }
                    }
                }
                tbody {
                    @for r in &summary.recommendations {
                        tr {
                            @if let Some(n) = r.layers { th.n scope="row" { (n) span.unit { " layers" } } }
                            td { (choice(summary, r)) }
                            td { (certainty(summary, r)) }
                        }
                    }
                }
            }
            p.fine {
                @if summary.axis("lr").is_some() { "The initializer and its learning rate are" }
                @else { "The initializer is" }
                " chosen on validation accuracy"
                @if several { ", depth by depth" }
                "; the accuracies are on the test set, with " (percent(LEVEL)) " intervals over seeds. "
                em { "Better" }
                " means that the interval of the difference, paired by seed and widened for the number of rivals, \
                 excludes zero."
            }
        }
    }
}

/// The conclusions, a line for the neighbouring depths that have the same one.
fn in_short(summary: &Summary) -> Markup {
    let mut guesses: Vec<f64> = summary.cells.iter().map(|cell| chance(&cell.job)).collect();
    guesses.dedup();
    let unfinished = summary.counts.planned - summary.counts.finished;
    let others = not_tried(summary).len();
    html! {
        ul.short {
            @for group in summary.recommendations.chunk_by(|a, b| Conclusion::of(a) == Conclusion::of(b)) {
                li { (Conclusion::of(&group[0]).line(summary, group)) "." }
            }
            @if let [guess] = guesses[..] {
                li { "Guessing gives a test accuracy of " (format!("{guess:.3}")) "." }
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

/// A line of the conclusions, but for its numbers.
#[derive(PartialEq)]
struct Conclusion {
    advice: Advice,
    unknown: bool,
    /// The best arm, and those that are not shown to be worse.
    running: Vec<usize>,
}

impl Conclusion {
    fn of(r: &Recommendation) -> Conclusion {
        let open = r.rivals.iter().filter(|rival| !rival.is_worse()).map(|rival| rival.arm);
        let mut running: Vec<usize> = open.chain([r.best]).collect();
        running.sort_unstable();
        Conclusion { advice: r.advice, unknown: r.n < 2, running }
    }

    fn line(&self, summary: &Summary, group: &[Recommendation]) -> Markup {
        let all: Vec<Markup> = self.running.iter().map(|&arm| bold(summary, arm)).collect();
        let worse: Vec<Markup> = (0..summary.initializers.len())
            .filter(|arm| group[0].rivals.iter().any(|r| r.arm == *arm && r.is_worse()))
            .map(|arm| name(&summary.initializers[arm].label))
            .collect();
        let layers: Vec<Markup> =
            group.iter().filter_map(|r| r.layers).map(|n| html! { (n) }).collect();
        let means: Vec<String> =
            group.iter().filter_map(|r| Some(format!("{:.3}", r.mean?))).collect();
        let reached = match &means[..] {
            [] => String::new(),
            [one] => format!(" (test accuracy {one})"),
            [first, .., last] => format!(" (test accuracy {first} to {last})"),
        };
        let start = if layers.is_empty() { "Use " } else { "use " };
        html! {
            @if !layers.is_empty() { b { (listed(&layers, "and")) " layers:" } " " }
            @match self.advice {
                Advice::NothingTrains => { "no initializer that was tried trains" }
                _ if self.unknown => { "not known: too few seeds" }
                Advice::Alone => { (listed(&all, "and")) " was the only one tried" (reached) }
                Advice::Clear => {
                    (start) (listed(&all, "and")) (reached) ". Shown to be worse: " (listed(&worse, "and"))
                }
                Advice::Tied if worse.is_empty() => {
                    (listed(&all, "and")) " are not distinguishable" (reached)
                }
                Advice::Tied => {
                    (start) (listed(&all, "or")) (reached)
                    "; these are not distinguishable. Shown to be worse: " (listed(&worse, "and"))
                }
            }
        }
    }
}

fn bold(summary: &Summary, arm: usize) -> Markup {
    html! { b { (name(&summary.initializers[arm].label)) } }
}

/// The arm to use at a depth, and what it reaches.
fn choice(summary: &Summary, r: &Recommendation) -> Markup {
    let [least, greatest] = [r.lr.0, r.lr.1].map(|lr| significant(lr, 3));
    html! {
        @if r.advice == Advice::NothingTrains {
            b.no { "None that was tried." } " The best is " (bold(summary, r.best))
        } @else {
            (Look(r.best).swatch()) (bold(summary, r.best))
        }
        (PreEscaped("<br />"))
        span.num {
            @if let Some(mean) = r.mean { (format!("{mean:.3}")) } @else { "no seed has every setting" }
            @if let Some(interval) = r.interval { " " (format!("{interval:.3}")) }
            " at lr " (least) @if r.lr.0 != r.lr.1 { " to " (greatest) }
            "; " (r.successes) " of " (plural(r.runs, "run")) " trained"
        }
    }
}

fn certainty(summary: &Summary, r: &Recommendation) -> Markup {
    let label = |rival: &&Rival| html! { (summary.initializers[rival.arm].label) };
    let (worse, open): (Vec<&Rival>, Vec<&Rival>) =
        r.rivals.iter().partition(|rival| rival.is_worse());
    let worse = listed(&worse.iter().map(label).collect::<Vec<_>>(), "and");
    let open = listed(&open.iter().map(label).collect::<Vec<_>>(), "and");
    let seeds = plural(r.n, "seed");
    let over: Vec<Markup> = summary
        .context_axes()
        .into_iter()
        .map(|axis| summary.axes[axis].field.name)
        .filter(|field| r.layers.is_none() || !["depth", "blocks"].contains(field))
        .map(|field| html! { (field) })
        .collect();
    html! {
        @match r.advice {
            _ if r.n < 2 => { b.maybe { "Not known." } " " (seeds) " cannot separate an effect from chance." }
            Advice::NothingTrains => {
                b.no { "No recommendation." } " Most of its runs diverged or stayed at chance."
            }
            Advice::Alone => { b.maybe { "Nothing to compare with." } " " (seeds) "." }
            Advice::Clear => { b.yes { "Clear." } " Better than " (worse) " (" (seeds) ")." }
            Advice::Tied if worse.0.is_empty() => {
                b.maybe { "Open." } " Not shown to be better than " (open) " (" (seeds) ")."
            }
            Advice::Tied => {
                b.maybe { "Among the best." } " Better than " (worse) "; not shown to be better than " (open)
                " (" (seeds) ")."
            }
        }
        @if r.n_contexts > 1 { " Mean over " (r.n_contexts) " settings of " (listed(&over, "and")) "." }
        @match (r.lr_at_bottom, r.lr_at_top) {
            (true, true) => { " The best rates lie at both ends of those tried: widen the range." }
            (true, false) => { " The smallest rate tried was the best: a smaller one may be better." }
            (false, true) => { " The greatest rate tried was the best: a greater one may be better." }
            (false, false) => {}
        }
    }
}
