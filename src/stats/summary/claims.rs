//! What a sweep was meant to show, and what it shows; published numbers beside ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Ending, Run, Seed, Summary, Sweep, ends, plural};
use crate::estimates::{self, Design, Interval, LEVEL, POWER};
use wninit_core::grid::{Claim, Condition, Expectation, Metric, Published};
use wninit_core::table::{Datum, Table};

/// What a metric says of a run; `None` if it was not measured. A diverged run predicts nothing, so
/// its accuracies are those of a guess, 1/classes, and its losses ln(classes).
fn measure(metric: Metric, run: &Run) -> Option<f64> {
    let measured = |value: Option<f64>, guess: f64| match run.ending {
        Ending::Diverged => Some(guess),
        _ => value.filter(|x| x.is_finite()),
    };
    let record = run.record;
    let chance = super::chance(&record.job);
    let yes = |truth: bool| Some(f64::from(u8::from(truth)));
    match metric {
        Metric::TestAcc => run.accuracy,
        Metric::ValAcc => measured(record.val_acc, chance),
        Metric::BestValAcc => measured(record.best_val_acc, chance),
        Metric::TrainAcc => measured(record.train_acc, chance),
        Metric::TestLoss => measured(record.test_loss, -chance.ln()),
        Metric::ValLoss => measured(record.val_loss, -chance.ln()),
        Metric::TrainLoss => measured(record.train_loss, -chance.ln()),
        Metric::Diverged => yes(run.ending == Ending::Diverged),
        Metric::Success => yes(run.ending == Ending::Success),
        Metric::EpochsDone => Some(f64::from(record.epochs_done)),
        Metric::BestEpoch => record.best_epoch.map(f64::from),
        Metric::TrainSeconds => Some(record.train_seconds).filter(|x| x.is_finite()),
        Metric::ImagesPerSecond => record.images_per_second.filter(|x| x.is_finite()),
        // Measured before training, see `Series::new`.
        Metric::LogSpectralNorm => None,
    }
}

/// What came of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The whole interval lies where the claim says.
    Supported,
    /// The whole interval lies where the claim denies.
    Refuted,
    /// The interval lies on both sides, or there is none.
    Undecided,
}

impl Verdict {
    /// The word for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Verdict::Supported => "supported",
            Verdict::Refuted => "refuted",
            Verdict::Undecided => "undecided",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A claim and what came of it: a row of `claims.csv`.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimResult {
    /// In words.
    pub text: String,
    /// About what.
    pub metric: Metric,
    /// About which jobs, in words.
    pub r#where: String,
    /// What was tested, in words: `a - b > 0.1`.
    pub test: String,
    /// The values that it allows the mean; an end may be infinite.
    pub wanted: Interval,
    /// What came of it.
    pub verdict: Verdict,
    /// The mean, or the mean difference in favour of the better one.
    pub estimate: Option<f64>,
    /// Its interval.
    pub interval: Option<Interval>,
    /// The sd between seeds of what `estimate` is the mean of.
    pub sd: Option<f64>,
    /// Seeds that went into it.
    pub n: usize,
    /// Settings (contexts) over which each seed is averaged.
    pub n_contexts: usize,
    /// Runs of the plan that it is about, and that are not finished.
    pub n_missing: usize,
    /// For an undecided claim: how many seeds in all would decide it with probability
    /// [`POWER`], at the observed mean and sd. `None` if it is decided, or would not be by
    /// `MOST_SEEDS` more.
    pub seeds_needed: Option<usize>,
    /// What the seeds beyond `n` would cost, in seconds of training.
    pub seconds_needed: Option<f64>,
}

/// The most further seeds that are named as deciding a claim. What needs more is a difference
/// too small to be found by trying again.
pub(crate) const MOST_SEEDS: usize = 1000;

/// A published number beside ours: a row of `published.csv`.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishedResult {
    /// About which jobs, in words.
    pub r#where: String,
    /// The same in as few words as a line of a terminal has room for.
    pub briefly: String,
    /// About what.
    pub metric: Metric,
    /// The published number.
    pub published: f64,
    /// Its uncertainty, as published.
    pub spread: Option<f64>,
    /// Where it was published.
    pub source: Option<String>,
    /// Seeds of ours.
    pub n: usize,
    /// Our mean over seeds.
    pub mean: Option<f64>,
    /// Our sd between seeds.
    pub sd: Option<f64>,
    /// The interval of our mean.
    pub interval: Option<Interval>,
    /// Our mean minus the published number.
    pub difference: Option<f64>,
}

pub(super) fn settle(
    sweep: &Sweep,
    claims: &[Claim],
    published: &[Published],
) -> (Vec<ClaimResult>, Vec<PublishedResult>) {
    (
        claims.iter().map(|claim| settle_claim(sweep, claim)).collect(),
        published.iter().map(|number| beside(sweep, number)).collect(),
    )
}

