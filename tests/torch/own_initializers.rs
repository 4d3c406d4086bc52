//! Own initializers train as the built-in ones do, and every direction and gain is what it says.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};
use wninit_core::job::{Activation, Arch, Init, Norm};
use wninit_torch::models::{Model, ModelConfig};
use wninit_torch::nn::{Arithmetic, Pass};

use crate::program::{Row, Sandbox, output};

/// `orthogonal_proposed` under another name, role by role and as one expression, beside other jobs.
const SAME: &str = r#"
[base]
dataset = "synthetic"
synthetic_shape = [2, 9, 8]
synthetic_images = 200
synthetic_classes = 3
batch_size = 16
epochs = 2
[[block]]
base = { model = "mlp", depth = 3, width = 12 }
grid = { init = ["orthogonal_proposed", "mine", "by_role", "orthogonal_datadep"], seed = [0, 1] }
[[block]]
base = { model = "cnn", depth = 3, width = 5 }
grid = { init = ["orthogonal_proposed", "mine", "by_role", "orthogonal_datadep"], seed = [0, 1] }
[[block]]
base = { model = "resnet", blocks = 2, width = 3 }
grid = { init = ["orthogonal_proposed", "mine", "by_role", "he_hanin"], seed = [0, 1] }
[[block]]
base = { model = "wrn", blocks = 1, k = 1 }
grid = { init = ["orthogonal_proposed", "mine", "he_lsuv"], seed = [0, 1] }
[[initializer]]
name = "mine"
direction = "orthogonal"
gain = "sqrt(gamma * fan_in / fan_out)"
[[initializer]]
name = "by_role"
direction = "orthogonal"
gain = "sqrt(2 * fan_in / fan_out)"
residual = "sqrt(fan_in / (blocks * fan_out))"
shortcut = "sqrt(fan_in / fan_out)"
"#;

#[test]
fn a_definition_that_equals_a_built_in_rule_gives_equal_rows_and_verify_finds_them_so() {
    let sandbox = Sandbox::finished(SAME);
    let mut by_job: BTreeMap<Row, BTreeMap<String, Row>> = BTreeMap::new();
    for (_, mut row) in sandbox.results().runs {
        let init = row.remove("init").unwrap();
        for own in ["job_id", "init_rule"] {
            row.remove(own);
        }
        let key: Row = ["model", "seed"].map(|k| (k.to_owned(), row[k].clone())).into();
        by_job.entry(key).or_default().insert(init, row);
    }
    assert_eq!(by_job.len(), 8, "four networks with two seeds");
    for (job, rows) in by_job {
        let built_in = &rows["orthogonal_proposed"];
        for own in ["mine", "by_role"] {
            let Some(row) = rows.get(own) else { continue };
            assert_eq!(row, built_in, "{job:?} {own}");
        }
        assert!(rows.values().any(|row| row != built_in), "{job:?}: a neighbour that differs");
    }
    std::fs::remove_file(sandbox.path("grid.toml")).unwrap();
    std::fs::remove_file(sandbox.sweep().join("grid.toml")).unwrap();
    let verified = output(&mut sandbox.wninit(&["verify", "results/sweep", "--sample", "100"]));
    verified.expect(0, &[]);
    assert!(verified.stdout.contains("30 equal, 0 close, 0 different"), "{verified:?}");
}

fn model(arch: Arch, norm: Norm, branch_scale: Option<f64>, init: Init, batch: &Tensor) -> Model {
    tch::set_num_threads(1);
    let size = batch.size();
    let config = ModelConfig {
        arch,
        activation: Activation::Relu,
        norm,
        branch_scale,
        input: [size[1], size[2], size[3]],
        classes: 4,
        arithmetic: Arithmetic::fp32(Device::Cpu),
    };
    Model::initialised(config, init, 7, || batch.shallow_clone())
}

fn own(rule: &str) -> Init {
    Init::Own { name: "own", rule: Box::leak(Box::new(rule.parse().unwrap())) }
}

/// `[256, 3, 8, 8]`, not standardised.
fn images() -> Tensor {
    let numbers = Tensor::arange(256 * 3 * 64, (Kind::Float, Device::Cpu));
    (numbers * 12.9898).sin().view([256, 3, 8, 8]) + 0.3
}

/// The rows `[out, in·k·k]` of each layer but the head.
fn rows(model: &mut Model) -> Vec<(String, Tensor)> {
    let affines = model.affines().into_iter().filter(|affine| affine.name != "head");
    affines
        .map(|affine| (affine.name.clone(), affine.direction.value.get(0).flatten(1, -1)))
        .collect()
}

fn number(t: Tensor) -> f64 {
    f64::try_from(t.to_kind(Kind::Double)).unwrap()
}

const WIDE: Arch = Arch::Mlp { depth: 2, width: 400 };

#[test]
fn directions_have_the_variances_of_their_sources() {
    for (direction, variance) in [
        ("he", (2.0 / 192.0, 2.0 / 400.0)),
        ("lecun", (1.0 / 192.0, 1.0 / 400.0)),
        ("xavier", (2.0 / 592.0, 2.0 / 800.0)),
    ] {
        let init = own(&format!("direction={direction}"));
        let layers = rows(&mut model(WIDE, Norm::None, None, init, &images()));
        for ((name, v), expected) in layers.iter().zip([variance.0, variance.1]) {
            let found = number(v.square().mean(Kind::Double));
            assert!((found / expected - 1.0).abs() < 0.02, "{direction} {name}: {found}");
        }
    }
}

