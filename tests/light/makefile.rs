//! The Makefile, with stand-ins for Python and cargo: what is done, in which order, and how often.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

/// A `python3` that makes environments whose pip writes down what it is asked for, and fails while
/// there is a file `pip-fails`.
const PYTHON: &str = r#"#!/bin/sh
case "$*" in
-c*) exit 0 ;;
"-m venv .venv")
    echo venv >> log
    mkdir -p .venv/bin .venv/lib/python3.99/site-packages
    cp bin/python3 .venv/bin/python ;;
"-m pip --version") exit 0 ;;
"-m pip install --no-compile "*)
    echo "pip ${*#-m pip install --no-compile }" >> log
    while [ -e slow-pip ] && [ ! -e early-started ]; do sleep 0.05; done
    [ ! -e pip-fails ] || exit 1
    mkdir -p .venv/lib/python3.99/site-packages/torch/lib
    touch .venv/lib/python3.99/site-packages/torch/lib/libtorch.so ;;
*) echo "python3 $*" >> log ;;
esac
"#;

/// A `cargo` whose builds put a [`WNINIT`] in place. The one that starts beside the set-up writes
/// down that it ends before its time.
const CARGO: &str = r#"#!/bin/sh
case "$*" in *--keep-going)
  trap 'touch early-killed; exit 1' TERM
  touch early-started
  sleep 60 & wait ;;
esac
echo "cargo $1" >> log
mkdir -p target/release
cp bin/wninit target/release/wninit
"#;

/// A `wninit` that writes down its arguments, one that is not a single word in brackets, and whose
/// `run` exits with the number in the file `exit-code`.
const WNINIT: &str = r#"#!/bin/sh
command=$1 line=wninit
for word; do
  case $word in *" "* | "") word="[$word]" ;; esac
  line="$line $word"
done
echo "$line" >> log
[ "$command" != run ] || exit "$(cat exit-code)"
"#;

struct Clone(tempfile::TempDir);

