//! What a sweep has shown, as one HTML page for people.
//!
//! The page needs no network, no script and no fonts but the reader's: charts are SVG in it, and each
//! holds its data as a CSV link. It is well-formed XML as well as HTML, whatever the sweep's
//! names are, and it reads on a phone, in the dark and on paper.

mod chart;
mod figures;
mod markup;
pub mod signal;

use std::collections::HashMap;
use std::fmt::Write;

use chrono::{DateTime, Utc};

use chart::{Gauge, Look};
use figures::{Figure, Figures};
use markup::{csv_link, escape, name, slug};
use wninit_core::job::{Init, JobId, Value};
use wninit_core::results::EpochRow;
use wninit_core::table::{Table, significant};
use wninit_stats::estimates::{Interval, LEVEL};
use wninit_stats::summary::{
    Advice, Axis, ClaimResult, NEAR_BEST, PublishedResult, Recommendation, Summary, Verdict, plural,
};

/// What a report is made of.
pub struct Input<'a> {
    /// The sweep's name.
    pub name: &'a str,
    /// What the sweep asks.
    pub about: Option<&'a str>,
    /// Its answers.
    pub summary: &'a Summary,
    /// The curves of its jobs.
    pub curves: &'a HashMap<JobId, Vec<EpochRow>>,
    /// When the last job was finished.
    pub finished_at: Option<DateTime<Utc>>,
}

/// The report, an HTML page. The same results give the same page.
pub fn page(input: &Input) -> String {
    let summary = input.summary;
    let tables = summary.tables();
    let figures = Figures::new(summary, input.curves).all();
    let mut body = String::new();
    header(&mut body, input);
    if summary.counts.finished > 0 {
        answer(&mut body, summary);
    }
    not_measured(&mut body, summary);
    claims(&mut body, summary, &tables);
    contents(&mut body, summary, &figures);
    body.push_str("<div class=\"figures\">\n");
    for shown in &figures {
        figure(&mut body, shown);
    }
    body.push_str("</div>\n");
    if summary.counts.finished > 0 {
        robustness(&mut body, summary, &tables);
    }
    published(&mut body, summary, &tables);
    method(&mut body, summary, &tables);
    html(input.name, &body)
}

/// A page with this title around what stands in its `main`.
fn html(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\" />\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n\
         <meta name=\"color-scheme\" content=\"light dark\" />\n\
         <link rel=\"icon\" href=\"data:,\" />\n\
         <title>{} – wninit</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(title),
        include_str!("style.css"),
    )
}

fn header(body: &mut String, input: &Input) {
    let (summary, counts) = (input.summary, input.summary.counts);
    let _ = write!(body, "<header>\n<h1>{}</h1>\n", escape(input.name));
    if let Some(about) = input.about {
        let _ = writeln!(body, "<p class=\"about\">{}</p>", escape(about));
    }
    body.push_str("<ul class=\"counts\">\n");
    let tiles = [
        (counts.planned, "planned", ""),
        (counts.finished, "finished", ""),
        (counts.diverged, "diverged", "bad"),
        (counts.at_chance, "at chance", "bad"),
        (counts.failed, "failed", "bad"),
        (counts.missing, "missing", "bad"),
    ];
    for (n, what, class) in tiles {
        let class = if n == 0 { "none" } else { class };
        let _ = writeln!(body, "<li class=\"{class}\"><b>{n}</b> {what}</li>");
    }
    body.push_str("</ul>\n");
    if !summary.constants.is_empty() {
        let all: Vec<String> = summary
            .constants
            .iter()
            .map(|(name, value)| format!("{name} <b>{}</b>", escape(value)))
            .collect();
        let _ = writeln!(body, "<p class=\"constants\">Throughout: {}.</p>", all.join(", "));
    }
    if let Some(at) = input.finished_at {
        let _ = writeln!(
            body,
            "<p class=\"constants\">Last run finished {} UTC.</p>",
            at.format("%Y-%m-%d %H:%M")
        );
    }
    body.push_str("</header>\n");
}

fn interval_text(interval: Option<Interval>) -> String {
    interval.map(|i| format!(" [{:.3}, {:.3}]", i.low, i.high)).unwrap_or_default()
}

/// "a, b and c".
fn and(words: &[String]) -> String {
    listed(words, "and")
}

fn listed(words: &[String], last_by: &str) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} {last_by} {last}", most.join(", ")),
    }
}

