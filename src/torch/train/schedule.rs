//! The learning rate of a job at each step.

use wninit_core::job::{Schedule, Settings};

/// The factor on the base learning rate in epoch `e` = 0, 1, … of `epochs`. [`Schedule::He`] steps
/// at epochs 91 and 136 whatever `epochs` is.
pub(crate) fn factor(schedule: Schedule, e: u32, epochs: u32) -> f64 {
    let (e, epochs) = (u64::from(e), u64::from(epochs));
    // In integers, so that the boundaries do not depend on rounding.
    let reached = |numerator, denominator| e * denominator >= epochs * numerator;
    let tenth_and_hundredth = |first, second| match (first, second) {
        (_, true) => 0.01,
        (true, false) => 0.1,
        (false, false) => 1.0,
    };
    match schedule {
        Schedule::Constant => 1.0,
        Schedule::Thirds => tenth_and_hundredth(reached(1, 3), reached(2, 3)),
        Schedule::Halves => tenth_and_hundredth(reached(1, 2), reached(3, 4)),
        Schedule::Wrn => {
            let passed = [3, 6, 8].into_iter().filter(|&tenths| reached(tenths, 10)).count();
            0.2f64.powi(passed as i32)
        }
        Schedule::He => tenth_and_hundredth(e >= 91, e >= 136),
    }
}

/// The learning rate at step `i` = 0, 1, … of `steps` in epoch `e` = 0, 1, ….
///
/// During a warm-up of W epochs from w₀ it is `w₀ + α²·(lr(e) − w₀)` with `α = (e + i/steps)/W`,
/// where i counts from 1 if w₀ = 0, so that no step is lost, and from 0 otherwise.
pub(crate) fn learning_rate(job: &Settings, e: u32, i: usize, steps: usize) -> f64 {
    let rate = job.lr * factor(job.schedule, e, job.epochs);
    if e >= job.warmup_epochs {
        return rate;
    }
    let i = if job.warmup_lr == 0.0 { i + 1 } else { i };
    let alpha = (f64::from(e) + i as f64 / steps as f64) / f64::from(job.warmup_epochs);
    job.warmup_lr + alpha * alpha * (rate - job.warmup_lr)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use wninit_core::job::{Draft, Job};

    fn changes(schedule: Schedule, epochs: u32) -> Vec<(u32, f64)> {
        let mut changes = vec![(0, factor(schedule, 0, epochs))];
        for e in 1..epochs {
            let now = factor(schedule, e, epochs);
            if now != changes[changes.len() - 1].1 {
                changes.push((e, now));
            }
        }
        changes
    }

    #[test]
    fn the_schedules_of_the_paper_step_where_it_says() {
        assert_eq!(changes(Schedule::Constant, 9), [(0, 1.0)]);
        assert_eq!(changes(Schedule::Thirds, 9), [(0, 1.0), (3, 0.1), (6, 0.01)]);
        assert_eq!(changes(Schedule::Thirds, 10), [(0, 1.0), (4, 0.1), (7, 0.01)]);
        assert_eq!(changes(Schedule::Halves, 200), [(0, 1.0), (100, 0.1), (150, 0.01)]);
        assert_eq!(changes(Schedule::He, 164), [(0, 1.0), (91, 0.1), (136, 0.01)]);
        let wrn = changes(Schedule::Wrn, 200);
        assert_eq!(wrn.iter().map(|c| c.0).collect::<Vec<_>>(), [0, 60, 120, 160]);
        assert!((wrn[3].1 - 0.008).abs() < 1e-12);
    }

    fn job(change: impl FnOnce(&mut Draft)) -> Job {
        let mut draft =
            Draft { lr: Some(0.1), epochs: Some(10), warmup_epochs: Some(2), ..Draft::default() };
        change(&mut draft);
        draft.resolve().unwrap()
    }

    #[test]
    fn a_warm_up_from_zero_has_a_positive_first_learning_rate() {
        let job = job(|_| ());
        assert!((learning_rate(&job, 0, 0, 10) - 0.1 * 0.05f64.powi(2)).abs() < 1e-15);
        assert!((learning_rate(&job, 1, 9, 10) - 0.1).abs() < 1e-15);
        assert_eq!(learning_rate(&job, 2, 0, 10), 0.1);
    }

    #[test]
    fn a_warm_up_from_above_zero_starts_exactly_there() {
        let job = job(|d| d.warmup_lr = Some(0.02));
        assert_eq!(learning_rate(&job, 0, 0, 10), 0.02);
        assert!((learning_rate(&job, 1, 0, 10) - (0.02 + 0.25 * 0.08)).abs() < 1e-15);
    }
}
