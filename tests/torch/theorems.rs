//! Properties of the initializers, measured on initial networks.

use std::collections::HashMap;
use std::f64::consts::PI;

use crate::again;
use rand::Rng;
use rand::seq::IndexedRandom;
use tch::{Device, Kind, Tensor};
use wninit_core::job::{Activation, Arch, Init, Norm};
use wninit_core::rng;
use wninit_torch::models::{Model, ModelConfig};
use wninit_torch::nn::{Arithmetic, Pass};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

fn config(arch: Arch, input: [i64; 3]) -> ModelConfig {
    ModelConfig {
        arch,
        activation: Activation::Relu,
        norm: Norm::Weight,
        branch_scale: None,
        input,
        classes: 10,
        arithmetic: Arithmetic::fp32(Device::Cpu),
    }
}

fn init(name: &str) -> Init {
    name.parse().unwrap()
}

/// The outputs of every affine map and block for images `[batch, channel, height, width]`.
fn results(model: &Model, images: &Tensor) -> HashMap<String, Tensor> {
    let mut seen = HashMap::new();
    let mut see = |name: &str, result: &Tensor| {
        seen.insert(name.to_owned(), result.get(0).copy());
    };
    let _ = model.logits(&images.unsqueeze(0), &mut Pass::Observe(&mut see));
    seen
}

fn norm(tensor: &Tensor) -> f64 {
    f64::try_from(tensor.square().sum(Kind::Double).sqrt()).unwrap()
}

#[test]
fn data_dependent_init_gives_every_channel_of_every_layer_mean_0_and_variance_1() {
    tch::manual_seed(1);
    let mut stream = rng::stream(1, "data-dependent", 0);
    for case in 0..16 {
        let arch = match case % 4 {
            0 => Arch::Mlp { depth: stream.random_range(1..6), width: stream.random_range(4..40) },
            1 => Arch::Cnn { depth: stream.random_range(1..5), width: stream.random_range(2..9) },
            2 => {
                Arch::ResNet { blocks: stream.random_range(1..3), width: stream.random_range(2..6) }
            }
            _ => Arch::Wrn { blocks: 1, k: 1, reduced_memory: case > 8 },
        };
        let input = *[[1, 8, 8], [3, 12, 10]].choose(&mut stream).unwrap();
        let images = Tensor::randn([64, input[0], input[1], input[2]], CPU);
        let name = ["he_datadep", "orthogonal_datadep"].choose(&mut stream).unwrap();
        let activation = *Activation::ALL.choose(&mut stream).unwrap();
        let start = ModelConfig { activation, ..config(arch, input) };
        let model = Model::initialised(start, init(name), case, || images.copy());
        let mut layers = 0;
        for (layer, z) in results(&model, &images) {
            // Blocks and the head are not normalised.
            let is_block = layer.starts_with("stages.") && layer.matches('.').count() == 2;
            if layer == "head" || is_block {
                continue;
            }
            let units = z.transpose(0, 1).flatten(1, -1);
            let mean = f64::try_from(units.mean_dim(1, false, None::<Kind>).abs().max()).unwrap();
            let off = f64::try_from((units.std_dim(1, false, false) - 1.0).abs().max()).unwrap();
            assert!(
                mean < 1e-3 && off < 1e-3,
                "{arch:?} {activation} {layer}: mean {mean:e}, |sd − 1| {off:e}"
            );
            layers += 1;
        }
        assert!(layers > 0);
    }
}

#[test]
fn the_proposed_gain_keeps_the_norm_of_an_mlp_through_50_layers_and_the_default_one_loses_it() {
    tch::manual_seed(2);
    let images = Tensor::randn([200, 1, 20, 25], CPU);
    let arch = Arch::Mlp { depth: 50, width: 500 };
    let ratio = |name: &str| {
        let model = Model::initialised(config(arch, [1, 20, 25]), init(name), 3, || unreachable!());
        let seen = results(&model, &images);
        // The ReLU keeps half of the squared norm.
        let h = |layer: &str| norm(&seen[layer].relu());
        h("hidden.49") / norm(&images)
    };
    for name in ["orthogonal_proposed", "he_proposed"] {
        assert!((0.7..1.4).contains(&ratio(name)), "{name}: {}", ratio(name));
    }
    assert!(ratio("orthogonal") < 1e-6, "orthogonal: {}", ratio("orthogonal"));
}

