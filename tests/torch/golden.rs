//! Every network agrees with an independent float64 implementation: logits, losses, gradients,
//! parameters after some steps, running statistics; alone and in a stack.
//!
//! The cases and the script that generated them are in `fixtures/golden`. `WNINIT_GOLDEN=DIR` adds the
//! cases of another folder. `make golden` prints every case by name.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::again;
use crate::skip::skip;
use serde::Deserialize;
use tch::{Device, Kind, Tensor};
use wninit_core::job::{Activation, Arch, Direction, Gain, Init, Norm};
use wninit_torch::models::{Model, ModelConfig};
use wninit_torch::nn::{Arithmetic, Pass, Sgd};

/// Tolerances relative to the largest number. Double precision uses the operators that a GPU uses, and
/// its learning rates are single precision.
const TOLERANCE: f64 = 1e-4;
const DOUBLE_TOLERANCE: f64 = 1e-6;

#[derive(Deserialize)]
struct Case {
    name: String,
    arch: CaseArch,
    norm: String,
    scheme: String,
    /// The expressions of the scheme "own", by key.
    #[serde(default)]
    rule: std::collections::BTreeMap<String, String>,
    branch_scale: Option<f64>,
    input: [i64; 3],
    classes: i64,
    optimizer: Optimizer,
    steps: i64,
}

#[derive(Deserialize)]
struct CaseArch {
    kind: String,
    depth: Option<u32>,
    width: Option<u32>,
    blocks: Option<u32>,
    k: Option<u32>,
    #[serde(default)]
    reduced_memory: bool,
}

#[derive(Deserialize)]
struct Optimizer {
    lr: f32,
    momentum: f32,
    weight_decay: f32,
}

impl CaseArch {
    /// `None` if there is no such architecture.
    fn arch(&self) -> Option<Arch> {
        Some(match self.kind.as_str() {
            "mlp" => Arch::Mlp { depth: self.depth?, width: self.width? },
            "cnn" => Arch::Cnn { depth: self.depth?, width: self.width? },
            "resnet" => Arch::ResNet { blocks: self.blocks?, width: self.width? },
            "wrn" => {
                Arch::Wrn { blocks: self.blocks?, k: self.k?, reduced_memory: self.reduced_memory }
            }
            _ => return None,
        })
    }
}

struct Golden {
    case: Case,
    config: ModelConfig,
    tensors: HashMap<String, Tensor>,
}

impl Golden {
    fn get(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("{}: no tensor {name}", self.case.name))
    }

    fn sgd(&self, members: usize) -> Sgd {
        let Optimizer { lr, momentum, weight_decay } = self.case.optimizer;
        let device = self.config.arithmetic.device;
        let each = |number: f32| Tensor::from_slice(&vec![number; members]).to_device(device);
        Sgd::new(each(lr), each(momentum), Some(each(weight_decay)))
    }

    /// The case's network at its initial state.
    fn model(&self) -> Model {
        let mut model = Model::zeros(self.config, 1);
        self.set(&mut model, "init");
        model
    }

    fn set(&self, model: &mut Model, state: &str) {
        for param in model.params() {
            param.value.copy_(&self.get(&format!("{state}/{}", param.name)).unsqueeze(0));
        }
        model.refresh();
    }

    fn expect(&self, what: &str, ours: &Tensor, theirs: &Tensor) {
        self.expect_at(what, ours, theirs, largest(theirs));
    }

    /// Compares a parameter (`final`) or its gradient (`grad0`). If a gradient cancels to rounding errors,
    /// such as that of a bias before a batch norm, it is compared at the scale of its layer.
    fn expect_of_layer(&self, state: &str, name: &str, ours: &Tensor) {
        let what = format!("{state}/{name}");
        let theirs = self.get(&what);
        let layer = name.rsplit_once('.').map_or(name, |(layer, _)| layer);
        let prefix = format!("{state}/{layer}.");
        let of_layer = self.tensors.iter().filter(|(name, _)| name.starts_with(&prefix));
        let layers = of_layer.map(|(_, tensor)| largest(tensor)).fold(0.0, f64::max);
        let own = largest(theirs);
        self.expect_at(&what, ours, theirs, if own < 1e-6 * layers { layers } else { own });
    }

    fn expect_at(&self, what: &str, ours: &Tensor, theirs: &Tensor, scale: f64) {
        let tolerance = match self.config.arithmetic.params {
            Kind::Double => DOUBLE_TOLERANCE,
            _ => TOLERANCE,
        };
        let (ours, theirs) =
            (ours.to_kind(Kind::Double), theirs.to_kind(Kind::Double).to_device(ours.device()));
        assert_eq!(ours.size(), theirs.size(), "{}: shape of {what}", self.case.name);
        let error = largest(&(&ours - &theirs));
        assert!(
            error <= tolerance * scale.max(1e-3),
            "{}: {what} is off by {error:e} at a scale of {scale:e}",
            self.case.name
        );
    }
}

