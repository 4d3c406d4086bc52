//! Parameters of a stack, and the weight-normalised affine map that linear layers and
//! convolutions share.

use tch::{Kind, Tensor};

use super::kernels::{Gradient, WeightNormed};
use super::{Accumulation, Arithmetic, kernels};
use wninit_core::job::{Gain, Norm, Role};

/// A trainable tensor `[member, …]`.
pub struct Param {
    /// Such as `hidden.0.weight_v`.
    pub name: String,
    /// Contiguous.
    pub value: Tensor,
    /// SGD's momentum buffer, created by the first update.
    pub momentum: Option<Tensor>,
    /// The gradient accumulated over micro-batches, or the whole gradient if no update follows,
    /// contiguous then.
    pub grad: Option<Tensor>,
}

impl Param {
    pub(crate) fn zeros(name: String, shape: &[i64], arithmetic: Arithmetic) -> Param {
        let value = Tensor::zeros(shape, (arithmetic.params, arithmetic.device));
        Param { name, value, momentum: None, grad: None }
    }

    /// Accumulates a gradient of the value's shape; updates the value when it is complete.
    pub(crate) fn apply(&mut self, grad: Tensor, accum: Accumulation) {
        let Some(grad) = accumulate(&mut self.grad, grad, accum) else { return };
        match accum.sgd {
            None => self.grad = Some(grad.contiguous()),
            Some(sgd) => {
                let momentum = self.momentum.get_or_insert_with(|| self.value.zeros_like());
                kernels::sgd(sgd, &mut self.value, &grad, momentum);
            }
        }
    }
}

/// Adds a gradient to the sum; `Some` once it is complete.
fn accumulate(sum: &mut Option<Tensor>, grad: Tensor, accum: Accumulation) -> Option<Tensor> {
    let grad = match sum.take() {
        Some(earlier) if !accum.first => earlier + grad,
        _ => grad,
    };
    if accum.last {
        Some(grad)
    } else {
        *sum = Some(grad);
        None
    }
}

/// A tensor `[member, …]` of a model's state that is not trained.
pub struct Buffer {
    /// Such as `stages.0.0.bn1.running_mean`.
    pub name: String,
    /// Contiguous.
    pub value: Tensor,
}

/// Gain and norms of a weight-normalised map.
struct WeightNorm {
    /// `g`: `[member, out]`.
    gain: Param,
    /// `‖v‖`, `[member, out]`.
    norms: Tensor,
}

/// The parameters of `y = w∗x + b` for a stack, where ∗ is a product or a convolution and `w` is
/// plain or weight-normalised: `w = g·v/‖v‖`, the norm over all axes but `out`
/// (Salimans & Kingma 2016, eq. 2).
pub struct Affine {
    /// Such as `hidden.0`.
    pub name: String,
    /// Determines the gain.
    pub role: Role,
    /// `v` or the plain weight: `[member, out, in]` or `[member, out, in, k, k]`.
    pub direction: Param,
    /// `b`: `[member, out]`.
    pub bias: Param,
    weight_norm: Option<WeightNorm>,
    /// The weight used in products, in their type; `None` if it is the plain weight itself.
    effective: Option<Tensor>,
    /// The gradient of the effective weight, accumulated over micro-batches.
    grad: Option<Tensor>,
    arithmetic: Arithmetic,
}

/// An effective weight `[member, out, in, …]`: contiguous, but for kernels as cuDNN wants them on a
/// GPU (and in float64, for tests), channels last.
fn effective_zeros(shape: &[i64], Arithmetic { device, compute, .. }: Arithmetic) -> Tensor {
    match *shape {
        [members, outputs, inputs, rows, columns]
            if device.is_cuda() || compute == Kind::Double =>
        {
            Tensor::zeros([members, outputs, rows, columns, inputs], (compute, device))
                .permute([0, 1, 4, 2, 3])
        }
        _ => Tensor::zeros(shape, (compute, device)),
    }
}

impl Affine {
    /// All parameters 0; `shape` is `[member, out, in, …]`.
    pub(crate) fn new(
        name: String,
        role: Role,
        norm: Norm,
        shape: &[i64],
        arithmetic: Arithmetic,
    ) -> Affine {
        let per_unit = &shape[..2];
        let weight_norm = (norm == Norm::Weight).then(|| WeightNorm {
            gain: Param::zeros(format!("{name}.weight_g"), per_unit, arithmetic),
            norms: Tensor::zeros(per_unit, (arithmetic.params, arithmetic.device)),
        });
        let separate = weight_norm.is_some() || arithmetic.compute != arithmetic.params;
        let weight = if weight_norm.is_some() { "weight_v" } else { "weight" };
        Affine {
            direction: Param::zeros(format!("{name}.{weight}"), shape, arithmetic),
            bias: Param::zeros(format!("{name}.bias"), per_unit, arithmetic),
            name,
            role,
            weight_norm,
            effective: separate.then(|| effective_zeros(shape, arithmetic)),
            grad: None,
            arithmetic,
        }
    }

    /// `in`, or `in·k·k`.
    pub(crate) fn fan_in(&self) -> i64 {
        self.direction.value.size()[2..].iter().product()
    }

    /// `out`, or `out·k·k`.
    pub(crate) fn fan_out(&self) -> i64 {
        let size = self.direction.value.size();
        size[1] * size[3..].iter().product::<i64>()
    }

    /// `g`, if the map is weight-normalised.
    pub(crate) fn gain(&mut self) -> Option<&mut Param> {
        self.weight_norm.as_mut().map(|wn| &mut wn.gain)
    }