#[test]
fn the_data_dependent_gain_grows_the_gradient_by_a_fifth_with_each_layer() {
    tch::manual_seed(7);
    let images = Tensor::randn([128, 1, 20, 20], CPU);
    let out = Tensor::randn([1, 128, 10], CPU);
    // The norm of the gradient that arrives at the input.
    let arrives = |name: &str, depth: u32| {
        let start = config(Arch::Mlp { depth, width: 400 }, [1, 20, 20]);
        let model = Model::initialised(start, init(name), 8, || images.copy());
        let x = images.unsqueeze(0).set_requires_grad(true);
        let loss = (model.logits(&x, &mut Pass::Observe(&mut |_, _| ())) * &out).sum(Kind::Float);
        norm(&Tensor::run_backward(&[loss], &[x], false, false)[0])
    };
    // By how much it grows with each of 30 further layers.
    let growth = |name: &str| (arrives(name, 40) / arrives(name, 10)).powf(1.0 / 30.0);
    // A layer's g² is the inverse of the variance of a normal variable's ReLU, ½ − 1/(2π), and the
    // ReLU passes half of a squared gradient back: docs/theory.md.
    let expected = (PI / (PI - 1.0)).sqrt();
    for name in ["orthogonal_datadep", "he_datadep"] {
        let found = growth(name);
        assert!((found / expected - 1.0).abs() < 0.03, "{name}: {found}, not {expected}");
    }
    for name in ["orthogonal_proposed", "orthogonal_lsuv"] {
        let found = growth(name);
        assert!((found - 1.0).abs() < 0.03, "{name}: {found}, not 1");
    }
}

#[test]
fn an_activations_gamma_keeps_the_variance_of_an_mlp_and_anothers_does_not() {
    tch::manual_seed(6);
    let images = Tensor::randn([50, 1, 15, 20], CPU);
    for (activation, depth, other, lost) in [
        (Activation::Relu, 50, 1.0, 0.0..1e-10),
        (Activation::LeakyRelu, 50, 1.0, 0.0..1e-10),
        (Activation::Tanh, 50, 1.0, 0.0..0.1),
        // Its variance drifts: see docs/networks.md.
        (Activation::Gelu, 10, 2.0, 0.0..0.1),
        (Activation::Selu, 50, 2.0, 100.0..1e5),
        (Activation::Linear, 50, 2.0, 1e10..1e20),
    ] {
        let plan =
            ModelConfig { activation, ..config(Arch::Mlp { depth, width: 300 }, [1, 15, 20]) };
        // The first layer's pre-activations have variance 1.
        let x = &images / activation.gamma().sqrt();
        // The variance of the last layer's over the first one's, mean of three seeds.
        let [mut kept, mut changed] = [0.0; 2];
        for seed in 0..3 {
            let init = init("orthogonal_proposed");
            let mut model = Model::initialised(plan, init, seed, || unreachable!());
            let growth = |model: &Model| {
                let seen = results(model, &x);
                let z = |layer: u32| norm(&seen[&format!("hidden.{layer}")]);
                (z(depth - 1) / z(0)).powi(2) / 3.0
            };
            kept += growth(&model);
            for param in model.params() {
                if param.name.ends_with("weight_g") {
                    let _ = param.value.g_mul_scalar_((other / activation.gamma()).sqrt());
                }
            }
            model.refresh();
            changed += growth(&model);
        }
        println!("{activation}: {kept}, with γ = {other}: {changed}");
        assert!((0.6..1.6).contains(&kept), "{activation}: {kept}");
        assert!(lost.contains(&changed), "{activation} with γ = {other}: {changed}");
    }
}

#[test]
fn a_residual_stage_with_the_proposed_gain_grows_the_norm_by_sqrt_2_to_sqrt_e() {
    tch::manual_seed(4);
    let images = Tensor::randn([16, 3, 32, 32], CPU);
    for blocks in [1, 2, 5, 12] {
        let arch = Arch::ResNet { blocks, width: 32 };
        let growth: Vec<f64> = (0..4)
            .map(|seed| {
                let start = config(arch, [3, 32, 32]);
                let model =
                    Model::initialised(start, init("orthogonal_proposed"), seed, || unreachable!());
                let seen = results(&model, &images);
                norm(&seen[&format!("stages.0.{}", blocks - 1)]) / norm(&seen["stem"])
            })
            .collect();
        let mean = growth.iter().sum::<f64>() / growth.len() as f64;
        // Zero padding takes a few percent from each convolution.
        let (low, high) = (2f64.sqrt() * 0.93, 1f64.exp().sqrt() * 1.03);
        assert!((low..high).contains(&mean), "{blocks} blocks: {growth:?}");
    }
}

