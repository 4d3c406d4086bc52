//! Sweeps whose truth is known: how often the verdicts are wrong, and how often there is one.
//!
//! Every draw has a random stream of its own, so the shares are the same on every machine.

use std::collections::BTreeMap;

use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use wninit_core::grid::Scope;
use wninit_core::rng::{self, Stream};
use wninit_stats::describe;
use wninit_stats::inference::Inference;
use wninit_stats::interval::Interval;
use wninit_stats::sequential;
use wninit_stats::verdict::{ALPHA, Arm, Design, Estimand, Question, Setting, Verdict, decide};

const GUESS: f64 = 0.1;
const ACCURACY: f64 = 0.9;
const SD: f64 = 0.02;

/// What one seed of one arm does: its accuracy, or none.
type Run = Option<f64>;

/// The settings of a sweep of n seeds.
type Draw = Box<dyn Fn(usize, &mut Stream) -> Vec<Setting> + Sync>;

/// A truth, and the claim that is made about it.
pub struct Scenario {
    pub name: &'static str,
    pub question: Question,
    /// Draws the settings of a sweep of n seeds.
    draw: Draw,
}

/// How many of the draws were decided, by our verdicts and by the plain t interval of the
/// seeds' means, and how many of ours are supported.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shares {
    pub ours: f64,
    pub supported: f64,
    pub plain: f64,
}

impl Scenario {
    pub fn simulate(&self, n: usize, draws: u64) -> Shares {
        let one = |draw: u64| {
            let mut stream = rng::stream(n as u64, self.name, draw);
            let settings = (self.draw)(n, &mut stream);
            let verdict = decide(&self.question, &settings).overall.verdict;
            let decided = matches!(verdict, Verdict::Supported | Verdict::Refuted);
            [decided, verdict == Verdict::Supported, plain_t(&self.question, &settings)]
        };
        let count = |mut sum: [u64; 3], one: [bool; 3]| {
            sum.iter_mut().zip(one).for_each(|(sum, one)| *sum += u64::from(one));
            sum
        };
        let add = |a: [u64; 3], b: [u64; 3]| [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
        let sums =
            (0..draws).into_par_iter().map(one).fold(|| [0; 3], count).reduce(|| [0; 3], add);
        let [ours, supported, plain] = sums.map(|sum| sum as f64 / draws as f64);
        Shares { ours, supported, plain }
    }
}

/// Whether a t interval of the seeds' means excludes the bound: what the summaries did before.
fn plain_t(question: &Question, settings: &[Setting]) -> bool {
    let value = |run: &Run| match question.estimand {
        Estimand::Success => f64::from(u8::from(run.is_some())),
        _ => run.unwrap_or(GUESS),
    };
    let mut by_seed: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for setting in settings {
        for (seed, runs) in &setting.a.seeds {
            let other = setting.b.as_ref().map_or(0.0, |b| value(&b.seeds[seed][0]));
            by_seed.entry(*seed).or_default().push(value(&runs[0]) - other);
        }
    }
    let means: Vec<f64> = by_seed.values().filter_map(|values| describe::mean(values)).collect();
    let interval = plain_interval(&means);
    let bound =
        if question.wanted.low.is_finite() { question.wanted.low } else { question.wanted.high };
    interval.is_some_and(|interval| interval.low > bound || interval.high < bound)
}

/// Student's t interval, and the point that it shrinks to where six values or more are equal.
fn plain_interval(values: &[f64]) -> Option<Interval> {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let point = low == high && values.len() >= 6;
    let all = Interval { low: f64::NEG_INFINITY, high: f64::INFINITY };
    let t = Inference::mean(values, all).map(|mean| mean.with_interval().interval);
    t.or_else(|| point.then_some(Interval { low, high }))
}

fn arm(runs: Vec<Run>, choices: usize) -> Arm {
    Arm { seeds: (0..).zip(runs.into_iter().map(|run| vec![run])).collect(), choices }
}

fn versus(a: Vec<Run>, b: Vec<Run>) -> Vec<Setting> {
    vec![Setting { name: "one".to_owned(), a: arm(a, 1), b: Some(arm(b, 1)) }]
}

/// Runs that train with this probability, with accuracies N(mean, sd²).
fn runs(n: usize, success: f64, mean: f64, sd: f64, stream: &mut Stream) -> Vec<Run> {
    (0..n)
        .map(|_| {
            let noise: f64 = StandardNormal.sample(stream);
            stream.random_bool(success).then_some((mean + sd * noise).clamp(GUESS, 1.0))
        })
        .collect()
}

pub fn question(estimand: Estimand, design: Design, wanted: (f64, f64)) -> Question {
    Question {
        estimand,
        design,
        wanted: Interval { low: wanted.0, high: wanted.1 },
        range: Interval { low: GUESS, high: 1.0 },
        guess: GUESS,
        scope: Scope::Each,
        until_decided: false,
    }
}

fn more_than(estimand: Estimand, margin: f64) -> Question {
    question(estimand, Design::Paired, (margin, f64::INFINITY))
}

fn in_the_mean(estimand: Estimand) -> Question {
    Question { scope: Scope::Mean, ..more_than(estimand, 0.0) }
}

/// An arm of K equal rates at the one that validated best: validation is the test accuracy with
/// noise, and a failure counts as a guess.
fn chosen(n: usize, rates: usize, success: f64, stream: &mut Stream) -> Vec<Run> {
    let all: Vec<Vec<Run>> = (0..rates).map(|_| runs(n, success, ACCURACY, SD, stream)).collect();
    let score = |runs: &Vec<Run>, stream: &mut Stream| -> f64 {
        let noise: f64 = StandardNormal.sample(stream);
        runs.iter().map(|run| run.unwrap_or(GUESS)).sum::<f64>() + 0.2 * SD * noise
    };
    let scored = all.into_iter().map(|runs| (score(&runs, stream), runs));
    scored.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, runs)| runs).unwrap_or_default()
}

