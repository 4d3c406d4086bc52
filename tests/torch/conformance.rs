//! Convolutions and products agree with float64, forward and backward, for every shape of the shipped
//! sweeps and thousands of others, under several instruction sets; only `ffi/conv2d.rs` calls
//! libtorch's convolution.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::{again, root};
use wninit_core::grid::{Grid, Overrides};
use wninit_core::job::Job;
use wninit_core::plan::Plan;
use wninit_torch::probe::conformance::{Case, cases_of, random_cases};

fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extensions));
        } else if path.extension().is_some_and(|is| extensions.iter().any(|ext| is == *ext)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The jobs of every sweep, with each of its profiles.
fn shipped_jobs() -> Vec<Job> {
    let mut jobs = Vec::new();
    for path in files(&root().join("sweeps"), &["toml"]) {
        let table: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
        let profiles = table.get("profile").and_then(|p| p.as_table()).cloned().unwrap_or_default();
        for profile in profiles.keys().map(|name| Some(name.clone())).chain([None]) {
            let overrides = Overrides { profile, ..Overrides::default() };
            let plan = Plan::of(&Grid::load(&path, &overrides).unwrap()).unwrap();
            jobs.extend(plan.jobs.into_iter().map(|planned| planned.job));
        }
    }
    jobs
}

/// The file of cases for [`checks_cases`], and the part of them to check.
const CASES: &str = "WNINIT_CONFORMANCE_CASES";
const PART: &str = "WNINIT_CONFORMANCE_PART";
const PARTS: usize = 4;

/// Limits of oneDNN's instruction set; the first is none.
const INSTRUCTIONS: [&[(&str, &str)]; 3] =
    [&[], &[("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")], again::AVX2];

#[test]
fn convolutions_and_products_agree_with_float64_under_every_instruction_set() {
    if again::is_child() {
        return;
    }
    let mut cases = cases_of(&shipped_jobs());
    let shipped = cases.len();
    assert!(shipped > 30, "only {shipped} convolutions in the shipped sweeps");
    cases.extend(random_cases(2000, 0));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cases.json");
    std::fs::write(&file, serde_json::to_string(&cases).unwrap()).unwrap();

    let parts: Vec<(usize, usize)> = (0..PARTS).flat_map(|p| (0..3).map(move |i| (p, i))).collect();
    let (parts, failed) = (Mutex::new(parts), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..wninit_core::execution::cores() {
            scope.spawn(|| {
                while let Some((part, set)) = { parts.lock().unwrap().pop() } {
                    let part = part.to_string();
                    let own = [
                        (CASES, file.to_str().unwrap()),
                        (PART, &part),
                        ("OMP_WAIT_POLICY", "passive"),
                    ];
                    let variables = [INSTRUCTIONS[set], &own].concat();
                    let result = again::one("conformance::checks_cases", &variables);
                    failed.lock().unwrap().extend(result.err());
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} processes failed:\n{}", failed.len(), failed.join("\n\n"));
}

#[test]
#[ignore = "the test above runs it in child processes"]
fn checks_cases() {
    let Some(file) = std::env::var_os(CASES) else { return };
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let part: usize = std::env::var(PART).unwrap().parse().unwrap();
    let mut failed = Vec::new();
    for (i, case) in cases.iter().enumerate().skip(part).step_by(PARTS) {
        println!("{case}"); // the last line is where a process crashed
        failed.extend(case.check(i as i64).err());
    }
    assert!(failed.is_empty(), "{} cases failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn only_one_file_calls_libtorchs_convolution() {
    let calls = [
        "conv2d(",
        "conv1d(",
        "conv3d(",
        "convolution(",
        "convolution_backward(",
        "conv_transpose",
    ];
    let mut found = Vec::new();
    for path in files(&root().join("src"), &["rs", "cpp", "h"]) {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        if name.ends_with("ffi/conv2d.rs") || name.ends_with("torch.cpp") {
            continue;
        }
        for (line, text) in (1..).zip(std::fs::read_to_string(&path).unwrap().lines()) {
            let code = text.split("//").next().unwrap();
            // Of tch (a method), of its modules (`nn::conv2d`), or of ATen.
            let called = |call: &str| {
                code.match_indices(call).any(|(at, _)| {
                    let before = &code[..at];
                    before.ends_with(['.', ':', '_']) || before.ends_with("use ")
                })
            };
            if calls.into_iter().any(called) {
                found.push(format!("{name}:{line}: {}", text.trim()));
            }
        }
    }
    assert!(found.is_empty(), "call ffi::conv2d instead:\n{}", found.join("\n"));
}

#[test]
fn every_known_fault_names_its_issue_and_is_worked_around_somewhere() {
    let own = root().join("src/torch/ffi/faults.rs");
    let faults = std::fs::read_to_string(&own).unwrap();
    let others: String = files(&root().join("src"), &["rs"])
        .into_iter()
        .filter(|path| *path != own)
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let faults: Vec<&str> = faults.split("//! # ").skip(1).collect();
    assert!(faults.len() >= 4);
    for fault in faults {
        let name = fault.lines().next().unwrap();
        assert!(others.contains(&format!("faults::{name}`")), "nothing refers to {name}");
        let documented = ["* Issue: <https://", "* Issue: documented in "];
        assert!(documented.iter().any(|text| fault.contains(text)), "{name} has no issue");
    }
}
