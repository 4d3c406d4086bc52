//! `wninit-render` makes PDF and PNG files of SVG figures, for `wninit figures --format pdf,png`.
//!
//! It is a program of its own, and not a part of the first build, because the libraries that draw
//! take as long to compile as a third of all others. Text is set in its own fonts, which PDF files
//! contain, so that a picture is the same on every machine. They have Latin, Greek and mathematical
//! characters.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use clap::{Parser, ValueEnum};
use resvg::tiny_skia::{Color, Pixmap, Transform};
use resvg::usvg::{FontResolver, FontSelectionFn, Options, Tree, fontdb};

/// Make PDF and PNG files of SVG figures, beside them.
#[derive(Parser)]
#[command(name = "wninit-render", version)]
struct Cli {
    /// The formats
    #[arg(required = true, value_enum)]
    formats: Vec<Format>,
    /// The figures
    #[arg(required = true, last = true, value_name = "FILE.svg")]
    figures: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Pdf,
    Png,
}

/// Pixels of a PNG file for each unit of its figure.
const SCALE: f32 = 3.0;

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    cli.figures.iter().try_for_each(|figure| render(figure, &cli.formats))
}

fn render(figure: &Path, formats: &[Format]) -> anyhow::Result<()> {
    let read = || format!("cannot read {}", figure.display());
    let text = fs::read_to_string(figure).with_context(read)?;
    let tree = Tree::from_str(&text, &options()).with_context(read)?;
    for format in formats {
        let (end, bytes) = match format {
            Format::Pdf => ("pdf", pdf(&tree)?),
            Format::Png => ("png", png(&tree, background(figure))?),
        };
        write(&figure.with_extension(end), &bytes)?;
    }
    Ok(())
}

/// Writes a file as a whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut part = path.to_owned().into_os_string();
    part.push(".part");
    let written = fs::write(&part, bytes).and_then(|()| fs::rename(&part, path));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// All of a figure's font families stand for our own fonts.
fn options() -> Options<'static> {
    let mut fonts = fontdb::Database::new();
    fonts.load_font_data(include_bytes!("fonts/DejaVuSans.ttf").to_vec());
    fonts.load_font_data(include_bytes!("fonts/DejaVuSans-Bold.ttf").to_vec());
    let select_font: FontSelectionFn = Box::new(|font, fonts| {
        let weight = fontdb::Weight(font.weight());
        let families = &[fontdb::Family::Name("DejaVu Sans")];
        fonts.query(&fontdb::Query { families, weight, ..fontdb::Query::default() })
    });
    let font_resolver = FontResolver { select_font, ..FontResolver::default() };
    Options { fontdb: Arc::new(fonts), font_resolver, ..Options::default() }
}

fn pdf(tree: &Tree) -> anyhow::Result<Vec<u8>> {
    let (conversion, page) =
        (svg2pdf::ConversionOptions::default(), svg2pdf::PageOptions::default());
    svg2pdf::to_pdf(tree, conversion, page).map_err(|error| anyhow!("cannot make a PDF: {error}"))
}

fn png(tree: &Tree, background: Color) -> anyhow::Result<Vec<u8>> {
    let size = tree.size().to_int_size().scale_by(SCALE).context("the figure is too large")?;
    let mut pixels = Pixmap::new(size.width(), size.height()).context("the figure is too large")?;
    pixels.fill(background);
    resvg::render(tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().context("cannot make a PNG")
}

/// The page that a figure's colours are made for, by the end of its name.
fn background(figure: &Path) -> Color {
    let stem = figure.file_stem().unwrap_or_default().to_string_lossy();
    if stem.ends_with("-dark") { Color::BLACK } else { Color::WHITE }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const FIGURE: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" width="60" height="20" viewBox="0 0 60 20">
        <style>text { font-family: Helvetica, sans-serif; font-size: 12px } .b { font-weight: bold }</style>
        <text x="2" y="14" fill="#c00000">Aτ</text><text class="b" x="30" y="14" fill="#0000c0">B</text></svg>"##;

    #[test]
    fn text_needs_no_installed_font_and_stays_text_in_a_pdf() {
        let folder = tempfile::tempdir().unwrap();
        let figure = folder.path().join("a.svg");
        fs::write(&figure, FIGURE).unwrap();
        render(&figure, &[Format::Pdf, Format::Png]).unwrap();
        let pdf = fs::read(folder.path().join("a.pdf")).unwrap();
        let has = |word: &str| pdf.windows(word.len()).any(|window| window == word.as_bytes());
        assert!(pdf.starts_with(b"%PDF-"));
        assert!(has("DejaVuSans") && has("DejaVuSans-Bold"), "both fonts are in the file");
        let pixels = Pixmap::load_png(folder.path().join("a.png")).unwrap();
        assert_eq!((pixels.width(), pixels.height()), (180, 60));
        let count = |of: fn(u8, u8, u8) -> bool| {
            pixels.pixels().iter().filter(|p| of(p.red(), p.green(), p.blue())).count()
        };
        assert!(count(|r, g, b| r > 150 && g < 60 && b < 60) > 100, "the red letters");
        assert!(count(|r, g, b| b > 150 && g < 60 && r < 60) > 100, "the blue one");
        assert_eq!(pixels.pixel(0, 0).unwrap().red(), 255, "on white");
    }

    #[test]
    fn a_file_that_is_no_figure_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let figure = folder.path().join("b.svg");
        let message = format!("{:#}", render(&figure, &[Format::Pdf]).unwrap_err());
        assert!(message.contains("b.svg"), "{message}");
        fs::write(&figure, "<svg").unwrap();
        assert!(render(&figure, &[Format::Pdf]).is_err());
    }
}