fn answer(body: &mut String, summary: &Summary) {
    let several = summary.recommendations.len() > 1;
    body.push_str("<section id=\"answer\">\n<h2>Which initializer?</h2>\n");
    in_short(body, summary);
    let deep = summary.recommendations.last().and_then(|r| r.layers).is_some();
    let head = if deep { "<th scope=\"col\" class=\"n\">Layers</th>" } else { "" };
    let _ = writeln!(
        body,
        "<table class=\"answer\">\n<thead><tr>{head}<th scope=\"col\">Use</th><th scope=\"col\">How sure</th></tr></thead>\n<tbody>"
    );
    for r in &summary.recommendations {
        let layers = r
            .layers
            .map(|n| {
                format!("<th scope=\"row\" class=\"n\">{n}<span class=\"unit\"> layers</span></th>")
            })
            .unwrap_or_default();
        let _ = writeln!(
            body,
            "<tr>{layers}<td>{}</td><td>{}</td></tr>",
            use_this(summary, r),
            how_sure(summary, r)
        );
    }
    body.push_str("</tbody>\n</table>\n");
    let rate = match summary.axis("lr") {
        Some(_) => "The initializer and its learning rate are",
        None => "The initializer is",
    };
    let _ = writeln!(
        body,
        "<p class=\"fine\">{rate} chosen on validation accuracy{}; the accuracies are on the test set, \
         with {:.0} % intervals over seeds. <em>Better</em> means that the interval of the difference, \
         paired by seed and widened for the number of rivals, excludes zero.</p>\n</section>",
        if several { ", depth by depth" } else { "" },
        LEVEL * 100.0
    );
}

/// The conclusions, a line for the neighbouring depths that have the same one.
fn in_short(body: &mut String, summary: &Summary) {
    // What a line says, but for its numbers: the advice, and whom it leaves in the running.
    let conclusion = |r: &Recommendation| {
        let open = r.rivals.iter().filter(|rival| !rival.is_worse()).map(|rival| rival.arm);
        let mut running: Vec<usize> = open.chain([r.best]).collect();
        running.sort_unstable();
        (r.advice, r.n < 2, running)
    };
    body.push_str("<ul class=\"short\">\n");
    for group in summary.recommendations.chunk_by(|a, b| conclusion(a) == conclusion(b)) {
        let (advice, unknown, running) = conclusion(&group[0]);
        let label = |&arm: &usize| format!("<b>{}</b>", name(&summary.initializers[arm].label));
        let all: Vec<String> = running.iter().map(label).collect();
        let worse: Vec<String> = (0..summary.initializers.len())
            .filter(|arm| group[0].rivals.iter().any(|r| r.arm == *arm && r.is_worse()))
            .map(|arm| name(&summary.initializers[arm].label))
            .collect();
        let layers: Vec<String> =
            group.iter().filter_map(|r| r.layers).map(|n| n.to_string()).collect();
        let place = if layers.is_empty() {
            String::new()
        } else {
            format!("<b>{} layers:</b> ", and(&layers))
        };
        let use_word = if place.is_empty() { "Use" } else { "use" };
        let means: Vec<String> =
            group.iter().filter_map(|r| Some(format!("{:.3}", r.mean?))).collect();
        let reached = match &means[..] {
            [] => String::new(),
            [one] => format!(" (test accuracy {one})"),
            [first, .., last] => format!(" (test accuracy {first} to {last})"),
        };
        let says = match advice {
            Advice::NothingTrains => "no initializer that was tried trains".to_owned(),
            _ if unknown => "not known, for want of seeds".to_owned(),
            Advice::Alone => format!("{} was the only one tried{reached}", all.concat()),
            Advice::Clear => {
                format!("{use_word} {}{reached}. Shown to be worse: {}", all.concat(), and(&worse))
            }
            Advice::Tied if worse.is_empty() => {
                format!("open which of {} is best{reached}", and(&all))
            }
            Advice::Tied => format!(
                "{use_word} {}{reached}; which of them is best is open. Shown to be worse: {}",
                listed(&all, "or"),
                and(&worse)
            ),
        };
        let _ = writeln!(body, "<li>{place}{says}.</li>");
    }
    let mut guesses: Vec<f64> =
        summary.cells.iter().map(|cell| wninit_stats::summary::chance(&cell.job)).collect();
    guesses.dedup();
    if let [guess] = guesses[..] {
        let _ = writeln!(body, "<li>Guessing gives a test accuracy of {guess:.3}.</li>");
    }
    let not_tried = not_tried(summary);
    let gap = match summary.counts.planned - summary.counts.finished {
        0 => String::new(),
        gap => format!("{} of the plan; ", plural(gap, "run")),
    };
    let others = match not_tried.len() {
        0 => String::new(),
        n => format!("{}; ", plural(n, "other initializer")),
    };
    let _ = writeln!(
        body,
        "<li>Not measured: {gap}{others}all that was <a href=\"#gaps\">held fixed</a>.</li>\n</ul>"
    );
}

