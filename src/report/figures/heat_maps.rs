//! Maps over learning rate and depth: how accurate, and how fast.

use std::collections::{BTreeSet, HashMap};

use maud::html;

use super::{Figure, FigureData, Figures};
use crate::report::chart::{Chart, Heat, Legend, Look, Square};
use wninit_core::fmt::significant;
use wninit_core::table::Datum;
use wninit_stats::describe;
use wninit_stats::summary::{Counts, RunEnding, RunSummary, chance};

/// The cells of an arm at one learning rate and depth.
struct Spot<'g> {
    cells: &'g [usize],
    counts: Counts,
    /// The arm, the depth and the learning rate in words.
    name: String,
}

impl Figures<'_> {
    /// A map for each arm, and a row of data for each square: the depth, the learning rate, what
    /// `square` adds, and the counts of runs.
    fn maps(
        &self,
        column: &'static str,
        square: impl Fn(&Spot) -> (Datum, Square),
    ) -> Option<(Vec<Chart>, FigureData)> {
        let lr = self.summary.axis("lr")?;
        // Of the networks of an arm at one depth, only the learning rate differs.
        let mut rates_of = HashMap::new();
        let several_rates = self.summary.cells.iter().any(|cell| {
            let rate = cell.at[lr];
            *rates_of.entry((cell.arm, cell.job.arch)).or_insert(rate) != rate
        });
        if !self.depth_varies() || !several_rates {
            return None;
        }
        let depths = self.depths();
        let rates: Vec<String> = (0..self.summary.axes[lr].values.len())
            .map(|row| self.summary.axes[lr].label(row))
            .collect();
        let columns = [
            "panel",
            "init",
            "layers",
            "lr",
            column,
            "finished",
            "diverged",
            "at_chance",
            "missing",
        ];
        let axes = self.task_axes(&["depth", "blocks"]);
        let (panels, data) = self.panels(&columns, &axes, self.all_cells(), |group, row| {
            let squares = rates.iter().enumerate().map(|(at, rate)| {
                let of_depth = |&layers: &u32| {
                    let is_here = |&&i: &&usize| {
                        self.cell(i).at[lr] == at && self.cell(i).job.arch.layers() == layers
                    };
                    let cells: Vec<usize> = group.cells.iter().filter(is_here).copied().collect();
                    let counts: Counts = cells.iter().map(|&i| self.cell(i).counts).sum();
                    let name = format!("{}, {layers} layers, lr {rate}", group.name);
                    if cells.is_empty() {
                        return None;
                    }
                    let (value, square) = square(&Spot { cells: &cells, counts, name });
                    row(vec![
                        layers.into(),
                        rate.as_str().into(),
                        value,
                        counts.finished.into(),
                        counts.diverged.into(),
                        counts.at_chance.into(),
                        (counts.missing + counts.failed).into(),
                    ]);
                    Some(square)
                };
                depths.iter().map(of_depth).collect::<Vec<_>>()
            });
            Some(squares.collect())
        });
        let heat = |title: &str, arm: usize, squares: Vec<Vec<Option<Square>>>| Heat {
            look: Look(arm),
            title: match title {
                "" => self.name(arm).to_owned(),
                panel => format!("{} ({panel})", self.name(arm)),
            },
            x_label: "depth (layers)".to_owned(),
            y_label: "learning rate".to_owned(),
            columns: depths.iter().map(u32::to_string).collect(),
            rows: rates.iter().map(|rate| short(rate)).collect(),
            squares,
        };
        let mut maps = Vec::new();
        for panel in panels {
            let arms = panel.arms.into_iter();
            maps.extend(arms.map(|(arm, squares)| heat(&panel.title, arm, squares).chart()));
        }
        Some((maps, data))
    }

    /// Test accuracy.
    pub(super) fn heat_maps(&self) -> Option<Figure> {
        let chosen: BTreeSet<usize> = self.summary.chosen.iter().copied().collect();
        let (maps, data) = self.maps("mean", |Spot { cells, counts, name }| {
            let means: Vec<f64> = cells.iter().filter_map(|&i| self.cell(i).mean).collect();
            let mean = describe::mean(&means);
            let diverged = mostly_diverged(counts);
            let text = match mean {
                None => "?".to_owned(),
                Some(_) if diverged => "div".to_owned(),
                Some(mean) => format!("{mean:.2}"),
            };
            let accuracy = mean.map_or("not measured".to_owned(), |x| format!("{x:.3}"));
            let square = Square {
                // The colour of a guess would hide the divergence, so there is none.
                value: mean.filter(|_| !diverged),
                text,
                framed: cells.iter().any(|i| chosen.contains(i)),
                tooltip: format!("{name}: {accuracy}; {}", in_words(counts)),
            };
            (mean.into(), square)
        })?;
        let text = html! {
            "Mean test accuracy over seeds, a run that does not train counted as a guess. " em { "div" } ": most runs \
             diverged. " em { "?" } ": nothing finished yet. Framed: the learning rate that validation chose."
            (self.averaged("Averaged", &["lr"]))
        };
        let mut figure =
            self.figure("Test accuracy by learning rate and depth", text, [], maps, data);
        figure.legend = Some(Legend::Scale("test accuracy"));
        Some(figure)
    }

    /// The epochs until a run is half as good as the best: who trains, and how fast. For sweeps that
    /// are dense enough for a map.
    pub(super) fn speed_maps(&self) -> Option<Figure> {
        let epochs = self.summary.cells.iter().map(|cell| cell.job.epochs).max()?;
        let rates = self.summary.axes[self.summary.axis("lr")?].values.len();
        if epochs < 3 || self.depths().len() < 4 || rates < 5 {
            return None;
        }
        let curve = |run: &RunSummary| self.curves.get(&run.id).map_or(&[][..], Vec::as_slice);
        let runs = || self.summary.cells.iter().flat_map(|cell| &cell.runs);
        let accuracies = runs().flat_map(curve).map(|row| row.val_acc);
        let best = accuracies.fold(0.0, f64::max);
        let (maps, data) = self.maps("epochs", |Spot { cells, counts, name }| {
            let halfway = |run: &RunSummary, chance: f64| {
                let threshold = (chance + best) / 2.0;
                let reached = curve(run).iter().find(|row| row.val_acc >= threshold);
                reached.filter(|_| run.ending != RunEnding::Diverged).map(|row| row.epoch)
            };
            let mut all: Vec<u32> = Vec::new(); // u32::MAX: never
            for cell in cells.iter().map(|&i| self.cell(i)) {
                let chance = chance(&cell.job);
                all.extend(cell.runs.iter().map(|run| halfway(run, chance).unwrap_or(u32::MAX)));
            }
            all.sort_unstable();
            // The lower median: that of two runs of which one never trains is the other's.
            let median = all.get(all.len().saturating_sub(1) / 2).copied();
            let reached = median.filter(|epoch| *epoch < u32::MAX);
            let square = Square {
                value: reached.map(|epoch| 1.0 - f64::from(epoch - 1) / f64::from(epochs)),
                text: match (median, reached) {
                    (None, _) => "?".to_owned(),
                    (_, Some(epoch)) => epoch.to_string(),
                    (_, None) if mostly_diverged(counts) => "div".to_owned(),
                    (_, None) => "–".to_owned(),
                },
                framed: false,
                tooltip: format!(
                    "{name}: {}; {}",
                    reached.map_or("never".to_owned(), |epoch| format!("epoch {epoch}")),
                    in_words(counts)
                ),
            };
            (reached.into(), square)
        })?;
        let text = html! {
            "The epoch, median over seeds, at which the validation accuracy is half way from a guess to the best of \
             the sweep (" (format!("{best:.2}")) "). " em { "–" } ": it never is. " em { "div" } ": most runs \
             diverged. " em { "?" } ": nothing finished yet."
        };
        let mut figure = self.figure("Who trains, and how fast", text, [], maps, data);
        figure.legend = Some(Legend::Scale("bright: in the first epoch, dark: in the last"));
        Some(figure)
    }
}

/// A learning rate as a label: those of a logarithmic axis have many digits.
fn short(rate: &str) -> String {
    let number = rate.parse().ok().filter(|_| rate.len() > 7);
    number.map_or_else(|| rate.to_owned(), |number| significant(number, 3))
}

fn mostly_diverged(counts: &Counts) -> bool {
    2 * counts.diverged > counts.finished
}

fn in_words(counts: &Counts) -> String {
    format!(
        "{} finished, {} diverged, {} at chance, {} missing",
        counts.finished,
        counts.diverged,
        counts.at_chance,
        counts.missing + counts.failed
    )
}
