//! Loss and accuracy of a stack on images that it does not train on.

use tch::{Kind, Tensor};

use super::augment::Preprocess;
use crate::models::Model;
use crate::nn::Pass;

/// Images of a data set on a device.
pub struct Images {
    /// Bytes `[image, channel, height, width]`.
    pub pixels: Tensor,
    /// Classes `[image]`, 64-bit integers.
    pub labels: Tensor,
}

impl Images {
    /// The images of each member, `[member · batch, channel, height, width]`, and their classes
    /// `[member, batch]`.
    pub fn gather(&self, indices: &Tensor, members: i64) -> (Tensor, Tensor) {
        let labels = self.labels.index_select(0, indices).view([members, -1]);
        (self.pixels.index_select(0, indices), labels)
    }
}

/// Mean loss (nats) and accuracy (fraction) of each member.
pub struct Scores {
    /// Mean cross-entropy, in nats; not finite if that of an image is not.
    pub loss: Vec<f64>,
    /// Fraction of images classified correctly.
    pub accuracy: Vec<f64>,
}

/// Images that are evaluated at a time. A constant, so that it never changes a result.
const BATCH: usize = 256;

/// Evaluates each member on images of its own, given by their indices; all members have as many.
pub fn evaluate(
    model: &Model,
    images: &Images,
    indices: &[&[u32]],
    preprocess: &Preprocess,
) -> Scores {
    let members = indices.len();
    let count = indices[0].len();
    let shared = indices.iter().all(|own| std::ptr::eq(*own, indices[0]));
    let mut sums = Vec::new();
    for start in (0..count).step_by(BATCH) {
        let range = start..count.min(start + BATCH);
        // One batch serves all if they look at the same images.
        let distinct = if shared { &indices[..1] } else { indices };
        let wanted: Vec<i64> = distinct
            .iter()
            .flat_map(|own| own[range.clone()].iter().map(|&i| i64::from(i)))
            .collect();
        let wanted = Tensor::from_slice(&wanted).to_device(images.pixels.device());
        let (pixels, labels) = images.gather(&wanted, distinct.len() as i64);
        let x = preprocess.eval(&pixels);
        let size = x.size();
        let batch = range.len() as i64;
        let mut wide = vec![members as i64, batch];
        wide.extend_from_slice(&size[1..]);
        let x =
            x.view(&*[&[distinct.len() as i64, batch], &size[1..]].concat()).expand(&wide, false);
        let y = labels.expand([members as i64, batch], false);
        let logits = model.logits(&x, &mut Pass::Evaluate);
        let log_p = logits.log_softmax(-1, logits.kind());
        let loss = -log_p.gather(-1, &y.unsqueeze(-1), false).sum_dim_intlist(
            [1, 2].as_slice(),
            false,
            Kind::Double,
        );
        let correct =
            logits.argmax(-1, false).eq_tensor(&y).sum_dim_intlist(1, false, Kind::Double);
        sums.push(Tensor::stack(&[loss, correct], 0));
    }
    // Read once, at the end: on a GPU every look waits for the device.
    let total = Tensor::stack(&sums, 0).sum_dim_intlist(0, false, Kind::Double) / count as f64;
    Scores { loss: to_vec(&total.get(0)), accuracy: to_vec(&total.get(1)) }
}

/// The numbers of a one-dimensional tensor.
pub fn to_vec(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double)).expect("a one-dimensional tensor of numbers")
}
