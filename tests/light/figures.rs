//! The files that `figures` writes, and the pictures of the README and the book.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::folder;
use crate::root;

fn figures(arguments: &[&str]) -> Output {
    Command::new(crate::WNINIT).arg("figures").args(arguments).output().unwrap()
}

fn committed(sweep: &str) -> String {
    root().join("results/paper").join(sweep).display().to_string()
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_figure_is_a_picture_in_both_colours_with_data_caption_and_a_latex_float() {
    let out = folder();
    let dir = out.path().display().to_string();
    let output = figures(&[
        &committed("depth"),
        "--out",
        &dir,
        "--theme",
        "both",
        "--only",
        "success-by-depth",
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed, format!("{dir}/success-by-depth.svg\n{dir}/success-by-depth-dark.svg\n"));
    let ends = [".csv", "-dark.svg", ".svg", ".tex", ".txt"];
    assert_eq!(names(out.path()), ends.map(|end| format!("success-by-depth{end}")).into());
    let read =
        |end: &str| fs::read_to_string(out.path().join(format!("success-by-depth{end}"))).unwrap();
    for (end, ink) in [(".svg", "#1b1f24"), ("-dark.svg", "#e6e9ec")] {
        let svg = read(end);
        let picture = roxmltree::Document::parse(&svg).unwrap();
        assert_eq!(
            picture.root_element().tag_name().namespace(),
            Some("http://www.w3.org/2000/svg")
        );
        assert!(svg.contains(ink) && !svg.contains("var(") && !svg.contains("href"), "{svg}");
        assert!(svg.contains("orthogonal, data-dependent"), "names in words");
    }
    assert!(read(".csv").contains("50,0,12,0,0,0.459"), "{}", read(".csv"));
    assert!(read(".txt").starts_with("Success by depth. The share of runs that train,"));
    assert!(read(".tex").contains(r"\includegraphics[width=\linewidth]{success-by-depth.pdf}"));
}

#[test]
fn a_folder_of_signals_has_figures_too() {
    let out = folder();
    let output = figures(&[&committed("signal"), "--out", &out.path().display().to_string()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(names(out.path()).contains("mlp-m-200.svg"));
}

#[test]
fn what_cannot_be_drawn_is_refused_with_what_to_do() {
    let depth = committed("depth");
    let out = folder();
    let dir = out.path().display().to_string();
    let refused = |output: Output, message: &str| {
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(message), "{error}");
        assert_eq!(names(out.path()), BTreeSet::new(), "nothing is left");
    };
    refused(
        figures(&[&depth, "--out", &dir, "--only", "x"]),
        "no figure \"x\"; it has success-by-depth, ",
    );
    // The program alone, without the one that renders.
    let alone = folder();
    let program = alone.path().join("wninit");
    crate::copy_program(&program);
    let output =
        Command::new(&program).args(["figures", &depth, "--out", &dir, "--format", "pdf"]).output();
    refused(output.unwrap(), "build it with `make figures`");
}

/// `docs/figures/SWEEP/NAME.svg` is that figure of `results/paper/SWEEP`, with its caption in
/// NAME.txt. `UPDATE_FIGURES=1` draws them anew.
#[test]
fn the_pictures_of_the_readme_and_the_book_are_those_of_the_committed_results() {
    let pictures = root().join("docs/figures");
    let update = std::env::var_os("UPDATE_FIGURES").is_some();
    let mut compared = 0;
    for sweep in names(&pictures) {
        let folder_of: PathBuf = pictures.join(&sweep);
        let slug = |name: &String| {
            let stem = name.strip_suffix(".svg").or_else(|| name.strip_suffix(".txt"));
            let stem = stem.unwrap_or_else(|| panic!("{sweep}/{name}"));
            stem.strip_suffix("-dark").unwrap_or(stem).to_owned()
        };
        let slugs: BTreeSet<String> = names(&folder_of).iter().map(slug).collect();
        let out = folder();
        let (from, to) = (committed(&sweep), out.path().display().to_string());
        let mut arguments = vec![from.as_str(), "--out", &to, "--theme", "both"];
        arguments.extend(slugs.iter().flat_map(|slug| ["--only", slug]));
        let output = figures(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for slug in &slugs {
            for end in [".svg", "-dark.svg", ".txt"] {
                let name = format!("{slug}{end}");
                let drawn = fs::read_to_string(out.path().join(&name)).unwrap();
                if update {
                    fs::write(folder_of.join(&name), &drawn).unwrap();
                }
                let shown = fs::read_to_string(folder_of.join(&name)).unwrap_or_default();
                assert!(
                    shown == drawn,
                    "docs/figures/{sweep}/{name} is not what `wninit figures` draws; update it with \
                     UPDATE_FIGURES=1 cargo test --profile checked --test light figures::"
                );
                compared += 1;
            }
        }
    }
    assert!(compared >= 4, "the README has two pictures, in light and dark");
}