#[test]
fn a_delta_orthogonal_kernel_keeps_the_norm_of_every_image_but_for_its_border() {
    let init: Init = "delta_orthogonal".parse().unwrap();
    let mut network = model(Arch::Cnn { depth: 4, width: 6 }, Norm::None, None, init, &images());
    for affine in network.affines().into_iter().filter(|affine| affine.name != "head") {
        let kernel = affine.direction.value.get(0);
        let centre = kernel.select(3, 1).select(2, 1);
        let whole = number(kernel.square().sum(Kind::Double));
        assert!(
            (number(centre.square().sum(Kind::Double)) - whole).abs() < 1e-9,
            "{}",
            affine.name
        );
        let [outputs, inputs] = [centre.size()[0], centre.size()[1]];
        let gram = if outputs < inputs {
            centre.matmul(&centre.tr())
        } else {
            centre.tr().matmul(&centre)
        };
        let identity = Tensor::eye(outputs.min(inputs), (Kind::Float, Device::Cpu));
        assert!(number((gram - identity).abs().max()) < 1e-5, "{}", affine.name);
    }
}

#[test]
fn a_gain_is_the_norm_of_each_units_weights_with_every_norm() {
    let arch = Arch::ResNet { blocks: 2, width: 3 };
    let init = own("direction=he; gain=0.5+layer; residual=0; shortcut=block; bias=0.25");
    for norm in [Norm::None, Norm::Weight, Norm::Batch] {
        let mut network = model(arch, norm, None, init, &images());
        for affine in network.affines() {
            let name = affine.name.clone();
            let expected = match name.as_str() {
                "head" => continue,
                "stem" => 1.5,
                other if other.ends_with("conv2") => 0.0,
                other if other.ends_with("shortcut") => 1.0,
                other => {
                    let numbers: Vec<f64> =
                        other.split('.').filter_map(|n| n.parse().ok()).collect();
                    0.5 + 2.0 + 4.0 * numbers[0] + 2.0 * numbers[1]
                }
            };
            let weight = affine.weight().get(0).flatten(1, -1);
            let norms = weight.square().sum_dim_intlist(1, false, Kind::Double).sqrt();
            assert!(
                number((norms - expected).abs().max()) < 1e-4 * expected.max(1.0),
                "{norm} {name}"
            );
            assert!(number((&affine.bias.value - 0.25).abs().max()) < 1e-7, "{name}");
        }
    }
}

#[test]
fn lsuv_gives_every_layer_unit_variance_and_leaves_the_bias() {
    for norm in [Norm::None, Norm::Weight] {
        for arch in [Arch::ResNet { blocks: 1, width: 4 }, Arch::Mlp { depth: 3, width: 20 }] {
            let init: Init = "orthogonal_lsuv".parse().unwrap();
            let mut network = model(arch, norm, None, init, &images());
            let mut seen = BTreeMap::new();
            let mut see = |name: &str, y: &Tensor| drop(seen.insert(name.to_owned(), y.copy()));
            let _ = network.logits(&images().unsqueeze(0), &mut Pass::Observe(&mut see));
            for affine in network.affines() {
                let variance = number(seen[&affine.name].to_kind(Kind::Double).var(false));
                let is_head = affine.name == "head";
                assert_eq!(
                    (variance - 1.0).abs() < 1e-4,
                    !is_head,
                    "{norm} {}: {variance}",
                    affine.name
                );
                assert!(is_head || number(affine.bias.value.abs().max()) == 0.0);
            }
        }
    }
}

#[test]
fn a_branch_that_starts_at_zero_leaves_the_shortcut_and_learns() {
    let arch = Arch::ResNet { blocks: 3, width: 4 };
    let init: Init = "he".parse().unwrap();
    let logits = |network: &Model| network.logits(&images().unsqueeze(0), &mut Pass::Evaluate);
    let mut scaled = model(arch, Norm::None, Some(0.0), init, &images());
    // The same without branches: conv2 is 0.
    let mut cut = model(arch, Norm::None, None, init, &images());
    for affine in cut.affines().into_iter().filter(|affine| affine.name.ends_with("conv2")) {
        let _ = affine.direction.value.shallow_clone().zero_();
    }
    cut.refresh();
    assert!(logits(&scaled).equal(&logits(&cut)));
    assert!(!logits(&scaled).equal(&logits(&model(arch, Norm::None, Some(0.5), init, &images()))));
    let labels = Tensor::arange(256, (Kind::Int64, Device::Cpu)).remainder(4).unsqueeze(0);
    scaled.train_step(&images().unsqueeze(0), &labels, None, i64::MAX, false);
    let scales = scaled.params().into_iter().filter(|param| param.name.ends_with("branch_scale"));
    let gradients: Vec<f64> = scales.map(|p| number(p.grad.as_ref().unwrap().get(0))).collect();
    assert_eq!(gradients.len(), 9);
    assert!(gradients.iter().all(|gradient| gradient.abs() > 1e-8), "{gradients:?}");
}
