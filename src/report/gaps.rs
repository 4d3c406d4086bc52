//! The list of what was not measured.

use maud::{Markup, html};

use super::markup::{fold, listed};
use wninit_core::fmt::plural;
use wninit_stats::summary::{Summary, SweepAxis};

pub fn section(summary: &Summary) -> Markup {
    let counts = summary.counts;
    let unfinished = counts.failed + counts.missing;
    let by_arm: Vec<Markup> = summary
        .initializers
        .iter()
        .filter(|s| s.counts.failed + s.counts.missing > 0)
        .map(|s| html! { (s.label) " " (s.counts.failed + s.counts.missing) })
        .collect();
    let bare = summary.cells.iter().filter(|cell| cell.counts.finished == 0).count();
    let seeds = || summary.cells.iter().map(|cell| cell.counts.finished);
    let (least, most) = (seeds().min().unwrap_or(0), seeds().max().unwrap_or(0));
    let not_tried = summary.inits_not_tried();
    let gaps = html! {
            ul {
                @if unfinished == 0 {
                    li { "Nothing of the plan is missing." }
                } @else {
                    li {
                        b { (unfinished) " of " (plural(counts.planned, "planned run")) } " are not finished ("
                        (counts.failed) " failed, " (counts.missing) " missing): " (listed(&by_arm, "and")) "."
                    }
                    @if bare > 0 {
                        li { b { (bare) " of " (plural(summary.cells.len(), "setting")) } " have no finished run at all." }
                    }
                }
                @if most > 0 {
                    li {
                        "Each setting was tried with "
                        @if least == most { (plural(most, "seed")) } @else { (least) " to " (most) " seeds" }
                        "."
                    }
                }
                @if summary.axes.is_empty() {
                    li { "Nothing but the seed was varied." }
                } @else {
                    li {
                        "Only "
                        @for (i, axis) in summary.axes.iter().enumerate() { @if i > 0 { ", " } (varied(axis)) }
                        " and the seed were varied; how other settings would fare is not known."
                    }
                }
                @if !not_tried.is_empty() { li { "Initializers not tried: " (not_tried.join(", ")) "." } }
                @for note in &summary.notes { li { (note.text) } }
            }
    };
    fold("gaps", "What was not measured", &gaps)
}

/// "lr (0.001, 0.01, 0.1)".
fn varied(axis: &SweepAxis) -> Markup {
    const MOST: usize = 8;
    let labels: Vec<String> = (0..axis.values.len())
        .map(|i| axis.label(i))
        .map(|label| if label.is_empty() { "none".to_owned() } else { label })
        .collect();
    let values = match &labels[..] {
        [first, .., last] if labels.len() > MOST => {
            format!("{} values from {first} to {last}", labels.len())
        }
        few => few.join(", "),
    };
    html! { b { (axis.field.name) } " (" (values) ")" }
}
