//! The claims of a sweep, with their verdicts.

use std::collections::BTreeSet;

use super::cells::Cells;
use super::columns::readable_p;
use super::sample::{Sides, Wanted, in_words, sides};
use crate::interval::Interval;
use crate::planning::SeedsNeeded;
use crate::verdict::{
    ALPHA, Answer, Arm, CONFIRMING, Decision, Design, Estimand, Question, Setting, Verdict, decide,
};
use wninit_core::columns;
use wninit_core::fmt::{duration, p_value, plural};
use wninit_core::grid::{Claim, Condition, Expectation, Metric, Scope, UntilDecided};
use wninit_core::table::Column;
use wninit_core::text::listed;

/// A claim with its verdict: a row of `claims.csv`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // COLUMNS documents each
pub struct ClaimResult {
    pub text: String,
    pub metric: Metric,
    pub r#where: String,
    /// The tested statement: `a - b > 0.1`.
    pub test: String,
    /// The values of the mean that support it; an end may be infinite.
    pub wanted: Interval,
    /// The verdicts, overall and in each setting.
    pub answer: Answer,
    pub estimate: Option<f64>,
    pub interval: Option<Interval>,
    /// Runs that trained (if the claim is about divergence, that did not diverge), and all runs that count: of a single arm, or of both sides in the order of `test`.
    pub success: Vec<(usize, usize)>,
    pub n_missing: usize,
    /// Finished runs whose seed is not finished in every arm.
    pub n_left_out: usize,
    pub seconds_needed: Option<f64>,
    /// The rule for adding seeds until it is decided; `None` if their number is fixed.
    pub until_decided: Option<UntilDecided>,
    /// By setting and side, the cells that it is about.
    pub(super) cells: Vec<Vec<Vec<usize>>>,
    pub(super) seeds: usize,
}

/// The columns of `claims.csv`.
pub(super) static COLUMNS: &[Column<ClaimResult>] = columns![ClaimResult;
    "text": "", "the claim in words", "" => |c| c.text.as_str();
    "verdict": "", "supported: the interval is beyond the threshold; refuted: on the other side; undecided: neither, or settings disagree; not testable: nothing to compare", ""
        => |c| c.verdict().name();
    "metric": "", "its metric; accuracies and losses are those of the jobs that train, except composite_acc", ""
        => |c| c.metric.name();
    "where": "", "the jobs that it is about", "all" => |c| c.r#where.as_str();
    "test": "", "what was tested", "" => |c| c.test.as_str();
    "estimate": "the metric's", "mean, or mean difference, positive if the claim is right; each side at its best lr on validation", "nothing to test"
        => |c| c.estimate;
    "low": "the metric's", "lower end of its 95 % interval, wider if hyperparameters were chosen in the same seeds", "nothing to test"
        => |c| c.interval.map(|i| i.low);
    "high": "the metric's", "upper end of its 95 % interval", "as low" => |c| c.interval.map(|i| i.high);
    "sd": "the metric's", "standard deviation over seeds of the values averaged in estimate", "fewer than two seeds"
        => |c| c.overall().sd;
    "n": "seeds", "seeds that the test uses; fewer than 6 are exploratory", "" => |c| c.overall().n;
    "p": "", "two-sided p value", "nothing to test" => |c| c.overall().p.map(readable_p);
    "p_holm": "", "the same after Holm's correction over the sweep's claims", "nothing to test" => |c| c.overall().p_holm.map(readable_p);
    "p_sign_flip": "", "p value of the exact sign-flip test of the threshold (of successes: McNemar's)", "not a comparison of paired seeds"
        => |c| c.overall().p_sign_flip.map(readable_p);
    "n_success": "jobs", "jobs that trained (neither diverged nor at chance); of a claim about diverged, that did not diverge: of the first side", "" => |c| c.success_of(0).map(|s| s.0);
    "n_runs": "jobs", "jobs of the first side that count", "" => |c| c.success_of(0).map(|s| s.1);
    "n_success_other": "jobs", "as n_success, of the second side", "one side only" => |c| c.success_of(1).map(|s| s.0);
    "n_runs_other": "jobs", "as n_runs, of the second side", "one side only" => |c| c.success_of(1).map(|s| s.1);
    "method": "", "the test", "nothing to test" => |c| c.overall().method;
    "until_decided": "", "stopped or open, if seeds are added until claims are decided", "the number of seeds is fixed"
        => |c| c.until_decided.map(|_| if c.is_open() { "open" } else { "stopped" });
    "choices": "", "settings that hyperparameters were chosen from in these seeds, multiplied over settings: the larger of both sides", ""
        => |c| c.overall().choices.0.max(c.overall().choices.1);
    "n_contexts": "settings", "settings over which each seed is averaged", "" => |c| c.answer.settings.len();
    "settings": "", "the verdict in each setting", "one setting" => |c| c.settings();
    "p_interaction": "", "p value of: it is the same in every setting", "one setting" => |c| c.answer.interaction.map(readable_p);
    "n_missing": "jobs", "planned jobs that it is about and that are not finished", "" => |c| c.n_missing;
    "n_left_out": "jobs", "finished jobs left out, because their seed is not finished in every arm of their setting", "" => |c| c.n_left_out;
    "seeds_needed": "seeds", "fresh seeds that would decide it with probability 0.8 at the observed mean and sd", "decided, over 1000, or not known"
        => |c| c.needed().and_then(|s| s.n);
    "seeds_needed_low": "seeds", "the same at the far end of the effect's 95 % interval", "as seeds_needed"
        => |c| c.needed().and_then(|s| s.low);
    "seeds_needed_high": "seeds", "the same at its near end", "as seeds_needed"
        => |c| c.needed().and_then(|s| s.high);
    "seconds_needed": "s", "seconds of training (of one worker) that seeds_needed would take at the chosen hyperparameters", "as seeds_needed"
        => |c| c.seconds_needed;
];