/// For each seed the rate that the other seeds choose, among K equal ones.
fn chosen_without_the_seed(n: usize, rates: usize, stream: &mut Stream) -> Vec<Run> {
    let all: Vec<Vec<Run>> = (0..rates).map(|_| runs(n, 1.0, ACCURACY, SD, stream)).collect();
    let sum = |runs: &[Run]| runs.iter().flatten().sum::<f64>();
    let of_seed = |seed: usize| {
        let without = |runs: &&Vec<Run>| sum(runs) - runs[seed].unwrap_or(0.0);
        all.iter().max_by(|a, b| without(a).total_cmp(&without(b))).and_then(|runs| runs[seed])
    };
    (0..n).map(of_seed).collect()
}

/// Truths at the bound of the claim: every decision is wrong.
pub fn nulls() -> Vec<Scenario> {
    use Estimand::{Composite, GivenSuccess, Success};
    let mut all: Vec<Scenario> = Vec::new();
    let mut add = |name, question, draw: Draw| {
        all.push(Scenario { name, question, draw });
    };
    add(
        "normal, paired: accuracy given success",
        more_than(GivenSuccess, 0.0),
        Box::new(|n, s| versus(runs(n, 1.0, ACCURACY, SD, s), runs(n, 1.0, ACCURACY, SD, s))),
    );
    let unpaired = question(GivenSuccess, Design::Unpaired, (0.0, f64::INFINITY));
    add(
        "normal, unpaired, sds 1 : 2: accuracy given success",
        unpaired,
        Box::new(|n, s| versus(runs(n, 1.0, 0.85, SD, s), runs(n, 1.0, 0.85, 2.0 * SD, s))),
    );
    for (names, success) in [
        (
            [
                "both train in 50 %: success",
                "both train in 50 %: accuracy given success",
                "both train in 50 %: composite",
            ],
            0.5,
        ),
        (
            [
                "both train in 80 %: success",
                "both train in 80 %: accuracy given success",
                "both train in 80 %: composite",
            ],
            0.8,
        ),
        (
            [
                "both train in 95 %: success",
                "both train in 95 %: accuracy given success",
                "both train in 95 %: composite",
            ],
            0.95,
        ),
    ] {
        for (name, estimand) in names.into_iter().zip([Success, GivenSuccess, Composite]) {
            add(
                name,
                more_than(estimand, 0.0),
                Box::new(move |n, s| {
                    versus(runs(n, success, ACCURACY, SD, s), runs(n, success, ACCURACY, SD, s))
                }),
            );
        }
    }
    for (name, success) in [
        ("both train in 50 %, unpaired: success", 0.5),
        ("both train in 95 %, unpaired: success", 0.95),
    ] {
        let asked = question(Success, Design::Unpaired, (0.0, f64::INFINITY));
        add(
            name,
            asked,
            Box::new(move |n, s| {
                versus(runs(n, success, ACCURACY, SD, s), runs(n, success, ACCURACY, SD, s))
            }),
        );
    }
    for (name, fails) in [
        ("one arm fails in 5 %, equal composite means: composite", 0.05),
        ("one arm fails in 10 %, equal composite means: composite", 0.1),
        ("one arm fails in 20 %, equal composite means: composite", 0.2),
    ] {
        add(
            name,
            more_than(Composite, 0.0),
            Box::new(move |n, s| {
                // What the failures cost, the runs that train make up for.
                let (reliable, mean) = (0.7, (0.7 - fails * GUESS) / (1.0 - fails));
                versus(runs(n, 1.0, reliable, SD, s), runs(n, 1.0 - fails, mean, SD, s))
            }),
        );
    }
    for (name, design) in [
        ("95 % against 75 %, margin .2, paired: success", Design::Paired),
        ("95 % against 75 %, margin .2, unpaired: success", Design::Unpaired),
    ] {
        add(
            name,
            question(Success, design, (0.2, f64::INFINITY)),
            Box::new(|n, s| versus(runs(n, 0.95, ACCURACY, SD, s), runs(n, 0.75, ACCURACY, SD, s))),
        );
    }
    for (name, share) in [
        ("share .99 at the bound: success", 0.99),
        ("share .95 at the bound: success", 0.95),
        ("share .05 at the bound: success", 0.05),
    ] {
        add(
            name,
            question(Success, Design::Paired, (share, f64::INFINITY)),
            Box::new(move |n, s| {
                vec![Setting {
                    name: "one".to_owned(),
                    a: arm(runs(n, share, ACCURACY, SD, s), 1),
                    b: None,
                }]
            }),
        );
    }
    for (name, together) in [
        ("share .95 at the bound, 4 settings, independent: success", false),
        ("share .95 at the bound, 4 settings that fail together: success", true),
    ] {
        add(
            name,
            question(Success, Design::Paired, (0.95, f64::INFINITY)),
            Box::new(move |n, s| {
                let shared = runs(n, 0.95, ACCURACY, SD, s);
                let setting = |i: usize, s: &mut Stream| {
                    let own = runs(n, 0.95, ACCURACY, SD, s);
                    let runs = if together { shared.clone() } else { own };
                    Setting { name: i.to_string(), a: arm(runs, 1), b: None }
                };
                (0..4).map(|i| setting(i, s)).collect()
            }),
        );
    }
    add(
        "two settings, both without a difference: accuracy given success",
        more_than(GivenSuccess, 0.0),
        Box::new(|n, s| two_settings(n, 0.0, 0.0, s)),
    );
    add(
        "two settings, both train in 90 %: composite",
        more_than(Composite, 0.0),
        Box::new(|n, s| {
            let mut settings = versus(runs(n, 0.9, ACCURACY, SD, s), runs(n, 0.9, ACCURACY, SD, s));
            settings.extend(versus(runs(n, 0.9, ACCURACY, SD, s), runs(n, 0.9, ACCURACY, SD, s)));
            settings
        }),
    );
    add(
        "two settings, +.06 and -.06, in the mean: accuracy given success",
        in_the_mean(GivenSuccess),
        Box::new(|n, s| two_settings(n, 0.06, -0.06, s)),
    );
    add(
        "two settings, 90 against 10 % and 10 against 90 %, in the mean: success",
        in_the_mean(Success),
        Box::new(|n, s| {
            let mut settings = versus(runs(n, 0.9, ACCURACY, SD, s), runs(n, 0.1, ACCURACY, SD, s));
            settings.extend(versus(runs(n, 0.1, ACCURACY, SD, s), runs(n, 0.9, ACCURACY, SD, s)));
            settings
        }),
    );
    for (names, success) in [
        (
            [
                "best of 1, all train: accuracy given success",
                "best of 3 against 1, all train: accuracy given success",
                "best of 8 against 1, all train: accuracy given success",
                "best of 8 against best of 8, all train: accuracy given success",
            ],
            1.0,
        ),
        (
            [
                "best of 1, 90 % train: composite",
                "best of 3 against 1, 90 % train: composite",
                "best of 8 against 1, 90 % train: composite",
                "best of 8 against best of 8, 90 % train: composite",
            ],
            0.9,
        ),
        (
            [
                "best of 1, 50 % train: success",
                "best of 3 against 1, 50 % train: success",
                "best of 8 against 1, 50 % train: success",
                "best of 8 against best of 8, 50 % train: success",
            ],
            0.5,
        ),
    ] {
        for (name, (k, l)) in names.into_iter().zip([(1, 1), (3, 1), (8, 1), (8, 8)]) {
            let estimand = match success {
                0.9 => Composite,
                0.5 => Success,
                _ => GivenSuccess,
            };
            add(
                name,
                more_than(estimand, 0.0),
                Box::new(move |n, s| {
                    let (a, b) = (chosen(n, k, success, s), chosen(n, l, success, s));
                    vec![Setting { name: "one".to_owned(), a: arm(a, k), b: Some(arm(b, l)) }]
                }),
            );
        }
    }
    all
}