    pub(crate) fn params(&mut self) -> Vec<&mut Param> {
        let gain = self.weight_norm.as_mut().map(|wn| &mut wn.gain);
        [Some(&mut self.direction), gain, Some(&mut self.bias)].into_iter().flatten().collect()
    }

    /// Recomputes the effective weight; call it after setting parameters from outside.
    pub(crate) fn refresh(&mut self) {
        let v = &self.direction.value;
        let Some(effective) = &mut self.effective else { return };
        if effective.size() != v.size() {
            *effective = effective_zeros(&v.size(), self.arithmetic);
        }
        match &mut self.weight_norm {
            Some(wn) => {
                if wn.norms.size() != wn.gain.value.size() {
                    wn.norms = wn.gain.value.zeros_like();
                }
                kernels::weight_norm(v, &wn.gain.value, effective, &mut wn.norms);
            }
            None => effective.copy_(v),
        }
    }

    /// The effective weight in the type of products. If the parameters require gradients, it is
    /// computed from them, differentiably.
    pub fn weight(&self) -> Tensor {
        if self.direction.value.requires_grad() {
            return self.differentiable_weight().to_kind(self.arithmetic.compute);
        }
        self.effective.as_ref().unwrap_or(&self.direction.value).shallow_clone()
    }

    fn differentiable_weight(&self) -> Tensor {
        let v = &self.direction.value;
        match &self.weight_norm {
            None => v.shallow_clone(),
            Some(wn) => {
                let norms = v.flatten(2, -1).square().sum_dim_intlist(2, true, None::<Kind>).sqrt();
                (v.flatten(2, -1) * (wn.gain.value.unsqueeze(-1) / norms)).view_as(v)
            }
        }
    }

    /// The bias `[member, out]` in the type of products.
    pub(crate) fn bias(&self) -> Tensor {
        self.bias.value.to_kind(self.arithmetic.compute)
    }

    /// Accumulates the gradients of effective weight and bias; updates the parameters when they are
    /// complete.
    pub(crate) fn apply(&mut self, dw: Gradient, db: Tensor, accum: Accumulation) {
        let kind = self.arithmetic.params;
        let db = db.to_kind(kind);
        let (dw, db) = if accum.first && accum.last {
            (dw, db)
        } else {
            let dw = accumulate(&mut self.grad, dw.whole().to_kind(kind), accum);
            let db = accumulate(&mut self.bias.grad, db, accum);
            let Some((dw, db)) = dw.zip(db) else { return };
            (Gradient::Whole(dw), db)
        };
        let whole = Accumulation::whole(accum.sgd);
        match (&mut self.weight_norm, &mut self.effective, accum.sgd) {
            (Some(wn), Some(effective), Some(sgd)) => {
                let layer = WeightNormed {
                    direction: &mut self.direction,
                    gain: &mut wn.gain,
                    bias: &mut self.bias,
                    effective,
                    norms: &mut wn.norms,
                };
                kernels::sgd_weight_norm(sgd, dw, &db, layer);
            }
            (Some(wn), ..) => {
                let dw = dw.whole().to_kind(kind);
                let (v, g) = (&self.direction.value, &wn.gain.value);
                let (dv, dg) = kernels::weight_norm_backward(&dw, v, g, &wn.norms);
                self.direction.grad = Some(dv);
                wn.gain.grad = Some(dg);
                self.bias.grad = Some(db);
            }
            (None, effective, sgd) => {
                self.bias.apply(db, whole);
                self.direction.apply(dw.whole().to_kind(kind), whole);
                if let (Some(effective), Some(_)) = (effective, sgd) {
                    effective.copy_(&self.direction.value);
                }
            }
        }
    }

    /// Sets what a data-dependent rule sets, from a batch. `map` applies the current weight and bias
    /// to it and returns `[member, batch, channel, …]`.
    pub(crate) fn data_dependent(&mut self, rule: Gain, map: impl Fn(&Affine) -> Tensor) {
        match rule {
            Gain::Lsuv => self.unit_variance_of_layer(map),
            _ => self.unit_variance_of_units(map),
        }
    }

    /// Scales the weight so that the layer's pre-activations have variance 1 over all units
    /// (Mishkin & Matas 2016, algorithm 1; the bias is 0, so that one pass is exact).
    fn unit_variance_of_layer(&mut self, map: impl Fn(&Affine) -> Tensor) {
        if self.role == Role::Head {
            return;
        }
        let y = map(self).to_kind(self.arithmetic.params);
        let scale = y.std(false).reciprocal();
        let scaled = match &mut self.weight_norm {
            Some(wn) => &mut wn.gain.value,
            None => &mut self.direction.value,
        };
        let _ = scaled.g_mul_(&scale);
        self.refresh();
    }

    /// Sets gain and bias so that each unit's pre-activation has mean 0 and variance 1
    /// (Salimans & Kingma 2016, eq. 6).
    fn unit_variance_of_units(&mut self, map: impl Fn(&Affine) -> Tensor) {
        let Some(wn) = &mut self.weight_norm else { return };
        let _ = wn.gain.value.fill_(1.0);
        let _ = self.bias.value.zero_();
        self.refresh();
        let y = map(self).transpose(1, 2).flatten(2, -1).to_kind(self.arithmetic.params);
        let mean = y.mean_dim(2, false, None::<Kind>);
        let std = y.std_dim(2, false, false);
        self.bias.value.copy_(&(-mean / &std));
        if let Some(wn) = &mut self.weight_norm {
            wn.gain.value.copy_(&std.reciprocal());
        }
        self.refresh();
    }
}
