//! Claims on a sweep's results, and published numbers to compare them with.

use super::{Condition, Place};
use crate::job::{Field, Value, choices};

choices! {
    /// A number measured for each finished job.
    Metric, "metric" {
        /// Test accuracy at the best validation epoch, a fraction; like every accuracy and loss,
        /// over the jobs that train.
        TestAcc = "test_acc",
        /// Test accuracy over all jobs; a job that diverges or stays at chance counts as 1/classes.
        CompositeAcc = "composite_acc",
        /// Test loss at the best validation epoch, in nats.
        TestLoss = "test_loss",
        /// Best validation accuracy of all epochs, a fraction.
        BestValAcc = "best_val_acc",
        /// Validation accuracy of the last epoch, a fraction.
        ValAcc = "val_acc",
        /// Validation loss of the last epoch, in nats.
        ValLoss = "val_loss",
        /// Training accuracy of the last epoch, a fraction.
        TrainAcc = "train_acc",
        /// Training loss of the last epoch, in nats.
        TrainLoss = "train_loss",
        /// The epoch with the best validation accuracy, counted from 1; none for a job that
        /// diverged in its first.
        BestEpoch = "best_epoch",
        /// Whole epochs with finite losses.
        EpochsDone = "epochs_done",
        /// 1 if the job diverged, 0 if not.
        Diverged = "diverged",
        /// 1 if the job trained (it neither diverged nor stayed at chance), 0 if not.
        Success = "success",
        /// Wall-clock seconds of the job.
        TrainSeconds = "train_seconds",
        /// Training images per second.
        ImagesPerSecond = "images_per_second",
        /// Natural logarithm of the Hessian's spectral norm at initialization, as
        /// `wninit curvature` measured it; needs no training.
        LogSpectralNorm = "log_spectral_norm",
    }
}

impl Metric {
    /// Whether lower is better.
    pub fn lower_is_better(self) -> bool {
        use Metric::*;
        matches!(
            self,
            TestLoss | ValLoss | TrainLoss | Diverged | TrainSeconds | BestEpoch | LogSpectralNorm
        )
    }

    /// Whether it is a fraction from 0 to 1.
    pub fn is_fraction(self) -> bool {
        use Metric::*;
        matches!(self, TestAcc | CompositeAcc | BestValAcc | ValAcc | TrainAcc | Diverged | Success)
    }

    /// Whether it is 0 or 1 for every job.
    pub fn is_binary(self) -> bool {
        matches!(self, Metric::Diverged | Metric::Success)
    }
}

choices! {
    /// What a claim says of its settings: the values of the axes that it neither fixes nor compares.
    Scope, "settings" {
        /// It holds in every setting; where settings disagree, it is undecided.
        Each = "each",
        /// It holds in the mean over the settings, all of one weight, whether they agree or not.
        Mean = "mean",
    }
}

/// A statement to be decided by the sweep's results.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Claim {
    pub text: String,
    pub metric: Metric,
    /// The jobs that it is about.
    pub filter: Vec<Condition>,
    /// The statement about their mean.
    pub expect: Expectation,
    /// Whether it is about each setting or about all of them together.
    pub settings: Scope,
    pub(super) place: Place,
    pub(super) inherited: bool,
}

impl Claim {
    /// A claim about each setting that was not read from a file.
    pub fn new(
        text: impl Into<String>,
        metric: Metric,
        filter: Vec<Condition>,
        expect: Expectation,
    ) -> Claim {
        let (text, place) = (text.into(), Place::nowhere());
        let settings = Scope::Each;
        Claim { text, metric, filter, expect, settings, place, inherited: false }
    }
}

/// The statement of a claim about the mean of its metric.
#[derive(Clone, Debug)]
pub enum Expectation {
    /// Some jobs do better than others, all else being equal. Better is higher, or lower where
    /// [`Metric::lower_is_better`]. All else are the axes that neither side names.
    Compare {
        /// The jobs that do better …
        better: Vec<Condition>,
        /// … than these …
        than: Vec<Condition>,
        /// … by more than this. A negative margin claims non-inferiority.
        margin: f64,
    },
    /// The mean is between bounds; at least one of them is given.
    Within {
        /// Lower bound.
        at_least: Option<f64>,
        /// Upper bound.
        at_most: Option<f64>,
    },
}

impl Expectation {
    /// One value of an axis does better than another, by more than `margin`.
    pub fn compare(axis: &'static Field, better: Value, than: Value, margin: f64) -> Expectation {
        let side = |value| vec![Condition::new(axis, vec![value])];
        Expectation::Compare { better: side(better), than: side(than), margin }
    }
}

/// A number from the literature to print beside ours.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Published {
    /// The jobs that it is about.
    pub filter: Vec<Condition>,
    pub metric: Metric,
    pub value: f64,
    /// Its uncertainty, as published.
    pub spread: Option<f64>,
    pub source: Option<String>,
    /// Fields of the published experiment. Where ours has other values, the numbers are not
    /// comparable.
    pub setup: Vec<Condition>,
    pub(super) place: Place,
    pub(super) inherited: bool,
}

impl Published {
    /// A number that was not read from a file, without spread, source or setup.
    pub fn new(filter: Vec<Condition>, metric: Metric, value: f64) -> Published {
        let place = Place::nowhere();
        let (spread, source, setup) = (None, None, Vec::new());
        Published { filter, metric, value, spread, source, setup, place, inherited: false }
    }
}
