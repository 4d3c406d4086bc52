//! The initializers over the whole sweep.

use maud::{Markup, html};

use super::chart::Look;
use super::markup::{fold, name};
use super::table_link;
use wninit_core::table::Table;
use wninit_stats::summary::{InitializerSummary, Summary};

pub fn section(summary: &Summary, tables: &[Table]) -> Markup {
    let banded = summary.initializers.iter().any(|s| s.lr_band_decades.is_some());
    let head = ["Trained", "Share of seeds", "At the chosen rate", "lr decades"];
    let shown = |heading: &str| banded || !["lr decades", "At the chosen rate"].contains(&heading);
    let content = html! {
                table.stacked {
                    thead {
                        tr {
                            th scope="col" { "Initializer" }
                            @for heading in head.iter().filter(|heading| shown(heading)) {
                                th.n scope="col" { (heading) }
                            }
                        }
                    }
                    tbody {
                        @for (arm, s) in summary.initializers.iter().enumerate() {
                            tr data-arm=(arm) {
                                th scope="row" { (Look(arm).swatch()) (name(&s.label)) }
                                @for (heading, cell) in head.iter().zip(cells(s)).filter(|(heading, _)| shown(heading)) {
                                    td.n data-label=(heading) { (cell) }
                                }
                            }
                        }
                    }
                }
            p.fine {
                em { "Trained" } ": runs in all cells that neither diverged nor stayed at chance. "
                em { "Share of seeds" } ": the same as a mean over cells and seeds, with its interval over seeds."
                @if banded {
                    " " em { "lr decades" }
                    ": width of the band of neighbouring learning rates at which most seeds train, mean over settings."
                }
            }
            p.data {
                @for name in ["cells", "initializers", "pairs", "variance"] { (table_link(tables, name)) " " }
            }
    };
    fold("robustness", "Robustness", &content)
}

fn cells(s: &InitializerSummary) -> [String; 4] {
    let of = |(k, n): (usize, usize)| format!("{k} of {n}");
    let success = s.success.map(|s| format!("{:.2} {:.2}", s.value, s.interval));
    [
        of(s.trained),
        success.unwrap_or_else(|| "–".to_owned()),
        of(s.trained_chosen),
        s.lr_band_decades.map_or_else(|| "–".to_owned(), |decades| format!("{decades:.1}")),
    ]
}
