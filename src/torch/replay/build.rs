//! Compiles `replay.cpp`.

#![allow(clippy::print_stdout)] // cargo reads it

use std::path::Path;

fn main() -> anyhow::Result<()> {
    let libtorch = std::env::var("DEP_TCH_LIBTORCH_LIB")?;
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=replay.cpp");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false) // libtorch's headers have plenty
        .include(Path::new(&libtorch).with_file_name("include"))
        .file("replay.cpp")
        .compile("wninit_replay");
    Ok(())
}