/// The initializers that the sweep's networks could have had, and did not.
fn not_tried(summary: &Summary) -> Vec<&'static str> {
    let tried = |init: &Init| summary.cells.iter().any(|cell| cell.job.init == *init);
    let possible = |init: &Init| {
        let value = Value::Text(init.name().to_owned());
        summary.cells.iter().any(|cell| cell.job.with(&[("init", value.clone())]).is_ok())
    };
    Init::all().filter(|init| !tried(init) && possible(init)).map(Init::name).collect()
}

/// "lr (0.001, 0.01, 0.1)".
fn varied(axis: &Axis) -> String {
    const MOST: usize = 8;
    let labels: Vec<String> = (0..axis.values.len())
        .map(|i| axis.label(i))
        .map(|label| if label.is_empty() { "none".to_owned() } else { escape(&label) })
        .collect();
    let values = match &labels[..] {
        [first, .., last] if labels.len() > MOST => {
            format!("{} values from {first} to {last}", labels.len())
        }
        few => few.join(", "),
    };
    format!("<b>{}</b> ({values})", escape(axis.field.name))
}

fn use_this(summary: &Summary, r: &Recommendation) -> String {
    let arm = |arm: usize| format!("<b>{}</b>", name(&summary.initializers[arm].label));
    let mut text = match r.advice {
        Advice::NothingTrains => {
            format!("<b class=\"no\">None that was tried.</b> The best is {}", arm(r.best))
        }
        _ => format!("{}{}", Look(r.best).swatch(), arm(r.best)),
    };
    let rate = if r.lr.0 == r.lr.1 {
        format!("lr {}", significant(r.lr.0, 3))
    } else {
        format!("lr {} to {}", significant(r.lr.0, 3), significant(r.lr.1, 3))
    };
    let mean = r.mean.map_or("no seed has every setting".to_owned(), |mean| format!("{mean:.3}"));
    let _ = write!(
        text,
        "<br /><span class=\"num\">{mean}{} at {rate}; {} of {} trained</span>",
        interval_text(r.interval),
        r.successes,
        plural(r.runs, "run")
    );
    text
}

fn how_sure(summary: &Summary, r: &Recommendation) -> String {
    let label = |arm: usize| escape(&summary.initializers[arm].label);
    let (worse, open): (Vec<_>, Vec<_>) = r.rivals.iter().partition(|rival| rival.is_worse());
    let names = |rivals: &[&wninit_stats::summary::Rival]| -> Vec<String> {
        rivals.iter().map(|rival| label(rival.arm)).collect()
    };
    let seeds = plural(r.n, "seed");
    let mut text = match r.advice {
        _ if r.n < 2 => {
            format!("<b class=\"maybe\">Not known.</b> {seeds} cannot tell chance from merit.")
        }
        Advice::NothingTrains => {
            "<b class=\"no\">No recommendation.</b> Most of its runs diverged or stayed at chance."
                .to_owned()
        }
        Advice::Alone => format!("<b class=\"maybe\">Nothing to compare with.</b> {seeds}."),
        Advice::Clear => {
            format!("<b class=\"yes\">Clear.</b> Better than {} ({seeds}).", and(&names(&worse)))
        }
        Advice::Tied if worse.is_empty() => format!(
            "<b class=\"maybe\">Open.</b> Not shown to be better than {} ({seeds}).",
            and(&names(&open))
        ),
        Advice::Tied => format!(
            "<b class=\"maybe\">Among the best.</b> Better than {}; not shown to be better than {} ({seeds}).",
            and(&names(&worse)),
            and(&names(&open))
        ),
    };
    if r.n_contexts > 1 {
        let over: Vec<String> = summary
            .context_axes()
            .into_iter()
            .map(|axis| summary.axes[axis].field.name)
            .filter(|field| r.layers.is_none() || !["depth", "blocks"].contains(field))
            .map(escape)
            .collect();
        let _ = write!(text, " Mean over {} settings of {}.", r.n_contexts, and(&over));
    }
    match (r.lr_at_bottom, r.lr_at_top) {
        (true, true) => text += " The best rates lie at both ends of those tried: widen the range.",
        (true, false) => {
            text += " The smallest rate tried was the best: a smaller one may be better."
        }
        (false, true) => {
            text += " The greatest rate tried was the best: a greater one may be better."
        }
        (false, false) => {}
    }
    text
}