/// A claim in one of its settings, decided there alone: a row of `settings.csv`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // SETTING_COLUMNS documents each
pub struct SettingResult {
    pub claim: String,
    pub setting: String,
    pub estimate: Option<f64>,
    pub interval: Option<Interval>,
    pub decision: Decision,
    /// As [`ClaimResult::success`], in this setting.
    pub success: Vec<(usize, usize)>,
}

/// The columns of `settings.csv`.
pub(super) static SETTING_COLUMNS: &[Column<SettingResult>] = columns![SettingResult;
    "claim": "", "the claim in words", "" => |s| s.claim.as_str();
    "setting": "", "one of the settings that it is about", "" => |s| s.setting.as_str();
    "verdict": "", "as in claims.csv, from this setting alone", "" => |s| s.decision.verdict.name();
    "estimate": "the claim's metric", "as in claims.csv, in this setting", "nothing to test" => |s| s.estimate;
    "low": "the claim's metric", "lower end of its 95 % interval, wider if hyperparameters were chosen in the same seeds", "nothing to test"
        => |s| s.interval.map(|i| i.low);
    "high": "the claim's metric", "upper end of its 95 % interval", "as low" => |s| s.interval.map(|i| i.high);
    "n": "seeds", "seeds that the test uses; fewer than 6 are exploratory", "" => |s| s.decision.n;
    "p": "", "two-sided p value of this setting alone: not corrected for the number of settings", "nothing to test"
        => |s| s.decision.p.map(readable_p);
    "n_success": "jobs", "as in claims.csv, in this setting", "" => |s| s.success.first().map(|s| s.0);
    "n_runs": "jobs", "as in claims.csv, in this setting", "" => |s| s.success.first().map(|s| s.1);
    "n_success_other": "jobs", "as n_success, of the second side", "one side only" => |s| s.success.get(1).map(|s| s.0);
    "n_runs_other": "jobs", "as n_runs, of the second side", "one side only" => |s| s.success.get(1).map(|s| s.1);
    "method": "", "the test", "nothing to test" => |s| s.decision.method;
];

/// Why two sides that both have jobs cannot be compared.
const NOTHING_IN_COMMON: &str = "No setting has jobs of both sides. If each side names its learning rate, as in \
                                 better = { init = …, lr = … }, different ones are compared";

