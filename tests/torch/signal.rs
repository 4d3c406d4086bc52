//! Signals at initialization agree with theorems 1 to 4 of Arpit, Campos & Bengio 2019, and `wninit
//! signal` writes them to a file.

use std::f64::consts::{E, SQRT_2};
use std::fs;

use crate::program::{Sandbox, output};
use wninit_core::job::Init;
use wninit_core::results::LayerSignal;
use wninit_torch::probe::signal::Net;

const MLP: Net = Net::Mlp { depth: 20, m: 400 };
const RESIDUAL: Net = Net::Residual { blocks: 40, m: 400 };

/// The layers of three seeds.
fn seeds(net: Net, init: &str) -> Vec<Vec<LayerSignal>> {
    let init: Init = init.parse().unwrap();
    (0..3).map(|seed| net.measure(init, seed).unwrap()).collect()
}

fn mean(seeds: &[Vec<LayerSignal>], value: impl Fn(&[LayerSignal]) -> f64) -> f64 {
    seeds.iter().map(|layers| value(layers)).sum::<f64>() / seeds.len() as f64
}

#[test]
fn the_proposed_gain_keeps_norm_and_gradient_of_an_mlp_and_gain_1_loses_them() {
    // One layer of n units changes the squared norm by a factor of mean 1 and variance 5/n, so
    // the norm after 20 layers deviates by √(20·5/400)/2 = 0.25, a mean of three seeds by 0.14.
    for init in ["he_proposed", "orthogonal_proposed"] {
        let seeds = seeds(MLP, init);
        assert_eq!(seeds[0].len(), 21);
        for l in 0..=20 {
            let forward = mean(&seeds, |layers| layers[l].forward_ratio);
            assert!((0.6..1.5).contains(&forward), "{init} layer {l}: forward {forward}");
            let backward = mean(&seeds, |layers| layers[l].backward_ratio);
            assert!((0.6..1.5).contains(&backward), "{init} layer {l}: backward {backward}");
        }
    }
    // Each layer halves the squared norm: 2^(-20/2) = 0.001.
    let seeds = seeds(MLP, "he");
    let forward = mean(&seeds, |layers| layers[20].forward_ratio);
    assert!((2e-4..5e-3).contains(&forward), "{forward}");
    let backward = mean(&seeds, |layers| layers[1].backward_ratio);
    assert!(backward < 1e-2, "{backward}");
}

#[test]
fn the_proposed_gain_bounds_growth_in_a_residual_network_and_gain_1_explodes() {
    for init in ["he_proposed", "orthogonal_proposed"] {
        let seeds = seeds(RESIDUAL, init);
        // (1 + 1/40)^(40/2) = 1.64 for wide ones, near the upper bound √e = 1.65.
        let bounds = SQRT_2 * 0.95..E.sqrt() * 1.05;
        let forward = mean(&seeds, |layers| layers[40].forward_ratio);
        assert!(bounds.contains(&forward), "{init}: {forward}");
        let backward = mean(&seeds, |layers| layers[0].backward_ratio);
        assert!(bounds.contains(&backward), "{init}: {backward}");
        assert!(seeds.iter().flatten().all(|layer| layer.forward_ratio > 0.9));
    }
    // Each block multiplies the squared norm by 3/2: 1.5^(40/2) = 3325.
    let seeds = seeds(RESIDUAL, "he");
    let forward = mean(&seeds, |layers| layers[40].forward_ratio);
    assert!((1500.0..7000.0).contains(&forward), "{forward}");
    let backward = mean(&seeds, |layers| layers[0].backward_ratio);
    assert!((1500.0..7000.0).contains(&backward), "{backward}");
}

#[test]
fn signals_are_reproducible_and_depend_on_the_seed() {
    let net = Net::Residual { blocks: 2, m: 60 };
    let measure = |seed| net.measure("he_proposed".parse().unwrap(), seed).unwrap();
    assert_eq!(measure(3), measure(3));
    assert_ne!(measure(3), measure(4));
}

const GRID: &str = r#"
[base]
dataset = "digits"
width = 200
[grid]
model = ["mlp", "wrn"]
init = ["orthogonal_datadep", "orthogonal_proposed"]
lr = [0.1, 0.01]
[[exclude]]
model = "wrn"
init = "orthogonal_datadep"
"#;

