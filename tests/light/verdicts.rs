//! What the verdicts promise: the numbers of other programs, and few wrong decisions.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use crate::simulation;
use serde_json::Value;
use wninit_core::grid::Scope;
use wninit_stats::inference::Inference;
use wninit_stats::interval::{Interval, LEVEL};
use wninit_stats::proportion::{self, Difference};
use wninit_stats::student::{Mean, sign_flip};
use wninit_stats::verdict::{
    Answer, Arm, Decision, Design, Estimand, Question, Setting, Verdict, adjust, decide,
};
use wninit_stats::{bounded, dispersion, planning, sequential};

/// Numbers of SciPy and statsmodels, beside the script that asked for them.
fn reference(what: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../fixtures/stats/verdicts.json")).unwrap();
    let cases = all[what].as_array().unwrap().clone();
    assert!(!cases.is_empty(), "{what}");
    cases
}

fn float(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(float).collect()
}

fn count(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

#[track_caller]
fn close(ours: f64, theirs: f64, tolerance: f64) {
    assert!((ours - theirs).abs() <= tolerance, "{ours} is not {theirs}");
}

fn by_seed(values: &[f64]) -> BTreeMap<u64, f64> {
    (0..).zip(values.iter().copied()).collect()
}

fn paired(case: &Value) -> Difference {
    let [only_a, only_b] = ["only_a", "only_b"].map(|key| count(&case[key]));
    Difference::Paired { n: count(&case["n"]), only_a, only_b }
}

fn unpaired(case: &Value) -> Difference {
    let [a, b] = ["a", "b"].map(|arm| (count(&case[arm][0]), count(&case[arm][1])));
    Difference::Unpaired { a, b }
}

const ALL: Interval = Interval { low: f64::NEG_INFINITY, high: f64::INFINITY };

#[test]
fn shares_have_the_clopper_pearson_interval_of_statsmodels() {
    for case in reference("clopper_pearson") {
        let (k, n) = (count(&case["k"]), count(&case["n"]));
        let ours = Inference::Share { k, n }.interval(0.025, 0.025);
        let (low, high) = proportion::clopper_pearson(k, n, 0.05);
        let [their_low, their_high] = [0, 1].map(|end| float(&case["interval"][end]));
        for (ours, theirs) in
            [(ours.low, their_low), (low, their_low), (ours.high, their_high), (high, their_high)]
        {
            close(ours, theirs, 1e-8);
        }
    }
}

#[test]
fn differences_between_shares_have_the_exact_p_value_of_every_table_counted() {
    for case in reference("unpaired") {
        let bound = float(&case["bound"]);
        close(unpaired(&case).p_above(bound), float(&case["p"]), 2e-6);
    }
    for case in reference("paired") {
        close(paired(&case).p_above(float(&case["bound"])), float(&case["p"]), 2e-6);
    }
    // SciPy searches all values of the nuisance parameter, ours a confidence interval, for 1e-4.
    for case in reference("barnard") {
        close(unpaired(&case).p_above(0.0), float(&case["p"]), 2e-4);
    }
}

#[test]
fn intervals_are_what_the_test_does_not_reject() {
    let range = Interval { low: -0.9, high: 0.9 };
    let values: Vec<f64> = (0..30).map(|i| 0.2 + 0.01 * f64::from(i % 7)).collect();
    let mean = Mean::over(&[by_seed(&values)]).unwrap();
    for inference in [
        Inference::Share { k: 3, n: 9 },
        Inference::Difference(Difference::Paired { n: 10, only_a: 7, only_b: 1 }),
        Inference::Difference(Difference::Paired { n: 6, only_a: 0, only_b: 0 }),
        Inference::Difference(Difference::Unpaired { a: (9, 10), b: (3, 8) }),
        Inference::Difference(Difference::Unpaired { a: (0, 6), b: (0, 6) }),
        Inference::Difference(Difference::Paired { n: 500, only_a: 60, only_b: 20 }),
        Inference::Student(mean, range),
        Inference::Bounded(values.clone(), range),
        Inference::Betting(values.clone(), range),
        Inference::Mixture(values.clone(), range),
    ] {
        let (estimate, i) = (inference.estimate(), inference.interval(0.025, 0.025));
        assert!(i.low < estimate && estimate < i.high, "{inference:?} {i:?}");
        // The p value of an exact test may jump at the end.
        assert!(inference.p_above(i.low - 1e-6) <= 0.025 + 1e-6, "{inference:?} {i:?}");
        assert!(inference.p_above(i.low + 1e-6) >= 0.025 - 1e-6, "{inference:?} {i:?}");
        assert!(inference.p_below(i.high + 1e-6) <= 0.025 + 1e-6, "{inference:?} {i:?}");
        assert!(inference.p_below(i.high - 1e-6) >= 0.025 - 1e-6, "{inference:?} {i:?}");
    }
}

#[test]
fn a_difference_reaches_the_end_of_its_range_only_where_it_was_observed_there() {
    for difference in [
        Difference::Paired { n: 4, only_a: 0, only_b: 4 },
        Difference::Unpaired { a: (0, 4), b: (5, 5) },
    ] {
        let i = Inference::Difference(difference).interval(0.025, 0.025);
        assert!(i.low == -1.0 && i.high < 1.0, "{difference:?} {i:?}");
    }
}

#[test]
fn the_exact_test_of_a_difference_is_wrong_in_2_5_percent_of_tables_at_most_on_each_side() {
    for n in [3, 6, 10] {
        for bound in [-0.3, 0.0, 0.2] {
            let tables: Vec<(usize, usize, Difference)> = (0..=n)
                .flat_map(|a| (0..=n).map(move |b| (a, b)))
                .map(|(a, b)| (a, b, Difference::Unpaired { a: (a, n), b: (b, n) }))
                .filter(|(_, _, table)| table.p_above(bound) <= 0.025)
                .collect();
            for step in 0..=40 {
                let b = f64::from(step) / 40.0;
                if !(0.0..=1.0).contains(&(b + bound)) {
                    continue;
                }
                let mass = |k: usize, p: f64| {
                    proportion::p_above(k, n, p)
                        - if k < n { proportion::p_above(k + 1, n, p) } else { 0.0 }
                };
                let wrong: f64 =
                    tables.iter().map(|(x, y, _)| mass(*x, b + bound) * mass(*y, b)).sum();
                assert!(wrong <= 0.025, "n = {n}, bound {bound}, {b}: {wrong}");
            }
        }
    }
}

#[test]
fn sign_flips_are_scipys_permutation_test_and_of_successes_mcnemars() {
    for case in reference("sign_flip") {
        close(sign_flip(&floats(&case["d"])).unwrap(), float(&case["p"]), 1e-12);
    }
    for case in reference("mcnemar") {
        let [a, b] = ["only_a", "only_b"].map(|key| count(&case[key]));
        let differences = [vec![1.0; a], vec![-1.0; b], vec![0.0; 3]].concat();
        close(sign_flip(&differences).unwrap(), float(&case["p"]), 1e-12);
    }
    assert_eq!(sign_flip(&[]), None);
}

#[test]
fn gaffkes_bound_is_that_of_drawn_weights_and_of_successes_clopper_and_pearsons() {
    for case in reference("gaffke") {
        let range = Interval { low: float(&case["low"]), high: 1.0 };
        let ours = bounded::p_above(&floats(&case["x"]), range, float(&case["bound"]));
        close(ours, float(&case["p"]), 1e-3);
    }
    let range = Interval { low: 0.0, high: 1.0 };
    let successes = [vec![1.0; 7], vec![0.0; 2]].concat();
    for bound in [0.01, 0.4, 0.77, 0.99] {
        let p = bounded::p_above(&successes, range, bound);
        close(p, proportion::p_above(7, 9, bound), 1e-12);
        let p = bounded::p_below(&successes, range, bound);
        close(p, proportion::p_below(7, 9, bound), 1e-12);
    }
}

#[test]
fn t_intervals_are_those_of_scipy() {
    let all: Value =
        serde_json::from_str(include_str!("../fixtures/stats/reference.json")).unwrap();
    for case in all["one_sample"].as_array().unwrap() {
        let t = Inference::mean(&floats(&case["x"]), ALL).unwrap().with_interval();
        close(t.value, float(&case["mean"]), 1e-9);
        close(t.interval.low, float(&case["t_interval"][0]), 1e-8);
        close(t.interval.high, float(&case["t_interval"][1]), 1e-8);
    }
}

#[test]
fn t_tests_are_those_of_scipy() {
    for case in reference("student") {
        let mean = Mean::over(&[by_seed(&floats(&case["x"]))]).unwrap();
        close(mean.p_above(float(&case["bound"])), float(&case["p"]), 1e-9);
    }
    for case in reference("welch") {
        let [a, b] = ["a", "b"].map(|arm| Mean::over(&[by_seed(&floats(&case[arm]))]).unwrap());
        close(a.minus(b).p_above(0.0), float(&case["p"]), 1e-9);
    }
}

#[test]
fn a_mean_over_settings_is_that_of_the_seeds_means_and_survives_missing_seeds() {
    let settings = [by_seed(&[0.1, 0.3, 0.2, 0.5]), by_seed(&[0.2, 0.1, 0.4, 0.4])];
    let means = by_seed(&[0.15, 0.2, 0.3, 0.45]);
    let (over, plain) = (Mean::over(&settings).unwrap(), Mean::over(&[means]).unwrap());
    close(over.value, plain.value, 1e-12);
    close(over.error, plain.error, 1e-12);
    let mut missing = settings.clone();
    missing[1].remove(&2);
    let missing = Mean::over(&missing).unwrap();
    assert!(missing.error > 0.0 && missing.df == 2.0, "{missing:?}");
}

#[test]
fn anytime_tests_are_the_mixtures_that_they_cite() {
    let range = Interval { low: -1.0, high: 1.0 };
    for case in reference("beta_binomial") {
        let ours = sequential::p_above(&floats(&case["signs"]), range, 0.0);
        close(ours / float(&case["p"]), 1.0, 1e-3);
    }
    let all: Value = serde_json::from_str(include_str!("../fixtures/stats/betting.json")).unwrap();
    for case in all.as_array().unwrap() {
        let unit = Interval { low: 0.0, high: 1.0 };
        let ours = sequential::p_above(&floats(&case["x"]), unit, float(&case["bound"]));
        close(ours / float(&case["p"]), 1.0, 1e-9);
    }
    for case in reference("mixture_t") {
        let (above, below) = sequential::normal(&floats(&case["x"]), float(&case["bound"]));
        close(above / float(&case["above"]), 1.0, 1e-5);
        close(below / float(&case["below"]), 1.0, 1e-5);
    }
}

#[test]
fn an_anytime_decision_is_never_taken_back() {
    let good = [1.0; 12];
    let bad = [good.to_vec(), vec![-1.0; 40]].concat();
    let range = Interval { low: -1.0, high: 1.0 };
    assert!(sequential::p_above(&good, range, 0.0) <= 0.025);
    assert_eq!(
        sequential::p_above(&bad, range, 0.0).min(0.02),
        sequential::p_above(&good, range, 0.0).min(0.02)
    );
}

#[test]
fn the_range_of_seeds_needed_is_the_noncentral_ts() {
    for case in reference("effect") {
        let x = floats(&case["x"]);
        let ours = planning::effect_interval(&x, 0.0).unwrap();
        close(ours.low, float(&case["effect"][0]), 1e-6);
        close(ours.high, float(&case["effect"][1]), 1e-6);
        let needed =
            planning::seeds_needed(&x, Interval { low: 0.0, high: f64::INFINITY }).unwrap();
        assert!(needed.low <= needed.n, "{needed:?}");
        assert!(needed.high.is_none_or(|high| Some(high) >= needed.n), "{needed:?}");
    }
}

#[test]
fn what_can_be_detected_shrinks_with_the_seeds() {
    let detectable = |n| planning::detectable_mean(n, 0.02, LEVEL).unwrap();
    let means = [3, 6, 20].map(detectable);
    assert!(means[0] > means[1] && means[1] > means[2], "{means:?}");
    // At the difference that 22 seeds detect, 22 seeds are needed.
    let effect = 0.001 / 0.0015811;
    let needs = |n| planning::detectable_mean(n, 1.0, LEVEL).unwrap();
    assert!(needs(22) <= effect && effect < needs(21), "{} {}", needs(22), needs(21));
}

#[test]
fn ratios_of_sds_have_the_jackknife_over_seeds() {
    let cells = |value: &Value| -> Vec<BTreeMap<u64, f64>> {
        value.as_array().unwrap().iter().map(|cell| by_seed(&floats(cell))).collect()
    };
    for case in reference("sd_ratio") {
        let ours = dispersion::sd_ratio(&cells(&case["a"]), &cells(&case["b"]), LEVEL).unwrap();
        close(ours.value, float(&case["value"]), 1e-9);
        close(ours.interval.low, float(&case["low"]), 1e-7);
        close(ours.interval.high, float(&case["high"]), 1e-7);
    }
    let five = vec![by_seed(&[0.1, 0.2, 0.3, 0.5, 0.4])];
    assert_eq!(dispersion::sd_ratio(&five, &five, LEVEL), None);
}

fn asked(estimand: Estimand, low: f64) -> Question {
    simulation::question(estimand, Design::Paired, (low, f64::INFINITY))
}

fn arm(runs: &[Option<f64>]) -> Arm {
    Arm { seeds: (0..).zip(runs.iter().map(|run| vec![*run])).collect(), choices: 1 }
}

fn setting(name: &str, a: &[Option<f64>], b: &[Option<f64>]) -> Setting {
    Setting { name: name.to_owned(), a: arm(a), b: Some(arm(b)) }
}

fn one(question: &Question, a: &[Option<f64>], b: &[Option<f64>]) -> Decision {
    decide(question, &[setting("one", a, b)]).overall
}

#[test]
fn arms_that_never_train_are_not_testable() {
    let failed = [None; 8];
    let trained = [Some(0.9), Some(0.8), Some(0.85), Some(0.9), Some(0.8), Some(0.7)];
    for estimand in [Estimand::Success, Estimand::GivenSuccess, Estimand::Composite] {
        let decision = one(&asked(estimand, 0.0), &failed, &failed);
        assert_eq!(decision.verdict, Verdict::NotTestable, "{estimand:?}");
        assert!(decision.interval().is_none() && decision.p.is_none());
    }
    // One run that trained is no sample of accuracies; of successes it is.
    let once = [Some(0.9), None, None, None, None, None];
    let given = one(&asked(Estimand::GivenSuccess, 0.0), &trained, &once);
    assert_eq!(given.verdict, Verdict::NotTestable);
    assert_eq!(given.trained, [(6, 6), (1, 6)]);
    assert_ne!(one(&asked(Estimand::Success, 0.0), &trained, &once).verdict, Verdict::NotTestable);
}

#[test]
fn equal_values_give_no_point_interval_whatever_their_last_bit() {
    // 0.7 − 0.3 and 0.8 − 0.4 differ in the last bit.
    let a = [Some(0.7), Some(0.8)];
    let b = [Some(0.3), Some(0.4)];
    let decision = one(&asked(Estimand::GivenSuccess, 0.0), &a, &b);
    assert_eq!(decision.verdict, Verdict::Undecided);
    let interval = decision.interval().unwrap();
    assert!(interval.high - interval.low > 0.5, "{interval:?}");
    let a = [a[0]; 20];
    let b = [b[0]; 20];
    let interval = one(&asked(Estimand::GivenSuccess, 0.0), &a, &b).interval().unwrap();
    assert!(interval.high - interval.low > 0.1, "{interval:?}");
}

#[test]
fn intervals_stay_in_the_range_of_the_metric() {
    let a = [Some(0.99), Some(0.3)];
    let b = [Some(0.2), Some(0.25)];
    for estimand in [Estimand::Success, Estimand::GivenSuccess, Estimand::Composite] {
        let decision = one(&asked(estimand, 0.0), &a, &b);
        let interval = decision.interval().unwrap();
        let span = if estimand == Estimand::Success { 1.0 } else { 0.9 };
        assert!(-span <= interval.low && interval.high <= span, "{interval:?}");
        assert!(interval.low < interval.high);
    }
}

#[test]
fn a_metric_without_bounds_has_a_t_interval_and_no_composite() {
    let a: Vec<_> = [-0.5, -0.6, -0.55, -0.7, -0.52, -0.61].map(Some).into();
    let b: Vec<_> = [-1.5, -1.2, -1.3, -1.4, -1.25, -1.6].map(Some).into();
    let loss = |estimand| Question { range: ALL, ..asked(estimand, 0.0) };
    let decision = one(&loss(Estimand::GivenSuccess), &a, &b);
    assert_eq!(decision.verdict, Verdict::Supported);
    assert!(decision.interval().unwrap().high > decision.estimate.unwrap());
    assert_eq!(one(&loss(Estimand::Composite), &a, &b).verdict, Verdict::NotTestable);
}

#[test]
fn a_share_over_settings_is_as_sure_as_the_seeds_and_not_as_the_runs() {
    // 5 seeds that succeed in 4 settings: P(this seed succeeds everywhere) is at least .025^(1/5).
    let everywhere =
        |name: &str| Setting { name: name.to_owned(), a: arm(&[Some(0.9); 5]), b: None };
    let settings = ["1", "2", "3", "4"].map(everywhere);
    let answer = decide(&asked(Estimand::Success, 0.5), &settings);
    close(answer.overall.interval().unwrap().low, 0.025_f64.powf(0.2), 1e-8);
    assert_eq!((answer.overall.verdict, answer.overall.n), (Verdict::Undecided, 5));
    assert_eq!(answer.overall.trained, [(20, 20)]);
    assert_eq!(
        decide(&asked(Estimand::Success, 0.4), &settings).overall.verdict,
        Verdict::Supported
    );
    // 20 of 20 in one setting do not show 99 %, nor do 80 of 80 show that 5 % is too low a bound.
    let twenty = [Setting { name: "one".to_owned(), a: arm(&[Some(0.9); 20]), b: None }];
    assert_eq!(
        decide(&asked(Estimand::Success, 0.99), &twenty).overall.verdict,
        Verdict::Undecided
    );
}

/// Eight seeds whose accuracies vary, and the same with a gain.
fn gains(gain: f64) -> (Vec<Option<f64>>, Vec<Option<f64>>) {
    let base = [0.61, 0.58, 0.63, 0.6, 0.57, 0.62, 0.64, 0.59];
    let noise = [0.01, -0.012, 0.004, 0.013, -0.006, -0.009, 0.002, -0.002];
    let a = base.iter().zip(noise).map(|(x, e)| Some(x + gain + e)).collect();
    (a, base.map(Some).into())
}

fn settings_with(gains_of: &[(&str, f64)]) -> Answer {
    let settings: Vec<Setting> = gains_of
        .iter()
        .map(|(name, gain)| {
            let (a, b) = gains(*gain);
            setting(name, &a, &b)
        })
        .collect();
    decide(&asked(Estimand::GivenSuccess, 0.0), &settings)
}

#[test]
fn a_verdict_over_settings_needs_settings_that_agree() {
    let agree = settings_with(&[("width 64", 0.1), ("width 256", 0.1)]);
    assert_eq!(agree.overall.verdict, Verdict::Supported);
    let differ = settings_with(&[("width 64", 0.0), ("width 256", 0.12)]);
    assert_eq!(differ.overall.verdict, Verdict::Undecided);
    assert!(differ.interaction.unwrap() < 0.001);
    assert_eq!(differ.settings_with(Verdict::Supported), ["width 256"]);
    let why = differ.overall.why.clone().unwrap();
    assert!(why.contains("supported at width 256; undecided at width 64"), "{why}");
    // Settings that differ in the size of the gain alone agree that there is one.
    let size = settings_with(&[("width 64", 0.05), ("width 256", 0.12)]);
    assert!(size.interaction.unwrap() < 0.001);
    assert_eq!(size.overall.verdict, Verdict::Supported);
}

#[test]
fn a_claim_about_the_mean_is_decided_where_settings_disagree() {
    let (trains, fails) = (vec![Some(0.9); 12], vec![None; 12]);
    let (better, worse) = gains(0.12);
    for (estimand, better, worse) in
        [(Estimand::GivenSuccess, better, worse), (Estimand::Success, trains, fails)]
    {
        let more = setting("more", &better, &worse);
        let same = setting("same", &better, &better);
        let less = setting("less", &worse, &better);
        let each = asked(estimand, 0.0);
        let mean = Question { scope: Scope::Mean, ..each };
        let two = [more.clone(), same];
        let (of_each, of_mean) = (decide(&each, &two), decide(&mean, &two));
        assert_eq!(of_each.overall.verdict, Verdict::Undecided, "{estimand:?}");
        assert!(of_each.overall.settings_disagree);
        assert_eq!(of_mean.overall.verdict, Verdict::Supported, "{estimand:?}");
        assert!(!of_mean.overall.settings_disagree);
        // The numbers are the same: only the verdict differs.
        assert_eq!(of_each.overall.p, of_mean.overall.p);
        assert_eq!(of_each.settings, of_mean.settings);
        // Gains that cancel out decide nothing, and the mean needs further seeds of all settings.
        let mean = Question { until_decided: true, ..mean };
        let against = decide(&mean, &[more.clone(), less]);
        assert_eq!((against.overall.verdict, against.open), (Verdict::Undecided, vec![0, 1]));
        let unfinished = decide(&mean, &[more, setting("unfinished", &[], &[])]);
        assert_eq!(unfinished.overall.verdict, Verdict::Undecided, "{estimand:?}");
    }
}

#[test]
fn settings_that_cannot_be_tested_or_are_not_finished_are_named() {
    let (a, b) = gains(0.1);
    let settings = [
        setting("depth 2", &a, &b),
        setting("depth 100", &[None; 8], &[None; 8]),
        setting("depth 50", &[], &[]),
    ];
    let answer = decide(&asked(Estimand::GivenSuccess, 0.0), &settings);
    assert_eq!(
        answer.overall.why.as_deref(),
        Some("Not testable at depth 100. Not finished at depth 50")
    );
    // Those that finish first are not a random choice.
    assert_eq!(answer.overall.verdict, Verdict::Undecided);
    assert_eq!(answer.settings_with(Verdict::Supported), ["depth 2"]);
    let finished = decide(&asked(Estimand::GivenSuccess, 0.0), &settings[..2]);
    assert_eq!(finished.overall.verdict, Verdict::Supported);
    let never = decide(&asked(Estimand::GivenSuccess, 0.0), &settings[1..2]);
    assert_eq!(never.overall.verdict, Verdict::NotTestable);
    assert_eq!(decide(&asked(Estimand::Success, 0.0), &[]).overall.verdict, Verdict::Undecided);
}

#[test]
fn a_setting_in_which_no_run_trains_counts_as_no_difference_of_successes() {
    let (trains, fails) = ([Some(0.8); 8], [None; 8]);
    let settings = [setting("depth 10", &trains, &fails), setting("depth 200", &fails, &fails)];
    let answer = decide(&asked(Estimand::Success, 0.0), &settings);
    assert_eq!(answer.overall.estimate, Some(0.5), "{answer:?}");
    assert_eq!(answer.settings[1].1.verdict, Verdict::NotTestable);
}

#[test]
fn a_choice_in_the_judged_seeds_costs_width_and_says_so() {
    let (a, b) = gains(0.02);
    let question = asked(Estimand::GivenSuccess, 0.0);
    let fixed = one(&question, &a, &b);
    let mut chosen = setting("one", &a, &b);
    chosen.a.choices = 3;
    let chosen = decide(&question, &[chosen]).overall;
    let width =
        |decision: &Decision| decision.interval().unwrap().high - decision.interval().unwrap().low;
    assert!(width(&chosen) > width(&fixed));
    close(chosen.p.unwrap(), 3.0 * fixed.p.unwrap(), 1e-12);
    assert!(chosen.is_exploratory() && !fixed.is_exploratory());
}

#[test]
fn few_seeds_decide_at_most_as_exploration() {
    let a = [Some(0.9), Some(0.91), Some(0.905)];
    let b = [Some(0.5), Some(0.52), Some(0.5)];
    let decision = one(&asked(Estimand::GivenSuccess, 0.0), &a, &b);
    assert_eq!(decision.verdict, Verdict::Supported);
    assert!(decision.is_exploratory());
}

#[test]
fn p_value_interval_and_verdict_agree() {
    for gain in [-0.1, -0.01, -0.004, 0.0, 0.004, 0.01, 0.1] {
        let (a, b) = gains(gain);
        for estimand in [Estimand::GivenSuccess, Estimand::Composite, Estimand::Success] {
            for margin in [-0.02, 0.0, 0.05] {
                for until_decided in [false, true] {
                    let question = Question { until_decided, ..asked(estimand, margin) };
                    let decision = one(&question, &a, &b);
                    let interval = decision.interval().unwrap();
                    let expected = match margin {
                        m if m < interval.low => Verdict::Supported,
                        m if m > interval.high => Verdict::Refuted,
                        _ => Verdict::Undecided,
                    };
                    assert_eq!(decision.verdict, expected, "{gain} {margin} {decision:?}");
                    let decided = decision.p.unwrap() <= 0.05;
                    assert_eq!(decided, expected != Verdict::Undecided, "{decision:?}");
                }
            }
        }
    }
}

#[test]
fn holm_counts_the_claims_that_were_tested() {
    let (a, b) = gains(0.012);
    let question = asked(Estimand::GivenSuccess, 0.0);
    let mut first = one(&question, &a, &b);
    let mut second = one(&question, &b, &a);
    let mut floor = one(&question, &[None; 4], &[None; 4]);
    let raw = first.p.unwrap();
    adjust(&mut [&mut first, &mut floor, &mut second]);
    close(first.p_holm.unwrap(), (2.0 * raw).min(1.0), 1e-12);
    assert_eq!(floor.p_holm, None);
}

/// Draws a cell of the reduced simulation. `examples/validate.rs` makes more.
const DRAWS: u64 = 200;

/// 5 %, and three standard errors of the simulation.
fn most() -> f64 {
    0.05 + 3.0 * (0.05 * 0.95 / DRAWS as f64).sqrt()
}

#[test]
fn five_percent_of_verdicts_are_wrong_at_most() {
    for scenario in simulation::nulls() {
        for n in [3, 6, 10, 20] {
            let shares = scenario.simulate(n, DRAWS);
            assert!(shares.ours <= most(), "{}, n = {n}: {shares:?}", scenario.name);
        }
    }
}

#[test]
fn the_plain_t_interval_and_a_choice_by_the_other_seeds_would_fail_that() {
    let plain = |name: &str, n: usize| {
        let all = simulation::nulls();
        let scenario = all.iter().find(|scenario| scenario.name == name).unwrap();
        scenario.simulate(n, DRAWS).plain
    };
    assert!(plain("one arm fails in 5 %, equal composite means: composite", 6) > 0.3);
    assert!(plain("share .99 at the bound: success", 10) > 0.5);
    assert!(plain("best of 8 against 1, all train: accuracy given success", 10) > most());
    assert!(simulation::choice_without_the_seed().simulate(10, DRAWS).ours > 2.0 * most());
}

#[test]
fn clear_differences_are_found() {
    for (name, n) in [
        ("95 % against 5 %, paired: success", 10),
        ("95 % against 5 %, unpaired: success", 10),
        ("+.03 at sd .01, all train: accuracy given success", 6),
    ] {
        let all = simulation::alternatives();
        let scenario = all.iter().find(|scenario| scenario.name == name).unwrap();
        let shares = scenario.simulate(n, DRAWS);
        assert!(shares.supported >= 0.9, "{name}: {shares:?}");
    }
}

#[test]
fn five_percent_of_paths_are_ever_decided_wrongly_at_most() {
    for path in simulation::paths() {
        let ends = path.simulate(DRAWS);
        match path.null {
            true => {
                assert!(ends.ours <= most(), "{}: {ends:?}", path.name);
                assert!(ends.plain > most(), "a t interval would pass {}: {ends:?}", path.name);
            }
            // The medians of notes on the design: 9, 13, 38 and 19.
            false => assert!(ends.median.is_some_and(|n| n <= 45), "{}: {ends:?}", path.name),
        }
    }
}

#[test]
fn a_sweep_that_adds_seeds_until_decided_is_wrong_in_five_percent_at_most() {
    for (null, scenario) in simulation::sweeps_until_decided() {
        let ends = scenario.until_decided(DRAWS);
        match null {
            true => assert!(ends.ours <= most(), "{}: {ends:?}", scenario.name),
            false => assert!(
                ends.ours > 0.99 && ends.median.is_some_and(|n| (7..=10).contains(&n)),
                "{}: {ends:?}",
                scenario.name
            ),
        }
    }
}

fn until_decided(estimand: Estimand, settings: &[Setting]) -> Answer {
    decide(&Question { until_decided: true, ..asked(estimand, 0.0) }, settings)
}

#[test]
fn more_seeds_are_for_the_settings_that_an_open_claim_needs() {
    let (a, b) = gains(0.1);
    let (more, less) = (setting("more", &a, &b), setting("less", &b, &a));
    let (even, floor) =
        (setting("even", &b, &b), |n: usize| setting("floor", &vec![None; n], &vec![None; n]));
    // Decided; settings that are decided and disagree; and one beside them that is not decided.
    let given = Estimand::GivenSuccess;
    assert_eq!(until_decided(given, std::slice::from_ref(&more)).open, [0; 0]);
    let split = until_decided(given, &[more.clone(), less.clone()]);
    assert_eq!((split.overall.verdict, split.open), (Verdict::Undecided, vec![]));
    assert_eq!(until_decided(given, &[more.clone(), even.clone(), less]).open, [1]);
    // The mean over settings needs all of them.
    assert_eq!(until_decided(given, &[even.clone(), even.clone()]).open, [0, 1]);
    // Nothing is decided while a setting may still become testable, and it is given up at last.
    let waits = until_decided(given, &[more.clone(), floor(9)]);
    assert_eq!((waits.overall.verdict, waits.open), (Verdict::Undecided, vec![1]));
    let given_up = until_decided(given, &[more, floor(10)]);
    assert_eq!((given_up.overall.verdict, given_up.open), (Verdict::Supported, vec![]));
    assert_eq!(until_decided(given, &[floor(10)]).open, [0; 0]);
    assert_eq!(until_decided(Estimand::Success, &[floor(9)]).open, [0]);
    assert_eq!(until_decided(Estimand::Success, &[floor(10)]).open, [0; 0]);
    // A mean of successes counts a setting in which none trains.
    assert_eq!(until_decided(Estimand::Success, &[even, floor(10)]).open, [0, 1]);
}