impl Clone {
    fn fresh() -> Clone {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let root = crate::root();
        fs::create_dir_all(at("analysis")).unwrap();
        fs::create_dir_all(at("bin")).unwrap();
        for file in ["Makefile", "analysis/requirements-torch.txt", "analysis/requirements.txt"] {
            fs::copy(root.join(file), at(file)).unwrap();
        }
        let programs =
            [("python3", PYTHON), ("cargo", CARGO), ("wninit", WNINIT), ("c++", "#!/bin/sh\n")];
        for (name, text) in programs {
            fs::write(at("bin").join(name), text).unwrap();
            fs::set_permissions(at("bin").join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(at("exit-code"), "0").unwrap();
        Clone(folder)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn make(&self, arguments: &[&str]) -> Output {
        Command::new("make")
            .args(arguments)
            .current_dir(self.0.path())
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()))
            .output()
            .unwrap()
    }

    /// What was done since the last time, a line each.
    fn log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("log")).unwrap_or_default();
        fs::write(self.path("log"), "").unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

const PIP: &str = "pip -r analysis/requirements-torch.txt";

#[test]
fn a_sweep_is_the_first_command_and_the_second_time_sets_up_nothing() {
    let clone = Clone::fresh();
    fs::write(clone.path("slow-pip"), "").unwrap();
    let sweep = ["sweep", "GRID=sweeps/x.toml", "SET=epochs=2 lr=0.1", "WORKERS=3"];
    assert!(clone.make(&sweep).status.success());
    let wninit = [
        "cargo build",
        "wninit fetch sweeps/x.toml --set epochs=2 --set lr=0.1",
        "wninit run sweeps/x.toml --summary --set epochs=2 --set lr=0.1 --workers 3",
    ];
    let log = clone.log();
    assert_eq!(log[..2], ["venv", PIP]);
    assert_eq!(log[2..], wninit);
    // What needs no libtorch is built meanwhile, until libtorch is there.
    assert!(clone.path("early-started").exists() && clone.path("early-killed").exists());
    assert!(clone.path(".venv/libtorch/lib/libtorch.so").exists(), "cargo finds libtorch");
    let link = fs::read_link(clone.path(".venv/libtorch")).unwrap();
    assert!(link.is_relative(), "a clone can be moved");
    fs::remove_file(clone.path("early-started")).unwrap();
    assert!(clone.make(&sweep).status.success());
    assert_eq!(clone.log(), wninit);
    assert!(!clone.path("early-started").exists());
}

#[test]
fn the_tests_are_a_first_command_too() {
    let clone = Clone::fresh();
    assert!(clone.make(&["test"]).status.success());
    assert_eq!(clone.log(), ["venv", PIP, "cargo test", "cargo test"]);
}

#[test]
fn what_the_tests_skipped_is_listed_at_the_end_and_their_exit_code_stays() {
    let clone = Clone::fresh();
    let list = "cargo test\nSkipped, or run in part:\n  a_test: slurm is missing: install it\n  b_test: gpu is missing\n";
    for (code, exit) in [("0", 0), ("101", 2)] {
        let cargo = format!(
            "#!/bin/sh\necho \"$*\" >> log\necho cargo test\n\
             printf 'b_test: gpu is missing\\na_test: slurm is missing: install it\\nb_test: gpu is missing\\n' >> \"$WNINIT_SKIPS\"\n\
             exit {code}\n"
        );
        fs::write(clone.path("bin/cargo"), cargo).unwrap();
        let output = clone.make(&["test"]);
        assert_eq!(output.status.code(), Some(exit));
        let text = String::from_utf8(output.stdout).unwrap().replace("\n\n", "\n");
        assert!(text.ends_with(list), "{text}");
        let calls = ["--no-fail-fast", "-p wninit-render"];
        let log = clone.log();
        let expected = calls.map(|call| format!("test --profile checked --locked {call}"));
        assert_eq!(log[log.len() - 2..], expected);
    }
    // Nothing skipped, nothing listed.
    fs::write(clone.path("bin/cargo"), "#!/bin/sh\necho all passed\n").unwrap();
    let output = clone.make(&["test"]);
    assert!(String::from_utf8(output.stdout).unwrap().ends_with("all passed\n"));
}

/// Skips; started by the next test.
#[test]
#[ignore = "started by only_what_is_allowed_is_skipped"]
fn child_that_skips() {
    crate::skip::skip("slurm", "install it");
}

#[test]
fn only_what_is_allowed_is_skipped_and_each_skip_is_on_the_list() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("skips");
    let skips = |allowed: Option<&str>| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "makefile::child_that_skips", "--ignored"])
            .env(crate::skip::LIST, &list);
        match allowed {
            Some(allowed) => command.env(crate::skip::ALLOWED, allowed),
            None => command.env_remove(crate::skip::ALLOWED),
        };
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    for allowed in [Some(""), Some("gpu"), Some("gpu, slurmd")] {
        let (passed, said) = skips(allowed);
        assert!(!passed && said.contains("does not allow that: install it"), "{allowed:?}: {said}");
        assert!(!list.exists());
    }
    for allowed in [None, Some("slurm"), Some("gpu, slurm")] {
        assert!(skips(allowed).0, "{allowed:?}");
    }
    let line = "makefile::child_that_skips: slurm is missing: install it\n";
    assert_eq!(fs::read_to_string(list).unwrap(), line.repeat(3));
}

