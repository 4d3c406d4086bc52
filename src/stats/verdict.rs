//! Decides claims: supported, refuted, undecided or not testable.
//!
//! Because a run may fail, three quantities can be tested ([`Estimand`]). Each has a test that is
//! valid for the few seeds of a sweep; its interval consists of the values that the test does not
//! reject, so p value, interval and verdict agree. A claim is wrongly decided with probability
//! [`ALPHA`] at most, half of it on each side, in each setting and over all of them.
//!
//! # Hyperparameters chosen in the seeds that judge them
//! The best of K settings looks better than it is. Every test of an arm's gain is therefore made at
//! 1/K of the level, where K is the number of settings that the gaining arm was chosen from
//! (Bonferroni); over S settings of a claim it is the product of their K. This is valid if runs
//! that validate well also test well, so that the other arm's choice works against the gain.
//! Choosing for each seed among the other seeds is not valid: the choices depend on one another,
//! and wrong decisions reach 32 % (`examples/validate.rs`). With fresh seeds no correction is
//! needed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::describe;
use crate::inference::Inference;
pub use crate::interval::ALPHA;
use crate::interval::{self, FRACTION, Interval};
use crate::planning::{self, SeedsNeeded};
pub use crate::power::Design;
use crate::proportion::Difference;
use crate::student::{EQUAL, Mean, sign_flip};
use wninit_core::grid::Scope;
use wninit_core::text::listed;

/// With fewer seeds a result is exploratory.
pub const CONFIRMING: usize = 6;

/// When seeds are added until a claim is decided, a setting is given up if its first `PATIENCE`
/// seeds leave nothing to compare (an arm trains in fewer than two of them, or none does). An arm
/// that trains in half of its seeds is given up with probability 0.011.
pub const PATIENCE: usize = 10;

/// Settings disagree if the test for interaction has this p value or less. The level is large,
/// because an average hides a missed disagreement.
const INTERACTION: f64 = 0.1;

/// The quantity tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Estimand {
    /// The share of seeds that train.
    Success,
    /// The mean over the runs that train (of a comparison of pairs: over seeds in which both do).
    GivenSuccess,
    /// The mean over all runs, in which a run that fails counts as a guess.
    Composite,
}

impl Estimand {
    /// The least number of finished seeds of an arm for a test.
    fn least_seeds(self) -> usize {
        if self == Estimand::GivenSuccess { 2 } else { 1 }
    }
}

/// The question for every setting.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Question {
    pub estimand: Estimand,
    pub design: Design,
    /// The values that support the claim, ends included; an end may be infinite.
    pub wanted: Interval,
    /// The values that a run that trains can have. Larger is better: losses are given with their sign
    /// changed.
    pub range: Interval,
    /// The value of a run that fails, for [`Estimand::Composite`].
    pub guess: f64,
    /// Whether the claim is about each setting, or about their mean, however they differ.
    pub scope: Scope,
    /// Whether seeds are added until the claim is decided.
    pub until_decided: bool,
}

/// The runs of one arm in one setting.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arm {
    /// By seed, the value of its run if it trained, `None` if it failed. There are several runs if
    /// all learning rates count; the seed then counts once, by their mean.
    pub seeds: BTreeMap<u64, Vec<Option<f64>>>,
    /// The number of hyperparameter settings from which these runs were chosen in the same seeds; 1
    /// if nothing was chosen, or in other seeds.
    pub choices: usize,
}

impl Arm {
    /// One number a seed.
    fn by_seed(&self, question: &Question) -> BTreeMap<u64, f64> {
        let of_seed = |runs: &Vec<Option<f64>>| {
            let values: Vec<f64> = match question.estimand {
                Estimand::Success => {
                    runs.iter().map(|run| f64::from(u8::from(run.is_some()))).collect()
                }
                Estimand::GivenSuccess => runs.iter().copied().flatten().collect(),
                Estimand::Composite => {
                    runs.iter().map(|run| run.unwrap_or(question.guess)).collect()
                }
            };
            describe::mean(&values)
        };
        self.seeds.iter().filter_map(|(seed, runs)| Some((*seed, of_seed(runs)?))).collect()
    }

    /// (seeds with a run that trained, all seeds)
    fn trained(&self) -> (usize, usize) {
        let trained = self.seeds.values().filter(|runs| runs.iter().any(Option::is_some));
        (trained.count(), self.seeds.len())
    }

