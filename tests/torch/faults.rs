//! Full disks, too little memory, kills, edited files: no finished row is lost, doubled or wrong, and
//! the message says what to do.
//!
//! See also `tests/soak/main.rs`, and `tests/light/journal.rs` and `pool.rs`, which do not train.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::program::{
    Process, Results, Sandbox, assert_none_lost, assert_same, fashion_mnist, limit, output, rows,
};
use crate::skip::skip;

/// Twenty jobs in four cohorts; some diverge.
const GRID: &str = r#"
[base]
dataset = "digits"
width = 32
batch_size = 32
epochs = 12
init = "orthogonal_proposed"
[grid]
depth = [2, 12]
lr = [0.01, 0.02, 0.05, 0.1, 30.0]
seed = { count = 2 }
"#;

fn expected() -> &'static Results {
    static RESULTS: OnceLock<Results> = OnceLock::new();
    RESULTS.get_or_init(|| {
        let results = Sandbox::finished(GRID).results();
        assert_eq!(results.runs.len(), 20);
        results
    })
}

/// Completes the sweep, and compares it with an undisturbed one.
fn assert_heals(sandbox: &Sandbox) -> String {
    let before = sandbox.results();
    let last = output(&mut sandbox.run(&["--workers", "2"]));
    last.expect(0, &[]);
    let after = sandbox.results();
    assert_none_lost(&before, &after);
    assert_same(&after, expected());
    last.stderr
}

fn failures(sandbox: &Sandbox) -> Vec<crate::program::Row> {
    rows(&sandbox.sweep().join("failures.csv"))
}

#[test]
fn a_second_run_on_a_folder_names_the_lock_holder_and_leaves_it_running() {
    let sandbox = Sandbox::new(&GRID.replace("epochs = 12", "epochs = 400"));
    let mut first = Process::start(&mut sandbox.run(&["--workers", "2"]));
    let progress = sandbox.sweep().join("progress.json");
    first.wait_until("it has begun", |_| progress.exists());
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let process = format!(
        "results/sweep is in use by process {} on {}, since 20",
        first.child.id(),
        host.trim()
    );
    output(&mut sandbox.run(&[]))
        .expect(2, &[&process, "wait for it, stop it, or choose another folder with --results"]);
    assert!(first.sleep(Duration::from_millis(50)), "the first one goes on");
}