#[test]
fn orthogonal_directions_are_orthonormal_and_he_directions_have_their_variance() {
    for (name, arch) in [
        ("orthogonal", Arch::Mlp { depth: 2, width: 30 }),
        ("orthogonal", Arch::Mlp { depth: 2, width: 300 }),
        ("orthogonal", Arch::Cnn { depth: 2, width: 40 }),
    ] {
        let mut model =
            Model::initialised(config(arch, [3, 8, 8]), init(name), 5, || unreachable!());
        for affine in model.affines() {
            if affine.name == "head" {
                continue;
            }
            let v = affine.direction.value.get(0).flatten(1, -1).to_kind(Kind::Double);
            let (rows, columns) = v.size2().unwrap();
            let gram = if rows <= columns { v.matmul(&v.tr()) } else { v.tr().matmul(&v) };
            let off =
                (gram - Tensor::eye(rows.min(columns), (Kind::Double, Device::Cpu))).abs().max();
            assert!(f64::try_from(off).unwrap() < 1e-5, "{} of {arch:?}", affine.name);
        }
    }
    for (name, scale) in
        [("he", 2.0), ("he_datadep", 2.0), ("he_proposed", 1.0), ("he_proposed_backward", 2.0)]
    {
        let arch = Arch::Mlp { depth: 2, width: 400 };
        let images = || Tensor::randn([50, 3, 8, 8], CPU);
        let mut model = Model::initialised(config(arch, [3, 8, 8]), init(name), 6, images);
        let affine = &model.affines()[1].direction.value;
        let variance = f64::try_from(affine.var(true)).unwrap();
        assert!((variance * 400.0 / scale - 1.0).abs() < 0.02, "{name}: variance {variance}");
    }
}

#[test]
fn the_layers_backward_pass_equals_autograd() {
    let mut stream = rng::stream(11, "autograd", 0);
    let single = (Kind::Float, 1e-4);
    for (case, &activation, (kind, allowed)) in (0..12).flat_map(|case| {
        Activation::ALL.iter().flat_map(move |activation| {
            [single, (Kind::Double, 1e-11)].map(|precision| (case, activation, precision))
        })
    }) {
        let arch = match case % 4 {
            0 => Arch::Mlp { depth: 3, width: 17 },
            1 => Arch::Cnn { depth: 3, width: 5 },
            2 => Arch::ResNet { blocks: 2, width: 3 },
            _ => Arch::Wrn { blocks: 1, k: 1, reduced_memory: false },
        };
        let residual = case % 4 >= 2;
        let norm = *[Norm::Weight, Norm::None, Norm::Batch][..if residual { 3 } else { 2 }]
            .choose(&mut stream)
            .unwrap();
        let arithmetic = Arithmetic { device: Device::Cpu, params: kind, compute: kind };
        let plan = ModelConfig { activation, norm, arithmetic, ..config(arch, [3, 8, 8]) };
        let mut model = Model::zeros(plan, 2);
        for m in 0..2 {
            let mut single = Model::initialised(plan, init("he"), m as u64, || unreachable!());
            model.set_member(m, &mut single);
        }
        model.refresh();
        let x = Tensor::randn([2, 6, 3, 8, 8], CPU);
        let y = Tensor::randint(10, [2, 6], (Kind::Int64, Device::Cpu));
        let _ = tch::no_grad(|| model.train_step(&x, &y, None, i64::MAX, false));
        let ours: Vec<Tensor> =
            model.params().into_iter().map(|p| p.grad.take().unwrap()).collect();

        for param in model.params() {
            param.value = param.value.set_requires_grad(true);
        }
        let log_p = model.logits(&x, &mut Pass::Observe(&mut |_, _| ())).log_softmax(-1, kind);
        let loss = -log_p.gather(-1, &y.unsqueeze(-1), false).sum(kind) / 6.0;
        let values: Vec<Tensor> =
            model.params().into_iter().map(|p| p.value.shallow_clone()).collect();
        let theirs = Tensor::run_backward(&[loss], &values, false, false);
        for ((param, ours), theirs) in model.params().into_iter().zip(&ours).zip(&theirs) {
            // Before a batch norm a bias has the gradient 0, and what is left is rounding.
            let scale = f64::try_from(theirs.abs().max()).unwrap().max(1e-2);
            let off = f64::try_from((ours - theirs).abs().max()).unwrap();
            let what = format!("{arch:?} {activation} {norm} {kind:?}");
            assert!(off < allowed * scale, "{what} {}: {off:e} at {scale:e}", param.name);
        }
    }
}

#[test]
fn all_of_it_holds_on_a_cpu_without_avx512() {
    again::all(module_path!(), again::AVX2);
}