pub(super) fn settle(sweep: &Cells, claim: &Claim, rule: Option<UntilDecided>) -> ClaimResult {
    let metric = claim.metric;
    let measure = Measure::of(metric);
    let (filters, named, wanted, test): (Vec<Vec<Condition>>, BTreeSet<usize>, _, _) =
        match &claim.expect {
            Expectation::Compare { better, than, margin } => {
                let of_side =
                    |side: &Vec<Condition>| claim.filter.iter().chain(side).cloned().collect();
                let named = better.iter().chain(than).filter_map(|c| sweep.axis(c.field.name));
                let (first, second) =
                    if metric.lower_is_better() { (than, better) } else { (better, than) };
                (
                    vec![of_side(better), of_side(than)],
                    named.collect(),
                    Interval { low: *margin, high: f64::INFINITY },
                    format!("{} - {} > {margin}", side_in_words(first), side_in_words(second)),
                )
            }
            Expectation::Within { at_least, at_most } => {
                let test = match (at_least, at_most) {
                    (Some(low), Some(high)) => format!("{low} <= mean <= {high}"),
                    (Some(low), None) => format!("mean >= {low}"),
                    (None, Some(high)) => format!("mean <= {high}"),
                    (None, None) => "any mean".to_owned(),
                };
                let low = at_least.unwrap_or(f64::NEG_INFINITY);
                let high = at_most.unwrap_or(f64::INFINITY);
                (vec![claim.filter.clone()], BTreeSet::new(), Interval { low, high }, test)
            }
        };
    let test = match claim.settings {
        Scope::Each => test,
        Scope::Mean => format!("{test}, in the mean over settings"),
    };
    let compared = filters.len() == 2;
    let jobs: Vec<Wanted> = filters.iter().map(|filter| Wanted::by(sweep, filter)).collect();
    let sides = sides(sweep, metric, &jobs, &named.into_iter().collect::<Vec<_>>());
    let asked = if compared { wanted } else { measure.turned(wanted) };
    let question = Question {
        scope: claim.settings,
        until_decided: rule.is_some(),
        ..measure.question(sweep, &sides, asked)
    };
    let mut answer = answer(&question, &sides);
    if sides.settings.is_empty() && jobs.iter().all(Wanted::has_jobs) {
        answer.overall.verdict = Verdict::NotTestable;
        answer.overall.why = Some(NOTHING_IN_COMMON.to_owned());
    }
    let open = answer.open.iter().filter_map(|&i| sides.cells.get(i)).flatten().flatten();
    let (estimate, interval) = measure.shown(&answer.overall, compared);
    let success = measure.in_order_of_test(sides.success);
    ClaimResult {
        text: claim.text.clone(),
        metric,
        r#where: in_words(&claim.filter),
        test,
        wanted,
        estimate,
        interval,
        success,
        n_missing: sides.missing,
        n_left_out: sides.left_out,
        seconds_needed: answer
            .overall
            .seeds_needed
            .and_then(|needed| needed.n)
            .map(|n| n as f64 * sides.seconds_a_seed)
            .filter(|seconds| *seconds > 0.0),
        until_decided: rule,
        seeds: open.map(|&cell| sweep.cells[cell].planned.len()).min().unwrap_or(0),
        cells: sides.cells,
        answer,
    }
}

fn answer(question: &Question, sides: &Sides) -> Answer {
    let setting = |(name, arms): &(String, Vec<Arm>)| Setting {
        name: name.clone(),
        a: arms.first().cloned().unwrap_or_default(),
        b: arms.get(1).cloned(),
    };
    decide(question, &sides.settings.iter().map(setting).collect::<Vec<_>>())
}

/// A metric in the terms of `verdict`: larger is better.
pub(super) struct Measure {
    metric: Metric,
    pub estimand: Estimand,
}

impl Measure {
    pub(super) fn of(metric: Metric) -> Measure {
        let estimand = match metric {
            Metric::Success | Metric::Diverged => Estimand::Success,
            Metric::CompositeAcc => Estimand::Composite,
            // For a metric that every finished run has, such as its seconds, all runs count as
            // trained.
            _ => Estimand::GivenSuccess,
        };
        Measure { metric, estimand }
    }

