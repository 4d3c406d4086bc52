//! What validation chooses for a setting: `wninit confirm`'s rule.

use crate::sweeps::*;
use wninit_core::job::{Job, JobId};
use wninit_core::results::Record;
use wninit_stats::summary::{Choice, Edge, Input, choices};

/// What is chosen from rows of learning rate, seed and validation accuracy; none for one that
/// diverged. Of each rate the first `planned` seeds are planned.
fn chosen(rows: &[(f64, i64, Option<f64>)], planned: i64) -> Result<Choice, String> {
    let at = |rate: f64, seed: i64| job(&[lr(rate), whole("seed", seed)]);
    let records: Vec<Record> = rows
        .iter()
        .map(|&(rate, seed, val)| match val {
            Some(val) => ok(&at(rate, seed), val, 1.0 - val),
            None => diverged(&at(rate, seed)),
        })
        .collect();
    let mut rates: Vec<f64> = rows.iter().map(|row| row.0).collect();
    rates.dedup();
    let jobs = rates.into_iter().flat_map(|rate| (0..planned).map(move |seed| at(rate, seed)));
    let plan: Vec<(JobId, Job)> = jobs.map(|job| (job.id(), job)).collect();
    let input = Input { planned: &plan, records: &records, ..Input::default() };
    choices(&input).map(|mut all| all.remove(0)).map_err(|mut all| all.remove(0))
}

fn every(rate: f64, values: &[Option<f64>]) -> Vec<(f64, i64, Option<f64>)> {
    values.iter().zip(0..).map(|(&value, seed)| (rate, seed, value)).collect()
}

#[test]
fn validation_chooses_and_the_test_set_does_not() {
    // Test accuracies are 1 - val here.
    let rows = [every(0.01, &[Some(0.6); 3]), every(0.1, &[Some(0.7); 3]), every(1.0, &[None; 3])];
    let choice = chosen(&rows.concat(), 3).unwrap();
    assert_eq!((choice.chosen.lr, choice.chosen.val_acc, choice.chosen.seeds), (0.1, Some(0.7), 3));
    assert_eq!(choice.chosen.runner_up, Some((0.01, 0.6)));
    assert_eq!((choice.edge, choice.chosen.note), (None, None));
}

#[test]
fn a_diverged_run_counts_as_a_guess() {
    // 0.9, 0.9 and a guess of 0.1 are 0.633: less than three times 0.7.
    let rows = [every(0.01, &[Some(0.7); 3]), every(0.1, &[Some(0.9), None, Some(0.9)])];
    let choice = chosen(&rows.concat(), 3).unwrap();
    assert_eq!((choice.chosen.lr, choice.chosen.runner_up), (0.01, Some((0.1, 0.633333))));
}

#[test]
fn of_equal_learning_rates_the_smaller_one_is_chosen() {
    let up = [Some(0.5), Some(0.6), Some(0.7)];
    let down = [Some(0.7), Some(0.6), Some(0.5)]; // the mean may differ in its last bit
    for rows in [[every(0.01, &up), every(0.1, &down)], [every(0.01, &down), every(0.1, &up)]] {
        assert_eq!(chosen(&rows.concat(), 3).unwrap().chosen.lr, 0.01);
    }
}

#[test]
fn one_lucky_seed_does_not_win() {
    let rows = [every(0.01, &[Some(0.7); 6]), every(0.1, &[Some(0.9)])];
    let choice = chosen(&rows.concat(), 6).unwrap();
    assert_eq!((choice.chosen.lr, choice.chosen.seeds), (0.01, 6));
    assert_eq!(choice.refused, [(0.1, 1)]);
    assert_eq!(
        choice.chosen.note.as_deref(),
        Some("the smallest explored; 0.1 unfinished and refused")
    );
}

#[test]
fn learning_rates_are_compared_by_the_seeds_that_all_of_them_have() {
    // Each has three seeds, of which two are the same; the third ones would decide otherwise.
    let rows = [
        (0.01, 0, Some(0.7)),
        (0.01, 1, Some(0.7)),
        (0.01, 2, Some(0.7)),
        (0.1, 1, Some(0.6)),
        (0.1, 2, Some(0.6)),
        (0.1, 3, Some(1.0)),
    ];
    let choice = chosen(&rows, 4).unwrap();
    assert_eq!((choice.chosen.lr, choice.chosen.seeds), (0.01, 2));
}

#[test]
fn where_every_learning_rate_fails_the_smallest_is_kept() {
    // Of 144 validation images, guessing gets 0.13 right by luck.
    let rows = [every(0.01, &[Some(0.1); 2]), every(0.1, &[Some(0.13); 2]), every(1.0, &[None; 2])];
    let choice = chosen(&rows.concat(), 2).unwrap();
    assert!(choice.fails);
    assert_eq!((choice.chosen.lr, choice.edge), (0.01, Some(Edge::Smallest(0.001))));
    assert!(choice.chosen.note.unwrap().starts_with("every learning rate fails"));
}

#[test]
fn what_is_not_finished_is_not_chosen_from() {
    // The larger rate diverges at once, and the smaller one is still training.
    let rows = [every(0.01, &[Some(0.7)]), every(0.1, &[None; 3])];
    let problem = chosen(&rows.concat(), 3).unwrap_err();
    assert!(problem.contains("3 seeds finished fails, and 0.01 finished fewer"), "{problem}");
    let apart = [(0.01, 0, Some(0.7)), (0.1, 1, Some(0.7))];
    assert!(chosen(&apart, 2).unwrap_err().contains("no seed in common"));
}

#[test]
fn a_choice_at_the_edge_names_the_next_learning_rate() {
    for (rates, best, expected) in [
        (&[0.001, 0.003, 0.01][..], 0.01, Some(Edge::Largest(0.03))),
        (&[0.001, 0.003, 0.01], 0.001, Some(Edge::Smallest(0.0003))),
        (&[0.001, 0.003, 0.01], 0.003, None),
        (&[0.0003, 0.001], 0.0003, Some(Edge::Smallest(0.0001))),
        (&[0.01, 0.1], 0.1, Some(Edge::Largest(1.0))),
        (&[0.04, 0.08], 0.08, Some(Edge::Largest(0.16))),
        (&[0.1], 0.1, None),
    ] {
        let acc = |rate: f64| if rate == best { 0.8 } else { 0.7 };
        let rows: Vec<_> =
            rates.iter().flat_map(|&rate| every(rate, &[Some(acc(rate)); 2])).collect();
        assert_eq!(chosen(&rows, 2).unwrap().edge, expected, "{best} of {rates:?}");
    }
}