/// Not a method of ours: each seed at the rate that the other seeds choose, eight rates an arm.
pub fn choice_without_the_seed() -> Scenario {
    Scenario {
        name: "best of 8 by the other seeds, in both arms, taken as given: accuracy given success",
        question: more_than(Estimand::GivenSuccess, 0.0),
        draw: Box::new(|n, s| {
            versus(chosen_without_the_seed(n, 8, s), chosen_without_the_seed(n, 8, s))
        }),
    }
}

fn two_settings(n: usize, first: f64, second: f64, s: &mut Stream) -> Vec<Setting> {
    let setting = |name: &str, gain: f64, s: &mut Stream| Setting {
        name: name.to_owned(),
        a: arm(runs(n, 1.0, 0.8 + gain, SD, s), 1),
        b: Some(arm(runs(n, 1.0, 0.8, SD, s), 1)),
    };
    vec![setting("width 256", first, s), setting("width 64", second, s)]
}

/// Truths that should be decided.
pub fn alternatives() -> Vec<Scenario> {
    use Estimand::{Composite, GivenSuccess, Success};
    let pair = |name, estimand, design, a: (f64, f64), b: (f64, f64), sd: f64| Scenario {
        name,
        question: question(estimand, design, (0.0, f64::INFINITY)),
        draw: Box::new(move |n, s| versus(runs(n, a.0, a.1, sd, s), runs(n, b.0, b.1, sd, s))),
    };
    let (paired, unpaired) = (Design::Paired, Design::Unpaired);
    let m = ACCURACY;
    vec![
        pair("95 % against 5 %, paired: success", Success, paired, (0.95, m), (0.05, m), SD),
        pair("95 % against 5 %, unpaired: success", Success, unpaired, (0.95, m), (0.05, m), SD),
        pair("90 % against 30 %, paired: success", Success, paired, (0.9, m), (0.3, m), SD),
        pair(
            "+.03 at sd .01, all train: accuracy given success",
            GivenSuccess,
            paired,
            (1.0, 0.83),
            (1.0, 0.8),
            0.01,
        ),
        pair(
            "+.03 at sd .01, 90 % train: accuracy given success",
            GivenSuccess,
            paired,
            (0.9, 0.83),
            (0.9, 0.8),
            0.01,
        ),
        pair("95 % against 5 %: composite", Composite, paired, (0.95, m), (0.05, m), SD),
        Scenario {
            name: "+.03 in both of two settings, sd .02: accuracy given success",
            question: more_than(GivenSuccess, 0.0),
            draw: Box::new(|n, s| two_settings(n, 0.03, 0.03, s)),
        },
        Scenario {
            name: "+.12 in one of two settings, sd .02, not supported over both: accuracy given success",
            question: more_than(GivenSuccess, 0.0),
            draw: Box::new(|n, s| two_settings(n, 0.12, 0.0, s)),
        },
        Scenario {
            name: "+.12 in one of two settings, sd .02, in the mean: accuracy given success",
            question: in_the_mean(GivenSuccess),
            draw: Box::new(|n, s| two_settings(n, 0.12, 0.0, s)),
        },
        Scenario {
            name: "95 % against 5 % in two of three settings, in the mean: success",
            question: in_the_mean(Success),
            draw: Box::new(|n, s| {
                let more = |s: &mut Stream| {
                    versus(runs(n, 0.95, ACCURACY, SD, s), runs(n, 0.05, ACCURACY, SD, s))
                };
                let same = versus(runs(n, 0.95, ACCURACY, SD, s), runs(n, 0.95, ACCURACY, SD, s));
                [more(s), more(s), same].concat()
            }),
        },
        Scenario {
            name: "+.03 at sd .01, best of 3 against best of 3: accuracy given success",
            question: more_than(GivenSuccess, 0.0),
            draw: Box::new(|n, s| {
                let best = |mean: f64, s: &mut Stream| {
                    let sum = |runs: &Vec<Run>| runs.iter().flatten().sum::<f64>();
                    let all = (0..3).map(|_| runs(n, 1.0, mean, 0.01, s));
                    all.max_by(|a, b| sum(a).total_cmp(&sum(b))).unwrap_or_default()
                };
                let (a, b) = (best(0.83, s), best(0.8, s));
                vec![Setting { name: "one".to_owned(), a: arm(a, 3), b: Some(arm(b, 3)) }]
            }),
        },
    ]
}

