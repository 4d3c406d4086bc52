//! The whole summary as text.

use std::fmt::Write as _;

use super::tables::{self, hidden_cells};
use wninit_core::fmt::plural;
use wninit_core::text::{one_line, wrap};
use wninit_core::text_table::Style;
use wninit_stats::interval::Interval;
use wninit_stats::summary::{NEAR_BEST, Summary};
use wninit_stats::verdict::Verdict;

/// The summary: its head, tables, claims and notes.
pub(super) fn story(summary: &Summary, name: &str, style: Style) -> String {
    let mut text = String::new();
    let counts = summary.counts;
    let mut head = format!(
        "{}: {} planned, {} finished",
        one_line(name),
        plural(counts.planned, "run"),
        counts.finished
    );
    let parts: Vec<String> = [(counts.diverged, "diverged"), (counts.at_chance, "at chance")]
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{n} {what}"))
        .collect();
    if !parts.is_empty() {
        let _ = write!(head, " ({})", parts.join(", "));
    }
    for (n, what) in [(counts.failed, "failed"), (counts.missing, "missing")] {
        if n > 0 {
            let _ = write!(head, ", {n} {what}");
        }
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
    if counts.finished == 0 {
        let _ = writeln!(text, "\nNothing is finished yet.");
    } else {
        let _ = write!(text, "\n{}", tables::cells(summary).text(style));
        if hidden_cells(summary) > 0 {
            let more = format!(
                "{} with other learning rates not shown: --table cells",
                plural(hidden_cells(summary), "cell")
            );
            let _ = writeln!(text, "{}", style.dim(&more));
        }
        let _ = write!(text, "\n{}", tables::initializers(summary).text(style));
        let _ = writeln!(text, "{}", style.dim(&wrap(&legend(summary), style.width, 0)));
        for answer in answers(summary) {
            let _ = writeln!(text, "{}", wrap(&answer, style.width, 2));
        }
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
            let reason = wrap(&claim.reason(), room, 0);
            let reason: Vec<String> = reason.lines().map(|line| style.dim(line)).collect();
            let _ = writeln!(text, "  {verdict}  {words}{margin}{}", reason.join(&margin));
        }
    }
    if !summary.published.is_empty() {
        let _ = write!(text, "\n{}", tables::published(summary).text(style));
    }
    if !summary.notes.is_empty() {
        let _ = writeln!(text, "\n{}", style.bold("Notes"));
        for note in &summary.notes {
            let _ = writeln!(text, "  {}", wrap(note, style.width - 2, 0).replace('\n', "\n  "));
        }
    }
    text
}

/// What the columns of [`tables::initializers`] mean.
fn legend(summary: &Summary) -> String {
    let mut text = format!(
        "success: converged to better than chance. IQM: interquartile mean of test accuracy. \
         near best: runs within {} of the best cell of their depth.",
        NEAR_BEST
    );
    if summary.initializers.iter().any(|s| s.lr_band_decades.is_some()) {
        text += " lr decades: width of the band of learning rates with which most seeds succeed, mean over depths.";
    }
    text + " deepest: layers that most seeds train / layers tried."
}

/// Each initializer against the baseline, a sentence each.
fn answers(summary: &Summary) -> Vec<String> {
    let mut answers = Vec::new();
    let Some(baseline) = summary.baseline.map(|b| summary.initializers[b].label.as_str()) else {
        return answers;
    };
    for arm in &summary.initializers {
        let Some(d) = arm.difference else { continue };
        let verb = match d.interval {
            Some(Interval { low, .. }) if low > 0.0 => "is better than",
            Some(Interval { high, .. }) if high < 0.0 => "is worse than",
            Some(_) => "is not shown to differ from",
            None => "against",
        };
        let interval = d.interval.map(|i| format!(" {i:+.3}")).unwrap_or_default();
        answers.push(format!(
            "{} {verb} {baseline}: {:+.3}{interval} test accuracy, each at its best lr, {} paired.",
            arm.label,
            d.mean,
            plural(d.n, "seed")
        ));
    }
    let incomplete: Vec<&str> = summary
        .initializers
        .iter()
        .filter(|arm| !arm.is_baseline && arm.counts.finished > 0 && arm.difference.is_none())
        .map(|arm| arm.label.as_str())
        .collect();
    if !incomplete.is_empty() {
        answers.push(format!(
            "No overall difference from {baseline} for {}: no seed is finished in every setting. \
             --table pairs has the differences setting by setting.",
            incomplete.join(", ")
        ));
    }
    answers
}

/// "1 epoch", "2 epochs".
fn plural_of(count: &str, what: &str) -> String {
    count.parse().map_or_else(|_| format!("{count} {what}s"), |n| plural(n, what))
}