/// One value a seed, averaged over contexts, each at the learning rate that validation chose, or,
/// for a share of runs, over the learning rates as well. What the sides of a comparison leave
/// open is validation's choice too.
struct Series {
    /// By context, then by seed.
    contexts: BTreeMap<Vec<usize>, BTreeMap<Seed, f64>>,
    /// Planned runs that are not finished.
    missing: usize,
    /// Seconds of one more seed of everything, learning rates that were not chosen included: the
    /// choice is made anew.
    seconds_a_seed: f64,
}

impl Series {
    fn new(sweep: &Sweep, metric: Metric, filter: &[Condition], besides: &[usize]) -> Series {
        let (seeds, settings): (Vec<&Condition>, Vec<&Condition>) =
            filter.iter().partition(|condition| condition.is_about_seeds());
        let cells: BTreeSet<usize> = (0..sweep.cells.len())
            .filter(|&i| settings.iter().all(|condition| condition.holds(sweep.cells[i].job)))
            .collect();
        // A learning rate that the claim compares is not for validation to choose; and of how
        // many runs train, every one counts.
        let lr = sweep.axis("lr").filter(|lr| !besides.contains(lr) && !metric.is_binary());
        let context = sweep.axes_without(&besides.iter().copied().chain(lr).collect::<Vec<_>>());
        let mut series = Series { contexts: BTreeMap::new(), missing: 0, seconds_a_seed: 0.0 };
        for (at, group) in sweep.group(&context) {
            let group: Vec<usize> = group.into_iter().filter(|i| cells.contains(i)).collect();
            if metric == Metric::LogSpectralNorm {
                // Cells that differ in their learning rate start alike: any of them will do.
                let measured = |&i: &usize| sweep.cells[i].curvatures.len();
                let Some(cell) = group.into_iter().max_by_key(measured) else { continue };
                let cell = &sweep.cells[cell];
                series.missing += cell.planned.saturating_sub(cell.curvatures.len());
                let chosen = cell.curvatures.iter().filter(|(_, measured)| {
                    seeds.iter().all(|condition| condition.holds(&measured.job))
                });
                let values: BTreeMap<Seed, f64> = chosen
                    .filter_map(|(seed, measured)| Some((*seed, measured.log_spectral_norm()?)))
                    .collect();
                if !values.is_empty() {
                    series.contexts.insert(at, values);
                }
                continue;
            }
            for cell in group.iter().map(|&i| &sweep.cells[i]) {
                series.missing += cell.planned.saturating_sub(cell.runs.len());
                let seconds: Vec<f64> =
                    cell.runs.iter().filter_map(|run| measure(Metric::TrainSeconds, run)).collect();
                series.seconds_a_seed += estimates::mean(&seconds).unwrap_or(0.0);
            }
            let Some(best) = sweep.best(group) else {
                continue;
            };
            let values: BTreeMap<Seed, f64> = sweep.cells[best]
                .runs
                .iter()
                .filter(|run| seeds.iter().all(|condition| condition.holds(&run.record.job)))
                .filter_map(|run| Some((run.seed, measure(metric, run)?)))
                .collect();
            if !values.is_empty() {
                series.contexts.insert(at, values);
            }
        }
        series
    }

    /// The means over contexts of the seeds that every context has.
    fn by_seed(&self) -> BTreeMap<Seed, f64> {
        let mut sums: BTreeMap<Seed, (usize, f64)> = BTreeMap::new();
        for (seed, value) in self.contexts.values().flatten() {
            let (n, sum) = sums.entry(*seed).or_default();
            *n += 1;
            *sum += value;
        }
        let complete = sums.into_iter().filter(|(_, (n, _))| *n == self.contexts.len());
        complete.map(|(seed, (n, sum))| (seed, sum / n as f64)).collect()
    }

    /// Leaves out the contexts that the other lacks.
    fn keep_common(&mut self, other: &Series) {
        self.contexts.retain(|at, _| other.contexts.contains_key(at));
    }
}

/// The values that a claim's mean may have.
struct Region {
    /// More than this (or, if not strict, at least this).
    low: f64,
    /// At most this.
    high: f64,
    strict: bool,
}

impl Region {
    fn judge(&self, interval: Interval) -> Verdict {
        let above = if self.strict { interval.low > self.low } else { interval.low >= self.low };
        let below = if self.strict { interval.high <= self.low } else { interval.high < self.low };
        match (above && interval.high <= self.high, below || interval.low > self.high) {
            (true, _) => Verdict::Supported,
            (_, true) => Verdict::Refuted,
            _ => Verdict::Undecided,
        }
    }

    /// How far the value is from the nearer bound.
    fn distance(&self, value: f64) -> f64 {
        (value - self.low).abs().min((value - self.high).abs())
    }
}

