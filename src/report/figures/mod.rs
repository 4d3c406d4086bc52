//! The report's figures: makes charts from a [`Summary`]. A figure that does not apply is left out.
//!
//! All figures work alike: cells are grouped into panels by their place on some axes, and within a
//! panel by arm ([`Figures::panels`]). A figure defines the marks for the cells of an arm, and the
//! rows of its data.

mod accuracy;
mod epochs;
mod heat_maps;
mod outcomes;
mod profiles;
mod settings;
mod spread;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use maud::{Markup, html};

use super::chart::{Lines, Look, Point, Series};
use super::markup::name;
use wninit_core::job::JobId;
use wninit_core::results::EpochRow;
use wninit_core::table::{Datum, csv};
use wninit_stats::describe;
use wninit_stats::summary::{CellSummary, HYPERPARAMETERS, RunEnding, Seed, Summary, chance};

/// The maximum number of panels of a figure; the rest is in its data.
const MOST_PANELS: usize = 12;

/// A figure: panels side by side, with a legend, a text and its data.
pub struct Figure {
    pub title: &'static str,
    /// Its content and how to read it.
    pub text: Markup,
    /// May be empty.
    pub legend: Markup,
    pub panels: Vec<Markup>,
    pub data: FigureData,
}

/// The data of a figure.
pub struct FigureData {
    columns: Vec<&'static str>,
    rows: Vec<Vec<Datum>>,
}

impl FigureData {
    fn new(columns: &[&'static str]) -> FigureData {
        FigureData { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub fn csv(&self) -> Vec<u8> {
        csv(self.columns.iter().copied(), &self.rows)
    }
}

/// A sweep's cells and curves, ready to be drawn.
pub struct Figures<'a> {
    summary: &'a Summary,
    curves: &'a HashMap<JobId, Vec<EpochRow>>,
    /// The greatest accuracy, or upper end of an interval, to which all axes of accuracies reach.
    most: f64,
}

/// The cells of an arm in a panel.
struct ArmCells<'g> {
    panel: &'g [usize],
    arm: usize,
    name: &'g str,
    cells: &'g [usize],
}

/// A panel: the marks of each arm.
struct Panel<M> {
    title: String,
    cells: Vec<usize>,
    arms: Vec<(usize, Vec<M>)>,
}

impl<'a> Figures<'a> {
    /// The figures of a summary; `curves` are those of its jobs.
    pub fn new(summary: &'a Summary, curves: &'a HashMap<JobId, Vec<EpochRow>>) -> Figures<'a> {
        let ends = summary.cells.iter().map(|cell| {
            let high = cell.accuracy_interval.map_or(0.0, |interval| interval.high);
            cell.runs.iter().filter_map(|run| run.accuracy).fold(high, f64::max)
        });
        Figures { summary, curves, most: ends.fold(0.0, f64::max) }
    }

    /// Every figure that applies, the most important first.
    pub fn all(&self) -> Vec<Figure> {
        let all = [
            Some(self.outcomes()),
            self.accuracy_over_depth(),
            self.accuracy_over_rate(),
            self.heat_maps(),
            self.speed_maps(),
            self.sorted_settings(),
            self.profiles(),
            self.seed_spread(),
            self.survival(),
            Some(self.training_curves()),
        ];
        all.into_iter().flatten().filter(|figure| !figure.panels.is_empty()).collect()
    }

    /// Groups cells into panels by their place on `axes`, and these by arm. `marks` returns the
    /// marks of a group, if any, and adds its rows to the data, whose columns are panel, arm and
    /// `columns`.
    fn panels<M>(
        &self,
        columns: &[&'static str],
        axes: &[usize],
        cells: impl IntoIterator<Item = usize>,
        marks: impl Fn(&ArmCells, &mut dyn FnMut(Vec<Datum>)) -> Option<Vec<M>>,
    ) -> (Vec<Panel<M>>, FigureData) {
        let mut data = FigureData::new(columns);
        let mut panels = Vec::new();
        for (title, panel) in self.by(axes, cells) {
            let mut by_arm: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for &i in &panel {
                by_arm.entry(self.cell(i).arm).or_default().push(i);
            }
            let mut arms = Vec::new();
            for (arm, cells) in by_arm {
                let name = self.name(arm);
                let mut row = |cells: Vec<Datum>| {
                    let keys = [title.as_str(), name].map(Datum::from);
                    data.rows.push(keys.into_iter().chain(cells).collect());
                };
                if let Some(marks) =
                    marks(&ArmCells { panel: &panel, arm, name, cells: &cells }, &mut row)
                {
                    arms.push((arm, marks));
                }
            }
            panels.push(Panel { title, cells: panel, arms });
        }
        (panels, data)
    }

    fn series(&self, arms: Vec<(usize, Vec<Point>)>) -> Vec<Series> {
        let series =
            |(arm, points)| Series { look: Look(arm), name: self.name(arm).to_owned(), points };
        arms.into_iter().map(series).collect()
    }

    fn cell(&self, i: usize) -> &'a CellSummary {
        &self.summary.cells[i]
    }

