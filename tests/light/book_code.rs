//! The code in the README and the pages of `docs/` works: command lines parse, transcripts are what
//! the program prints, Python runs. `tests/torch/readme.rs` runs the blocks marked `sh`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{folder, planned, record};
use crate::export::python;
use crate::readme::{blocks, page, pages};
use crate::root;
use crate::skip::skip;
use wninit_core::grid::{Grid, Overrides};
use wninit_core::job::Job;
use wninit_core::plan::Plan;
use wninit_core::results::Record;
use wninit_core::run::sweep;

/// The words of every command line of the blocks `sh` and `bash`, with its page.
fn command_lines() -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for (path, text) in pages() {
        let page = path.strip_prefix(root()).unwrap().display().to_string();
        for block in ["sh", "bash"].iter().flat_map(|language| blocks(&text, language)) {
            for line in block.replace("\\\n", " ").lines() {
                let words = shlex::split(line).unwrap_or_else(|| panic!("{page}: {line}"));
                found.push((page.clone(), words));
            }
        }
    }
    found
}

/// Copies a folder.
pub fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
}

/// A folder with the shipped sweeps and the committed results, and `results/quick`.
fn workplace() -> tempfile::TempDir {
    let place = folder();
    symlink(root().join("sweeps"), place.path().join("sweeps")).unwrap();
    fs::create_dir(place.path().join("results")).unwrap();
    copy(&root().join("results/paper"), &place.path().join("results/paper"));
    symlink("paper/depth", place.path().join("results/quick")).unwrap();
    place
}

#[test]
fn documented_command_lines_parse() {
    let place = folder();
    let mut parsed = 0;
    for (page, words) in command_lines() {
        if words.first().is_none_or(|word| word != "wninit") {
            continue;
        }
        let words: Vec<String> = words.into_iter().take_while(|word| word != "|").collect();
        // With these options of the hand-over between the programs a command line is parsed in
        // full, and then refused because there is nothing to show.
        let output = Command::new(crate::WNINIT)
            .args(["--written", "/nonexistent", "--code", "0"])
            .args(&words[1..])
            .current_dir(place.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("--help"), "{page}: {words:?}: {said}");
        for file in words.iter().filter(|word| word.starts_with("sweeps/")) {
            assert!(root().join(file).exists(), "{page}: there is no {file}");
        }
        parsed += 1;
    }
    assert!(parsed >= 20, "only {parsed} found");
}

#[test]
fn documented_make_targets_and_variables_exist() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let mut found = 0;
    for (page, words) in command_lines() {
        if words.first().is_none_or(|word| word != "make") {
            continue;
        }
        for word in &words[1..] {
            let exists = match word.split_once('=') {
                Some((variable, _)) => makefile.lines().any(|l| {
                    l.strip_prefix(variable).is_some_and(|rest| rest.trim_start().starts_with("?="))
                }),
                None => makefile.lines().any(|l| l.starts_with(&format!("{word}:"))),
            };
            assert!(exists, "{page}: the Makefile has no {word}");
            found += 1;
        }
    }
    assert!(found >= 10, "only {found} found");
}

/// That the pieces of `shown` between `…` follow each other in `printed`.
fn assert_printed(page: &Path, command: &str, shown: &str, printed: &str) {
    let mut rest = printed;
    for piece in shown.split('…').map(str::trim).filter(|piece| !piece.is_empty()) {
        let Some(at) = rest.find(piece) else {
            panic!("{}: `{command}` should print\n{piece}\nand prints\n{printed}", page.display())
        };
        rest = &rest[at + piece.len()..];
    }
}

#[test]
fn transcripts_are_what_the_program_prints() {
    let place = workplace();
    let mut compared = 0;
    for (path, text) in pages() {
        for transcript in blocks(&text, "console") {
            for part in format!("\n{transcript}").split("\n$ wninit ").skip(1) {
                let (command, shown) = part.split_once('\n').unwrap();
                let output = Command::new(crate::WNINIT)
                    .args(shlex::split(command).unwrap())
                    .current_dir(place.path())
                    .output()
                    .unwrap();
                let printed = [output.stdout, output.stderr].concat();
                assert_printed(&path, command, shown, &String::from_utf8(printed).unwrap());
                compared += 1;
            }
        }
    }
    assert!(compared >= 5, "only {compared} found");
}

#[test]
fn the_errors_of_an_own_initializer_are_what_the_program_prints() {
    let page = page("initializers.md");
    let grid = &blocks(&page, "toml")[0];
    let gain = r#"gain = "sqrt(2 * fan_in / fan_out)""#;
    let wrong = ["gain = \"sqrt(2 * fan_inn / fan_out)\"", "gain = \"sqrt(layer - 3)\""];
    let shown = blocks(&page, "text").into_iter().find(|block| block.starts_with("error")).unwrap();
    let place = folder();
    for (wrong, shown) in wrong.iter().zip(shown.lines()) {
        fs::write(place.path().join("my.toml"), grid.replacen(gain, wrong, 1)).unwrap();
        let output = Command::new(crate::WNINIT)
            .args(["plan", "my.toml"])
            .current_dir(place.path())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap().trim_end(), shown);
    }
}