    /// An interval in the terms of `verdict`: a loss changes its sign, and success is not to
    /// diverge.
    pub(super) fn turned(&self, Interval { low, high }: Interval) -> Interval {
        match self.metric {
            Metric::Diverged => Interval { low: 1.0 - high, high: 1.0 - low },
            metric if metric.lower_is_better() => Interval { low: -high, high: -low },
            _ => Interval { low, high },
        }
    }

    /// The estimate and interval of a decision in the metric's terms; of a comparison, positive if
    /// the claim is right.
    fn shown(&self, decision: &Decision, compared: bool) -> (Option<f64>, Option<Interval>) {
        let back = |interval| if compared { interval } else { self.turned(interval) };
        let estimate = decision.estimate.map(|x| back(Interval { low: x, high: x }).low);
        (estimate, decision.interval().map(back))
    }

    /// Each side's counts in the order of [`ClaimResult::test`], whose difference is positive if the
    /// claim is right.
    fn in_order_of_test(&self, mut counts: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
        if self.metric.lower_is_better() {
            counts.reverse();
        }
        counts
    }

    /// Decides whether the number of one side, or the difference between two, is in `wanted`, in
    /// the terms of `verdict`.
    pub(super) fn ask(&self, sweep: &Cells, sides: &Sides, wanted: Interval) -> Answer {
        answer(&self.question(sweep, sides, wanted), sides)
    }

    fn question(&self, sweep: &Cells, sides: &Sides, wanted: Interval) -> Question {
        Question {
            estimand: self.estimand,
            design: if sides.paired { Design::Paired } else { Design::Unpaired },
            wanted,
            range: self.range(sweep),
            guess: sides.guess,
            scope: Scope::Each,
            until_decided: false,
        }
    }

    /// Its possible values, in the terms of `verdict`.
    fn range(&self, sweep: &Cells) -> Interval {
        use Metric::*;
        let epochs = || sweep.cells.iter().map(|cell| cell.job.epochs).max().unwrap_or(0);
        let high = match self.metric {
            EpochsDone | BestEpoch => f64::from(epochs()),
            metric if metric.is_fraction() => 1.0,
            _ => f64::INFINITY,
        };
        let low = if self.metric == LogSpectralNorm { f64::NEG_INFINITY } else { 0.0 };
        self.turned(Interval { low, high })
    }

    fn in_words(&self) -> String {
        use Metric::*;
        match self.metric {
            TestAcc | BestValAcc | ValAcc | TrainAcc | TestLoss | ValLoss | TrainLoss => {
                format!("{} given success", self.metric)
            }
            metric => metric.to_string(),
        }
    }
}

/// Display name of one side of a comparison; for an initializer, only its name.
fn side_in_words(conditions: &[Condition]) -> String {
    let words = |condition: &Condition| match condition.field.name {
        "init" => condition.values_joined(" or "),
        name => format!("{name} {}", condition.values_joined(" or ")),
    };
    conditions.iter().map(words).collect::<Vec<_>>().join(", ")
}

impl ClaimResult {
    fn overall(&self) -> &Decision {
        &self.answer.overall
    }

    /// The verdict over all settings.
    pub fn verdict(&self) -> Verdict {
        self.overall().verdict
    }

    /// Seeds that the test uses.
    pub fn n(&self) -> usize {
        self.overall().n
    }

    /// Whether the sweep's rule adds more seeds to decide it.
    pub fn is_open(&self) -> bool {
        let most = self.until_decided.map_or(0, |rule| rule.max_seeds);
        !self.answer.open.is_empty() && self.seeds < most && self.metric != Metric::LogSpectralNorm
    }

    /// How many fresh seeds would decide it.
    pub fn needed(&self) -> Option<SeedsNeeded> {
        self.overall().seeds_needed
    }

    /// The claim in each of its settings, if it has more than one.
    pub fn in_settings(&self) -> Vec<SettingResult> {
        if self.answer.settings.len() < 2 {
            return Vec::new();
        }
        let (measure, compared) = (Measure::of(self.metric), self.success.len() == 2);
        let of = |(setting, decision): &(String, Decision)| {
            let (estimate, interval) = measure.shown(decision, compared);
            SettingResult {
                claim: self.text.clone(),
                setting: setting.clone(),
                estimate,
                interval,
                decision: decision.clone(),
                success: measure.in_order_of_test(decision.trained.clone()),
            }
        };
        self.answer.settings.iter().map(of).collect()
    }

