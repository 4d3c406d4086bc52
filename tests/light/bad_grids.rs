//! A bad grid is refused before anything runs: exit code 2, one message with file, line and key,
//! and nothing created on disk.

use std::path::Path;
use std::process::{Command, Output};

/// A folder with files, in which the program runs.
struct Folder(tempfile::TempDir);

impl Folder {
    fn with(files: &[(&str, &[u8])]) -> Folder {
        let folder = tempfile::tempdir().unwrap();
        for (name, contents) in files {
            std::fs::write(folder.path().join(name), contents).unwrap();
        }
        Folder(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn listing(&self) -> Vec<(std::ffi::OsString, u64)> {
        let entries = std::fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap());
        let mut names: Vec<_> =
            entries.map(|e| (e.file_name(), e.metadata().unwrap().len())).collect();
        names.sort();
        names
    }

    fn plan(&self, args: &[&str]) -> Output {
        Command::new(crate::WNINIT)
            .current_dir(self.path())
            .arg("plan")
            .args(args)
            .output()
            .unwrap()
    }

    /// Runs `wninit plan ARGS`, which must be refused; its message.
    fn refused(&self, args: &[&str]) -> String {
        let before = self.listing();
        let output = self.plan(args);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(output.stdout.is_empty(), "nothing on standard output");
        assert!(message.starts_with("error: "), "{message}");
        assert_eq!(message.lines().count(), 1, "one message: {message}");
        assert!(
            !message.chars().any(|c| c.is_control() && c != '\n'),
            "safe to print: {message:?}"
        );
        assert_eq!(self.listing(), before, "nothing changes on disk");
        message
    }
}

/// The grid is refused with a message that contains each of these.
#[track_caller]
fn refused(grid: &str, parts: &[&str]) {
    let message = Folder::with(&[("bad.toml", grid.as_bytes())]).refused(&["bad.toml"]);
    for part in parts {
        assert!(message.contains(part), "no {part:?} in {message}");
    }
}

#[test]
fn a_misspelt_key_names_the_nearest_valid_one() {
    refused(
        "name = \"a\"\n[grid]\nmomentun = [0.9]\n",
        &["bad.toml:3: grid.momentun: ", "did you mean \"momentum\"?"],
    );
    refused("name = \"a\"\n\n[bse]\nlr = 1\n", &["bad.toml:3: bse: ", "did you mean \"base\"?"]);
    refused("name = \"a\"\nlr = 0.1\n", &["bad.toml:2: lr: ", "belongs under [base]"]);
    refused(
        "name = \"a\"\n[[block]]\n[block.grids]\nlr = [1]\n",
        &["bad.toml:3: block.grids: ", "\"grid\""],
    );
    refused(
        "name = \"a\"\n[grid]\nlr = { log = [1, 2], cuont = 3 }\n",
        &["bad.toml:3: grid.lr.cuont: ", "\"count\""],
    );
}

#[test]
fn a_misspelt_value_names_the_nearest_valid_one() {
    refused(
        "name = \"a\"\n[base]\ndataset = \"fashion-mnits\"\n",
        &["bad.toml:3: base.dataset: ", "unknown data set", "did you mean \"fashion-mnist\"?"],
    );
    refused(
        "name = \"a\"\n[grid]\ninit = [\n  \"he\",\n  \"orthogonal_propsed\",\n]\n",
        &["bad.toml:5: grid.init: ", "did you mean \"orthogonal_proposed\"?"],
    );
    refused(
        "name = \"a\"\n[grid]\nactivation = [\"relu\", \"leaky-rellu\"]\n",
        &["bad.toml:3: grid.activation: ", "did you mean \"leaky_relu\"?"],
    );
}

#[test]
fn an_unknown_data_set_is_refused() {
    refused(
        "name = \"a\"\n[base]\ndataset = \"imagenet\"\n",
        &["bad.toml:3: base.dataset: ", "imagenet", "cifar10"],
    );
}

#[test]
fn a_negative_learning_rate_is_refused() {
    refused(
        "name = \"a\"\n[base]\nlr = -0.1\n",
        &["bad.toml:3: base.lr: -0.1 is out of range", "at least 0"],
    );
    refused(
        "name = \"a\"\n[grid]\nlr = [0.1,\n -0.1]\n",
        &["bad.toml:4: grid.lr: -0.1 is out of range"],
    );
    refused(
        "name = \"a\"\n[grid]\nlr = { log = [-0.1, 1], count = 3 }\n",
        &["bad.toml:3: grid.lr.log: ", "greater than 0"],
    );
    refused("name = \"a\"\n[base]\nlr = nan\n", &["bad.toml:3: base.lr: ", "finite"]);
}

#[test]
fn an_empty_axis_is_refused() {
    refused("name = \"a\"\n[grid]\nlr = []\n", &["bad.toml:3: grid.lr: ", "empty"]);
    refused(
        "name = \"a\"\n[grid]\nseed = { count = 0 }\n",
        &["bad.toml:3: grid.seed.count: ", "empty"],
    );
}

#[test]
fn an_init_that_its_norm_cannot_have_is_refused_at_both_lines() {
    refused(
        "name = \"a\"\n[base]\nnorm = \"none\"\n\n[grid]\ninit = [\"he\",\n  \"he_datadep\"]\n",
        &["bad.toml:7: grid.init: ", "he_datadep", "norm = \"none\" at bad.toml:3"],
    );
    refused(
        "name = \"a\"\n[base]\ninit = \"he_hanin\"\n",
        &["bad.toml:3: base.init: ", "residual"],
    );
}

#[test]
fn duplicate_jobs_are_refused_with_the_reason() {
    refused("name = \"a\"\n[grid]\nlr = [0.1, 1.0e-1]\n", &["bad.toml:3: grid.lr: ", "twice"]);
    refused(
        "name = \"a\"\n[base]\nmodel = \"wrn\"\n[grid]\ndepth = [2,\n 5]\n",
        &[
            "bad.toml:6: grid.depth: ",
            "the same job",
            "depth does not apply",
            "depth = 2 (bad.toml:5)",
            "depth = 5 (bad.toml:6)",
        ],
    );
    refused(
        "name = \"a\"\n[grid]\nlr = [0.1]\n\n[[block]]\n[block.grid]\nlr = [0.2, 0.1]\n",
        &["bad.toml:7: block.grid.lr: ", "the same job", "bad.toml:3"],
    );
}

#[test]
fn a_file_that_is_no_toml_is_refused() {
    refused("name = \"a\"\n[base\nlr = 1\n", &["bad.toml:2: ", "not valid TOML"]);
    refused(
        "name = \"a\"\n[base]\nlr = 1\nlr = 2\n",
        &["bad.toml:4: ", "not valid TOML", "duplicate"],
    );
    let folder = Folder::with(&[("bad.toml", b"name = \"a\"\nabout = \"\xff\"\n")]);
    assert!(folder.refused(&["bad.toml"]).contains("bad.toml:2: not UTF-8"));
    refused(&format!("a = {}1{}", "[".repeat(100_000), "]".repeat(100_000)), &["bad.toml:1: "]);
}

#[test]
fn a_missing_extends_is_refused_at_its_line() {
    refused(
        "name = \"a\"\nextends = \"gone.toml\"\n",
        &["bad.toml:2: extends: gone.toml: cannot read"],
    );
    let circle: &[(&str, &[u8])] =
        &[("a.toml", b"extends = \"b.toml\"\n"), ("b.toml", b"\nextends = \"a.toml\"\n")];
    assert!(Folder::with(circle).refused(&["a.toml"]).contains("b.toml:2: extends: "));
    let parent: &[(&str, &[u8])] =
        &[("a.toml", b"extends = \"b.toml\"\n"), ("b.toml", b"[base]\n\nlr = -1\n")];
    assert!(Folder::with(parent).refused(&["a.toml"]).contains("b.toml:3: base.lr: "));
}

#[test]
fn a_grid_that_cannot_be_read_is_refused() {
    let folder = Folder::with(&[]);
    assert!(folder.refused(&["gone.toml"]).contains("there is no gone.toml: expected a grid file"));
    assert!(folder.refused(&["."]).contains("the folder . holds no grid.toml"));
    #[cfg(target_os = "linux")]
    assert!(folder.refused(&["/dev/zero"]).contains("/dev/zero: a grid is a TOML file of at most"));
}

#[test]
fn a_name_that_would_leave_the_results_folder_is_refused() {
    for name in [
        "",
        "../x",
        "/etc",
        "a/b",
        ".hidden",
        "..",
        "a\\\\b",
        "a\\u0000",
        "a\\nb",
        " a",
        &"x".repeat(101),
    ] {
        refused(&format!("name = \"{name}\"\n"), &["bad.toml:1: name: "]);
    }
    refused("about = \"no name\"\n", &["bad.toml: name: ", "name = \"bad\""]);
}

#[test]
fn a_grid_too_large_to_plan_is_refused_at_once() {
    refused(
        "name = \"a\"\n[grid]\nseed = { count = 1000000000000 }\n",
        &["bad.toml:3: grid.seed.count: "],
    );
    refused(
        "name = \"a\"\n[grid]\nseed = { count = 1e12 }\n",
        &["bad.toml:3: grid.seed.count: ", "whole number"],
    );
    refused(
        "name = \"a\"\n[grid]\nseed = { count = 1500000 }\nlr = [1, 2]\n",
        &["bad.toml:4: grid.lr: ", "more than 2000000 jobs"],
    );
    refused(
        "name = \"a\"\n[grid]\nseed = { from = 9223372036854775807, count = 2 }\n",
        &["bad.toml:3: grid.seed: ", "too large"],
    );
}

#[test]
fn a_field_set_in_two_places_is_refused_at_both_lines() {
    refused(
        "name = \"a\"\n[base]\nlr = 1\n[grid]\nlr = [1, 2]\n",
        &["bad.toml:5: grid.lr: ", "base.lr at bad.toml:3"],
    );
    refused(
        "name = \"a\"\n[grid]\nlr = [1, 2]\n[[zip]]\nlr = [1, 2]\n",
        &["bad.toml:5: zip.lr: ", "grid.lr at bad.toml:3"],
    );
    refused(
        "name = \"a\"\n[[zip]]\nlr = [1, 2]\nmomentum = [0]\n",
        &["bad.toml:4: zip.momentum: ", "equal length", "bad.toml:3"],
    );
    refused(
        "name = \"a\"\n[base]\nseed = 1\ninit_seed = 2\n[grid]\ndata_seed = [1, 2]\n",
        &["bad.toml:3: base.seed: ", "both are given"],
    );
}

#[test]
fn an_exclude_that_excludes_nothing_is_refused() {
    let grid = "name = \"a\"\n[grid]\ndepth = [2, 5]\n[[exclude]]\n";
    refused(
        &format!("{grid}depth = 7\n"),
        &["bad.toml:5: exclude.depth: ", "occurs in no job", "2, 5"],
    );
    refused(&format!("{grid}lr = 7\n"), &["bad.toml:5: exclude.lr: ", "excludes nothing"]);
    refused(grid, &["bad.toml:4: exclude: "]);
    refused(&format!("{grid}depth = [2, 5]\n"), &["bad.toml: ", "no jobs"]);
}

#[test]
fn a_claim_about_nothing_is_refused() {
    let claim = |lines: &str| {
        format!(
            "name = \"a\"\n[grid]\ninit = [\"he\", \"orthogonal\"]\n[[claim]]\ntext = \"x\"\nmetric = \"test_acc\"\n{lines}\n"
        )
    };
    let compare = "compare = { axis = \"init\", better = \"he\", than = \"orthogonal\" }";
    refused(&claim(""), &["bad.toml:4: claim: ", "claims nothing"]);
    refused(
        &claim(&format!("where = {{ init = \"he_datadep\" }}\n{compare}")),
        &["bad.toml:7: claim.where.init: ", "no job"],
    );
    refused(
        &claim("compare = { axis = \"int\", better = \"he\", than = \"orthogonal\" }"),
        &["bad.toml:7: claim.compare.axis: ", "did you mean \"init\"?"],
    );
    refused(
        &claim("compare = { axis = \"lr\", better = 1, than = 2 }"),
        &["bad.toml:4: claim.compare: ", "unknown axis"],
    );
    refused(
        &claim("compare = { axis = \"init\", better = \"he\", than = \"he_datadep\" }"),
        &["bad.toml:7: claim.compare.than: ", "no job"],
    );
    refused(
        &claim("compare = { better = { init = \"he\" }, than = \"orthogonal\" }"),
        &["bad.toml:7: claim.compare.than: ", "expected { axis"],
    );
    refused(
        &claim("compare = { better = { init = \"he\" }, than = { init = \"he\" } }"),
        &["bad.toml:7: claim.compare.than: ", "better than itself"],
    );
    refused(
        &claim(compare).replace("test_acc", "test_ac"),
        &["bad.toml:6: claim.metric: ", "did you mean \"test_acc\"?"],
    );
    refused(
        &claim(&format!("{compare}\nsettings = \"maen\"")),
        &["bad.toml:8: claim.settings: ", "did you mean \"mean\"?", "(valid: each, mean)"],
    );
    refused(
        "name = \"a\"\n[[published]]\nmetric = \"test_acc\"\nvalue = 97\n",
        &["bad.toml:4: published.value: ", "fraction"],
    );
}

#[test]
fn a_bad_override_is_refused_by_its_option() {
    let grid = b"name = \"a\"\n[base]\nepochs = 2\n[grid]\ndepth = [2, 5]\n[profile.small.base]\nepochs = 1\n";
    let folder = Folder::with(&[("good.toml", grid)]);
    assert_eq!(folder.plan(&["good.toml"]).status.code(), Some(0));
    for (option, parts) in [
        (["--set", "lr=-1"], ["--set lr=-1: ", "out of range"]),
        (["--set", "epohcs=1"], ["--set epohcs=1: ", "did you mean \"epochs\"?"]),
        (["--set", "epochs"], ["--set epochs: ", "key=value"]),
        (["--set", "depth=2"], ["--set depth=2: ", "--only depth=2"]),
        (["--set", "init=he_hanin"], ["--set init=he_hanin: ", "residual"]),
        (["--only", "depth=3"], ["--only depth=3: ", "values: 2, 5"]),
        (["--only", "epochs=2"], ["--only epochs=2: ", "--set"]),
        (["--only", "dept=2"], ["--only dept=2: ", "did you mean \"depth\"?"]),
        (["--profile", "smal"], ["--profile smal: ", "did you mean \"small\"?"]),
    ] {
        let message = folder.refused(&["good.toml", option[0], option[1]]);
        assert!(parts.iter().all(|part| message.contains(part)), "{parts:?} in {message}");
    }
}

#[test]
fn a_bad_command_line_is_refused() {
    let folder = Folder::with(&[]);
    assert_eq!(folder.plan(&[]).status.code(), Some(2));
    assert_eq!(folder.plan(&["a.toml", "--lsit"]).status.code(), Some(2));
}

#[test]
fn escape_sequences_in_a_grid_do_not_reach_the_terminal() {
    refused("name = \"a\"\n\"\\u001b[31mred\" = 1\n", &["bad.toml:2: ", "red"]);
    refused(
        "name = \"a\"\n[base]\ndataset = \"\\u001b[31m\\n\"\n",
        &["bad.toml:3: base.dataset: "],
    );
    refused(
        &format!("name = \"a\"\n[base]\ndataset = \"{}\"\n", "x".repeat(1_000_000)),
        &["bad.toml:3: base.dataset: "],
    );
}