fn not_measured(body: &mut String, summary: &Summary) {
    let counts = summary.counts;
    body.push_str("<section id=\"gaps\">\n<h2>What was not measured</h2>\n<ul>\n");
    if counts.failed + counts.missing == 0 {
        body.push_str("<li>Nothing of the plan is missing.</li>\n");
    } else {
        let mut by_arm: Vec<String> = Vec::new();
        for s in summary.initializers.iter().filter(|s| s.n_failed + s.n_missing > 0) {
            by_arm.push(format!("{} {}", escape(&s.label), s.n_failed + s.n_missing));
        }
        let _ = writeln!(
            body,
            "<li><b>{} of {}</b> are not finished ({} failed, {} missing): {}.</li>",
            counts.failed + counts.missing,
            plural(counts.planned, "planned run"),
            counts.failed,
            counts.missing,
            and(&by_arm)
        );
        let bare = summary.cells.iter().filter(|cell| cell.n_finished == 0).count();
        if bare > 0 {
            let _ = writeln!(
                body,
                "<li><b>{bare} of {}</b> have no finished run at all.</li>",
                plural(summary.cells.len(), "setting")
            );
        }
    }
    let most = summary.cells.iter().map(|cell| cell.n_finished).max().unwrap_or(0);
    if most > 0 {
        let least = summary.cells.iter().map(|cell| cell.n_finished).min().unwrap_or(0);
        let seeds =
            if least == most { plural(most, "seed") } else { format!("{least} to {most} seeds") };
        let _ = writeln!(body, "<li>Each setting was tried with {seeds}.</li>");
    }
    let varied: Vec<String> = summary.axes.iter().map(varied).collect();
    if varied.is_empty() {
        body.push_str("<li>Nothing but the seed was varied.</li>\n");
    } else {
        let _ = writeln!(
            body,
            "<li>Only {} and the seed were varied; how other settings would fare is not known.</li>",
            varied.join(", ")
        );
    }
    let not_tried = not_tried(summary);
    if !not_tried.is_empty() {
        let _ = writeln!(body, "<li>Initializers not tried: {}.</li>", not_tried.join(", "));
    }
    for note in &summary.notes {
        let _ = writeln!(body, "<li>{}</li>", escape(note));
    }
    body.push_str("</ul>\n</section>\n");
}

fn table_link(tables: &[Table], name: &str) -> String {
    let Some(table) = tables.iter().find(|table| table.name == name) else {
        return String::new();
    };
    let mut bytes = Vec::new();
    match table.write_csv(&mut bytes) {
        Ok(()) => csv_link(name, &format!("{name}.csv"), &bytes),
        Err(_) => String::new(), // writing to memory does not fail
    }
}

fn claims(body: &mut String, summary: &Summary, tables: &[Table]) {
    if summary.claims.is_empty() {
        return;
    }
    body.push_str("<section id=\"claims\">\n<h2>Claims</h2>\n<p class=\"fine\">What the sweep was meant to show. \
                   Shaded: where the claim holds; dot and bar: the estimate and its interval.</p>\n<div class=\"cards\">\n");
    for claim in &summary.claims {
        let class = match claim.verdict {
            Verdict::Supported => "yes",
            Verdict::Refuted => "no",
            Verdict::Undecided => "maybe",
        };
        let _ = writeln!(
            body,
            "<article><p class=\"verdict\"><b class=\"{class}\">{}</b></p>\n<h3>{}</h3>\n{}<p class=\"fine\">{}</p></article>",
            claim.verdict,
            escape(&claim.text),
            claim_chart(claim),
            escape(&claim.reason())
        );
    }
    let _ = writeln!(
        body,
        "</div>\n<p class=\"data\">{}</p>\n</section>",
        table_link(tables, "claims")
    );
}

