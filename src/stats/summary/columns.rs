//! Meanings that the columns of several tables share.

pub(super) const PLANNED: &str = "jobs of the plan";
pub(super) const FINISHED: &str = "finished jobs: n_ok + n_diverged";
pub(super) const OK: &str =
    "trained to the last epoch with finite losses; those at chance are among them";
pub(super) const DIVERGED: &str = "a loss or a parameter became infinite or NaN";
pub(super) const AT_CHANCE: &str = "n_ok whose test accuracy is what guessing gives (at most the 0.9999 quantile of Binomial(test images, 1/classes), divided by test images)";
pub(super) const FAILED: &str = "tried, cut short by the machine, not finished";
pub(super) const MISSING: &str = "planned, neither finished nor failed";
pub(super) const INIT: &str = "initializer; with +batchnorm or +nonorm where the norm varies, too, and with +warmup5 where only some \
         have a warm-up (of 5 epochs)";
pub(super) const NOTHING_FINISHED: &str = "nothing finished";
pub(super) const NO_INTERVAL: &str = "fewer than two seeds";
