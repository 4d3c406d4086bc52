//! A cohort under way: the state between two steps, and how it moves.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::augment::{Draws, Preprocess};
use super::evaluate::{DeviceImages, Scores, evaluate, to_vec};
use super::launch::{Launcher, Work};
use super::schedule::learning_rate;
use crate::models::Model;
use crate::nn::Sgd;
use wninit_core::data::Moments;
use wninit_core::data::batches::{self, Split};
use wninit_core::job::{Augment, Job};
use wninit_core::plan::cohort::{Cohort, Shape};
use wninit_core::results::EpochRow;

/// The images of a cohort's data set, on its device.
pub struct DeviceData {
    /// Training images, validation included.
    pub train: DeviceImages,
    /// Test images.
    pub test: DeviceImages,
    /// Of the training images.
    pub moments: Moments,
}

impl DeviceData {
    /// The same images, not copied.
    pub(crate) fn shallow_clone(&self) -> DeviceData {
        let [train, test] = [&self.train, &self.test].map(DeviceImages::shallow_clone);
        DeviceData { train, test, moments: self.moments.clone() }
    }
}

/// What a member has behind it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct MemberProgress {
    /// Sum of the losses of this epoch's images so far.
    loss: f64,
    /// DeviceImages of this epoch classified correctly so far.
    correct: f64,
    /// Whole epochs.
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
    /// What is trained.
    pub job: Job,
    /// What it has behind it.
    pub progress: MemberProgress,
    split: Split,
}

/// What the steps of an epoch take, on the device before the first one: nothing is sent to it on
/// the way.
struct EpochInputs {
    /// Indices of the images in their order, `[member, image]`.
    order: Tensor,
    /// What augmentation draws, `[member, image, 5]`, if there is any.
    draws: Option<Tensor>,
    /// Learning rates, `[step, member]`.
    lr: Tensor,
}

/// Where and how a member diverged.
pub(crate) struct Divergence {
    /// The epoch, counted from 1.
    pub epoch: u32,
    /// The step of that epoch, counted from 1.
    pub step: u64,
    /// What is not finite.
    pub reason: &'static str,
}

/// A member that is done.
pub(crate) struct EndedMember {
    /// What it has behind it.
    pub member: Member,
    /// How it ended: test loss and accuracy, or where it diverged.
    pub result: Result<(f64, f64), Divergence>,
}

/// Losses that are not read yet: reading one waits for the device.
struct Unread {
    step: usize,
    images: usize,
    loss: Tensor,
    correct: Tensor,
}

/// A cohort under way.
pub(crate) struct Session {
    shape: Shape,
    /// The members that are still training.
    pub members: Vec<Member>,
    /// Their networks.
    pub model: Model,
    /// Parameters and buffers of each member's best epoch, once there is one that is not the last.
    pub best: Option<Vec<Tensor>>,
    /// Whole epochs behind it.
    pub epoch: u32,
    /// Steps of the current epoch behind it.
    pub step: usize,
    /// Whether to compute activations again instead of keeping them.
    pub recompute: bool,
    preprocess: Preprocess,
    /// What the current epoch's steps take.
    inputs: Option<EpochInputs>,
    /// Momentum and weight decay of the members.
    rule: (Tensor, Option<Tensor>),
    launcher: Launcher,
    unread: Vec<Unread>,
    clock: Instant,
    epoch_seconds: f64,
}

