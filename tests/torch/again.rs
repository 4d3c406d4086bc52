//! Runs tests in child processes, with a limited instruction set.

use std::process::{Command, Output};

/// Limits oneDNN, ATen and MKL to AVX2. The `gemm` crate and our own kernels cannot be limited.
pub const AVX2: &[(&str, &str)] = &[
    ("ONEDNN_MAX_CPU_ISA", "AVX2"),
    ("ATEN_CPU_CAPABILITY", "avx2"),
    ("MKL_ENABLE_INSTRUCTIONS", "AVX2"),
];

/// Set in processes that [`all`] and [`one`] start.
const AGAIN: &str = "WNINIT_TESTS_AGAIN";

/// Whether this is a process that [`one`] started.
pub fn is_child() -> bool {
    std::env::var_os(AGAIN).is_some()
}

/// This program, with environment variables set.
fn program(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.envs(variables.iter().copied()).env(AGAIN, "1");
    command
}

/// The last lines of a process's output.
fn end_of(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// Runs all tests of a module again, with these variables. The process must exit normally: corrupted
/// memory often shows only at exit.
pub fn all(module: &str, variables: &[(&str, &str)]) {
    if is_child() {
        return;
    }
    // Names of tests lack the crate's name.
    let tests = format!("{}::", module.split_once("::").unwrap().1);
    let output = program(variables).arg(&tests).output().unwrap();
    let ran = !String::from_utf8_lossy(&output.stdout).contains("running 0 tests");
    assert!(
        output.status.success() && ran,
        "{variables:?}: {}\n{}",
        output.status,
        end_of(&output)
    );
}

/// Runs one test of this program, even an ignored one, with these variables.
pub fn one(test: &str, variables: &[(&str, &str)]) -> Result<(), String> {
    let arguments = ["--exact", test, "--include-ignored", "--nocapture", "--test-threads=1"];
    let output = program(variables).args(arguments).output().unwrap();
    let ran = String::from_utf8_lossy(&output.stdout).contains("1 passed");
    match output.status.success() && ran {
        true => Ok(()),
        false => Err(format!("{variables:?}: {}\n{}", output.status, end_of(&output))),
    }
}
