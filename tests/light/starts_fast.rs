//! `wninit` answers at once: it does not load libtorch, which alone takes a quarter of a second.
//! `wninit-torch` loads all of it, or no GPU would be seen.

#![allow(clippy::unwrap_used)]

/// Whether a program asks the dynamic linker for a library.
fn links(program: &str, library: &str) -> bool {
    let bytes = std::fs::read(program).unwrap();
    bytes.windows(library.len() + 1).any(|window| window == [library.as_bytes(), b"\0"].concat())
}

#[test]
fn planning_and_summarising_do_not_load_libtorch() {
    for library in ["libtorch_cpu.so", "libtorch.so", "libc10.so"] {
        assert!(!links(env!("CARGO_BIN_EXE_wninit"), library), "wninit links {library}");
    }
}

#[test]
fn training_loads_the_libraries_of_gpus_where_libtorch_has_them() {
    assert!(links(env!("CARGO_BIN_EXE_wninit-torch"), "libtorch_cpu.so"));
    assert!(
        links(env!("CARGO_BIN_EXE_wninit-torch"), "libtorch.so"),
        "libtorch.so brings libtorch_cuda.so"
    );
}
