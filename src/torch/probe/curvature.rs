//! The Hessian of the training loss at initialization: its eigenvalue of largest absolute value, i.e.
//! its spectral norm with a sign (Arpit, Campos & Bengio 2019, section 5).
//!
//! The loss is the mean cross-entropy over a share of the mini-batches of the job's first epoch,
//! without augmentation; the parameters are all trained ones (v, g and b). Hessian-vector products
//! differentiate the forward pass twice: `Hv = ∂/∂θ (∂L/∂θ · v)`. The loss of a stack is the sum of
//! its members' losses, so its Hessian is block diagonal, and one product serves all members.

use rand_distr::StandardNormal;
use tch::{Kind, Tensor};

use super::eigen::{self, Eigen, SolverOptions};
use crate::models::Model;
use crate::nn::{Pass, init};
use crate::train::augment::Preprocess;
use crate::train::failure::catch_torch_panic;
use crate::train::initial::initial_stack;
use crate::train::{DeviceData, Libtorch};
use wninit_core::data::batches;
use wninit_core::job::{Augment, Job, Norm};
use wninit_core::plan::cohort::Cohort;
use wninit_core::rng;
use wninit_core::run::trainer::Stop;

/// The Hessian of a stack of networks on given images, as an operator on vectors.
pub struct Hessian<'a> {
    model: Model,
    data: &'a DeviceData,
    preprocess: Preprocess,
    /// Image indices of each part of a batch, `[member, image]`.
    parts: Vec<Tensor>,
    /// The number of images of a member.
    images: i64,
}

impl<'a> Hessian<'a> {
    /// `images` are batches of training images for each member, all of the same sizes. At most `part`
    /// of them are in one forward pass, over which a batch norm normalises.
    pub fn new(
        mut model: Model,
        data: &'a DeviceData,
        preprocess: Preprocess,
        images: &[Vec<Vec<u32>>],
        part: usize,
    ) -> Hessian<'a> {
        let device = model.config().arithmetic.device;
        for param in model.params() {
            param.value = param.value.detach().set_requires_grad(true);
        }
        let mut parts = Vec::new();
        let mut count = 0;
        for batch in 0..images.first().map_or(0, Vec::len) {
            let size = images[0][batch].len();
            for from in (0..size).step_by(part.max(1)) {
                let range = from..size.min(from + part.max(1));
                let all: Vec<i64> = images
                    .iter()
                    .flat_map(|member| member[batch][range.clone()].iter().map(|&i| i64::from(i)))
                    .collect();
                parts.push(
                    Tensor::from_slice(&all).view([images.len() as i64, -1]).to_device(device),
                );
            }
            count += size as i64;
        }
        Hessian { model, data, preprocess, parts, images: count }
    }

    /// The number of parameters of a member.
    pub fn dimension(&mut self) -> i64 {
        let members = self.model.members();
        self.model.params().iter().map(|param| param.value.numel() as i64 / members).sum()
    }

    /// The Hessian times `v`, both `[member, n]`, the parameters in the model's order.
    pub fn times(&mut self, v: &Tensor) -> Tensor {
        let mut product = v.zeros_like();
        for part in 0..self.parts.len() {
            // The graph of one part is freed before the next.
            product += self.part_times(part, v);
        }
        product
    }

    /// The sum of the members' losses over a part, as its share of the mean over all images.
    fn loss(&self, part: usize) -> Tensor {
        let config = self.model.config();
        let (pixels, labels) = self.data.train.gather(&self.parts[part]);
        let x = self.preprocess.eval(&pixels);
        let mut ignore = |_: &str, _: &Tensor| {};
        // An observing pass does not update running statistics.
        let mut pass = match config.norm {
            Norm::Batch => Pass::Observe(&mut ignore),
            _ => Pass::NoTape,
        };
        let logits = self.model.logits(&x, &mut pass);
        let log_p = logits.log_softmax(-1, None::<Kind>);
        -log_p.gather(-1, &labels.unsqueeze(-1), false).sum(None::<Kind>) / self.images as f64
    }

    fn part_times(&mut self, part: usize, v: &Tensor) -> Tensor {
        let members = self.model.members();
        let loss = self.loss(part);
        let params: Vec<Tensor> =
            self.model.params().iter().map(|param| param.value.shallow_clone()).collect();
        let gradient = flat(&Tensor::run_backward(&[loss], &params, true, true), &params, members);
        let along = (gradient * v).sum(None::<Kind>);
        flat(&Tensor::run_backward(&[along], &params, false, false), &params, members)
    }
}

