//! The initializers over the whole sweep.

use maud::{Markup, html};

use super::chart::Look;
use super::markup::name;
use super::table_link;
use wninit_core::fmt;
use wninit_core::table::Table;
use wninit_stats::summary::{InitializerSummary, NEAR_BEST, Summary};

pub fn section(summary: &Summary, tables: &[Table]) -> Markup {
    let banded = summary.initializers.iter().any(|s| s.lr_band_decades.is_some());
    let head = ["Runs", "Success", "IQM", "Near best", "lr decades", "Deepest", "Against baseline"];
    let shown = |heading: &str| banded || heading != "lr decades";
    html! {
        section #robustness {
            h2 { "Robustness" }
            div.scroll {
                table {
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
                            tr {
                                th scope="row" { (Look(arm).swatch()) (name(&s.label)) }
                                @for (_, cell) in head.iter().zip(cells(s)).filter(|(heading, _)| shown(heading)) {
                                    td.n { (cell) }
                                }
                            }
                        }
                    }
                }
            }
            p.fine {
                em { "Success" } ": share of finished runs that converged to better than guessing. "
                em { "IQM" } ": interquartile mean of test accuracy. "
                em { "Near best" } ": share of runs within " (NEAR_BEST) " of the best setting of their task."
                @if banded {
                    " " em { "lr decades" }
                    ": width of the band of learning rates at which most seeds succeed, mean over settings."
                }
                " " em { "Deepest" } ": layers that most seeds of some setting train, of those tried. "
                em { "Against baseline" }
                ": mean difference in test accuracy, each at its best learning rate, paired by seed."
            }
            p.data {
                @for name in ["cells", "initializers", "pairs", "variance"] { (table_link(tables, name)) " " }
            }
        }
    }
}

fn cells(s: &InitializerSummary) -> [String; 7] {
    let none = || "–".to_owned();
    let percent = |share: Option<f64>| share.map_or_else(none, fmt::percent);
    let interval = s.iqm_interval.map(|i| format!(" {i:.3}")).unwrap_or_default();
    [
        s.counts.finished.to_string(),
        percent(s.success_rate),
        s.iqm.map_or_else(none, |iqm| format!("{iqm:.3}")) + &interval,
        percent(s.near_best),
        s.lr_band_decades.map_or_else(none, |decades| format!("{decades:.1}")),
        match (s.deepest, s.deepest_tested) {
            (Some(deepest), Some(tested)) => format!("{deepest} of {tested}"),
            (None, Some(tested)) => format!("none of {tested}"),
            _ => none(),
        },
        match s.difference {
            _ if s.is_baseline => "baseline".to_owned(),
            None => none(),
            Some(d) => {
                let interval = d.interval.map(|i| format!(" {i:+.3}")).unwrap_or_default();
                format!("{:+.3}{interval}", d.mean)
            }
        },
    ]
}