/// A path of up to 100 seeds that is looked at after each of them.
pub struct Path {
    pub name: &'static str,
    pub null: bool,
    /// The values' range; `None` for normal values.
    range: Option<(f64, f64)>,
    bound: f64,
    draw: fn(&mut Stream) -> Option<f64>,
}

/// How the paths of a kind end.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// Decided within 100 looks.
    pub ours: f64,
    /// Half are decided by so many seeds; `None` if fewer than half are.
    pub median: Option<usize>,
    /// Decided by a t interval after each seed from the third.
    pub plain: f64,
}

pub const LOOKS: usize = 100;

impl Path {
    pub fn simulate(&self, draws: u64) -> Ends {
        let one = |draw: u64| {
            let mut stream = rng::stream(1, self.name, draw);
            let values: Vec<f64> =
                std::iter::repeat_with(|| (self.draw)(&mut stream)).take(LOOKS).flatten().collect();
            let decided = |n: usize| {
                let (above, below) = match self.range {
                    None => sequential::normal(&values[..n], self.bound),
                    Some((low, high)) => {
                        let range = Interval { low, high };
                        (
                            sequential::p_above(&values[..n], range, self.bound),
                            sequential::p_below(&values[..n], range, self.bound),
                        )
                    }
                };
                above.min(below) <= ALPHA / 2.0
            };
            // p values never grow along a path.
            let (mut undecided, mut first) = (0, values.len() + 1);
            while first - undecided > 1 {
                let middle = usize::midpoint(undecided, first);
                if decided(middle) { first = middle } else { undecided = middle }
            }
            let plain = (3..=values.len()).any(|n| {
                let interval = plain_interval(&values[..n]);
                interval.is_some_and(|i| i.low > self.bound || i.high < self.bound)
            });
            ((first <= values.len()).then_some(first), plain)
        };
        let ends: Vec<(Option<usize>, bool)> = (0..draws).into_par_iter().map(one).collect();
        let share = |count: usize| count as f64 / draws as f64;
        let mut stops: Vec<usize> = ends.iter().filter_map(|(stop, _)| *stop).collect();
        stops.sort_unstable();
        Ends {
            ours: share(stops.len()),
            median: stops.get(draws as usize / 2).copied(),
            plain: share(ends.iter().filter(|(_, plain)| *plain).count()),
        }
    }
}

