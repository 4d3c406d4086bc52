//! A cohort in training: its state between steps, and the methods that advance it by a step or an
//! epoch.

mod divergence;
#[cfg(test)]
mod interruption;
#[cfg(test)]
mod replay;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::augment::{Draw, Preprocess};
use super::data::{DeviceData, DeviceImages};
use super::evaluate::{Scores, evaluate, sample, to_vec};
use super::launch::{Launcher, Work};
use super::schedule::learning_rate;
use crate::models::Model;
use crate::nn::Sgd;
pub(crate) use divergence::Divergence;
use wninit_core::data::batches::{self, Split};
use wninit_core::job::{Augment, Job};
use wninit_core::plan::cohort::{Cohort, Shape};
use wninit_core::results::EpochRow;

/// Training progress of one member.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct MemberProgress {
    /// Sum of the losses of this epoch's images.
    loss: f64,
    /// Images of this epoch classified correctly.
    correct: f64,
    /// Rows of the completed epochs.
    pub epochs: Vec<EpochRow>,
    /// Its share of the cohort's wall-clock seconds.
    pub seconds: f64,
    /// Training images seen.
    pub images: u64,
}

impl MemberProgress {
    /// The first epoch with the best validation accuracy.
    pub(crate) fn best(&self) -> Option<&EpochRow> {
        self.epochs.iter().reduce(|best, row| if row.val_acc > best.val_acc { row } else { best })
    }
}

/// A member of the stack.
pub(crate) struct Member {
    pub job: Job,
    pub progress: MemberProgress,
    split: Split,
}

/// The inputs of all steps of an epoch, copied to the device before its first step.
struct EpochInputs {
    /// Image indices in training order, `[member, image]`.
    order: Tensor,
    /// Random draws of the augmentation, `[member, image, 5]`, if any.
    draws: Option<Tensor>,
    /// Learning rates, `[step, member]`.
    lr: Tensor,
}

/// A member whose training is over.
pub(crate) struct EndedMember {
    pub member: Member,
    pub divergence: Option<Divergence>,
    /// Test loss and accuracy with the parameters of the best epoch, if there was one and they are finite.
    pub test: Option<(f64, f64)>,
}

/// Results of a step that are still on the device.
struct PendingLosses {
    step: usize,
    images: usize,
    loss: Tensor,
    correct: Tensor,
}

/// A cohort in training.
pub(crate) struct Session {
    shape: Shape,
    /// The members that are still training, in the order of the stack.
    pub members: Vec<Member>,
    pub model: Model,
    /// Parameters and buffers of each member's best epoch; `None` during the first epoch.
    pub best: Option<Vec<Tensor>>,
    /// Number of completed epochs.
    pub epoch: u32,
    /// Number of completed steps of the current epoch. After its last one, validation is due; after
    /// the last epoch, the test.
    pub step: usize,
    /// Whether to recompute activations in the backward pass.
    pub recompute: bool,
    /// Set to stop validation or test after the current batch; it is then done again from its start.
    pub stop: Arc<AtomicBool>,
    preprocess: Preprocess,
    inputs: Option<EpochInputs>,
    /// Momentum and weight decay of the members.
    rule: (Tensor, Option<Tensor>),
    pub launcher: Launcher,
    unread: Vec<PendingLosses>,
    /// Start of the training time that is not yet distributed among the members.
    pub clock: Instant,
    /// Seconds of the current epoch, including those before an interruption.
    pub epoch_seconds: f64,
}