fn claim_chart(claim: &ClaimResult) -> String {
    if claim.estimate.is_none() {
        return String::new();
    }
    let compared = claim.wanted.high.is_infinite() && claim.test.contains(" - ");
    let extent = match (claim.metric.is_fraction(), compared) {
        (true, true) => (-0.2, 0.2),
        (true, false) => (0.0, 1.0),
        _ => (f64::INFINITY, f64::NEG_INFINITY),
    };
    let gauge = Gauge {
        says: format!("{}: {}", claim.verdict, claim.text),
        label: if compared {
            format!("difference in {}", claim.metric)
        } else {
            claim.metric.to_string()
        },
        estimate: claim.estimate,
        interval: claim.interval.map(|i| (i.low, i.high)),
        wanted: Some((claim.wanted.low, claim.wanted.high)),
        mark: None,
        extent,
    };
    gauge.svg() + "\n"
}

fn contents(body: &mut String, summary: &Summary, figures: &[Figure]) {
    let mut links: Vec<(String, &str)> = figures.iter().map(|f| (slug(f.title), f.title)).collect();
    if summary.counts.finished > 0 {
        links.push(("robustness".to_owned(), "Robustness"));
    }
    if !summary.published.is_empty() {
        links.push(("published".to_owned(), "Published beside ours"));
    }
    let links: Vec<String> =
        links.iter().map(|(id, title)| format!("<a href=\"#{id}\">{title}</a>")).collect();
    let _ = writeln!(body, "<nav aria-label=\"Figures\">{}</nav>", links.join(" "));
}

fn figure(body: &mut String, figure: &Figure) {
    let id = slug(figure.title);
    let legend = match figure.legend.as_str() {
        "" => String::new(),
        keys => format!("<p class=\"legend\">{keys}</p>\n"),
    };
    let _ = writeln!(
        body,
        "<section id=\"{id}\" class=\"{}\">\n<h2>{}</h2>\n<p class=\"fine\">{}</p>\n<figure>\n{legend}<div class=\"panels\">\n{}\n</div>\n\
         <p class=\"data\">{}</p>\n</figure>\n</section>",
        if figure.panels.len() == 1 { "single" } else { "several" },
        escape(figure.title),
        figure.text,
        figure.panels.join("\n"),
        csv_link(&id, "Data (CSV)", &figure.csv())
    );
}

fn robustness(body: &mut String, summary: &Summary, tables: &[Table]) {
    let percent =
        |share: Option<f64>| share.map_or("–".to_owned(), |x| format!("{:.0} %", x * 100.0));
    let number = |x: Option<f64>| x.map_or("–".to_owned(), |x| format!("{x:.3}"));
    let banded = summary.initializers.iter().any(|s| s.lr_band_decades.is_some());
    body.push_str("<section id=\"robustness\">\n<h2>Robustness</h2>\n<div class=\"scroll\"><table>\n<thead><tr>\
                   <th scope=\"col\">Initializer</th><th scope=\"col\" class=\"n\">Runs</th>\
                   <th scope=\"col\" class=\"n\">Success</th><th scope=\"col\" class=\"n\">IQM</th>\
                   <th scope=\"col\" class=\"n\">Near best</th>");
    if banded {
        body.push_str("<th scope=\"col\" class=\"n\">lr decades</th>");
    }
    body.push_str("<th scope=\"col\" class=\"n\">Deepest</th><th scope=\"col\" class=\"n\">Against baseline</th></tr></thead>\n<tbody>\n");
    for (arm, s) in summary.initializers.iter().enumerate() {
        let _ = write!(
            body,
            "<tr><th scope=\"row\">{}{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}{}</td><td class=\"n\">{}</td>",
            Look(arm).swatch(),
            name(&s.label),
            s.n_finished,
            percent(s.success_rate),
            number(s.iqm),
            interval_text(s.iqm_interval),
            percent(s.near_best),
        );
        if banded {
            let decades = s.lr_band_decades.map_or("–".to_owned(), |d| format!("{d:.1}"));
            let _ = write!(body, "<td class=\"n\">{decades}</td>");
        }
        let deepest = match (s.deepest, s.deepest_tested) {
            (Some(deepest), Some(tested)) => format!("{deepest} of {tested}"),
            (None, Some(tested)) => format!("none of {tested}"),
            _ => "–".to_owned(),
        };
        let against = match s.difference {
            _ if s.is_baseline => "baseline".to_owned(),
            None => "–".to_owned(),
            Some(d) => match d.interval {
                Some(i) => format!("{:+.3} [{:+.3}, {:+.3}]", d.mean, i.low, i.high),
                None => format!("{:+.3}", d.mean),
            },
        };
        let _ = writeln!(body, "<td class=\"n\">{deepest}</td><td class=\"n\">{against}</td></tr>");
    }
    let links: Vec<String> = ["cells", "initializers", "pairs", "variance"]
        .iter()
        .map(|name| table_link(tables, name))
        .collect();
    let decades = if banded {
        " <em>lr decades</em>: width of the band of learning rates at which most seeds succeed, mean over settings."
    } else {
        ""
    };
    let _ = writeln!(
        body,
        "</tbody>\n</table></div>\n<p class=\"fine\"><em>Success</em>: share of finished runs that converged to \
         better than guessing. <em>IQM</em>: interquartile mean of test accuracy. <em>Near best</em>: share \
         of runs within {NEAR_BEST} of the best setting of their task.{decades} <em>Deepest</em>: layers that most seeds \
         of some setting train, of those tried. <em>Against baseline</em>: mean difference in test \
         accuracy, each at its best learning rate, paired by seed.</p>\n<p class=\"data\">{}</p>\n</section>",
        links.join(" ")
    );
}