    fn success_of(&self, side: usize) -> Option<(usize, usize)> {
        self.success.get(side).copied()
    }

    /// `trained 20/20 against 0/20`; `None` if nothing counts.
    fn counts(&self) -> Option<String> {
        let what = if self.metric == Metric::Diverged { "did not diverge" } else { "trained" };
        let counts: Vec<String> = self.success.iter().map(|(k, n)| format!("{k}/{n}")).collect();
        let any = self.success.iter().any(|(_, n)| *n > 0);
        any.then(|| format!("{what} {}", counts.join(" against ")))
    }

    /// `supported at depth 50; undecided at depth 100`; empty for one setting.
    fn settings(&self) -> String {
        if self.answer.settings.len() < 2 {
            return String::new();
        }
        let at = |verdict: Verdict| {
            let names = self.answer.settings_with(verdict);
            (!names.is_empty()).then(|| format!("{verdict} at {}", names.join(", ")))
        };
        Verdict::ALL.into_iter().filter_map(at).collect::<Vec<_>>().join("; ")
    }

    /// The numbers behind the verdict, and how to decide the claim, in a few sentences.
    pub fn reason(&self) -> String {
        let overall = self.overall();
        let mut text = format!("{} {}", Measure::of(self.metric).in_words(), self.test);
        if !self.r#where.is_empty() {
            text += &format!(" ({})", self.r#where);
        }
        match (self.estimate, self.interval) {
            (Some(x), Some(i)) => {
                let [x, low, high] = [x, i.low, i.high].map(three);
                text += &format!(": {x} [{low}, {high}], n = {}", overall.n)
            }
            _ if self.success.iter().all(|(_, n)| *n == 0) => text += ": no finished seeds",
            _ => {}
        }
        if self.answer.settings.len() > 1 && self.estimate.is_some() {
            text += &format!(", mean of {} settings", self.answer.settings.len());
        }
        if let Some(p) = overall.p {
            text += &format!("; {}, p = {}", overall.method, p_value(p));
            if let Some(holm) = overall.p_holm {
                text += &format!(" (Holm {})", p_value(holm));
            }
        }
        if let Some(p) = overall.p_sign_flip {
            text += &format!(", sign-flip p = {}", p_value(p));
        }
        if let Some(counts) = self.counts() {
            text += &format!("; {counts}");
        }
        text.push('.');
        if let Some(why) = &overall.why {
            text += &format!(" {why}.");
        }
        let (decided, disagree) = (self.verdict().is_decided(), overall.settings_disagree);
        if self.answer.settings.len() > 1 && !disagree {
            for &verdict in &Verdict::ALL[..3] {
                let alone = self.answer.settings_with(verdict);
                if verdict != self.verdict() && !alone.is_empty() {
                    text += &format!(" Alone {verdict} at {}.", listed(&alone));
                }
            }
        }
        if decided && overall.p_holm.is_some_and(|p| p > ALPHA) {
            text += " It does not survive Holm's correction over the sweep's claims.";
        }
        if self.n_missing > 0 {
            text += &format!(" {} of it not finished.", plural(self.n_missing, "planned run"));
        }
        if self.n_left_out > 0 {
            let runs = plural(self.n_left_out, "finished run");
            text += &format!(" {runs} left out: their seeds are not finished in every arm.");
        }
        if self.estimate.is_some() && overall.n < CONFIRMING {
            text += &format!(" Exploratory: fewer than {CONFIRMING} seeds.");
        }
        let chosen = overall.choices.0.max(overall.choices.1) > 1.0;
        if let Some(rule) = self.until_decided {
            text += &self.stopped(rule);
        } else if self.verdict() == Verdict::Undecided {
            text += &self.remedy(disagree);
        } else if chosen && decided {
            text += " Hyperparameters were chosen in these seeds: judge it by fresh ones with \
                     `wninit confirm DIR`.";
        }
        text
    }

