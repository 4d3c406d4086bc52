//! Every kind of network is recorded and replayed without a fault, and a training step's kernels are
//! those of the list in tests/fakecuda/golden.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::pretend::{Capture, Log, Machine};
use crate::program::root;

const IMAGES: &str = r#"
dataset = "synthetic"
synthetic_shape = "3x8x8"
synthetic_images = 80
val_fraction = 0.2
batch_size = 24
epochs = 2
"#;

/// Trains two members with the fields, and compares a training step with the golden list `name`.
fn trains(name: &str, fields: &str, algorithm: &str, args: &[&str]) {
    let grid = format!("[base]\n{IMAGES}{fields}\n[grid]\nseed = {{ count = 2 }}\n");
    let Some(machine) = Machine::new(&grid) else { return };
    let run = machine.train(args, &[("FAKE_PREFER", algorithm)]);
    run.expect(0);
    machine.expect_finished(2, &run);
    compare(name, &step(&run.log));
}

/// The recorded training step: nothing else has as many nodes.
pub fn step(log: &Log) -> Capture {
    let captures = log.captures();
    let most = captures.iter().map(|capture| capture.nodes).max().expect("something is recorded");
    captures.into_iter().find(|capture| capture.nodes == most).unwrap()
}

fn compare(name: &str, step: &Capture) {
    let path = root().join("tests/fakecuda/golden").join(format!("{name}.txt"));
    let mut found = format!("{} nodes on {} streams\n\n", step.nodes, step.streams);
    for (kernel, count) in &step.names {
        writeln!(found, "{count:5} {kernel}").unwrap();
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        return fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "the kernels of a training step are not those of {}:\n{}\
         If that is meant, UPDATE_GOLDEN=1 make test-fakegpu writes the lists anew.",
        path.strip_prefix(root()).unwrap_or(Path::new("")).display(),
        difference(&expected, &found)
    );
}

/// The lines that are in one of two texts only.
fn difference(before: &str, after: &str) -> String {
    let only = |sign: char, these: &str, others: &str| {
        let lines = these.lines().filter(|line| !others.lines().any(|other| other == *line));
        lines.map(|line| format!("{sign} {line}\n")).collect::<String>()
    };
    only('-', before, after) + &only('+', after, before)
}

#[test]
fn mlp() {
    trains("mlp", "model = \"mlp\"\ndepth = 4\nwidth = 32\nweight_decay = 1e-4", "dense", &[]);
}

#[test]
fn mlp_without_normalisation_in_bf16() {
    let fields = "model = \"mlp\"\ndepth = 2\nwidth = 32\nnorm = \"none\"\ninit = \"he\"\nprecision = \"bf16\"";
    trains("mlp-bf16", fields, "dense", &[]);
}

#[test]
fn mlp_with_a_data_dependent_initialization() {
    let fields = "model = \"mlp\"\ndepth = 2\nwidth = 32\ninit = \"he_datadep\"";
    trains("mlp-datadep", fields, "dense", &[]);
}

#[test]
fn cnn_with_each_convolution_algorithm() {
    for algorithm in ["dense", "lanes", "grouped", "patches"] {
        let fields = "model = \"cnn\"\ndepth = 3\nwidth = 8";
        trains(&format!("cnn-{algorithm}"), fields, algorithm, &[]);
    }
}

#[test]
fn resnet_with_weight_norm() {
    let fields = "model = \"resnet\"\nblocks = 1\nwidth = 4\ninit = \"orthogonal_datadep\"";
    trains("resnet-weight", fields, "dense", &[]);
    trains("resnet-weight-grouped", fields, "grouped", &[]);
}

#[test]
fn resnet_with_batch_norm() {
    let fields = "model = \"resnet\"\nblocks = 1\nwidth = 4\nnorm = \"batch\"";
    trains("resnet-batch", fields, "dense", &[]);
}

#[test]
fn activations() {
    let gelu = "model = \"mlp\"\ndepth = 4\nwidth = 32\nactivation = \"gelu\"";
    trains("mlp-gelu", gelu, "dense", &[]);
    let resnet = "model = \"resnet\"\nblocks = 1\nwidth = 4";
    trains("resnet-weight-tanh", &format!("{resnet}\nactivation = \"tanh\""), "dense", &[]);
    let selu = format!("{resnet}\nactivation = \"selu\"\nnorm = \"batch\"");
    trains("resnet-batch-selu", &selu, "dense", &[]);
}

#[test]
fn wrn_in_bf16() {
    let fields = "model = \"wrn\"\nblocks = 1\nk = 1\nprecision = \"bf16\"";
    trains("wrn-bf16", fields, "dense", &[]);
}

#[test]
fn micro_batches() {
    let fields = "model = \"cnn\"\ndepth = 2\nwidth = 8\nmicro_batch = 10";
    trains("cnn-micro-batches", fields, "dense", &[]);
}

#[test]
fn recomputed_activations() {
    let fields = "model = \"cnn\"\ndepth = 6\nwidth = 8";
    trains("cnn-recompute", fields, "lanes", &["--recompute", "on"]);
}

#[test]
fn augmentation_with_cutout() {
    let fields = "model = \"cnn\"\ndepth = 2\nwidth = 8\naugment = \"crop_flip_cutout\"";
    trains("cnn-cutout", fields, "dense", &[]);
}