    /// Its first n seeds.
    fn first(&self, n: usize) -> Arm {
        let seeds = self.seeds.iter().take(n).map(|(seed, runs)| (*seed, runs.clone()));
        Arm { seeds: seeds.collect(), choices: self.choices }
    }
}

/// One of the settings (a depth, a width, a data set) in which a claim is tested.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Display name.
    pub name: String,
    /// The arm that the claim is about; in a comparison, the one claimed to be better.
    pub a: Arm,
    /// The arm that it is compared with.
    pub b: Option<Arm>,
}

impl Setting {
    /// Number of seeds of the arm with fewer.
    fn seeds(&self) -> usize {
        let arms = std::iter::once(&self.a).chain(&self.b);
        arms.map(|arm| arm.seeds.len()).min().unwrap_or(0)
    }

    /// Whether an arm has too few finished seeds for a test.
    fn is_unfinished(&self, question: &Question) -> bool {
        self.seeds() < question.estimand.least_seeds()
    }

    /// Whether its first [`PATIENCE`] seeds leave nothing to compare.
    fn is_given_up(&self, question: &Question) -> bool {
        self.seeds() >= PATIENCE && {
            let (a, b) = (self.a.first(PATIENCE), self.b.as_ref().map(|b| b.first(PATIENCE)));
            let first = Setting { name: String::new(), a, b };
            infer(question, &[&first]).is_err()
        }
    }
}

/// The verdict on a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The whole interval is within the range claimed.
    Supported,
    /// The whole interval is outside the range claimed.
    Refuted,
    /// The interval is on both sides, settings disagree, or too few seeds are finished.
    Undecided,
    /// There is nothing to compare: an arm has fewer than two runs of the kind, all fail, or the
    /// metric has no bounds.
    NotTestable,
}

impl Verdict {
    /// Every verdict, the clearest first.
    pub const ALL: [Verdict; 4] =
        [Verdict::Supported, Verdict::Refuted, Verdict::Undecided, Verdict::NotTestable];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Supported => "supported",
            Verdict::Refuted => "refuted",
            Verdict::Undecided => "undecided",
            Verdict::NotTestable => "not testable",
        }
    }

    pub(crate) fn is_decided(self) -> bool {
        matches!(self, Verdict::Supported | Verdict::Refuted)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A verdict and the numbers behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// The share, the mean, or the difference a − b.
    pub estimate: Option<f64>,
    /// Standard deviation over seeds of the values averaged in `estimate`.
    pub sd: Option<f64>,
    /// The test that decided it, and whose interval is printed.
    pub inference: Option<Inference>,
    /// Seeds (pairs of them, in a paired comparison) that the test uses; of unpaired arms the smaller number.
    pub n: usize,
    /// Two-sided p value.
    pub p: Option<f64>,
    /// The same after Holm's correction over the claims of a sweep ([`adjust`]).
    pub p_holm: Option<f64>,
    /// For paired differences, the p value of the exact sign-flip test of the margin; for
    /// successes, McNemar's.
    pub p_sign_flip: Option<f64>,
    /// (seeds with a run that trained, all seeds) of a, and of b if there is one. Over several
    /// settings a seed counts in each.
    pub trained: Vec<(usize, usize)>,
    /// Number of hyperparameter choices that the interval allows for: of a, and of b.
    pub choices: (f64, f64),
    /// How many seeds would decide it, if the means and sds are those observed.
    pub seeds_needed: Option<SeedsNeeded>,
    /// The test.
    pub method: &'static str,
    /// Whether it is undecided because its settings disagree.
    pub settings_disagree: bool,
    /// Remarks: why undecided, settings left out.
    pub why: Option<String>,
}

impl Decision {
    /// The interval of the estimate, widened where hyperparameters were chosen in these seeds.
    pub fn interval(&self) -> Option<Interval> {
        let (low, high) = (ALPHA / 2.0 / self.choices.0, ALPHA / 2.0 / self.choices.1);
        self.inference.as_ref().map(|inference| inference.interval(low, high))
    }

    /// Fewer than [`CONFIRMING`] seeds, or hyperparameters chosen in the seeds that judge them.
    pub fn is_exploratory(&self) -> bool {
        self.n < CONFIRMING || self.choices.0 > 1.0 || self.choices.1 > 1.0
    }
}

