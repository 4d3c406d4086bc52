//! Links the program so that it starts without environment variables and sees a GPU where there
//! is one, and tells it its commit and its libtorch.

use std::path::Path;
use std::process::Command;

fn main() -> anyhow::Result<()> {
    // torch-sys says where libtorch is; see the dependency's comment in Cargo.toml.
    let libtorch = std::env::var("DEP_TCH_LIBTORCH_LIB")?;
    println!("cargo:rustc-link-search=native={libtorch}");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{libtorch}");
    // Nothing refers to libtorch_cuda by name, so the linker would drop it, and with it the GPU.
    for target in ["bin=wninit-torch", "tests"] {
        println!("cargo:rustc-link-arg-{target}=-Wl,--no-as-needed,-ltorch,--as-needed");
    }
    println!("cargo:rerun-if-changed=build.rs");

    let include = Path::new(&libtorch).with_file_name("include");
    println!("cargo:rerun-if-changed=src/torch.cpp");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false) // libtorch's headers have plenty
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .file("src/torch.cpp")
        .compile("wninit_torch");

    println!("cargo:rustc-env=WNINIT_LIBTORCH={}", libtorch_version(&libtorch));
    println!("cargo:rustc-env=WNINIT_GIT_SHA={}", git_sha());
    Ok(())
}

/// The version of the libtorch that is linked, with its build: `2.11.0+cu130`.
fn libtorch_version(lib: &str) -> String {
    let file = Path::new(lib).with_file_name("version.py");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let quoted = text.lines().find_map(|line| line.strip_prefix("__version__ = '"));
    quoted.and_then(|rest| rest.strip_suffix('\'')).unwrap_or("unknown").to_owned()
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