impl Scenario {
    /// Seeds are added one at a time to the settings that the claim needs, up to [`LOOKS`], until none
    /// does. `plain` is not computed.
    pub fn until_decided(&self, draws: u64) -> Ends {
        let question = Question { until_decided: true, ..self.question };
        let one = |draw: u64| {
            let all = (self.draw)(LOOKS, &mut rng::stream(2, self.name, draw));
            let mut seeds = vec![1; all.len()];
            loop {
                let seen: Vec<Setting> =
                    all.iter().zip(&seeds).map(|(setting, n)| first(setting, *n)).collect();
                let answer = decide(&question, &seen);
                let least = answer.open.iter().map(|&i| seeds[i]).min().unwrap_or(LOOKS);
                if least == LOOKS {
                    let verdict = answer.overall.verdict;
                    let decided = matches!(verdict, Verdict::Supported | Verdict::Refuted);
                    return decided.then(|| seeds.into_iter().max().unwrap_or(0));
                }
                answer.open.iter().for_each(|&i| seeds[i] = seeds[i].max(least + 1));
            }
        };
        let mut stops: Vec<usize> = (0..draws).into_par_iter().filter_map(one).collect();
        stops.sort_unstable();
        let ours = stops.len() as f64 / draws as f64;
        Ends { ours, median: stops.get(draws as usize / 2).copied(), plain: 0.0 }
    }
}

