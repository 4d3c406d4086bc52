//! Links the program so that it starts without environment variables and sees a GPU where there
//! is one, and tells it its commit and its libtorch.

#![allow(clippy::print_stdout)] // this is how cargo is told

#[path = "build/commit.rs"]
mod commit;

use std::path::{Path, PathBuf};

use commit::Commit;

fn main() -> anyhow::Result<()> {
    // torch-sys says where libtorch is; see the dependency's comment in Cargo.toml.
    let libtorch = std::env::var("DEP_TCH_LIBTORCH_LIB")?;
    println!("cargo:rustc-link-search=native={libtorch}");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{libtorch}");
    // Nothing refers to libtorch_cuda by name, so the linker would drop it, and with it the GPU.
    for target in ["bin=wninit-torch", "tests"] {
        println!("cargo:rustc-link-arg-{target}=-Wl,--no-as-needed,-ltorch,--as-needed");
    }

    let include = Path::new(&libtorch).with_file_name("include");
    println!("cargo:rerun-if-env-changed=CUDA_HOME");
    println!("cargo:rustc-check-cfg=cfg(wninit_cuda)");
    let mut shim = cc::Build::new();
    shim.cpp(true)
        .std("c++17")
        .warnings(false) // libtorch's headers have plenty
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .file("src/torch.cpp");
    let cuda = cuda_headers(Path::new(&libtorch));
    if let Some(headers) = &cuda {
        shim.include(headers).define("WNINIT_CUDA", None);
        println!("cargo:rustc-cfg=wninit_cuda");
    }
    shim.compile("wninit_torch");
    if cuda.is_some() {
        // After the shim, which refers to them.
        println!("cargo:rustc-link-lib=dylib=torch_cuda");
        println!("cargo:rustc-link-lib=dylib=c10_cuda");
    }

    println!("cargo:rustc-env=WNINIT_LIBTORCH={}", libtorch_version(&libtorch));
    let commit = Commit::of(Path::new("."));
    println!("cargo:rustc-env=WNINIT_GIT_SHA={}", commit.name);
    for path in commit.watched {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    Ok(())
}

/// Where CUDA's headers are, if libtorch is one for GPUs and its graphs can be built against:
/// PyTorch's own packages have them beside it.
fn cuda_headers(libtorch: &Path) -> Option<PathBuf> {
    if !libtorch.join("libtorch_cuda.so").exists() {
        return None;
    }
    let package = libtorch.canonicalize().ok()?;
    let beside = package.ancestors().nth(2).map(|packages| packages.join("nvidia/cu13"));
    let named = std::env::var_os("CUDA_HOME").map(PathBuf::from);
    [named, beside, Some(PathBuf::from("/usr/local/cuda"))]
        .into_iter()
        .flatten()
        .map(|cuda| cuda.join("include"))
        .find(|include| {
            ["cuda_runtime.h", "crt/host_config.h"].iter().all(|file| include.join(file).exists())
        })
}

/// The version of the libtorch that is linked, with its build: `2.11.0+cu130`.
fn libtorch_version(lib: &str) -> String {
    let file = Path::new(lib).with_file_name("version.py");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let quoted = text.lines().find_map(|line| line.strip_prefix("__version__ = '"));
    quoted.and_then(|rest| rest.strip_suffix('\'')).unwrap_or("unknown").to_owned()
}
