//! `wninit export` writes networks that PyTorch modules continue from.

use std::path::{Path, PathBuf};
use std::process::Command;

use tch::{Device, Kind, Tensor};
use wninit_core::job::Job;
use wninit_core::results::read_runs;
use wninit_torch::models::{Model, ModelConfig};
use wninit_torch::nn::{Arithmetic, Pass};

use crate::program::{Sandbox, output, root};
use crate::skip::skip;

/// Every family, norm and activation, a scalar on branches and an own initializer.
const GRID: &str = r#"
[base]
dataset = "synthetic"
synthetic_shape = [3, 10, 8]
synthetic_images = 120
synthetic_classes = 4
batch_size = 20
epochs = 3
lr = 0.02
[[block]]
base = { model = "mlp", depth = 2, width = 9, activation = "selu" }
[[block]]
base = { model = "cnn", depth = 3, width = 5, init = "orthogonal_datadep", activation = "gelu" }
[[block]]
base = { model = "cnn", depth = 1, width = 4, norm = "none", init = "orthogonal_lsuv", activation = "leaky_relu" }
[[block]]
base = { model = "resnet", blocks = 2, width = 4, init = "mine", branch_scale = 0.5, activation = "tanh" }
[[block]]
base = { model = "resnet", blocks = 1, width = 4, norm = "batch", init = "he" }
[[block]]
base = { model = "wrn", blocks = 1, k = 1, reduced_memory = true, init = "delta_orthogonal_proposed" }
[[initializer]]
name = "mine"
direction = "he"
gain = "sqrt(gamma * fan_in / fan_out) * (1 + layer / layers)"
residual = "block / (blocks + all_blocks)^2"
bias = "0.01 * fan_out"
"#;

