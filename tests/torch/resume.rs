//! A sweep that was interrupted, in any way and any number of times, ends with the results of one that
//! was not.
//!
//! Rows are compared by `job_id`, since their order depends on timing. Columns of timing and provenance
//! are left out; all others are equal to the last digit.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use crate::program::{
    Process, Random, Results, Sandbox, assert_none_lost, assert_same, kill_after, output,
};
use sha2::{Digest, Sha256};

/// Some jobs diverge, at once or later.
const GRID: &str = r#"
[base]
dataset = "digits"
width = 64
batch_size = 32
epochs = 16
[grid]
depth = [3, 30]
init = ["he_datadep", "orthogonal_proposed"]
lr = [0.01, 0.1, 30.0]
seed = { count = 2 }
"#;

/// One cohort of three jobs that takes some seconds.
const LONG: &str = r#"
[base]
dataset = "digits"
width = 64
batch_size = 16
epochs = 12
depth = 30
[grid]
lr = [0.01, 0.03, 0.05]
"#;

fn expected() -> &'static Results {
    static RESULTS: OnceLock<Results> = OnceLock::new();
    RESULTS.get_or_init(|| {
        let results = Sandbox::finished(GRID).results();
        let count = |outcome| results.runs.values().filter(|row| row["outcome"] == outcome).count();
        assert!(count("ok") > 8 && count("diverged") > 4, "it has both outcomes");
        results
    })
}

fn expected_of_long() -> &'static Results {
    static RESULTS: OnceLock<Results> = OnceLock::new();
    RESULTS.get_or_init(|| Sandbox::finished(LONG).results())
}

fn killed_five_times(workers: &str, seed: u64) {
    let mut sandbox = Sandbox::new(GRID);
    let args = ["--workers", workers, "--checkpoint-every", "0.1s"];
    let mut random = Random(seed);
    let (mut kills, mut resumed) = (0, 0);
    // On a busy machine the first kills may all come before the first checkpoint.
    while kills < 5 || (resumed == 0 && kills < 30) {
        let before = sandbox.results();
        let patience = 1 + kills / 5; // longer and longer, where nothing is reached
        let output = kill_after(&mut sandbox.run(&args), random.milliseconds(350..900) * patience);
        kills += u32::from(output.was_killed());
        resumed += output.stderr.matches("resume from a checkpoint").count();
        let after = sandbox.results();
        assert_none_lost(&before, &after);
        if !output.was_killed() {
            // A fast machine finished before the kill.
            output.expect(0, &[]);
            assert_same(&after, expected());
            sandbox = Sandbox::new(GRID);
        }
    }
    let last = output(&mut sandbox.run(&args));
    last.expect(0, &[]);
    resumed += last.stderr.matches("resume from a checkpoint").count();
    assert_same(&sandbox.results(), expected());
    assert!(resumed > 0, "what was under way went on from a checkpoint at least once");
    assert_eq!(sandbox.checkpoints("checkpoint").len(), 0, "nothing under way is left");
}

#[test]
fn killed_five_times_one_worker_ends_with_the_same_results() {
    killed_five_times("1", 1);
}

#[test]
fn killed_five_times_two_workers_end_with_the_same_results() {
    killed_five_times("2", 2);
}

#[test]
fn workers_and_cohort_width_change_no_result() {
    for args in [
        ["--workers", "1", "--cohort-width", "64"],
        ["--workers", "3", "--cohort-width", "1"],
        ["--workers", "2", "--cohort-width", "5"],
    ] {
        let sandbox = Sandbox::new(GRID);
        output(&mut sandbox.run(&args)).expect(0, &[]);
        assert_same(&sandbox.results(), expected());
    }
}

/// A running sweep with a checkpoint.
fn under_way(sandbox: &Sandbox) -> Process {
    let args = ["--workers", "1", "--checkpoint-every", "0.01s"];
    let mut process = Process::start(&mut sandbox.run(&args));
    process.wait_until("a checkpoint", |_| !sandbox.checkpoints("checkpoint").is_empty());
    process
}