    fn all_cells(&self) -> std::ops::Range<usize> {
        0..self.summary.cells.len()
    }

    fn name(&self, arm: usize) -> &'a str {
        &self.summary.initializers[arm].label
    }

    /// A figure with a legend of the arms of these cells.
    fn figure(
        &self,
        title: &'static str,
        text: Markup,
        cells: impl IntoIterator<Item = usize>,
        mut panels: Vec<Markup>,
        data: FigureData,
    ) -> Figure {
        let text = html! {
            (text)
            @if panels.len() > MOST_PANELS {
                " The first " (MOST_PANELS) " of " (panels.len()) " panels are shown; the data has them all."
            }
        };
        panels.truncate(MOST_PANELS);
        let arms: BTreeSet<usize> = cells.into_iter().map(|i| self.cell(i).arm).collect();
        let legend = html! {
            @for arm in arms {
                span.key { (Look(arm).swatch()) span { (name(self.name(arm))) } }
            }
        };
        Figure { title, text, legend, panels, data }
    }

    /// The accuracy of a guess, if it is the same for all cells.
    fn guess(&self) -> Option<(f64, &'static str)> {
        let first = chance(&self.summary.cells.first()?.job);
        let same = self.summary.cells.iter().all(|cell| chance(&cell.job) == first);
        same.then_some((first, "guessing"))
    }

    /// The cells, by their place on some axes, with a name for the place.
    fn by(
        &self,
        axes: &[usize],
        cells: impl IntoIterator<Item = usize>,
    ) -> Vec<(String, Vec<usize>)> {
        let mut groups: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
        for i in cells {
            let at = axes.iter().map(|&axis| self.cell(i).at[axis]).collect();
            groups.entry(at).or_default().push(i);
        }
        let place = |at: &[usize]| {
            let words = axes.iter().zip(at).map(|(&axis, &value)| {
                let axis = &self.summary.axes[axis];
                match axis.label(value) {
                    label if label.is_empty() => format!("no {}", axis.field.name),
                    label => format!("{} {label}", axis.field.name),
                }
            });
            words.collect::<Vec<_>>().join(", ")
        };
        groups.into_iter().map(|(at, cells)| (place(&at), cells)).collect()
    }

    fn axes_where(&self, wanted: impl Fn(&str) -> bool) -> Vec<usize> {
        let axes = self.summary.axes.iter().enumerate();
        axes.filter(|(_, axis)| wanted(axis.field.name)).map(|(i, _)| i).collect()
    }

    /// The axes of the task, except these: each combination has its own panel.
    fn task_axes(&self, but: &[&str]) -> Vec<usize> {
        self.axes_where(|name| {
            !HYPERPARAMETERS.contains(&name)
                && !["init", "norm"].contains(&name)
                && !but.contains(&name)
        })
    }

    /// The axes of hyper-parameters that are not part of an arm.
    fn tuned_axes(&self) -> Vec<usize> {
        let mut axes = self.axes_where(|name| HYPERPARAMETERS.contains(&name));
        axes.retain(|axis| !self.summary.arm_axes.contains(axis));
        axes
    }

    /// The warm-up, if it has separate panels.
    fn warmup_axis(&self) -> Option<usize> {
        self.summary.axis("warmup_epochs").filter(|axis| !self.summary.arm_axes.contains(axis))
    }

    /// " Averaged over momentum, schedule." if there is something to average.
    fn averaged(&self, verb: &str, shown: &[&str]) -> String {
        let names = self.tuned_axes().into_iter().map(|axis| self.summary.axes[axis].field.name);
        let hidden: Vec<&str> = names.filter(|name| !shown.contains(name)).collect();
        if hidden.is_empty() {
            String::new()
        } else {
            format!(" {verb} over {}.", hidden.join(", "))
        }
    }

    /// One number per seed: the test accuracy of its runs that train, averaged over the cells, by
    /// the seeds that train in all. Also returns the number of runs that train, and of all runs.
    fn by_seed(&self, cells: &[usize]) -> (Vec<f64>, usize, usize) {
        let mut by_seed: BTreeMap<Seed, Vec<f64>> = BTreeMap::new();
        let runs = || cells.iter().flat_map(|&i| &self.cell(i).runs);
        let trained = || runs().filter(|run| run.ending == RunEnding::Success);
        for run in trained() {
            by_seed.entry(run.seed).or_default().extend(run.accuracy);
        }
        let complete = by_seed.into_values().filter(|values| values.len() == cells.len());
        let means = complete.filter_map(|values| describe::mean(&values)).collect();
        (means, trained().count(), runs().count())
    }

    fn depth_varies(&self) -> bool {
        let layers = |c: &CellSummary| c.job.arch.layers();
        let first = self.summary.cells.first().map(layers);
        self.summary.cells.iter().any(|cell| Some(layers(cell)) != first)
    }
}

fn charts<M>(panels: Vec<Panel<M>>, lines: impl Fn(Panel<M>) -> Option<Lines>) -> Vec<Markup> {
    panels.into_iter().filter_map(|panel| Some(lines(panel)?.svg())).collect()
}
