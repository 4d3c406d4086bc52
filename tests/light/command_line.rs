//! What all commands have in common: a grid or a folder, colours, quiet, help, man pages,
//! completions, and how one begins.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::folder;
use crate::summary_command;
use wninit_core::results::finished_ids;

fn wninit(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(crate::WNINIT);
    command.args(args).current_dir(folder).env("WNINIT_CACHE", folder);
    for name in ["NO_COLOR", "CLICOLOR_FORCE", "WNINIT_DATA"] {
        command.env_remove(name);
    }
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// What a command prints.
fn stdout(folder: &Path, args: &[&str]) -> String {
    let output = wninit(folder, args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

/// Why a command line is bad.
fn refused(folder: &Path, args: &[&str]) -> String {
    let output = wninit(folder, args);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stderr));
    text(&output.stderr).to_owned()
}

/// A folder with the sweep `results/deep`, 11 of 12 jobs finished, and its grid `grid.toml`.
fn swept() -> tempfile::TempDir {
    let dir = folder();
    let deep = dir.path().join("results/deep");
    fs::create_dir_all(&deep).unwrap();
    summary_command::sharded(&deep);
    fs::copy(deep.join("grid.toml"), dir.path().join("grid.toml")).unwrap();
    dir
}

#[test]
fn a_grid_and_the_folder_of_its_sweep_mean_the_same() {
    let dir = swept();
    for command in ["status", "summary", "plan"] {
        let by_folder = stdout(dir.path(), &[command, "results/deep"]);
        assert_eq!(stdout(dir.path(), &[command, "grid.toml"]), by_folder, "{command}");
        assert_eq!(stdout(dir.path(), &[command, "results/deep/grid.toml"]), by_folder);
        assert!(by_folder.contains("11"), "{by_folder}");
    }
    for command in ["report", "merge"] {
        assert!(wninit(dir.path(), &[command, "grid.toml"]).status.success(), "{command}");
    }
    assert!(dir.path().join("results/deep/report.html").exists());
    assert_eq!(finished_ids(&dir.path().join("results/deep")).unwrap().len(), 11);
    // From inside the folder, or elsewhere.
    assert_eq!(stdout(dir.path(), &["plan", "results/deep/", "--folder"]), "results/deep/\n");
    let inside = stdout(&dir.path().join("results/deep"), &["plan", ".", "--folder"]);
    assert!(inside.ends_with("/results/deep\n"), "{inside}");
    let elsewhere = stdout(dir.path(), &["plan", "grid.toml", "--folder", "--results", "a"]);
    assert_eq!(elsewhere, "a/deep\n");
}

#[test]
fn an_error_says_what_was_looked_for() {
    let dir = swept();
    for command in ["plan", "status", "summary", "report", "merge"] {
        let error = refused(dir.path(), &[command, "nothing"]);
        assert!(error.contains("there is no nothing: expected a grid file, such as "), "{error}");
        let error = refused(dir.path(), &[command, "deep"]);
        assert!(error.contains("did you mean results/deep?"), "{error}");
        let error = refused(dir.path(), &[command, "results/deep", "--results", "a"]);
        assert!(error.contains("its results stay in it"), "{error}");
    }
    for command in ["status", "summary", "report", "merge"] {
        let error = refused(dir.path(), &[command, "grid.toml", "--results", "a"]);
        assert!(error.contains("there is no folder a/deep; `wninit run grid.toml`"), "{error}");
    }
    let error = refused(dir.path(), &["plan", "results"]);
    assert!(error.contains("the folder results holds no grid.toml"), "{error}");
    fs::rename(dir.path().join("results/deep"), dir.path().join("results/other")).unwrap();
    let error = refused(dir.path(), &["plan", "results/other"]);
    assert!(error.contains("another name than its sweep, \"deep\""), "{error}");
    assert!(stdout(dir.path(), &["status", "results/other"]).contains("12 jobs planned"));
}

#[test]
fn some_rows_of_a_summary_can_be_printed() {
    let dir = swept();
    let all = stdout(dir.path(), &["summary", "results/deep", "--table", "cells"]);
    let deep =
        stdout(dir.path(), &["summary", "results/deep", "--table", "cells", "--only", "depth=50"]);
    assert_eq!((all.lines().count(), deep.lines().count()), (6, 4), "{all}{deep}");
    let csv = ["summary", "results/deep", "--format", "csv", "--only", "depth=2"];
    assert_eq!(stdout(dir.path(), &csv).lines().count(), 3);
    assert_eq!(
        fs::read_to_string(dir.path().join("results/deep/summary/cells.csv"))
            .unwrap()
            .lines()
            .count(),
        5
    );
    for (only, told) in [
        ("depth", "expected axis=value"),
        ("dept=2", "did you mean \"depth\"?"),
        ("depth=3", "3 is not on the axis depth"),
        ("epochs=2", "unknown axis"),
    ] {
        let error = refused(dir.path(), &["summary", "results/deep", "--only", only]);
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn a_summary_opens_with_which_initializer_and_how_sure() {
    let dir = swept();
    let summary = stdout(dir.path(), &["summary", "results/deep"]);
    let lines: Vec<&str> = summary.lines().collect();
    let which = lines.iter().position(|line| line.starts_with("Which initializer? ")).unwrap();
    assert!(which < 5 && lines[which].contains("orthogonal_proposed"), "{summary}");
    assert!(lines.iter().any(|line| line.starts_with("How sure? ")), "{summary}");
}

#[test]
fn colours_are_for_terminals_unless_they_are_asked_for() {
    let dir = swept();
    let coloured = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = Command::new(crate::WNINIT);
        command.args(["summary", "results/deep"]).args(args).current_dir(dir.path());
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
        let output = command.envs(variables.iter().copied()).output().unwrap();
        assert!(output.status.success());
        text(&output.stdout).contains("\x1b[")
    };
    assert!(!coloured(&[], &[]));
    assert!(coloured(&["--color=always"], &[("NO_COLOR", "1")]));
    assert!(coloured(&[], &[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    assert!(!coloured(&["--color", "never"], &[("CLICOLOR_FORCE", "1")]));
    let help =
        |color: &str| stdout(dir.path(), &["--color", color, "run", "--help"]).contains("\x1b[");
    assert!(help("always") && !help("never"));
}

#[test]
fn quiet_leaves_results_warnings_and_errors() {
    let dir = folder();
    let loud = wninit(dir.path(), &["init", "a"]);
    assert!(text(&loud.stderr).contains("wninit run a.toml"), "{}", text(&loud.stderr));
    let quiet = wninit(dir.path(), &["init", "b", "-q"]);
    assert_eq!((text(&quiet.stdout), text(&quiet.stderr)), ("b.toml\n", ""));
    assert!(
        refused(dir.path(), &["-q", "init", "b"]).starts_with("error: b.toml is there already")
    );
}

#[test]
fn a_new_grid_plans_and_is_never_written_over_another_file() {
    let dir = folder();
    assert_eq!(stdout(dir.path(), &["init", "grids/deep.toml"]), "grids/deep.toml\n");
    assert!(stdout(dir.path(), &["plan", "grids/deep.toml"]).starts_with("deep\n"));
    let before = fs::read(dir.path().join("grids/deep.toml")).unwrap();
    let error = refused(dir.path(), &["init", "grids/deep"]);
    assert!(error.contains("grids/deep.toml is there already"), "{error}");
    assert_eq!(fs::read(dir.path().join("grids/deep.toml")).unwrap(), before);
    let error = refused(dir.path(), &["init", "..toml"]);
    assert!(error.contains("name"), "{error}");
    assert!(!dir.path().join("..toml").exists());
}

#[test]
fn every_shipped_sweep_can_be_copied_and_plans_the_same_jobs() {
    let dir = folder();
    let sweeps = crate::root().join("sweeps");
    let help = stdout(dir.path(), &["init", "--help"]);
    for path in crate::shipped_sweeps::grids(&sweeps) {
        let name = path.strip_prefix(&sweeps).unwrap().with_extension("");
        let name = name.to_str().unwrap();
        assert!(help.contains(name), "{name} is not listed: {help}");
        let copy = format!("{}-mine", name.replace('/', "-"));
        stdout(dir.path(), &["init", &copy, "--from", name]);
        let ids = |grid: &str| -> Vec<String> {
            let list = stdout(dir.path(), &["plan", grid, "--list"]);
            list.lines().map(|line| line[..12].to_owned()).collect()
        };
        assert_eq!(ids(&format!("{copy}.toml")), ids(path.to_str().unwrap()), "{name}");
        let folder = stdout(dir.path(), &["plan", &format!("{copy}.toml"), "--folder"]);
        assert_eq!(folder, format!("results/{copy}\n"));
    }
}

#[test]
fn bash_understands_its_completions() {
    let dir = folder();
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(dir.path(), &["completions", shell]).contains("signals"), "{shell}");
    }
    fs::write(dir.path().join("script"), stdout(dir.path(), &["completions", "bash"])).unwrap();
    let check = Command::new("bash").arg("-n").arg(dir.path().join("script")).output().unwrap();
    assert!(check.status.success() && check.stderr.is_empty(), "{check:?}");
    let complete = "source ./script; COMP_WORDS=(wninit stat); COMP_CWORD=1; _wninit wninit stat wninit; echo ${COMPREPLY[@]}";
    let words =
        Command::new("bash").args(["-c", complete]).current_dir(dir.path()).output().unwrap();
    assert_eq!(text(&words.stdout).trim(), "status", "{words:?}");
}

#[test]
fn every_command_has_a_man_page_with_its_options() {
    let dir = folder();
    assert_eq!(stdout(dir.path(), &["man", "pages"]), "pages\n");
    let help = stdout(dir.path(), &["help"]);
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands: Vec<&str> = list
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() > 15, "{commands:?}");
    for command in commands {
        let page =
            fs::read_to_string(dir.path().join(format!("pages/wninit-{command}.1"))).unwrap();
        let help = stdout(dir.path(), &[command, "--help"]);
        let mut options = 0;
        for line in help.lines().map(str::trim_start).filter(|line| line.starts_with('-')) {
            let mut words = line.split([' ', ',', '[']);
            let Some(option) = words.find(|word| word.starts_with("--")) else { continue };
            options += 1;
            let escaped = option.replace('-', "\\-");
            assert!(page.contains(&escaped), "{command}: {option} is not in its page");
        }
        assert!(options >= 3, "{command}: {help}");
    }
}

#[test]
fn the_short_version_is_one_line() {
    let dir = folder();
    assert_eq!(stdout(dir.path(), &["-V"]), format!("wninit {}\n", env!("CARGO_PKG_VERSION")));
    // Without the other program, the long one says so.
    let alone = dir.path().join("wninit");
    crate::copy_program(&alone);
    let output = Command::new(&alone).arg("--version").output().unwrap();
    assert!(output.status.success() && text(&output.stdout).starts_with("wninit "), "{output:?}");
    assert!(text(&output.stderr).contains("wninit-torch, which belongs beside"), "{output:?}");
}

#[test]
fn watching_ends_with_the_sweep_or_with_ctrl_c() {
    let dir = swept();
    let watch = |args: &[&str]| {
        let mut command = Command::new(crate::WNINIT);
        command.args(["status", "--watch"]).args(args).current_dir(dir.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut child = watch(&["results/deep"]);
    let mut line = [0; 10];
    child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    assert_eq!(text(&line), "11/12 fini");
    // SAFETY: the child has not been waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    let start = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(start.elapsed() < Duration::from_secs(30));
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(text(&output.stdout), "shed, 3 diverged, 1 failed; not running\n");

    // A reader that has seen enough.
    let mut child = watch(&["results/deep"]);
    let mut pipe = child.stdout.take().unwrap();
    pipe.read_exact(&mut line).unwrap();
    drop(pipe);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_folder_that_is_no_sweeps_is_bad_input() {
    let empty = tempfile::tempdir().unwrap();
    for command in ["status", "summary", "report", "figures"] {
        let output = Command::new(crate::WNINIT).arg(command).arg(empty.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{command}: {output:?}");
        assert!(text(&output.stderr).contains("a sweep's folder"), "{command}: {output:?}");
    }
}
