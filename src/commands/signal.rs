//! `wninit signals`: a page and a table of the signals that `wninit-torch` measured.

use std::f64::consts::{E, SQRT_2};
use std::path::Path;

use wninit_core::atomic::write_atomically;
use wninit_core::cli::signal::Args;
use wninit_core::cli::{Root, Written};
use wninit_core::console::print;
use wninit_core::fmt::significant;
use wninit_core::results::{SIGNALS, Signal, read_signals, signals_csv};
use wninit_core::text_table::{Heading, Style, TextTable};
use wninit_stats::describe;

use crate::report::Figure;
use crate::report::signal::{self, InitSignals, NetSignals, Spread, signal_page};

/// The range in which theory puts the mean over seeds of both ratios of a network with the proposed
/// gain: near 1 in an MLP, between √2 and √e in a synthetic residual network. The theorems are
/// about expectations in wide networks: a network of 20 layers of some 200 units deviates by a
/// third in one draw, the mean of ten seeds by a tenth; residual networks deviate by a few per
/// cent.
fn bounds(net: &str) -> Option<(f64, f64)> {
    match net.split(' ').next() {
        Some("mlp") => Some((2.0 / 3.0, 1.5)),
        Some("residual") => Some((SQRT_2 * 0.95, E.sqrt() * 1.05)),
        _ => None,
    }
}

/// The network of one seed: its layers.
type Network = [Signal];

/// Makes `signal.html` beside `signal.csv`, and prints a table.
///
/// # Errors
/// `signal.csv` cannot be read, or the page cannot be written.
pub(super) fn show(args: &Args, written: &Written) -> anyhow::Result<u8> {
    let path = written.dir.join(SIGNALS);
    let rows = read_signals(&path)?;
    let measured = networks(&rows);
    let (title, about) = match &args.grid {
        Some(grid) => (
            format!(
                "{}: signals at initialization",
                Root::default().grid(grid, &args.overrides)?.0.name
            ),
            GRID,
        ),
        None => ("Signals at initialization".to_owned(), SYNTHETIC),
    };
    let page = written.dir.join("signal.html");
    let html = signal_page(&title, about, &figures(&measured), signals_csv(&rows).as_bytes());
    write_atomically(&page, html.as_bytes())?;
    let shown = table(&measured).text(STYLE);
    print(&format!("{shown}{}\n", page.display()))?;
    Ok(written.code)
}

/// The figures of the signals in a folder.
///
/// # Errors
/// `signal.csv` cannot be read.
pub(super) fn figures_in(dir: &Path) -> anyhow::Result<Vec<Figure>> {
    let rows = read_signals(&dir.join(SIGNALS))?;
    Ok(signal::figures(&figures(&networks(&rows)), true))
}

/// The rows of a network follow each other layer by layer.
fn networks(rows: &[Signal]) -> Vec<&Network> {
    rows.chunk_by(|_, next| next.layer.layer > 0).collect()
}

/// The page's introduction for the synthetic networks.
const SYNTHETIC: &str = "Norms by layer at initialization: the synthetic networks of Fig. 1 of Arpit, Campos \
                 & Bengio (2019). In theory the proposed gain keeps them near 1 in an MLP, and within \
                 √2 and √e in a residual network.";

/// The page's introduction for a grid's networks.
const GRID: &str = "Norms by layer, of the initial networks of the grid's jobs, on one mini-batch of \
                 training images each.";

/// The initializers of a network, with the runs of their seeds.
type ByInit<'a> = Vec<(&'a str, Vec<&'a Network>)>;

/// Networks and initializers in the order in which they first appear, with their seeds' runs.
fn groups<'a>(measured: &[&'a Network]) -> Vec<(&'a str, ByInit<'a>)> {
    let mut nets: Vec<(&str, ByInit)> = Vec::new();
    for &run in measured {
        let net = place(&mut nets, &run[0].network.net);
        place(net, &run[0].network.init).push(run);
    }
    nets
}

/// The entry of a name, created if there is none.
fn place<'m, 'a, T: Default>(entries: &'m mut Vec<(&'a str, T)>, name: &'a str) -> &'m mut T {
    let found = entries.iter().position(|(other, _)| *other == name);
    let at = found.unwrap_or_else(|| {
        entries.push((name, T::default()));
        entries.len() - 1
    });
    &mut entries[at].1
}

fn figures(measured: &[&Network]) -> Vec<NetSignals> {
    let mut looks: Vec<&str> = Vec::new();
    for run in measured {
        if !looks.contains(&run[0].network.init.as_str()) {
            looks.push(&run[0].network.init);
        }
    }
    groups(measured)
        .into_iter()
        .map(|(net, inits)| NetSignals {
            name: net.to_owned(),
            arms: inits
                .into_iter()
                .map(|(init, runs)| {
                    let layers = runs.iter().map(|run| run.len()).min().unwrap_or(0);
                    let by_layer = |value: fn(&Signal) -> f64| {
                        let spread = |l: usize| {
                            let values: Vec<f64> = runs.iter().map(|run| value(&run[l])).collect();
                            Spread::of(&values)
                        };
                        (0..layers).map(spread).collect()
                    };
                    InitSignals {
                        init: init.to_owned(),
                        look: looks.iter().position(|other| *other == init).unwrap_or(0),
                        forward: by_layer(|row| row.layer.forward_ratio),
                        backward: by_layer(|row| row.layer.backward_ratio),
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

/// One row per network and initializer: means over seeds.
fn table(measured: &[&Network]) -> TextTable {
    type Row<'a> = (&'a str, &'a str, Vec<&'a Network>);
    let rows = groups(measured)
        .into_iter()
        .flat_map(|(net, inits)| inits.into_iter().map(move |(init, runs)| (net, init, runs)));
    let mean = |runs: &[&Network], value: fn(&Network) -> Option<f64>| {
        describe::mean(&runs.iter().filter_map(|run| value(run)).collect::<Vec<_>>())
    };
    fn forward(run: &Network) -> impl Iterator<Item = f64> {
        run.iter().skip(1).map(|row| row.layer.forward_ratio)
    }
    let last = |runs: &[&Network]| mean(runs, |run| forward(run).last());
    let back = |runs: &[&Network]| mean(runs, |run| Some(run.get(1)?.layer.backward_ratio));
    let in_bounds = |(net, _, runs): &Row| {
        let ((low, high), last, back) = (bounds(net)?, last(runs)?, back(runs)?);
        let inside = |x: f64| (low..=high).contains(&x);
        Some(if inside(last) && inside(back) { "yes" } else { "no" })
    };
    let columns = vec![
        Heading::new("net").cell(|(net, ..): &Row| (*net).to_owned()),
        Heading::new("init").cell(|(_, init, _): &Row| (*init).to_owned()),
        Heading::number("n").cell(|(.., runs): &Row| runs.len().to_string()),
        Heading::number("last").cell(|(.., runs): &Row| number(last(runs))),
        Heading::number("min")
            .cell(|(.., runs): &Row| number(mean(runs, |run| forward(run).reduce(f64::min)))),
        Heading::number("max")
            .cell(|(.., runs): &Row| number(mean(runs, |run| forward(run).reduce(f64::max)))),
        Heading::number("backward").cell(|(.., runs): &Row| number(back(runs))),
        Heading::new("in bounds")
            .or("bounds")
            .cell(|row: &Row| in_bounds(row).unwrap_or("–").to_owned()),
    ];
    TextTable::new("", 2, columns, rows)
}
