//! Summaries of made-up sweeps.

use std::collections::{BTreeSet, HashSet};

use crate::sweeps::{depth_sweep, diverged, init, job, lr, ok, whole};
use wninit_core::grid::{Claim, Condition, Expectation, Metric, Published, Scope};
use wninit_core::job::{Field, Job, JobId, Value};
use wninit_core::results::Record;
use wninit_stats::interval::Interval;
use wninit_stats::planning::SeedsNeeded;
use wninit_stats::summary::{
    ClaimResult, Headline, Input, Note, Ranked, Standing, Summary, SummaryError,
};
use wninit_stats::verdict::Verdict;

/// The plan of these jobs.
fn plan(jobs: &[Job]) -> Vec<(JobId, Job)> {
    jobs.iter().map(|job| (job.id(), job.clone())).collect()
}

fn of(records: &[Record]) -> Summary {
    Summary::new(&Input { records, ..Input::default() }).unwrap()
}

fn seeds(n: i64) -> Vec<Job> {
    (0..n).map(|seed| job(&[whole("seed", seed)])).collect()
}

#[test]
fn success_accuracy_given_success_and_their_composite_are_told_apart() {
    let jobs = seeds(3);
    let summary = of(&[ok(&jobs[0], 0.9, 0.8), diverged(&jobs[1]), ok(&jobs[2], 0.9, 0.9)]);
    let cell = &summary.cells[0];
    assert_eq!(
        (cell.counts.finished, cell.counts.ok, cell.counts.diverged, cell.counts.at_chance),
        (3, 2, 1, 0)
    );
    assert!((cell.mean.unwrap() - 0.6).abs() < 1e-12);
    assert!((cell.accuracy.unwrap() - 0.85).abs() < 1e-12);
    let success = cell.success.unwrap();
    assert!((success.value - 2.0 / 3.0).abs() < 1e-12);
    // statsmodels: proportion_confint(2, 3, 0.05, "beta").
    assert!((success.interval.low - 0.094_299_3).abs() < 1e-6, "{success:?}");
}

#[test]
fn a_run_that_does_not_beat_guessing_is_at_chance_and_no_success() {
    // Of 360 test images, 37 of the largest class, at most 60 are right with probability 0.9999 if the
    // answer does not depend on the image: the least k with P(X <= k) >= 0.9999, summed term by term.
    let jobs = seeds(3);
    let accuracies = [0.1, 60.0 / 360.0, 61.0 / 360.0];
    let records: Vec<Record> =
        jobs.iter().zip(accuracies).map(|(job, acc)| ok(job, acc, acc)).collect();
    let cell = &of(&records).cells[0];
    assert_eq!((cell.counts.ok, cell.counts.at_chance), (3, 2));
    assert_eq!((cell.trained, cell.runs.len()), (1, 3));
    assert!((cell.mean.unwrap() - (0.1 + 0.1 + 61.0 / 360.0) / 3.0).abs() < 1e-12);
}

#[test]
fn a_network_that_always_answers_with_the_largest_class_is_at_chance() {
    let at_chance = |records: &[Record]| {
        of(records).cells.iter().map(|cell| cell.counts.at_chance).collect::<Vec<_>>()
    };
    // A dead network on MNIST: 1,135 of the 10,000 test images are ones. More than a tenth does not help it.
    let mnist = |seed: i64, test_images: Option<i64>| {
        let fields = [("dataset", Value::Text("mnist".into())), whole("seed", seed)];
        let fields = fields.into_iter().chain(test_images.map(|n| whole("test_images", n)));
        job(&fields.collect::<Vec<_>>())
    };
    let dead = [0.1135, 0.1255, 0.1256].into_iter().enumerate();
    let dead: Vec<Record> = dead.map(|(i, x)| ok(&mnist(i as i64, None), x, x)).collect();
    assert_eq!(at_chance(&dead), [2]);
    // Fewer images say less, also in the same sweep.
    let few = ok(&mnist(0, Some(100)), 0.2, 0.2);
    assert_eq!(at_chance(&[few, ok(&mnist(0, None), 0.2, 0.2)]), [0, 1]);
    // A row knows the share among the images that it was tested on.
    let of_share = |seed, share, x| Record {
        test_largest_class: Some(share),
        ..ok(&job(&[whole("seed", seed)]), x, x)
    };
    let uneven = [of_share(0, 0.6, 0.6), of_share(1, 0.6, 0.72), of_share(2, 1.0, 1.0)];
    assert_eq!(at_chance(&uneven), [2]);
}

#[test]
fn what_failed_or_is_missing_is_counted_and_what_was_mended_is_not() {
    let jobs = seeds(4);
    let summary = Summary::new(&Input {
        planned: &plan(&jobs),
        records: &[ok(&jobs[0], 0.9, 0.9)],
        failed: &[jobs[0].id(), jobs[1].id(), jobs[1].id()],
        ..Input::default()
    })
    .unwrap();
    let cell = &summary.cells[0];
    assert_eq!(
        (cell.counts.planned, cell.counts.finished, cell.counts.failed, cell.counts.missing),
        (4, 1, 1, 2)
    );
    assert_eq!(summary.counts.missing, 2);
    assert_eq!((cell.mean, cell.sd, cell.accuracy_interval), (Some(0.9), None, None));
}

#[test]
fn a_sweep_with_no_rows_or_no_plan_at_all_has_a_summary() {
    assert!(of(&[]).tables().iter().all(|table| table.rows.is_empty()));
    let jobs = seeds(2);
    let summary = Summary::new(&Input { planned: &plan(&jobs), ..Input::default() }).unwrap();
    assert_eq!((summary.cells[0].counts.missing, summary.cells[0].mean), (2, None));
    assert_eq!((summary.initializers[0].success, summary.ranking.len()), (None, 0));
}

#[test]
fn every_column_is_documented_and_every_row_is_complete() {
    let summary = of(&depth_sweep());
    for table in summary.tables() {
        let named: HashSet<&str> = table.columns.iter().map(|column| column.name).collect();
        assert_eq!(named.len(), table.columns.len(), "{}", table.name);
        assert!(table.rows.iter().all(|row| row.len() == table.columns.len()), "{}", table.name);
    }
    let names = |at: usize| -> Vec<&str> {
        summary.tables()[at].columns.iter().map(|column| column.name).collect()
    };
    assert_eq!(
        names(1).join(", "),
        "depth, init, lr, n_planned, n_finished, n_ok, n_diverged, n_at_chance, n_failed, n_missing, \
         n_left_out, n, n_trained, success, success_low, success_high, acc, acc_sd, acc_low, acc_high, mean, \
         sd, mean_low, mean_high, mean_best_checkpoint"
    );
    assert_eq!(names(9), ["kind", "where", "text"]);
}

