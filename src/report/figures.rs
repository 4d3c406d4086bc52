//! What the report shows: from a [`Summary`] to charts. A figure that does not apply is not made.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::chart::{
    Axis, Bars, Drawing, Heat, Lines, Look, Point, Scale, Series, Square, Strip, Strips,
    heat_legend,
};
use super::markup::{escape, name};
use wninit_core::job::JobId;
use wninit_core::results::EpochRow;
use wninit_core::table::Datum;
use wninit_stats::estimates::{self, LEVEL};
use wninit_stats::summary::{CellSummary, Ending, HYPERPARAMETERS, Seed, Summary, chance, plural};

/// The most panels of a figure; the rest is in its data.
const MOST_PANELS: usize = 12;

/// The most points of a row of single runs.
const MOST_POINTS: usize = 150;

/// The most epochs of a curve that are drawn; of longer ones, every second, third, … is.
const MOST_EPOCHS: usize = 120;

/// A figure: panels side by side, with a legend, a text and its data.
pub struct Figure {
    /// Its heading.
    pub title: &'static str,
    /// What it shows and how to read it, as HTML.
    pub text: String,
    /// The legend, as HTML; may be empty.
    pub legend: String,
    /// The charts, as SVG.
    pub panels: Vec<String>,
    /// Its data: the header first.
    pub data: Vec<Vec<Datum>>,
}

impl Figure {
    /// The data as CSV.
    pub fn csv(&self) -> Vec<u8> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in &self.data {
            // Writing to memory fails only if rows differ in length; then the row is cut.
            let _ = writer.write_record(row.iter().map(Datum::csv));
        }
        writer.into_inner().unwrap_or_default()
    }
}

/// A sweep's cells and curves, ready to be drawn.
pub struct Figures<'a> {
    summary: &'a Summary,
    curves: &'a HashMap<JobId, Vec<EpochRow>>,
    /// The arm of each cell.
    arms: Vec<usize>,
    /// The greatest accuracy, or upper end of an interval, to which all axes of accuracies reach.
    most: f64,
}

/// The data of a figure, a row at a time.
struct Data(Vec<Vec<Datum>>);

impl Data {
    fn new(columns: &[&str]) -> Data {
        Data(vec![columns.iter().map(|&name| Datum::from(name)).collect()])
    }

    fn row(&mut self, row: Vec<Datum>) {
        self.0.push(row);
    }
}

