//! `wninit signal`: a page and a table of the signals that `wninit-torch` measured.

use std::f64::consts::{E, SQRT_2};

use anyhow::Context;
use wninit_core::cli::Written;
use wninit_core::cli::signal::Args;
use wninit_core::console::print;
use wninit_core::results::{SIGNALS, write_atomically};
use wninit_core::table::{Column, Display, Style, significant};
use wninit_stats::estimates;

use crate::report::signal::{Arm, Net as Figure, Spread, signal_page};

/// What the theory says of a network with the proposed gain.
#[derive(Clone, Copy, PartialEq)]
enum Theory {
    /// Both ratios stay near 1.
    Level,
    /// Both grow to somewhere between √2 and √e.
    Bounded,
    /// Nothing that could be held against these numbers.
    None,
}

impl Theory {
    /// Of the kind of network with which a network's name begins; `residual` is a synthetic one.
    fn of(net: &str) -> Theory {
        match net.split(' ').next() {
            Some("mlp") => Theory::Level,
            Some("residual") => Theory::Bounded,
            _ => Theory::None,
        }
    }

    /// Where a mean over seeds may lie. The theorems are about expectations in wide networks: a
    /// network of 20 layers of some 200 units strays by a third in one draw, and ten seeds by a
    /// tenth; residual networks by a few per cent.
    fn bounds(self) -> Option<(f64, f64)> {
        match self {
            Theory::Level => Some((2.0 / 3.0, 1.5)),
            Theory::Bounded => Some((SQRT_2 * 0.95, E.sqrt() * 1.05)),
            Theory::None => None,
        }
    }
}

/// The network of one seed.
struct Measured {
    net: String,
    init: String,
    layers: Vec<LayerSignal>,
}

/// The ratios of a layer; infinite where they were not finite.
struct LayerSignal {
    forward_ratio: f64,
    backward_ratio: f64,
}

/// Makes `signal.html` beside `signal.csv`, and prints a table.
///
/// # Errors
/// `signal.csv` cannot be read, or the page not be written.
pub(super) fn show(args: &Args, written: &Written) -> anyhow::Result<u8> {
    let path = written.dir.join(SIGNALS);
    let unreadable = || format!("cannot read {}", path.display());
    let csv = std::fs::read(&path).with_context(unreadable)?;
    let measured = read(&csv).with_context(unreadable)?;
    let (title, about) = match &args.grid {
        Some(grid) => {
            (format!("{}: signals at initialization", args.overrides.load(grid)?.name), GRID)
        }
        None => ("Signals at initialization".to_owned(), SYNTHETIC),
    };
    let page = written.dir.join("signal.html");
    let html = signal_page(&title, about, &figures(&measured), &csv);
    write_atomically(&page, html.as_bytes())?;
    let shown = table(&measured).text(STYLE);
    print(&format!("{shown}{}\n", page.display()))?;
    Ok(written.code)
}

/// What the page says of the synthetic networks.
const SYNTHETIC: &str = "Norms by layer at initialization: the synthetic networks of Fig. 1 of Arpit, Campos \
                 & Bengio (2019). In theory the proposed gain keeps them near 1 in an MLP, and within \
                 √2 and √e in a residual network.";

/// What the page says of a grid's networks.
const GRID: &str = "Norms by layer, of the networks from which the grid's jobs start, on one mini-batch of \
                 training images each.";

/// The networks of a `signal.csv`, whose rows follow each other layer by layer.
fn read(csv: &[u8]) -> anyhow::Result<Vec<Measured>> {
    let mut reader = csv::Reader::from_reader(csv);
    let columns = reader.headers()?.clone();
    let mut measured: Vec<Measured> = Vec::new();
    for row in reader.records() {
        let row = row?;
        let cell = |name: &str| {
            let column = columns.iter().position(|column| column == name);
            column.and_then(|column| row.get(column)).with_context(|| format!("no column {name}"))
        };
        let number = |name| match cell(name)? {
            "" => Ok(f64::INFINITY),
            text => text.parse::<f64>().with_context(|| format!("{name} is {text:?}")),
        };
        let layer = LayerSignal {
            forward_ratio: number("forward_ratio")?,
            backward_ratio: number("backward_ratio")?,
        };
        match measured.last_mut() {
            Some(run) if cell("layer")? != "0" => run.layers.push(layer),
            _ => measured.push(Measured {
                net: cell("net")?.to_owned(),
                init: cell("init")?.to_owned(),
                layers: vec![layer],
            }),
        }
    }
    Ok(measured)
}

