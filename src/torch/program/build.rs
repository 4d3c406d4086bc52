//! Links the program so that it starts without environment variables and sees a GPU where there
//! is one, and tells it its commit. It is a package of its own so that nothing else is compiled
//! again for a commit.

use std::path::Path;
use std::process::Command;

fn main() -> anyhow::Result<()> {
    let libtorch = std::env::var("DEP_WNINIT_SHIM_LIBTORCH")?;
    println!("cargo:rustc-link-search=native={libtorch}");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{libtorch}");
    // Nothing refers to libtorch_cuda by name, so the linker would drop it, and with it the GPU.
    println!("cargo:rustc-link-arg=-Wl,--no-as-needed,-ltorch,--as-needed");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-env=WNINIT_COMMIT={}", git_sha());
    Ok(())
}

/// The commit, with `-dirty` if tracked files differ from it; `unknown` outside of a checkout.
fn git_sha() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok().filter(|o| o.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    // The log changes with each commit; the index would, too, but also with each `git status`.
    for path in [".git/HEAD", ".git/logs/HEAD"] {
        if Path::new(path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    println!("cargo:rerun-if-changed=src");
    match git(&["rev-parse", "--short=12", "HEAD"]) {
        Some(sha)
            if git(&[
                "--no-optional-locks",
                "status",
                "--porcelain",
                "--untracked-files=no",
                "--",
                "src",
                "Cargo.lock",
                "build.rs",
            ])
            .is_some_and(|s| !s.is_empty()) =>
        {
            format!("{sha}-dirty")
        }
        Some(sha) => sha,
        None => "unknown".to_owned(),
    }
}