impl Session {
    /// A cohort that continues at `epoch` and `step`.
    pub(crate) fn new(
        cohort: &Cohort,
        model: Model,
        data: &DeviceData,
        progress: Vec<MemberProgress>,
        epoch: u32,
        step: usize,
    ) -> Session {
        let shape = cohort.shape();
        let device = model.config().arithmetic.device;
        let members = cohort.jobs().iter().zip(progress).map(|(job, progress)| Member {
            job: job.clone(),
            progress,
            split: batches::split(job),
        });
        let members: Vec<Member> = members.collect();
        let mut session = Session {
            shape,
            rule: momentum_and_decay(&members, device),
            members,
            model,
            best: None,
            epoch,
            step,
            recompute: false,
            stop: Arc::default(),
            preprocess: Preprocess::new(
                shape.dataset,
                shape.augment,
                shape.input,
                &data.moments,
                device,
            ),
            inputs: None,
            launcher: Launcher::new(device),
            unread: Vec::new(),
            clock: Instant::now(),
            epoch_seconds: 0.0,
        };
        session.begin_epoch();
        session
    }

    /// Whether no member is left: all have been tested or have diverged.
    pub(crate) fn is_over(&self) -> bool {
        self.members.is_empty()
    }

    /// What is due: `epoch 2, step 5`, `the validation of epoch 2` or `the test`.
    pub(crate) fn place(&self) -> String {
        match (self.epoch + 1, self.step) {
            _ if self.epoch == self.shape.epochs => "the test".to_owned(),
            (epoch, step) if step == self.shape.steps() => {
                format!("the validation of epoch {epoch}")
            }
            (epoch, step) => format!("epoch {epoch}, step {}", step + 1),
        }
    }

    /// The fraction of the cohort's steps that are done.
    pub(crate) fn fraction(&self) -> f64 {
        let steps = self.shape.steps() as f64;
        (f64::from(self.epoch) + self.step as f64 / steps) / f64::from(self.shape.epochs)
    }

    fn begin_epoch(&mut self) {
        if self.epoch == self.shape.epochs {
            return;
        }
        let device = self.model.config().arithmetic.device;
        let members = self.members.len() as i64;
        let steps = self.shape.steps();
        let mut order: Vec<i64> = Vec::with_capacity(self.members.len() * self.shape.train);
        for member in &self.members {
            let own = batches::order(&member.job, &member.split, self.epoch);
            order.extend(own.into_iter().map(i64::from));
        }
        let draws = (self.shape.augment != Augment::None).then(|| {
            let draws = self.members.iter().map(|member| {
                let (seed, images) = (member.job.data_seed, self.shape.train);
                let draws = Draw::of_epoch(self.shape.dataset, seed, self.epoch, images);
                Draw::to_tensor(&draws, device)
            });
            Tensor::stack(&draws.collect::<Vec<_>>(), 0)
        });
        let lr: Vec<f32> = (0..steps)
            .flat_map(|step| self.members.iter().map(move |member| (step, member)))
            .map(|(step, member)| learning_rate(&member.job, self.epoch, step, steps) as f32)
            .collect();
        self.inputs = Some(EpochInputs {
            order: Tensor::from_slice(&order).view([members, -1]).to_device(device),
            draws,
            lr: Tensor::from_slice(&lr).view([-1, members]).to_device(device),
        });
    }

    /// The images of a step, and its inputs: order, learning rates and draws.
    fn inputs_of(&self, step: usize) -> (usize, Vec<Tensor>) {
        let (train, batch_size) = (self.shape.train, self.shape.batch_size);
        let range = step * batch_size..train.min((step + 1) * batch_size);
        let epoch = self.inputs.as_ref().expect("an epoch has begun");
        let (start, length) = (range.start as i64, range.len() as i64);
        let mut inputs = vec![epoch.order.narrow(1, start, length), epoch.lr.get(step as i64)];
        inputs.extend(epoch.draws.as_ref().map(|draws| draws.narrow(1, start, length)));
        (range.len(), inputs)
    }

