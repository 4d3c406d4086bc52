//! Reference values for the tests.
#![allow(clippy::unwrap_used)]

use serde_json::Value;

/// Numbers from SciPy and statsmodels; the script that made them is beside the file.
pub(crate) fn reference(what: &str) -> Vec<Value> {
    let all: Value =
        serde_json::from_str(include_str!("../../tests/fixtures/stats/reference.json")).unwrap();
    let cases = all[what].as_array().unwrap().clone();
    assert!(!cases.is_empty(), "{what}");
    cases
}

pub(crate) fn float(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

pub(crate) fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(float).collect()
}

pub(crate) fn count(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

#[track_caller]
pub(crate) fn close(ours: f64, theirs: f64) {
    assert!((ours - theirs).abs() <= 1e-6 * theirs.abs().max(1.0), "{ours} is not {theirs}");
}
