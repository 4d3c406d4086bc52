//! What a sweep was meant to show, and what it shows.

use std::collections::BTreeSet;
use std::fmt;

use super::cells::Cells;
use super::columns;
use super::sample::{Sample, in_words, interval_of};
use crate::describe;
use crate::interval::{self, Interval, LEVEL};
use crate::power::{POWER, required_seeds};
use wninit_core::columns;
use wninit_core::fmt::{duration, plural};
use wninit_core::grid::{Claim, Condition, Expectation, Metric};
use wninit_core::table::Column;

/// The outcome of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The whole interval lies inside the region of the claim.
    Supported,
    /// The whole interval lies outside of it.
    Refuted,
    /// The interval lies partly inside, or there is none.
    Undecided,
}

impl Verdict {
    const fn name(self) -> &'static str {
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

/// A claim with its verdict: a row of `claims.csv`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // COLUMNS documents each
pub struct ClaimResult {
    pub text: String,
    pub metric: Metric,
    pub r#where: String,
    /// What was tested, in words: `a - b > 0.1`.
    pub test: String,
    /// The values that it allows the mean; an end may be infinite.
    pub wanted: Interval,
    pub verdict: Verdict,
    pub estimate: Option<f64>,
    pub interval: Option<Interval>,
    pub sd: Option<f64>,
    pub n: usize,
    pub n_contexts: usize,
    pub n_missing: usize,
    pub seeds_needed: Option<usize>,
    pub seconds_needed: Option<f64>,
}

/// The most further seeds that are named as deciding a claim. What needs more is a difference
/// too small to be found by trying again.
pub(crate) const MOST_SEEDS: usize = 1000;

/// The columns of `claims.csv`.
pub(super) static COLUMNS: &[Column<ClaimResult>] = columns![ClaimResult;
    "text": "", "the claim in words", "" => |c| c.text.as_str();
    "verdict": "", "supported: the interval lies beyond the threshold; refuted: on the other side; undecided: neither", ""
        => |c| c.verdict.name();
    "metric": "", "what it is about; accuracies of diverged jobs count as 1/classes, their losses as ln(classes)", ""
        => |c| c.metric.name();
    "where": "", "the jobs that it is about", "all" => |c| c.r#where.as_str();
    "test": "", "what was tested", "" => |c| c.test.as_str();
    "estimate": "the metric's", "mean, or mean difference paired by seed, positive where the claim is right; each side at its best lr on validation", "no finished seed"
        => |c| c.estimate;
    "low": "the metric's", "lower end of its 95 % interval (Student t over seeds; Wilson for a share in one setting)", columns::NO_INTERVAL
        => |c| c.interval.map(|i| i.low);
    "high": "the metric's", "upper end of its 95 % interval", "as low" => |c| c.interval.map(|i| i.high);
    "sd": "the metric's", "standard deviation between seeds of what estimate is the mean of", "fewer than two seeds"
        => |c| c.sd;
    "n": "seeds", "seeds that went into it", "" => |c| c.n;
    "n_contexts": "settings", "settings over which each seed is averaged", "" => |c| c.n_contexts;
    "n_missing": "jobs", "planned jobs that it is about and that are not finished", "" => |c| c.n_missing;
    "seeds_needed": "seeds", "seeds in all that would decide it with probability 0.8 at the observed mean and sd", "decided, or not to be decided by seeds"
        => |c| c.seeds_needed;
    "seconds_needed": "s", "seconds of training (of one worker) that the seeds beyond n would take", "decided, or not known"
        => |c| c.seconds_needed;
];

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

pub(super) fn settle(sweep: &Cells, claim: &Claim) -> ClaimResult {
    // One value a seed, then the context and what is missing of it.
    let (values, region, test, n_contexts, n_missing, seconds_a_seed) = match &claim.expect {
        Expectation::Compare { better, than, margin } => {
            let named: BTreeSet<usize> =
                better.iter().chain(than).filter_map(|c| sweep.axis(c.field.name)).collect();
            let named: Vec<usize> = named.into_iter().collect();
            let side = |conditions: &[Condition]| {
                let filter: Vec<Condition> =
                    claim.filter.iter().chain(conditions).cloned().collect();
                Sample::new(sweep, claim.metric, &filter, &named)
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
            let sample = Sample::new(sweep, claim.metric, &claim.filter, &[]);
            let test = match (at_least, at_most) {
                (Some(low), Some(high)) => format!("{low} <= mean <= {high}"),
                (Some(low), None) => format!("mean >= {low}"),
                (None, Some(high)) => format!("mean <= {high}"),
                (None, None) => "any mean".to_owned(),
            };
            (
                sample.by_seed().into_values().collect(),
                Region {
                    low: at_least.unwrap_or(f64::NEG_INFINITY),
                    high: at_most.unwrap_or(f64::INFINITY),
                    strict: false,
                },
                test,
                sample.contexts.len(),
                sample.missing,
                sample.seconds_a_seed,
            )
        }
    };
    let compared = matches!(claim.expect, Expectation::Compare { .. });
    let share = claim.metric.is_binary() && !compared && n_contexts == 1;
    let (n, estimate, sd) = (values.len(), describe::mean(&values), describe::sd(&values));
    let interval = interval_of(&values, share);
    let verdict = interval.map_or(Verdict::Undecided, |interval| region.judge(interval));
    let needed = match (verdict, estimate) {
        (Verdict::Undecided, Some(share_of_runs)) if share => {
            share_needs(share_of_runs, n, &region)
        }
        (Verdict::Undecided, Some(mean)) => {
            sd.and_then(|sd| required_seeds(region.distance(mean), sd, LEVEL, POWER))
        }
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

/// The fewest seeds beyond `n` with which the Wilson interval around this share would decide.
fn share_needs(share: f64, n: usize, region: &Region) -> Option<usize> {
    (n + 1..=n + MOST_SEEDS).find(|&n| {
        let successes = (share * n as f64).round() as usize;
        interval::wilson(successes, n, LEVEL).is_some_and(|i| region.judge(i) != Verdict::Undecided)
    })
}

/// One side of a comparison; an initializer needs no more than its name.
fn side_in_words(conditions: &[Condition]) -> String {
    let words = |condition: &Condition| match condition.field.name {
        "init" => condition.values_joined(" or "),
        name => format!("{name} {}", condition.values_joined(" or ")),
    };
    conditions.iter().map(words).collect::<Vec<_>>().join(", ")
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
