//! Loss and accuracy of a stack on validation and test images.

use std::sync::atomic::{AtomicBool, Ordering};

use tch::{Kind, Tensor};

use super::augment::Preprocess;
use super::data::DeviceImages;
use super::launch::{Launcher, Work};
use crate::models::Model;
use crate::nn::Pass;

/// Mean loss (nats) and accuracy (fraction) of each member.
pub(crate) struct Scores {
    pub loss: Vec<f64>,
    pub accuracy: Vec<f64>,
}

impl Scores {
    /// Loss and accuracy of each member whose loss is finite.
    pub(crate) fn finite(self) -> impl Iterator<Item = Option<(f64, f64)>> {
        self.loss.into_iter().zip(self.accuracy).map(|pair| pair.0.is_finite().then_some(pair))
    }
}

/// Images per batch. A constant, because it affects the last bits of a result.
const BATCH: usize = 256;

/// Evaluates each member on the images at its indices; all members have the same number of them.
/// `None` if `stop` was set before the last batch.
pub(crate) fn evaluate(
    model: &Model,
    images: &DeviceImages,
    indices: &[&[u32]],
    preprocess: &Preprocess,
    launcher: &mut Launcher,
    work: Work,
    stop: &AtomicBool,
) -> Option<Scores> {
    let (members, count) = (indices.len() as i64, indices[0].len());
    // Members that share their images share the batches.
    let shared = indices.iter().all(|own| std::ptr::eq(*own, indices[0]));
    let distinct = if shared { &indices[..1] } else { indices };
    let wanted: Vec<i64> =
        distinct.iter().flat_map(|own| own.iter().map(|&i| i64::from(i))).collect();
    let wanted = Tensor::from_slice(&wanted)
        .view([distinct.len() as i64, -1])
        .to_device(images.pixels.device());
    // One after the other: libtorch's sum over an axis takes an order that depends on the number of
    // members. Read once, at the end: on a GPU every read synchronizes.
    let mut total: Option<Tensor> = None;
    for start in (0..count).step_by(BATCH) {
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        let part = wanted.narrow(1, start as i64, BATCH.min(count - start) as i64);
        let scores = launcher.run(work, vec![part], |inputs| {
            vec![score(model, images, &inputs[0], preprocess, members)]
        });
        let part = scores.into_iter().next().expect("score returns one tensor");
        total = Some(match total {
            None => part,
            Some(sum) => sum + part,
        });
    }
    let total = total.expect("there are images") / count as f64;
    Some(Scores { loss: to_vec(&total.get(0)), accuracy: to_vec(&total.get(1)) })
}

/// How many of `count` images have a batch of each size that there is.
pub(crate) fn sample(count: usize) -> usize {
    if count <= BATCH { count } else { BATCH + count % BATCH }
}

/// Summed loss and number of correct images of each member, `[2, member]`. `indices` is
/// `[member, batch]`, or `[1, batch]` for all members.
fn score(
    model: &Model,
    images: &DeviceImages,
    indices: &Tensor,
    preprocess: &Preprocess,
    members: i64,
) -> Tensor {
    let (pixels, labels) = images.gather(indices);
    let x = preprocess.eval(&pixels);
    let size = x.size();
    let x = x.expand([&[members], &size[1..]].concat(), false);
    let y = labels.expand([members, size[1]], false);
    let logits = model.logits(&x, &mut Pass::Evaluate);
    let log_p = logits.log_softmax(-1, logits.kind());
    let loss = -log_p.gather(-1, &y.unsqueeze(-1), false).sum_dim_intlist(
        [1, 2].as_slice(),
        false,
        Kind::Double,
    );
    let correct = logits.argmax(-1, false).eq_tensor(&y).sum_dim_intlist(1, false, Kind::Double);
    Tensor::stack(&[loss, correct], 0)
}

pub(crate) fn to_vec(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double)).expect("a one-dimensional tensor of numbers")
}
