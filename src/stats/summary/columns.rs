//! Column meanings that several tables share.

pub(super) const PLANNED: &str = "jobs of the plan";
pub(super) const FINISHED: &str = "finished jobs: n_ok + n_diverged";
pub(super) const OK: &str =
    "trained to the last epoch with finite losses; those at chance are among them";
pub(super) const DIVERGED: &str = "a loss or a parameter became infinite or NaN";
pub(super) const AT_CHANCE: &str = "n_ok with a test accuracy that needs no look at the image (at most the 0.9999 quantile of Binomial(test images, share of their largest class), divided by test images)";
pub(super) const FAILED: &str = "tried, cut short by the machine, not finished";
pub(super) const MISSING: &str = "planned, neither finished nor failed";
pub(super) const LEFT_OUT: &str = "finished jobs that count in no number, because their seed is not finished in every arm, at every lr, of their setting";
pub(super) const COUNTED: &str = "finished jobs that count in the numbers: n_finished - n_left_out";
pub(super) const TRAINED: &str = "those of them that neither diverged nor are at chance";
pub(super) const INIT: &str = "initializer; with +batchnorm or +nonorm where the norm varies, too, and with +warmup5 where only some \
         have a warm-up (of 5 epochs)";
pub(super) const NOTHING_FINISHED: &str = "no job counts";
pub(super) const NO_INTERVAL: &str = "fewer than two seeds";

/// A p value with three significant digits.
pub(super) fn readable_p(p: f64) -> f64 {
    format!("{p:.2e}").parse().unwrap_or(p)
}
