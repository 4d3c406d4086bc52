//! The other commands that use a GPU, through `wninit`, and measured speeds.

use std::fs;

use crate::pretend::{Machine, Run};
use crate::program::{Process, wninit};

const GRID: &str = r#"
[[block]]
base = { dataset = "digits", model = "mlp", depth = 2, width = 16, batch_size = 256 }
grid = { seed = { count = 4 } }
[[block]]
base = { dataset = "synthetic", synthetic_shape = "1x6x6", synthetic_images = 60, model = "cnn", depth = 2, width = 4, batch_size = 16 }
grid = { seed = { count = 4 } }
"#;

fn command(machine: &Machine, args: &[&str]) -> Run {
    machine.end(Process::start(&mut machine.command(&wninit(), args, &[])))
}

#[test]
fn a_sweep_with_measured_widths_and_then_verify() {
    let Some(machine) = Machine::new(GRID) else { return };
    let run = command(&machine, &["run", "grid.toml", "--device", "cuda"]);
    run.expect(0);
    machine.expect_finished(8, &run);
    assert!(run.output.stderr.contains("timing "), "{run}");
    let args = ["verify", "results/sweep", "--sample", "8", "--device", "cuda"];
    let verified = command(&machine, &args);
    verified.expect(0);
    assert!(verified.output.stdout.contains("8 equal"), "{}{verified}", verified.output.stdout);
}

#[test]
fn plan_measures() {
    let Some(machine) = Machine::new(GRID) else { return };
    let run = command(&machine, &["plan", "grid.toml", "--measure"]);
    run.expect(0);
    assert!(!run.log.captures().is_empty(), "{run}");
}

/// The first step of a network on a GPU is mostly the search for kernels.
#[test]
fn a_measured_step_does_not_include_the_search_for_kernels() {
    let grid = r#"
[base]
dataset = "synthetic"
synthetic_shape = "1x6x6"
synthetic_images = 60
model = "cnn"
depth = 2
width = 4
batch_size = 16
"#;
    let Some(machine) = Machine::new(grid) else { return };
    let args = ["plan", "grid.toml", "--measure"];
    let settings = [("FAKE_SEARCH_MS", "600")];
    let run = machine.end(Process::start(&mut machine.command(&wninit(), &args, &settings)));
    run.expect(0);
    let mut files = fs::read_dir(machine.path("cache")).unwrap().map(|entry| entry.unwrap().path());
    let speeds = files.find(|path| path.to_string_lossy().contains("speeds-")).unwrap();
    let speeds: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(speeds).unwrap()).unwrap();
    let speeds = speeds["speeds"].as_object().unwrap();
    assert!(!speeds.is_empty(), "{run}");
    for (network, speed) in speeds {
        let [step, image] = ["step", "image"].map(|name| speed[name].as_f64().unwrap());
        assert!(step < 0.6 && image < 0.6, "{network}: a step of {step} s, {image} s an image");
    }
}

#[test]
fn signal() {
    let Some(machine) = Machine::new(GRID) else { return };
    command(&machine, &["signals", "grid.toml", "--device", "cuda"]).expect(0);
}

#[test]
fn curvature() {
    let Some(machine) = Machine::new(GRID) else { return };
    let args = ["curvature", "grid.toml", "--device", "cuda", "--cohort-width", "2"];
    command(&machine, &args).expect(0);
}