#[test]
fn each_network_of_a_grid_is_measured_once_for_all_learning_rates() {
    let grid = GRID.replace("width = 200\n", "").replace("[base]", "[base]\nepochs = 3");
    let sandbox = Sandbox::new(&grid);
    let result = output(&mut sandbox.wninit(&["signals", "grid.toml", "--device", "cpu"]));
    result.expect(0, &[]);
    assert!(result.stdout.lines().all(|line| line.chars().count() <= 80), "{}", result.stdout);
    let mut reader = csv::Reader::from_path(sandbox.sweep().join("signal.csv")).unwrap();
    let rows: Vec<crate::program::Row> = reader.deserialize().map(Result::unwrap).collect();
    // Ten hidden layers and the input; a stem, 18 blocks and the input.
    let count = |net: &str, init: &str| {
        rows.iter().filter(|row| row["net"] == net && row["init"] == init).count()
    };
    assert_eq!(count("mlp depth=10 width=128", "orthogonal_proposed"), 11, "{rows:?}");
    assert_eq!(count("mlp depth=10 width=128", "orthogonal_datadep"), 11);
    assert_eq!(rows.len(), 11 + 11 + 20);
    for row in &rows {
        let number = |column: &str| row[column].parse::<f64>().unwrap();
        assert!(number("forward_norm") > 0.0 && number("backward_norm") > 0.0, "{row:?}");
        if row["layer"] == "0" {
            assert_eq!((row["name"].as_str(), number("forward_ratio")), ("input", 1.0));
        }
    }
    let last = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap();
    for name in ["hidden.9", "stages.2.5"] {
        let ratio: f64 = last(name)["backward_ratio"].parse().unwrap();
        assert!((ratio - 1.0).abs() < 1e-12, "the last hidden layer is the reference: {ratio}");
    }
    let documented = fs::read_to_string(sandbox.sweep().join("columns.json")).unwrap();
    assert!(documented.contains("backward_ratio"));
    let page = fs::read_to_string(sandbox.sweep().join("signal.html")).unwrap();
    roxmltree::Document::parse(&page.replacen("<!DOCTYPE html>\n", "", 1)).unwrap();
}

#[test]
fn one_job_of_a_grid_can_be_chosen_and_an_unknown_one_is_an_error() {
    let sandbox = Sandbox::new("[base]\ndataset = \"digits\"\n[grid]\ndepth = [2, 3]\n");
    let list = output(&mut sandbox.wninit(&["plan", "grid.toml", "--csv"])).stdout;
    let id = list.lines().nth(1).unwrap().split(',').next().unwrap().to_owned();
    let args = ["signals", "grid.toml", "--device", "cpu", "--out", "here", "--job"];
    output(sandbox.wninit(&args).arg(&id)).expect(0, &[]);
    let csv = fs::read_to_string(sandbox.path("here/signal.csv")).unwrap();
    assert!(csv.lines().skip(1).all(|line| line.starts_with(&id)), "{csv}");
    assert_eq!(csv.lines().count(), 1 + 3);
    output(sandbox.wninit(&args).arg("0123456789ab")).expect(2, &["0123456789ab", "no such job"]);
}

#[test]
fn invalid_arguments_end_with_exit_code_2_and_an_unwritable_folder_is_an_error() {
    let sandbox = Sandbox::new("[base]\ndataset = \"digits\"\ndepth = 2\n");
    output(&mut sandbox.wninit(&["signals", "--set", "depth=2"])).expect(2, &["--set"]);
    output(&mut sandbox.wninit(&["signals", "--seeds", "0"])).expect(2, &["--seeds"]);
    output(&mut sandbox.wninit(&["signals", "grid.toml", "--seeds", "3"])).expect(2, &["--seeds"]);
    output(&mut sandbox.wninit(&["signals", "nothing.toml"])).expect(2, &["nothing.toml"]);
    fs::write(sandbox.path("file"), "").unwrap();
    let args = ["signals", "grid.toml", "--device", "cpu", "--out", "file/here"];
    let result = output(&mut sandbox.wninit(&args));
    assert!([1, 2].contains(&result.code()), "{result:?}");
    result.expect(result.code(), &["file/here", "--out"]);
}

#[test]
fn a_full_disk_is_an_error_that_leaves_the_old_file_intact() {
    let sandbox = Sandbox::new("[base]\ndataset = \"digits\"\ndepth = 20\n");
    let args = ["signals", "grid.toml", "--device", "cpu"];
    fs::create_dir_all(sandbox.sweep()).unwrap();
    fs::write(sandbox.sweep().join("signal.csv"), "old").unwrap();
    let mut command = sandbox.wninit(&args);
    crate::program::limit(&mut command, libc::RLIMIT_FSIZE, 1000);
    let result = output(&mut command);
    assert!([1, 2].contains(&result.code()), "{result:?}");
    result.expect(result.code(), &["signal.csv", "make room"]);
    assert_eq!(sandbox.text("signal.csv"), "old");
}