    /// If an epoch's last batch is smaller than the others, rehearses the size that the next step does
    /// not have. Later, when the other is recorded, its first run would need its memory besides that.
    /// Of two batches the second is run before the first is recorded.
    fn rehearse_other_batch(&mut self, data: &DeviceData) {
        let last = self.shape.steps() - 1;
        if last <= 1 && self.step == 0 {
            return;
        }
        let other = if self.step == last { 0 } else { last };
        let (images, inputs) = self.inputs_of(other);
        if images == self.inputs_of(self.step).0 {
            return;
        }
        let (model, preprocess) = (&mut self.model, &self.preprocess);
        let (micro_batch, recompute) = (self.shape.micro_batch as i64, self.recompute);
        self.launcher.rehearse(Work::Step, &inputs, |inputs| {
            let (pixels, labels) = data.train.gather(&inputs[0]);
            let x = preprocess.train(&pixels, inputs.get(2));
            model.rehearse(&x, &labels, micro_batch, recompute);
        });
    }

    /// Evaluates a few images of each kind, for the same reason.
    fn rehearse_evaluation(&mut self, data: &DeviceData) {
        let validation: Vec<Vec<u32>> = self
            .members
            .iter()
            .map(|m| m.split.val[..sample(m.split.val.len())].to_vec())
            .collect();
        let validation: Vec<&[u32]> = validation.iter().map(Vec::as_slice).collect();
        self.scores(Work::Validation, &data.train, &validation);
        let test = self.test_indices(self.members.iter());
        let test: Vec<&[u32]> = test.iter().map(|test| &test[..sample(test.len())]).collect();
        self.scores(Work::Test, &data.test, &test);
    }

    /// Trains one step; after the last one of an epoch, validates, and after the last epoch tests.
    /// What `stop` interrupted is done by the next call. Returns the members that ended.
    pub(crate) fn advance(&mut self, data: &DeviceData) -> Vec<EndedMember> {
        let mut ended = Vec::new();
        if self.epoch < self.shape.epochs && self.step < self.shape.steps() {
            ended = self.train(data);
        }
        if self.step == self.shape.steps() {
            ended.extend(self.end_epoch(data));
        }
        if self.epoch == self.shape.epochs {
            ended.extend(self.test(data));
        }
        ended
    }

    /// Trains one step.
    fn train(&mut self, data: &DeviceData) -> Vec<EndedMember> {
        let steps = self.shape.steps();
        let device = self.model.config().arithmetic.device;
        let is_first = self.launcher.will_record(Work::Step);
        if is_first {
            self.rehearse_other_batch(data);
        }
        let (images, inputs) = self.inputs_of(self.step);
        let (model, preprocess, rule) = (&mut self.model, &self.preprocess, &self.rule);
        let (micro_batch, recompute) = (self.shape.micro_batch as i64, self.recompute);
        let result = self.launcher.run(Work::Step, inputs, |inputs| {
            train_step(model, preprocess, &data.train, rule, inputs, micro_batch, recompute)
        });
        if is_first {
            self.rehearse_evaluation(data);
        }
        let [loss, correct] =
            <[Tensor; 2]>::try_from(result).expect("train_step returns two tensors");
        self.unread.push(PendingLosses { step: self.step, images, loss, correct });
        self.step += 1;

        // Reading losses synchronizes a GPU, so it is done once an epoch there.
        let interval = if device.is_cuda() { steps } else { 16 };
        if self.step.is_multiple_of(interval) || self.step == steps {
            return self.read_losses(data);
        }
        Vec::new()
    }

    /// Evaluates the first test images, at most `most`, to measure the time; returns their number.
    pub(crate) fn evaluate_some(&mut self, data: &DeviceData, most: i64) -> i64 {
        let count = data.test.labels.size()[0].min(most);
        let all: Vec<u32> = (0..count as u32).collect();
        let indices = vec![&*all; self.members.len()];
        self.scores(Work::Test, &data.test, &indices);
        count
    }

    fn scores(&mut self, work: Work, images: &DeviceImages, indices: &[&[u32]]) -> Option<Scores> {
        let (preprocess, launcher) = (&self.preprocess, &mut self.launcher);
        evaluate(&self.model, images, indices, preprocess, launcher, work, &self.stop)
    }