/// A setting with its first n seeds.
fn first(setting: &Setting, n: usize) -> Setting {
    let first = |arm: &Arm| Arm {
        seeds: arm.seeds.iter().take(n).map(|(seed, runs)| (*seed, runs.clone())).collect(),
        choices: arm.choices,
    };
    Setting { name: setting.name.clone(), a: first(&setting.a), b: setting.b.as_ref().map(first) }
}

/// Sweeps whose seeds are added until a claim is decided, and whether the claim's bound is the truth.
pub fn sweeps_until_decided() -> Vec<(bool, Scenario)> {
    let scenario =
        |name, estimand, draw: Draw| Scenario { name, question: more_than(estimand, 0.0), draw };
    vec![
        (
            true,
            scenario(
                "both train in 90 %: success",
                Estimand::Success,
                Box::new(|n, s| {
                    versus(runs(n, 0.9, ACCURACY, SD, s), runs(n, 0.9, ACCURACY, SD, s))
                }),
            ),
        ),
        (
            true,
            scenario(
                "one arm fails in 10 %, equal composite means: composite",
                Estimand::Composite,
                Box::new(|n, s| {
                    let other = (0.7 - 0.1 * GUESS) / 0.9;
                    versus(runs(n, 1.0, 0.7, SD, s), runs(n, 0.9, other, SD, s))
                }),
            ),
        ),
        (
            true,
            scenario(
                "normal, all train: accuracy given success",
                Estimand::GivenSuccess,
                Box::new(|n, s| versus(runs(n, 1.0, 0.7, SD, s), runs(n, 1.0, 0.7, SD, s))),
            ),
        ),
        (
            true,
            scenario(
                "three settings, one trains in 20 %: accuracy given success",
                Estimand::GivenSuccess,
                Box::new(|n, s| {
                    let mut all = Vec::new();
                    for success in [1.0, 1.0, 0.2] {
                        let (a, b) = (runs(n, success, 0.7, SD, s), runs(n, success, 0.7, SD, s));
                        all.extend(versus(a, b));
                    }
                    all
                }),
            ),
        ),
        (
            false,
            scenario(
                "95 % against 5 %: success",
                Estimand::Success,
                Box::new(|n, s| {
                    versus(runs(n, 0.95, ACCURACY, SD, s), runs(n, 0.05, ACCURACY, SD, s))
                }),
            ),
        ),
    ]
}

