//! Divergence: a member with a training loss, validation loss, parameter or buffer that is not
//! finite leaves the stack. A test loss that is not finite is a divergence, too (`Session::test`).

use std::sync::atomic::AtomicBool;

use tch::{Kind, Tensor};

use super::{EndedMember, EpochInputs, Session, momentum_and_decay};
use crate::models::Model;
use crate::train::data::DeviceData;
use crate::train::evaluate::{evaluate, to_vec};
use crate::train::launch::Work;

/// When and how a member diverged.
pub(crate) struct Divergence {
    /// From 1.
    pub epoch: u32,
    /// The step of that epoch, from 1.
    pub step: u64,
    /// The quantity that is not finite.
    pub reason: &'static str,
}

impl Session {
    /// For each member, whether its parameters and buffers are finite.
    pub(super) fn finite_state(&mut self) -> Vec<bool> {
        let members = self.members.len();
        let finite = self.model.state().iter().fold(None, |all: Option<Tensor>, tensor| {
            // Not finite if any term is not.
            let flat = tensor.reshape([members as i64, -1]);
            let sum = flat.sum_dim_intlist(1, false, Kind::Double);
            Some(match all {
                None => sum,
                Some(all) => all + sum,
            })
        });
        finite.map_or(vec![true; members], |sum| {
            to_vec(&sum).into_iter().map(f64::is_finite).collect()
        })
    }

    /// Removes diverged members from the stack. `diverged` must be sorted by index.
    pub(super) fn remove_diverged(
        &mut self,
        diverged: Vec<(usize, Divergence)>,
        data: &DeviceData,
    ) -> Vec<EndedMember> {
        if diverged.is_empty() {
            return Vec::new();
        }
        let gone: Vec<i64> = diverged.iter().map(|(m, _)| *m as i64).collect();
        let mut tests = self.test_best(&gone, data).into_iter();
        let is_kept = |m: &usize| diverged.iter().all(|(gone, _)| gone != m);
        let kept: Vec<i64> = (0..self.members.len()).filter(is_kept).map(|m| m as i64).collect();
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
        let mut divergences = diverged.into_iter().peekable();
        let mut out = Vec::new();
        for (m, member) in std::mem::take(&mut self.members).into_iter().enumerate() {
            match divergences.next_if(|(gone, _)| *gone == m) {
                Some((_, divergence)) => out.push(EndedMember {
                    member,
                    divergence: Some(divergence),
                    test: tests.next().flatten(),
                }),
                None => self.members.push(member),
            }
        }
        self.rule = momentum_and_decay(&self.members, self.model.config().arithmetic.device);
        self.launcher.forget();
        out
    }

    /// Test loss and accuracy of these members with the parameters of their best epoch; empty if no
    /// epoch was completed.
    fn test_best(&self, members: &[i64], data: &DeviceData) -> Vec<Option<(f64, f64)>> {
        let Some(best) = &self.best else { return Vec::new() };
        let mut model = Model::zeros(self.model.config(), members.len() as i64);
        let index = Tensor::from_slice(members).to_device(self.model.config().arithmetic.device);
        for (mut value, best) in model.state().into_iter().zip(best) {
            value.copy_(&best.index_select(0, &index));
        }
        model.refresh();
        let test = self.test_indices(members.iter().map(|&m| &self.members[m as usize]));
        let indices: Vec<&[u32]> = test.iter().map(|test| &**test).collect();
        let mut launcher = self.launcher.another();
        let (preprocess, never) = (&self.preprocess, AtomicBool::new(false));
        evaluate(&model, &data.test, &indices, preprocess, &mut launcher, Work::Test, &never)
            .expect("nothing stops it")
            .finite()
            .collect()
    }
}
