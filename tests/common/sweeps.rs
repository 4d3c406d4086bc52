//! Made-up sweeps.
#![allow(clippy::unwrap_used)]

use wninit_core::job::{DatasetName, Draft, Job, Value};
use wninit_core::results::{Outcome, Provenance, Record};

/// A job of the digits data set with these fields.
pub(crate) fn job(fields: &[(&str, Value)]) -> Job {
    let base = Draft { dataset: Some(DatasetName::Digits), ..Draft::default() }.resolve().unwrap();
    base.with(fields).unwrap()
}

/// The field `init`.
pub(crate) fn init(name: &str) -> (&'static str, Value) {
    ("init", Value::Text(name.to_owned()))
}

/// A whole-numbered field.
pub(crate) fn whole(name: &'static str, value: i64) -> (&'static str, Value) {
    (name, Value::Integer(value))
}

/// The field `lr`.
pub(crate) fn lr(value: f64) -> (&'static str, Value) {
    ("lr", Value::Float(value))
}

/// A finished job with this validation and test accuracy.
pub(crate) fn ok(job: &Job, val: f64, test: f64) -> Record {
    Record {
        job: job.clone(),
        outcome: Outcome::Ok,
        reason: None,
        epochs_done: 1,
        diverged_epoch: None,
        diverged_step: None,
        train_loss: Some(0.5),
        train_acc: Some(test),
        val_loss: Some(0.5),
        val_acc: Some(val),
        best_val_acc: Some(val),
        best_epoch: Some(1),
        test_loss: Some(0.5),
        test_acc: Some(test),
        train_seconds: 10.0,
        images_per_second: Some(100.0),
        test_largest_class: None,
        provenance: Provenance {
            instruction_set: None,
            processor: None,
            device: "cpu".to_owned(),
            cohort_size: 1,
            libtorch: "2.11.0".to_owned(),
            git_sha: "abc".to_owned(),
            hostname: "host".to_owned(),
            started_at: chrono::DateTime::UNIX_EPOCH,
            finished_at: chrono::DateTime::UNIX_EPOCH,
        },
        epochs: Vec::new(),
    }
}

/// A job that diverged in its first epoch.
pub(crate) fn diverged(job: &Job) -> Record {
    let nothing = Record { epochs_done: 0, outcome: Outcome::Diverged, ..ok(job, 0.0, 0.0) };
    Record {
        reason: Some("loss".to_owned()),
        diverged_epoch: Some(1),
        diverged_step: Some(2),
        train_loss: None,
        train_acc: None,
        val_loss: None,
        val_acc: None,
        best_val_acc: None,
        best_epoch: None,
        test_loss: None,
        test_acc: None,
        ..nothing
    }
}

/// Depth 2 and 50; the default gain, the data-dependent one, which diverges at depth 50, and the
/// proposed one, which trains there at the smaller of two learning rates; five seeds.
pub(crate) fn depth_sweep() -> Vec<Record> {
    let mut records = Vec::new();
    for seed in 0..5 {
        let noise = [0.0, 0.01, -0.01, 0.005, -0.005][seed as usize];
        for depth in [2, 50] {
            for name in ["orthogonal", "orthogonal_datadep", "orthogonal_proposed"] {
                for rate in [0.01, 0.1] {
                    let job =
                        job(&[whole("depth", depth), init(name), lr(rate), whole("seed", seed)]);
                    let acc = if rate < 0.05 { 0.9 } else { 0.85 } + noise;
                    records.push(match (depth, name, rate < 0.05) {
                        (2, "orthogonal_proposed", _) => ok(&job, acc, acc + 0.001 + noise / 5.0),
                        (2, _, _) => ok(&job, acc, acc),
                        (_, "orthogonal_datadep", _) => diverged(&job),
                        (_, "orthogonal_proposed", true) => ok(&job, acc - 0.1, acc - 0.1),
                        _ => ok(&job, 0.1, 0.1),
                    });
                }
            }
        }
    }
    records
}