#[test]
fn the_learning_rate_is_chosen_on_validation_and_never_on_test() {
    let records: Vec<Record> = (0..3)
        .flat_map(|seed| {
            let at = |rate| job(&[lr(rate), whole("seed", seed)]);
            // The second is better on the test set, which must not matter.
            [ok(&at(0.01), 0.9, 0.7), ok(&at(0.1), 0.8, 0.95)]
        })
        .collect();
    let summary = of(&records);
    assert_eq!(summary.chosen, [0]);
    assert_eq!(summary.ranking[0].lr, (0.01, 0.01));
    assert!((summary.ranking[0].accuracy.unwrap().value - 0.7).abs() < 1e-12);
}

#[test]
fn an_initializer_is_described_by_where_it_trains() {
    let summary = of(&depth_sweep());
    let [default, datadep, proposed] = &summary.initializers[..] else { panic!() };
    assert!(default.is_baseline);
    assert_eq!(
        (datadep.counts.diverged, default.counts.at_chance, proposed.counts.at_chance),
        (10, 10, 5)
    );
    assert_eq!((proposed.trained, proposed.trained_chosen), ((15, 20), (10, 10)));
    assert_eq!(proposed.success.unwrap().value, 0.75);
    // Both rates at depth 2, one at depth 50: a decade and nothing.
    assert_eq!((proposed.lr_band_decades, datadep.lr_band_decades), (Some(0.5), Some(0.5)));
}

#[test]
fn a_band_of_rates_does_not_bridge_a_rate_that_is_missing() {
    let at = |rate, seed| job(&[lr(rate), whole("seed", seed)]);
    let jobs: Vec<Job> =
        (0..3).flat_map(|seed| [0.001, 0.01, 0.1].map(|rate| at(rate, seed))).collect();
    let records: Vec<Record> =
        jobs.iter().filter(|job| job.lr != 0.01).map(|job| ok(job, 0.9, 0.9)).collect();
    let planned = plan(&jobs);
    let input = Input { planned: &planned, records: &records, ..Input::default() };
    let summary = Summary::new(&input).unwrap();
    let arm = &summary.initializers[0];
    assert_eq!((arm.lr_band_decades, arm.lr_bands_left_out), (None, 1));
    noted(&summary.notes, &["lr bands leave out 1 case"]);
}

#[track_caller]
fn noted(notes: &[Note], expected: &[&str]) {
    let all: Vec<&str> = notes.iter().map(|note| note.text.as_str()).collect();
    for text in expected {
        assert!(all.iter().any(|note| note.contains(text)), "{text}\n{}", all.join("\n"));
    }
}

#[test]
fn pairs_are_differences_by_seed_with_holm_over_all_of_them() {
    let summary = of(&depth_sweep());
    assert_eq!(summary.pairs.len(), 4);
    for cell in &summary.cells {
        let at: Vec<usize> = summary.arm_axes.iter().map(|&axis| cell.at[axis]).collect();
        assert_eq!(summary.initializers[cell.arm].at, at, "a cell belongs to its own arm");
    }
    let pair =
        |depth: usize, arm| summary.pairs.iter().find(|p| p.context == [depth] && p.arm == arm);
    let shallow = pair(0, 2).unwrap();
    assert_eq!((shallow.lr, shallow.baseline_lr), (0.01, 0.01));
    assert!((shallow.difference.accuracy.estimate.unwrap() - 0.001).abs() < 1e-9);
    // At depth 50 the baseline stays at chance: no accuracy to compare, at one of the two rates.
    let deep = &pair(1, 2).unwrap().difference;
    assert_eq!((deep.success.estimate, deep.success.n), (Some(0.5), 5));
    assert_eq!(deep.accuracy.verdict, Verdict::NotTestable);
    // Three of the four pairs have a p value: at depth 50 neither datadep nor the baseline trains.
    let tested = summary.pairs.iter().filter(|p| p.difference.success.p.is_some());
    assert_eq!(tested.count(), 3);
    let (p, holm) = (deep.success.p.unwrap(), deep.success.p_holm.unwrap());
    assert!((holm - (3.0 * p).min(1.0)).abs() < 1e-12, "{p} {holm}");
}

fn row<'s>(summary: &'s Summary, task: &[usize], init: &str) -> &'s Ranked {
    summary.ranking.iter().find(|r| r.task == task && r.init == init).unwrap()
}

#[test]
fn arms_are_ranked_by_success_then_by_accuracy_and_what_does_not_train_is_named() {
    // Six seeds at one rate: the default gain stays at chance at depth 50, datadep diverges.
    let records: Vec<Record> = (0..6)
        .flat_map(|seed| {
            ["orthogonal", "orthogonal_datadep", "orthogonal_proposed"]
                .into_iter()
                .flat_map(move |name| [2, 50].map(|depth| (seed, name, depth)))
        })
        .map(|(seed, name, depth)| {
            let job = job(&[whole("depth", depth), init(name), whole("seed", seed)]);
            let noise = 0.001 * [0.0, 2.0, -1.0, 1.0, -2.0, 0.5][seed as usize];
            match (depth, name) {
                (50, "orthogonal_datadep") => diverged(&job),
                (50, "orthogonal") => ok(&job, 0.1, 0.1),
                (2, "orthogonal") => ok(&job, 0.85 - noise, 0.85 - noise),
                (2, "orthogonal_proposed") => ok(&job, 0.9 + noise, 0.9 + noise),
                _ => ok(&job, 0.9, 0.9 + noise / 2.0),
            }
        })
        .collect();
    let summary = of(&records);
    let order: Vec<(usize, &str)> =
        summary.ranking.iter().map(|r| (r.task[0], r.init.as_str())).collect();
    assert_eq!(order[0], (0, "orthogonal_proposed"));
    assert_eq!(order[3], (1, "orthogonal_proposed"));
    let standing = |depth: usize, init| row(&summary, &[depth], init).standing;
    assert_eq!(standing(0, "orthogonal"), Standing::LessAccurate);
    assert_eq!(standing(0, "orthogonal_datadep"), Standing::Open);
    // 6 of 6 against 0 of 6 has p = 0.031, of which three pairs of arms are one too many.
    let never = row(&summary, &[1], "orthogonal_datadep");
    assert_eq!(never.standing, Standing::NeverTrains { shown: false });
    assert_eq!(never.words(), "always fails; few seeds, p = 0.094");
    let two: Vec<Record> =
        records.into_iter().filter(|r| r.job.init.name() != "orthogonal").collect();
    let never = of(&two);
    assert_eq!(row(&never, &[1], "orthogonal_datadep").words(), "always fails, p = 0.031");
}

