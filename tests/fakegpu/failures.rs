//! Captures that fail and memory that runs out cost time, not jobs.

use wninit_core::grid::{Grid, Overrides};
use wninit_core::plan::cohort::Shape;
use wninit_core::plan::{Plan, cost};

use crate::pretend::{Machine, Run, Settings};

const MLP: &str = r#"
[base]
dataset = "digits"
model = "mlp"
depth = 2
width = 16
batch_size = 256
epochs = 2
[grid]
seed = { count = 4 }
"#;

/// Blocks of more than a megabyte, which libtorch allocates one by one.
const CNN: &str = r#"
[base]
dataset = "synthetic"
synthetic_shape = "3x32x32"
synthetic_images = 300
model = "cnn"
depth = 2
width = 32
batch_size = 128
epochs = 2
[grid]
seed = { count = 2 }
"#;

/// Trains on a new machine; all jobs are finished.
fn all_finished(grid: &str, jobs: usize, settings: Settings) -> Option<Run> {
    let machine = Machine::new(grid)?;
    let settings = [settings, &[("FAKE_PREFER", "dense")]].concat();
    let run = machine.train(&[], &settings);
    run.expect(0);
    machine.expect_finished(jobs, &run);
    Some(run)
}

#[test]
fn the_nth_capture_fails_for_each_n() {
    for (grid, jobs) in [(MLP, 4), (CNN, 2)] {
        let Some(run) = all_finished(grid, jobs, &[]) else { return };
        let captures = run.log.exit().unwrap()["captures"];
        for n in 1..=captures {
            for place in ["", ":begin", ":end", ":instantiate"] {
                // Captures are similar: the first ones at every place, the others in turn.
                if n > 3 && (n % 4) as usize != place.len() % 4 {
                    continue;
                }
                let setting = format!("{n}{place}");
                let run = all_finished(grid, jobs, &[("FAKE_FAILCAP", &setting)]).unwrap();
                assert!(run.log.has_injected("failure at"), "FAKE_FAILCAP={setting} {run}");
            }
        }
    }
}

#[test]
fn after_a_failed_capture_memory_may_run_out_once_more() {
    let Some(run) = all_finished(CNN, 2, &[("FAKE_FAILCAP", "1")]) else { return };
    let allocations = run.log.exit().unwrap()["allocations"];
    for n in (1..=allocations).step_by(6) {
        let settings = [("FAKE_FAILCAP", "1"), ("FAKE_OOM_AT", &*n.to_string())];
        all_finished(CNN, 2, &settings);
    }
}

#[test]
fn memory_runs_out_at_each_allocation() {
    for (grid, jobs) in [(MLP, 4), (CNN, 2)] {
        let mut reached = false;
        for n in 1.. {
            let setting = [("FAKE_OOM_AT", &*n.to_string())];
            let Some(run) = all_finished(grid, jobs, &setting) else { return };
            if !run.log.has_injected("out of memory") {
                break;
            }
            reached = true;
            assert!(n < 100, "it allocates without end");
        }
        assert!(reached, "it allocates");
    }
}

#[test]
fn memory_runs_out_within_cudnn() {
    let Some(run) = all_finished(CNN, 2, &[]) else { return };
    // Most are those of the choice among algorithms, where a failure only loses an algorithm.
    let convolutions = run.log.exit().unwrap()["convolutions"] as usize;
    let mut halved = 0;
    for n in (1..=convolutions).step_by(convolutions.div_ceil(24)) {
        for how in ["", ":alloc"] {
            let setting = format!("{n}{how}");
            let run = all_finished(CNN, 2, &[("FAKE_OOM_CUDNN", &setting)]).unwrap();
            assert!(run.log.has_injected("convolution"), "FAKE_OOM_CUDNN={setting} {run}");
            halved += usize::from(run.output.stderr.contains("out of memory with 2 jobs at once"));
        }
    }
    assert!(halved > 0, "no failure reached a step");
}

#[test]
fn memory_runs_out_within_cublas() {
    let Some(run) = all_finished(MLP, 4, &[("FAKE_OOM_CUBLAS", "1")]) else { return };
    assert!(run.log.has_injected("handle"), "{run}");
}

/// One network whose epochs end with a smaller mini-batch. With several networks, the choice among
/// algorithms of convolutions needs more for a moment.
#[test]
fn training_needs_the_memory_that_was_planned() {
    let grid = r#"
[base]
dataset = "synthetic"
synthetic_shape = "3x32x32"
synthetic_images = 418
test_images = 28
model = "resnet"
blocks = 1
width = 64
batch_size = 128
epochs = 2
"#;
    let Some(machine) = Machine::new(grid) else { return };
    let plan = Grid::load(&machine.path("grid.toml"), &Overrides::default()).unwrap();
    let shape = Shape::of(&Plan::of(&plan).unwrap().jobs[0].job);
    // Besides: the data set, cuBLAS's workspace, what is left of segments of 20 MB.
    let there = 1.1 * cost::memory(&shape, 1) + 80e6;
    let megabytes = format!("{:.0}", there / f64::from(1 << 20));
    let run = machine.train(&[], &[("FAKE_MB", &megabytes), ("FAKE_PREFER", "dense")]);
    run.expect(0);
    machine.expect_finished(1, &run);
}

/// What libtorch keeps of the first cohort's memory is free for the second, which fits as well then and
/// recomputes no activations.
#[test]
fn memory_that_libtorch_keeps_is_free() {
    let grid = r#"
[base]
dataset = "synthetic"
synthetic_shape = "3x32x32"
synthetic_images = 412
test_images = 28
model = "resnet"
blocks = 1
width = 64
batch_size = 128
epochs = 2
[grid]
seed = { count = 2 }
"#;
    let Some(machine) = Machine::new(grid) else { return };
    let plan = Grid::load(&machine.path("grid.toml"), &Overrides::default()).unwrap();
    let shape = Shape::of(&Plan::of(&plan).unwrap().jobs[0].job);
    let there = 2.0 * cost::memory(&shape, 1) + 80e6;
    let megabytes = format!("{:.0}", there / f64::from(1 << 20));
    let settings = [("FAKE_MB", &*megabytes), ("FAKE_PREFER", "dense")];
    let run = machine.train(&["--cohort-width", "1"], &settings);
    run.expect(0);
    machine.expect_finished(2, &run);
    let nodes: Vec<usize> = run.log.captures().iter().map(|capture| capture.nodes).collect();
    let most = nodes.iter().max().unwrap();
    // The full and the last batch of each.
    assert_eq!(nodes.iter().filter(|n| *n == most).count(), 4, "the same steps: {nodes:?}");
}