fn published(body: &mut String, summary: &Summary, tables: &[Table]) {
    if summary.published.is_empty() {
        return;
    }
    body.push_str("<section id=\"published\">\n<h2>Published beside ours</h2>\n<p class=\"fine\">Hollow diamond: the published \
                   number; dot and bar: our mean over seeds and its interval, at the learning rate that \
                   validation chose.</p>\n<div class=\"cards\">\n");
    for number in &summary.published {
        let _ = writeln!(body, "<article>{}</article>", published_card(number));
    }
    let _ = writeln!(
        body,
        "</div>\n<p class=\"data\">{}</p>\n</section>",
        table_link(tables, "published")
    );
}

fn published_card(number: &PublishedResult) -> String {
    let place = if number.r#where.is_empty() { "all runs" } else { &number.r#where };
    let ours = match number.mean {
        None => "not measured".to_owned(),
        Some(mean) => {
            format!("{mean:.3}{} (n = {})", interval_text(number.interval), number.n)
        }
    };
    let spread = number.spread.map(|s| format!(" ± {s}")).unwrap_or_default();
    let source = match &number.source {
        Some(source) => format!(" Source: {}.", escape(source)),
        None => String::new(),
    };
    let extent =
        if number.metric.is_fraction() { (0.0, 1.0) } else { (f64::INFINITY, f64::NEG_INFINITY) };
    let gauge = Gauge {
        says: format!("{place}: published {}, ours {ours}", number.published),
        label: number.metric.to_string(),
        estimate: number.mean,
        interval: number.interval.map(|i| (i.low, i.high)),
        wanted: None,
        mark: Some(number.published),
        extent,
    };
    format!(
        "<h3>{}</h3>\n{}\n<p class=\"fine\">Published {}{spread}, ours {ours}.{source}</p>",
        name(place),
        gauge.svg(),
        number.published,
    )
}

fn method(body: &mut String, summary: &Summary, tables: &[Table]) {
    let links: Vec<String> = tables
        .iter()
        .filter(|table| !table.rows.is_empty())
        .map(|table| table_link(tables, table.name))
        .collect();
    let baseline = summary
        .baseline
        .map(|b| format!(" The baseline is {}.", escape(&summary.initializers[b].label)))
        .unwrap_or_default();
    let _ = writeln!(
        body,
        "<footer>\n<p>Accuracies are fractions of the test set at the best validation epoch. A run that \
         diverged counts as a guess, 1/classes, wherever an accuracy is asked of it; a run at chance is one \
         whose test accuracy guessing could give. The seed is the unit of replication, and learning rates are chosen on \
         validation.{baseline} Point at a mark to read its numbers.</p>\n<p class=\"data\">All tables: {}</p>\n\
         <p>Made by wninit {}.</p>\n</footer>",
        links.join(" "),
        env!("CARGO_PKG_VERSION")
    );
}
