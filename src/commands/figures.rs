//! `wninit figures DIR`: the figures of a sweep as files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use clap::ValueEnum;

use super::{signal, summary::Folder};
use crate::report::{Figure, Theme, figures};
use wninit_core::atomic::write_atomically;
use wninit_core::cli::Root;
use wninit_core::console;
use wninit_core::results::{PLAN, SIGNALS, read_epochs};
use wninit_core::usage::usage;

/// Write the figures of a sweep as files, for a paper or a page.
///
/// Each figure becomes NAME.svg (NAME-dark.svg in dark colours), NAME.csv with its data, NAME.txt
/// with its caption and NAME.tex, a LaTeX float. A figure is as wide as its panels, up to three of
/// 360 units; text has 12 units. PDF and PNG files are made by the program wninit-render (`make
/// figures` builds it): their text needs no installed font. DIR may hold the signals of
/// `wninit signals` instead of a sweep.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  wninit figures results/depth
  wninit figures results/depth --only success-by-depth --theme both --out figures
  wninit figures sweeps/depth.toml --format pdf")]
pub struct Args {
    /// The sweep's folder, such as results/depth, or its grid
    #[arg(value_name = "DIR|GRID")]
    pub dir: PathBuf,
    #[command(flatten)]
    pub results: Root,
    /// Where to write them [default: DIR/figures]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// A figure, by the name of its file (repeatable) [default: all]
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// File formats
    #[arg(long, value_enum, value_delimiter = ',', default_value = "svg")]
    pub format: Vec<Format>,
    /// Colours
    #[arg(long, value_enum, default_value = "light")]
    pub theme: Colours,
    /// The initializer that the others are compared with [default: the default gain, else datadep]
    #[arg(long, value_name = "INIT")]
    pub baseline: Option<String>,
}

/// The format of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Scalable, for pages
    Svg,
    /// For LaTeX
    Pdf,
    /// Three pixels a unit, on white (on black in dark colours)
    Png,
}

/// The colours of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Colours {
    /// For a white page
    Light,
    /// For a black page
    Dark,
    /// Two pictures
    Both,
}

impl Colours {
    fn themes(self) -> &'static [(Theme, &'static str)] {
        const ALL: &[(Theme, &str)] = &[(Theme::Light, ""), (Theme::Dark, "-dark")];
        match self {
            Colours::Light => &ALL[..1],
            Colours::Dark => &ALL[1..],
            Colours::Both => ALL,
        }
    }
}

/// Writes the figures and prints the path of each picture.
///
/// # Errors
/// The folder has no results, a figure that is asked for does not exist, or a file cannot be
/// written.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let signals = args.dir.join(SIGNALS).is_file() && !args.dir.join(PLAN).is_file();
    let dir = if signals { args.dir.clone() } else { args.results.folder(&args.dir)? };
    let (name, figures) = match signals {
        true => ("signals".to_owned(), signal::figures_in(&dir)?),
        false => read(&dir, args.baseline.as_deref())?,
    };
    let names: Vec<String> = figures.iter().map(Figure::slug).collect();
    if let Some(unknown) = args.only.iter().find(|only| !names.contains(only)) {
        return Err(usage(format!(
            "{} has no figure \"{unknown}\"; it has {}",
            dir.display(),
            names.join(", ")
        )));
    }
    let formats: BTreeSet<&str> = args.format.iter().filter_map(|format| render(*format)).collect();
    let renderer = (!formats.is_empty()).then(renderer).transpose()?;
    let out = args.out.clone().unwrap_or_else(|| dir.join("figures"));
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let wanted = |name: &String| args.only.is_empty() || args.only.contains(name);
    let mut pictures = Vec::new();
    for (figure, slug) in figures.iter().zip(&names).filter(|(_, name)| wanted(name)) {
        let write = |end: &str, bytes: &[u8]| {
            let path = out.join(format!("{slug}{end}"));
            write_atomically(&path, bytes).map(|()| path)
        };
        for (theme, end) in args.theme.themes() {
            pictures.push(write(&format!("{end}.svg"), figure.svg(*theme).as_bytes())?);
        }
        write(".csv", &figure.data.csv())?;
        write(".txt", format!("{}\n", figure.caption()).as_bytes())?;
        write(".tex", figure.latex(&name).as_bytes())?;
    }
    if let Some(renderer) = renderer {
        rendered(&renderer, &pictures, &formats)?;
    }
    let mut ends: Vec<&str> = formats.into_iter().collect();
    if args.format.contains(&Format::Svg) {
        ends.push("svg");
    } else {
        pictures.iter().try_for_each(fs::remove_file).context("cannot remove an SVG file")?;
    }
    for picture in &pictures {
        for end in &ends {
            console::print(&format!("{}\n", picture.with_extension(end).display()))?;
        }
    }
    Ok(0)
}

/// The sweep's name and figures.
fn read(dir: &Path, baseline: Option<&str>) -> anyhow::Result<(String, Vec<Figure>)> {
    let folder = Folder::read(dir)?;
    let summary = folder.summary(baseline)?;
    Ok((folder.name, figures(&summary, &read_epochs(dir)?, true)))
}

/// The end of the files of a format that `wninit-render` makes.
fn render(format: Format) -> Option<&'static str> {
    match format {
        Format::Svg => None,
        Format::Pdf => Some("pdf"),
        Format::Png => Some("png"),
    }
}

/// The program that renders.
fn renderer() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("cannot find this program's own file")?;
    let program = this.with_file_name("wninit-render");
    if !program.is_file() {
        return Err(usage(format!(
            "PDF and PNG need the program {}; build it with `make figures`, or write SVG only",
            program.display()
        )));
    }
    Ok(program)
}

/// Has the renderer make a file of each format beside each picture.
fn rendered(program: &Path, pictures: &[PathBuf], formats: &BTreeSet<&str>) -> anyhow::Result<()> {
    let status = Command::new(program).args(formats).arg("--").args(pictures).status();
    match status.with_context(|| format!("cannot start {}", program.display()))? {
        status if status.success() => Ok(()),
        status => bail!("{} failed ({status})", program.display()),
    }
}
