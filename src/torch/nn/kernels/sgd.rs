//! Stochastic gradient descent.

use std::cell::OnceCell;

use multiversion::multiversion;
use tch::{Kind, Tensor};

use super::cpu::{assert_disjoint, fits, slice, slice_mut};

/// SGD with momentum and weight decay, per member, as in PyTorch:
/// `d = grad + weight_decay·p`, `buf = momentum·buf + d`, `p = p − lr·buf`.
///
/// Each tensor is `[member]`, float32, on the model's device.
pub struct Sgd {
    /// Learning rates at this step.
    pub lr: Tensor,
    /// Momentum coefficients.
    pub momentum: Tensor,
    /// Weight decays; `None` if all are 0.
    pub weight_decay: Option<Tensor>,
    /// −lr, computed once for all parameters.
    descent: OnceCell<Tensor>,
}

impl Sgd {
    /// Learning rates, momentum coefficients and weight decays of the members.
    pub fn new(lr: Tensor, momentum: Tensor, weight_decay: Option<Tensor>) -> Sgd {
        Sgd { lr, momentum, weight_decay, descent: OnceCell::new() }
    }

    /// The number of members.
    ///
    /// # Panics
    /// Unless there is a number for every member of the parameter `p [member, …]`, on its device.
    pub(super) fn members_of(&self, p: &Tensor) -> usize {
        let members = p.size().first().copied().unwrap_or_default();
        assert!(members > 0, "a parameter has a member axis, not {:?}", p.size());
        for t in
            [Some(&self.lr), Some(&self.momentum), self.weight_decay.as_ref()].into_iter().flatten()
        {
            assert_eq!(t.size(), [members], "a number for each member");
            assert_eq!((t.kind(), t.device()), (Kind::Float, p.device()), "on the model's device");
        }
        members as usize
    }

    /// The coefficients of member `m`, from CPU tensors.
    pub(super) fn rule(&self, m: usize) -> Rule {
        Rule {
            lr: slice(&self.lr)[m],
            momentum: slice(&self.momentum)[m],
            weight_decay: self.weight_decay.as_ref().map_or(0.0, |decay| slice(decay)[m]),
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Rule {
    lr: f32,
    momentum: f32,
    weight_decay: f32,
}

impl Rule {
    #[inline(always)]
    pub(super) fn update(self, p: &mut f32, grad: f32, buf: &mut f32) {
        *buf = self.momentum * *buf + (grad + self.weight_decay * *p);
        *p -= self.lr * *buf;
    }
}

/// One step on a plain parameter `[member, …]`.
pub(crate) fn sgd(sgd: &Sgd, p: &mut Tensor, grad: &Tensor, buf: &mut Tensor) {
    let members = sgd.members_of(p);
    assert_eq!(grad.size(), p.size(), "a gradient for each parameter");
    assert_eq!(buf.size(), p.size(), "a momentum for each parameter");
    assert_disjoint(&[p, buf], &[grad]);
    if fits::<f32>(&[p, grad, buf]) {
        let size = p.numel() / members;
        let (p, grad, buf) = (slice_mut(p), slice(grad), slice_mut(buf));
        for m in 0..members {
            let part = m * size..(m + 1) * size;
            sgd_pass(sgd.rule(m), &mut p[part.clone()], &grad[part.clone()], &mut buf[part]);
        }
    } else {
        // `[member]` as `[member, 1, …]` of p's rank and type.
        let mut shape = vec![1; p.dim()];
        shape[0] = -1;
        let kind = p.kind();
        let per_member = |numbers: &Tensor| numbers.view(&shape[..]).to_kind(kind);
        let decayed = sgd.weight_decay.as_ref().map(|decay| grad.addcmul(p, &per_member(decay)));
        let grad = decayed.as_ref().unwrap_or(grad);
        let _ = grad.addcmul_out(buf, buf, &per_member(&sgd.momentum));
        let _ = p.addcmul_(buf, &per_member(sgd.descent.get_or_init(|| -&sgd.lr)));
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw", "x86_64+avx2"))]
fn sgd_pass(rule: Rule, p: &mut [f32], grad: &[f32], buf: &mut [f32]) {
    for ((p, grad), buf) in p.iter_mut().zip(grad).zip(buf) {
        rule.update(p, *grad, buf);
    }
}
