//! The report's charts, as SVG.
//!
//! A chart is a panel 360 units wide, which is a phone's width, with text of 11 and 12 units: it
//! is never scaled down. Colours are CSS variables that the page sets for light, dark and paper; the
//! palette is that of Okabe & Ito (2008), and an arm is told from the others by its dashes and its
//! marker as well.

use std::fmt::Write;

use super::markup::{escape, px};
use wninit_core::table::significant;

/// Units from side to side.
const WIDTH: f64 = 360.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 26.0;
const PLOT: f64 = 190.0;
const BOTTOM: f64 = 42.0;

/// Colours of the palette, `--c0` and so on; after as many arms they repeat, with other dashes.
pub const COLOURS: usize = 8;

const DASHES: [&str; 5] = ["", "6 3", "2 3", "9 3 2 3", "12 4"];
const MARKERS: usize = 7;

/// How an arm looks, everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look(pub usize);

impl Look {
    /// `var(--c…)`.
    pub fn colour(self) -> String {
        format!("var(--c{})", self.0 % COLOURS)
    }

    fn dashes(self) -> String {
        match DASHES[self.0 % DASHES.len()] {
            "" => String::new(),
            dashes => format!(" stroke-dasharray=\"{dashes}\""),
        }
    }

    /// The arm's marker around a point.
    pub fn marker(self, x: f64, y: f64, r: f64) -> String {
        let at = |dx: f64, dy: f64| format!("{} {}", px(x + dx * r), px(y + dy * r));
        let shape = |points: &[(f64, f64)]| {
            let points: Vec<String> = points.iter().map(|&(dx, dy)| at(dx, dy)).collect();
            format!("<path d=\"M{}Z\" fill=\"{}\"/>", points.join("L"), self.colour())
        };
        let hollow = |shape: String| {
            let fill = format!("fill=\"{}\"", self.colour());
            let open =
                format!("fill=\"var(--paper)\" stroke=\"{}\" stroke-width=\"1.6\"", self.colour());
            shape.replace(&fill, &open)
        };
        let disc = || {
            format!(
                "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{}\"/>",
                px(x),
                px(y),
                px(r),
                self.colour()
            )
        };
        let square = || shape(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]);
        let diamond = || shape(&[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)]);
        match self.0 % MARKERS {
            0 => disc(),
            1 => square(),
            2 => shape(&[(0.0, -1.2), (1.15, 0.9), (-1.15, 0.9)]),
            3 => diamond(),
            4 => hollow(disc()),
            5 => hollow(square()),
            _ => hollow(diamond()),
        }
    }

    /// The arm's line and marker, for a legend.
    pub fn swatch(self) -> String {
        format!(
            "<svg class=\"swatch\" viewBox=\"0 0 36 12\" aria-hidden=\"true\"><path d=\"M1 6H35\" fill=\"none\" \
             stroke=\"{}\" stroke-width=\"2\"{}/>{}</svg>",
            self.colour(),
            self.dashes(),
            self.marker(18.0, 6.0, 4.0)
        )
    }
}

/// How numbers become places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// Evenly.
    Linear(f64, f64),
    /// By their logarithms; both ends are positive.
    Log(f64, f64),
}

impl Scale {
    /// The least scale for the numbers: logarithmic if they are positive and span more than a
    /// factor of ten.
    pub fn over(values: impl Iterator<Item = f64> + Clone) -> Scale {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        match (low, high) {
            (low, high) if low > high => Scale::Linear(0.0, 1.0),
            (low, high) if low > 0.0 && high / low > 10.0 => Scale::Log(low, high),
            (low, high) if low < high => Scale::Linear(low, high),
            (low, _) => Scale::Linear(low - 0.5, low + 0.5),
        }
    }

    /// Where the number lies between the ends, 0 to 1 if it does.
    fn share(self, x: f64) -> f64 {
        match self {
            Scale::Linear(low, high) => (x - low) / (high - low),
            Scale::Log(low, high) => (x / low).ln() / (high / low).ln(),
        }
    }

