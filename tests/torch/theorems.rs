//! Properties of the initializers, measured on initial networks.

use std::collections::HashMap;

use crate::again;
use rand::Rng;
use rand::seq::IndexedRandom;
use tch::{Device, Kind, Tensor};
use wninit_core::job::{Arch, Init, Norm};
use wninit_core::rng;
use wninit_torch::models::{Model, ModelConfig};
use wninit_torch::nn::{Arithmetic, Pass};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

fn config(arch: Arch, input: [i64; 3]) -> ModelConfig {
    ModelConfig {
        arch,
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
        let model = Model::initialised(config(arch, input), init(name), case, || images.copy());
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
            assert!(mean < 1e-3 && off < 1e-3, "{arch:?} {layer}: mean {mean:e}, |sd − 1| {off:e}");
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
    for case in 0..12 {
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
        let plan = ModelConfig { norm, ..config(arch, [3, 8, 8]) };
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
        let log_p =
            model.logits(&x, &mut Pass::Observe(&mut |_, _| ())).log_softmax(-1, Kind::Float);
        let loss = -log_p.gather(-1, &y.unsqueeze(-1), false).sum(Kind::Float) / 6.0;
        let values: Vec<Tensor> =
            model.params().into_iter().map(|p| p.value.shallow_clone()).collect();
        let theirs = Tensor::run_backward(&[loss], &values, false, false);
        for ((param, ours), theirs) in model.params().into_iter().zip(&ours).zip(&theirs) {
            let scale = f64::try_from(theirs.abs().max()).unwrap().max(1e-3);
            let off = f64::try_from((ours - theirs).abs().max()).unwrap();
            assert!(off < 1e-4 * scale, "{arch:?} {norm} {}: {off:e} at {scale:e}", param.name);
        }
    }
}

#[test]
fn all_of_it_holds_on_a_cpu_without_avx512() {
    again::all(module_path!(), again::AVX2);
}