impl Session {
    /// A cohort whose members stand at `epoch` and `step`, with networks in that state.
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
            rule: rule(&members, device),
            members,
            model,
            best: None,
            epoch,
            step,
            recompute: false,
            preprocess: Preprocess::scaled(
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

    /// Whether every epoch is done, or nobody is left.
    pub(crate) fn is_over(&self) -> bool {
        self.epoch == self.shape.epochs || self.members.is_empty()
    }

    /// The share of the cohort's steps that is done, 0 to 1.
    pub(crate) fn fraction(&self) -> f64 {
        let steps = self.shape.steps() as f64;
        (f64::from(self.epoch) + self.step as f64 / steps) / f64::from(self.shape.epochs)
    }

    /// What the launcher has to complain about, if anything.
    pub(crate) fn complaint(&mut self) -> Option<String> {
        self.launcher.complaint()
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
                Draws::new(self.shape.dataset, seed, self.epoch, images).to_tensor(device)
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

    /// Trains one step, and ends the epoch if it was its last. Gives back members that ended.
    pub(crate) fn advance(&mut self, data: &DeviceData) -> Vec<EndedMember> {
        let steps = self.shape.steps();
        let range = self.step * self.shape.batch_size
            ..self.shape.train.min((self.step + 1) * self.shape.batch_size);
        let device = self.model.config().arithmetic.device;

        let epoch = self.inputs.as_ref().expect("an epoch has begun");
        let (start, length) = (range.start as i64, range.len() as i64);
        let mut inputs = vec![epoch.order.narrow(1, start, length), epoch.lr.get(self.step as i64)];
        inputs.extend(epoch.draws.as_ref().map(|draws| draws.narrow(1, start, length)));
        let (model, preprocess, rule) = (&mut self.model, &self.preprocess, &self.rule);
        let (micro_batch, recompute) = (self.shape.micro_batch as i64, self.recompute);
        let result = self.launcher.run(Work::Step, inputs, |inputs| {
            train_step(model, preprocess, &data.train, rule, inputs, micro_batch, recompute)
        });
        let [loss, correct] = <[Tensor; 2]>::try_from(result).expect("a step gives two tensors");
        self.unread.push(Unread { step: self.step, images: range.len(), loss, correct });
        self.step += 1;

        // On the CPU looking is free, but not for nothing; on a GPU it waits, so once an epoch.
        let look = if device.is_cuda() { steps } else { 16 };
        let mut ended = Vec::new();
        if self.step.is_multiple_of(look) || self.step == steps {
            ended = self.read_losses();
        }
        if self.step == steps {
            ended.extend(self.end_epoch(data));
        }
        ended
    }

    /// Evaluates all members on the first test images, at most `most`, for its time alone; how
    /// many it were.
    pub(crate) fn evaluate_some(&mut self, data: &DeviceData, most: i64) -> i64 {
        let count = data.test.labels.size()[0].min(most);
        let all: Vec<u32> = (0..count as u32).collect();
        let indices = vec![&*all; self.members.len()];
        self.scores(Work::Test, &data.test, &indices);
        count
    }

    fn scores(&mut self, work: Work, images: &DeviceImages, indices: &[&[u32]]) -> Scores {
        evaluate(&self.model, images, indices, &self.preprocess, &mut self.launcher, work)
    }

    /// Reads the losses so far and gives back the members in which one is not finite.
    pub(crate) fn read_losses(&mut self) -> Vec<EndedMember> {
        if self.unread.is_empty() || self.members.is_empty() {
            return Vec::new();
        }
        self.share_time();
        let unread = std::mem::take(&mut self.unread);
        let stack = |part: &dyn Fn(&Unread) -> &Tensor| {
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
        self.remove(diverged)
    }

    /// Validates, and on the last epoch tests with each member's best parameters.
    fn end_epoch(&mut self, data: &DeviceData) -> Vec<EndedMember> {
        if self.members.is_empty() {
            return Vec::new();
        }
        let indices: Vec<&[u32]> = self.members.iter().map(|m| &*m.split.val).collect();
        let scores = evaluate(
            &self.model,
            &data.train,
            &indices,
            &self.preprocess,
            &mut self.launcher,
            Work::Validation,
        );
        let finite = self.finite_parameters();
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
        let mut ended = self.remove(diverged);
        self.epoch += 1;
        self.step = 0;
        if self.members.is_empty() {
            return ended;
        }
        if self.epoch < self.shape.epochs {
            self.keep_best();
            self.begin_epoch();
        } else {
            ended.extend(self.test(data));
        }
        ended
    }

    /// The tensors that make up the networks' state.
    pub(crate) fn state(&mut self) -> Vec<Tensor> {
        let params =
            self.model.params().into_iter().map(|p| p.value.shallow_clone()).collect::<Vec<_>>();
        let buffers = self.model.buffers().into_iter().map(|b| b.value.shallow_clone());
        params.into_iter().chain(buffers).collect()
    }

    /// The members whose best epoch is the one just ended.
    fn at_their_best(&self) -> Vec<bool> {
        self.members
            .iter()
            .map(|m| m.progress.best().is_some_and(|best| best.epoch == self.epoch))
            .collect()
    }

    fn keep_best(&mut self) {
        let state = self.state();
        let at_best = self.at_their_best();
        match &self.best {
            None => self.best = Some(state.iter().map(Tensor::copy).collect()),
            Some(best) => copy_members(&state, best, &at_best),
        }
    }

    fn test(&mut self, data: &DeviceData) -> Vec<EndedMember> {
        if let Some(best) = self.best.take() {
            let behind: Vec<bool> = self.at_their_best().into_iter().map(|at| !at).collect();
            copy_members(&best, &self.state(), &behind);
            self.model.refresh();
        }
        let all = spread(data.test.labels.size()[0] as u64, self.shape.test as u64);
        let indices = vec![&*all; self.members.len()];
        let scores = self.scores(Work::Test, &data.test, &indices);
        self.share_time();
        let members = std::mem::take(&mut self.members);
        let results = scores.loss.into_iter().zip(scores.accuracy).map(|(loss, accuracy)| {
            if loss.is_finite() {
                Ok((loss, accuracy))
            } else {
                let (epoch, step) = (self.shape.epochs, self.shape.steps() as u64);
                Err(Divergence { epoch, step, reason: "test loss" })
            }
        });
        members
            .into_iter()
            .zip(results)
            .map(|(member, result)| EndedMember { member, result })
            .collect()
    }

    /// Whether all of each member's parameters are finite.
    fn finite_parameters(&mut self) -> Vec<bool> {
        let members = self.members.len();
        let finite = self.state().iter().fold(None, |all: Option<Tensor>, tensor| {
            // A sum is finite only if every part of it is (or it overflows, which is as bad).
            let sum = tensor.flatten(1, -1).sum_dim_intlist(1, false, Kind::Double);
            Some(match all {
                None => sum,
                Some(all) => all + sum,
            })
        });
        finite.map_or(vec![true; members], |sum| {
            to_vec(&sum).into_iter().map(f64::is_finite).collect()
        })
    }

    /// Takes members out of the stack, so that nothing more is spent on them.
    fn remove(&mut self, ended: Vec<(usize, Divergence)>) -> Vec<EndedMember> {
        if ended.is_empty() {
            return Vec::new();
        }
        let gone: Vec<usize> = ended.iter().map(|(m, _)| *m).collect();
        let kept: Vec<i64> =
            (0..self.members.len()).filter(|m| !gone.contains(m)).map(|m| m as i64).collect();
        if !kept.is_empty() {
            self.model.keep(&kept);
            let index = Tensor::from_slice(&kept).to_device(self.model.config().arithmetic.device);
            for tensor in self.best.iter_mut().flatten() {
                *tensor = tensor.index_select(0, &index);
            }
            if let Some(EpochInputs { order, draws, lr }) = &mut self.inputs {
                *order = order.index_select(0, &index);
                *lr = lr.index_select(1, &index);
                *draws = draws.take().map(|draws| draws.index_select(0, &index));
            }
        }
        let mut divergences = ended.into_iter().peekable();
        let mut out = Vec::new();
        for (m, member) in std::mem::take(&mut self.members).into_iter().enumerate() {
            match divergences.next_if(|(gone, _)| *gone == m) {
                Some((_, divergence)) => out.push(EndedMember { member, result: Err(divergence) }),
                None => self.members.push(member),
            }
        }
        self.rule = rule(&self.members, self.model.config().arithmetic.device);
        self.launcher.forget();
        out
    }

    /// Charges the members from an earlier moment than that of [`Session::new`].
    pub(crate) fn charge_from(&mut self, started: Instant) {
        self.clock = started;
    }

    /// Wall-clock seconds of the current epoch so far.
    pub(crate) fn epoch_seconds(&self) -> f64 {
        self.epoch_seconds
    }

    /// Charges the current epoch with what it took before an interruption.
    pub(crate) fn charge_epoch(&mut self, seconds: f64) {
        self.epoch_seconds += seconds;
    }

    /// Charges the time since the last call to the members, in equal parts.
    fn share_time(&mut self) {
        let seconds = self.clock.elapsed().as_secs_f64();
        self.clock = Instant::now();
        self.epoch_seconds += seconds;
        let share = seconds / self.members.len() as f64;
        self.members.iter_mut().for_each(|member| member.progress.seconds += share);
    }
}

/// The indices of `count` of `all` images, evenly spaced: some test sets are sorted.
fn spread(all: u64, count: u64) -> Vec<u32> {
    (0..count).map(|i| (i * all / count) as u32).collect()
}

/// Momentum and weight decay of the members, as [`Sgd`] takes them.
fn rule(members: &[Member], device: Device) -> (Tensor, Option<Tensor>) {
    let each = |number: fn(&Job) -> f64| {
        let numbers: Vec<f32> = members.iter().map(|m| number(&m.job) as f32).collect();
        Tensor::from_slice(&numbers).to_device(device)
    };
    let decays = members.iter().any(|m| m.job.weight_decay != 0.0);
    (each(|job| job.momentum), decays.then(|| each(|job| job.weight_decay)))
}

/// A training step on `inputs` as [`EpochInputs`] has them for it; its loss and hits, `[member]`.
/// It may be recorded, see [`Launcher::run`].
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
    let sgd = Sgd {
        lr: lr.shallow_clone(),
        momentum: momentum.shallow_clone(),
        weight_decay: weight_decay.as_ref().map(Tensor::shallow_clone),
    };
    let result = model.train_step(&x, &labels, Some(&sgd), micro_batch, recompute);
    vec![result.loss, result.correct]
}

/// Copies the chosen members' slices of each tensor.
fn copy_members(from: &[Tensor], to: &[Tensor], chosen: &[bool]) {
    for (from, to) in from.iter().zip(to) {
        for (m, _) in chosen.iter().enumerate().filter(|(_, chosen)| **chosen) {
            to.select(0, m as i64).copy_(&from.select(0, m as i64));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn test_images_are_spread_over_the_whole_test_set_and_all_of_them_are_all() {
        assert_eq!(spread(10, 4), [0, 2, 5, 7]);
        assert_eq!(spread(10, 1), [0]);
        assert_eq!(spread(3, 3), [0, 1, 2]);
    }
}
