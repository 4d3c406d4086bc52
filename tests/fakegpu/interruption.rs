//! A sweep on a GPU that is interrupted or killed continues where it stopped.

use crate::pretend::{Machine, Run};

const LONG: &str = r#"
[base]
dataset = "digits"
model = "mlp"
depth = 2
width = 16
batch_size = 256
epochs = 400
[grid]
seed = { count = 2 }
"#;

/// Trains until there is a checkpoint, and sends a signal.
fn interrupted(machine: &Machine, signal: i32) -> Run {
    let mut process = machine.start(&["--checkpoint-every", "0.01s"], &[]);
    process.wait_until("a checkpoint", |_| !machine.checkpoints("checkpoint").is_empty());
    process.signal(signal);
    let run = machine.end(process);
    assert_eq!(machine.results().runs.len(), 0, "it ended too early: {run}");
    run
}

fn continues(machine: &Machine) {
    let run = machine.train(&[], &[]);
    run.expect(0);
    machine.expect_finished(2, &run);
    assert!(run.output.stderr.contains("resume from a checkpoint"), "{run}");
}

#[test]
fn sigterm() {
    let Some(machine) = Machine::new(LONG) else { return };
    interrupted(&machine, libc::SIGTERM).expect(130);
    continues(&machine);
}

#[test]
fn kill() {
    let Some(machine) = Machine::new(LONG) else { return };
    let run = interrupted(&machine, libc::SIGKILL);
    assert!(run.output.was_killed(), "{run}");
    run.expect_clean();
    continues(&machine);
}

#[test]
fn a_resumed_sweep_survives_a_member_that_diverges() {
    let Some(machine) = Machine::new(LONG) else { return };
    interrupted(&machine, libc::SIGTERM).expect(130);
    // Whichever copy the tenth is, the other member goes on.
    let run = machine.train(&[], &[("FAKE_NAN", "10,11,12")]);
    run.expect(0);
    machine.expect_finished(2, &run);
}
