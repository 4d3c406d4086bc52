//! The arithmetic between the matrix products: weight norm, bias and activation, SGD.
//!
//! Each kernel has two implementations: libtorch operators, for GPUs and float64, and a single
//! pass over memory for fp32 and bf16 on the CPU, where a chain of operators would cost as much as
//! the products. The tests below compare the two. The CPU passes sum in a fixed order, whatever the
//! vector width, so that machines agree.

mod activation;
mod bias_relu;
mod cpu;
mod sgd;
mod weight_norm;

pub(crate) use activation::{activate, activate_backward};
pub(crate) use bias_relu::{add_bias, add_bias_backward};
pub use sgd::Sgd;
pub(crate) use sgd::sgd;
pub(crate) use weight_norm::{
    Gradient, WeightNormed, sgd_weight_norm, weight_norm, weight_norm_backward,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Param, Pass, Tape, matmul::WeightGradient};
    use half::bf16;
    use tch::{Device, Kind, Tensor};
    use wninit_core::job::Activation;

    const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

    /// The same numbers in a tensor to which the one-pass kernels do not apply.
    fn twin(t: &Tensor) -> Tensor {
        t.to_kind(Kind::Double)
    }

    fn whole(dw: &Tensor) -> Gradient<'_> {
        Gradient::Whole(dw.shallow_clone())
    }

    fn near(off: f64, what: &str, ours: &Tensor, theirs: &Tensor) {
        let error = f64::try_from((twin(ours) - twin(theirs)).abs().max()).unwrap_or(f64::NAN);
        assert!(error < off, "{what} is off by {error:e}");
    }

    fn close(what: &str, ours: &Tensor, theirs: &Tensor) {
        near(1e-5, what, ours, theirs);
    }

    fn param(value: Tensor) -> Param {
        Param { name: String::new(), momentum: Some(value.rand_like()), value, grad: None }
    }

    /// A weight-normalised layer.
    struct Layer {
        v: Param,
        g: Param,
        b: Param,
        w: Tensor,
        norms: Tensor,
    }

    impl Layer {
        /// Two members, all numbers random.
        fn random(units: i64, fan_in: i64) -> Layer {
            let v = param(Tensor::randn([2, units, fan_in], CPU));
            let [g, b] = [(); 2].map(|()| param(Tensor::rand([2, units], CPU)));
            let (mut w, mut norms) = (v.value.zeros_like(), g.value.zeros_like());
            weight_norm(&v.value, &g.value, &mut w, &mut norms);
            Layer { v, g, b, w, norms }
        }

        fn map(&self, copy: fn(&Tensor) -> Tensor) -> Layer {
            let param = |p: &Param| {
                let momentum = p.momentum.as_ref().map(copy);
                Param { name: String::new(), value: copy(&p.value), momentum, grad: None }
            };
            let Layer { v, g, b, w, norms } = self;
            Layer { v: param(v), g: param(g), b: param(b), w: copy(w), norms: copy(norms) }
        }

        fn update(&mut self, rule: &Sgd, dw: Gradient, db: &Tensor) {
            let Layer { v, g, b, w, norms } = self;
            let layer = WeightNormed { direction: v, gain: g, bias: b, effective: w, norms };
            sgd_weight_norm(rule, dw, db, layer);
        }

        fn near(&self, off: f64, what: &str, other: &Layer) {
            let parts = |l: &Layer| [&l.v, &l.g, &l.b].map(|p| p.value.shallow_clone());
            for (part, (ours, theirs)) in
                ["v", "g", "b"].iter().zip(parts(self).iter().zip(&parts(other)))
            {
                near(off, &format!("{what}: {part}"), ours, theirs);
            }
            near(off, &format!("{what}: w"), &self.w, &other.w);
            near(off, &format!("{what}: norms"), &self.norms, &other.norms);
        }
    }

    fn rule_of(members: usize) -> Sgd {
        let each = |number: f32| Tensor::from_slice(&vec![number; members]);
        Sgd::new(each(0.1), each(0.9), None)
    }

    /// The message with which `work` panics.
    fn rejected(work: impl FnOnce()) -> String {
        let work = std::panic::AssertUnwindSafe(work);
        let panic = std::panic::catch_unwind(work).expect_err("it was accepted");
        crate::train::failure::panic_message(&*panic).to_owned()
    }

    #[test]
    fn a_kernel_rejects_operands_that_it_would_read_or_write_out_of_bounds() {
        let zeros = |size: &[i64]| Tensor::zeros(size, CPU);
        let step = |rule: &Sgd, mut p: Tensor, grad: Tensor, mut buf: Tensor| {
            rejected(|| sgd(rule, &mut p, &grad, &mut buf))
        };
        let (p, other) = (|| zeros(&[2, 8]), |n| zeros(&[2, n]));
        assert!(step(&rule_of(1), p(), p(), p()).contains("a number for each member"));
        assert!(step(&rule_of(2), p(), other(7), p()).contains("a gradient for each parameter"));
        assert!(step(&rule_of(2), p(), p(), other(9)).contains("a momentum for each parameter"));
        let shared = p();
        assert!(step(&rule_of(2), shared.shallow_clone(), shared, p()).contains("share memory"));
        // One expanded row next to what is written does not overlap it.
        let both = zeros(&[24]);
        let row = both.narrow(0, 0, 8).unsqueeze(0).expand([2, 8], false);
        sgd(&rule_of(2), &mut both.narrow(0, 8, 16).view([2, 8]), &row, &mut p());
        let double = rule_of(2).lr.to_kind(Kind::Double);
        let rule = Sgd::new(double, rule_of(2).momentum, None);
        assert!(step(&rule, p(), p(), p()).contains("on the model's device"));
        let strided = zeros(&[4]).slice(0, None, None, 2);
        let strided = Sgd::new(strided, rule_of(2).momentum, None);
        assert!(step(&strided, p(), p(), p()).contains("contiguous"));

        let (v, g) = (zeros(&[2, 3, 4]), zeros(&[2, 3]));
        let norm = |g: &Tensor, mut w: Tensor, mut norms: Tensor| {
            rejected(|| weight_norm(&v, g, &mut w, &mut norms))
        };
        assert!(norm(&zeros(&[2, 2]), zeros(&[2, 3, 4]), zeros(&[2, 2])).contains("a gain"));
        assert!(norm(&g, zeros(&[2, 3, 5]), zeros(&[2, 3])).contains("an effective weight"));
        assert!(norm(&g, zeros(&[2, 3, 4]), zeros(&[2, 4])).contains("a norm"));
        let dw = Gradient::Whole(zeros(&[2, 3, 5]));
        let mut layer = Layer::random(3, 4);
        layer.v.momentum = None;
        let update = || layer.update(&rule_of(2), dw, &zeros(&[2, 3]));
        assert!(rejected(update).contains("a gradient for each direction"));
        let bias = || drop(add_bias(zeros(&[2, 3, 5]), &zeros(&[2, 4]), true));
        assert!(rejected(bias).contains("a bias for each row"));
        let back = || drop(add_bias_backward(zeros(&[2, 3, 5]), Some(&zeros(&[2, 3, 4]))));
        assert!(rejected(back).contains("a gradient for each result"));
    }

    #[test]
    fn the_one_pass_kernels_compute_what_libtorchs_operators_compute() {
        tch::manual_seed(3);
        let [lr, momentum, weight_decay] =
            [[0.1_f32, 0.2], [0.9, 0.0], [0.01, 0.0]].map(|v| Tensor::from_slice(&v));
        let rule = Sgd::new(lr, momentum, Some(weight_decay));
        for fan_in in [1, 7, 16, 53] {
            let mut layer = Layer::random(5, fan_in);
            let mut other = layer.map(twin);
            let (dw, db) = (layer.v.value.randn_like(), layer.b.value.randn_like());
            for _ in 0..3 {
                layer.update(&rule, whole(&dw), &db);
                other.update(&rule, whole(&twin(&dw)), &twin(&db));
            }
            layer.near(1e-5, &format!("fan-in {fan_in}"), &other);
        }
    }

    #[test]
    fn a_gradient_in_pieces_or_in_bf16_updates_as_the_whole_one_does() {
        tch::set_num_threads(1);
        tch::manual_seed(10);
        let rule = rule_of(2);
        let _ = rule.lr.get(1).g_mul_scalar_(0.5);
        // More than two pieces for each member.
        let (units, fan_in) = (300, 1000);
        let layer = Layer::random(units, fan_in);
        let db = layer.b.value.randn_like();
        let (dz, x) = (Tensor::randn([2, units, 4], CPU), Tensor::randn([2, 4, fan_in], CPU));
        let product = WeightGradient { dz: &dz, x: &x };
        for (what, dw, kind, off) in [
            ("in pieces", Gradient::Product(product), Kind::Float, 1e-5),
            ("in bf16", whole(&product.whole().to_kind(Kind::BFloat16)), Kind::BFloat16, 0.02),
        ] {
            let [mut ours, mut theirs] = [(); 2].map(|()| layer.map(Tensor::copy));
            ours.w = ours.w.to_kind(kind);
            ours.update(&rule, dw, &db);
            theirs.update(&rule, whole(&product.whole()), &db);
            ours.near(off, what, &theirs);
        }
    }

    #[test]
    fn bf16_is_rounded_as_libtorch_rounds_it() {
        let halves = (0..=u16::MAX).map(|high| u32::from(high) << 16);
        let bits = halves.flat_map(|high| [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff].map(|x| high | x));
        let numbers: Vec<f32> = bits.map(f32::from_bits).collect();
        let theirs = Tensor::from_slice(&numbers).to_kind(Kind::BFloat16);
        for (&number, &theirs) in numbers.iter().zip(cpu::slice::<bf16>(&theirs)) {
            let ours = bf16::from_f32(number);
            let same = ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan();
            assert!(same, "{number:e}: {ours} and {theirs}");
        }
    }

    #[test]
    fn activations_agree_with_libtorchs_wherever_a_number_is_and_hide_no_nan() {
        tch::manual_seed(5);
        // From where squares underflow to where exponentials do, in five members.
        let sizes = (Tensor::linspace(-25.0, 3.0, 1850, CPU) * 10f64.ln()).exp();
        let z = Tensor::cat(&[&sizes, &-&sizes, &Tensor::randn([1850], CPU)], 0).view([5, -1]);
        let dy = z.randn_like();
        for &activation in Activation::ALL {
            let both_passes = |z: &Tensor, dy: &Tensor| {
                let mut tape = Tape::default();
                let y = activate(activation, z, &mut Pass::Train(&mut tape));
                let dz = activate_backward(activation, dy.copy(), &mut tape);
                assert!(tape.is_empty(), "{activation} saves one tensor at most");
                [y, dz]
            };
            for (kind, allowed) in [(Kind::Float, 5e-7), (Kind::BFloat16, 1e-2)] {
                let (z, dy) = (z.to_kind(kind), dy.to_kind(kind));
                let ours = both_passes(&z, &dy);
                let theirs = both_passes(&twin(&z), &twin(&dy));
                // `gelu` of a negative number is a small part of it.
                let scales =
                    [theirs[0].abs() + twin(&z).abs().clamp_max(1.0), 2.0 * twin(&dy).abs()];
                for (i, what) in ["y", "dz"].into_iter().enumerate() {
                    let apart = ((twin(&ours[i]) - &theirs[i]) / &scales[i]).abs().max();
                    let apart = f64::try_from(apart).unwrap_or(f64::NAN);
                    assert!(
                        apart < allowed,
                        "{what} of {activation} in {kind:?} is off by {apart:e}"
                    );
                    for m in 0..5 {
                        let member = |t: &Tensor| t.narrow(0, m, 1).copy();
                        let alone = &both_passes(&member(&z), &member(&dy))[i];
                        assert!(
                            alone.equal(&member(&ours[i])),
                            "{what} of {activation}, member {m}"
                        );
                    }
                }
            }
            let [y, _] =
                both_passes(&Tensor::full([1, 20], f64::NAN, CPU), &Tensor::zeros([1, 20], CPU));
            assert!(
                i64::try_from(y.isnan().sum(Kind::Int64)).is_ok_and(|nans| nans == 20),
                "{activation}"
            );
        }
    }

    #[test]
    fn bias_and_relu_agree_with_libtorchs_and_hide_no_nan() {
        tch::manual_seed(4);
        let (z, b) = (Tensor::randn([2, 3, 19], CPU), Tensor::randn([2, 3], CPU));
        for kind in [Kind::Float, Kind::BFloat16] {
            let (z, b) = (z.to_kind(kind), b.to_kind(kind));
            // In bf16 both round a result to the nearest, so they differ at ties at most.
            let close = |what: &str, ours: &Tensor, theirs: &Tensor| {
                if kind == Kind::Float {
                    close(what, ours, theirs);
                } else {
                    let apart = (twin(ours) - twin(theirs)).abs() - twin(theirs).abs() / 128.0;
                    let apart = f64::try_from(apart.max()).unwrap_or(f64::NAN);
                    assert!(apart < 1e-2, "{what} in bf16 is off by {apart}");
                }
            };
            for relu in [true, false] {
                let y = add_bias(z.copy(), &b, relu);
                assert_eq!(y.kind(), kind);
                close("y", &y, &add_bias(twin(&z), &twin(&b), relu));
                let dy = Tensor::randn([2, 3, 19], CPU).to_kind(kind);
                let (dz, db) = add_bias_backward(dy.copy(), relu.then_some(&y));
                let (dz2, db2) = add_bias_backward(twin(&dy), relu.then(|| twin(&y)).as_ref());
                close("dz", &dz, &dz2);
                close("db", &db, &db2);
            }
        }
        let nan =
            add_bias(Tensor::full([1, 20, 1], f64::NAN, CPU), &Tensor::zeros([1, 20], CPU), true);
        assert!(i64::try_from(nan.isnan().sum(Kind::Int64)).is_ok_and(|count| count == 20));
    }
}