/// The largest absolute value; NaN if there is a NaN.
fn largest(t: &Tensor) -> f64 {
    f64::try_from(t.to_kind(Kind::Double).abs().max()).unwrap()
}

fn read(path: &Path, arithmetic: Arithmetic) -> Result<Golden, String> {
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    let (_, metadata) =
        safetensors::SafeTensors::read_metadata(&bytes).map_err(|e| e.to_string())?;
    let text = metadata
        .metadata()
        .as_ref()
        .and_then(|m| m.get("case"))
        .ok_or("no case in the metadata")?;
    let case: Case = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let arch = case.arch.arch().ok_or_else(|| format!("no model {}", case.arch.kind))?;
    let config = ModelConfig {
        arch,
        activation: Activation::Relu,
        norm: case.norm.parse::<Norm>()?,
        branch_scale: case.branch_scale,
        input: case.input,
        classes: case.classes,
        arithmetic,
    };
    let tensors = Tensor::read_safetensors(path)
        .map_err(|e| e.to_string())?
        .into_iter()
        .map(|(name, tensor)| (name, tensor.to_device(arithmetic.device)))
        .collect();
    Ok(Golden { case, config, tensors })
}

fn folders() -> Vec<PathBuf> {
    // A prebuilt test (benches/gpu.sh) may run on another machine.
    let own = std::env::var_os("WNINIT_FIXTURES")
        .map_or_else(|| crate::root().join("tests/fixtures"), PathBuf::from)
        .join("golden");
    let other = std::env::var_os("WNINIT_GOLDEN").map(PathBuf::from);
    std::iter::once(own).chain(other).collect()
}

/// Runs `check` on every case of these schemes (all, if none is named), and prints its name. A case
/// that cannot be read, perhaps because its model does not exist here, is skipped.
#[allow(clippy::print_stdout)] // shown by --nocapture
fn for_each_case(what: &str, arithmetic: Arithmetic, schemes: &[&str], check: impl Fn(&Golden)) {
    let mut run = 0;
    for folder in folders() {
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|e| e == "safetensors"));
        paths.sort();
        for path in paths {
            match read(&path, arithmetic) {
                Ok(golden) if schemes.is_empty() || schemes.contains(&&*golden.case.scheme) => {
                    let Arithmetic { device, params, .. } = arithmetic;
                    let name = format!("{} ({what}, {params:?}, {device:?})", golden.case.name);
                    println!("golden {name}");
                    tch::no_grad(|| check(&golden));
                    run += 1;
                }
                Ok(_) => {}
                Err(why) => skip("golden case", &format!("{}: {why}", path.display())),
            }
        }
    }
    let least = if schemes.is_empty() { 6 } else { 1 };
    assert!(run >= least, "only {run} golden cases were run");
}

/// Trains `model` on the case's batches; member `m` is the case. Returns the last losses, `[member]`.
fn check_training(golden: &Golden, mut model: Model, m: i64, sgd: &Sgd) -> Vec<f64> {
    let members = model.members();
    let batch = |name: &str, s: i64| {
        let t = golden.get(name).get(s).unsqueeze(0);
        let size: Vec<i64> =
            std::iter::once(members).chain(t.size()[1..].iter().copied()).collect();
        t.expand(&size, false)
    };
    let logits = {
        // In training mode on a copy, because this updates batch norm's averages.
        let mut copy = Model::zeros(golden.config, 1);
        golden.set(&mut copy, "init");
        copy.logits(&golden.get("x").get(0).unsqueeze(0), &mut Pass::NoTape)
    };
    golden.expect("logits0", &logits.get(0), golden.get("logits0"));

    let mut losses = Vec::new();
    for s in 0..golden.case.steps {
        let (x, y) = (batch("x", s), batch("y", s));
        let result = model.train_step(&x, &y, Some(sgd), i64::MAX, false);
        golden.expect(
            &format!("loss of step {s}"),
            &result.loss.get(m),
            &golden.get("loss").get(s),
        );
        losses = Vec::try_from(result.loss.to_kind(Kind::Double)).unwrap();
    }
    for param in model.params() {
        golden.expect_of_layer("final", &param.name, &param.value.get(m));
    }
    for buffer in model.buffers() {
        golden.expect(
            &buffer.name,
            &buffer.value.get(m),
            golden.get(&format!("final/{}", buffer.name)),
        );
    }
    losses
}

