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
mod published;
mod settings;
mod spread;
mod success;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use maud::{Markup, html};

use super::chart::{Chart, ChartAxis, Legend, Lines, Look, Point, Scale, Series};
use super::figure::{Figure, FigureData};
use wninit_core::job::JobId;
use wninit_core::results::EpochRow;
use wninit_core::table::Datum;
use wninit_stats::describe;
use wninit_stats::summary::{CellSummary, HYPERPARAMETERS, RunEnding, Seed, Summary, chance};

/// The maximum number of panels of a figure; the rest is in its data.
const MOST_PANELS: usize = 12;

/// A sweep's cells and curves, ready to be drawn.
pub struct Figures<'a> {
    summary: &'a Summary,
    curves: &'a HashMap<JobId, Vec<EpochRow>>,
    /// The names of the arms.
    names: Vec<String>,
    /// The greatest accuracy, or upper end of an interval, to which all axes of accuracies reach.
    most: f64,
}

/// The horizontal axis of a figure over depth or over the learning rate.
struct Over {
    label: &'static str,
    /// The name of its column in the data.
    column: &'static str,
    value: fn(&CellSummary) -> f64,
}

const OVER_DEPTH: Over = Over {
    label: "depth (layers)",
    column: "layers",
    value: |cell| f64::from(cell.job.arch.layers()),
};

const OVER_RATE: Over = Over { label: "learning rate", column: "lr", value: |cell| cell.job.lr };

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
    /// The figures of a summary; `curves` are those of its jobs. With `display`, arms have names
    /// in words.
    pub fn new(
        summary: &'a Summary,
        curves: &'a HashMap<JobId, Vec<EpochRow>>,
        display: bool,
    ) -> Figures<'a> {
        let ends = summary.cells.iter().map(|cell| {
            let high = cell.accuracy_interval.map_or(0.0, |interval| interval.high);
            cell.runs.iter().filter_map(|run| run.accuracy).fold(high, f64::max)
        });
        let name = |label: &str| if display { in_words(label) } else { label.to_owned() };
        let names = summary.initializers.iter().map(|arm| name(&arm.label)).collect();
        Figures { summary, curves, names, most: ends.fold(0.0, f64::max) }
    }

    /// Every figure that applies, the most important first.
    pub fn all(&self) -> Vec<Figure> {
        // Of a sweep without finished runs, such as one about curvature, they say the most.
        let (first, later) = match self.summary.counts.finished {
            0 => (self.published(), None),
            _ => (None, self.published()),
        };
        let all = [
            self.success_over_depth(),
            self.speed_maps(),
            self.heat_maps(),
            self.success_over_rate(),
            self.accuracy_over_rate(),
            self.accuracy_over_depth(),
            first,
            Some(self.outcomes()),
            later,
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

    /// The values of some cells on an axis, with a tick at each; `None` if there is only one.
    fn axis_over(&self, over: &Over, cells: impl Iterator<Item = usize>) -> Option<ChartAxis> {
        let values: BTreeSet<u64> = cells.map(|i| (over.value)(self.cell(i)).to_bits()).collect();
        let values: Vec<f64> =
            values.into_iter().map(f64::from_bits).filter(|x| x.is_finite()).collect();
        (values.len() > 1)
            .then(|| ChartAxis::with_ticks(over.label, Scale::over(values.iter().copied()), values))
    }

    /// Cells by their value on an axis.
    fn by_value(&self, over: &Over, cells: &[usize]) -> impl Iterator<Item = (f64, Vec<usize>)> {
        let mut at: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for &i in cells {
            at.entry((over.value)(self.cell(i)).to_bits()).or_default().push(i);
        }
        at.into_iter().map(|(bits, cells)| (f64::from_bits(bits), cells))
    }

    fn cell(&self, i: usize) -> &'a CellSummary {
        &self.summary.cells[i]
    }

    fn all_cells(&self) -> std::ops::Range<usize> {
        0..self.summary.cells.len()
    }

    fn name(&self, arm: usize) -> &str {
        &self.names[arm]
    }

    /// A figure with a legend of the arms of these cells.
    fn figure(
        &self,
        title: &str,
        text: Markup,
        cells: impl IntoIterator<Item = usize>,
        mut panels: Vec<Chart>,
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
        let key = |arm| (Look(arm), self.name(arm).to_owned());
        let legend = Some(Legend::Arms(arms.into_iter().map(key).collect()));
        Figure { title: title.to_owned(), text, legend, panels, data }
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
        groups.into_iter().map(|(at, cells)| (self.place(axes, &at), cells)).collect()
    }

    /// A place on some axes: "depth 10, no shortcut".
    fn place(&self, axes: &[usize], at: &[usize]) -> String {
        let words = axes.iter().zip(at).map(|(&axis, &value)| {
            let axis = &self.summary.axes[axis];
            match axis.label(value) {
                label if label.is_empty() => format!("no {}", axis.field.name),
                label => format!("{} {label}", axis.field.name),
            }
        });
        words.collect::<Vec<_>>().join(", ")
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

    fn depths(&self) -> BTreeSet<u32> {
        self.summary.cells.iter().map(|cell| cell.job.arch.layers()).collect()
    }

    fn depth_varies(&self) -> bool {
        self.depths().len() > 1
    }
}

/// The label of an arm in words: `orthogonal_datadep+warmup1` is "orthogonal, data-dependent,
/// warm-up 1".
pub fn in_words(label: &str) -> String {
    const GAINS: [(&str, &str); 5] = [
        ("_datadep", ", data-dependent"),
        ("_proposed_backward", ", proposed backward"),
        ("_proposed", ", proposed"),
        ("_hanin", ", stage-wise Hanin"),
        ("_lsuv", ", LSUV"),
    ];
    let mut parts = label.split('+');
    let init = parts.next().unwrap_or_default();
    let gain = GAINS.iter().find_map(|(end, gain)| Some((init.strip_suffix(end)?, *gain)));
    let (direction, gain) = gain.unwrap_or((init, ""));
    let mut words = direction.replace('_', " ") + gain;
    for part in parts {
        let (what, number) =
            part.split_at(part.find(|c: char| c.is_ascii_digit()).unwrap_or(part.len()));
        let what = match what {
            "batchnorm" => "batch norm",
            "nonorm" => "no norm",
            "scale" => "branch scale ",
            "warmup" => "warm-up ",
            other => other,
        };
        words += &format!(", {what}{number}");
    }
    words
}

fn charts<M>(panels: Vec<Panel<M>>, lines: impl Fn(Panel<M>) -> Option<Lines>) -> Vec<Chart> {
    panels.into_iter().filter_map(|panel| Some(lines(panel)?.chart())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_in_words() {
        for (label, words) in [
            ("orthogonal_datadep", "orthogonal, data-dependent"),
            ("he_proposed_backward+batchnorm", "he, proposed backward, batch norm"),
            ("delta_orthogonal+scale0.5+warmup2", "delta orthogonal, branch scale 0.5, warm-up 2"),
            ("my_rule@1a2b", "my rule@1a2b"),
        ] {
            assert_eq!(in_words(label), words);
        }
    }
}
