//! Compiles `ffi/*.cpp` and finds libtorch's version. It reruns only if they change.

#![allow(clippy::print_stdout)] // cargo reads it

use std::path::{Path, PathBuf};

fn main() -> anyhow::Result<()> {
    // From torch-sys; see the dependency's comment in Cargo.toml.
    let libtorch = std::env::var("DEP_TCH_LIBTORCH_LIB")?;
    println!("cargo:libtorch={libtorch}"); // for the program's build script
    // So that tests of this library start without environment variables.
    println!("cargo:rustc-link-search=native={libtorch}");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{libtorch}");
    println!("cargo:rerun-if-changed=build.rs");

    let include = Path::new(&libtorch).with_file_name("include");
    println!("cargo:rerun-if-changed=ffi/torch.cpp");
    println!("cargo:rerun-if-changed=ffi/nvrtc.cpp");
    println!("cargo:rerun-if-env-changed=CUDA_HOME");
    let mut shim = cc::Build::new();
    shim.cpp(true)
        .std("c++17")
        .warnings(false) // libtorch's headers have plenty
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .files(["ffi/torch.cpp", "ffi/nvrtc.cpp"]);
    let cuda = cuda_headers(Path::new(&libtorch));
    if let Some(headers) = &cuda {
        shim.include(headers).define("WNINIT_CUDA", None);
    }
    shim.compile("wninit_torch");
    if cuda.is_some() {
        // After the shim, which references them.
        println!("cargo:rustc-link-lib=dylib=torch_cuda");
        println!("cargo:rustc-link-lib=dylib=c10_cuda");
    }

    println!("cargo:rustc-env=WNINIT_LIBTORCH={}", libtorch_version(&libtorch));
    Ok(())
}

/// The folder of CUDA's headers, if libtorch has GPU support: `CUDA_HOME`, the NVIDIA packages beside
/// PyTorch, or /usr/local/cuda.
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

/// The linked libtorch's version with its build, such as `2.11.0+cu130`.
fn libtorch_version(lib: &str) -> String {
    let file = Path::new(lib).with_file_name("version.py");
    println!("cargo:rerun-if-changed={}", file.display());
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let quoted = text.lines().find_map(|line| line.strip_prefix("__version__ = '"));
    quoted.and_then(|rest| rest.strip_suffix('\'')).unwrap_or("unknown").to_owned()
}
