//! `make soak`: hundreds of kills at random points of every phase, and a table of their effects. Quick
//! versions are in `tests/torch/resume.rs` and `tests/torch/faults.rs`.
#![allow(missing_docs, clippy::unwrap_used)]

#[allow(dead_code)] // tests/torch has the rest of the uses
#[path = "../program/mod.rs"]
mod program;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use program::{Process, Random, Results, Row, Sandbox, assert_same, fashion_mnist, output, rows};

/// Long cohorts: kills hit training steps.
const STEPS: &str = r#"
[base]
dataset = "digits"
width = 64
batch_size = 32
epochs = 8
[grid]
depth = [3, 30]
init = ["he_datadep", "orthogonal_proposed"]
lr = [0.01, 0.1, 30.0]
seed = { count = 2 }
"#;

/// Many short jobs: kills hit writes of rows.
const ROWS: &str = r#"
[base]
dataset = "digits"
width = 8
depth = 2
train_images = 32
batch_size = 32
[grid]
lr = { log = [1e-3, 1e3], count = 20 }
momentum = [0.0, 0.5, 0.9]
seed = { count = 40 }
"#;

/// The effects of one kind of fault.
#[derive(Default)]
struct Tally {
    fault: &'static str,
    injected: usize,
    /// Runs that ended before the fault.
    missed: usize,
    lost: usize,
    doubled: usize,
    wrong: usize,
}

impl Tally {
    fn of(fault: &'static str) -> Tally {
        Tally { fault, ..Tally::default() }
    }

    fn row(&self) -> String {
        format!(
            "| {} | {} | {} | {} | {} |",
            self.fault, self.injected, self.lost, self.doubled, self.wrong
        )
    }

    /// Compares the rows after a fault with those before it and with an undisturbed sweep.
    fn compare(&mut self, before: &[Row], after: &[Row], truth: &Results) {
        let ids =
            |rows: &[Row]| rows.iter().map(|row| row["job_id"].clone()).collect::<BTreeSet<_>>();
        let found = ids(after);
        self.lost += ids(before).difference(&found).count();
        self.doubled += after.len() - found.len();
        self.wrong +=
            after.iter().filter(|row| truth.runs.get(&row["job_id"]) != Some(*row)).count();
    }

    /// Compares a finished sweep with an undisturbed one, including its curves.
    fn compare_whole(&mut self, sandbox: &Sandbox, truth: &Results) {
        let rows = rows(&sandbox.sweep().join("runs.csv"));
        self.compare(&[], &rows, truth);
        self.lost += truth.runs.len() - rows.len().min(truth.runs.len());
        assert_same(&sandbox.results(), truth);
    }
}

/// Signals a sweep at random times, repeatedly; if it has ended before, starts a new one.
fn strike(
    fault: &'static str,
    grid: &str,
    args: &[&str],
    signal: i32,
    delay: Range<u64>,
    times: usize,
    truth: &Results,
) -> Tally {
    let mut tally = Tally::of(fault);
    let mut random = Random(fault.len() as u64);
    let mut sandbox = Sandbox::new(grid);
    while tally.injected < times {
        let before = rows(&sandbox.sweep().join("runs.csv"));
        let mut process = Process::start(&mut sandbox.run(args));
        process.sleep(random.milliseconds(delay.clone()));
        process.signal(signal);
        let output = process.output();
        let after = rows(&sandbox.sweep().join("runs.csv"));
        tally.compare(&before, &after, truth);
        match output.status.code() {
            Some(0) => {
                tally.missed += 1;
                tally.compare_whole(&sandbox, truth);
                sandbox = Sandbox::new(grid);
                assert!(tally.missed < 10 * times, "{fault}: the runs are too short to be hit");
            }
            None | Some(130) => tally.injected += 1,
            Some(_) => panic!("{fault}: {output:?}"),
        }
    }
    output(&mut sandbox.run(&[])).expect(0, &[]);
    tally.compare_whole(&sandbox, truth);
    tally
}

/// Kills during planning of 60,000 jobs in a folder with results.
fn planning(times: usize, truth_of_rows: &Results) -> Tally {
    let mut tally = Tally::of("kill -9 while planning");
    let sandbox = Sandbox::finished(ROWS);
    sandbox.set_grid(&ROWS.replace("count = 40", "count = 1000"));
    let mut random = Random(5);
    while tally.injected < times {
        let before = rows(&sandbox.sweep().join("runs.csv"));
        let killed = program::kill_after(
            &mut sandbox.run(&["--budget", "0s"]),
            random.milliseconds(5..1500),
        );
        match killed.was_killed() {
            true => tally.injected += 1,
            false => tally.missed += 1,
        }
        tally.compare(&before, &rows(&sandbox.sweep().join("runs.csv")), truth_of_rows);
    }
    sandbox.set_grid(ROWS);
    output(&mut sandbox.run(&[])).expect(0, &["finished 0 jobs"]);
    tally.compare_whole(&sandbox, truth_of_rows);
    tally
}

