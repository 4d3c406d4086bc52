//! Trainings that are recorded and replayed as on a GPU, but on the CPU: they equal unrecorded ones,
//! bit for bit. In double precision all arithmetic on the CPU is by operators, as on a GPU.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use tch::{Device, Kind, Tensor};

use super::{EndedMember, MemberProgress, Session};
use crate::models::{Model, ModelConfig};
use crate::nn::Arithmetic;
use crate::train::checkpoint;
use crate::train::data::DeviceData;
use crate::train::initial::initial_stack;
use crate::train::launch::{Launcher, Work};
use wninit_core::data;
use wninit_core::job::{Activation, Augment, Draft, Norm};
use wninit_core::plan::cohort::Cohort;

/// Jobs with steps of 16, 16, 16 and 3 images; decays and warm-ups differ.
pub(super) fn cohort(members: u64, base: &Draft) -> Cohort {
    let job = |seed: u64| Draft {
        dataset: Some("synthetic".parse().unwrap()),
        synthetic_shape: Some([3, 12, 20]),
        synthetic_images: base.synthetic_images.or(Some(200)),
        train_images: Some(51),
        batch_size: Some(16),
        epochs: base.epochs.or(Some(4)),
        lr: Some(0.02 * (seed + 1) as f64),
        momentum: Some(1.0 - 0.1 / (seed + 1) as f64),
        weight_decay: Some(0.001 * seed as f64),
        warmup_epochs: Some(seed as u32 % 2),
        seed: Some(seed),
        ..base.clone()
    };
    Cohort::new((0..members).map(|seed| job(seed).resolve().unwrap()).collect())
}

/// It has two sizes of batches in validation, and three batches of one size in a test.
pub(super) fn mlp() -> Draft {
    let model = Some("mlp".parse().unwrap());
    let synthetic_images = Some(4000);
    Draft { model, depth: Some(3), width: Some(5), synthetic_images, ..Draft::default() }
}

fn cnn() -> Draft {
    Draft {
        model: Some("cnn".parse().unwrap()),
        depth: Some(2),
        width: Some(3),
        ..Draft::default()
    }
}

pub(super) fn resnet(norm: Norm) -> Draft {
    let model = Some("resnet".parse().unwrap());
    Draft { model, blocks: Some(1), width: Some(2), norm: Some(norm), ..Draft::default() }
}

/// The same training twice.
struct Twins {
    config: ModelConfig,
    data: DeviceData,
    /// Not recorded, and recorded.
    sessions: [Session; 2],
}

impl Twins {
    fn new(cohort: &Cohort) -> Twins {
        tch::set_num_threads(1);
        let shape = cohort.shape();
        let data = data::load(shape.dataset, Path::new("")).unwrap();
        let data = DeviceData::new(&data, Device::Cpu);
        let arithmetic =
            Arithmetic { device: Device::Cpu, params: Kind::Double, compute: Kind::Double };
        let config = ModelConfig { arithmetic, ..ModelConfig::of(&shape, Device::Cpu) };
        let mut single = initial_stack(cohort, &data, Device::Cpu);
        let mut session = || {
            let mut model = Model::zeros(config, cohort.jobs().len() as i64);
            for (mut ours, theirs) in model.state().into_iter().zip(single.state()) {
                ours.copy_(&theirs);
            }
            model.refresh();
            let progress = vec![MemberProgress::default(); cohort.jobs().len()];
            Session::new(cohort, model, &data, progress, 0, 0)
        };
        let sessions = [session(), session()].map(as_on_a_gpu);
        let mut twins = Twins { config, data, sessions };
        twins.sessions[1].launcher = Launcher::of_operators();
        twins
    }

    /// Calls `work` for both and compares them. Returns how many members ended in each.
    fn each(
        &mut self,
        mut work: impl FnMut(&mut Session, &DeviceData) -> Vec<EndedMember>,
    ) -> usize {
        let [(eager, ended), (recorded, as_many)] = self.sessions.each_mut().map(|session| {
            let ended = work(session, &self.data);
            (state(session), ended)
        });
        let count = ended.len();
        let [ended, as_many] =
            [ended, as_many].map(|all| all.iter().map(describe).collect::<Vec<_>>());
        assert_eq!(ended, as_many);
        let [at, session] = &mut self.sessions;
        let place = format!("epoch {}, step {}", at.epoch + 1, at.step);
        assert_eq!(session.launcher.take_graph_error(), None, "{place}");
        assert_eq!(eager.len(), recorded.len(), "{place}");
        for ((name, eager), (_, recorded)) in eager.iter().zip(&recorded) {
            assert!(eager.equal(recorded), "{name} differs after {place}:\n{eager:?} {recorded:?}");
        }
        let [eager, recorded] = self.sessions.each_ref().map(|session| {
            session.members.iter().map(|member| progress(&member.progress)).collect::<Vec<_>>()
        });
        assert_eq!(eager, recorded, "{place}");
        count
    }

    fn advance(&mut self) -> usize {
        self.each(Session::advance)
    }

    fn advance_by(&mut self, steps: usize) -> usize {
        (0..steps).map(|_| self.advance()).sum()
    }

    fn finish(&mut self) {
        while !self.sessions[0].is_over() {
            self.advance();
        }
        assert!(self.sessions[1].is_over());
    }

    /// Makes a member's loss NaN from now on.
    fn break_member(&mut self, m: i64) {
        for session in &mut self.sessions {
            let params = session.model.params();
            let _ = params.last().unwrap().value.select(0, m).fill_(f64::INFINITY);
        }
    }

    fn recorded(&self) -> Vec<Work> {
        self.sessions[1].launcher.recorded()
    }
}