/// The decision on a claim, in each setting and over all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The decision on the unweighted mean of the settings that could be tested.
    pub overall: Decision,
    /// The decision in each setting, in the order given.
    pub settings: Vec<(String, Decision)>,
    /// The settings without enough finished seeds for a test.
    pub unfinished: Vec<String>,
    /// The p value of "it is the same in every setting"; `None` if it cannot be tested.
    pub interaction: Option<f64>,
    /// Indices of the settings that need more seeds, if seeds are added until the claim is decided.
    /// Empty once it is decided, or once its settings are decided and disagree, or are given up
    /// ([`PATIENCE`]).
    pub open: Vec<usize>,
}

impl Answer {
    /// The settings with this verdict.
    pub fn settings_with(&self, verdict: Verdict) -> Vec<&str> {
        self.names(|decision| decision.verdict == verdict)
    }

    fn names(&self, wanted: impl Fn(&Decision) -> bool) -> Vec<&str> {
        let wanted = self.settings.iter().filter(|(_, decision)| wanted(decision));
        wanted.map(|(name, _)| name.as_str()).collect()
    }
}

/// Decides a claim in each setting, and over all of them if they agree or it is about their mean.
///
/// Settings disagree if the test for interaction finds a difference or one of them decides the
/// opposite. If all of them decide alike they agree. While one has too few finished seeds for a test,
/// nothing is decided over all: those that finish first are not a random choice.
///
/// If seeds are added until the claim is decided, the settings over which it is decided do not
/// depend on the time of the look: all but those given up ([`PATIENCE`]). Nothing is decided over
/// all of them until these are known.
pub fn decide(question: &Question, settings: &[Setting]) -> Answer {
    let one = |setting: &Setting| (setting.name.clone(), decide_over(question, &[setting]));
    let decisions: Vec<(String, Decision)> = settings.iter().map(one).collect();
    // A setting in which no run trains decides nothing alone, but its difference of successes is 0
    // and counts in the mean: leaving it out would favour the arm that trains elsewhere.
    let given = question.estimand == Estimand::GivenSuccess;
    let any = decisions.iter().any(|(_, decision)| decision.estimate.is_some());
    let counts = |setting: &Setting, decision: &Decision| {
        let given_up = question.until_decided && given && setting.is_given_up(question);
        (decision.estimate.is_some() && !given_up)
            || any && !given && decision.verdict == Verdict::NotTestable
    };
    let counted: Vec<usize> =
        (0..settings.len()).filter(|&i| counts(&settings[i], &decisions[i].1)).collect();
    let tested: Vec<&Setting> = counted.iter().map(|&i| &settings[i]).collect();
    let waits = |&i: &usize| decisions[i].1.estimate.is_none() && settings[i].seeds() < PATIENCE;
    let waiting: Vec<usize> = match question.until_decided {
        true => (0..settings.len()).filter(waits).collect(),
        false => Vec::new(),
    };
    let overall = match tested.as_slice() {
        [] => {
            // Unfinished settings may become testable.
            let open = decisions.iter().find(|(_, d)| d.verdict == Verdict::Undecided);
            open.or(decisions.first()).map_or_else(
                || nothing("No seed is finished yet".to_owned(), Verdict::Undecided),
                |(_, decision)| decision.clone(),
            )
        }
        tested => decide_over(question, tested),
    };
    let interaction = interaction(question, &tested);
    let unfinished = settings.iter().filter(|setting| setting.is_unfinished(question));
    let unfinished = unfinished.map(|setting| setting.name.clone()).collect();
    let mut answer =
        Answer { overall, settings: decisions, unfinished, interaction, open: Vec::new() };
    let verdict = answer.overall.verdict;
    if tested.len() > 1 && verdict.is_decided() && question.scope == Scope::Each {
        let opposite = match verdict {
            Verdict::Supported => Verdict::Refuted,
            _ => Verdict::Supported,
        };
        let differ = answer.interaction.is_some_and(|p| p <= INTERACTION)
            || !answer.settings_with(opposite).is_empty();
        if differ && answer.settings_with(verdict).len() < tested.len() {
            answer.overall.verdict = Verdict::Undecided;
            answer.overall.settings_disagree = true;
            let verdicts = Verdict::ALL[..3].iter().map(|v| (v, answer.settings_with(*v)));
            let parts: Vec<String> = verdicts
                .filter(|(_, names)| !names.is_empty())
                .map(|(verdict, names)| format!("{verdict} at {}", listed(&names)))
                .collect();
            answer.overall.why = Some(format!("Settings disagree: {}", parts.join("; ")));
        }
    }
    let waits = given && !waiting.is_empty() || !answer.unfinished.is_empty();
    if waits && answer.overall.verdict.is_decided() {
        answer.overall.verdict = Verdict::Undecided;
    }
    if question.until_decided && !answer.overall.verdict.is_decided() {
        let verdict = |i: usize| answer.settings[i].1.verdict;
        let has = |verdict: Verdict| !answer.settings_with(verdict).is_empty();
        let disagree = question.scope == Scope::Each
            && (has(Verdict::Supported) && has(Verdict::Refuted)
                || answer.overall.p.is_some_and(|p| p <= ALPHA));
        // The mean over all settings needs seeds of all of them. If they disagree, each is decided
        // alone.
        let wanting = |i: &usize| !disagree || verdict(*i) == Verdict::Undecided;
        let open = counted.iter().copied().filter(wanting).chain(waiting);
        answer.open = open.collect::<BTreeSet<usize>>().into_iter().collect();
    }
    if !tested.is_empty() {
        let mut notes: Vec<String> = answer.overall.why.take().into_iter().collect();
        let never = answer.settings_with(Verdict::NotTestable);
        let unfinished = answer.unfinished.iter().map(String::as_str).collect();
        for (what, names) in [("Not testable", never), ("Not finished", unfinished)] {
            if !names.is_empty() {
                notes.push(format!("{what} at {}", listed(&names)));
            }
        }
        answer.overall.why = (!notes.is_empty()).then(|| notes.join(". "));
    }
    answer
}