#[test]
fn an_unwritable_folder_is_named_with_what_to_do() {
    let sandbox = Sandbox::new(GRID);
    let root = sandbox.path("results");
    fs::create_dir(&root).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(sandbox.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = sandbox.run(&[]);
    // SAFETY: geteuid only reads.
    if unsafe { libc::geteuid() } == 0 {
        command.uid(65534).gid(65534); // the superuser may write anywhere
    }
    let text = [
        "cannot make results/sweep: Permission denied",
        "make the folder writable, or choose another with --results",
    ];
    let failed = output(&mut command);
    assert_eq!(
        failed.expect(2, &text).stderr.matches("Permission denied").count(),
        1,
        "reported once"
    );
}

#[test]
fn on_a_full_disk_finished_rows_stay_and_the_next_run_continues() {
    // Files may grow to 4 kB: too little for columns.json, so the sweep does not start.
    let sandbox = Sandbox::new(GRID);
    let mut command = sandbox.run(&[]);
    limit(&mut command, libc::RLIMIT_FSIZE, 4_000);
    output(&mut command).expect(
        3,
        &[
            "error: cannot write results/sweep/columns.json",
            "make room and run the same command again",
        ],
    );
    assert_heals(&sandbox);

    // Enough for columns.json and for some of the curves, but not for all.
    let room = wninit_core::results::columns_json().len() as u64 + 500;
    let sandbox = Sandbox::new(GRID);
    let mut command = sandbox.run(&["--workers", "2", "--cohort-width", "2"]);
    limit(&mut command, libc::RLIMIT_FSIZE, room);
    let full = output(&mut command);
    full.expect(3, &["stopping, because the results cannot be written: cannot write results/sweep/epochs.csv: File too large", "make room and run the same command again"]);
    let finished = sandbox.results().runs.len();
    assert!(finished > 3 && finished < 20, "{finished} jobs were finished");
    assert!(full.stderr.contains(&format!("finished {finished} jobs")), "{full:?}");
    assert_heals(&sandbox);

    // With the log on the full disk as well.
    let sandbox = Sandbox::new(GRID);
    let mut command =
        sandbox.run(&["--workers", "2", "--cohort-width", "2", "--checkpoint-every", "0.001s"]);
    limit(&mut command, libc::RLIMIT_FSIZE, room);
    let full = output(&mut command);
    assert_eq!((full.code(), full.stderr.len()), (3, room as usize), "{full:?}");
    assert_heals(&sandbox);
}

#[test]
fn training_continues_if_a_checkpoint_cannot_be_written() {
    let sandbox = Sandbox::new(
        &GRID.replace("width = 32", "width = 512").replace("epochs = 12", "epochs = 1"),
    );
    let args = ["--workers", "2", "--checkpoint-every", "0.01s"];
    let mut command = sandbox.run(&args);
    limit(&mut command, libc::RLIMIT_FSIZE, 100_000);
    let full = output(&mut command);
    full.expect(
        0,
        &["warning: cannot write the checkpoint results/sweep/checkpoints/", "training continues"],
    );
    assert_eq!(sandbox.results().runs.len(), 20);
    assert_eq!(failures(&sandbox).len(), 0);
}

#[test]
fn a_truncated_or_corrupt_data_file_is_named_and_the_sweep_finishes_once_it_is_fixed() {
    let Some(folder) = fashion_mnist() else {
        return skip("fashion-mnist", "`wninit fetch fashion-mnist` gets it into data/");
    };
    let grid = "[base]\ntrain_images = 500\ndepth = 2\nwidth = 16\n[grid]\nlr = [0.01, 0.1]\n";
    let sandbox = Sandbox::new(grid);
    let copy = sandbox.path("data/fashion-mnist");
    fs::create_dir_all(&copy).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    let file = copy.join("t10k-labels-idx1-ubyte");
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[5000] ^= 1;
    let damages = [
        (whole[..9000].to_vec(), "it is truncated: it has 9000 bytes, expected 10008"),
        (flipped, "its checksum is wrong"),
    ];
    for (bytes, problem) in damages {
        fs::write(&file, bytes).unwrap();
        let run = output(&mut sandbox.run(&["--workers", "1"]));
        let message = format!("data/fashion-mnist/t10k-labels-idx1-ubyte: {problem}");
        run.expect(2, &[&message, "run `wninit fetch fashion-mnist` to replace it"]);
        assert_eq!(run.stderr.matches(&message).count(), 1, "not once for each job: {run:?}");
        assert!(!sandbox.sweep().exists(), "nothing has begun");
    }
    fs::write(&file, whole).unwrap();
    output(&mut sandbox.run(&["--workers", "1"])).expect(0, &["finished 2 jobs"]);
    assert_eq!(sandbox.results().runs.len(), 2);
}

#[test]
fn deleted_rows_are_trained_again_and_a_spreadsheets_format_is_understood() {
    let sandbox = Sandbox::finished(GRID);
    let text = sandbox.text("runs.csv");
    let lines: Vec<&str> = text.lines().collect();
    let noted: String = lines
        .iter()
        .enumerate()
        .filter(|(i, _)| ![3, 7, 20].contains(i))
        .map(|(i, line)| {
            let note = if i == 0 { "note" } else { "\"look, here\"" };
            format!("{note},{line}\r\n")
        })
        .collect();
    fs::write(sandbox.sweep().join("runs.csv"), noted).unwrap();
    let last = output(&mut sandbox.run(&[]));
    last.expect(
        0,
        &[
            "finished 3 jobs",
            "17 were finished before",
            "warning: results/sweep/epochs.csv: dropped ",
        ],
    );
    let mut results = sandbox.results();
    let notes = results
        .runs
        .values_mut()
        .filter_map(|row| row.remove("note"))
        .filter(|note| note == "look, here")
        .count();
    assert_eq!(notes, 17, "an added column is kept");
    assert_same(&results, expected());
}

#[test]
fn an_edited_row_stops_the_run_before_anything_is_written() {
    let sandbox = Sandbox::finished(GRID);
    let text = sandbox.text("runs.csv").replacen(",orthogonal_proposed,", ",he_proposed,", 1);
    fs::write(sandbox.sweep().join("runs.csv"), &text).unwrap();
    output(&mut sandbox.run(&[])).expect(
        2,
        &[
            "results/sweep/runs.csv:2: the fields are those of job ",
            "a cell was edited by hand",
            "correct the line, or delete it (its job is then trained again)",
        ],
    );
    assert_eq!(sandbox.text("runs.csv"), text);
}

#[test]
fn a_changed_grid_reports_kept_new_and_dropped_jobs_and_deletes_nothing() {
    let sandbox = Sandbox::finished(GRID);
    sandbox.set_grid(&GRID.replace("0.01, 0.02, 0.05", "0.01, 0.03"));
    let (before, plan) = (sandbox.text("runs.csv"), sandbox.text("plan.csv"));
    let changed = "the grid changed: 12 jobs are kept (12 of them finished), 4 are new,\n8 are no longer planned (8 of them finished; their rows stay in runs.csv)";
    let planned = output(&mut sandbox.wninit(&["plan", "grid.toml"]));
    assert!(planned.expect(0, &[]).stdout.contains(&format!("\n{changed}\n")), "{planned:?}");
    assert!(planned.stdout.lines().all(|line| line.chars().count() <= 80), "{planned:?}");
    assert_eq!(
        (sandbox.text("runs.csv"), sandbox.text("plan.csv")),
        (before, plan),
        "plan writes nothing"
    );
    output(&mut sandbox.run(&[]))
        .expect(0, &[changed, "finished 4 jobs", "12 were finished before"]);
    assert_eq!(sandbox.results().runs.len(), 24);
    let planned = output(&mut sandbox.wninit(&["plan", "grid.toml"]));
    assert!(!planned.stdout.contains("the grid changed"), "it is the folder's now: {planned:?}");
    sandbox.set_grid(GRID);
    let back = output(&mut sandbox.run(&[]));
    back.expect(0, &["the grid changed: ", "finished 0 jobs", "20 were finished before"]);
    let mut results = sandbox.results();
    results.runs.retain(|id, _| expected().runs.contains_key(id));
    results.epochs.retain(|(id, _), _| expected().runs.contains_key(id));
    assert_same(&results, expected());
}

/// An LD_PRELOAD library that sets the wall clock back by an hour at every twentieth call.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
extern "C" int clock_gettime(clockid_t clock, struct timespec *now) noexcept {
    static int (*real)(clockid_t, struct timespec *) =
        (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    static long looks;
    int result = real(clock, now);
    if (clock == CLOCK_REALTIME)
        now->tv_sec -= 3600 * (__sync_fetch_and_add(&looks, 1) / 20);
    return result;
}
"#;

#[test]
fn a_wall_clock_that_jumps_back_changes_no_result() {
    let sandbox = Sandbox::new(GRID);
    fs::write(sandbox.path("clock.cpp"), CLOCK).unwrap();
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let mut compile = Command::new(compiler);
    compile.current_dir(sandbox.dir.path()).args(["-shared", "-fPIC", "-w", "-o", "clock.so"]);
    assert!(compile.args(["clock.cpp", "-ldl"]).status().unwrap().success());
    let jumping = |args: &[&str]| {
        let mut command = sandbox.run(args);
        command.env("LD_PRELOAD", sandbox.path("clock.so"));
        command
    };
    let narrow = ["--workers", "2", "--cohort-width", "2", "--checkpoint-every", "0.01s"];
    output(&mut jumping(&["--budget", "0s"])).expect(3, &["the time is up with 20 jobs left"]);
    let mut first = Process::start(&mut jumping(&narrow));
    first.wait_until("a job is finished", |_| !sandbox.results().runs.is_empty());
    output(&mut sandbox.wninit(&["status", "results/sweep"])).expect(0, &[]);
    first.signal(libc::SIGTERM);
    assert!([0, 130].contains(&first.output().code()));
    let before = sandbox.results();
    let last = output(&mut jumping(&[&narrow[..], &["--budget", "1h"]].concat()));
    last.expect(0, &[]);
    assert_none_lost(&before, &sandbox.results());
    assert_same(&sandbox.results(), expected());
    // The clock did jump: end times are not sorted.
    let text = sandbox.text("runs.csv");
    let ends: Vec<&str> = text.lines().skip(1).filter_map(|row| row.rsplit(',').next()).collect();
    assert!(!ends.is_sorted(), "{ends:?}");
    output(&mut sandbox.wninit(&["verify", "results/sweep", "--sample", "3"])).expect(0, &[]);
    output(&mut sandbox.wninit(&["summary", "results/sweep"])).expect(0, &[]);
}

#[test]
fn jobs_in_training_during_two_kills_are_retried_last_at_half_width() {
    let sandbox = Sandbox::new(
        "[base]\ndataset = \"digits\"\nwidth = 32\nbatch_size = 32\n\
         [[block]]\nbase = { depth = 30, epochs = 60 }\ngrid = { lr = [0.001, 0.002, 0.003, 0.004] }\n\
         [[block]]\nbase = { depth = 2 }\ngrid = { lr = [0.001, 0.002] }\n",
    );
    let note = sandbox.sweep().join("under_way.json");
    let inode = || fs::metadata(&note).ok().map(|file| file.ino());
    let killed = || {
        let before = inode();
        let mut process = Process::start(&mut sandbox.run(&["--workers", "1"]));
        process.wait_until("the long jobs are under way", |_| {
            inode() != before
                && fs::read_to_string(&note)
                    .is_ok_and(|text| text.contains("\"width\":4,\"jobs\":[\""))
        });
        process.signal(libc::SIGKILL);
        let output = process.output();
        assert!(output.was_killed());
        output.stderr
    };
    assert_eq!(killed(), "", "no kill to report yet");
    let once = killed();
    let what = "the last run was killed, or crashed, while it trained 4 jobs: 4 of mlp 30 x 32.\n";
    assert!(once.contains(&format!("{what}They are retried. ")), "{once}");

    // A run that ends by itself in between changes nothing.
    let twice = format!(
        "{what}It was not the first time, so memory may be short: they are retried last, at most 2 at a time."
    );
    output(&mut sandbox.run(&["--workers", "1", "--budget", "0s"])).expect(3, &[&twice]);
    let last = output(&mut sandbox.run(&["--workers", "1"]));
    last.expect(0, &["finished 6 jobs"]);
    assert!(!last.stderr.contains("was killed"), "reported once: {last:?}");
    let text = sandbox.text("runs.csv");
    let cells = |name: &str| -> Vec<&str> {
        let place = column(&text, name);
        text.lines().skip(1).map(|row| row.split(',').nth(place).unwrap()).collect()
    };
    assert_eq!(cells("cohort_size"), ["2"; 6]);
    assert_eq!(cells("depth"), ["2", "2", "30", "30", "30", "30"], "they come last");
    assert!(!sandbox.sweep().join("under_way.json").exists(), "all is forgotten");
    assert_eq!(failures(&sandbox).len(), 0, "nobody knows that it was the jobs' fault");
}

/// The index of a column in a CSV file.
fn column(text: &str, name: &str) -> usize {
    text.lines().next().unwrap().split(',').position(|column| column == name).unwrap()
}

/// The peak of reserved private memory, in bytes.
fn data_memory(process: Process) -> (u64, crate::program::Output) {
    peak(process, "VmData:")
}

/// The peak of a field of `/proc/PID/status`, in bytes.
fn peak(mut process: Process, field: &str) -> (u64, crate::program::Output) {
    let status = format!("/proc/{}/status", process.child.id());
    let mut most = 0;
    while process.sleep(Duration::from_millis(1)) {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        let kilobytes =
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        most = most.max(1024 * kilobytes.unwrap_or(0));
    }
    (most, process.output())
}

#[test]
fn recomputed_activations_do_not_stay_in_memory() {
    // 1,000 layers of 32 units for 2,000 images: 256 MB of activations, few parameters. Peak
    // resident memory is compared, since allocators reserve more.
    let grid = "[base]\ndataset = \"synthetic\"\nsynthetic_shape = \"1x4x4\"\nsynthetic_images = 4500\n\
                test_images = 100\nval_fraction = 0.02\ndepth = 1000\nwidth = 32\nbatch_size = 2000\nlr = 1e-4\n";
    let most = |recompute: &str| {
        let sandbox = Sandbox::new(grid);
        let args = ["--workers", "1", "--recompute", recompute];
        let (most, run) = peak(Process::start(&mut sandbox.run(&args)), "VmHWM:");
        run.expect(0, &["finished 1 job"]);
        most
    };
    let (kept, again) = (most("off"), most("on"));
    assert!(again + 100_000_000 < kept, "{again} bytes, and {kept} where they are kept");
}

#[test]
fn an_invalid_checkpoint_of_gigabytes_takes_no_memory() {
    let sandbox = Sandbox::new(GRID);
    let folder = sandbox.sweep().join("checkpoints");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("000000000000-00000000.checkpoint");
    fs::write(&file, "wninit checkpoint 1\n").unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_len(3 << 30).unwrap(); // a hole
    let (most, looked) = data_memory(Process::start(&mut sandbox.run(&["--budget", "0s"])));
    looked.expect(3, &["000000000000-00000000.checkpoint cannot be used: ", "it is kept as "]);
    assert!(most < 1 << 30, "it took {most} bytes");
}

#[test]
fn durations_and_numbers_of_workers_out_of_range_are_rejected_with_the_limit() {
    let sandbox = Sandbox::new(GRID);
    for (option, value, message) in [
        ("--budget", "9.3e18s", "\"9.3e18s\" is too long a time; the longest is 36500d"),
        ("--checkpoint-every", "1e300d", "the longest is 36500d"),
        ("--workers", "65535", "65535 is not in 1..=1024"),
        ("--workers", "0", "0 is not in 1..=1024"),
    ] {
        output(&mut sandbox.run(&[option, value])).expect(2, &[message]);
    }
    assert!(!sandbox.path("results").exists());
}

#[test]
fn a_run_without_threads_says_so_and_blames_no_worker() {
    let sandbox = Sandbox::new(GRID);
    fs::create_dir(sandbox.path("results")).unwrap();
    for path in [sandbox.dir.path().to_owned(), sandbox.path("results")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    // RLIMIT_NPROC counts all processes of a user and does not apply to root. The user of this id has no
    // other process, unless these tests run twice at the same time.
    const USER: u32 = 64_001;
    // SAFETY: geteuid only reads.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("not run: only the superuser can start a process as another user");
        return;
    }
    let run = |threads: u64| {
        let mut command = sandbox.run(&["--workers", "2"]);
        // The folders of the program may not be readable by that user.
        command.uid(USER).gid(USER);
        limit(&mut command, libc::RLIMIT_NPROC, threads);
        command.env("RAYON_NUM_THREADS", "1");
        output(&mut command)
    };
    let none = run(1);
    none.expect(3, &["error: cannot start ", "ulimit -u"]);
    let no_worker = run(2);
    let text = "no worker thread could be started (Resource temporarily unavailable";
    no_worker.expect(3, &[text, "so 20 jobs were not started", "ulimit -u", "same command again"]);
    for output in [&none, &no_worker] {
        assert!(!output.stderr.contains("panicked"), "{output:?}");
        assert!(!output.stderr.contains("failed repeatedly"), "{output:?}");
    }
    let one = run(3);
    one.expect(0, &["threads could be started for 1 of 2 workers only (", "finished 20 jobs"]);
    assert_same(&sandbox.results(), expected());
}

#[test]
fn a_cohort_that_runs_out_of_memory_is_halved_and_a_job_that_does_is_a_failure() {
    // Eight members have ten million parameters in all, each with its gradient and momentum.
    let sandbox = Sandbox::new(
        "[base]\ndataset = \"digits\"\ndepth = 3\nwidth = 768\ninit = \"he\"\ntrain_images = 64\nbatch_size = 64\n\
         [grid]\nlr = { log = [1e-3, 1e-1], count = 8 }\n",
    );
    let program = output(&mut sandbox.run(&["--budget", "0s"]));
    program.expect(3, &["the time is up with 8 jobs left"]);
    let (idle, _) = data_memory(Process::start(&mut sandbox.run(&["--budget", "0s"])));
    let run = |width: &str, bytes: u64| {
        let mut command = sandbox.run(&["--workers", "1", "--cohort-width", width]);
        limit(&mut command, libc::RLIMIT_DATA, bytes);
        Process::start(&mut command)
    };
    let (narrow, unlimited) = data_memory(run("1", libc::RLIM_INFINITY));
    unlimited.expect(0, &[]);
    let alone = sandbox.results();
    fs::remove_dir_all(sandbox.sweep()).unwrap();

    // Not enough for one: every job is in failures.csv, and the run ends with the reason.
    let little = run("8", idle + 8_000_000).output();
    little.expect(
        3,
        &["out of memory with ", "trying again with half as many", "jobs failed", "memory: "],
    );
    let failed = failures(&sandbox);
    assert!(
        !failed.is_empty() && failed.iter().all(|failure| failure["reason"] == "memory"),
        "{failed:?}"
    );
    assert!(!little.stderr.contains("frame #"), "no C++ stack: {little:?}");
    assert!(!little.stderr.contains("unwrap"), "no Rust: {little:?}");
    assert_eq!(sandbox.results().runs.len(), 0);

    // Enough for one, but not for eight.
    let halved = run("8", narrow + 40_000_000).output();
    halved.expect(
        0,
        &[
            "out of memory with 8 jobs at once (",
            "; trying again with half as many",
            "finished 8 jobs",
        ],
    );
    assert_same(&sandbox.results(), &alone);
}
