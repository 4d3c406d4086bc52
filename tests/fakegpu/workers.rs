//! Several workers, on one GPU or on two.

use std::collections::BTreeSet;

use crate::pretend::Machine;

const BOTH: &str = r#"
[[block]]
base = { dataset = "digits", model = "mlp", depth = 2, width = 16, batch_size = 256, epochs = 2 }
grid = { seed = { count = 8 } }
[[block]]
base = { dataset = "synthetic", synthetic_shape = "1x6x6", synthetic_images = 60, model = "cnn", depth = 2, width = 4, batch_size = 16, epochs = 2 }
grid = { seed = { count = 8 } }
"#;

#[test]
fn two_gpus() {
    for workers in ["2", "4"] {
        let Some(machine) = Machine::new(BOTH) else { return };
        let run = machine.train(&["--workers", workers], &[("FAKE_GPUS", "2")]);
        run.expect(0);
        machine.expect_finished(16, &run);
        let rows = machine.text("runs.csv");
        for gpu in ["cuda:0 NVIDIA Pretend", "cuda:1 NVIDIA Pretend"] {
            assert!(rows.contains(gpu), "none was trained on {gpu}: {run}");
        }
    }
}

#[test]
fn three_workers_on_a_gpu_twenty_times() {
    for i in 0..20 {
        let Some(machine) = Machine::new(BOTH) else { return };
        // In every second run members diverge, too, so that graphs are dropped while others record.
        let nan = ["", "3,9,15"][i % 2];
        let algorithm = ["dense", "lanes"][i / 2 % 2];
        let settings = [("FAKE_NAN", nan), ("FAKE_PREFER", algorithm)];
        let run = machine.train(&["--workers", "3"], &settings);
        run.expect(0);
        machine.expect_finished(16, &run);
    }
}

#[test]
fn convolutions_of_an_fp32_job_never_use_tf32_while_another_job_does() {
    let block = |width: u32, precision: &str| {
        format!(
            "[[block]]\nbase = {{ dataset = \"synthetic\", synthetic_shape = \"1x6x6\", \
             synthetic_images = 60, model = \"cnn\", depth = 2, width = {width}, batch_size = 16, \
             epochs = 3, precision = \"{precision}\" }}\ngrid = {{ seed = {{ count = 6 }} }}\n"
        )
    };
    let Some(machine) = Machine::new(&(block(4, "fp32") + &block(5, "tf32"))) else { return };
    let run = machine.train(&["--workers", "2"], &[("FAKE_PREFER", "dense")]);
    run.expect(0);
    machine.expect_finished(12, &run);
    // The data-dependent pass, which is always fp32, is not in this grid.
    let of = |tf32: bool| run.log.searches().filter(move |search| search.contains("tf32") == tf32);
    let channels = |search: &str| -> String {
        search.rsplit_once('[').unwrap().1.split(',').next().unwrap().to_owned()
    };
    let found = [false, true].map(|tf32| of(tf32).map(channels).collect::<BTreeSet<String>>());
    assert!(found[0].contains("4") && !found[0].contains("5"), "{found:?}");
    assert!(found[1].contains("5") && !found[1].contains("4"), "{found:?}");
}