/// Adds Holm's correction over the claims of a sweep. Claims that could not be tested do not count.
pub fn adjust(decisions: &mut [&mut Decision]) {
    let p: Vec<f64> = decisions.iter().filter_map(|decision| decision.p).collect();
    let tested = decisions.iter_mut().filter(|decision| decision.p.is_some());
    for (decision, adjusted) in tested.zip(interval::holm(&p)) {
        decision.p_holm = Some(adjusted);
    }
}

fn nothing(why: String, verdict: Verdict) -> Decision {
    Decision {
        verdict,
        estimate: None,
        sd: None,
        inference: None,
        n: 0,
        p: None,
        p_holm: None,
        p_sign_flip: None,
        trained: Vec::new(),
        choices: (1.0, 1.0),
        seeds_needed: None,
        method: "",
        settings_disagree: false,
        why: Some(why),
    }
}

fn decide_over(question: &Question, settings: &[&Setting]) -> Decision {
    let trained = |arm: fn(&Setting) -> Option<&Arm>| {
        let counts: Vec<_> = settings.iter().filter_map(|s| arm(s)).map(Arm::trained).collect();
        counts.into_iter().reduce(|sum, one| (sum.0 + one.0, sum.1 + one.1))
    };
    let trained: Vec<(usize, usize)> =
        trained(|s| Some(&s.a)).into_iter().chain(trained(|s| s.b.as_ref())).collect();
    let product = |arm: fn(&Setting) -> Option<&Arm>| {
        settings.iter().filter_map(|s| arm(s)).map(|arm| arm.choices.max(1) as f64).product()
    };
    let choices: (f64, f64) = (product(|s| Some(&s.a)), product(|s| s.b.as_ref()));
    let (inference, values, n) = match infer(question, settings) {
        Ok(found) => found,
        Err((verdict, why)) => return Decision { trained, choices, ..nothing(why, verdict) },
    };
    let compared = settings.iter().all(|setting| setting.b.is_some());
    let Interval { low, high } = question.wanted;
    // A gain of a is corrected for a's choices, a loss for b's; the mean of one arm is only
    // overstated by its choice.
    let above = |bound: f64| choices.0 * inference.p_above(bound);
    let below = |bound: f64| choices.1 * inference.p_below(bound);
    let ends = [(low.is_finite(), low), (high.is_finite(), high)];
    let (supports, refutes) = match ends {
        [(true, low), (true, high)] => (above(low).max(below(high)), below(low).min(above(high))),
        [(true, low), _] => (above(low), below(low)),
        [_, (true, high)] => (below(high), above(high)),
        _ => (0.0, 1.0), // any value is wanted
    };
    let p = (2.0 * supports.min(refutes)).min(1.0);
    let verdict = match (p <= ALPHA, supports <= refutes) {
        (true, true) => Verdict::Supported,
        (true, false) => Verdict::Refuted,
        _ => Verdict::Undecided,
    };
    let margin = if low.is_finite() { low } else { high };
    let flip = question.design == Design::Paired && compared && !question.until_decided;
    let from_margin: Vec<f64> = values.iter().map(|x| x - margin).collect();
    let needed = match (verdict, &inference) {
        (Verdict::Undecided, Inference::Student(..)) => {
            planning::seeds_needed(&values, question.wanted)
        }
        (Verdict::Undecided, _) if !question.until_decided => {
            planning::share_seeds_needed(&values, inference.range(), question.wanted)
        }
        _ => None,
    };
    Decision {
        verdict,
        estimate: Some(inference.estimate()),
        sd: describe::sd(&values),
        n,
        p: Some(p),
        p_holm: None,
        p_sign_flip: if flip && margin.is_finite() { sign_flip(&from_margin) } else { None },
        trained,
        choices,
        seeds_needed: needed,
        method: inference.method(),
        inference: Some(inference),
        settings_disagree: false,
        why: None,
    }
}

