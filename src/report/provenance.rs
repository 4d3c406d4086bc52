//! Where the numbers come from, and how to make them again.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::markup::fold;
use wninit_core::fmt::{duration, plural};
use wninit_core::grid::Explored;
use wninit_core::results::Record;

pub fn section(records: &[Record], explored: Option<&Explored>) -> Markup {
    let all = |value: &dyn Fn(&Record) -> &str| {
        let distinct: BTreeSet<&str> =
            records.iter().map(value).filter(|v| !v.is_empty()).collect();
        distinct.into_iter().collect::<Vec<_>>().join(", ")
    };
    let machines = all(&|r| &r.provenance.hostname);
    let instructions = all(&|r| r.provenance.instruction_set.as_deref().unwrap_or_default());
    let processors = all(&|r| r.provenance.processor.as_deref().unwrap_or_default());
    let seconds: f64 = records.iter().map(|r| r.train_seconds).filter(|s| s.is_finite()).sum();
    let day = |at: &chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%d %H:%M").to_string();
    let first = records.iter().map(|r| &r.provenance.started_at).min().map(day);
    let last = records.iter().map(|r| &r.provenance.finished_at).max().map(day);
    let rows = [
        ("commit of wninit", all(&|r| &r.provenance.git_sha)),
        ("libtorch", all(&|r| &r.provenance.libtorch)),
        ("device", all(&|r| &r.provenance.device)),
        ("processor", processors),
        ("instruction set", instructions),
        ("machine", machines),
        ("trained", first.zip(last).map(|(a, b)| format!("{a} to {b} UTC")).unwrap_or_default()),
        (
            "compute",
            format!("{} of one worker, {}", duration(seconds), plural(records.len(), "run")),
        ),
    ];
    let content = html! {
        table.facts {
            tbody {
                @for (what, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
                    tr { th scope="row" { (what) } td { (value) } }
                }
            }
        }
        p { "To make it again:" }
        pre { code {
            @match explored {
                Some(explored) => { "wninit confirm " (explored.folder) },
                None => "wninit run grid.toml",
            }
            "  # trains what is missing in results/\n"
            "wninit verify .  # trains a sample of these runs again and compares\n"
            "wninit report .  # this page"
        } }
        p.fine { "In this page's folder; grid.toml there is the grid, runs.csv has a row for each run." }
    };
    fold("provenance", "How it was made", &content)
}