fn as_on_a_gpu(mut session: Session) -> Session {
    session.preprocess = session.preprocess.with_tensors();
    session
}

/// The bits of all tensors that a session keeps from step to step.
fn state(session: &mut Session) -> Vec<(String, Tensor)> {
    let mut state = Vec::new();
    let mut keep = |name: String, tensor: &Tensor| {
        state.push((name, tensor.copy().view_dtype(Kind::Int64)));
    };
    for param in session.model.params() {
        keep(param.name.clone(), &param.value);
        keep(format!("momentum of {}", param.name), param.momentum.as_ref().unwrap());
        assert!(param.grad.is_none());
    }
    session.model.buffers().iter().for_each(|buffer| keep(buffer.name.clone(), &buffer.value));
    for affine in session.model.affines() {
        keep(format!("effective weight of {}", affine.name), &affine.weight());
    }
    for (i, best) in session.best.iter().flatten().enumerate() {
        keep(format!("best {i}"), best);
    }
    state
}

fn progress(of: &MemberProgress) -> String {
    let mut progress = MemberProgress { seconds: 0.0, ..of.clone() };
    progress.epochs.iter_mut().for_each(|row| row.seconds = 0.0);
    format!("{progress:?}")
}

pub(super) fn describe(ended: &EndedMember) -> String {
    let divergence = ended.divergence.as_ref().map(|d| (d.epoch, d.step, d.reason));
    let EndedMember { member, test, .. } = ended;
    format!("{} {divergence:?} {test:?} {}", member.job.id(), progress(&member.progress))
}

#[test]
fn a_recorded_training_equals_an_unrecorded_one_bit_for_bit() {
    let _no_grad = tch::no_grad_guard();
    let cutout = Some(Augment::CropFlipCutout);
    for (recompute, base) in [
        (false, mlp()),
        (true, Draft { norm: Some(Norm::None), micro_batch: Some(7), ..mlp() }),
        (false, Draft { micro_batch: Some(6), augment: cutout, ..cnn() }),
        (true, cnn()),
        (false, resnet(Norm::Weight)),
        (true, Draft { micro_batch: Some(7), augment: cutout, ..resnet(Norm::Weight) }),
        (false, Draft { micro_batch: Some(7), ..resnet(Norm::Batch) }),
        (true, Draft { augment: cutout, ..resnet(Norm::Batch) }),
        (true, Draft { activation: Some(Activation::LeakyRelu), ..cnn() }),
        (false, Draft { activation: Some(Activation::Tanh), ..resnet(Norm::Weight) }),
        (true, Draft { branch_scale: Some(0.5), micro_batch: Some(7), ..resnet(Norm::None) }),
        (true, Draft { activation: Some(Activation::Gelu), ..mlp() }),
        (false, Draft { activation: Some(Activation::Gelu), ..resnet(Norm::Batch) }),
        (true, Draft { activation: Some(Activation::Selu), ..resnet(Norm::Batch) }),
    ] {
        let mut twins = Twins::new(&cohort(3, &base));
        twins.sessions.iter_mut().for_each(|session| session.recompute = recompute);
        twins.finish();
        let recorded = twins.recorded();
        use Work::{Step, Test, Validation};
        match base.synthetic_images {
            Some(_) => assert_eq!(recorded, [Step, Step, Validation, Validation, Test, Test]),
            None => assert_eq!(recorded, [Step, Step, Validation, Test], "{base:?}"),
        }
    }
}

#[test]
fn work_is_recorded_again_after_each_divergence() {
    let _no_grad = tch::no_grad_guard();
    for base in [mlp(), Draft { augment: Some(Augment::CropFlip), ..resnet(Norm::Batch) }] {
        let base = Draft { epochs: Some(5), ..base };
        let mut twins = Twins::new(&cohort(5, &base));
        // Early, before anything is replayed.
        twins.break_member(1);
        assert_eq!(twins.advance_by(4), 1);
        // In the middle of an epoch, as before a checkpoint.
        twins.advance_by(2);
        twins.break_member(3);
        twins.advance();
        assert!(!twins.recorded().is_empty());
        assert_eq!(twins.each(Session::read_losses), 1);
        assert!(twins.recorded().is_empty());
        // Two at once. They are tested with their best parameters.
        twins.advance_by(5);
        [0, 2].into_iter().for_each(|m| twins.break_member(m));
        assert_eq!(twins.advance_by(4), 2);
        twins.advance_by(2);
        assert!(twins.recorded().contains(&Work::Step));
        twins.finish();
    }
}

#[test]
fn a_resumed_training_is_recorded_like_an_uninterrupted_one() {
    let _no_grad = tch::no_grad_guard();
    for base in [mlp(), resnet(Norm::Batch)] {
        let cohort = cohort(2, &base);
        // Seven of eight steps: a batch of the smaller size is next.
        for steps in [5, 7] {
            let mut twins = Twins::new(&cohort);
            twins.advance_by(steps);
            let (config, data) = (twins.config, &twins.data);
            for session in &mut twins.sessions {
                assert!(session.read_losses(data).is_empty());
                let dir = tempfile::tempdir().unwrap();
                checkpoint::save(&dir.path().join("a.checkpoint"), session).unwrap();
                let found = checkpoint::scan(dir.path(), |warning| panic!("{warning}")).unwrap();
                *session = as_on_a_gpu(found[0].resume(&cohort, config, data).unwrap());
            }
            twins.sessions[1].launcher = Launcher::of_operators();
            twins.advance();
            // A step that was not run yet may load a kernel, which a graph refuses.
            assert!(!twins.recorded().contains(&Work::Step));
            twins.finish();
            assert!(twins.recorded().contains(&Work::Step));
        }
    }
}
