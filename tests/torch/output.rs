//! Closed pipes, full disks and closed streams: a command still ends with the correct exit code and never
//! panics.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;

use crate::program::{Sandbox, assert_same, output};

const GRID: &str = "
about = \"Nothing much.\"
[base]
dataset = \"digits\"
depth = 2
width = 8
epochs = 2
[grid]
lr = [0.01, 30.0]
seed = { count = 2 }
";

/// Every command, on a sweep that is finished.
const COMMANDS: [&[&str]; 28] = [
    &["plan", "grid.toml"],
    &["plan", "grid.toml", "--list"],
    &["plan", "grid.toml", "--csv"],
    &["plan", "grid.toml", "--shards", "2"],
    &["plan", "grid.toml", "--folder"],
    &["plan", "grid.toml", "grid.toml"],
    &["plan", "grid.toml", "--measure"],
    &["plan", "missing.toml"],
    &["run", "grid.toml", "--device", "cpu", "--workers", "1"],
    &["run", "grid.toml", "--device", "cpu", "--workers", "1", "--summary"],
    &["status", "results/sweep"],
    &["status", "results"],
    &["summary", "results/sweep"],
    &["summary", "results/sweep", "--format", "csv"],
    &["report", "results/sweep"],
    &["merge", "results/sweep"],
    &["fetch", "digits", "synthetic"],
    &["verify", "results/sweep", "--sample", "2", "--workers", "1", "--device", "cpu"],
    &["schema"],
    &["doctor"],
    &["signals", "grid.toml", "--workers", "1", "--device", "cpu"],
    &["curvature", "grid.toml", "--workers", "1", "--device", "cpu"],
    &["slurm", "other.toml", "--array", "2"],
    &["slurm", "other.toml", "--array", "2", "--submit"],
    &["slurm", "grid.toml", "--array", "2"],
    &["help"],
    &["--version"],
    &["plan", "--frobnicate"],
];

/// Where standard output or standard error goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum To {
    File,
    /// A pipe that nobody reads, as after `| true`.
    ClosedPipe,
    /// A full disk: `> /dev/full`.
    Full,
    /// `>&-`
    Nowhere,
}

impl To {
    fn stdio(self, path: &Path) -> Stdio {
        match self {
            To::File | To::Nowhere => File::create(path).unwrap().into(),
            To::Full => File::options().write(true).open("/dev/full").unwrap().into(),
            To::ClosedPipe => {
                let (reader, writer) = std::io::pipe().unwrap();
                drop(reader);
                OwnedFd::from(writer).into()
            }
        }
    }
}

/// Exit code, standard output and standard error.
fn run(sandbox: &Sandbox, args: &[&str], out: To, err: To) -> (i32, String, String) {
    let (out_path, err_path) = (sandbox.path("stdout"), sandbox.path("stderr"));
    let mut command = sandbox.wninit(args);
    command.env("WNINIT_CACHE", sandbox.path("cache"));
    command.env("PATH", format!("{}:/usr/bin:/bin", sandbox.path("bin").display()));
    command.stdin(Stdio::null()).stdout(out.stdio(&out_path)).stderr(err.stdio(&err_path));
    // SAFETY: close is async-signal-safe and touches nothing of this process.
    unsafe {
        command.pre_exec(move || {
            for (fd, to) in [(1, out), (2, err)] {
                if to == To::Nowhere {
                    libc::close(fd);
                }
            }
            Ok(())
        });
    }
    let status = command.status().unwrap();
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    let code = status.code().unwrap_or_else(|| panic!("{args:?} {out:?} {err:?}: {status}"));
    (code, text(&out_path), text(&err_path))
}

/// A folder in which each of [`COMMANDS`] works.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new(GRID);
    fs::write(sandbox.path("other.toml"), format!("name = \"other\"{GRID}")).unwrap();
    fs::create_dir(sandbox.path("bin")).unwrap();
    let sbatch = sandbox.path("bin/sbatch");
    fs::write(&sbatch, "#!/bin/sh\necho 'a note' >&2\necho 7\n").unwrap();
    fs::set_permissions(&sbatch, fs::Permissions::from_mode(0o755)).unwrap();
    output(&mut sandbox.run(&["--workers", "1", "--shard", "1/1"])).expect(0, &[]);
    output(&mut sandbox.wninit(&["merge", "results/sweep"])).expect(0, &[]);
    sandbox
}