/// What the reader of a page's Python has at hand.
fn at_hand(page: &str) -> &'static str {
    match page {
        "docs/grids.md" => {
            "import numpy
x_train = x_test = numpy.zeros((4, 8, 8), 'uint8')
y_train = y_test = numpy.arange(4)
"
        }
        "docs/pytorch.md" => {
            "import json, os, torch
from safetensors.torch import save_file
images = torch.randn(16, 3, 32, 32)
layers = {'hidden.0': (8, 64), 'hidden.1': (8, 8), 'head': (10, 8)}
state = {f'{layer}.bias': torch.zeros(shape[0]) for layer, shape in layers.items()}
for layer, shape in layers.items():
    state[f'{layer}.weight' + '_v' * (layer != 'head')] = torch.randn(shape)
    if layer != 'head':
        state[f'{layer}.weight_g'] = torch.ones(8)
os.makedirs('results/quick/export', exist_ok=True)
job = {'model': 'mlp', 'depth': 2, 'width': 8, 'norm': 'weight'}
save_file(state, 'results/quick/export/0123456789ab-start.safetensors', metadata={'job': json.dumps(job)})
"
        }
        _ => "",
    }
}

/// The Python of `.venv` with the packages of the notebooks, or a skip.
fn notebook_python() -> Option<PathBuf> {
    let found = python("numpy, pandas, polars, matplotlib, torch, safetensors");
    if found.is_none() {
        skip("notebook packages", "`make notebooks` installs them into .venv");
    }
    found
}

#[test]
fn documented_python_runs() {
    let Some(python) = notebook_python() else { return };
    let place = workplace();
    let mut ran = 0;
    for (path, text) in pages() {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
        for block in blocks(&text, "python") {
            let output = Command::new(&python)
                .args(["-c", &format!("{}{block}", at_hand(name))])
                .env("PYTHONPATH", root().join("analysis"))
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .current_dir(place.path())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name}:\n{block}\n{said}");
            ran += 1;
        }
    }
    assert!(ran >= 5, "only {ran} blocks found");
}

/// Runs `analysis/notebooks.py`; a failure is what it says.
fn notebooks(python: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(python)
        .arg(root().join("analysis/notebooks.py"))
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[test]
fn the_notebooks_are_committed_with_the_outputs_of_a_committed_sweep() {
    assert_eq!(notebooks(Path::new("python3"), &["--check"]), Ok(String::new()));
}

#[test]
fn the_notebooks_make_the_tables_that_are_committed_and_work_on_other_sweeps() {
    let Some(python) = notebook_python() else { return };
    let place = workplace();
    let sweep = |name: &str| place.path().join("results/paper").join(name).display().to_string();
    notebooks(&python, &["--check", "--shapes", &sweep("depth")]).unwrap();
    // Own initializers, no depth, and plain layers beside weight norm.
    notebooks(&python, &["--shapes", &sweep("initializers")]).unwrap();
    // Two definitions of one name are two initializers here as in the summary.
    let two = place.path().join("two");
    let jobs: Vec<Job> = ["1", "2"].iter().flat_map(|gain| own_jobs(gain)).collect();
    let mut opened =
        sweep::open(&two, None, "name = \"two\"\n", &planned(&jobs), &planned(&jobs)).unwrap();
    opened.journal.append(&jobs.iter().map(record).collect::<Vec<Record>>()).unwrap();
    drop(opened);
    let summary = Command::new(crate::WNINIT).arg("summary").arg(&two).output().unwrap();
    assert!(summary.status.success(), "{}", String::from_utf8_lossy(&summary.stderr));
    notebooks(&python, &["--shapes", two.to_str().unwrap()]).unwrap();
    let labels = "import csv, sweep
read = lambda name: list(csv.DictReader(open(sweep.FOLDER / name)))
runs, arms = read('runs.csv'), read('summary/initializers.csv')
found = sweep.labels([run['init'] for run in runs], [run['init_rule'] for run in runs])
assert len(arms) == 2 and {arm['init'] for arm in arms} == set(found), (arms, found)";
    let output = Command::new(&python)
        .args(["-c", labels])
        .env("RESULTS", &two)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(root().join("analysis"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Jobs with an own initializer `mine` of this gain.
fn own_jobs(gain: &str) -> Vec<Job> {
    let text = format!(
        "name = \"two\"\n[base]\ndataset = \"digits\"\nepochs = 2\nbatch_size = 32\n[grid]\ninit = [\"mine\"]\n\
         seed = {{ count = 6 }}\n[[initializer]]\nname = \"mine\"\ndirection = \"he\"\ngain = \"{gain}\"\n"
    );
    let grid = Grid::parse(&text, Path::new("two.toml"), &Overrides::default()).unwrap();
    Plan::of(&grid).unwrap().jobs.into_iter().map(|planned| planned.job).collect()
}

#[test]
fn the_notebooks_have_the_colours_of_the_report() {
    let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let report: String = fs::read_dir(root().join("src/report"))
        .unwrap()
        .map(|entry| read(entry.unwrap().path()))
        .collect();
    let notebooks = read(root().join("analysis/sweep.py"));
    let list = notebooks.split("COLOURS = [").nth(1).unwrap().split(']').next().unwrap();
    let colours: Vec<&str> = list.split(", ").map(|colour| colour.trim_matches('"')).collect();
    assert_eq!(colours.len(), 8);
    for (i, colour) in colours.iter().enumerate() {
        let name = format!("c{i}");
        let found =
            report.split(&name).skip(1).any(|rest| rest.find(colour).is_some_and(|at| at < 8));
        assert!(found, "colour {i} of the report is not {colour}");
    }
}