fn settle_claim(sweep: &Sweep, claim: &Claim) -> ClaimResult {
    // One value a seed, then the context and what is missing of it.
    let (values, region, test, n_contexts, n_missing, seconds_a_seed) = match &claim.expect {
        Expectation::Compare { better, than, margin } => {
            let named: BTreeSet<usize> =
                better.iter().chain(than).filter_map(|c| sweep.axis(c.field.name)).collect();
            let named: Vec<usize> = named.into_iter().collect();
            let side = |conditions: &[Condition]| {
                let filter: Vec<Condition> =
                    claim.filter.iter().chain(conditions).cloned().collect();
                Series::new(sweep, claim.metric, &filter, &named)
            };
            let (mut ours, mut theirs) = (side(better), side(than));
            ours.keep_common(&theirs);
            theirs.keep_common(&ours);
            let sign = if claim.metric.lower_is_better() { -1.0 } else { 1.0 };
            let (others, own) = (theirs.by_seed(), ours.by_seed());
            let differences: Vec<f64> =
                own.iter().filter_map(|(seed, x)| Some(sign * (x - others.get(seed)?))).collect();
            let (first, second) = if sign > 0.0 { (better, than) } else { (than, better) };
            (
                differences,
                Region { low: *margin, high: f64::INFINITY, strict: true },
                format!("{} - {} > {margin}", side_in_words(first), side_in_words(second)),
                ours.contexts.len(),
                ours.missing + theirs.missing,
                ours.seconds_a_seed + theirs.seconds_a_seed,
            )
        }
        Expectation::Within { at_least, at_most } => {
            let series = Series::new(sweep, claim.metric, &claim.filter, &[]);
            let test = match (at_least, at_most) {
                (Some(low), Some(high)) => format!("{low} <= mean <= {high}"),
                (Some(low), None) => format!("mean >= {low}"),
                (None, Some(high)) => format!("mean <= {high}"),
                (None, None) => "any mean".to_owned(),
            };
            (
                series.by_seed().into_values().collect(),
                Region {
                    low: at_least.unwrap_or(f64::NEG_INFINITY),
                    high: at_most.unwrap_or(f64::INFINITY),
                    strict: false,
                },
                test,
                series.contexts.len(),
                series.missing,
                series.seconds_a_seed,
            )
        }
    };
    let compared = matches!(claim.expect, Expectation::Compare { .. });
    let share = claim.metric.is_binary() && !compared && n_contexts == 1;
    let (n, estimate, sd) = (values.len(), estimates::mean(&values), estimates::sd(&values));
    let interval = interval_of(&values, share);
    let verdict = interval.map_or(Verdict::Undecided, |interval| region.judge(interval));
    let needed = match (verdict, estimate) {
        (Verdict::Undecided, Some(share_of_runs)) if share => {
            share_needs(share_of_runs, n, &region)
        }
        (Verdict::Undecided, Some(mean)) => sd.and_then(|sd| {
            estimates::required_seeds(region.distance(mean), sd, Design::Paired, LEVEL, POWER)
        }),
        _ => None,
    };
    let needed = needed.filter(|needed| *needed <= n + MOST_SEEDS);
    // Where the formula is content with the n that was not enough, one more is the least that helps.
    let seeds_needed = needed.map(|needed| needed.max(n + 1));
    ClaimResult {
        text: claim.text.clone(),
        metric: claim.metric,
        r#where: in_words(&claim.filter),
        test,
        wanted: Interval { low: region.low, high: region.high },
        verdict,
        estimate,
        interval,
        sd,
        n,
        n_contexts,
        n_missing,
        seeds_needed,
        seconds_needed: seeds_needed
            .map(|needed| (needed - n) as f64 * seconds_a_seed)
            .filter(|seconds| *seconds > 0.0),
    }
}

/// Wilson's interval for a share of runs in one setting, Student's t for everything else.
fn interval_of(values: &[f64], share: bool) -> Option<Interval> {
    if share {
        estimates::wilson(values.iter().filter(|x| **x > 0.5).count(), values.len(), LEVEL)
    } else {
        estimates::mean_interval(values, LEVEL)
    }
}

/// The fewest seeds beyond `n` with which the Wilson interval around this share would decide.
fn share_needs(share: f64, n: usize, region: &Region) -> Option<usize> {
    (n + 1..=n + MOST_SEEDS).find(|&n| {
        let successes = (share * n as f64).round() as usize;
        estimates::wilson(successes, n, LEVEL)
            .is_some_and(|i| region.judge(i) != Verdict::Undecided)
    })
}

