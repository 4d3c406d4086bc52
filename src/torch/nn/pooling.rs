//! Global average pooling.

use tch::{Kind, Tensor};

use super::{Backward, Gain, Layer, Part, Pass};

/// `[member, batch, channel, height, width]` to `[member, batch, channel]`.
pub(crate) struct GlobalAveragePooling;

impl Layer for GlobalAveragePooling {
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        pass.save(&[x]);
        x.mean_dim([3, 4].as_slice(), false, None::<Kind>)
    }

    fn backward(&mut self, dy: Tensor, back: &mut Backward, _need_dx: bool) -> Tensor {
        let x = back.tape.pop();
        let size = x.size();
        let scaled = dy / (size[3] * size[4]) as f64;
        let dx = x.empty_like(); // channels last, as x
        dx.shallow_clone().copy_(&scaled.unsqueeze(-1).unsqueeze(-1).expand_as(&x));
        dx
    }

    fn data_dependent(&mut self, x: &Tensor, _rule: Gain) -> Tensor {
        self.forward(x, &mut Pass::Evaluate)
    }

    fn visit<'a>(&'a mut self, _visit: &mut dyn FnMut(Part<'a>)) {}
}
