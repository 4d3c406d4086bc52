//! Notes on the limits of the numbers.

use std::collections::{BTreeMap, BTreeSet};

use super::Seed;
use super::arms::{Arm, Arms};
use super::cells::{Cells, Counts, Run, is_fraction};
use super::claims::ClaimResult;
use super::initializers::InitializerSummary;
use crate::describe;
use crate::verdict::{ALPHA, CONFIRMING};
use wninit_core::columns;
use wninit_core::fmt::plural;
use wninit_core::job::FIELDS;
use wninit_core::results::Record;
use wninit_core::table::Column;
use wninit_core::text::listed;

/// Fields of interest that do not vary, with their value.
pub(super) fn constants(sweep: &Cells) -> Vec<(&'static str, String)> {
    const OF_INTEREST: [&str; 13] = [
        "dataset",
        "data_hash",
        "train_images",
        "model",
        "depth",
        "width",
        "blocks",
        "k",
        "norm",
        "init",
        "precision",
        "lr",
        "epochs",
    ];
    let Some(cell) = sweep.cells.first() else {
        return Vec::new();
    };
    FIELDS
        .iter()
        .filter(|field| OF_INTEREST.contains(&field.name) && sweep.axis(field.name).is_none())
        .filter_map(|field| Some((field.name, field.get(cell.job)?.to_string())))
        .collect()
}

/// A limit of the numbers: a row of `notes.csv`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its topic, one word.
    pub kind: &'static str,
    /// The settings that it is about; empty for all.
    pub r#where: String,
    /// A sentence.
    pub text: String,
}

impl Note {
    /// A note about the whole sweep.
    pub fn new(kind: &'static str, text: impl Into<String>) -> Note {
        Note { kind, r#where: String::new(), text: text.into() }
    }
}

/// The columns of `notes.csv`.
pub(super) static COLUMNS: &[Column<Note>] = columns![Note;
    "kind": "", "files, unfinished, missing, seeds, lr, values, claims or provenance", "" => |n| n.kind;
    "where": "", "the settings that it is about", "the whole sweep" => |n| n.r#where.as_str();
    "text": "", "what limits the numbers", "" => |n| n.text.as_str();
];

/// Notes in the order in which they were made.
#[derive(Default)]
struct Notes(Vec<Note>);

impl Notes {
    fn add(&mut self, kind: &'static str, text: impl Into<String>) {
        self.0.push(Note::new(kind, text));
    }