fn beside(sweep: &Sweep, number: &Published) -> PublishedResult {
    let series = Series::new(sweep, number.metric, &number.filter, &[]);
    let values: Vec<f64> = series.by_seed().into_values().collect();
    let mean = estimates::mean(&values);
    PublishedResult {
        r#where: in_words(&number.filter),
        briefly: briefly(&number.filter),
        metric: number.metric,
        published: number.value,
        spread: number.spread,
        source: number.source.clone(),
        n: values.len(),
        mean,
        sd: estimates::sd(&values),
        interval: interval_of(&values, number.metric.is_binary() && series.contexts.len() == 1),
        difference: mean.map(|mean| mean - number.value),
    }
}

/// One side of a comparison; an initializer needs no more than its name.
fn side_in_words(conditions: &[Condition]) -> String {
    let words = |condition: &Condition| match condition.field.name {
        "init" => condition.values_joined(" or "),
        name => format!("{name} {}", condition.values_joined(" or ")),
    };
    conditions.iter().map(words).collect::<Vec<_>>().join(", ")
}

fn in_words(filter: &[Condition]) -> String {
    filter.iter().map(Condition::to_string).collect::<Vec<_>>().join(", ")
}

/// `blocks 1/16 he_proposed`: of fields whose values say what they are the value alone.
fn briefly(filter: &[Condition]) -> String {
    const PLAIN: [&str; 5] = ["dataset", "model", "norm", "init", "precision"];
    let words = |condition: &Condition| {
        let values = condition.values_joined("/");
        match condition.field.name {
            name if PLAIN.contains(&name) => values,
            "warmup_epochs" => format!("warm {values}"),
            name => format!("{name} {values}"),
        }
    };
    filter.iter().map(words).collect::<Vec<_>>().join(" ")
}

impl ClaimResult {
    /// The numbers behind the verdict, and what would decide it, in a sentence or two.
    pub fn reason(&self) -> String {
        let mut text = format!("{} {}", self.metric, self.test);
        if !self.r#where.is_empty() {
            text += &format!(" ({})", self.r#where);
        }
        match (self.estimate, self.interval) {
            (None, _) => text += ": no finished seeds yet",
            (Some(x), None) => text += &format!(": {}, no interval, n = {}", three(x), self.n),
            (Some(x), Some(i)) => {
                let [x, low, high] = [x, i.low, i.high].map(three);
                text += &format!(": {x} [{low}, {high}], n = {}", self.n)
            }
        }
        if self.n_contexts > 1 {
            text += &format!(", mean of {} settings", self.n_contexts);
        }
        text.push('.');
        if self.n_missing > 0 {
            text += &format!(" {} of it not finished.", plural(self.n_missing, "planned run"));
        }
        if self.verdict == Verdict::Undecided {
            text += &match (self.seeds_needed, self.seconds_needed) {
                (Some(needed), Some(seconds)) => format!(
                    " {} ({needed} in all) would probably decide it: about {} of training.",
                    plural(needed - self.n, "more seed"),
                    duration(seconds)
                ),
                (Some(needed), None) => {
                    format!(
                        " {} ({needed} in all) would probably decide it.",
                        plural(needed - self.n, "more seed")
                    )
                }
                (None, _) if self.n < 2 => " At least two seeds are needed.".to_owned(),
                (None, _) => {
                    " The mean is too near the threshold: more seeds will hardly decide it."
                        .to_owned()
                }
            };
        }
        text
    }
}

/// The number with three decimals; never "-0.000".
fn three(x: f64) -> String {
    let rounded = (x * 1000.0).round() / 1000.0;
    format!("{:.3}", rounded + 0.0)
}

/// Seconds for people: `45 s`, `3 min`, `2.5 h`, `4 d`.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 90.0 * 60.0 => format!("{:.0} min", s / 60.0),
        s if s < 36.0 * 3600.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} d", s / 86_400.0),
    }
}

impl Summary {
    pub(super) fn claims_table(&self) -> Table {
        let rows = self.claims.iter().map(|c| {
            let mut row: Vec<Datum> = vec![
                c.text.as_str().into(),
                c.verdict.name().into(),
                c.metric.name().into(),
                c.r#where.as_str().into(),
                c.test.as_str().into(),
                c.estimate.into(),
            ];
            row.extend(ends(c.interval));
            row.push(c.sd.into());
            row.extend([c.n, c.n_contexts, c.n_missing].map(Datum::from));
            row.extend([c.seeds_needed.into(), c.seconds_needed.into()]);
            row
        });
        self.table("claims", &[], rows.collect())
    }

    pub(super) fn published_table(&self) -> Table {
        let rows = self.published.iter().map(|p| {
            let mut row: Vec<Datum> =
                vec![p.r#where.as_str().into(), p.metric.name().into(), p.published.into()];
            row.extend([p.spread.into(), p.source.as_deref().into(), p.n.into()]);
            row.extend([p.mean, p.sd].map(Datum::from));
            row.extend(ends(p.interval));
            row.push(p.difference.into());
            row
        });
        self.table("published", &[], rows.collect())
    }
}