/// The test for these settings, one value (or difference) for each seed that has all of them, and
/// the number of seeds.
type Found = (Inference, Vec<f64>, usize);

fn infer(question: &Question, settings: &[&Setting]) -> Result<Found, (Verdict, String)> {
    let a: Vec<_> = settings.iter().map(|setting| setting.a.by_seed(question)).collect();
    let b: Option<Vec<_>> = settings
        .iter()
        .map(|setting| setting.b.as_ref().map(|arm| arm.by_seed(question)))
        .collect();
    testable(question, settings)?;
    let given = question.estimand == Estimand::GivenSuccess;
    let range = match question.estimand {
        Estimand::Success => FRACTION,
        _ => question.range,
    };
    let few = || (Verdict::NotTestable, "Fewer than two seeds trained in both arms".to_owned());
    let (series, range) = match &b {
        None => (a.clone(), range),
        Some(b) => {
            let span = range.high - range.low;
            let differences = a.iter().zip(b).map(|(a, b)| differences(question.design, a, b));
            (differences.collect(), Interval { low: -span, high: span })
        }
    };
    let values = means_by_seed(&series);
    if values.is_empty() && !given {
        return Err((Verdict::Undecided, "No seed is finished in all settings yet".to_owned()));
    }
    let bounded = range.is_bounded();
    if question.until_decided {
        if given && values.len() < 2 {
            return Err(few());
        }
        let n = values.len();
        let inference = if given {
            Inference::Mixture(values.clone(), range)
        } else if bounded {
            Inference::Betting(values.clone(), range)
        } else {
            return Err((Verdict::NotTestable, "The metric has no bounds".to_owned()));
        };
        return Ok((inference, values, n));
    }
    if given {
        let mean = match (&b, question.design) {
            (Some(b), Design::Unpaired) => {
                Mean::over(&a).zip(Mean::over(b)).map(|(a, b)| a.minus(b))
            }
            _ => Mean::over(&series),
        };
        let mean = mean.ok_or_else(few)?;
        let n = series.iter().map(BTreeMap::len).min().unwrap_or(0);
        return match mean.is_constant() {
            false => Ok((Inference::Student(mean, range), values, n)),
            // Equal values have no t interval; use the distribution-free bound instead.
            true if bounded && !values.is_empty() => {
                Ok((Inference::Bounded(values.clone(), range), values, n))
            }
            true => Err((Verdict::Undecided, "The values have no spread".to_owned())),
        };
    }
    if !bounded {
        return Err((Verdict::NotTestable, "The metric has no bounds".to_owned()));
    }
    let n = values.len();
    // One run per seed: counts.
    let whole = |arm: &BTreeMap<u64, f64>| arm.values().all(|x| *x == 0.0 || *x == 1.0);
    let successes =
        |arm: &BTreeMap<u64, f64>| (arm.values().filter(|x| **x == 1.0).count(), arm.len());
    let counted = question.estimand == Estimand::Success && settings.len() == 1;
    let inference = match (&b, question.design) {
        (None, _) if counted && whole(&a[0]) => {
            let (k, n) = successes(&a[0]);
            Inference::Share { k, n }
        }
        (Some(b), _) if counted && whole(&a[0]) && whole(&b[0]) => {
            Inference::Difference(match question.design {
                Design::Paired => {
                    let only = |sign: f64| values.iter().filter(|x| **x == sign).count();
                    Difference::Paired { n, only_a: only(1.0), only_b: only(-1.0) }
                }
                Design::Unpaired => {
                    Difference::Unpaired { a: successes(&a[0]), b: successes(&b[0]) }
                }
            })
        }
        _ => Inference::Bounded(values.clone(), range),
    };
    Ok((inference, values, n))
}