fn interrupted(signal: i32) -> Sandbox {
    let sandbox = Sandbox::new(LONG);
    let process = under_way(&sandbox);
    process.signal(signal);
    process
        .output()
        .expect(130, &["interrupted with 3 jobs left; to continue, run the same command again"]);
    assert_eq!(sandbox.checkpoints("checkpoint").len(), 1);
    assert_eq!(sandbox.results(), Results::default(), "no job was finished");
    sandbox
}

#[test]
fn ctrl_c_sigterm_and_a_terminal_that_is_closed_save_what_is_under_way_and_the_next_run_goes_on_from_there()
 {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let sandbox = interrupted(signal);
        assert!(!sandbox.sweep().join("under_way.json").exists(), "it was not killed");
        // As if the clock had been set back since the checkpoint.
        let [file]: [_; 1] = sandbox.checkpoints("checkpoint").try_into().unwrap();
        let future = SystemTime::now() + Duration::from_secs(86_400);
        fs::File::open(&file).unwrap().set_modified(future).unwrap();
        let second = output(&mut sandbox.run(&["--workers", "1"]));
        second.expect(0, &["3 jobs resume from a checkpoint, at epoch "]);
        let place_in_epochs = second.stderr.split("at epoch ").nth(1).unwrap();
        let (epoch, step) = place_in_epochs.split_once(", step ").unwrap();
        let step = step.lines().next().unwrap();
        assert!((epoch, step) != ("1", "1"), "it had done something: {place_in_epochs}");
        assert_same(&sandbox.results(), expected_of_long());
        assert_eq!(
            sandbox.checkpoints("checkpoint").len(),
            0,
            "a finished job needs no checkpoint"
        );
    }
}

#[test]
fn sighup_may_come_twice_and_is_ignored_under_nohup() {
    let sandbox = Sandbox::new(LONG);
    let process = under_way(&sandbox);
    process.signal(libc::SIGHUP);
    process.signal(libc::SIGHUP);
    process.signal(libc::SIGCONT);
    process.output().expect(130, &["interrupted with 3 jobs left"]);
    assert_eq!(sandbox.checkpoints("checkpoint").len(), 1);
    let mut command = sandbox.run(&["--workers", "1"]);
    // SAFETY: signal is async-signal-safe and touches nothing of this process.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGHUP, libc::SIG_IGN);
            Ok(())
        });
    }
    let mut process = Process::start(&mut command);
    process.wait_until("it goes on", |p| p.stderr().contains("resume from a checkpoint"));
    process.signal(libc::SIGHUP);
    process.output().expect(0, &["finished 3 jobs"]);
    assert_same(&sandbox.results(), expected_of_long());
}

#[test]
fn a_second_ctrl_c_ends_the_process_during_a_step() {
    // A step takes seconds here; without the second signal a checkpoint would follow it.
    let sandbox = Sandbox::new(
        "[base]\ndataset = \"digits\"\ninit = \"he\"\ndepth = 8\nwidth = 2000\nbatch_size = 1293\nepochs = 50\n",
    );
    let mut process = under_way(&sandbox);
    let saved = || {
        sandbox
            .checkpoints("checkpoint")
            .iter()
            .map(|f| fs::metadata(f).unwrap().ino())
            .collect::<Vec<_>>()
    };
    let before = saved();
    process.signal(libc::SIGINT);
    process.wait_until("it stops", |process| {
        process.stderr().contains("press Ctrl-C again to stop at once")
    });
    process.signal(libc::SIGINT);
    let output = process.output();
    assert_eq!(output.code(), 130);
    assert!(!output.stderr.contains("interrupted with"), "it ended in order: {output:?}");
    assert_eq!(saved(), before, "it did not wait for the step");
}

/// Runs everything but the training.
fn look(sandbox: &Sandbox) -> crate::program::Output {
    output(&mut sandbox.run(&["--workers", "1", "--budget", "0s"]))
}