/// Runs Python with PyTorch, with `analysis/` on its path; its output. `None` if there is no such Python.
fn python(code: &str, args: &[&Path]) -> Option<String> {
    let python = root().join(".venv/bin/python");
    let ready = Command::new(&python).args(["-c", "import torch, safetensors"]).output();
    if !ready.is_ok_and(|output| output.status.success()) {
        skip("torch in Python", "make environment installs torch and safetensors into .venv");
        return None;
    }
    let mut command = Command::new(python);
    command.env("PYTHONPATH", root().join("analysis")).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command.args(["-c", code]).args(args).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// The stack of one with the parameters of an exported file.
fn network(job: &Job, file: &Path) -> Model {
    tch::set_num_threads(1);
    let config = ModelConfig {
        arch: job.arch,
        activation: job.activation,
        norm: job.norm,
        branch_scale: job.branch_scale,
        input: job.dataset.shape().map(|size| size as i64),
        classes: job.dataset.classes() as i64,
        arithmetic: Arithmetic::fp32(Device::Cpu),
    };
    let mut model = Model::zeros(config, 1);
    let mut tensors: std::collections::HashMap<String, Tensor> =
        Tensor::read_safetensors(file).unwrap().into_iter().collect();
    for param in model.params() {
        param.value.copy_(&tensors.remove(&param.name).unwrap().unsqueeze(0));
    }
    for buffer in model.buffers() {
        buffer.value.copy_(&tensors.remove(&buffer.name).unwrap().unsqueeze(0));
    }
    assert!(tensors.is_empty(), "no tensor besides: {tensors:?}");
    model.refresh();
    model
}

fn exported(sandbox: &Sandbox, id: &str, at: &str) -> PathBuf {
    let arguments = ["export", "results/sweep", "--job", id, "--at", at, "--device", "cpu"];
    let exported = output(&mut sandbox.wninit(&arguments));
    exported.expect(0, &[]);
    let file = sandbox.path(exported.stdout.trim_end());
    assert_eq!(file, sandbox.sweep().join(format!("export/{id}-{at}.safetensors")));
    file
}

#[test]
fn pytorch_modules_with_exported_parameters_give_equal_logits() {
    let sandbox = Sandbox::finished(GRID);
    let records = read_runs(&sandbox.sweep()).unwrap().records;
    assert_eq!(records.len(), 6);
    let images = (Tensor::arange(7 * 240, (Kind::Float, Device::Cpu)) * 12.9898).sin();
    let images = images.view([7, 3, 10, 8]);
    let mut files = Vec::new();
    for record in &records {
        let id = record.job.id().to_string();
        let ends = ["start", "best"].map(|at| exported(&sandbox, &id, at));
        assert_ne!(std::fs::read(&ends[0]).unwrap(), std::fs::read(&ends[1]).unwrap());
        for file in ends {
            let logits = network(&record.job, &file)
                .logits(&images.unsqueeze(0), &mut Pass::Evaluate)
                .get(0)
                .contiguous();
            let ours = file.with_extension("logits");
            Tensor::write_safetensors(&[("x", &images), ("logits", &logits)], &ours).unwrap();
            files.extend([file, ours]);
        }
    }
    let code = "
import sys, torch, torch_nets
from safetensors.torch import load_file
for file, logits in zip(sys.argv[1::2], sys.argv[2::2]):
    ours = load_file(logits)
    net = torch_nets.load(file)
    print((net(ours['x']) - ours['logits']).abs().max().item(), ours['logits'].abs().max().item(), file)
";
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let Some(printed) = python(code, &files) else { return };
    assert_eq!(printed.lines().count(), 12);
    for line in printed.lines() {
        let numbers: Vec<f64> =
            line.split_whitespace().take(2).map(|number| number.parse().unwrap()).collect();
        assert!(numbers[0] <= 1e-5 * numbers[1].max(1.0), "{line}");
        assert!(numbers[1] > 0.01, "{line}");
    }
}

#[test]
fn an_initializer_applied_in_pytorch_gives_the_gains_and_biases_of_ours() {
    let sandbox = Sandbox::finished(GRID);
    for record in read_runs(&sandbox.sweep()).unwrap().records {
        let id = record.job.id().to_string();
        let file = exported(&sandbox, &id, "start");
        let rule = match record.job.init.rule() {
            None => format!("'{}'", record.job.init),
            Some(rule) => {
                let mut parts: Vec<String> =
                    vec![format!("'direction': '{}'", rule.direction.name())];
                let text = rule.to_string();
                let expressions =
                    text.split("; ").skip(1).map(|part| part.split_once('=').unwrap());
                parts.extend(expressions.map(|(key, text)| format!("'{key}': '{text}'")));
                format!("{{{}}}", parts.join(", "))
            }
        };
        // The norm of each layer's weights, ours and theirs: Gaussian rows differ by chance.
        let code = format!(
            "
import sys, torch, torch_nets
ours, theirs = (torch_nets.load(sys.argv[1]) for _ in range(2))
batch = torch.randn(4000, 3, 10, 8, generator=torch.Generator().manual_seed(0))
torch.manual_seed(0)
torch_nets.init_(theirs, {rule}, batch)
worst = 0.0
if isinstance({rule}, str) and {rule}.endswith(('datadep', 'lsuv')):
    ours, unit = theirs, {rule}.endswith('datadep')
    def hook(layer, inputs, y):
        global worst
        dims = [d for d in range(y.dim()) if d != 1] if unit else list(range(y.dim()))
        worst = max(worst, (y.std(dims, correction=0) - 1).abs().max().item())
    for _, layer, *_ in torch_nets.layers(theirs):
        layer.register_forward_hook(hook)
    with torch.no_grad():
        theirs(batch)
for (name, a, _, _), (_, b, _, _) in zip(torch_nets.layers(ours), torch_nets.layers(theirs)):
    norms = [m.weight.detach().flatten(1).norm(dim=1).square().mean().sqrt() for m in (a, b)]
    biases = [m.bias.detach().mean() for m in (a, b)]
    worst = max(worst, ((norms[0] - norms[1]) / norms[0].clamp(min=1e-6)).abs().item(), (biases[0] - biases[1]).abs().item())
print(worst)
"
        );
        let Some(printed) = python(&code, &[&file]) else { return };
        let worst: f64 = printed.trim().parse().unwrap();
        let limit = if record.job.init.name() == "he" { 0.25 } else { 1e-4 };
        assert!(worst < limit, "{}: {worst}", record.job.init);
    }
}

#[test]
fn what_cannot_be_exported_is_refused_and_says_what_to_do() {
    let sandbox = Sandbox::finished(
        "[base]\ndataset = \"digits\"\ndepth = 2\nwidth = 8\n[grid]\nlr = [0.01, 1e30]\n",
    );
    let records = read_runs(&sandbox.sweep()).unwrap().records;
    let diverged = records.iter().find(|r| r.epochs_done == 0).unwrap().job.id().to_string();
    let run = |args: &[&str]| output(&mut sandbox.wninit(args));
    let unknown = run(&["export", "results/sweep", "--job", "0123456789ab"]);
    unknown.expect(2, &["--job 0123456789ab", "no such job", "plan.csv"]);
    run(&["export", "results/sweep", "--job", &diverged, "--at", "best"])
        .expect(2, &["diverged before an epoch was whole", "--at start"]);
    run(&["export", "results/none", "--job", &diverged]).expect(2, &["results/none"]);
    assert!(exported(&sandbox, &diverged, "start").exists());
}
