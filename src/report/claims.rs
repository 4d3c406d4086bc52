//! The claims of a sweep, with their verdicts.

use maud::{Markup, html};

use super::chart::Gauge;
use super::markup::fold;
use super::table_link;
use wninit_core::table::Table;
use wninit_stats::interval::Interval;
use wninit_stats::summary::{ClaimResult, Summary};
use wninit_stats::verdict::Verdict;

/// No minimum range: the axis shows only its numbers.
const NONE: (f64, f64) = (f64::INFINITY, f64::NEG_INFINITY);

/// The verdicts in short, each with a link to its claim.
pub fn chips(summary: &Summary) -> Markup {
    html! {
        @if !summary.claims.is_empty() {
            ul.chips aria-label="Claims" {
                @for (i, claim) in summary.claims.iter().enumerate() {
                    li {
                        a.chip href={ "#claim-" (i + 1) } {
                            b class=(class(claim)) { (claim.verdict().to_string()) }
                            span { (claim.text) }
                        }
                    }
                }
            }
        }
    }
}

pub fn claims(summary: &Summary, tables: &[Table]) -> Markup {
    let cards = html! {
        p.fine {
            "What the sweep was meant to show. Shaded: where the claim holds; dot and bar: the estimate and \
             its interval."
        }
        div.cards {
            @for (i, claim) in summary.claims.iter().enumerate() { (claim_card(i + 1, claim)) }
        }
        p.data { (table_link(tables, "claims")) " " (table_link(tables, "settings")) }
    };
    html! { @if !summary.claims.is_empty() { (fold("claims", "Claims", &cards)) } }
}

fn class(claim: &ClaimResult) -> &'static str {
    match claim.verdict() {
        Verdict::Supported => "yes",
        Verdict::Refuted => "no",
        Verdict::Undecided | Verdict::NotTestable => "maybe",
    }
}

fn claim_card(number: usize, claim: &ClaimResult) -> Markup {
    let compared = claim.wanted.high.is_infinite() && claim.test.contains(" - ");
    let metric = claim.metric.to_string();
    let gauge = Gauge {
        description: format!("{}: {}", claim.verdict(), claim.text),
        label: if compared { format!("difference in {metric}") } else { metric },
        estimate: claim.estimate,
        interval: claim.interval.map(ends),
        wanted: Some(ends(claim.wanted)),
        extent: match (claim.metric.is_fraction(), compared) {
            (true, true) => (-0.2, 0.2),
            (true, false) => (0.0, 1.0),
            _ => NONE,
        },
    };
    html! {
        article id={ "claim-" (number) } {
            p.verdict { b class=(class(claim)) { (claim.verdict().to_string()) } }
            h3 { (claim.text) }
            @if claim.estimate.is_some() { (gauge.chart()) }
            p.fine { (claim.reason()) }
        }
    }
}

fn ends(interval: Interval) -> (f64, f64) {
    (interval.low, interval.high)
}