#[test]
fn a_damaged_checkpoint_is_set_aside_and_its_jobs_start_over() {
    let sandbox = interrupted(libc::SIGTERM);
    let [file]: [_; 1] = sandbox.checkpoints("checkpoint").try_into().unwrap();
    let whole = fs::read(&file).unwrap();
    let digest = b"wninit checkpoint 1\n".len();
    let header = digest + 32;
    let payload = whole.len() - 1000;
    let flip = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let mut damaged: Vec<(String, Vec<u8>)> = [
        0,
        digest - 1,
        digest,
        header - 1,
        header,
        header + 9,
        header + 200,
        payload,
        whole.len() - 1,
    ]
    .map(|at| (format!("byte {at} flipped"), flip(at)))
    .into();
    for length in [0, 5, digest, header, header + 4, whole.len() / 2, whole.len() - 1] {
        damaged.push((format!("cut to {length} bytes"), whole[..length].to_vec()));
    }
    for (how, bytes) in damaged {
        fs::write(&file, bytes).unwrap();
        let output = look(&sandbox);
        output.expect(
            3,
            &[
                "warning: the checkpoint results/sweep/checkpoints/",
                "cannot be used: ",
                "Its jobs start over; it is kept as ",
            ],
        );
        assert!(!file.exists(), "{how}");
        assert_eq!(sandbox.checkpoints("damaged").len(), 1, "{how}");
    }
    let last = output(&mut sandbox.run(&["--workers", "1"]));
    last.expect(0, &[]);
    assert!(!last.stderr.contains("resume from a checkpoint"));
    assert_same(&sandbox.results(), expected_of_long());
}

/// A checkpoint with a text in its header replaced by one of the same length, and a matching digest.
fn forged(path: &Path, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(path).unwrap();
    let mut payload = bytes.split_off(b"wninit checkpoint 1\n".len() + 32);
    let at = payload.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
    payload[at..at + to.len()].copy_from_slice(to.as_bytes());
    let start = bytes.len() - 32;
    bytes[start..].copy_from_slice(&Sha256::digest(&payload));
    bytes.extend(payload);
    bytes
}

#[test]
fn a_checkpoint_of_another_model_is_set_aside_and_its_jobs_start_over() {
    let sandbox = interrupted(libc::SIGTERM);
    let [file]: [_; 1] = sandbox.checkpoints("checkpoint").try_into().unwrap();
    for (from, to, message) in
        [("value/", "valve/", " is missing"), ("[3,64]", "[64,3]", " has shape [")]
    {
        let copy = Sandbox::new(LONG);
        fs::create_dir_all(copy.sweep().join("checkpoints")).unwrap();
        let path = copy.sweep().join("checkpoints").join(file.file_name().unwrap());
        fs::write(&path, forged(&file, from, to)).unwrap();
        let last = output(&mut copy.run(&["--workers", "2"]));
        last.expect(0, &["warning: the checkpoint ", message, "Its jobs start over"]);
        assert_eq!(copy.checkpoints("damaged").len(), 1);
        assert_same(&copy.results(), expected_of_long());
    }
}

#[test]
fn a_checkpoint_of_finished_jobs_is_removed_and_one_of_jobs_not_in_the_plan_stays() {
    let sandbox = interrupted(libc::SIGTERM);
    let [file]: [_; 1] = sandbox.checkpoints("checkpoint").try_into().unwrap();
    let bytes = fs::read(&file).unwrap();
    sandbox.set_grid(&LONG.replace("0.01, 0.03, 0.05", "0.02"));
    look(&sandbox).expect(3, &["the grid changed: 0 jobs are kept"]);
    assert!(file.exists(), "its jobs may be in a later plan");
    sandbox.set_grid(LONG);
    output(&mut sandbox.run(&["--workers", "2"])).expect(0, &["3 jobs resume from a checkpoint"]);
    assert!(!file.exists());
    fs::write(&file, bytes).unwrap();
    fs::write(file.with_extension("partial"), "what a kill left").unwrap();
    output(&mut sandbox.run(&["--workers", "2"])).expect(0, &["3 were finished before"]);
    assert!(!file.exists());
    assert_eq!(sandbox.checkpoints("partial").len(), 0);
    assert_same(&sandbox.results(), expected_of_long());
}
