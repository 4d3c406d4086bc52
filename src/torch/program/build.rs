//! Sets the rpath, so that the program starts without environment variables, links libtorch's GPU
//! libraries, and stamps the commit. It is a separate package, so that a commit recompiles nothing
//! else.

#![allow(clippy::print_stdout)] // cargo reads it

mod commit;

use std::path::Path;

use commit::Commit;

fn main() -> anyhow::Result<()> {
    let libtorch = std::env::var("DEP_WNINIT_SHIM_LIBTORCH")?;
    println!("cargo:rustc-link-search=native={libtorch}");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{libtorch}");
    // No symbol of libtorch_cuda is referenced, so the linker would drop it, and with it the GPU.
    println!("cargo:rustc-link-arg=-Wl,--no-as-needed,-ltorch,--as-needed");

    let commit = Commit::of(Path::new("../../.."));
    println!("cargo:rustc-env=WNINIT_COMMIT={}", commit.name);
    for path in commit.watched {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    Ok(())
}