    /// Round numbers within the scale.
    pub fn ticks(self) -> Vec<f64> {
        match self {
            Scale::Linear(low, high) => {
                let rough = (high - low) / 5.0;
                let power = 10_f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0]
                    .map(|m| m * power)
                    .into_iter()
                    .find(|step| *step >= rough * 0.999)
                    .unwrap_or(rough);
                let first = (low / step - 1e-9).ceil() as i64;
                (first..)
                    .map(|i| i as f64 * step)
                    .take_while(|x| *x <= high + step * 1e-9)
                    .take(50)
                    .collect()
            }
            Scale::Log(low, high) => {
                let (from, to) = (low.log10().floor() as i32, high.log10().ceil() as i32);
                (from..=to)
                    .map(|p| 10_f64.powi(p))
                    .filter(|x| (low * 0.999..=high * 1.001).contains(x))
                    .collect()
            }
        }
    }
}

/// One axis of a chart.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it is, with its unit.
    pub label: String,
    /// Its scale.
    pub scale: Scale,
    /// Where numbers stand beside it.
    pub ticks: Vec<f64>,
}

impl Axis {
    /// An axis with round numbers.
    pub fn new(label: impl Into<String>, scale: Scale) -> Axis {
        Axis { label: label.into(), scale, ticks: scale.ticks() }
    }

    /// An axis with these numbers.
    pub fn with_ticks(label: impl Into<String>, scale: Scale, ticks: Vec<f64>) -> Axis {
        Axis { label: label.into(), scale, ticks }
    }

    /// An axis for what is counted: only whole numbers stand beside it.
    pub fn whole(label: impl Into<String>, low: f64, high: f64) -> Axis {
        let scale = Scale::Linear(low, high);
        let mut ticks = scale.ticks();
        ticks.retain(|x| (x - x.round()).abs() < 1e-6);
        Axis::with_ticks(label, scale, ticks)
    }

    /// An axis for a fraction, 0 to 1.
    pub fn fraction(label: impl Into<String>) -> Axis {
        Axis::new(label, Scale::Linear(0.0, 1.0))
    }

    /// An axis for fractions that are at most `most`: from 0 to the next fifth.
    pub fn fraction_to(label: impl Into<String>, most: f64) -> Axis {
        let fifths = (most * 5.0 - 1e-9).ceil().clamp(1.0, 5.0);
        Axis::new(label, Scale::Linear(0.0, fifths / 5.0))
    }
}

/// A point with its interval.
#[derive(Clone, Debug)]
pub struct Point {
    /// Its place on the horizontal axis.
    pub x: f64,
    /// Its place on the vertical axis.
    pub y: f64,
    /// The interval around `y`.
    pub interval: Option<(f64, f64)>,
    /// What it says when pointed at; nothing if empty.
    pub says: String,
}

/// The points of one arm.
#[derive(Clone, Debug)]
pub struct Series {
    /// How it looks.
    pub look: Look,
    /// What it is.
    pub name: String,
    /// Its points, by `x`.
    pub points: Vec<Point>,
}

/// How the points of a [`Lines`] are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawing {
    /// Lines with markers; intervals are bars.
    Markers,
    /// Lines; intervals are bands.
    Bands,
    /// Steps; a value holds until the next.
    Steps,
}

