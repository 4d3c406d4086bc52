//! Loss and accuracy of a stack on images that it does not train on.

use tch::{Kind, Tensor};

use super::augment::Preprocess;
use super::launch::{Launcher, Work};
use crate::models::Model;
use crate::nn::Pass;

/// DeviceImages of a data set on a device.
pub struct DeviceImages {
    /// Bytes `[image, channel, height, width]`.
    pub pixels: Tensor,
    /// Classes `[image]`, 64-bit integers.
    pub labels: Tensor,
}

impl DeviceImages {
    /// The same images, not copied.
    pub(crate) fn shallow_clone(&self) -> DeviceImages {
        DeviceImages { pixels: self.pixels.shallow_clone(), labels: self.labels.shallow_clone() }
    }

    /// The images at `indices [member, batch]`, `[member, batch, channel, height, width]`, and
    /// their classes `[member, batch]`.
    pub fn gather(&self, indices: &Tensor) -> (Tensor, Tensor) {
        let size = indices.size();
        let flat = indices.flatten(0, 1);
        let labels = self.labels.index_select(0, &flat).view(&size[..]);
        let pixels = self.pixels.index_select(0, &flat);
        let shape = [&size[..], &pixels.size()[1..]].concat();
        (pixels.view(&shape[..]), labels)
    }
}

/// Mean loss (nats) and accuracy (fraction) of each member.
pub(crate) struct Scores {
    /// Mean cross-entropy, in nats; not finite if that of an image is not.
    pub loss: Vec<f64>,
    /// Fraction of images classified correctly.
    pub accuracy: Vec<f64>,
}

/// DeviceImages that are evaluated at a time. A constant, so that it never changes a result.
const BATCH: usize = 256;

/// Evaluates each member on images of its own, given by their indices; all members have as many.
pub(crate) fn evaluate(
    model: &Model,
    images: &DeviceImages,
    indices: &[&[u32]],
    preprocess: &Preprocess,
    launcher: &mut Launcher,
    work: Work,
) -> Scores {
    let (members, count) = (indices.len() as i64, indices[0].len());
    // One batch serves all if they look at the same images.
    let shared = indices.iter().all(|own| std::ptr::eq(*own, indices[0]));
    let distinct = if shared { &indices[..1] } else { indices };
    let wanted: Vec<i64> =
        distinct.iter().flat_map(|own| own.iter().map(|&i| i64::from(i))).collect();
    let wanted = Tensor::from_slice(&wanted)
        .view([distinct.len() as i64, -1])
        .to_device(images.pixels.device());
    let parts = (0..count).step_by(BATCH).map(|start| {
        let part = wanted.narrow(1, start as i64, BATCH.min(count - start) as i64);
        let scores = launcher.run(work, vec![part], |inputs| {
            vec![score(model, images, &inputs[0], preprocess, members)]
        });
        scores.into_iter().next().expect("there is one tensor of scores")
    });
    let parts: Vec<Tensor> = parts.collect();
    // Read once, at the end: on a GPU every look waits for the device.
    let total = Tensor::stack(&parts, 0).sum_dim_intlist(0, false, Kind::Double) / count as f64;
    Scores { loss: to_vec(&total.get(0)), accuracy: to_vec(&total.get(1)) }
}

/// The summed loss and the number of hits of each member, `[2, member]`, on images given by
/// `indices`: `[member, batch]`, or `[1, batch]` for all members.
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

/// The numbers of a one-dimensional tensor.
pub(crate) fn to_vec(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double)).expect("a one-dimensional tensor of numbers")
}