/// Checks that the claim can be tested.
fn testable(question: &Question, settings: &[&Setting]) -> Result<(), (Verdict, String)> {
    for setting in settings {
        let arms: Vec<(usize, usize)> =
            std::iter::once(&setting.a).chain(&setting.b).map(Arm::trained).collect();
        let given = question.estimand == Estimand::GivenSuccess;
        if setting.is_unfinished(question) {
            let why = match question.estimand.least_seeds() {
                1 => "An arm has no finished seed".to_owned(),
                _ => "An arm has fewer than two finished seeds".to_owned(),
            };
            return Err((Verdict::Undecided, why));
        }
        if given && arms.iter().any(|(trained, _)| *trained < 2) {
            let why = "An arm has fewer than two seeds that trained".to_owned();
            return Err((Verdict::NotTestable, why));
        }
    }
    let on_the_floor = |setting: &&Setting| {
        let arms = std::iter::once(&setting.a).chain(&setting.b);
        setting.b.is_some() && arms.map(Arm::trained).all(|(trained, _)| trained == 0)
    };
    if settings.iter().all(on_the_floor) {
        return Err((Verdict::NotTestable, "No run of either arm trained".to_owned()));
    }
    Ok(())
}

/// a − b by seed. Unpaired arms are matched in the order of their seeds: any order that does not
/// depend on the values is valid.
fn differences(
    design: Design,
    a: &BTreeMap<u64, f64>,
    b: &BTreeMap<u64, f64>,
) -> BTreeMap<u64, f64> {
    match design {
        Design::Paired => {
            a.iter().filter_map(|(seed, x)| Some((*seed, x - b.get(seed)?))).collect()
        }
        Design::Unpaired => a.iter().zip(b.values()).map(|((seed, x), y)| (*seed, x - y)).collect(),
    }
}

/// The mean over settings of the seeds that have all of them.
fn means_by_seed(settings: &[BTreeMap<u64, f64>]) -> Vec<f64> {
    let Some((first, rest)) = settings.split_first() else { return Vec::new() };
    let of_seed = |(seed, value): (&u64, &f64)| {
        let others: Option<Vec<f64>> = rest.iter().map(|s| s.get(seed).copied()).collect();
        let others = others?;
        Some((value + others.iter().sum::<f64>()) / settings.len() as f64)
    };
    first.iter().filter_map(of_seed).collect()
}

/// The p value of "a claim's number is the same in every setting": each setting against the mean of
/// the others by a paired t test over seeds, the smallest p value times their number. On shares it
/// is anti-conservative; the cost is an unneeded "settings disagree".
fn interaction(question: &Question, settings: &[&Setting]) -> Option<f64> {
    let series: Vec<BTreeMap<u64, f64>> = settings
        .iter()
        .map(|setting| {
            let a = setting.a.by_seed(question);
            match &setting.b {
                None => a,
                Some(b) => differences(question.design, &a, &b.by_seed(question)),
            }
        })
        .collect();
    if series.len() < 2 {
        return None;
    }
    // By seed, the sum over the settings that have it, and their number.
    let mut sums: BTreeMap<u64, (f64, usize)> = BTreeMap::new();
    for (seed, value) in series.iter().flatten() {
        let (sum, n) = sums.entry(*seed).or_default();
        (*sum, *n) = (*sum + value, *n + 1);
    }
    let contrast = |j: usize| {
        let against = |(seed, value): (&u64, &f64)| {
            let (sum, n) = sums[seed];
            (n > 1).then(|| (*seed, value - (sum - value) / (n - 1) as f64))
        };
        let contrasts: BTreeMap<u64, f64> = series[j].iter().filter_map(against).collect();
        let mean = Mean::over(&[contrasts])?;
        Some(match mean.is_constant() {
            false => 2.0 * mean.p_above(0.0).min(mean.p_below(0.0)),
            true if mean.value.abs() > EQUAL => 0.0,
            true => 1.0,
        })
    };
    let smallest = (0..series.len()).filter_map(contrast).min_by(f64::total_cmp)?;
    // Of two settings both contrasts are the same.
    let tests = if series.len() == 2 { 1.0 } else { series.len() as f64 };
    Some((smallest * tests).min(1.0))
}
