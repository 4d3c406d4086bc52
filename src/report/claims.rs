//! Claims, and published numbers beside ours.

use maud::{Markup, html};

use super::chart::Gauge;
use super::markup::name;
use super::table_link;
use wninit_core::table::Table;
use wninit_stats::interval::Interval;
use wninit_stats::summary::{ClaimResult, PublishedResult, Summary};
use wninit_stats::verdict::Verdict;

/// No minimum range: the axis shows only its numbers.
const NONE: (f64, f64) = (f64::INFINITY, f64::NEG_INFINITY);

pub fn claims(summary: &Summary, tables: &[Table]) -> Markup {
    html! {
        @if !summary.claims.is_empty() {
            section #claims {
                h2 { "Claims" }
                p.fine {
                    "What the sweep was meant to show. Shaded: where the claim holds; dot and bar: the estimate and \
                     its interval."
                }
                div.cards {
                    @for claim in &summary.claims { (claim_card(claim)) }
                }
                p.data { (table_link(tables, "claims")) }
            }
        }
    }
}

fn claim_card(claim: &ClaimResult) -> Markup {
    let class = match claim.verdict() {
        Verdict::Supported => "yes",
        Verdict::Refuted => "no",
        Verdict::Undecided | Verdict::NotTestable => "maybe",
    };
    let compared = claim.wanted.high.is_infinite() && claim.test.contains(" - ");
    let metric = claim.metric.to_string();
    let gauge = Gauge {
        description: format!("{}: {}", claim.verdict(), claim.text),
        label: if compared { format!("difference in {metric}") } else { metric },
        estimate: claim.estimate,
        interval: claim.interval.map(ends),
        wanted: Some(ends(claim.wanted)),
        mark: None,
        extent: match (claim.metric.is_fraction(), compared) {
            (true, true) => (-0.2, 0.2),
            (true, false) => (0.0, 1.0),
            _ => NONE,
        },
    };
    html! {
        article {
            p.verdict { b class=(class) { (claim.verdict().to_string()) } }
            h3 { (claim.text) }
            @if claim.estimate.is_some() { (gauge.svg()) }
            p.fine { (claim.reason()) }
        }
    }
}

fn ends(interval: Interval) -> (f64, f64) {
    (interval.low, interval.high)
}

pub fn published(summary: &Summary, tables: &[Table]) -> Markup {
    html! {
        @if !summary.published.is_empty() {
            section #published {
                h2 { "Published beside ours" }
                p.fine {
                    "Hollow diamond: the published number; dot and bar: our mean over seeds and its interval, at the \
                     learning rate that validation chose."
                }
                div.cards {
                    @for number in &summary.published { article { (published_card(number)) } }
                }
                p.data { (table_link(tables, "published")) }
            }
        }
    }
}

fn published_card(number: &PublishedResult) -> Markup {
    let place = if number.r#where.is_empty() { "all runs" } else { &number.r#where };
    let interval = number.interval.map(|i| format!(" {i:.3}")).unwrap_or_default();
    let ours = match number.mean {
        None if number.success.1 == 0 => "not measured".to_owned(),
        None => "no number: fewer than two seeds train".to_owned(),
        Some(mean) => format!("{mean:.3}{interval} (n = {})", number.n),
    };
    let gauge = Gauge {
        description: format!("{place}: published {}, ours {ours}", number.published),
        label: number.metric.to_string(),
        estimate: number.mean,
        interval: number.interval.map(ends),
        wanted: None,
        mark: Some(number.published),
        extent: if number.metric.is_fraction() { (0.0, 1.0) } else { NONE },
    };
    html! {
        h3 { (name(place)) }
        (gauge.svg())
        p.fine {
            "Published " (number.published)
            @if let Some(spread) = number.spread { " ± " (spread) }
            ", ours " (ours) "; " (number.success.0) " of " (number.success.1) " runs train."
            @if let Some(source) = &number.source { " Source: " (source) "." }
        }
    }
}