/// Serves the files of a folder over HTTP, on 127.0.0.1, in small pieces.
fn serve(folder: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let folder = folder.clone();
            std::thread::spawn(move || answer(stream, &folder));
        }
    });
    url
}

/// Answers one request; the client may be killed meanwhile.
fn answer(mut stream: TcpStream, folder: &Path) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let request = lines.next()?.ok()?;
    while !lines.next()?.ok()?.is_empty() {}
    let name = request.split(' ').nth(1)?.rsplit('/').next()?;
    match fs::read(folder.join(name)) {
        Ok(bytes) => {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                bytes.len()
            )
            .ok()?;
            for piece in bytes.chunks(1 << 20) {
                stream.write_all(piece).ok()?;
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Err(_) => write!(
            stream,
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        .ok()?,
    }
    Some(())
}

/// Kills during `fetch fashion-mnist`. A file counts as a row: in the data folder it is complete or
/// missing.
fn fetching(times: usize) -> Option<Tally> {
    let folder = fashion_mnist()?;
    let names: Vec<String> =
        ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"]
            .map(|name| format!("{name}-ubyte"))
            .into();
    let whole: Vec<Vec<u8>> =
        names.iter().map(|name| fs::read(folder.join(name)).ok()).collect::<Option<_>>()?;
    let url = serve(folder);
    let mut tally = Tally::of("kill -9 while fetching");
    let mut random = Random(6);
    let mut sandbox = Sandbox::new(ROWS);
    let fetch = |sandbox: &Sandbox| -> Command {
        sandbox.wninit(&["fetch", "fashion-mnist", "--source", &url])
    };
    let wrong = |sandbox: &Sandbox| {
        let there = sandbox.path("data/fashion-mnist");
        let damaged = |(name, bytes): (&String, &Vec<u8>)| {
            fs::read(there.join(name)).is_ok_and(|found| found != *bytes)
        };
        names.iter().zip(&whole).map(damaged).filter(|damaged| *damaged).count()
    };
    while tally.injected < times {
        let killed = program::kill_after(&mut fetch(&sandbox), random.milliseconds(5..900));
        tally.wrong += wrong(&sandbox);
        match killed.was_killed() {
            true => tally.injected += 1,
            false => {
                tally.missed += 1;
                sandbox = Sandbox::new(ROWS);
            }
        }
    }
    output(&mut fetch(&sandbox)).expect(0, &[]);
    tally.wrong += wrong(&sandbox);
    tally.lost +=
        names.iter().filter(|name| !sandbox.path("data/fashion-mnist").join(name).exists()).count();
    Some(tally)
}

#[test]
#[ignore = "takes minutes: `make soak`"]
fn hundreds_of_kills_at_random_points_lose_double_and_falsify_nothing() {
    let start = Instant::now();
    let (steps, short) = (Sandbox::finished(STEPS).results(), Sandbox::finished(ROWS).results());
    let kill = libc::SIGKILL;
    let one = ["--workers", "1"];
    let saving = ["--workers", "2", "--checkpoint-every", "0.001s"];
    let mut tallies = vec![
        planning(30, &short),
        strike(
            "kill -9 in the middle of steps, 1 worker",
            STEPS,
            &one,
            kill,
            300..2500,
            20,
            &steps,
        ),
        strike(
            "kill -9 in the middle of steps, 2 workers",
            STEPS,
            &["--workers", "2"],
            kill,
            300..2000,
            40,
            &steps,
        ),
        strike(
            "kill -9 while rows are written",
            ROWS,
            &["--workers", "2", "--cohort-width", "3"],
            kill,
            250..900,
            70,
            &short,
        ),
        strike("kill -9 while checkpoints are written", STEPS, &saving, kill, 250..900, 70, &steps),
        strike("SIGTERM", STEPS, &["--workers", "2"], libc::SIGTERM, 250..900, 20, &steps),
    ];
    match fetching(20) {
        Some(tally) => tallies.insert(1, tally),
        None => println!("not run: fetching, because fashion-mnist is not in the data folder"),
    }
    println!(
        "| fault | times injected | rows lost | rows doubled | rows wrong |\n|---|---|---|---|---|"
    );
    for tally in &tallies {
        println!("{}", tally.row());
    }
    println!(
        "{:.0} s; {} runs ended before they were hit",
        start.elapsed().as_secs_f64(),
        tallies.iter().map(|t| t.missed).sum::<usize>()
    );
    assert!(tallies.iter().map(|tally| tally.injected).sum::<usize>() >= 200);
    for tally in &tallies {
        assert_eq!((tally.lost, tally.doubled, tally.wrong), (0, 0, 0), "{}", tally.fault);
    }
}