    /// Reads the losses from the device and removes members in which one is not finite.
    pub(crate) fn read_losses(&mut self, data: &DeviceData) -> Vec<EndedMember> {
        if self.unread.is_empty() || self.members.is_empty() {
            return Vec::new();
        }
        self.share_time();
        let unread = std::mem::take(&mut self.unread);
        let stack = |part: &dyn Fn(&PendingLosses) -> &Tensor| {
            let parts: Vec<Tensor> = unread.iter().map(|u| part(u).to_kind(Kind::Double)).collect();
            to_vec(&Tensor::stack(&parts, 0).flatten(0, -1))
        };
        let (losses, corrects) = (stack(&|u| &u.loss), stack(&|u| &u.correct));
        let count = self.members.len();
        let mut diverged = Vec::new();
        for (m, member) in self.members.iter_mut().enumerate() {
            for (i, unread) in unread.iter().enumerate() {
                let loss = losses[i * count + m];
                if !loss.is_finite() {
                    let step = unread.step as u64 + 1;
                    diverged.push((m, Divergence { epoch: self.epoch + 1, step, reason: "loss" }));
                    break;
                }
                member.progress.loss += loss * unread.images as f64;
                member.progress.correct += corrects[i * count + m];
                member.progress.images += unread.images as u64;
            }
        }
        self.remove_diverged(diverged, data)
    }

    /// Validates. A loss that is not finite is a divergence.
    fn end_epoch(&mut self, data: &DeviceData) -> Vec<EndedMember> {
        if self.members.is_empty() {
            return Vec::new();
        }
        let indices: Vec<&[u32]> = self.members.iter().map(|m| &*m.split.val).collect();
        let (preprocess, launcher, work) = (&self.preprocess, &mut self.launcher, Work::Validation);
        let scores =
            evaluate(&self.model, &data.train, &indices, preprocess, launcher, work, &self.stop);
        let Some(scores) = scores else { return Vec::new() };
        let finite = self.finite_state();
        self.share_time();
        let seconds = std::mem::take(&mut self.epoch_seconds);
        let steps = self.shape.steps();
        let mut diverged = Vec::new();
        for (m, member) in self.members.iter_mut().enumerate() {
            let reason = if !scores.loss[m].is_finite() {
                Some("validation loss")
            } else {
                (!finite[m]).then_some("parameters")
            };
            if let Some(reason) = reason {
                diverged
                    .push((m, Divergence { epoch: self.epoch + 1, step: steps as u64, reason }));
                continue;
            }
            let progress = &mut member.progress;
            let images = self.shape.train as f64;
            progress.epochs.push(EpochRow {
                epoch: self.epoch + 1,
                lr: learning_rate(&member.job, self.epoch, steps - 1, steps),
                train_loss: std::mem::take(&mut progress.loss) / images,
                train_acc: std::mem::take(&mut progress.correct) / images,
                val_loss: scores.loss[m],
                val_acc: scores.accuracy[m],
                seconds,
            });
        }
        let ended = self.remove_diverged(diverged, data);
        self.epoch += 1;
        self.step = 0;
        if !self.members.is_empty() && self.epoch < self.shape.epochs {
            self.keep_best();
            self.begin_epoch();
        }
        ended
    }

    /// For each member, whether its best epoch is the last completed one.
    fn best_is_current(&self) -> Vec<bool> {
        self.members
            .iter()
            .map(|m| m.progress.best().is_some_and(|best| best.epoch == self.epoch))
            .collect()
    }

    fn keep_best(&mut self) {
        let state = self.model.state();
        let at_best = self.best_is_current();
        match &self.best {
            None => self.best = Some(state.iter().map(Tensor::copy).collect()),
            Some(best) => copy_members(&state, best, &at_best),
        }
    }