impl<'a> Figures<'a> {
    /// The figures of a summary; `curves` are those of its jobs.
    pub fn new(summary: &'a Summary, curves: &'a HashMap<JobId, Vec<EpochRow>>) -> Figures<'a> {
        let arms = summary.cells.iter().map(|cell| cell.arm).collect();
        let ends = summary.cells.iter().map(|cell| {
            let high = cell.mean_interval.map_or(0.0, |interval| interval.high.min(1.0));
            cell.max.unwrap_or(0.0).max(high)
        });
        let most = ends.fold(0.0, f64::max);
        Figures { summary, curves, arms, most }
    }

    /// Every figure that applies, in the order in which a reader wants them.
    pub fn all(&self) -> Vec<Figure> {
        let all = [
            self.outcomes(),
            self.accuracy_over_depth(),
            self.accuracy_over_rate(),
            self.heat_maps(),
            self.sorted_settings(),
            self.profiles(),
            self.seed_spread(),
            self.survival(),
            self.curves(),
        ];
        all.into_iter().flatten().filter(|figure| !figure.panels.is_empty()).collect()
    }

    fn name(&self, arm: usize) -> &str {
        &self.summary.initializers[arm].label
    }

    /// A legend of these arms; none if there is only one in the sweep.
    fn legend(&self, arms: impl IntoIterator<Item = usize>) -> String {
        let arms: BTreeSet<usize> = arms.into_iter().collect();
        let key = |arm| {
            format!(
                "<span class=\"key\">{}<span>{}</span></span>",
                Look(arm).swatch(),
                name(self.name(arm))
            )
        };
        arms.into_iter().map(key).collect()
    }

    /// The accuracy of a guess, where it is the same throughout.
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
            let cell = &self.summary.cells[i];
            groups.entry(axes.iter().map(|&axis| cell.at[axis]).collect()).or_default().push(i);
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

    /// The axes of the task other than its depth: what has a panel of its own.
    fn task_axes(&self, but: &[&str]) -> Vec<usize> {
        self.axes_where(|name| {
            !HYPERPARAMETERS.contains(&name)
                && !["init", "norm"].contains(&name)
                && !but.contains(&name)
        })
    }

    /// The axes of what is tuned, and does not tell the arms apart.
    fn tuned_axes(&self) -> Vec<usize> {
        let mut axes = self.axes_where(|name| HYPERPARAMETERS.contains(&name));
        axes.retain(|axis| !self.summary.arm_axes.contains(axis));
        axes
    }

    /// The warm-up, where it has panels of its own.
    fn warmup_axis(&self) -> Option<usize> {
        self.summary.axis("warmup_epochs").filter(|axis| !self.summary.arm_axes.contains(axis))
    }

    /// "Each point is a mean over momentum and schedule." where there is something to average.
    fn averaged(&self, shown: &[&str]) -> String {
        let hidden: Vec<&str> = self
            .tuned_axes()
            .into_iter()
            .filter(|&axis| !shown.contains(&self.summary.axes[axis].field.name))
            .map(|axis| self.summary.axes[axis].field.name)
            .collect();
        if hidden.is_empty() {
            String::new()
        } else {
            format!(" Averaged over {}.", escape(&hidden.join(", ")))
        }
    }

    /// One number a seed: its test accuracy, averaged over the cells, by the seeds that all have.
    fn by_seed(&self, cells: &[usize]) -> Vec<f64> {
        let mut sums: BTreeMap<Seed, (usize, f64)> = BTreeMap::new();
        for &i in cells {
            for run in &self.summary.cells[i].runs {
                if let Some(accuracy) = run.accuracy {
                    let (n, sum) = sums.entry(run.seed).or_default();
                    *n += 1;
                    *sum += accuracy;
                }
            }
        }
        let complete = sums.into_values().filter(|(n, _)| *n == cells.len());
        complete.map(|(n, sum)| sum / n as f64).collect()
    }

    fn by_arm(&self, cells: &[usize]) -> BTreeMap<usize, Vec<usize>> {
        let mut arms: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for &i in cells {
            arms.entry(self.arms[i]).or_default().push(i);
        }
        arms
    }

    fn outcomes(&self) -> Option<Figure> {
        let mut data =
            Data::new(&["init", "trained", "at_chance", "diverged", "failed", "missing"]);
        let mut bars = Vec::new();
        for (arm, s) in self.summary.initializers.iter().enumerate() {
            let parts = [
                s.n_ok.saturating_sub(s.n_at_chance),
                s.n_at_chance,
                s.n_diverged,
                s.n_failed,
                s.n_missing,
            ];
            let mut row = vec![Datum::from(s.label.as_str())];
            row.extend(parts.map(Datum::from));
            data.row(row);
            bars.push((Look(arm), s.label.clone(), parts));
        }
        let panels = if bars.is_empty() { Vec::new() } else { vec![Bars { bars }.svg()] };
        let legend = super::chart::PARTS
            .iter()
            .map(|(word, class)| {
                format!(
                    "<span class=\"key\"><svg class=\"patch\" viewBox=\"0 0 14 12\" aria-hidden=\"true\">\
                     <rect class=\"{class}\" x=\"1\" y=\"1\" width=\"12\" height=\"10\"/></svg>{word}</span>"
                )
            })
            .collect();
        Some(Figure {
            title: "What became of the runs",
            text: "Every planned run, at every learning rate. <em>Trained</em>: converged to better \
                   than guessing. <em>Diverged</em>: a loss or a parameter became infinite; that is a \
                   result. <em>Failed</em>: the machine cut it short."
                .to_owned(),
            legend,
            panels,
            data: data.0,
        })
    }

    /// Test accuracy over a number of the job, at the learning rate that validation chose or at each.
    #[allow(clippy::too_many_arguments)] // each is one choice of the figure
    fn over(
        &self,
        title: &'static str,
        text: String,
        label: &str,
        column: &str,
        cells: &[usize],
        panel_axes: &[usize],
        x_of: &dyn Fn(&CellSummary) -> f64,
    ) -> Option<Figure> {
        let xs: BTreeSet<u64> =
            cells.iter().map(|&i| x_of(&self.summary.cells[i]).to_bits()).collect();
        let xs: Vec<f64> = xs.into_iter().map(f64::from_bits).filter(|x| x.is_finite()).collect();
        if xs.len() < 2 {
            return None;
        }
        let scale = Scale::over(xs.iter().copied());
        let x = Axis::with_ticks(label, scale, xs.clone());
        let mut data = Data::new(&["panel", "init", column, "mean", "low", "high", "seeds"]);
        let mut panels = Vec::new();
        for (panel, cells) in self.by(panel_axes, cells.iter().copied()) {
            let mut series = Vec::new();
            for (arm, cells) in self.by_arm(&cells) {
                let mut at: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
                for i in cells {
                    at.entry(x_of(&self.summary.cells[i]).to_bits()).or_default().push(i);
                }
                let mut points = Vec::new();
                for (bits, cells) in at {
                    let x = f64::from_bits(bits);
                    let values = self.by_seed(&cells);
                    let Some(mean) = estimates::mean(&values) else { continue };
                    let interval = estimates::mean_interval(&values, LEVEL);
                    data.row(vec![
                        panel.as_str().into(),
                        self.name(arm).into(),
                        x.into(),
                        mean.into(),
                        interval.map(|i| i.low).into(),
                        interval.map(|i| i.high).into(),
                        values.len().into(),
                    ]);
                    let spread = interval
                        .map(|i| format!(" [{:.3}, {:.3}]", i.low, i.high))
                        .unwrap_or_default();
                    points.push(Point {
                        x,
                        y: mean,
                        interval: interval.map(|i| (i.low, i.high)),
                        says: format!(
                            "{}, {label} {x}: {mean:.3}{spread}, n = {}",
                            self.name(arm),
                            values.len()
                        ),
                    });
                }
                let name = self.name(arm).to_owned();
                series.push(Series { look: Look(arm), name, points });
            }
            let lines = Lines {
                title: panel,
                x: x.clone(),
                y: Axis::fraction_to("test accuracy (fraction)", self.most),
                rule: self.guess(),
                series,
                drawing: Drawing::Markers,
            };
            panels.push(lines.svg());
        }
        Some(self.figure(title, text, cells, panels, data))
    }

    fn figure(
        &self,
        title: &'static str,
        mut text: String,
        cells: &[usize],
        mut panels: Vec<String>,
        data: Data,
    ) -> Figure {
        if panels.len() > MOST_PANELS {
            text += &format!(
                " The first {MOST_PANELS} of {} panels are shown; the data has them all.",
                panels.len()
            );
            panels.truncate(MOST_PANELS);
        }
        let legend = self.legend(cells.iter().map(|&i| self.arms[i]));
        Figure { title, text, legend, panels, data: data.0 }
    }

    fn depth_varies(&self) -> bool {
        let layers = |c: &CellSummary| c.job.arch.layers();
        let first = self.summary.cells.first().map(layers);
        self.summary.cells.iter().any(|cell| Some(layers(cell)) != first)
    }

    fn accuracy_over_depth(&self) -> Option<Figure> {
        if !self.depth_varies() {
            return None;
        }
        let rates = match self.summary.axis("lr") {
            Some(_) => ", each at the learning rate with the best validation accuracy",
            None => "",
        };
        let text = format!(
            "Mean over seeds with its {:.0} % interval (Student t){rates}. A run that diverged \
             counts as a guess.{}",
            LEVEL * 100.0,
            self.averaged(&["lr"])
        );
        self.over(
            "Test accuracy over depth",
            text,
            "depth (layers)",
            "layers",
            &self.summary.chosen,
            &self.task_axes(&["depth", "blocks"]),
            &|cell| f64::from(cell.job.arch.layers()),
        )
    }

    /// Where depth varies, the heat maps show this.
    fn accuracy_over_rate(&self) -> Option<Figure> {
        self.summary.axis("lr")?;
        if self.depth_varies() {
            return None;
        }
        let text = format!(
            "Mean over seeds with its {:.0} % interval (Student t). A run that diverged counts as a \
             guess.{}",
            LEVEL * 100.0,
            self.averaged(&["lr", "warmup_epochs"])
        );
        let all: Vec<usize> = (0..self.summary.cells.len()).collect();
        let mut panel_axes = self.task_axes(&[]);
        panel_axes.extend(self.warmup_axis());
        self.over(
            "Test accuracy over learning rate",
            text,
            "learning rate",
            "lr",
            &all,
            &panel_axes,
            &|cell| cell.job.lr,
        )
    }

    fn heat_maps(&self) -> Option<Figure> {
        let lr = self.summary.axis("lr")?;
        if !self.depth_varies() {
            return None;
        }
        let all: Vec<usize> = (0..self.summary.cells.len()).collect();
        let depths: BTreeSet<u32> =
            self.summary.cells.iter().map(|cell| cell.job.arch.layers()).collect();
        let depths: Vec<u32> = depths.into_iter().collect();
        let rates = self.summary.axes[lr].values.len();
        let chosen: BTreeSet<usize> = self.summary.chosen.iter().copied().collect();
        let mut data = Data::new(&[
            "panel",
            "init",
            "layers",
            "lr",
            "mean",
            "finished",
            "diverged",
            "at_chance",
            "missing",
        ]);
        let mut panels = Vec::new();
        for (panel, cells) in self.by(&self.task_axes(&["depth", "blocks"]), all.iter().copied()) {
            for (arm, cells) in self.by_arm(&cells) {
                let mut squares = vec![vec![None; depths.len()]; rates];
                for (row, squares) in squares.iter_mut().enumerate() {
                    for (&layers, square) in depths.iter().zip(squares) {
                        let here: Vec<usize> = cells
                            .iter()
                            .copied()
                            .filter(|&i| {
                                let cell = &self.summary.cells[i];
                                cell.at[lr] == row && cell.job.arch.layers() == layers
                            })
                            .collect();
                        if here.is_empty() {
                            continue;
                        }
                        let rate = self.summary.axes[lr].label(row);
                        let count = |of: &dyn Fn(&CellSummary) -> usize| -> usize {
                            here.iter().map(|&i| of(&self.summary.cells[i])).sum()
                        };
                        let [finished, diverged, at_chance, missing] = [
                            count(&|c| c.n_finished),
                            count(&|c| c.n_diverged),
                            count(&|c| c.n_at_chance),
                            count(&|c| c.n_missing + c.n_failed),
                        ];
                        let means: Vec<f64> =
                            here.iter().filter_map(|&i| self.summary.cells[i].mean).collect();
                        let mean = estimates::mean(&means);
                        data.row(vec![
                            panel.as_str().into(),
                            self.name(arm).into(),
                            Datum::Count(layers as usize),
                            rate.as_str().into(),
                            mean.into(),
                            finished.into(),
                            diverged.into(),
                            at_chance.into(),
                            missing.into(),
                        ]);
                        let word = match mean {
                            None => "?".to_owned(),
                            Some(_) if 2 * diverged > finished => "div".to_owned(),
                            Some(mean) => format!("{mean:.2}"),
                        };
                        let mean = mean.map_or("not measured".to_owned(), |x| format!("{x:.3}"));
                        *square = Some(Square {
                            // The colour of a guess would hide that they diverged.
                            value: estimates::mean(&means).filter(|_| 2 * diverged <= finished),
                            word,
                            framed: here.iter().any(|i| chosen.contains(i)),
                            says: format!(
                                "{}, {layers} layers, lr {rate}: {mean}; {finished} finished, \
                                 {diverged} diverged, {at_chance} at chance, {missing} missing",
                                self.name(arm)
                            ),
                        });
                    }
                }
                let title = match panel.as_str() {
                    "" => self.name(arm).to_owned(),
                    panel => format!("{} ({panel})", self.name(arm)),
                };
                let heat = Heat {
                    title,
                    x_label: "depth (layers)".to_owned(),
                    y_label: "learning rate".to_owned(),
                    columns: depths.iter().map(u32::to_string).collect(),
                    rows: (0..rates).map(|row| self.summary.axes[lr].label(row)).collect(),
                    squares,
                };
                panels.push(heat.svg());
            }
        }
        let text = format!(
            "Mean test accuracy over seeds, a diverged run counted as a guess. <em>div</em>: most runs \
             diverged. <em>?</em>: nothing finished yet. Framed: the learning rate that validation \
             chose.{}",
            self.averaged(&["lr"])
        );
        let mut figure =
            self.figure("Test accuracy by learning rate and depth", text, &[], panels, data);
        figure.legend = heat_legend("test accuracy");
        Some(figure)
    }

    /// Each arm's settings, the best first (the paper's figure of hyper-parameter robustness).
    fn sorted_settings(&self) -> Option<Figure> {
        const FEWEST: usize = 8;
        let all = 0..self.summary.cells.len();
        let mut data = Data::new(&["panel", "init", "rank", "mean", "finished", "setting"]);
        let tuned = self.tuned_axes();
        let mut panels = Vec::new();
        for (panel, cells) in self.by(&self.task_axes(&[]), all) {
            let mut series = Vec::new();
            for (arm, cells) in self.by_arm(&cells) {
                let mut ranked: Vec<(f64, usize)> =
                    cells.iter().filter_map(|&i| Some((self.summary.cells[i].mean?, i))).collect();
                ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
                if ranked.len() < FEWEST {
                    continue;
                }
                let mut points = Vec::new();
                for (rank, &(mean, i)) in ranked.iter().enumerate() {
                    let setting = self.by(&tuned, [i]).pop().map(|(name, _)| name);
                    data.row(vec![
                        panel.as_str().into(),
                        self.name(arm).into(),
                        (rank + 1).into(),
                        mean.into(),
                        self.summary.cells[i].n_finished.into(),
                        setting.clone().into(),
                    ]);
                    points.push(Point {
                        x: (rank + 1) as f64,
                        y: mean,
                        interval: None,
                        says: format!("{mean:.3}: {}", setting.unwrap_or_default()),
                    });
                }
                let name = self.name(arm).to_owned();
                series.push(Series { look: Look(arm), name, points });
            }
            let most = series.iter().map(|s| s.points.len()).max().unwrap_or(0);
            if most == 0 {
                continue;
            }
            let lines = Lines {
                title: panel,
                x: Axis::whole("setting, the best first (rank)", 1.0, most as f64),
                y: Axis::fraction_to("mean test accuracy (fraction)", self.most),
                rule: self.guess(),
                series,
                drawing: Drawing::Bands,
            };
            panels.push(lines.svg());
        }
        let names: Vec<&str> =
            tuned.iter().map(|&axis| self.summary.axes[axis].field.name).collect();
        let text = format!(
            "Every setting of {} that was tried, sorted by its mean test accuracy for each initializer. \
             The longer a curve stays high, the less tuning the initializer needs. Ranks are made on \
             the test accuracy, so the left end flatters.",
            escape(&names.join(", "))
        );
        let all: Vec<usize> = (0..self.summary.cells.len()).collect();
        (!panels.is_empty())
            .then(|| self.figure("Sorted hyper-parameter settings", text, &all, panels, data))
    }

    fn profiles(&self) -> Option<Figure> {
        let mut data = Data::new(&["init", "accuracy", "share", "low", "high", "runs"]);
        let mut series = Vec::new();
        for profile in &self.summary.profiles {
            let name = self.name(profile.arm).to_owned();
            let interval = |i: usize| profile.band.as_ref().map(|band| band[i]);
            for (i, &(tau, share)) in profile.points.iter().enumerate() {
                data.row(vec![
                    name.as_str().into(),
                    tau.into(),
                    share.into(),
                    interval(i).map(|interval| interval.low).into(),
                    interval(i).map(|interval| interval.high).into(),
                    profile.n.into(),
                ]);
            }
            let points = profile.points.iter().enumerate().map(|(i, &(x, y))| Point {
                x,
                y,
                interval: interval(i).map(|interval| (interval.low, interval.high)),
                says: format!("{name}: {:.0} % of runs reach {x:.2}", y * 100.0),
            });
            series.push(Series { look: Look(profile.arm), points: points.collect(), name });
        }
        if series.len() < 2 {
            return None; // nothing to compare
        }
        let lines = Lines {
            title: String::new(),
            x: Axis::fraction("test accuracy τ (fraction)"),
            y: Axis::fraction("share of runs with at least τ"),
            rule: None,
            series,
            drawing: Drawing::Steps,
        };
        let all: Vec<usize> = (0..self.summary.cells.len()).collect();
        let bands = if self.summary.profiles.iter().any(|profile| profile.band.is_some()) {
            format!(
                "The bands are bootstrap intervals ({:.0} % at each accuracy), stratified by setting.",
                LEVEL * 100.0
            )
        } else {
            format!("No bands: they need {} seeds in every setting.", estimates::BOOTSTRAP_MIN)
        };
        let text = format!(
            "The share of all finished runs, at every learning rate, that reach an accuracy. A curve \
             above another is better at that accuracy; a diverged run counts as a guess. {bands}"
        );
        Some(self.figure("Performance profile", text, &all, vec![lines.svg()], data))
    }

    fn seed_spread(&self) -> Option<Figure> {
        const MOST_GROUPS: usize = 10;
        let cells: Vec<usize> = self
            .summary
            .chosen
            .iter()
            .copied()
            .filter(|&i| self.summary.cells[i].runs.len() > 1)
            .collect();
        if cells.is_empty() {
            return None;
        }
        let mut data =
            Data::new(&["setting", "init", "lr", "init_seed", "data_seed", "outcome", "test_acc"]);
        let groups = self.by(&self.summary.context_axes(), cells.iter().copied());
        let mut shown = Vec::new();
        for (group, cells) in &groups {
            let mut strips = Vec::new();
            for (arm, cells) in self.by_arm(cells) {
                for i in cells {
                    let cell = &self.summary.cells[i];
                    for run in &cell.runs {
                        let outcome = match run.ending {
                            Ending::Success => "trained",
                            Ending::AtChance => "at chance",
                            Ending::Diverged => "diverged",
                        };
                        data.row(vec![
                            group.as_str().into(),
                            self.name(arm).into(),
                            cell.job.lr.into(),
                            Datum::from(run.seed.0 as usize),
                            Datum::from(run.seed.1 as usize),
                            outcome.into(),
                            run.accuracy.into(),
                        ]);
                    }
                    let values: Vec<f64> = cell.runs.iter().filter_map(|r| r.accuracy).collect();
                    let step = values.len().div_ceil(MOST_POINTS).max(1);
                    let sd = cell.sd.map(|sd| format!(", sd {sd:.4}")).unwrap_or_default();
                    strips.push(Strip {
                        look: Look(arm),
                        says: format!(
                            "{}, lr {}: {} runs, {} diverged{sd}",
                            self.name(arm),
                            cell.job.lr,
                            cell.n_finished,
                            cell.n_diverged
                        ),
                        values: values.iter().copied().step_by(step).collect(),
                        median: cell.median,
                    });
                }
            }
            shown.push((group.clone(), strips));
        }
        let mut text =
            "A point is a run, at the learning rate that validation chose; the bar is their \
                        median. A run that diverged stands at guessing."
                .to_owned();
        if shown.len() > MOST_GROUPS {
            text += &format!(
                " {MOST_GROUPS} of {} settings are shown, evenly chosen; the data has them all.",
                shown.len()
            );
            let n = shown.len();
            let kept: Vec<_> =
                (0..MOST_GROUPS).map(|i| shown[i * n / MOST_GROUPS].clone()).collect();
            shown = kept;
        }
        // Two panels side by side where there is room for them.
        let half = shown.len().div_ceil(2).max(3);
        let panels = shown
            .chunks(half)
            .map(|groups| {
                let strips = Strips {
                    title: String::new(),
                    x: Axis::fraction_to("test accuracy (fraction)", self.most),
                    rule: self.guess(),
                    groups: groups.to_vec(),
                };
                strips.svg()
            })
            .collect();
        Some(self.figure("Spread between seeds", text, &cells, panels, data))
    }

    /// The share of runs that have not diverged after each epoch.
    fn survival(&self) -> Option<Figure> {
        let cells = &self.summary.cells;
        let epochs = cells.iter().map(|cell| cell.job.epochs).max()?;
        if epochs < 2 || self.summary.counts.diverged == 0 {
            return None;
        }
        let mut axes = self.task_axes(&["epochs"]);
        axes.extend(self.warmup_axis());
        axes.extend(self.summary.axis("lr"));
        let mut data =
            Data::new(&["panel", "init", "epoch", "survivors", "runs", "share", "low", "high"]);
        let (mut panels, mut whole) = (Vec::new(), 0);
        for (panel, cells) in self.by(&axes, 0..cells.len()) {
            let mut series = Vec::new();
            let most = cells.iter().map(|&i| self.summary.cells[i].job.epochs).max().unwrap_or(0);
            for (arm, cells) in self.by_arm(&cells) {
                let mut points = Vec::new();
                for epoch in shown_epochs(most) {
                    // Of the runs that were meant to train for so long.
                    let runs: Vec<bool> = cells
                        .iter()
                        .map(|&i| &self.summary.cells[i])
                        .filter(|cell| cell.job.epochs >= epoch)
                        .flat_map(|cell| &cell.runs)
                        .map(|run| run.ending != Ending::Diverged || run.epochs_done >= epoch)
                        .collect();
                    let alive = runs.iter().filter(|alive| **alive).count();
                    let Some(interval) = estimates::wilson(alive, runs.len(), LEVEL) else {
                        continue;
                    };
                    let share = alive as f64 / runs.len() as f64;
                    data.row(vec![
                        panel.as_str().into(),
                        self.name(arm).into(),
                        Datum::from(epoch as usize),
                        alive.into(),
                        runs.len().into(),
                        share.into(),
                        interval.low.into(),
                        interval.high.into(),
                    ]);
                    points.push(Point {
                        x: f64::from(epoch),
                        y: share,
                        interval: None,
                        says: format!(
                            "{}, epoch {epoch}: {alive} of {} runs [{:.2}, {:.2}]",
                            self.name(arm),
                            runs.len(),
                            interval.low,
                            interval.high
                        ),
                    });
                }
                let name = self.name(arm).to_owned();
                series.push(Series { look: Look(arm), name, points });
            }
            if series.iter().all(|s| s.points.iter().all(|point| point.y >= 1.0)) {
                whole += 1;
                continue;
            }
            let lines = Lines {
                title: panel,
                x: Axis::whole("epoch", 0.0, f64::from(most)),
                y: Axis::fraction("share of runs not diverged"),
                rule: None,
                series,
                drawing: Drawing::Steps,
            };
            panels.push(lines.svg());
        }
        let left_out = match whole {
            0 => String::new(),
            n => format!(" {} in which no run diverged: left out.", plural(n, "panel")),
        };
        let text = format!(
            "The share of finished runs whose losses were still finite after an epoch; the data has \
             Wilson's {:.0} % intervals.{}{left_out}",
            LEVEL * 100.0,
            self.averaged(&["lr", "warmup_epochs"]).replace("Averaged", "Pooled"),
        );
        let all: Vec<usize> = (0..self.summary.cells.len()).collect();
        Some(self.figure("Survival over epochs", text, &all, panels, data))
    }

    /// Validation accuracy over epochs.
    fn curves(&self) -> Option<Figure> {
        let mut data = Data::new(&[
            "panel",
            "init",
            "epoch",
            "median",
            "low_quartile",
            "high_quartile",
            "runs",
        ]);
        let chosen = &self.summary.chosen;
        let mut panels = Vec::new();
        for (panel, cells) in self.by(&self.summary.context_axes(), chosen.iter().copied()) {
            let most = cells.iter().map(|&i| self.summary.cells[i].job.epochs).max().unwrap_or(0);
            if most < 2 {
                continue;
            }
            let mut series = Vec::new();
            for (arm, cells) in self.by_arm(&cells) {
                let mut points = Vec::new();
                for epoch in shown_epochs(most).filter(|epoch| *epoch > 0) {
                    let values: Vec<f64> = cells
                        .iter()
                        .map(|&i| &self.summary.cells[i])
                        .flat_map(|cell| cell.runs.iter().map(move |run| (cell, run)))
                        .filter_map(|(cell, run)| {
                            let rows =
                                self.curves.get(&run.id).map(Vec::as_slice).unwrap_or_default();
                            let row = rows.get(epoch as usize - 1).filter(|row| row.epoch == epoch);
                            // After it has diverged, a network predicts nothing.
                            let gone = run.ending == Ending::Diverged && run.epochs_done < epoch;
                            match row {
                                _ if gone => Some(chance(&cell.job)),
                                Some(row) => Some(row.val_acc).filter(|x| x.is_finite()),
                                None => None,
                            }
                        })
                        .collect();
                    let Some(median) = estimates::median(&values) else { continue };
                    let quartiles =
                        estimates::quantile(&values, 0.25).zip(estimates::quantile(&values, 0.75));
                    data.row(vec![
                        panel.as_str().into(),
                        self.name(arm).into(),
                        Datum::from(epoch as usize),
                        median.into(),
                        quartiles.map(|q| q.0).into(),
                        quartiles.map(|q| q.1).into(),
                        values.len().into(),
                    ]);
                    points.push(Point {
                        x: f64::from(epoch),
                        y: median,
                        interval: quartiles,
                        says: format!(
                            "{}, epoch {epoch}: median {median:.3}, n = {}",
                            self.name(arm),
                            values.len()
                        ),
                    });
                }
                let name = self.name(arm).to_owned();
                series.push(Series { look: Look(arm), name, points });
            }
            if series.iter().all(|s| s.points.is_empty()) {
                continue;
            }
            let lines = Lines {
                title: panel,
                x: Axis::whole("epoch", 1.0, f64::from(most)),
                y: Axis::fraction_to("validation accuracy (fraction)", self.most),
                rule: self.guess(),
                series,
                drawing: Drawing::Bands,
            };
            panels.push(lines.svg());
        }
        let text =
            "Median over runs with the band between the quartiles, at the learning rate that \
                    validation chose. From the epoch in which it diverged, a run counts as a guess."
                .to_owned();
        (!panels.is_empty()).then(|| self.figure("Training curves", text, chosen, panels, data))
    }
}

/// The epochs to draw of so many, 0 (before the first) and the last among them.
fn shown_epochs(epochs: u32) -> impl Iterator<Item = u32> {
    let step = (epochs as usize).div_ceil(MOST_EPOCHS).max(1);
    (0..=epochs).filter(move |epoch| (*epoch as usize).is_multiple_of(step) || *epoch == epochs)
}
