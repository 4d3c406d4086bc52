//! The report of a sweep, as one HTML page.
//!
//! The page needs no network, no script and no fonts but the reader's: charts are inline SVG, each
//! with its data as a CSV link. It is well-formed XML as well as HTML, for any names, and is
//! readable on a phone, in dark mode and on paper.

mod answer;
mod chart;
mod claims;
mod figures;
mod gaps;
mod markup;
mod robustness;
pub mod signal;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use maud::{Markup, html};

use figures::{Figure, Figures};
use markup::{csv_link, document, slug};
use wninit_core::job::JobId;
use wninit_core::results::EpochRow;
use wninit_core::table::Table;
use wninit_stats::summary::Summary;

pub struct ReportInput<'a> {
    pub name: &'a str,
    pub about: Option<&'a str>,
    pub summary: &'a Summary,
    pub curves: &'a HashMap<JobId, Vec<EpochRow>>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// The report, an HTML page. The same results give the same page.
pub fn page(input: &ReportInput) -> String {
    let summary = input.summary;
    let tables = summary.tables();
    let figures = Figures::new(summary, input.curves).all();
    let any = summary.counts.finished > 0;
    let main = html! {
        (header(input))
        @if any { (answer::section(summary, &tables)) }
        (gaps::section(summary))
        (claims::claims(summary, &tables))
        (contents(summary, &figures))
        div.figures {
            @for shown in &figures { (figure(shown)) }
        }
        @if any { (robustness::section(summary, &tables)) }
        (claims::published(summary, &tables))
        (footer(summary, &tables))
    };
    document(input.name, &main)
}

fn header(input: &ReportInput) -> Markup {
    let counts = input.summary.counts;
    let tiles = [
        (counts.planned, "planned", ""),
        (counts.finished, "finished", ""),
        (counts.diverged, "diverged", "bad"),
        (counts.at_chance, "at chance", "bad"),
        (counts.failed, "failed", "bad"),
        (counts.missing, "missing", "bad"),
    ];
    html! {
        header {
            h1 { (input.name) }
            @if let Some(about) = input.about { p.about { (about) } }
            ul.counts {
                @for (n, what, class) in tiles {
                    li class=(if n == 0 { "none" } else { class }) { b { (n) } " " (what) }
                }
            }
            @if !input.summary.constants.is_empty() {
                p.constants {
                    "Throughout: "
                    @for (i, (name, value)) in input.summary.constants.iter().enumerate() {
                        @if i > 0 { ", " }
                        (name) " " b { (value) }
                    }
                    "."
                }
            }
            @if let Some(at) = input.finished_at {
                p.constants { "Last run finished " (at.format("%Y-%m-%d %H:%M").to_string()) " UTC." }
            }
        }
    }
}

fn contents(summary: &Summary, figures: &[Figure]) -> Markup {
    html! {
        nav aria-label="Figures" {
            @for figure in figures { a href={ "#" (slug(figure.title)) } { (figure.title) } " " }
            @if summary.counts.finished > 0 { a href="#robustness" { "Robustness" } " " }
            @if !summary.published.is_empty() { a href="#published" { "Published beside ours" } }
        }
    }
}

fn figure(figure: &Figure) -> Markup {
    let id = slug(figure.title);
    html! {
        section id=(id) class=(if figure.panels.len() == 1 { "single" } else { "several" }) {
            h2 { (figure.title) }
            p.fine { (figure.text) }
            figure {
                @if !figure.legend.0.is_empty() { p.legend { (figure.legend) } }
                div.panels {
                    @for panel in &figure.panels { (panel) }
                }
                p.data { (csv_link(&id, "Data (CSV)", &figure.data.csv())) }
            }
        }
    }
}

fn footer(summary: &Summary, tables: &[Table]) -> Markup {
    html! {
        footer {
            p {
                "Accuracies are fractions of the test set at the best validation epoch, of the runs that train: that \
                 neither diverged nor have a test accuracy that guessing could give. The seed is the unit of replication, and learning rates are chosen on \
                 validation."
                @if let Some(b) = summary.baseline { " The baseline is " (summary.initializers[b].label) "." }
                " Point at a mark to read its numbers."
            }
            p.data {
                "All tables: "
                @for table in tables.iter().filter(|table| !table.rows.is_empty()) {
                    (table_link(tables, table.name)) " "
                }
            }
            p { "Made by wninit " (env!("CARGO_PKG_VERSION")) "." }
        }
    }
}

/// A link that contains a table of the summary.
fn table_link(tables: &[Table], name: &str) -> Markup {
    let table = tables.iter().find(|table| table.name == name);
    html! { @if let Some(table) = table { (csv_link(name, &format!("{name}.csv"), &table.csv())) } }
}