    fn at(&mut self, kind: &'static str, places: &[String], text: impl Into<String>) {
        self.0.push(Note { kind, r#where: places.join("; "), text: text.into() });
    }
}

/// The limits of the numbers.
pub(super) fn notes(
    sweep: &Cells,
    arms: &Arms,
    initializers: &[InitializerSummary],
    claims: &[ClaimResult],
) -> Vec<Note> {
    let mut notes = Notes::default();
    unfinished(sweep, arms, initializers, &mut notes);
    rates(sweep, arms, initializers, &mut notes);
    decisions(claims, &mut notes);
    values(sweep, &mut notes);
    conventions(sweep, arms, &mut notes);
    provenance(sweep, arms, initializers, &mut notes);
    notes.0
}

/// Display name of a context, with the arm if given.
fn name(sweep: &Cells, arms: &Arms, context: &[usize], arm: Option<usize>) -> String {
    let axes = arms.context.iter().zip(context);
    let mut words: Vec<String> = axes.map(|(&axis, &at)| sweep.axes[axis].in_words(at)).collect();
    words.extend(arm.map(|arm| arms.arms[arm].label.clone()));
    words.join(" ").trim_start().to_owned()
}

fn unfinished(sweep: &Cells, arms: &Arms, initializers: &[InitializerSummary], notes: &mut Notes) {
    let (unplanned, duplicates) = (sweep.unplanned, sweep.duplicates);
    if unplanned > 0 {
        let (belong, are) = if unplanned == 1 { ("belongs", "is") } else { ("belong", "are") };
        let runs = plural(unplanned, "finished run");
        notes.add("files", format!("{runs} in runs.csv {belong} to no job of plan.csv (the grid has changed since) and {are} left out."));
    }
    if duplicates > 0 {
        let rows = plural(duplicates, "further row");
        notes.add("files", format!("{rows} for a job that has one already: the first counts."));
    }
    let Counts { planned, finished, left_out, .. } = initializers.iter().map(|s| s.counts).sum();
    if finished < planned && finished > 0 {
        notes.add("unfinished", format!(
            "Unfinished: {} of {planned} runs. A seed counts where it is finished in every arm, at every lr, of \
             its setting, as runs that diverge end first: {left_out} finished {} left out.",
            planned - finished,
            if left_out == 1 { "run is" } else { "runs are" },
        ));
    }
    let mut missing = Vec::new();
    for context in arms.chosen.keys() {
        for arm in 0..arms.arms.len() {
            if !arms.chosen[context].contains_key(&arm) {
                missing.push(name(sweep, arms, context, Some(arm)));
            }
        }
    }
    let groups = sweep.group(&arms.context);
    let empty = groups.keys().filter(|context| finished > 0 && !arms.chosen.contains_key(*context));
    missing.extend(empty.map(|context| name(sweep, arms, context, None)));
    missing.retain(|name| !name.is_empty()); // no settings: the note above says it
    if !missing.is_empty() {
        notes.at("missing", &missing, format!(
            "Not compared, because no run counts: {}. Results over several settings exclude these.",
            listed(&missing)
        ));
    }
    let seeds: Vec<usize> = sweep.cells.iter().map(|cell| cell.counted().count()).collect();
    let (least, most) =
        (seeds.iter().min().copied().unwrap_or(0), seeds.iter().max().copied().unwrap_or(0));
    if most > 0 && least != most {
        let text = format!("Unequal n: cells have between {least} and {most} runs that count.");
        notes.add("seeds", text);
    }
    if most == 1 {
        let text = "One seed a cell: no difference between initializers can be told from chance.";
        notes.add("seeds", text);
    } else if (2..CONFIRMING).contains(&most) {
        let text =
            format!("Fewer than {CONFIRMING} seeds: the sweep explores, it does not confirm.");
        notes.add("seeds", text);
    }
    let seeds: BTreeSet<Seed> = sweep.runs().map(|run| run.seed).collect();
    let firsts: BTreeSet<u64> = seeds.iter().map(|seed| seed.0).collect();
    let seconds: BTreeSet<u64> = seeds.iter().map(|seed| seed.1).collect();
    if firsts.len() > 1 && seconds.len() > 1 && seeds.len() > firsts.len().max(seconds.len()) {
        let text = "init_seed and data_seed are crossed: runs that share one of them are not independent, \
                    and intervals are narrower than they should be.";
        notes.add("seeds", text);
    }
}

fn rates(sweep: &Cells, arms: &Arms, initializers: &[InitializerSummary], notes: &mut Notes) {
    if arms.lr.is_none() {
        return;
    }
    let (mut all, mut smallest, mut greatest) = (0, Vec::new(), Vec::new());
    for (key, cells) in sweep.group(&arms.contexts_and_arms()) {
        let context = key[..arms.context.len()].to_vec();
        let arm = arms.of_cell[cells[0]];
        let Some(&chosen) = arms.chosen.get(&context).and_then(|chosen| chosen.get(&arm)) else {
            continue;
        };
        // If nothing trains there is no best rate.
        if cells.len() < 2 || sweep.cells[chosen].success().0 == 0 {
            continue;
        }
        all += 1;
        let name = name(sweep, arms, &context, Some(arm));
        if chosen == cells[0] {
            smallest.push(name);
        } else if chosen == cells[cells.len() - 1] {
            greatest.push(name);
        }
    }
    for (end, places) in [("smallest", smallest), ("greatest", greatest)] {
        if !places.is_empty() {
            notes.at("lr", &places, format!(
                "The chosen lr is the {end} tried in {} of {all} cases ({}): others may do better.",
                places.len(),
                listed(&places)
            ));
        }
    }
    let left_out: usize = initializers.iter().map(|s| s.lr_bands_left_out).sum();
    if left_out > 0 && initializers.iter().any(|s| s.counts.finished > 0) {
        let cases = plural(left_out, "case");
        notes.add(
            "lr",
            format!("lr bands leave out {cases}, where some lr has no run that counts."),
        );
    }
}

fn decisions(claims: &[ClaimResult], notes: &mut Notes) {
    let tested = claims.iter().filter(|c| c.answer.overall.p_holm.is_some()).count();
    let decided: Vec<&ClaimResult> =
        claims.iter().filter(|claim| claim.verdict().is_decided()).collect();
    let lost: Vec<String> = decided
        .iter()
        .filter(|c| c.answer.overall.p_holm.is_some_and(|p| p > ALPHA))
        .map(|c| format!("\u{201c}{}\u{201d}", c.text))
        .collect();
    if !lost.is_empty() {
        let text = format!(
            "{} of {} do not survive Holm's correction over the sweep's {}: {}",
            lost.len(),
            plural(decided.len(), "decided claim"),
            plural(tested, "tested claim"),
            listed(&lost)
        );
        notes.at("claims", &lost, text);
    }
    if claims.iter().any(|c| c.answer.overall.is_exploratory() && c.verdict().is_decided()) {
        let text =
            "Some decided claims are exploratory: few seeds, or an lr chosen in the same seeds.";
        notes.add("claims", text);
    }
}

fn values(sweep: &Cells, notes: &mut Notes) {
    let outside = |run: &&Run| {
        let record = run.record;
        let all = [record.test_acc, record.best_val_acc, record.val_acc, record.train_acc];
        all.into_iter().flatten().any(|x| !is_fraction(&x))
    };
    let outside = sweep.runs().filter(outside).count();
    if outside > 0 {
        let runs = plural(outside, "finished run");
        let text = format!("{runs} with an accuracy outside [0, 1]: it counts as not measured.");
        notes.add("values", text);
    }
    let unmeasured = sweep.runs().filter(|run| run.accuracy.is_none()).count();
    if unmeasured > 0 {
        let runs = plural(unmeasured, "finished run");
        notes.add("values", format!("{runs} without a test accuracy: counted as at chance."));
    }
}

/// The composite accuracy by both conventions of counting diverged runs, if they differ.
fn conventions(sweep: &Cells, arms: &Arms, notes: &mut Notes) {
    let mut places = Vec::new();
    for (arm, Arm { label, .. }) in arms.arms.iter().enumerate() {
        let cells = sweep.cells.iter().zip(&arms.of_cell).filter(|(_, of)| **of == arm);
        let runs: Vec<&Run> = cells.flat_map(|(cell, _)| cell.counted()).collect();
        let guess: Option<Vec<f64>> = runs.iter().map(|run| run.composite()).collect();
        let tested: Option<Vec<f64>> = runs.iter().map(|run| run.best_checkpoint()).collect();
        if let (Some(guess), Some(tested)) = (guess, tested)
            && let (Some(guess), Some(tested)) = (describe::mean(&guess), describe::mean(&tested))
            && (guess - tested).abs() >= 0.0005
        {
            places.push(format!("{label} {tested:.3} against {guess:.3}"));
        }
    }
    if !places.is_empty() {
        notes.at("values", &places, format!(
            "Two conventions for a run that diverges. Here it counts as a guess; the paper's authors test its \
             best checkpoint. Mean test accuracy of all runs, theirs against ours: {}.",
            listed(&places)
        ));
    }
}

fn provenance(sweep: &Cells, arms: &Arms, initializers: &[InitializerSummary], notes: &mut Notes) {
    if let Some(axis) = sweep.axis("precision") {
        let axis = &sweep.axes[axis];
        let all: Vec<String> = (0..axis.values.len()).map(|i| axis.label(i)).collect();
        notes.add("provenance", format!("Mixed precision: {}.", all.join(", ")));
    }
    let mut mixed = |what: &str, of: &dyn Fn(&Record) -> String| {
        let mut values: BTreeMap<String, usize> = BTreeMap::new();
        for run in sweep.runs() {
            *values.entry(of(run.record)).or_default() += 1;
        }
        if values.len() > 1 {
            let each: Vec<String> =
                values.iter().map(|(value, n)| format!("{value} ({n} runs)")).collect();
            notes.at("provenance", &each, format!("Mixed {what}: {}.", listed(&each)));
        }
    };
    // The index of a GPU does not matter.
    let device = |r: &Record| match r.provenance.device.split_once(' ') {
        Some((_, name)) => name.to_owned(),
        None => r.provenance.device.split(':').next().unwrap_or_default().to_owned(),
    };
    mixed("devices", &device);
    mixed("libtorch", &|r| r.provenance.libtorch.clone());
    mixed("git commits", &|r| r.provenance.git_sha.clone());
    let dirty =
        sweep.runs().filter(|run| run.record.provenance.git_sha.ends_with("-dirty")).count();
    if dirty > 0 {
        let runs = plural(dirty, "run");
        notes.add("provenance", format!("{runs} from a working tree with uncommitted changes."));
    }
    let mut devices: Vec<BTreeSet<String>> = vec![BTreeSet::new(); arms.arms.len()];
    for (arm, cell) in arms.cells(sweep) {
        devices[arm].extend(cell.runs.iter().map(|run| device(run.record)));
    }
    let used: Vec<usize> = (0..devices.len()).filter(|&arm| !devices[arm].is_empty()).collect();
    let apart = |&a: &usize| used.iter().any(|&b| devices[a].is_disjoint(&devices[b]));
    let apart: Vec<String> = used
        .iter()
        .filter(|arm| apart(arm))
        .map(|&arm| {
            let on: Vec<&str> = devices[arm].iter().map(String::as_str).collect();
            format!("{} on {}", initializers[arm].label, on.join(" and "))
        })
        .collect();
    if !apart.is_empty() {
        notes.at("provenance", &apart, format!(
            "Device and initializer are confounded: {}. Differences between them may be the device's.",
            listed(&apart)
        ));
    }
}
