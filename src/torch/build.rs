//! Compiles the part of libtorch's interface that is C++, and finds out which libtorch this is.
//! It runs again only where that file or libtorch changes.

#![allow(clippy::print_stdout)] // this is how cargo is told

use std::path::{Path, PathBuf};

fn main() -> anyhow::Result<()> {
    // torch-sys says where libtorch is; see the dependency's comment in Cargo.toml.
    let libtorch = std::env::var("DEP_TCH_LIBTORCH_LIB")?;
    println!("cargo:libtorch={libtorch}"); // for the program's build script
    // Tests of this library start without environment variables.
    println!("cargo:rustc-link-search=native={libtorch}");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{libtorch}");
    println!("cargo:rerun-if-changed=build.rs");

    let include = Path::new(&libtorch).with_file_name("include");
    println!("cargo:rerun-if-changed=ffi/torch.cpp");
    println!("cargo:rerun-if-env-changed=CUDA_HOME");
    println!("cargo:rustc-check-cfg=cfg(wninit_cuda)");
    let mut shim = cc::Build::new();
    shim.cpp(true)
        .std("c++17")
        .warnings(false) // libtorch's headers have plenty
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .file("ffi/torch.cpp");
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
    println!("cargo:rerun-if-changed={}", file.display());
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let quoted = text.lines().find_map(|line| line.strip_prefix("__version__ = '"));
    quoted.and_then(|rest| rest.strip_suffix('\'')).unwrap_or("unknown").to_owned()
}
