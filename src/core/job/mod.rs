//! A [`Job`]: everything that can change a training run's result, and nothing else.
//!
//! A grid or a CSV row fills a [`Draft`]; [`Draft::resolve`] fills in the defaults, checks the
//! whole and is the only way to a `Job`, so a `Job` that exists can be trained. To add a network,
//! declare and describe it in `arch.rs`.
//!
//! To add a field, declare it in `fields.rs`, with `as_before` so that existing ids stay. It is then
//! parsed, stored and hashed. To give it an effect, also see:
//!
//! * `choices.rs`: the enum of a field that takes words;
//! * `plan/start.rs`, `start_of`: list it there unless it changes the initial network or its images;
//! * `plan/cohort.rs`, `Shape`: list it there if the jobs of a cohort must share it;
//! * `stats/summary/initializers.rs`, `HYPERPARAMETERS`: list it there if users tune it;
//! * `torch/train/session.rs`: momentum, weight decay and the training step.

mod activation;
mod arch;
mod choices;
mod dataset;
mod expression;
mod field;
mod fields;
mod id;
mod initializer;
mod network;
mod value;

use std::ops::Deref;

pub use activation::Activation;
pub use arch::{Arch, ModelName};
pub use choices::{Augment, DataType, DatasetName, InputScaling, Norm, Precision, Schedule};
pub(crate) use choices::{Choice, Choices, choices, one_of};
pub use choices::{did_you_mean, unknown};
pub use dataset::{DataHash, Dataset};
pub use expression::{Expression, vocabulary};
pub use field::Field;
pub(crate) use field::{Kind, PATH};
pub use fields::{Draft, FIELDS, SEED_FIELDS, Settings};
pub use id::JobId;
pub(crate) use id::SCHEMA;
pub use initializer::{Definition, Direction, Gain, Init};
pub(crate) use initializer::{MAX_INIT_NAME, check_name as check_init_name};
pub use network::{BatchNorm, Block, Conv, Layer, Linear, Network, Role, Run, Weight};
pub use value::Value;
pub(crate) use value::{MAX_CLASSES, MAX_SIZE};

/// A training run that can be carried out: validated, with every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Job(Settings);

impl Deref for Job {
    type Target = Settings;
    fn deref(&self) -> &Settings {
        &self.0
    }
}

/// Why a draft does not resolve to a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct JobError {
    /// The field to change.
    pub field: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

impl Settings {
    /// Images that the job trains on in one epoch, and images that it validates on.
    pub(crate) fn split(&self) -> (usize, usize) {
        let (all, val) = (self.dataset.images().0, self.validated());
        let train = self.train_images.map_or(all - val, |n| n as usize);
        (train, val)
    }

    /// Images of the validation set.
    pub fn validated(&self) -> usize {
        (self.dataset.images().0 as f64 * self.val_fraction).round() as usize
    }

    /// Images of the test set that the job is tested on.
    pub fn tested(&self) -> usize {
        self.test_images.map_or(self.dataset.images().1, |n| n as usize)
    }
}

impl Settings {
    /// Checks the fields against each other. Fields without effect are reset, so that they do not
    /// change the id.
    fn check(mut self) -> Result<Job, JobError> {
        let err = |field, message: String| Err(JobError { field, message });
        let (init, norm, model) = (self.init, self.norm, self.arch.name());
        let for_residual = |word: &str| {
            let residual = ModelName::residual();
            format!("\"{word}\" is for residual networks ({residual}), but model = \"{model}\"")
        };
        match init {
            Init::BuiltIn { direction, gain } if !gain.suits(norm) => {
                return err(
                    "init",
                    format!(
                        "\"{init}\" sets the gain of weight normalisation, but norm = \"{norm}\"; \
                         use norm = \"weight\", or init = \"{direction}\"",
                    ),
                );
            }
            Init::BuiltIn { gain: Gain::Hanin, .. } if !self.arch.is_residual() => {
                return err("init", for_residual(init.name()));
            }
            Init::BuiltIn { .. } => {}
            Init::Own { name, rule } => {
                if let Err(message) = rule.check(self.arch, self.dataset.shape(), self.activation) {
                    return err("init", format!("\"{name}\": {message}"));
                }
            }
        }
        if self.branch_scale.is_some() && !self.arch.is_residual() {
            let (residual, message) =
                (ModelName::residual(), "only residual networks have branches");
            return err("branch_scale", format!("{message} ({residual}), but model = \"{model}\""));
        }
        if norm == Norm::Batch && !self.arch.is_residual() {
            return err("norm", for_residual(norm.name()));
        }
        let (all, test) = self.dataset.images();
        let (name, share) = (self.dataset.name(), self.val_fraction);
        if test == 0 {
            return err("data_train", format!("a fifth of {all} images is no test set"));
        }
        let val = self.validated();
        if val == 0 || val >= all {
            let message =
                format!("{share} of {all} images leaves nothing to validate or to train on");
            return err("val_fraction", message);
        }
        // All images is the same job as no limit.
        match self.train_images {
            Some(n) if n as usize > all - val => {
                let left = all - val;
                let message =
                    format!("{n} is more than the {left} images that validation leaves of {name}");
                return err("train_images", message);
            }
            Some(n) if n as usize == all - val => self.train_images = None,
            _ => {}
        }
        match self.test_images {
            Some(n) if n as usize > test => {
                let message = format!("{n} is more than the {test} test images of {name}");
                return err("test_images", message);
            }
            Some(n) if n as usize == test => self.test_images = None,
            _ => {}
        }
        match (self.micro_batch, self.batch_size) {
            (Some(micro), batch) if micro > batch => {
                return err("micro_batch", format!("{micro} is more than batch_size = {batch}"));
            }
            (Some(micro), batch) if micro == batch => self.micro_batch = None,
            _ => {}
        }
        if self.warmup_epochs == 0 {
            self.warmup_lr = 0.0; // has no effect without a warm-up
        }
        let (warmup, epochs) = (self.warmup_epochs, self.epochs);
        if warmup > epochs {
            let message = format!(
                "a warm-up of {warmup} epochs is longer than the training, epochs = {epochs}"
            );
            return err("warmup_epochs", message);
        }
        Ok(Job(self))
    }
}