    /// Whether the rule has stopped, as a sentence.
    fn stopped(&self, UntilDecided { max_seeds, .. }: UntilDecided) -> String {
        match self.is_open() {
            _ if self.metric == Metric::LogSpectralNorm => String::new(), // training does not affect it
            true => format!(" Open: the same `wninit run` adds seeds, up to {max_seeds}."),
            false if self.verdict().is_decided() => format!(
                " Decided by its stopping rule; wrong decisions ≤ {} % over the whole path.",
                100.0 * ALPHA
            ),
            false if self.answer.open.is_empty() => " More seeds would not decide it.".to_owned(),
            false => {
                format!(" Ended at the maximum number of seeds of its stopping rule, {max_seeds}.")
            }
        }
    }

    /// The shortest useful reason for the verdict.
    pub fn brief(&self) -> String {
        let overall = self.overall();
        let mut parts = Vec::new();
        if let (Some(x), Some(i)) = (self.estimate, self.interval) {
            let [x, low, high] = [x, i.low, i.high].map(three);
            let asked = self.test.rsplit_once(" > ").map(|(_, margin)| format!("> {margin}"));
            let asked = asked.unwrap_or_else(|| self.test.clone());
            parts.push(format!("{x} [{low}, {high}], threshold {asked}; n = {}", overall.n));
        }
        if let (Some(p), Some(holm)) = (overall.p, overall.p_holm) {
            parts.push(format!("p = {} (Holm {})", p_value(p), p_value(holm)));
        }
        if self.until_decided.is_some() && overall.p.is_some() {
            parts.push(overall.method.to_owned());
        }
        parts.extend(self.counts());
        let mut text = parts.join("; ");
        if let Some(why) = &overall.why {
            text += &format!("{}{why}", if text.is_empty() { "" } else { ". " });
        }
        if let Some(rule) = self.until_decided {
            return text + "." + &self.stopped(rule);
        }
        if self.verdict().is_decided() {
            if overall.p_holm.is_some_and(|p| p > ALPHA) {
                text += ". Not after Holm's correction";
            }
            if overall.is_exploratory() {
                text += ". Exploratory";
            }
        }
        let needed = self.needed().filter(|_| self.answer.unfinished.is_empty());
        if let Some(SeedsNeeded { n: Some(n), .. }) = needed {
            text += &format!(". To decide it, `wninit confirm` with {}", plural(n, "fresh seed"));
            text += &self.seconds_needed.map(|s| format!(", {}", duration(s))).unwrap_or_default();
        }
        text + "."
    }

    /// How to decide it.
    fn remedy(&self, settings_disagree: bool) -> String {
        let overall = self.overall();
        let or_more = |n: Option<usize>| n.map_or("over 1,000".to_owned(), |n| n.to_string());
        match self.needed() {
            _ if !self.answer.unfinished.is_empty() => {
                " The same `wninit run` finishes its settings.".to_owned()
            }
            _ if settings_disagree => {
                " Ask for each setting alone, or with `settings = \"mean\"` for their mean, with fresh seeds."
                    .to_owned()
            }
            Some(SeedsNeeded { n: Some(n), low, high }) => {
                let cost = self.seconds_needed.map(duration);
                format!(
                    " To decide it, train {} (interval {} to {}){}: `wninit confirm DIR --seeds {}`.",
                    plural(n, "fresh seed"),
                    or_more(low),
                    or_more(high),
                    cost.map(|cost| format!(", about {cost} of training")).unwrap_or_default(),
                    n.max(2)
                )
            }
            Some(SeedsNeeded { n: None, low, .. }) => format!(
                " The mean is too near the threshold: deciding it needs over 1,000 fresh seeds (at least {}).",
                or_more(low)
            ),
            None if overall.estimate.is_none() && overall.n < 2 => {
                " At least two seeds are needed.".to_owned()
            }
            None => " To decide it, train fresh seeds: `wninit confirm DIR --seeds N`.".to_owned(),
        }
    }
}

/// The number with three decimals; never "-0.000".
fn three(x: f64) -> String {
    let rounded = (x * 1000.0).round() / 1000.0;
    format!("{:.3}", rounded + 0.0)
}
