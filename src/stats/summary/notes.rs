//! What a reader must know of the numbers.

use std::collections::{BTreeMap, BTreeSet};

use super::Seed;
use super::arms::Arms;
use super::cells::Cells;
use super::claims::ClaimResult;
use crate::resample;
use wninit_core::fmt::plural;
use wninit_core::job::FIELDS;
use wninit_core::results::Record;

/// What the sweep is about, where it does not vary.
pub(super) fn constants(sweep: &Cells) -> Vec<(&'static str, String)> {
    const OF_INTEREST: [&str; 12] = [
        "dataset",
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

/// What limits the numbers, a sentence each.
pub(super) fn notes(sweep: &Cells, arms: &Arms, claims: &[ClaimResult]) -> Vec<String> {
    let mut notes = Vec::new();
    if sweep.unplanned > 0 {
        notes.push(format!(
            "{} in runs.csv {} to no job of plan.csv (the grid has changed since) and {} left out.",
            plural(sweep.unplanned, "finished run"),
            if sweep.unplanned == 1 { "belongs" } else { "belong" },
            if sweep.unplanned == 1 { "is" } else { "are" },
        ));
    }
    if sweep.duplicates > 0 {
        notes.push(format!(
            "{} for a job that has one already: the first counts.",
            plural(sweep.duplicates, "further row")
        ));
    }
    let finished: Vec<usize> = sweep.cells.iter().map(|cell| cell.runs.len()).collect();
    if let (Some(&least), Some(&most)) = (finished.iter().min(), finished.iter().max())
        && most > 0
    {
        if least != most {
            notes.push(format!("Unequal n: cells have between {least} and {most} finished runs."));
        }
        if most == 1 {
            notes.push(
                "One seed a cell: no spread, no interval, no test can be computed.".to_owned(),
            );
        } else if least < resample::BOOTSTRAP_MIN && arms.any() {
            notes.push(format!(
                "Fewer than {} seeds in a cell: no bootstrap interval of the interquartile mean.",
                resample::BOOTSTRAP_MIN
            ));
        }
    }
    if claims.iter().any(|claim| claim.n_left_out > 0) {
        notes.push(
            "Unfinished: claims use only the seeds that are finished in every arm of a setting, as \
             runs that diverge end first. All other tables use every finished run."
                .to_owned(),
        );
    }
    let unmeasured = sweep.runs().filter(|run| run.accuracy.is_none()).count();
    if unmeasured > 0 {
        notes.push(format!(
            "{} without a test accuracy: counted as at chance, not part of any mean.",
            plural(unmeasured, "finished run")
        ));
    }
    let seeds: BTreeSet<Seed> = sweep.runs().map(|run| run.seed).collect();
    let firsts: BTreeSet<u64> = seeds.iter().map(|seed| seed.0).collect();
    let seconds: BTreeSet<u64> = seeds.iter().map(|seed| seed.1).collect();
    if firsts.len() > 1 && seconds.len() > 1 && seeds.len() > firsts.len().max(seconds.len()) {
        notes.push(
            "init_seed and data_seed are crossed: runs that share one of them are not independent, \
             and intervals are narrower than they should be."
                .to_owned(),
        );
    }
    if let Some(axis) = sweep.axis("precision") {
        let axis = &sweep.axes[axis];
        let all: Vec<String> = (0..axis.values.len()).map(|i| axis.label(i)).collect();
        notes.push(format!("Mixed precision: {}.", all.join(", ")));
    }
    let mut mixed = |what: &str, of: &dyn Fn(&Record) -> String| {
        let mut values: BTreeMap<String, usize> = BTreeMap::new();
        for run in sweep.runs() {
            *values.entry(of(run.record)).or_default() += 1;
        }
        if values.len() > 1 {
            const SHOWN: usize = 4;
            let each = values.iter().take(SHOWN).map(|(value, n)| format!("{value} ({n} runs)"));
            let rest = values.len().saturating_sub(SHOWN);
            let rest = (rest > 0).then(|| format!("and {rest} more"));
            notes.push(format!(
                "Mixed {what}: {}.",
                each.chain(rest).collect::<Vec<_>>().join(", ")
            ));
        }
    };
    // Which of a machine's equal GPUs it was does not matter.
    mixed("devices", &|r| match r.provenance.device.split_once(' ') {
        Some((_, name)) => name.to_owned(),
        None => r.provenance.device.split(':').next().unwrap_or_default().to_owned(),
    });
    mixed("libtorch", &|r| r.provenance.libtorch.clone());
    mixed("git commits", &|r| r.provenance.git_sha.clone());
    let dirty =
        sweep.runs().filter(|run| run.record.provenance.git_sha.ends_with("-dirty")).count();
    if dirty > 0 {
        notes.push(format!(
            "{} from a working tree with uncommitted changes.",
            plural(dirty, "run")
        ));
    }
    notes
}