/// Numbers over numbers.
#[derive(Clone, Debug)]
pub struct Lines {
    /// Above the chart.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// A horizontal line with a word on it, where one means something.
    pub rule: Option<(f64, &'static str)>,
    /// The lines.
    pub series: Vec<Series>,
    /// How they are drawn.
    pub drawing: Drawing,
}

impl Lines {
    /// The chart.
    pub fn svg(&self) -> String {
        let inner = WIDTH - LEFT - RIGHT;
        // Room beside the first and the last point for neighbours that stand side by side.
        let pad = if self.drawing == Drawing::Markers { 12.0 } else { 0.0 };
        let at_x = |x: f64| LEFT + pad + self.x.scale.share(x) * (inner - 2.0 * pad);
        let at_y = |y: f64| TOP + PLOT * (1.0 - self.y.scale.share(y).clamp(0.0, 1.0));
        let mut body = String::new();
        frame(&mut body, &self.x, &self.y, &at_x, &at_y);
        if let Some((y, _)) = self.rule {
            let ends = (px(LEFT), px(WIDTH - RIGHT));
            let _ =
                write!(body, "<path class=\"rule\" d=\"M{} {}H{}\"/>", ends.0, px(at_y(y)), ends.1);
        }
        let middle = (self.series.len() as f64 - 1.0) / 2.0;
        for (i, series) in self.series.iter().enumerate() {
            let shift = if self.drawing == Drawing::Markers {
                ((i as f64 - middle) * 4.0).clamp(-10.0, 10.0)
            } else {
                0.0
            };
            let place: Vec<(f64, f64)> =
                series.points.iter().map(|p| (at_x(p.x) + shift, at_y(p.y))).collect();
            let colour = series.look.colour();
            let _ = write!(body, "<g><title>{}</title>", escape(&series.name));
            if self.drawing != Drawing::Markers {
                band(&mut body, series, &at_x, &at_y, self.drawing);
            }
            let mut path = String::new();
            for (k, &(x, y)) in place.iter().enumerate() {
                let _ = match (k, self.drawing) {
                    (0, _) => write!(path, "M{} {}", px(x), px(y)),
                    (_, Drawing::Steps) => write!(path, "H{}V{}", px(x), px(y)),
                    _ => write!(path, "L{} {}", px(x), px(y)),
                };
            }
            if place.len() > 1 {
                let _ = write!(
                    body,
                    "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"{}/>",
                    series.look.dashes()
                );
            }
            for (k, (point, &(x, y))) in series.points.iter().zip(&place).enumerate() {
                if self.drawing == Drawing::Markers
                    && let Some((low, high)) = point.interval
                {
                    let _ = write!(
                        body,
                        "<path class=\"bar\" d=\"M{} {}V{}\" stroke=\"{colour}\"/>",
                        px(x),
                        px(at_y(low)),
                        px(at_y(high)),
                    );
                }
                // Without a marker of its own, a line has one here and there.
                let every = (place.len() / 4).max(1);
                let marked = match self.drawing {
                    Drawing::Markers => true,
                    _ => (k + i * every / self.series.len().max(1)).is_multiple_of(every),
                };
                if marked {
                    let r = if self.drawing == Drawing::Markers { 3.6 } else { 3.0 };
                    let marker = series.look.marker(x, y, r);
                    if point.says.is_empty() {
                        body += &marker;
                    } else {
                        let _ =
                            write!(body, "<g><title>{}</title>{marker}</g>", escape(&point.says));
                    }
                }
            }
            body += "</g>";
        }
        if let Some((y, word)) = self.rule {
            // Curves begin at a guess, and end there where they are over depth or rate.
            let (x, anchor) = match self.drawing {
                Drawing::Markers => (LEFT + 3.0, "start"),
                _ => (WIDTH - RIGHT - 2.0, "end"),
            };
            let _ = write!(
                body,
                "<text class=\"small halo\" x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
                px(x),
                px(at_y(y) + 13.0),
                escape(word),
            );
        }
        svg(&self.title, TOP + PLOT + BOTTOM, &body)
    }
}

fn band(
    body: &mut String,
    series: &Series,
    at_x: &dyn Fn(f64) -> f64,
    at_y: &dyn Fn(f64) -> f64,
    drawing: Drawing,
) {
    let ends: Vec<(f64, f64, f64)> = series
        .points
        .iter()
        .filter_map(|p| p.interval.map(|(low, high)| (at_x(p.x), at_y(low), at_y(high))))
        .collect();
    if ends.len() < 2 {
        return;
    }
    let mut path = String::new();
    for (k, (x, _, high)) in ends.iter().enumerate() {
        let _ = match (k, drawing) {
            (0, _) => write!(path, "M{} {}", px(*x), px(*high)),
            (_, Drawing::Steps) => write!(path, "H{}V{}", px(*x), px(*high)),
            _ => write!(path, "L{} {}", px(*x), px(*high)),
        };
    }
    for (k, (x, low, _)) in ends.iter().enumerate().rev() {
        let _ = match drawing {
            Drawing::Steps if k + 1 < ends.len() => write!(path, "V{}H{}", px(*low), px(*x)),
            _ => write!(path, "L{} {}", px(*x), px(*low)),
        };
    }
    let _ =
        write!(body, "<path d=\"{path}Z\" fill=\"{}\" opacity=\"0.16\"/>", series.look.colour());
}

/// Grid lines, the numbers beside them, and the axes' labels.
fn frame(
    body: &mut String,
    x: &Axis,
    y: &Axis,
    at_x: &dyn Fn(f64) -> f64,
    at_y: &dyn Fn(f64) -> f64,
) {
    for &tick in &y.ticks {
        let _ = write!(
            body,
            "<path class=\"grid\" d=\"M{} {y}H{}\"/><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            px(LEFT),
            px(WIDTH - RIGHT),
            px(LEFT - 5.0),
            px(at_y(tick) + 4.0),
            tick_label(tick),
            y = px(at_y(tick)),
        );
    }
    let mut free_from = f64::NEG_INFINITY;
    for &tick in &x.ticks {
        let (at, label) = (at_x(tick), tick_label(tick));
        let half = label.len() as f64 * 3.3;
        let _ = write!(body, "<path class=\"tick\" d=\"M{} {}v4\"/>", px(at), px(TOP + PLOT));
        if at - half < free_from || at + half > WIDTH {
            continue; // it would run into its neighbour
        }
        free_from = at + half + 3.0;
        let _ = write!(
            body,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
            px(at),
            px(TOP + PLOT + 16.0),
        );
    }
    let _ = write!(
        body,
        "<path class=\"axis\" d=\"M{l} {t}V{b}H{r}\"/>\
         <text x=\"{m}\" y=\"{u}\" text-anchor=\"middle\">{x}</text>\
         <text x=\"{l}\" y=\"{s}\" class=\"small\" dx=\"-40\">{y}</text>",
        l = px(LEFT),
        t = px(TOP),
        b = px(TOP + PLOT),
        r = px(WIDTH - RIGHT),
        m = px(LEFT + (WIDTH - LEFT - RIGHT) / 2.0),
        u = px(TOP + PLOT + 34.0),
        s = px(TOP - 8.0),
        x = escape(&x.label),
        y = escape(&y.label),
    );
}

/// Attributes that keep a heading within the chart.
fn fitting(text: &str) -> String {
    let room = WIDTH - 12.0;
    if text.chars().count() as f64 * 7.2 > room {
        format!(" textLength=\"{}\" lengthAdjust=\"spacingAndGlyphs\"", px(room))
    } else {
        String::new()
    }
}

fn tick_label(x: f64) -> String {
    // Powers of ten that take too much room are short.
    match x.abs().log10() {
        power if power.fract() == 0.0 && !(-4.0..6.0).contains(&power) => format!("{x:e}"),
        _ => significant(x, 4),
    }
}

/// A chart, with a title above it. `height` leaves out the title's line.
fn svg(title: &str, height: f64, body: &str) -> String {
    let (head, move_down) = if title.is_empty() {
        (String::new(), 0.0)
    } else {
        let head = format!(
            "<text class=\"title\" x=\"6\" y=\"13\"{}>{}</text>",
            fitting(title),
            escape(title)
        );
        (head, 16.0)
    };
    let height = height + move_down;
    format!(
        "<svg class=\"chart\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">{head}<g transform=\"translate(0 {})\">{body}</g></svg>",
        px(WIDTH),
        px(height),
        escape(if title.is_empty() { "chart" } else { title }),
        px(move_down),
    )
}

/// A coloured table of numbers.
#[derive(Clone, Debug)]
pub struct Heat {
    /// Above it.
    pub title: String,
    /// What the columns are.
    pub x_label: String,
    /// What the rows are.
    pub y_label: String,
    /// The columns' words.
    pub columns: Vec<String>,
    /// The rows' words, from the bottom.
    pub rows: Vec<String>,
    /// By row, then by column.
    pub squares: Vec<Vec<Option<Square>>>,
}

/// A field of a [`Heat`].
#[derive(Clone, Debug)]
pub struct Square {
    /// Its colour, 0 to 1; none for a field without one.
    pub value: Option<f64>,
    /// The word in it.
    pub word: String,
    /// Whether it has a frame.
    pub framed: bool,
    /// What it says when pointed at.
    pub says: String,
}

impl Heat {
    /// The chart.
    pub fn svg(&self) -> String {
        let left =
            8.0 + 6.6 * self.rows.iter().map(|r| r.chars().count()).max().unwrap_or(1) as f64;
        let left = left.clamp(30.0, 90.0);
        let wide = ((WIDTH - left - 8.0) / self.columns.len().max(1) as f64).min(60.0);
        let high = 26.0;
        let top = 16.0;
        let mut body =
            format!("<text class=\"small\" x=\"6\" y=\"10\">{}</text>", escape(&self.y_label));
        let n = self.rows.len();
        // Words that would run into each other: every second one, every third, …
        let longest = self.columns.iter().map(|c| c.chars().count()).max().unwrap_or(1);
        let every = ((longest as f64 * 6.6 + 3.0) / wide).ceil().max(1.0) as usize;
        for (row, (name, squares)) in self.rows.iter().zip(&self.squares).enumerate() {
            let y = top + (n - 1 - row) as f64 * high;
            let _ = write!(
                body,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
                px(left - 5.0),
                px(y + high / 2.0 + 4.0),
                escape(name),
            );
            for (column, square) in squares.iter().enumerate() {
                square_svg(&mut body, square.as_ref(), left + column as f64 * wide, y, wide, high);
            }
        }
        let base = top + n as f64 * high;
        for (column, name) in self.columns.iter().enumerate().filter(|(i, _)| i % every == 0) {
            let _ = write!(
                body,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                px(left + (column as f64 + 0.5) * wide),
                px(base + 15.0),
                escape(name),
            );
        }
        let _ = write!(
            body,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            px(left + wide * self.columns.len() as f64 / 2.0),
            px(base + 32.0),
            escape(&self.x_label),
        );
        svg(&self.title, base + 38.0, &body)
    }
}

fn square_svg(body: &mut String, square: Option<&Square>, x: f64, y: f64, wide: f64, high: f64) {
    let Some(square) = square else {
        return; // no such job in the plan
    };
    let (class, fill, ink) = match square.value {
        Some(value) => {
            let [r, g, b] = cividis(value);
            let light = 0.299 * r + 0.587 * g + 0.114 * b > 130.0;
            let fill = format!(" fill=\"rgb({r:.0},{g:.0},{b:.0})\"");
            (
                if square.framed { "square framed" } else { "square" },
                fill,
                if light { "#000" } else { "#fff" },
            )
        }
        None if square.framed => ("square blank framed", String::new(), "var(--no)"),
        None => ("square blank", String::new(), "var(--no)"),
    };
    let inset = if square.framed { 2.0 } else { 0.75 };
    let _ = write!(
        body,
        "<g><title>{}</title><rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"{fill}/>",
        escape(&square.says),
        px(x + inset),
        px(y + inset),
        px((wide - 2.0 * inset).max(0.5)),
        px(high - 2.0 * inset),
    );
    if square.word.chars().count() as f64 * 6.2 <= wide {
        let _ = write!(
            body,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" style=\"fill:{ink}\">{}</text>",
            px(x + wide / 2.0),
            px(y + high / 2.0 + 4.0),
            escape(&square.word),
        );
    }
    *body += "</g>";
}

/// Cividis (Nuñez, Anderton & Renslow 2018) at eight anchors: dark blue to yellow, its lightness
/// even for every kind of colour vision.
pub fn cividis(value: f64) -> [f64; 3] {
    const ANCHORS: [[f64; 3]; 8] = [
        [0.0, 34.0, 78.0],
        [39.0, 62.0, 108.0],
        [77.0, 87.0, 109.0],
        [109.0, 113.0, 117.0],
        [141.0, 139.0, 120.0],
        [178.0, 168.0, 110.0],
        [216.0, 198.0, 91.0],
        [254.0, 232.0, 56.0],
    ];
    let place = value.clamp(0.0, 1.0) * 7.0;
    let i = (place as usize).min(6);
    let t = place - i as f64;
    std::array::from_fn(|k| ANCHORS[i][k] * (1.0 - t) + ANCHORS[i + 1][k] * t)
}

/// The colours of a [`Heat`] with their numbers.
pub fn heat_legend(label: &str) -> String {
    let mut body = String::new();
    for i in 0..20 {
        let [r, g, b] = cividis((f64::from(i) + 0.5) / 20.0);
        let _ = write!(
            body,
            "<rect x=\"{}\" y=\"2\" width=\"8.3\" height=\"10\" fill=\"rgb({r:.0},{g:.0},{b:.0})\"/>",
            20 + i * 8
        );
    }
    format!(
        "<span class=\"key\"><svg class=\"scale\" viewBox=\"0 0 200 14\" role=\"img\" aria-label=\"{label}\">\
         <text x=\"14\" y=\"11\" text-anchor=\"end\">0</text>{body}<text x=\"186\" y=\"11\">1</text></svg>{label}</span>",
        label = escape(label),
    )
}

/// Single runs, a row an arm, in groups.
#[derive(Clone, Debug)]
pub struct Strips {
    /// Above it.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// A vertical line, where one means something.
    pub rule: Option<(f64, &'static str)>,
    /// The groups, from the top: a name and its rows.
    pub groups: Vec<(String, Vec<Strip>)>,
}

/// A row of a [`Strips`].
#[derive(Clone, Debug)]
pub struct Strip {
    /// How it looks.
    pub look: Look,
    /// What it says when pointed at.
    pub says: String,
    /// Its numbers.
    pub values: Vec<f64>,
    /// A bold tick among them.
    pub median: Option<f64>,
}

impl Strips {
    /// The chart.
    pub fn svg(&self) -> String {
        const HEAD: f64 = 17.0;
        const ROW: f64 = 13.0;
        let left = 10.0;
        let at = |x: f64| left + self.x.scale.share(x).clamp(0.0, 1.0) * (WIDTH - left - 16.0);
        let high: f64 =
            self.groups.iter().map(|(_, rows)| HEAD + ROW * rows.len() as f64 + 4.0).sum();
        let high = if self.rule.is_some() { high + 12.0 } else { high };
        let mut body = String::new();
        for &tick in &self.x.ticks {
            let _ = write!(
                body,
                "<path class=\"grid\" d=\"M{x} 0V{h}\"/><text x=\"{x}\" y=\"{t}\" text-anchor=\"middle\">{label}</text>",
                x = px(at(tick)),
                h = px(high),
                t = px(high + 15.0),
                label = tick_label(tick),
            );
        }
        if let Some((x, word)) = self.rule {
            let _ = write!(
                body,
                "<path class=\"rule\" d=\"M{x} 0V{h}\"/><text class=\"small halo\" x=\"{t}\" y=\"{y}\">{word}</text>",
                x = px(at(x)),
                h = px(high),
                t = px(at(x) + 3.0),
                y = px(high - 2.0),
                word = escape(word),
            );
        }
        let mut y = 0.0;
        for (name, rows) in &self.groups {
            let _ = write!(
                body,
                "<text class=\"group halo\" x=\"{}\" y=\"{}\"{}>{}</text>",
                px(left),
                px(y + 12.0),
                fitting(name),
                escape(name)
            );
            y += HEAD;
            for row in rows {
                let middle = y + ROW / 2.0;
                let _ = write!(
                    body,
                    "<g><title>{}</title><path class=\"grid\" d=\"M{} {}H{}\"/>",
                    escape(&row.says),
                    px(left),
                    px(middle),
                    px(WIDTH - 16.0),
                );
                if let Some(median) = row.median {
                    let _ = write!(
                        body,
                        "<path d=\"M{} {}v11\" stroke=\"{}\" stroke-width=\"2.5\"/>",
                        px(at(median)),
                        px(middle - 5.5),
                        row.look.colour(),
                    );
                }
                body += "<g opacity=\"0.75\">";
                for &value in &row.values {
                    body += &row.look.marker(at(value), middle, 3.0);
                }
                body += "</g></g>";
                y += ROW;
            }
            y += 4.0;
        }
        let _ = write!(
            body,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            px(WIDTH / 2.0),
            px(high + 32.0),
            escape(&self.x.label)
        );
        svg(&self.title, high + 38.0, &body)
    }
}

/// What became of runs: a bar an arm.
#[derive(Clone, Debug)]
pub struct Bars {
    /// The bars: a name and the lengths of its parts, one for each of [`PARTS`].
    pub bars: Vec<(Look, String, [usize; 5])>,
}

/// What a planned run may have come to: its word, and its class in the page's style sheet.
pub const PARTS: [(&str, &str); 5] = [
    ("trained", "p-trained"),
    ("at chance", "p-chance"),
    ("diverged", "p-diverged"),
    ("failed", "p-failed"),
    ("missing", "p-missing"),
];

impl Bars {
    /// The chart.
    pub fn svg(&self) -> String {
        const ROW: f64 = 52.0;
        let most = self.bars.iter().map(|(_, _, parts)| parts.iter().sum::<usize>()).max();
        let most = most.unwrap_or(0).max(1) as f64;
        let mut body = String::new();
        for (i, (look, name, parts)) in self.bars.iter().enumerate() {
            let y = i as f64 * ROW;
            let _ = write!(
                body,
                "{}<text class=\"group\" x=\"22\" y=\"{}\">{}</text>",
                look.marker(11.0, y + 8.0, 4.0),
                px(y + 12.0),
                escape(name)
            );
            let mut x = 6.0;
            let mut words = Vec::new();
            for (&n, (word, class)) in parts.iter().zip(PARTS) {
                if n > 0 {
                    let wide = n as f64 / most * (WIDTH - 12.0);
                    let _ = write!(
                        body,
                        "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"14\"><title>{n} {word}</title></rect>",
                        px(x),
                        px(y + 17.0),
                        px((wide - 1.0).max(0.8)),
                    );
                    x += wide;
                    words.push(format!("{n} {word}"));
                }
            }
            let _ = write!(
                body,
                "<text x=\"6\" y=\"{}\">{}</text>",
                px(y + 43.0),
                escape(&words.join(" · "))
            );
        }
        svg("", ROW * self.bars.len() as f64, &body)
    }
}

/// A number with its interval on a line of its own, against what was wanted or published.
#[derive(Clone, Debug)]
pub struct Gauge {
    /// What is told by a screen reader.
    pub says: String,
    /// The axis's label.
    pub label: String,
    /// The estimate.
    pub estimate: Option<f64>,
    /// Its interval.
    pub interval: Option<(f64, f64)>,
    /// A shaded region; an end may be infinite.
    pub wanted: Option<(f64, f64)>,
    /// A hollow diamond.
    pub mark: Option<f64>,
    /// Numbers that the axis must show in any case.
    pub extent: (f64, f64),
}

impl Gauge {
    /// The chart.
    pub fn svg(&self) -> String {
        let shown = [
            self.estimate,
            self.interval.map(|i| i.0),
            self.interval.map(|i| i.1),
            self.wanted.map(|w| w.0).filter(|x| x.is_finite()),
            self.wanted.map(|w| w.1).filter(|x| x.is_finite()),
            self.mark,
        ];
        let mut low = self.extent.0;
        let mut high = self.extent.1;
        for x in shown.into_iter().flatten().filter(|x| x.is_finite()) {
            low = low.min(x);
            high = high.max(x);
        }
        let room = (high - low).max(1e-9) * 0.04;
        let scale = Scale::Linear(low - room, high + room);
        let at = |x: f64| 8.0 + scale.share(x).clamp(0.0, 1.0) * (WIDTH - 16.0);
        let mut body = String::new();
        if let Some((from, to)) = self.wanted {
            let (from, to) = (at(from), at(to));
            let _ = write!(
                body,
                "<rect class=\"wanted\" x=\"{}\" y=\"2\" width=\"{}\" height=\"20\"><title>where the claim holds</title></rect>",
                px(from),
                px((to - from).max(1.0))
            );
        }
        body += "<path class=\"axis\" d=\"M8 22H352\"/>";
        for tick in scale.ticks() {
            let _ = write!(
                body,
                "<path class=\"tick\" d=\"M{x} 22v4\"/><text x=\"{x}\" y=\"37\" text-anchor=\"middle\">{}</text>",
                tick_label(tick),
                x = px(at(tick)),
            );
        }
        if let Some((low, high)) = self.interval {
            let _ =
                write!(body, "<path class=\"ours\" d=\"M{} 12H{}\"/>", px(at(low)), px(at(high)));
        }
        if let Some(estimate) = self.estimate {
            let _ = write!(
                body,
                "<circle class=\"ours\" cx=\"{}\" cy=\"12\" r=\"4.5\"/>",
                px(at(estimate))
            );
        }
        if let Some(mark) = self.mark {
            let x = at(mark);
            let _ = write!(
                body,
                "<path class=\"theirs\" d=\"M{} 12L{x} 5L{} 12L{x} 19Z\"/>",
                px(x - 7.0),
                px(x + 7.0),
                x = px(x)
            );
        }
        let _ = write!(
            body,
            "<text x=\"180\" y=\"52\" text-anchor=\"middle\">{}</text>",
            escape(&self.label)
        );
        let drawn = svg("", 58.0, &body);
        drawn.replacen("aria-label=\"chart\"", &format!("aria-label=\"{}\"", escape(&self.says)), 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_lie_within_the_scale() {
        assert_eq!(Scale::Linear(0.0, 1.0).ticks().len(), 6);
        assert_eq!(Scale::Log(0.003, 2.0).ticks(), [0.01, 0.1, 1.0]);
        for (low, high) in [(-0.3, 0.7), (1e-9, 3e-9), (-1e6, 1e6), (0.98, 0.981)] {
            let ticks = Scale::Linear(low, high).ticks();
            assert!((2..=8).contains(&ticks.len()), "{low} {high}: {ticks:?}");
            assert!(ticks.iter().all(|x| (low - 1e-6..=high + 1e-6).contains(x)));
        }
    }

    #[test]
    fn a_scale_is_logarithmic_where_numbers_span_decades() {
        assert_eq!(Scale::over([2.0, 50.0, 200.0].into_iter()), Scale::Log(2.0, 200.0));
        assert_eq!(Scale::over([2.0, 10.0].into_iter()), Scale::Linear(2.0, 10.0));
        assert_eq!(Scale::over([0.0, 1000.0].into_iter()), Scale::Linear(0.0, 1000.0));
        assert_eq!(Scale::over([7.0].into_iter()), Scale::Linear(6.5, 7.5));
        assert_eq!(Scale::over(std::iter::empty()), Scale::Linear(0.0, 1.0));
    }

    #[test]
    fn no_two_arms_look_alike() {
        let looks: std::collections::HashSet<String> = (0..40).map(|i| Look(i).swatch()).collect();
        assert_eq!(looks.len(), 40);
    }

    #[test]
    fn lighter_is_more() {
        let light = |value| cividis(value).iter().sum::<f64>();
        assert!((0..20).all(|i| light(f64::from(i) / 20.0) < light(f64::from(i + 1) / 20.0)));
    }
}
