//! The whole summary as text.

use std::fmt::Write as _;

use super::answer::Answer;
use super::tables;
use wninit_core::fmt::{percent, plural};
use wninit_core::grid::Metric;
use wninit_core::text::{one_line, wrap};
use wninit_core::text_table::Style;
use wninit_stats::interval::LEVEL;
use wninit_stats::summary::{ClaimResult, Summary};
use wninit_stats::verdict::Verdict;

/// The summary: its head, tables, claims and notes.
pub(super) fn story(summary: &Summary, name: &str, style: Style) -> String {
    let mut text = String::new();
    let counts = summary.counts;
    let about_the_start = |claim: &ClaimResult| claim.metric == Metric::LogSpectralNorm;
    let measured_only = counts.finished == 0
        && summary.measured > 0
        && !summary.claims.is_empty()
        && summary.claims.iter().all(about_the_start);
    let mut head = format!("{}: {} planned", one_line(name), plural(counts.planned, "run"));
    if !measured_only {
        let _ = write!(head, ", {} finished", counts.finished);
    }
    let parts: Vec<String> = [(counts.diverged, "diverged"), (counts.at_chance, "at chance")]
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{n} {what}"))
        .collect();
    if !parts.is_empty() {
        let _ = write!(head, " ({})", parts.join(", "));
    }
    for (n, what) in [(counts.failed, "failed"), (counts.missing, "missing")] {
        if n > 0 && !measured_only {
            let _ = write!(head, ", {n} {what}");
        }
    }
    if summary.measured > 0 {
        let _ = write!(head, ", curvature of {} measured", summary.measured);
    }
    let _ = writeln!(text, "{}", style.bold(&wrap(&head, style.width, 2)));
    if !summary.constants.is_empty() {
        let all: Vec<String> = summary
            .constants
            .iter()
            .map(|(name, value)| match *name {
                "dataset" | "model" | "precision" | "init" => value.clone(),
                "norm" => format!("{value} norm"),
                "epochs" => plural_of(value, "epoch"),
                name => format!("{name} {value}"),
            })
            .collect();
        let _ = writeln!(text, "{}", style.dim(&wrap(&all.join(", "), style.width, 2)));
    }
    if counts.finished > 0 {
        text.push('\n');
        for line in Answer::of(summary).lines() {
            let _ = writeln!(text, "{}", wrap(&line, style.width, 2));
        }
    }
    if measured_only {
        let _ = writeln!(text, "\nNothing is trained: the claims are about the start.");
    } else if counts.finished == 0 {
        let _ = writeln!(text, "\nNothing is finished yet.");
    } else {
        let _ = write!(text, "\n{}", tables::ranking(summary).text(style));
        let _ = writeln!(text, "{}", style.dim(&wrap(&legend(summary), style.width, 0)));
    }
    if !summary.claims.is_empty() {
        let _ = writeln!(text, "\n{}", style.bold("Claims"));
        for claim in &summary.claims {
            let colour = match claim.verdict() {
                Verdict::Supported => "32",
                Verdict::Refuted => "31",
                Verdict::Undecided | Verdict::NotTestable => "33",
            };
            let verdict = style.paint(colour, &format!("{:<12}", claim.verdict()));
            let indent = 2 + 12 + 2;
            let room = style.width - indent;
            let margin = "\n".to_owned() + &" ".repeat(indent);
            let words = wrap(&claim.text, room, 0).replace('\n', &margin);
            let reason = wrap(&claim.brief(), room, 0);
            let reason: Vec<String> = reason.lines().map(|line| style.dim(line)).collect();
            let _ = writeln!(text, "  {verdict}  {words}{margin}{}", reason.join(&margin));
        }
    }
    if !summary.published.is_empty() {
        let _ = write!(text, "\n{}", tables::published(summary).text(style));
    }
    let _ = writeln!(text, "\n{}", style.bold("Notes"));
    let _ = writeln!(text, "  {}", wrap(&untested(summary), style.width, 2));
    if !summary.notes.is_empty() {
        for note in &summary.notes {
            let _ =
                writeln!(text, "  {}", wrap(&note.text, style.width - 2, 0).replace('\n', "\n  "));
        }
    }
    text
}

/// The varied fields, and what was not tested.
fn untested(summary: &Summary) -> String {
    const MOST: usize = 8;
    let varied = summary.axes.iter().map(|axis| {
        let n = axis.values.len();
        let labels: Vec<String> = (0..n).map(|i| axis.label(i)).collect();
        match n {
            ..=MOST => format!("{} ({})", axis.field.name, labels.join(", ")),
            _ => format!("{} ({n} values, {} to {})", axis.field.name, labels[0], labels[n - 1]),
        }
    });
    let varied: Vec<String> = varied.chain(["the seed".to_owned()]).collect();
    let others = summary.inits_not_tried();
    let others = match others[..] {
        [] => String::new(),
        _ => format!(", nor the initializers {}", others.join(", ")),
    };
    format!("Varied: {}. Not tested: anything else{others}.", varied.join("; "))
}

/// How to read [`tables::ranking`].
fn legend(summary: &Summary) -> String {
    let trained = match summary.success_metric {
        Metric::Diverged => "not diverged: as the claims ask",
        _ => "trained: neither diverged nor at chance",
    };
    format!(
        "{trained}. Success decides first, then the accuracy of the runs that train, on n seeds. Brackets: {} \
         interval, wider where the lr was chosen in the same seeds. p: for all pairs of initializers at once. \
         not told apart: no difference is shown; one as large as detectable would be, with probability 0.8. More: --table \
         cells, pairs, settings.",
        percent(LEVEL)
    )
}

/// "1 epoch", "2 epochs".
fn plural_of(count: &str, what: &str) -> String {
    count.parse().map_or_else(|_| format!("{count} {what}s"), |n| plural(n, what))
}