fn discordance(a: f64, b: f64, s: &mut Stream) -> Option<f64> {
    let one = |p: f64, s: &mut Stream| f64::from(u8::from(s.random_bool(p)));
    Some(one(a, s) - one(b, s))
}

fn normal(mean: f64, sd: f64, s: &mut Stream) -> f64 {
    let noise: f64 = StandardNormal.sample(s);
    mean + sd * noise
}

pub fn paths() -> Vec<Path> {
    let success =
        |name, null, draw| Path { name, null, range: Some((-1.0, 1.0)), bound: 0.0, draw };
    let mixture = |name, null, draw| Path { name, null, range: None, bound: 0.0, draw };
    vec![
        success("both train in 50 %: success", true, |s| discordance(0.5, 0.5, s)),
        success("both train in 80 %: success", true, |s| discordance(0.8, 0.8, s)),
        success("both train in 95 %: success", true, |s| discordance(0.95, 0.95, s)),
        Path {
            name: "95 % against 75 %, margin .2: success",
            null: true,
            range: Some((-1.0, 1.0)),
            bound: 0.2,
            draw: |s| discordance(0.95, 0.75, s),
        },
        Path {
            name: "share .95 at the bound: success",
            null: true,
            range: Some((0.0, 1.0)),
            bound: 0.95,
            draw: |s| Some(f64::from(u8::from(s.random_bool(0.95)))),
        },
        Path {
            name: "both train in 90 %: composite",
            null: true,
            range: Some((-0.9, 0.9)),
            bound: 0.0,
            draw: |s| {
                let a = runs(2, 0.9, ACCURACY, SD, s);
                Some(a[0].unwrap_or(GUESS) - a[1].unwrap_or(GUESS))
            },
        },
        Path {
            name: "one arm fails in 5 %, equal composite means: composite",
            null: true,
            range: Some((-0.9, 0.9)),
            bound: 0.0,
            draw: |s| {
                let reliable = normal(0.7, SD, s);
                let other = if s.random_bool(0.95) {
                    normal((0.7 - 0.05 * GUESS) / 0.95, SD, s)
                } else {
                    GUESS
                };
                Some(reliable - other)
            },
        },
        mixture("normal: accuracy given success", true, |s| Some(normal(0.0, 1.0, s))),
        mixture("normal, 80 % train: accuracy given success", true, |s| {
            s.random_bool(0.64).then(|| normal(0.0, 1.0, s))
        }),
        success("95 % against 5 %: success", false, |s| discordance(0.95, 0.05, s)),
        success("90 % against 30 %: success", false, |s| discordance(0.9, 0.3, s)),
        success("80 % against 50 %: success", false, |s| discordance(0.8, 0.5, s)),
        mixture("+.02 at sd .028: accuracy given success", false, |s| Some(normal(0.02, 0.028, s))),
    ]
}
