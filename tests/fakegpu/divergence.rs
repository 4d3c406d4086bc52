//! A member that diverges leaves the stack at any time, and what is left is recorded anew.

use crate::pretend::Machine;
use crate::shapes::step;

/// Six steps an epoch, the last one smaller.
const MLP: &str = r#"
[base]
dataset = "digits"
model = "mlp"
depth = 2
width = 16
batch_size = 256
epochs = 3
[grid]
seed = { count = 3 }
"#;

const CNN: &str = r#"
[base]
dataset = "synthetic"
synthetic_shape = "1x6x6"
synthetic_images = 60
model = "cnn"
depth = 2
width = 4
batch_size = 16
epochs = 4
[grid]
seed = { count = 3 }
"#;

const THREE: [&str; 2] = ["--cohort-width", "3"];

#[test]
fn a_member_diverges_at_any_time() {
    let Some(machine) = Machine::new(MLP) else { return };
    let copies = machine.train(&THREE, &[]).expect(0).log.copies();
    let mut diverged = Vec::new();
    for (i, _) in copies.iter().enumerate() {
        let Some(machine) = Machine::new(MLP) else { return };
        let run = machine.train(&THREE, &[("FAKE_NAN", &(i + 1).to_string())]);
        run.expect(0);
        machine.expect_finished(3, &run);
        diverged.push(machine.diverged());
    }
    // Losses and counts of three epochs, three validations with the sums of the parameters, the test.
    assert!(diverged.iter().all(|count| *count <= 1), "{diverged:?}");
    assert!(diverged.iter().sum::<usize>() >= 10, "{diverged:?} of {copies:?}");
}

/// The copies of an undisturbed run that hold the training losses of each epoch: the first of the two
/// largest.
fn losses(grid: &str) -> Option<Vec<usize>> {
    let copies = Machine::new(grid)?.train(&THREE, &[]).expect(0).log.copies();
    let most = *copies.iter().max().unwrap();
    let largest = (1..=copies.len()).filter(|i| copies[i - 1] == most);
    Some(largest.step_by(2).collect())
}

#[test]
fn what_is_left_of_the_stack_is_recorded_anew() {
    for grid in [MLP, CNN] {
        let Some(losses) = losses(grid) else { return };
        let early = losses[0].to_string();
        let late = losses.last().unwrap().to_string();
        // Two members at once: the same step's first and second loss.
        let both = format!("{early}:0+1");
        for (nan, gone) in [(&early, 1), (&late, 1), (&both, 2)] {
            let Some(machine) = Machine::new(grid) else { return };
            let run = machine.train(&THREE, &[("FAKE_NAN", nan), ("FAKE_PREFER", "dense")]);
            run.expect(0);
            machine.expect_finished(3, &run);
            assert_eq!(machine.diverged(), gone, "FAKE_NAN={nan} {run}");
            let whole = step(&run.log);
            let captures = run.log.captures();
            let steps = captures.iter().filter(|c| c.nodes as f64 > 0.5 * whole.nodes as f64);
            if nan != &late {
                assert!(steps.count() >= 2, "FAKE_NAN={nan}: not recorded again {run}");
            }
        }
    }
}

#[test]
fn members_diverge_one_after_the_other() {
    for grid in [MLP, CNN] {
        let Some(losses) = losses(grid) else { return };
        // One member's test is evaluated in between, which copies, so the second is looked for.
        let mut twice = 0;
        for second in losses[1]..losses[1] + 8 {
            let Some(machine) = Machine::new(grid) else { return };
            let nan = format!("{},{second}", losses[0]);
            let run = machine.train(&THREE, &[("FAKE_NAN", &nan), ("FAKE_PREFER", "dense")]);
            run.expect(0);
            machine.expect_finished(3, &run);
            twice += usize::from(machine.diverged() == 2);
        }
        assert!(twice > 0);
    }
}
