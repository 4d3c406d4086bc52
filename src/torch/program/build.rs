//! Links the program so that it starts without environment variables and sees a GPU where there
//! is one, and tells it its commit. It is a package of its own so that nothing else is compiled
//! again for a commit.

#![allow(clippy::print_stdout)] // this is how cargo is told

mod commit;

use std::path::Path;

use commit::Commit;

fn main() -> anyhow::Result<()> {
    let libtorch = std::env::var("DEP_WNINIT_SHIM_LIBTORCH")?;
    println!("cargo:rustc-link-search=native={libtorch}");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{libtorch}");
    // Nothing refers to libtorch_cuda by name, so the linker would drop it, and with it the GPU.
    println!("cargo:rustc-link-arg=-Wl,--no-as-needed,-ltorch,--as-needed");

    let commit = Commit::of(Path::new("../../.."));
    println!("cargo:rustc-env=WNINIT_COMMIT={}", commit.name);
    for path in commit.watched {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    Ok(())
}