/// Each command's exit code with working streams, and whether it prints.
fn expected() -> &'static Vec<(i32, bool)> {
    static EXPECTED: OnceLock<Vec<(i32, bool)>> = OnceLock::new();
    EXPECTED.get_or_init(|| {
        let sandbox = sandbox();
        let found = COMMANDS.map(|args| {
            let (code, out, err) = run(&sandbox, args, To::File, To::File);
            assert!(!out.is_empty() || !err.is_empty(), "{args:?} prints nothing");
            (code, !out.is_empty())
        });
        let codes: Vec<i32> = found.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes.iter().filter(|code| **code == 0).count(), 25, "{codes:?}");
        found.into()
    })
}

fn check(out: To, err: To) {
    let sandbox = sandbox();
    for (args, &(code, prints)) in COMMANDS.iter().zip(expected()) {
        let (found, _, message) = run(&sandbox, args, out, err);
        let unprintable = out == To::Full && prints;
        let expected = if unprintable { 1 } else { code };
        assert_eq!(found, expected, "{args:?}, output to {out:?}, errors to {err:?}: {message}");
        assert!(!message.contains("panicked"), "{args:?}: {message}");
        if err == To::File {
            let said = message.contains("error: cannot write to standard output: No space left")
                || message.contains(": No space left on device");
            assert_eq!(said, unprintable, "{args:?}: {message}");
        }
    }
}

#[test]
fn a_closed_pipe_changes_no_exit_code() {
    check(To::ClosedPipe, To::File);
}

#[test]
fn output_to_a_full_disk_is_an_error() {
    check(To::Full, To::File);
}

#[test]
fn a_closed_standard_output_changes_no_exit_code() {
    check(To::Nowhere, To::File);
}

#[test]
fn messages_that_cannot_be_written_change_no_exit_code() {
    check(To::File, To::Full);
    check(To::File, To::ClosedPipe);
    check(To::File, To::Nowhere);
}

#[test]
fn an_error_that_cannot_be_printed_keeps_its_exit_code() {
    check(To::Full, To::Full);
    check(To::ClosedPipe, To::ClosedPipe);
    check(To::Nowhere, To::Nowhere);
}

#[test]
fn a_sweep_completes_whatever_happens_to_its_output() {
    let all = [To::ClosedPipe, To::Full, To::Nowhere];
    let complete = Sandbox::finished(GRID).results();
    for (out, err) in all.into_iter().flat_map(|out| all.map(|err| (out, err))) {
        let sandbox = Sandbox::new(GRID);
        let args = ["run", "grid.toml", "--device", "cpu", "--workers", "2", "--summary"];
        let (code, ..) = run(&sandbox, &args, out, err);
        assert_eq!(
            code,
            i32::from(out == To::Full),
            "{out:?} {err:?}: the summary is lost, if any"
        );
        assert_same(&sandbox.results(), &complete);
    }
}

fn is_report(text: &str) -> bool {
    text.starts_with("<!DOCTYPE html>") && text.trim_end().ends_with("</html>")
}

#[test]
fn a_report_is_written_through_links_into_pipes_and_devices_and_replaces_none() {
    let sandbox = sandbox();
    let report = |to: &str| {
        let mut command = sandbox.wninit(&["report", "results/sweep", "-o", to]);
        command.stdin(Stdio::null());
        command
    };
    let is_link = |name: &str| fs::symlink_metadata(sandbox.path(name)).unwrap().is_symlink();

    // A link to a file through another link and a folder, and one to a file that does not exist yet.
    fs::create_dir(sandbox.path("pages")).unwrap();
    fs::write(sandbox.path("pages/report.html"), "old").unwrap();
    for (link, to) in [("first", "pages/second"), ("pages/second", "report.html")] {
        std::os::unix::fs::symlink(to, sandbox.path(link)).unwrap();
    }
    std::os::unix::fs::symlink("pages/new.html", sandbox.path("dangling")).unwrap();
    for (link, file) in [("first", "pages/report.html"), ("dangling", "pages/new.html")] {
        output(&mut report(link)).expect(0, &[]);
        assert!(is_link(link) && is_link("pages/second"), "{link}");
        assert!(is_report(&fs::read_to_string(sandbox.path(file)).unwrap()), "{link}");
    }
    std::os::unix::fs::symlink("circle", sandbox.path("circle")).unwrap();
    output(&mut report("circle")).expect(2, &["cannot write circle"]);

    // A named pipe.
    let fifo = std::ffi::CString::new(sandbox.path("fifo").to_str().unwrap()).unwrap();
    // SAFETY: the path is a string that ends in a zero byte.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    // Open for reading and writing, so that neither side blocks; a page is longer than a pipe's buffer.
    let mut pipe = OpenOptions::new().read(true).write(true).open(sandbox.path("fifo")).unwrap();
    let reader = std::thread::spawn(move || {
        let (mut text, mut bytes) = (Vec::new(), [0; 1 << 12]);
        while !text.ends_with(b"</html>\n") {
            let n = pipe.read(&mut bytes).unwrap();
            text.extend_from_slice(&bytes[..n]);
        }
        String::from_utf8(text).unwrap()
    });
    output(&mut report("fifo")).expect(0, &[]);
    let kind = fs::symlink_metadata(sandbox.path("fifo")).unwrap().file_type();
    assert!(kind.is_fifo(), "it is still a pipe");
    assert!(is_report(&reader.join().unwrap()));

    // Standard output, a pipe here, which also gets the report's path.
    let found = report("/dev/stdout").stdout(Stdio::piped()).output().unwrap();
    let text = String::from_utf8(found.stdout).unwrap();
    assert!(is_report(text.strip_suffix("/dev/stdout\n").unwrap()), "{text}");

    // A device through a link, so that a failing test cannot delete the device.
    std::os::unix::fs::symlink("/dev/full", sandbox.path("full")).unwrap();
    output(&mut report("full")).expect(1, &["cannot write full: No space left"]);
    assert!(is_link("full"));
    let device = fs::symlink_metadata("/dev/full").unwrap().file_type();
    assert!(device.is_char_device());
}

