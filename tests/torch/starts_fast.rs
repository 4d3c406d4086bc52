//! `wninit` does not load libtorch, which takes a quarter of a second. `wninit-torch` loads all of it, so
//! that GPUs are found.

/// Whether a program needs a shared library.
fn links(program: &std::path::Path, library: &str) -> bool {
    let bytes = std::fs::read(program).unwrap();
    bytes.windows(library.len() + 1).any(|window| window == [library.as_bytes(), b"\0"].concat())
}

#[test]
fn planning_and_summarising_do_not_load_libtorch() {
    for library in ["libtorch_cpu.so", "libtorch.so", "libc10.so"] {
        assert!(!links(&crate::wninit(), library), "wninit links {library}");
    }
}

#[test]
fn training_loads_libtorchs_gpu_libraries() {
    assert!(links(crate::WNINIT_TORCH.as_ref(), "libtorch_cpu.so"));
    assert!(
        links(crate::WNINIT_TORCH.as_ref(), "libtorch.so"),
        "libtorch.so brings libtorch_cuda.so"
    );
}