/// The initializers of a network, with the runs of their seeds.
type ByInit<'a> = Vec<(&'a str, Vec<&'a Measured>)>;

/// Networks and initializers in the order in which they first appear, with their seeds' runs.
fn groups(measured: &[Measured]) -> Vec<(&str, ByInit<'_>)> {
    let mut nets: Vec<(&str, ByInit)> = Vec::new();
    for run in measured {
        let net = place(&mut nets, &run.net);
        place(net, &run.init).push(run);
    }
    nets
}

/// The entry of a name, made if there is none.
fn place<'m, 'a, T: Default>(entries: &'m mut Vec<(&'a str, T)>, name: &'a str) -> &'m mut T {
    let found = entries.iter().position(|(other, _)| *other == name);
    let at = found.unwrap_or_else(|| {
        entries.push((name, T::default()));
        entries.len() - 1
    });
    &mut entries[at].1
}

fn figures(measured: &[Measured]) -> Vec<Figure> {
    let mut looks: Vec<&str> = Vec::new();
    for run in measured {
        if !looks.contains(&run.init.as_str()) {
            looks.push(&run.init);
        }
    }
    groups(measured)
        .into_iter()
        .map(|(net, inits)| Figure {
            name: net.to_owned(),
            arms: inits
                .into_iter()
                .map(|(init, runs)| {
                    let layers = runs.iter().map(|run| run.layers.len()).min().unwrap_or(0);
                    let by_layer = |value: fn(&LayerSignal) -> f64| {
                        let spread = |l: usize| {
                            let values: Vec<f64> =
                                runs.iter().map(|run| value(&run.layers[l])).collect();
                            Spread::of(&values)
                        };
                        (0..layers).map(spread).collect()
                    };
                    Arm {
                        init: init.to_owned(),
                        look: looks.iter().position(|other| *other == init).unwrap_or(0),
                        forward: by_layer(|layer| layer.forward_ratio),
                        backward: by_layer(|layer| layer.backward_ratio),
                    }
                })
                .collect(),
        })
        .collect()
}

const STYLE: Style = Style { width: 80, colour: false };

fn number(x: Option<f64>) -> String {
    match x {
        Some(x) if x.is_finite() && x != 0.0 && !(1e-3..1e4).contains(&x) => format!("{x:.1e}"),
        Some(x) if x.is_finite() => significant(x, 3),
        _ => "–".to_owned(),
    }
}

/// A row a network and initializer: means over seeds.
fn table(measured: &[Measured]) -> Display {
    let mut rows = Vec::new();
    for (net, inits) in groups(measured) {
        for (init, runs) in inits {
            let mean = |value: &dyn Fn(&Measured) -> Option<f64>| {
                estimates::mean(&runs.iter().filter_map(|run| value(run)).collect::<Vec<_>>())
            };
            let forward = |run: &Measured| -> Vec<f64> {
                run.layers.iter().skip(1).map(|layer| layer.forward_ratio).collect()
            };
            let last = mean(&|run| forward(run).last().copied());
            let low = mean(&|run| forward(run).into_iter().reduce(f64::min));
            let high = mean(&|run| forward(run).into_iter().reduce(f64::max));
            let back = mean(&|run| run.layers.get(1).map(|layer| layer.backward_ratio));
            let theory = Theory::of(net);
            let verdict = match (theory.bounds(), last, back) {
                (Some((low, high)), Some(last), Some(back)) => {
                    let inside = |x: f64| (low..=high).contains(&x);
                    if inside(last) && inside(back) { "yes" } else { "no" }
                }
                _ => "–",
            };
            rows.push(vec![
                net.to_owned(),
                init.to_owned(),
                runs.len().to_string(),
                number(last),
                number(low),
                number(high),
                number(back),
                verdict.to_owned(),
            ]);
        }
    }
    Display {
        title: String::new(),
        columns: vec![
            Column::new("net"),
            Column::new("init"),
            Column::number("n"),
            Column::number("last"),
            Column::number("min"),
            Column::number("max"),
            Column::number("backward"),
            Column::new("in bounds").or("bounds"),
        ],
        keys: 2,
        rows,
    }
}