#[test]
fn settings_of_the_task_are_ranked_one_by_one_so_that_no_average_hides_them() {
    let gain = [0.12, 0.0];
    let records: Vec<Record> = (0..8)
        .flat_map(|seed| {
            [256, 64].into_iter().zip(gain).map(move |(width, gain)| (seed, width, gain))
        })
        .flat_map(|(seed, width, gain)| {
            let noise = 0.01 * ((seed * 5) % 8) as f64 - 0.035;
            let at = |name| job(&[whole("width", width), init(name), whole("seed", seed)]);
            let [he, proposed] = [at("he"), at("he_proposed")];
            let gained = 0.8 + gain + noise;
            [ok(&he, 0.8, 0.8), ok(&proposed, 0.8 + gain, gained)]
        })
        .collect();
    let summary = of(&records);
    let standings: Vec<(usize, Standing)> = summary
        .ranking
        .iter()
        .filter(|row| row.rank == 2)
        .map(|row| (row.task[0], row.standing))
        .collect();
    assert_eq!(standings, [(0, Standing::Open), (1, Standing::LessAccurate)]);
}

#[test]
fn where_nothing_trains_nothing_is_recommended_and_divergence_counts_where_claims_ask_for_it() {
    let records: Vec<Record> = (0..6)
        .flat_map(|seed| {
            let at = |name| job(&[init(name), whole("seed", seed)]);
            [diverged(&at("orthogonal_datadep")), ok(&at("orthogonal_proposed"), 0.1, 0.1)]
        })
        .collect();
    let summary = of(&records);
    assert!(summary.ranking.iter().all(|row| row.standing == Standing::NothingTrains));
    let expect = compare("orthogonal_proposed", "orthogonal_datadep", 0.0);
    let claims = [Claim::new("", Metric::Diverged, Vec::new(), expect)];
    let input = Input { records: &records, claims: &claims, ..Input::default() };
    let summary = Summary::new(&input).unwrap();
    assert_eq!(summary.success_metric, Metric::Diverged);
    assert_eq!((summary.ranking[0].trained, summary.ranking[1].trained), (6, 0));
    let last = row(&summary, &[], "orthogonal_datadep");
    assert_eq!(last.standing, Standing::NeverTrains { shown: true });
}

#[test]
fn the_baseline_is_the_default_gain_then_datadep_then_what_was_asked_for() {
    let records = depth_sweep();
    let label = |records: &[Record], baseline| {
        let summary = Summary::new(&Input { records, baseline, ..Input::default() })?;
        Ok::<_, SummaryError>(summary.initializers[summary.baseline.unwrap()].label.clone())
    };
    assert_eq!(label(&records, None).unwrap(), "orthogonal");
    let without: Vec<Record> =
        records.iter().filter(|r| r.job.init.name() != "orthogonal").cloned().collect();
    assert_eq!(label(&without, None).unwrap(), "orthogonal_datadep");
    let asked = Some("orthogonal_proposed");
    assert_eq!(label(&records, asked).unwrap(), "orthogonal_proposed");
    let error = label(&without, Some("orthogonal")).unwrap_err().to_string();
    assert!(error.contains("orthogonal_datadep, orthogonal_proposed"), "{error}");
}

#[test]
fn two_norms_with_one_initializer_are_two_arms() {
    let mut records = Vec::new();
    for seed in 0..2 {
        for norm in ["weight", "none"] {
            let norm = ("norm", Value::Text(norm.to_owned()));
            records.push(ok(&job(&[init("orthogonal"), norm, whole("seed", seed)]), 0.9, 0.9));
        }
    }
    let summary = of(&records);
    let labels: Vec<&str> = summary.initializers.iter().map(|s| s.label.as_str()).collect();
    assert_eq!(labels, ["orthogonal", "orthogonal+nonorm"]);
    assert_eq!(summary.baseline, Some(0));
}

#[test]
fn a_warm_up_that_only_some_have_makes_an_arm_and_one_that_all_have_does_not() {
    let warm = |name: &str, epochs: i64, seed: i64| {
        let epochs = ("warmup_epochs", Value::Integer(epochs));
        let job = job(&[init(name), whole("epochs", 8), epochs, whole("seed", seed)]);
        ok(&job, 0.9, 0.9)
    };
    let mut records: Vec<Record> = (0..3)
        .flat_map(|seed| {
            [
                warm("orthogonal", 0, seed),
                warm("orthogonal_proposed", 0, seed),
                warm("orthogonal_proposed", 5, seed),
            ]
        })
        .collect();
    let summary = of(&records);
    let labels: Vec<&str> = summary.initializers.iter().map(|s| s.label.as_str()).collect();
    let expected = ["orthogonal", "orthogonal_proposed", "orthogonal_proposed+warmup5"];
    assert_eq!(labels, expected);
    assert_eq!((summary.baseline, summary.ranking.len()), (Some(0), 3));
    assert_eq!(summary.pairs.len(), 2);

    records.extend((0..3).map(|seed| warm("orthogonal", 5, seed)));
    let summary = of(&records);
    assert_eq!((summary.initializers.len(), summary.pairs.len()), (2, 2));
}

#[test]
fn a_claim_that_would_take_thousands_of_seeds_names_no_number() {
    let records = depth_sweep();
    let of = |margin| {
        settle(
            &records,
            claim(Metric::TestAcc, 2, compare("orthogonal_proposed", "orthogonal_datadep", margin)),
        )
    };
    let gap = |margin: f64| (of(margin).estimate.unwrap() - margin).abs();
    assert!(gap(0.00099) < 0.001);
    let hopeless = of(0.00099);
    assert_eq!((hopeless.verdict(), hopeless.needed().unwrap().n), (Verdict::Undecided, None));
    assert_eq!(hopeless.seconds_needed, None);
    assert!(hopeless.reason().contains("over 1,000 fresh seeds"), "{}", hopeless.reason());
}