/// Gradients of all parameters as `[member, n]`; an undefined gradient is 0.
fn flat(gradients: &[Tensor], params: &[Tensor], members: i64) -> Tensor {
    let gradients =
        gradients.iter().zip(params).map(|(gradient, param)| match gradient.defined() {
            true => gradient.reshape([members, -1]),
            false => param.zeros_like().view([members, -1]),
        });
    Tensor::cat(&gradients.collect::<Vec<_>>(), 1)
}

/// The first `share` of the mini-batches of a job's first epoch, rounded up to whole batches.
pub(crate) fn first_batches(job: &Job, share: f64) -> Vec<Vec<u32>> {
    let order = batches::order(job, &batches::split(job), 0);
    let batches = order.chunks(job.batch_size as usize);
    let count = (share * batches.len() as f64 - 1e-9).ceil().max(1.0) as usize;
    batches.take(count).map(<[u32]>::to_vec).collect()
}

/// The eigenvalues of a cohort's jobs, in their order, and the number of images. Jobs are starts, see
/// [`wninit_core::plan::start::start_of`].
///
/// # Errors
/// Memory, the device or the data set failed.
pub(crate) fn measure(
    trainer: &Libtorch,
    worker: usize,
    cohort: &Cohort,
    share: f64,
    options: &SolverOptions,
) -> Result<(Vec<Eigen>, usize), Stop> {
    catch_torch_panic(|| {
        let shape = cohort.shape();
        let device = trainer.devices[worker];
        let (data, _tf32) = trainer.prepare_with_data(worker, &shape)?;
        let images: Vec<_> = cohort.jobs().iter().map(|job| first_batches(job, share)).collect();
        let count = images.first().map_or(0, |batches| batches.iter().map(Vec::len).sum());
        let model = tch::no_grad(|| initial_stack(cohort, &data, device));
        let preprocess =
            Preprocess::new(shape.dataset, Augment::None, shape.input, &data.moments, device);
        let mut hessian = Hessian::new(model, &data, preprocess, &images, shape.micro_batch);
        let n = hessian.dimension();
        // A member's starting vector depends on its job alone.
        let starts: Vec<Tensor> = cohort
            .jobs()
            .iter()
            .map(|job| {
                let stream = rng::stream(job.init_seed, "curvature", 0);
                init::numbers(StandardNormal, stream, n as usize)
            })
            .collect();
        let start = Tensor::stack(&starts, 0).to_device(device);
        let options =
            SolverOptions { basis: basis(n, cohort.jobs().len(), options.basis), ..*options };
        Ok((eigen::dominant(&start, &options, |v| hessian.times(v)), count))
    })
}

/// The number of basis vectors of `n` numbers per member: `wanted`, limited to a gigabyte in total.
fn basis(n: i64, members: usize, wanted: usize) -> usize {
    const BYTES: f64 = 1e9;
    let fit = BYTES / (4.0 * n.max(1) as f64 * members as f64);
    (fit as usize).clamp(8, wanted.max(8))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;
    use wninit_core::job::{DatasetName, Draft};

    fn job(seed: u64) -> Job {
        let draft = Draft {
            dataset: Some(DatasetName::Digits),
            seed: Some(seed),
            batch_size: Some(100),
            ..Draft::default()
        };
        draft.resolve().unwrap()
    }

    #[test]
    fn a_share_is_rounded_up_to_whole_batches_of_the_first_epoch() {
        // 1,293 training images are 13 batches.
        let count = |share| first_batches(&job(0), share).len();
        assert_eq!([0.001, 0.1, 0.5, 1.0].map(count), [1, 2, 7, 13]);
        let all: BTreeSet<u32> = first_batches(&job(0), 1.0).concat().into_iter().collect();
        assert_eq!(all.len(), 1293);
        assert_ne!(first_batches(&job(0), 0.1), first_batches(&job(1), 0.1));
        assert_eq!(first_batches(&job(0), 0.1)[..], first_batches(&job(0), 0.5)[..2]);
    }

    #[test]
    fn the_basis_of_a_large_network_stays_within_memory() {
        assert_eq!(basis(1000, 4, 40), 40);
        assert_eq!(basis(10_000_000, 1, 40), 25);
        assert_eq!(basis(1_000_000_000, 8, 40), 8);
    }
}