#[test]
fn a_sweep_with_failures_fails() {
    let clone = Clone::fresh();
    fs::write(clone.path("exit-code"), "3").unwrap();
    let output = clone.make(&["sweep"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("Error 3"));
}

#[test]
fn a_set_up_that_was_cut_short_is_mended() {
    let clone = Clone::fresh();
    // Killed while the environment was made.
    fs::create_dir_all(clone.path(".venv/bin")).unwrap();
    // Then pip is killed: what it had half written looks installed.
    fs::write(clone.path("pip-fails"), "").unwrap();
    assert!(!clone.make(&["setup"]).status.success());
    assert_eq!(clone.log(), ["venv", PIP]);
    fs::remove_file(clone.path("pip-fails")).unwrap();
    assert!(clone.make(&["setup"]).status.success());
    assert_eq!(clone.log(), ["pip --ignore-installed -r analysis/requirements-torch.txt"]);
    assert!(clone.make(&["setup"]).status.success());
    assert_eq!(clone.log(), [""; 0]);
}

#[test]
fn notebooks_bring_their_own_packages_once() {
    let clone = Clone::fresh();
    fs::write(clone.path("analysis/depth.ipynb"), "{}").unwrap();
    assert!(clone.make(&["notebooks", "RESULTS=results/x"]).status.success());
    let log = clone.log();
    assert_eq!(log[..3], ["venv", PIP, "pip -r analysis/requirements.txt"]);
    assert!(clone.make(&["notebooks"]).status.success());
    let again = clone.log();
    assert_eq!(again, log[3..]);
    assert!(again[0].ends_with("analysis/depth.ipynb"), "{again:?}");
}

#[test]
fn a_libtorch_of_ones_own_needs_no_environment() {
    let clone = Clone::fresh();
    assert!(clone.make(&["setup", "LIBTORCH=/opt/libtorch"]).status.success());
    assert_eq!(clone.log(), [""; 0]);
}

#[test]
fn without_a_network_packages_come_from_a_folder() {
    let clone = Clone::fresh();
    assert!(clone.make(&["setup", "WHEELS=my wheels"]).status.success());
    let pip = "pip --no-index --find-links my wheels -r analysis/requirements-torch.txt";
    assert_eq!(clone.log(), ["venv", pip]);
}

#[test]
fn a_sweep_goes_to_the_cluster_with_its_data() {
    let clone = Clone::fresh();
    let slurm = "SLURM=--gres gpu:1";
    let output = clone.make(&[
        "slurm",
        "GRID=x.toml",
        "ARRAY=16%4",
        slurm,
        "SET=epochs=2",
        "ARGS=--recompute on",
    ]);
    assert!(output.status.success());
    let submitted =
        "wninit slurm x.toml --array 16%4 --submit --set epochs=2 --gres gpu:1 -- --recompute on";
    assert_eq!(clone.log()[3..], ["wninit fetch x.toml --set epochs=2", submitted]);
}

#[test]
fn a_grid_may_have_any_name() {
    let clone = Clone::fresh();
    for (target, commands) in [
        ("sweep", &["fetch [G]", "run [G] --summary"][..]),
        ("plan", &["plan [G] --measure"]),
        ("slurm", &["fetch [G]", "slurm [G] --array 4 --submit"]),
        ("data", &["fetch [G]"]),
    ] {
        for grid in ["a b.toml", "it's $HOME; \"x\" & (y).toml"] {
            let escaped = grid.replace('$', "$$"); // for make
            let output = clone.make(&[target, &format!("GRID={escaped}")]);
            assert!(output.status.success(), "{target}: {output:?}");
            let log = clone.log();
            let commands: Vec<String> =
                commands.iter().map(|c| format!("wninit {}", c.replace('G', grid))).collect();
            assert_eq!(log[log.len() - commands.len()..], commands, "{target}");
        }
    }
    fs::write(clone.path("analysis/depth.ipynb"), "{}").unwrap();
    assert!(clone.make(&["notebooks", "RESULTS=my results"]).status.success());
}

#[test]
fn what_is_missing_is_named_before_anything_is_installed() {
    for (program, named) in
        [("cargo", "rustup.rs"), ("c++", "apt install g++"), ("python3", "python3-venv")]
    {
        let clone = Clone::fresh();
        let broken = "#!/bin/sh\nexit 1\n";
        let arguments: &[&str] = match program {
            "c++" => &["setup", "CXX=/nonexistent/c++"],
            "cargo" => {
                fs::remove_file(clone.path("bin/cargo")).unwrap();
                &["setup"]
            }
            _ => {
                fs::write(clone.path("bin/python3"), broken).unwrap();
                &["setup"]
            }
        };
        let output = clone.make(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{program}");
        assert!(error.contains(named), "{program}: {error}");
        assert!(!clone.path(".venv").exists(), "{program}");
    }
}

#[test]
fn the_paper_is_one_command_and_so_is_each_part_of_it() {
    let clone = Clone::fresh();
    fs::create_dir_all(clone.path("sweeps/paper")).unwrap();
    for name in ["curvature", "mlp-depth"] {
        fs::write(clone.path(&format!("sweeps/paper/{name}.toml")), "").unwrap();
    }
    // A sweep in which some jobs failed does not keep the others from running.
    fs::write(clone.path("exit-code"), "3").unwrap();
    assert!(!clone.make(&["paper"]).status.success());
    let all = [
        "wninit signals",
        "wninit fetch sweeps/paper/curvature.toml",
        "wninit curvature sweeps/paper/curvature.toml",
        "wninit plan sweeps/paper/curvature.toml --folder",
        "wninit summary []",
        "wninit fetch sweeps/paper/mlp-depth.toml",
        "wninit run sweeps/paper/mlp-depth.toml --summary",
    ];
    assert_eq!(clone.log()[3..], all);
    fs::write(clone.path("exit-code"), "0").unwrap();
    assert!(clone.make(&["paper", "ONLY=mlp-depth", "PROFILE=small"]).status.success());
    let part = [
        "wninit fetch sweeps/paper/mlp-depth.toml --profile small",
        "wninit run sweeps/paper/mlp-depth.toml --profile small --summary",
    ];
    assert_eq!(clone.log()[1..], part);
    // Further seeds judge the claims of a grid that has them, in the profile that was asked for.
    fs::write(clone.path("sweeps/paper/seeds.toml"), "[profile.small-fresh]\n").unwrap();
    assert!(clone.make(&["paper", "ONLY=seeds", "PROFILE=small"]).status.success());
    let judged = [
        "wninit fetch sweeps/paper/seeds.toml --profile small",
        "wninit run sweeps/paper/seeds.toml --profile small --summary",
        "wninit run sweeps/paper/seeds.toml --profile small-fresh --summary",
    ];
    assert_eq!(clone.log()[1..], judged);
    assert!(clone.make(&["paper", "ONLY=seeds"]).status.success());
    assert_eq!(clone.log().len(), judged.len(), "build, fetch and run");
    fs::remove_file(clone.path("sweeps/paper/seeds.toml")).unwrap();

    fs::write(clone.path("sweeps/paper/cnn-depth.toml"), "").unwrap();
    assert!(clone.make(&["paper", "ONLY=cnn-depth", "WORKERS=2"]).status.success());
    let confirmed = [
        "wninit fetch sweeps/paper/cnn-depth.toml",
        "wninit run sweeps/paper/cnn-depth.toml --workers 2",
        "wninit plan sweeps/paper/cnn-depth.toml --folder",
        "wninit confirm [] --seeds 10 --workers 2",
    ];
    assert_eq!(clone.log()[1..], confirmed);
    fs::remove_file(clone.path("sweeps/paper/cnn-depth.toml")).unwrap();
    assert!(clone.make(&["paper-plan"]).status.success());
    let plan = "wninit plan sweeps/paper/curvature.toml sweeps/paper/mlp-depth.toml";
    assert_eq!(clone.log()[1..], [plan]);
}

#[test]
fn help_lists_the_targets_and_fits_a_terminal() {
    let output = Clone::fresh().make(&[]);
    let text = String::from_utf8(output.stdout).unwrap();
    for word in
        ["make sweep", "make test", "make lint", "make notebooks", "GRID", "WORKERS", "ARGS"]
    {
        assert!(text.contains(word), "{word}");
    }
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
}