impl Job {
    /// The job with other values in some fields.
    ///
    /// # Errors
    /// As [`Draft::resolve`]; the error names the field with the invalid value.
    pub fn with(&self, changes: &[(&str, Value)]) -> Result<Job, JobError> {
        let mut draft = self.draft();
        for (name, value) in changes {
            let field = Field::named(name).ok_or_else(|| JobError {
                field: "job",
                message: unknown("field", name, FIELDS.iter().map(|f| f.name)),
            })?;
            if field.name == "seed" {
                draft.init_seed = None;
                draft.data_seed = None;
            }
            field
                .set(&mut draft, value)
                .map_err(|message| JobError { field: field.name, message })?;
        }
        draft.resolve()
    }

    /// A draft that resolves to this job.
    pub(crate) fn draft(&self) -> Draft {
        let mut draft = Draft::default();
        for field in FIELDS.iter() {
            if let Some(value) = field.get(self) {
                let set = field.set(&mut draft, &value);
                debug_assert_eq!(set, Ok(()), "{} does not take its own value", field.name);
            }
        }
        draft
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn draft(settings: &[(&str, &str)]) -> Draft {
        let mut draft = Draft::default();
        for (name, text) in settings {
            Field::named(name).unwrap().set(&mut draft, &Value::Text((*text).to_owned())).unwrap();
        }
        draft
    }

    fn job(settings: &[(&str, &str)]) -> Result<Job, JobError> {
        draft(settings).resolve()
    }

    #[test]
    fn a_field_takes_the_kind_of_value_that_it_declares() {
        for field in FIELDS.iter() {
            let takes = |value: Value| field.check(&value).is_ok();
            let (half, many) = (Value::Float(0.5), Value::Integer(20));
            let found = (takes(half), takes(Value::Boolean(true)), takes(many.clone()));
            let declared = match field.kind {
                Kind::Number(_, high, _) => (true, false, high >= 20.0),
                Kind::Boolean => (false, true, false),
                Kind::Whole(..) => (false, false, true),
                Kind::Choice(_) | Kind::Sizes | Kind::Hash | Kind::Path => (false, false, false),
            };
            assert_eq!(found, declared, "{field:?}");
            assert_eq!(takes(Value::Text("1x8x8".into())), matches!(field.kind, Kind::Sizes));
        }
    }

    /// Values of a field that are near the ends of what it takes.
    fn examples(field: &Field) -> Vec<Value> {
        match field.kind {
            Kind::Choice(choices) => {
                choices().iter().map(|choice| Value::Text(choice.name.to_owned())).collect()
            }
            Kind::Whole(low, high) => {
                [low, low + 2, 17.clamp(low, high)].map(|n| Value::Integer(n as i64)).into()
            }
            Kind::Number(low, high, _) => vec![Value::Float((low + high.min(1.0)) / 2.0)],
            Kind::Boolean => vec![Value::Boolean(true), Value::Boolean(false)],
            Kind::Sizes => vec![Value::Text("3x9x7".into())],
            Kind::Hash => vec![Value::Text(DataHash::of(b"b").to_string())],
            Kind::Path => Vec::new(),
        }
    }

    #[test]
    fn every_field_changes_the_id_and_takes_its_own_value_back() {
        let synthetic = ("dataset", "synthetic");
        let hash = DataHash::of(b"a").to_string();
        let file = [
            ("dataset", "file"),
            ("data_hash", &*hash),
            ("data_type", "float32"),
            ("data_shape", "1x8x8"),
            ("data_classes", "10"),
            ("data_train", "900"),
            ("data_test", "100"),
        ];
        let warm = [synthetic, ("model", "wrn"), ("epochs", "9"), ("warmup_epochs", "2")];
        for field in FIELDS.iter() {
            let mut changes = 0;
            // One at least of these jobs has the field and takes another value of it.
            let mlp = [synthetic, ("model", "mlp")];
            for base in [&warm[..], &mlp, &[("dataset", "cifar10")], &file] {
                let plain = job(base).unwrap();
                for value in examples(field) {
                    let mut draft = draft(base);
                    field.set(&mut draft, &value).unwrap();
                    let Ok(changed) = draft.resolve() else { continue };
                    if field.get(&changed) != field.get(&plain) {
                        assert_ne!(changed.id(), plain.id(), "{} = {value}", field.name);
                        assert_eq!(changed.draft().resolve().unwrap(), changed, "{}", field.name);
                        changes += 1;
                    }
                }
            }
            assert!(changes > 0, "{field:?}");
        }
    }
}
