//! `wninit doctor` checks this machine's arithmetic, also with a limited instruction set.

use std::process::Command;

use crate::again;

#[test]
fn doctor_compares_convolutions_and_products_with_float64() {
    for variables in [&[], again::AVX2] {
        let doctor = Command::new(crate::wninit())
            .args(["doctor", "--results"])
            .arg(tempfile::tempdir().unwrap().path())
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
        let line = text.lines().find(|line| line.contains("numbers")).unwrap_or(&text);
        assert!(line.starts_with("ok") && line.contains("agree with float64"), "{line}");
        assert_eq!(doctor.status.code(), Some(0), "{text}");
    }
}