fn alone(golden: &Golden) {
    let mut model = golden.model();
    let (x, y) = (golden.get("x").get(0).unsqueeze(0), golden.get("y").get(0).unsqueeze(0));
    for recompute in [false, true] {
        model.train_step(&x, &y, None, i64::MAX, recompute);
        for param in model.params() {
            let grad = param.grad.take().expect("a step without an update leaves gradients");
            golden.expect_of_layer("grad0", &param.name, &grad.get(0));
        }
    }
    check_training(golden, golden.model(), 0, &golden.sgd(1));
}

fn beside_neighbours(golden: &Golden) {
    let mut stack = Model::zeros(golden.config, 3);
    let mut neighbour = golden.model();
    for param in neighbour.params() {
        let _ = param.value.g_mul_scalar_(1.1);
    }
    stack.set_member(0, &mut neighbour);
    stack.set_member(1, &mut golden.model());
    stack.set_member(2, &mut golden.model());
    stack.refresh();
    let sgd = golden.sgd(3);
    let _ = sgd.lr.get(0).g_mul_scalar_(0.5);
    let _ = sgd.momentum.get(0).fill_(0.3);
    let _ = sgd.lr.get(2).fill_(1e30); // diverges at once
    let losses = check_training(golden, stack, 1, &sgd);
    assert!(losses[0].is_finite() && losses[0] != losses[1], "{losses:?}: no other neighbour");
    if golden.config.arithmetic.params == Kind::Float {
        assert!(!losses[2].is_finite(), "{losses:?}: no neighbour diverged");
    }
}

fn orthogonal(gain: Gain) -> Init {
    Init::BuiltIn { direction: Direction::Orthogonal, gain }
}

fn initial_gains(golden: &Golden) {
    let init = match golden.case.scheme.as_str() {
        "own" => {
            let expressions = golden.case.rule.iter().map(|(key, text)| format!("; {key}={text}"));
            let rule = "direction=orthogonal".to_owned() + &expressions.collect::<String>();
            Init::Own { name: "own", rule: Box::leak(Box::new(rule.parse().unwrap())) }
        }
        "hanin" => orthogonal(Gain::Hanin),
        _ => orthogonal(Gain::Proposed),
    };
    let mut model =
        Model::initialised(golden.config, init, 0, || unreachable!("no batch is needed"));
    let mut gains = 0;
    for param in model.params() {
        if param.name.ends_with("weight_g") {
            golden.expect(
                &param.name,
                &param.value.get(0),
                golden.get(&format!("init/{}", param.name)),
            );
            gains += 1;
        }
    }
    assert!(gains > 0, "{} has no gains", golden.case.name);
}

fn data_dependent(golden: &Golden) {
    let mut model = Model::zeros(golden.config, 1);
    golden.set(&mut model, "raw");
    let gain = if golden.case.scheme == "lsuv" { Gain::Lsuv } else { Gain::Datadep };
    model.data_dependent(orthogonal(gain), || golden.get("x_init").unsqueeze(0));
    for param in model.params() {
        golden.expect(
            &param.name,
            &param.value.get(0),
            golden.get(&format!("init/{}", param.name)),
        );
    }
}

fn double(device: Device) -> Arithmetic {
    Arithmetic { device, params: Kind::Double, compute: Kind::Double }
}

fn arithmetics() -> Vec<Arithmetic> {
    let gpu = Device::cuda_if_available();
    let devices = if let Device::Cuda(index) = gpu {
        wninit_torch::ffi::allow_tf32(false);
        wninit_torch::ffi::own_stream(index);
        vec![Device::Cpu, gpu]
    } else {
        skip("gpu", "this ran on the CPU only; run it on a machine with a GPU");
        vec![Device::Cpu]
    };
    devices.into_iter().flat_map(|device| [Arithmetic::fp32(device), double(device)]).collect()
}

#[test]
fn every_network_trains_as_the_reference_does_alone() {
    arithmetics().into_iter().for_each(|arithmetic| for_each_case("alone", arithmetic, &[], alone));
}

#[test]
fn every_network_trains_as_the_reference_does_beside_neighbours_that_differ_and_diverge() {
    arithmetics()
        .into_iter()
        .for_each(|arithmetic| for_each_case("in a stack", arithmetic, &[], beside_neighbours));
}

#[test]
fn gains_at_initialization_are_those_of_the_reference() {
    let cpu = Arithmetic::fp32(Device::Cpu);
    for_each_case("gains", cpu, &["proposed", "hanin", "own"], initial_gains);
}

#[test]
fn the_data_dependent_pass_sets_what_the_reference_sets() {
    let cpu = Arithmetic::fp32(Device::Cpu);
    for_each_case("data-dependent pass", cpu, &["datadep", "lsuv"], data_dependent);
}

#[test]
fn all_of_it_holds_on_a_cpu_without_avx512() {
    again::all(module_path!(), again::AVX2);
}