    /// Tests each member with its best parameters. A loss that is not finite is a divergence.
    fn test(&mut self, data: &DeviceData) -> Vec<EndedMember> {
        if self.members.is_empty() {
            return Vec::new();
        }
        if let Some(best) = self.best.take() {
            let behind: Vec<bool> = self.best_is_current().into_iter().map(|at| !at).collect();
            copy_members(&best, &self.model.state(), &behind);
            self.model.refresh();
        }
        let test = self.test_indices(self.members.iter());
        let indices: Vec<&[u32]> = test.iter().map(|test| &**test).collect();
        let Some(scores) = self.scores(Work::Test, &data.test, &indices) else {
            return Vec::new();
        };
        self.share_time();
        let (epoch, step) = (self.shape.epochs, self.shape.steps() as u64);
        let members = std::mem::take(&mut self.members);
        let ended = members.into_iter().zip(scores.finite()).map(|(member, test)| EndedMember {
            member,
            divergence: test.is_none().then_some(Divergence { epoch, step, reason: "test loss" }),
            test,
        });
        ended.collect()
    }

    /// The images that each of these members is tested on: one list for all, if there is a test set.
    fn test_indices<'m>(&self, members: impl Iterator<Item = &'m Member>) -> Vec<Arc<[u32]>> {
        let mut known: Option<Arc<[u32]>> = None;
        let own = self.shape.dataset.undivided().is_some();
        let of = |member: &'m Member| match &known {
            Some(shared) if !own => Arc::clone(shared),
            _ => known.insert(batches::test(&member.job).into()).clone(),
        };
        members.map(of).collect()
    }

    /// Distributes the time since the last call equally among the members.
    fn share_time(&mut self) {
        let seconds = self.clock.elapsed().as_secs_f64();
        self.clock = Instant::now();
        self.epoch_seconds += seconds;
        let share = seconds / self.members.len() as f64;
        self.members.iter_mut().for_each(|member| member.progress.seconds += share);
    }
}

/// Momentum and weight decay of the members, in the form of [`Sgd`].
fn momentum_and_decay(members: &[Member], device: Device) -> (Tensor, Option<Tensor>) {
    let each = |number: fn(&Job) -> f64| {
        let numbers: Vec<f32> = members.iter().map(|m| number(&m.job) as f32).collect();
        Tensor::from_slice(&numbers).to_device(device)
    };
    let decays = members.iter().any(|m| m.job.weight_decay != 0.0);
    (each(|job| job.momentum), decays.then(|| each(|job| job.weight_decay)))
}

/// A training step on order, learning rates and draws (see [`EpochInputs`]). Returns the loss and
/// the number of correct images, `[member]`. It may be recorded, see [`Launcher::run`].
fn train_step(
    model: &mut Model,
    preprocess: &Preprocess,
    images: &DeviceImages,
    (momentum, weight_decay): &(Tensor, Option<Tensor>),
    inputs: &[Tensor],
    micro_batch: i64,
    recompute: bool,
) -> Vec<Tensor> {
    let (order, lr, draws) = (&inputs[0], &inputs[1], inputs.get(2));
    let (pixels, labels) = images.gather(order);
    let x = preprocess.train(&pixels, draws);
    let weight_decay = weight_decay.as_ref().map(Tensor::shallow_clone);
    let sgd = Sgd::new(lr.shallow_clone(), momentum.shallow_clone(), weight_decay);
    let result = model.train_step(&x, &labels, Some(&sgd), micro_batch, recompute);
    vec![result.loss, result.correct]
}

fn copy_members(from: &[Tensor], to: &[Tensor], chosen: &[bool]) {
    for (from, to) in from.iter().zip(to) {
        for (m, _) in chosen.iter().enumerate().filter(|(_, chosen)| **chosen) {
            to.select(0, m as i64).copy_(&from.select(0, m as i64));
        }
    }
}