#[test]
fn what_makes_numbers_hard_to_compare_is_said_out_loud() {
    let mut records = depth_sweep();
    records.pop();
    records[0].provenance.device = "cuda:0 NVIDIA H200".to_owned();
    records[1].provenance.device = "cuda:1 NVIDIA H200".to_owned();
    records[2].provenance.git_sha = "def-dirty".to_owned();
    records.push(records[3].clone());
    let jobs: Vec<Job> = records[1..].iter().map(|r| r.job.clone()).collect();
    let summary =
        Summary::new(&Input { planned: &plan(&jobs), records: &records, ..Input::default() })
            .unwrap();
    noted(
        &summary.notes,
        &[
            "Unequal n: cells have between 4 and 5 runs that count.",
            "Mixed devices: NVIDIA H200 (1 runs), cpu (57 runs).",
            "Mixed git commits: abc (57 runs), def-dirty (1 runs).",
            "1 run from a working tree with uncommitted changes.",
            "1 finished run in runs.csv belongs to no job of plan.csv",
            "1 further row for a job that has one already",
            "Fewer than 6 seeds",
            "The chosen lr is the smallest tried in 4 of 4 cases (depth 2 orthogonal,",
        ],
    );
}

#[test]
fn a_device_an_accuracy_or_a_setting_that_misleads_is_said_out_loud() {
    let mut records = depth_sweep();
    for record in &mut records {
        if is_proposed(record) {
            record.provenance.device = "cuda:0 NVIDIA H200".to_owned();
        }
    }
    records[0].test_acc = Some(1.5);
    let jobs: Vec<Job> = records.iter().map(|r| r.job.clone()).collect();
    records.retain(|r| r.job.arch.layers() < 50 || r.job.init.name() != "orthogonal");
    let planned = plan(&jobs);
    let input = Input { planned: &planned, records: &records, ..Input::default() };
    let summary = Summary::new(&input).unwrap();
    noted(
        &summary.notes,
        &[
            "Device and initializer are confounded: orthogonal on cpu, orthogonal_datadep on cpu, \
         orthogonal_proposed on NVIDIA H200.",
            "1 finished run with an accuracy outside [0, 1]",
            "Not compared, because no run counts: depth 50.",
        ],
    );
    let note = summary.notes.iter().find(|note| note.kind == "missing").unwrap();
    assert_eq!(note.r#where, "depth 50");
}

#[test]
fn the_spread_is_that_of_the_runs_that_train_and_its_ratio_needs_six_seeds() {
    let summary = of(&depth_sweep());
    let [_, datadep, proposed] = &summary.variance[..] else { panic!() };
    assert_eq!((datadep.n_cells, datadep.df), (2, Some(8)));
    // Proposed trains in three cells, of which the baseline trains in two.
    assert_eq!((proposed.n_cells, proposed.n_common, proposed.n_seeds), (3, 2, 5));
    assert_eq!(proposed.ratio, None);
}

fn claim(metric: Metric, depth: i64, expect: Expectation) -> Claim {
    let depth = Condition::new(Field::named("depth").unwrap(), vec![Value::Integer(depth)]);
    Claim::new("It trains.", metric, vec![depth], expect)
}

fn compare(better: &str, than: &str, margin: f64) -> Expectation {
    let value = |name: &str| Value::Text(name.to_owned());
    Expectation::compare(Field::named("init").unwrap(), value(better), value(than), margin)
}

fn settle(records: &[Record], claim: Claim) -> ClaimResult {
    Summary::new(&Input { records, claims: &[claim], ..Input::default() }).unwrap().claims.remove(0)
}

#[test]
fn a_claim_is_supported_refuted_or_undecided_by_its_interval() {
    let records = depth_sweep();
    let of = |better, than, margin| {
        settle(&records, claim(Metric::TestAcc, 2, compare(better, than, margin)))
    };
    let supported = of("orthogonal_proposed", "orthogonal_datadep", -0.01);
    assert_eq!((supported.verdict(), supported.n()), (Verdict::Supported, 5));
    assert_eq!(supported.needed(), None);
    assert_eq!(of("orthogonal_datadep", "orthogonal_proposed", 0.01).verdict(), Verdict::Refuted);
    assert_eq!(of("orthogonal_proposed", "orthogonal_datadep", 0.8).verdict(), Verdict::Refuted);
    let undecided = of("orthogonal_proposed", "orthogonal_datadep", 0.0);
    assert_eq!(undecided.verdict(), Verdict::Undecided);
    let SeedsNeeded { n, low, high } = undecided.needed().unwrap();
    // Power 0.8 at an effect of 0.001 / 0.0015811.
    assert_eq!((n, high), (Some(22), None));
    assert!(low < n, "{low:?}");
    // A fresh seed: two initializers at the rates chosen, ten seconds each.
    assert_eq!(undecided.seconds_needed, Some(22.0 * 20.0));
    let reason = undecided.reason();
    assert!(reason.contains("train 22 fresh seeds (interval"), "{reason}");
    assert!(!reason.contains("more seed"), "{reason}");
}

#[test]
fn an_accuracy_is_that_of_the_runs_that_train_with_their_number_beside_it() {
    let mut records = depth_sweep();
    // One seed of the proposed gain fails at both rates.
    for record in &mut records {
        if record.job.arch.layers() < 50 && is_proposed(record) && record.job.init_seed == 4 {
            *record = diverged(&record.job.clone());
        }
    }
    let of = |metric, depth, than: &str| {
        settle(&records, claim(metric, depth, compare("orthogonal_proposed", than, -0.02)))
    };
    let given = of(Metric::TestAcc, 2, "orthogonal");
    assert_eq!((given.n(), given.success.as_slice()), (4, &[(4, 5), (5, 5)][..]));
    assert!((given.estimate.unwrap() - 0.00125).abs() < 1e-9, "{given:?}");
    assert!(given.reason().contains("trained 4/5 against 5/5"), "{}", given.reason());
    // A failure counts as a guess, 0.1 instead of 0.895.
    let composite = of(Metric::CompositeAcc, 2, "orthogonal");
    assert_eq!(composite.n(), 5);
    assert!((composite.estimate.unwrap() - (4.0 * 0.00125 - 0.795) / 5.0).abs() < 1e-9);
    let floor = of(Metric::TestAcc, 50, "orthogonal_datadep");
    assert_eq!((floor.verdict(), floor.estimate), (Verdict::NotTestable, None));
    assert!(floor.reason().contains("fewer than two seeds that trained"), "{}", floor.reason());
}

fn is_proposed(record: &Record) -> bool {
    record.job.init.name() == "orthogonal_proposed"
}

#[test]
fn a_rate_that_was_chosen_in_the_same_seeds_is_paid_for() {
    let records = depth_sweep();
    let expect = compare("orthogonal_proposed", "orthogonal_datadep", -0.01);
    let both = settle(&records, claim(Metric::TestAcc, 2, expect.clone()));
    let alone: Vec<Record> = records.into_iter().filter(|r| r.job.lr < 0.05).collect();
    let one = settle(&alone, claim(Metric::TestAcc, 2, expect));
    let [both_p, one_p] = [&both, &one].map(|c| c.answer.overall.p.unwrap());
    assert!((both_p - 2.0 * one_p).abs() < 1e-12, "{both_p} {one_p}");
    assert!(both.reason().ends_with("with `wninit confirm DIR`."), "{}", both.reason());
    assert!(one.reason().ends_with("Exploratory: fewer than 6 seeds."), "{}", one.reason());
}

#[test]
fn claims_carry_holms_correction_over_the_sweep() {
    let expect = |margin| compare("orthogonal_proposed", "orthogonal_datadep", margin);
    let claims = [
        claim(Metric::TestAcc, 2, expect(-0.01)),
        claim(Metric::TestAcc, 2, expect(0.01)),
        claim(Metric::TestAcc, 50, expect(0.0)), // not testable, so it does not count
    ];
    let records = depth_sweep();
    let summary =
        Summary::new(&Input { records: &records, claims: &claims, ..Input::default() }).unwrap();
    let p: Vec<_> = summary.claims.iter().map(|c| &c.answer.overall).collect();
    let larger = p[0].p.unwrap().max(p[1].p.unwrap());
    let smaller = p[0].p.unwrap().min(p[1].p.unwrap());
    let holm = [p[0].p_holm.unwrap(), p[1].p_holm.unwrap()];
    assert!(
        holm.contains(&larger.max(2.0 * smaller)) && holm.contains(&(2.0 * smaller)),
        "{holm:?}"
    );
    assert_eq!((p[2].p, p[2].p_holm), (None, None));
    let lost = holm.iter().filter(|p| **p > 0.05).count();
    assert_eq!(summary.notes.iter().filter(|n| n.text.contains("survive")).count(), lost.min(1));
    assert!(summary.claims[0].reason().contains("(Holm"), "{}", summary.claims[0].reason());
}

#[test]
fn where_settings_disagree_the_verdict_names_them() {
    let records: Vec<Record> = (0..8)
        .flat_map(|seed| [2, 50].map(|depth| job(&[whole("depth", depth), whole("seed", seed)])))
        .map(|job| if job.arch.layers() < 50 { ok(&job, 0.9, 0.9) } else { diverged(&job) })
        .collect();
    let expect = Expectation::Within { at_least: Some(0.4), at_most: None };
    let result = settle(&records, Claim::new("", Metric::Success, Vec::new(), expect));
    assert_eq!((result.verdict(), result.estimate), (Verdict::Undecided, Some(0.5)));
    let reason = result.reason();
    assert!(
        reason.contains("supported at depth 2") && reason.contains("refuted at depth 50"),
        "{reason}"
    );
}

#[test]
fn sides_with_no_setting_in_common_are_not_testable_unless_each_names_its_learning_rate() {
    let at = |name: &str, lr: f64, seed: i64| {
        job(&[init(name), ("lr", Value::Float(lr)), whole("seed", seed)])
    };
    let records: Vec<Record> = (0..8)
        .flat_map(|seed| {
            let (proposed, default) =
                (at("orthogonal_proposed", 0.01, seed), at("orthogonal", 1e-4, seed));
            [ok(&proposed, 0.9, 0.9), diverged(&default)]
        })
        .collect();
    let of = |expect| settle(&records, Claim::new("", Metric::Success, Vec::new(), expect));
    let never = of(compare("orthogonal_proposed", "orthogonal", 0.0));
    assert_eq!(never.verdict(), Verdict::NotTestable);
    assert!(never.brief().contains("No setting has jobs of both sides"), "{}", never.brief());
    let side = |name: &str, lr: f64| {
        let of = |field, value| Condition::new(Field::named(field).unwrap(), vec![value]);
        vec![of("init", Value::Text(name.to_owned())), of("lr", Value::Float(lr))]
    };
    let (better, than) = (side("orthogonal_proposed", 0.01), side("orthogonal", 1e-4));
    let named = of(Expectation::Compare { better, than, margin: 0.0 });
    assert_eq!((named.verdict(), named.n()), (Verdict::Supported, 8));
}

#[test]
fn a_claim_about_the_mean_over_settings_says_so_and_where_it_does_not_hold() {
    let records: Vec<Record> = (0..10)
        .flat_map(|seed| {
            let at = |depth| job(&[whole("depth", depth), whole("seed", seed)]);
            [2, 10, 20, 50].map(at)
        })
        .map(|job| if job.arch.layers() < 50 { ok(&job, 0.9, 0.9) } else { diverged(&job) })
        .collect();
    let expect = Expectation::Within { at_least: Some(0.4), at_most: None };
    let mut claim = Claim::new("", Metric::Success, Vec::new(), expect);
    claim.settings = Scope::Mean;
    let result = settle(&records, claim);
    assert_eq!((result.verdict(), result.estimate), (Verdict::Supported, Some(0.75)));
    let (reason, brief) = (result.reason(), result.brief());
    assert!(reason.contains("mean >= 0.4, in the mean over settings"), "{reason}");
    assert!(reason.contains("Alone refuted at depth 50."), "{reason}");
    assert!(brief.contains("in the mean over settings"), "{brief}");
}

#[test]
fn of_an_unfinished_sweep_a_seed_counts_when_every_arm_has_it() {
    let records = depth_sweep();
    let jobs: Vec<Job> = records.iter().map(|r| r.job.clone()).collect();
    // What diverges ends first: of seed 4 nothing else is there yet.
    let finished: Vec<Record> =
        records.into_iter().filter(|r| r.job.init_seed < 4 || r.epochs_done == 0).collect();
    let claims =
        [claim(Metric::Success, 50, compare("orthogonal_proposed", "orthogonal_datadep", 0.0))];
    let planned = plan(&jobs);
    let input =
        Input { planned: &planned, records: &finished, claims: &claims, ..Input::default() };
    let summary = Summary::new(&input).unwrap();
    let result = &summary.claims[0];
    assert_eq!((result.n(), result.n_left_out, result.n_missing), (4, 2, 2));
    assert_eq!(result.success, [(4, 8), (0, 8)]);
    assert!(result.reason().contains("2 finished runs left out"), "{}", result.reason());
    noted(&summary.notes, &["Unfinished: 10 of 60 runs."]);
    // Nor do the tables count what diverged first.
    assert!(summary.cells.iter().all(|cell| cell.runs.len() == 4), "{:?}", summary.cells);
    assert_eq!((summary.counts.finished, summary.counts.left_out), (50, 2));
}

#[test]
fn arms_with_seeds_of_their_own_are_compared_unpaired() {
    let at = |name: &str, seed: i64| job(&[init(name), whole("seed", seed)]);
    let noise = |seed: i64| 0.01 * ((seed * 3) % 5) as f64;
    let records: Vec<Record> = (0..6)
        .map(|seed| (at("orthogonal_proposed", seed), 0.9 + noise(seed)))
        .chain((100..108).map(|seed| (at("orthogonal_datadep", seed), 0.7 + noise(seed))))
        .map(|(job, acc)| ok(&job, acc, acc))
        .collect();
    let expect = compare("orthogonal_proposed", "orthogonal_datadep", 0.0);
    let of = |metric| settle(&records, Claim::new("", metric, Vec::new(), expect.clone()));
    let accuracy = of(Metric::TestAcc);
    assert_eq!((accuracy.verdict(), accuracy.n()), (Verdict::Supported, 6));
    assert_eq!(accuracy.answer.overall.p_sign_flip, None);
    // Welch's, of which the pairs in the order of the seeds are no part.
    let mean = |range: std::ops::Range<i64>| {
        let n = (range.end - range.start) as f64;
        range.map(noise).sum::<f64>() / n
    };
    let expected = 0.2 + mean(0..6) - mean(100..108);
    assert!((accuracy.estimate.unwrap() - expected).abs() < 1e-9, "{accuracy:?}");
    let success = of(Metric::Success);
    assert_eq!(success.answer.overall.method, "exact unconditional");
    assert_eq!(success.success, [(6, 6), (8, 8)]);
    assert_eq!(success.verdict(), Verdict::Undecided);
}

#[test]
fn no_interval_is_a_point_or_leaves_the_range() {
    let mixed = |n: i64, failing: i64| -> Vec<Record> {
        let end = |(seed, job): (usize, &Job)| match (seed as i64) < failing {
            true => diverged(job),
            false => ok(job, 0.9, 0.9),
        };
        seeds(n).iter().enumerate().map(end).collect()
    };
    for (n, failing) in [(2, 0), (2, 1), (3, 1), (6, 0), (6, 6), (10, 1)] {
        let records = mixed(n, failing);
        let inside = |i: Interval| 0.0 <= i.low && i.low + 1e-3 < i.high && i.high <= 1.0;
        let cell = &of(&records).cells[0];
        assert!(inside(cell.mean_interval.unwrap()), "{n} {failing} {:?}", cell.mean_interval);
        assert!(inside(cell.success.unwrap().interval), "{n} {failing} {:?}", cell.success);
        assert_eq!(cell.accuracy_interval.is_none(), n - failing < 2);
        assert!(cell.accuracy_interval.is_none_or(inside), "{n} {failing}");
        for metric in [Metric::Success, Metric::Diverged, Metric::CompositeAcc, Metric::TestAcc] {
            let expect = Expectation::Within { at_least: Some(0.5), at_most: None };
            let result = settle(&records, Claim::new("", metric, Vec::new(), expect));
            assert!(result.interval.is_none_or(inside), "{metric} {n} {failing} {result:?}");
            assert_eq!(result.interval.is_none(), metric == Metric::TestAcc && n - failing < 2);
        }
    }
}

#[test]
fn arms_of_several_fields_are_compared_and_validation_chooses_what_a_side_leaves_open() {
    let records = depth_sweep();
    let condition =
        |name: &str, value: Value| Condition::new(Field::named(name).unwrap(), vec![value]);
    let init = |name: &str| condition("init", Value::Text(name.to_owned()));
    let of = |better: Vec<Condition>| {
        let than = vec![init("orthogonal_datadep")];
        settle(
            &records,
            claim(Metric::TestAcc, 2, Expectation::Compare { better, than, margin: -0.01 }),
        )
    };
    // The other rate than validation's choice, named; then left to validation.
    let rates: BTreeSet<String> = records.iter().map(|record| record.job.lr.to_string()).collect();
    let estimates: Vec<f64> = rates
        .iter()
        .map(|lr| Value::Float(lr.parse().unwrap()))
        .map(|lr| of(vec![init("orthogonal_proposed"), condition("lr", lr)]))
        .filter_map(|result| result.estimate)
        .collect();
    assert_eq!(estimates.len(), 2);
    let chosen = of(vec![init("orthogonal_proposed")]).estimate.unwrap();
    assert!(estimates.contains(&chosen) && estimates[0] != estimates[1], "{estimates:?}");
    assert!(of(vec![init("orthogonal_proposed")]).test.ends_with("> -0.01"));

    // Not shown to be better, but no worse by a hundredth.
    let shallow = |margin| {
        let sides = [vec![init("orthogonal_proposed")], vec![init("orthogonal")]];
        let [better, than] = sides;
        let compare = Expectation::Compare { better, than, margin };
        settle(&records, claim(Metric::TestAcc, 2, compare)).verdict()
    };
    assert_eq!((shallow(0.0), shallow(-0.01)), (Verdict::Undecided, Verdict::Supported));
}

#[test]
fn of_a_share_of_runs_every_learning_rate_counts() {
    let records: Vec<Record> = seeds(6)
        .iter()
        .flat_map(|job| {
            let high = job.with(&[("lr", Value::Float(0.5))]).unwrap();
            [ok(job, 0.9, 0.9), diverged(&high)]
        })
        .collect();
    let all = Expectation::Within { at_least: None, at_most: Some(0.5) };
    let result = settle(&records, Claim::new("", Metric::Diverged, Vec::new(), all));
    let n_settings = result.answer.settings.len();
    assert_eq!((result.estimate, result.n(), n_settings), (Some(0.5), 6, 2));
}

#[test]
fn a_claim_is_decided_in_each_setting_in_its_metrics_terms() {
    // At depth 50 the data-dependent gain diverges in every run, at depth 2 in none.
    let at = |depth, name, seed| job(&[whole("depth", depth), init(name), whole("seed", seed)]);
    let (datadep, proposed) = ("orthogonal_datadep", "orthogonal_proposed");
    let records: Vec<Record> = (0..8)
        .flat_map(|seed| {
            let deep = [diverged(&at(50, datadep, seed)), ok(&at(50, proposed, seed), 0.9, 0.9)];
            let shallow = [datadep, proposed].map(|name| ok(&at(2, name, seed), 0.9, 0.9));
            deep.into_iter().chain(shallow)
        })
        .collect();
    let rows = |expect: Expectation, filter: Vec<Condition>| {
        let claim = Claim::new("Fewer.", Metric::Diverged, filter, expect);
        let summary =
            Summary::new(&Input { records: &records, claims: &[claim], ..Input::default() });
        let tables = summary.unwrap().tables();
        let table = tables.into_iter().find(|table| table.name == "settings").unwrap();
        let csv = String::from_utf8(table.csv()).unwrap();
        let cells = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<_>>();
        csv.lines().map(cells).collect::<Vec<_>>()
    };
    let compared = rows(compare(proposed, datadep, 0.0), Vec::new());
    let names = "claim,setting,verdict,estimate,low,high,n,p,n_success,n_runs,n_success_other";
    assert_eq!(compared[0][..11].join(","), names);
    assert_eq!(compared.len(), 3);
    assert_eq!(compared[1][..4], ["Fewer.", "depth 2", "undecided", "0"]);
    assert_eq!(compared[1][6..12], ["8", "1", "8", "8", "8", "8"]);
    assert_eq!(compared[2][..4], ["Fewer.", "depth 50", "supported", "1"]);
    // datadep - proposed, so its counts come first.
    assert_eq!(compared[2][8..12], ["0", "8", "8", "8"]);

    let of_datadep = Condition::new(Field::named("init").unwrap(), vec![init(datadep).1]);
    let at_most = Expectation::Within { at_least: None, at_most: Some(0.5) };
    let share = rows(at_most.clone(), vec![of_datadep.clone()]);
    assert_eq!(share[1][1..4], ["depth 2", "supported", "0"]);
    assert_eq!(share[2][1..4], ["depth 50", "refuted", "1"]);
    assert_eq!(share[2][8..12], ["0", "8", "", ""]);

    let deep = Condition::new(Field::named("depth").unwrap(), vec![Value::Integer(50)]);
    assert_eq!(rows(at_most, vec![of_datadep, deep]).len(), 1, "one setting is in claims.csv");
}

#[test]
fn a_smaller_loss_is_the_better_one() {
    let mut records = depth_sweep();
    for record in &mut records {
        if record.job.init.name() == "orthogonal_proposed" {
            record.test_loss = record.test_acc.map(|acc| 1.0 - acc);
        }
    }
    let result = settle(
        &records,
        claim(Metric::TestLoss, 2, compare("orthogonal_proposed", "orthogonal_datadep", 0.1)),
    );
    assert_eq!(result.verdict(), Verdict::Supported);
    assert!((result.estimate.unwrap() - (0.5 - 0.099)).abs() < 1e-9);
    let most = Expectation::Within { at_least: None, at_most: Some(0.6) };
    let result = settle(&records, claim(Metric::TestLoss, 2, most));
    assert_eq!(result.verdict(), Verdict::Supported);
    let interval = result.interval.unwrap();
    assert!(0.0 <= interval.low && interval.high < 0.6, "{interval}");
}

#[test]
fn a_share_in_one_setting_is_judged_by_its_exact_interval() {
    let records: Vec<Record> = seeds(20).iter().map(|job| ok(job, 0.9, 0.9)).collect();
    let within = |at_least, at_most| {
        Claim::new("", Metric::Diverged, Vec::new(), Expectation::Within { at_least, at_most })
    };
    assert_eq!(settle(&records, within(None, Some(0.2))).verdict(), Verdict::Supported);
    assert_eq!(settle(&records, within(Some(0.5), None)).verdict(), Verdict::Refuted);
    let undecided = settle(&records, within(None, Some(0.1)));
    // 0.9^36 is the first power below 0.025.
    let needed = undecided.needed().unwrap().n;
    assert_eq!((undecided.verdict(), needed), (Verdict::Undecided, Some(36)));
}

#[test]
fn seeds_that_all_agree_decide_a_bound_only_when_they_are_enough() {
    let of = |n: i64, margin| {
        let both = |seed| {
            let [ours, theirs] = ["orthogonal_proposed", "orthogonal_datadep"]
                .map(|name| job(&[init(name), whole("seed", seed)]));
            [ok(&ours, 0.9, 0.9), diverged(&theirs)]
        };
        let records: Vec<Record> = (0..n).flat_map(both).collect();
        let expect = compare("orthogonal_proposed", "orthogonal_datadep", margin);
        settle(&records, Claim::new("", Metric::Success, Vec::new(), expect))
    };
    assert_eq!(
        (of(6, 0.0).verdict(), of(5, 0.0).verdict()),
        (Verdict::Supported, Verdict::Undecided)
    );
    // A difference of 0.5 gives 6 such pairs with probability 0.75^6 at most; 0.75^13 < 0.025.
    let half = of(6, 0.5);
    assert_eq!((half.verdict(), half.needed().unwrap().n), (Verdict::Undecided, Some(13)));
    assert_eq!(of(13, 0.5).verdict(), Verdict::Supported);
}

#[test]
fn a_claim_about_jobs_that_do_not_exist_is_undecided() {
    let result =
        settle(&depth_sweep(), claim(Metric::TestAcc, 7, compare("orthogonal", "he", 0.0)));
    assert_eq!((result.verdict(), result.n(), result.estimate), (Verdict::Undecided, 0, None));
    assert!(result.reason().contains("no finished seeds"));
}

#[test]
fn a_published_number_stands_beside_ours_at_the_rate_that_validation_chose() {
    let condition = |name: &str, value| Condition::new(Field::named(name).unwrap(), vec![value]);
    let filter = vec![
        condition("depth", Value::Integer(50)),
        condition("init", Value::Text("orthogonal_proposed".to_owned())),
    ];
    let number = Published::new(filter, Metric::TestAcc, 0.97);
    let records = depth_sweep();
    let summary =
        Summary::new(&Input { records: &records, published: &[number], ..Input::default() })
            .unwrap();
    let row = &summary.published[0];
    assert_eq!((row.n, row.r#where.as_str()), (5, "depth = 50, init = orthogonal_proposed"));
    assert!(
        (row.mean.unwrap() - 0.8).abs() < 1e-9 && (row.difference.unwrap() + 0.17).abs() < 1e-9
    );
}

#[test]
fn a_diverged_run_with_a_best_checkpoint_is_told_by_both_conventions() {
    let at = |seed: i64| job(&[init("orthogonal"), whole("seed", seed), whole("epochs", 3)]);
    let late = Record {
        epochs_done: 2,
        best_val_acc: Some(0.7),
        best_epoch: Some(2),
        test_acc: Some(0.7),
        test_loss: Some(0.9),
        ..diverged(&at(0))
    };
    let mut records = vec![late, diverged(&at(1)), ok(&at(2), 0.9, 0.9)];
    let told = |records: &[Record]| {
        let summary = of(records);
        let note = summary.notes.iter().find(|note| note.text.contains("Two conventions")).cloned();
        (note.map(|note| note.text), summary.cells[0].mean, summary.cells[0].best_checkpoint)
    };
    let close =
        |x: Option<f64>, y: f64| assert!((x.unwrap() - y).abs() < 1e-12, "{x:?} is not {y}");
    let (note, guess, tested) = told(&records);
    assert!(note.unwrap().contains("orthogonal 0.567 against 0.367"));
    close(guess, (0.1 + 0.1 + 0.9) / 3.0);
    close(tested, (0.7 + 0.1 + 0.9) / 3.0);
    // Where they agree, or a version did not test what diverged, there is nothing to tell.
    records[0].test_acc = None;
    assert_eq!(told(&records).2, None);
    let (note, guess, tested) = told(&records[1..]);
    assert_eq!((note, guess), (None, tested));
}

/// Runs of two depths or more and two initializers on `n` seeds: each trains, but where `fails`.
fn by_depth(depths: &[i64], n: i64, fails: impl Fn(i64, &str, i64) -> bool) -> Vec<Record> {
    let mut records = Vec::new();
    for &depth in depths {
        for name in ["orthogonal_datadep", "orthogonal_proposed"] {
            for seed in 0..n {
                let job = job(&[whole("depth", depth), init(name), whole("seed", seed)]);
                let acc = 0.8 + 0.001 * seed as f64;
                let fails = fails(depth, name, seed);
                records.push(if fails { diverged(&job) } else { ok(&job, acc, acc) });
            }
        }
    }
    records
}

/// All train; those with the data-dependent gain are less accurate by a tenth or a little more.
fn with_less_accurate_datadep() -> Vec<Record> {
    let mut records = by_depth(&[2, 50], 7, |_, _, _| false);
    for record in &mut records {
        if record.job.init.name() == "orthogonal_datadep" {
            let less = 0.1 + 0.002 * (record.job.init_seed % 3) as f64;
            record.test_acc = record.test_acc.map(|acc| acc - less);
        }
    }
    records
}

fn which(records: &[Record]) -> String {
    of(records).headline().which.unwrap()
}

#[test]
fn the_headline_says_from_which_depth_on_who_trains() {
    let datadep = |name: &str| name == "orthogonal_datadep";
    let deep = by_depth(&[2, 10, 50, 100], 7, |depth, name, _| depth >= 50 && datadep(name));
    assert_eq!(
        which(&deep),
        "From 50 layers on, orthogonal_datadep trains in 0 of 14 runs; orthogonal_proposed in 14 of 14."
    );
    assert_eq!(
        of(&deep).headline().how_sure.unwrap(),
        "orthogonal_proposed is shown to be better than all others at depth 50 and depth 100, not \
         elsewhere."
    );
    // The deepest networks train again, so it is not "from 50 layers on".
    let dip = by_depth(&[2, 50, 100], 7, |depth, name, _| depth == 50 && datadep(name));
    assert_eq!(
        which(&dip),
        "With depth 50, orthogonal_datadep trains in 0 of 7 runs; orthogonal_proposed in 7 of 7."
    );
}

#[test]
fn the_headline_claims_no_difference_that_no_test_shows() {
    let few = by_depth(&[2, 50], 3, |depth, name, _| depth == 50 && name == "orthogonal_datadep");
    let said = which(&few);
    assert!(said.ends_with("The seeds are too few for a test of all pairs."), "{said}");
    let one = by_depth(&[2, 50], 7, |depth, name, seed| {
        depth == 50 && name == "orthogonal_datadep" && seed == 0
    });
    assert_eq!(
        which(&one),
        "No difference between the initializers is shown. Trained: orthogonal_datadep 13 of 14 runs, \
         orthogonal_proposed 14 of 14."
    );
    assert_eq!(which(&by_depth(&[2, 50], 7, |_, _, _| true)), "Nothing trains.");
    let said = which(&with_less_accurate_datadep());
    assert!(
        said.starts_with(
            "No difference in who trains is shown; orthogonal_proposed is more accurate than \
             orthogonal_datadep by 0.102 with depth "
        ),
        "{said}"
    );
    assert_eq!(of(&[]).headline(), Headline::default());
}

#[test]
fn the_headline_is_a_decided_claim_if_success_does_not_tell_the_initializers_apart() {
    let records = with_less_accurate_datadep();
    let claim =
        claim(Metric::TestAcc, 50, compare("orthogonal_proposed", "orthogonal_datadep", 0.05));
    let input =
        Input { records: &records, claims: std::slice::from_ref(&claim), ..Input::default() };
    let headline = Summary::new(&input).unwrap().headline();
    assert_eq!(headline.which.unwrap(), format!("Supported: {}", claim.text));
    assert!(headline.how_sure.unwrap().contains("n = 7; p = "), "the numbers of the claim");
    assert_eq!(headline.claims.unwrap(), "1 claim: 1 supported.");
}

#[test]
fn a_published_number_of_another_experiment_is_not_comparable() {
    let records = by_depth(&[2, 50], 3, |_, _, _| false);
    let condition = |name: &str, value| Condition::new(Field::named(name).unwrap(), vec![value]);
    let mut number =
        Published::new(vec![condition("depth", Value::Integer(50))], Metric::TestAcc, 0.97);
    let differs = |number: &Published| {
        let numbers = [number.clone()];
        let input = Input { records: &records, published: &numbers, ..Input::default() };
        Summary::new(&input).unwrap().published.remove(0).differs
    };
    assert_eq!(differs(&number), Vec::<String>::new());
    number.setup = vec![
        condition("dataset", Value::Text("mnist".into())),
        condition("depth", Value::Integer(50)),
        condition("epochs", Value::Integer(10)),
    ];
    let epochs = records[0].job.epochs;
    assert_eq!(
        differs(&number),
        ["dataset digits, not mnist".into(), format!("epochs {epochs}, not 10")]
    );
}