/// No control characters but line feeds, and no marks of writing direction.
fn assert_plain(what: &str, text: &str) {
    let hidden = |c: char| c.is_control() && c != '\n' || matches!(c, '\u{202a}'..='\u{202e}');
    assert!(!text.contains(hidden), "{what}: {text:?}");
}

#[test]
fn no_text_from_a_file_moves_the_cursor() {
    // Clear the screen, set the title, bell, carriage return, right-to-left override.
    const EVIL: &str = "\\u001B[2J\\u001B]0;x\\u0007\\r\\u009B1m\\u202E";
    let sandbox = Sandbox::new(&format!(
        "about = \"An {EVIL} about.\"\n{}
[[claim]]
text = \"A {EVIL} claim.\"
metric = \"test_acc\"
at_least = 0.1
[[published]]
metric = \"test_acc\"
value = 0.5
source = \"A {EVIL} source.\"
",
        GRID.replace("about = \"Nothing much.\"", "")
    ));
    output(&mut sandbox.run(&["--workers", "1"])).expect(0, &[]);
    let printed = |args: &[&str]| {
        let found = output(&mut sandbox.wninit(args));
        assert_plain(&format!("{args:?}, output"), &found.stdout);
        assert_plain(&format!("{args:?}, errors"), &found.stderr);
        found
    };
    let plan = printed(&["plan", "grid.toml"]);
    assert!(plan.stdout.contains("An \\u{1b}[2J"), "{}", plan.stdout);
    for format in ["table", "csv", "markdown", "latex"] {
        printed(&["summary", "results/sweep", "--format", format]);
        for table in ["claims", "settings", "published"] {
            printed(&["summary", "results/sweep", "--format", format, "--table", table]);
        }
    }
    printed(&["report", "results/sweep"]);
    for file in ["claims", "published", "cells"] {
        let text = sandbox.text(&format!("summary/{file}.csv"));
        assert_plain(file, &text);
        assert!(text.lines().count() > 1, "{file}: {text}");
    }
    assert_plain("report.html", &sandbox.text("report.html"));

    // A lock with a hostile hostname.
    let lock = sandbox.sweep().join(".lock");
    let holder = format!("{{\"pid\":1,\"host\":\"h{EVIL}\",\"since\":\"2026-01-01T00:00:00Z\"}}");
    fs::write(&lock, holder).unwrap();
    let held = File::open(&lock).unwrap();
    held.lock().unwrap();
    assert!(printed(&["status", "results/sweep"]).stdout.contains("on h\\u{1b}[2J"));
    let run = ["run", "grid.toml", "--device", "cpu"];
    printed(&run).expect(2, &["is in use by process 1 on h\\u{1b}[2J"]);
    drop(held);

    // An edited row.
    let runs = sandbox.text("runs.csv").replace(",ok,", ",\u{1b}[2Jok\u{7},");
    fs::write(sandbox.sweep().join("runs.csv"), runs).unwrap();
    for args in [&["summary", "results/sweep"][..], &["status", "results/sweep"], &run] {
        printed(args).expect(2, &["runs.csv:", r#""\u{1b}[2Jok\u{7}" "#]);
    }
}

#[test]
fn a_folder_is_printed_byte_for_byte_for_scripts() {
    let sandbox = Sandbox::new(GRID);
    let mut command = sandbox.wninit(&["plan", "grid.toml", "--folder", "--results"]);
    let name = std::os::unix::ffi::OsStrExt::from_bytes(b"a\x1b \xff");
    let found = command.arg::<&std::ffi::OsStr>(name).output().unwrap();
    assert_eq!(found.stdout, b"a\x1b \xff/sweep\n");
}
