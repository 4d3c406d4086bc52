//! Compares convolutions and products of this machine's libraries, forward and backward, with float64:
//! in tests over thousands of shapes under several instruction sets, in `wninit doctor` over some.
//! Known faults are listed in `ffi/faults.rs`.

use std::collections::BTreeSet;
use std::fmt;

use rand::Rng;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::ffi::conv2d::{ConvShape, shapes_of};
use crate::ffi::keep_freed_memory;
use crate::models::{Model, ModelConfig};
use crate::nn::conv_algorithm::{ConvAlgorithm, Window, backward, forward};
use crate::nn::matmul::multiply;
use crate::nn::{Arithmetic, Pass};
use wninit_core::job::{Job, Precision};
use wninit_core::plan::cohort::Shape;
use wninit_core::rng;

/// A computation to compare.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)] // of fields
pub enum Operation {
    /// A convolution's result and gradients; of one network with `Dense`, of two with others.
    Convolution { shape: ConvShape, batch: i64, algorithm: ConvAlgorithm },
    /// Second derivatives of a convolution by autograd, as for curvature.
    Twice { shape: ConvShape, batch: i64 },
    /// A product `[n, k]·[k, m]` in a stack of two.
    Product([i64; 3]),
}

/// An operation with its precision and threads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Case {
    /// The computation.
    pub operation: Operation,
    /// bf16 instead of fp32.
    pub bf16: bool,
    /// libtorch's number of threads.
    pub threads: i32,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let precision = if self.bf16 { "bf16" } else { "fp32" };
        let convolution = |f: &mut fmt::Formatter, shape: &ConvShape, batch: i64| {
            let ConvShape { inputs, outputs, window: Window { kernel, stride }, image: [h, w] } =
                shape;
            write!(
                f,
                "{inputs} to {outputs} channels, {kernel}×{kernel}, stride {stride}, {batch} images of {h}×{w}"
            )
        };
        match &self.operation {
            Operation::Convolution { shape, batch, algorithm } => {
                write!(f, "{precision} convolution ({algorithm:?}), ")?;
                convolution(f, shape, *batch)?;
            }
            Operation::Twice { shape, batch } => {
                write!(f, "{precision} convolution differentiated twice, ")?;
                convolution(f, shape, *batch)?;
            }
            Operation::Product([n, k, m]) => write!(f, "{precision} product {n}×{k}·{k}×{m}")?,
        }
        write!(f, ", {} thread{}", self.threads, if self.threads == 1 { "" } else { "s" })
    }
}

impl Case {
    /// Computes it on random numbers; returns the largest error relative to the tolerance.
    ///
    /// # Errors
    /// An error exceeds its tolerance.
    pub fn check(&self, seed: i64) -> Result<f64, String> {
        tch::manual_seed(seed);
        tch::set_num_threads(self.threads);
        keep_freed_memory();
        let errors = match &self.operation {
            Operation::Convolution { shape, batch, algorithm } => {
                tch::no_grad(|| self.gradients(*shape, *batch, *algorithm))
            }
            Operation::Twice { shape, batch } => self.twice(*shape, *batch),
            Operation::Product(size) => tch::no_grad(|| self.product(*size)),
        };
        let mut worst = 0.0;
        for Deviation { what, relative, allowed } in errors {
            if relative.is_nan() || relative > allowed {
                return Err(format!(
                    "{self}: {what} is off by {relative:.1e}; {allowed:.1e} is allowed"
                ));
            }
            worst = f64::max(worst, relative / allowed);
        }
        Ok(worst)
    }

    fn kind(&self) -> Kind {
        if self.bf16 { Kind::BFloat16 } else { Kind::Float }
    }

    fn random(&self, size: &[i64]) -> Tensor {
        Tensor::randn(size, (Kind::Float, Device::Cpu)).to_kind(self.kind())
    }

    /// Images, channels last.
    fn images(&self, [members, batch, channels, height, width]: [i64; 5]) -> Tensor {
        self.random(&[members, batch, height, width, channels]).permute([0, 1, 4, 2, 3])
    }

    /// The tolerance of a sum of `terms` products of standard normal numbers: the rounding of the result
    /// and a random walk of intermediate roundings.
    fn error(&self, what: &'static str, ours: &Tensor, theirs: &Tensor, terms: i64) -> Deviation {
        let result = if self.bf16 { 2f64.powi(-8) } else { 0.0 };
        let terms = terms as f64;
        let allowed = result + 2f64.powi(-23) * (2.0 + terms.sqrt());
        let largest = |t: &Tensor| f64::try_from(t.abs().max()).unwrap_or(f64::NAN);
        let off = largest(&(ours.to_kind(Kind::Double) - theirs));
        Deviation { what, relative: off / largest(theirs).max(terms.sqrt()), allowed }
    }

    fn gradients(&self, shape: ConvShape, batch: i64, algorithm: ConvAlgorithm) -> Vec<Deviation> {
        let ConvShape { inputs, outputs, window, image: [height, width] } = shape;
        let members = if algorithm == ConvAlgorithm::Dense { 1 } else { 2 };
        let [rows, columns] = [height, width].map(|size| window.result(size));
        let x = self.images([members, batch, inputs, height, width]);
        let w = self.random(&[members, outputs, inputs, window.kernel, window.kernel]);
        let b = self.random(&[members, outputs]);
        let dy = self.images([members, batch, outputs, rows, columns]);
        let y = forward(algorithm, &x, &w, &b, window);
        let grads = backward(algorithm, &dy, &x, &w, window, true);
        // The reference uses another algorithm: im2col.
        let [x, w, b, dy] = [x, w, b, dy].map(|t| t.to_kind(Kind::Double));
        let expected = forward(ConvAlgorithm::Patches, &x, &w, &b, window);
        let theirs = backward(ConvAlgorithm::Patches, &dy, &x, &w, window, true);
        let (of_kernel, pixels) = (window.kernel.pow(2), batch * rows * columns);
        let dx = |grads: Option<Tensor>| grads.unwrap_or_default();
        let mut errors = vec![
            self.error("y", &y, &expected, inputs * of_kernel + 1),
            self.error("dx", &dx(grads.dx), &dx(theirs.dx), outputs * of_kernel),
            self.error("dw", &grads.dw, &theirs.dw, pixels),
            self.error("db", &grads.db, &theirs.db, pixels),
        ];
        if algorithm == ConvAlgorithm::Patches && self.bf16 {
            errors[1].allowed *= 2.0; // patches and their sum are rounded
        }
        errors
    }

    fn twice(&self, shape: ConvShape, batch: i64) -> Vec<Deviation> {
        let ConvShape { inputs, outputs, window, image: [height, width] } = shape;
        let x = self.images([1, batch, inputs, height, width]);
        let w = self.random(&[1, outputs, inputs, window.kernel, window.kernel]);
        let b = self.random(&[1, outputs]);
        let along = [&x, &w, &b].map(|t| self.random(&t.size()));
        let second = |algorithm: ConvAlgorithm, operands: [&Tensor; 3], along: [&Tensor; 3]| {
            let [x, w, b] = operands.map(|t| t.detach().set_requires_grad(true));
            let loss = forward(algorithm, &x, &w, &b, window).square().mean(None::<Kind>);
            let first = Tensor::run_backward(&[loss], &[&x, &w, &b], true, true);
            let along = first.iter().zip(along).map(|(g, v)| (g * v).sum(None::<Kind>));
            let along = along.reduce(|a, b| a + b).unwrap_or_default();
            Tensor::run_backward(&[along], &[&x, &w, &b], false, false)
        };
        let ours = second(ConvAlgorithm::Dense, [&x, &w, &b], along.each_ref());
        let [x, w, b] = [&x, &w, &b].map(|t| t.to_kind(Kind::Double));
        let along = along.map(|t| t.to_kind(Kind::Double));
        let theirs = second(ConvAlgorithm::Patches, [&x, &w, &b], along.each_ref());
        let pixels = batch * window.result(height) * window.result(width);
        let terms = pixels + (inputs + outputs) * window.kernel.pow(2);
        // A bias's second derivative is a sum over the pixels of what x, w and b change, which may
        // cancel. This is its standard deviation.
        let fan_in = (inputs * window.kernel.pow(2)) as f64;
        let bias = 2.0 / outputs as f64 * (1.0 + 2.0 * fan_in / pixels as f64).sqrt();
        ["∂x", "∂w", "∂b"]
            .into_iter()
            .zip(ours.iter().zip(&theirs))
            .map(|(what, (ours, theirs))| {
                // Normalised by the largest number, since the loss is a mean.
                let least = if what == "∂b" { bias } else { 0.0 };
                let largest = theirs.abs().max().clamp_min(least) / (terms as f64).sqrt();
                self.error(what, &(ours / &largest), &(theirs / &largest), terms)
            })
            .collect()
    }

    fn product(&self, [n, k, m]: [i64; 3]) -> Vec<Deviation> {
        let (a, b) = (self.random(&[2, n, k]), self.random(&[2, k, m]));
        let theirs = a.to_kind(Kind::Double).bmm(&b.to_kind(Kind::Double));
        vec![self.error("the product", &multiply(&a, &b), &theirs, k)]
    }
}

struct Deviation {
    what: &'static str,
    /// Relative to the largest number.
    relative: f64,
    allowed: f64,
}

/// The convolutions of jobs, each with a job's batch size and precision, on one thread. Batches are
/// limited by `affordable`.
pub fn cases_of<'j>(jobs: impl IntoIterator<Item = &'j Job>) -> Vec<Case> {
    let mut known = BTreeSet::new();
    let mut cases = BTreeSet::new();
    for job in jobs {
        let shape = Shape::of(job);
        let Shape { arch, norm, dataset, precision, .. } = shape;
        let batch = i64::from(job.batch_size).min(shape.micro_batch as i64);
        if !known.insert(format!("{arch:?} {norm:?} {:?} {batch} {precision:?}", dataset.shape())) {
            continue;
        }
        let arithmetic = Arithmetic::fp32(Device::Cpu);
        let config = ModelConfig { arithmetic, ..ModelConfig::of(&shape, Device::Cpu) };
        for shape in convolutions(config) {
            let batch = affordable(shape, batch);
            let operation =
                Operation::Convolution { shape, batch, algorithm: ConvAlgorithm::Dense };
            cases.insert(Case { operation, bf16: precision == Precision::Bf16, threads: 1 });
        }
    }
    cases.into_iter().collect()
}

/// Reduces the batch to at most 15 million multiplications, but at least one image; channels,
/// kernel, stride and image, which make large convolutions different, are kept.
fn affordable(shape: ConvShape, batch: i64) -> i64 {
    const MULTIPLICATIONS: i64 = 15_000_000;
    let ConvShape { inputs, outputs, window, image } = shape;
    let pixels: i64 = image.iter().map(|&size| window.result(size)).product();
    let of_image = inputs * outputs * window.kernel.pow(2) * pixels;
    batch.min(MULTIPLICATIONS / of_image).max(1)
}

/// The distinct convolutions of a network, recorded during a forward pass.
fn convolutions(config: ModelConfig) -> BTreeSet<ConvShape> {
    let [channels, height, width] = config.input;
    tch::no_grad(|| {
        let model = Model::zeros(config, 1);
        let image = Tensor::zeros([1, 1, channels, height, width], (Kind::Float, Device::Cpu));
        shapes_of(|| drop(model.logits(&image, &mut Pass::NoTape)))
    })
}

/// Random cases: convolutions of 1 to 40 channels each way, kernels of 1×1 and 3×3, strides of 1
/// and 2, images of 4×4 to 33×33, in fp32 and bf16, on one and two threads. Batch sizes are log-uniform
/// from 1 to 130, limited by `affordable`. Every tenth convolution is followed by its other
/// algorithms, its second derivatives and a product. Fewer cases are a prefix of more.
pub fn random_cases(convolutions: usize, seed: u64) -> Vec<Case> {
    let mut stream = rng::stream(seed, "conformance", 0);
    let mut cases = Vec::new();
    for i in 0..convolutions {
        let mut any = |low: i64, high: i64| stream.random_range(low..=high);
        let shape = ConvShape {
            inputs: any(1, 40),
            outputs: any(1, 40),
            window: Window { kernel: [1, 3][any(0, 1) as usize], stride: any(1, 2) },
            image: [any(4, 33), any(4, 33)],
        };
        let batch = 130f64.powf(any(0, 1000) as f64 / 1000.0).round() as i64;
        let batch = affordable(shape, batch);
        let (bf16, threads) = (any(0, 1) == 1, any(1, 2) as i32);
        let case = |operation| Case { operation, bf16, threads };
        cases.push(case(Operation::Convolution { shape, batch, algorithm: ConvAlgorithm::Dense }));
        if i % 10 == 0 {
            let batch = batch.min(16);
            cases.extend(
                [ConvAlgorithm::Grouped, ConvAlgorithm::Patches]
                    .map(|algorithm| case(Operation::Convolution { shape, batch, algorithm })),
            );
            // Curvature is measured in fp32.
            cases.push(Case { operation: Operation::Twice { shape, batch }, bf16: false, threads });
            cases.push(case(Operation::Product([any(1, 130), any(1, 800), any(1, 130)])));
        }
    }
    cases
}

/// The check of `wninit doctor`, in a second or two: the number of cases, and the failures.
pub(crate) fn in_short() -> (usize, Vec<String>) {
    // Small batches, since the batch size matters least.
    let cases: Vec<Case> = random_cases(60, 1)
        .into_iter()
        .map(|mut case| {
            if let Operation::Convolution { batch, .. } | Operation::Twice { batch, .. } =
                &mut case.operation
            {
                *batch = (*batch).min(16);
            }
            case
        })
        .collect();
    let failed = cases.iter().zip(0..).filter_map(|(case, seed)| case.check(seed).err()).collect();
    (cases.len(), failed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_single_wrong_number_is_found() {
        let case = Case { operation: Operation::Product([3, 50, 4]), bf16: false, threads: 1 };
        let theirs = Tensor::randn([3, 4], (Kind::Double, Device::Cpu)) * 7.0;
        let agrees = |ours: &Tensor| {
            let Deviation { relative, allowed, .. } = case.error("a sum", ours, &theirs, 50);
            relative <= allowed
        };
        assert!(agrees(&theirs.to_kind(Kind::Float)));
        let off = theirs.copy();
        let _ = off.get(1).get(2).g_add_scalar_(1e-4);
        assert!(!agrees(&off.to_kind(Kind::Float)));
        let _ = off.get(1).get(2).fill_(f64::NAN);
        assert!(!agrees(&off.to_kind(Kind::Float)));
    }

    #[test]
    fn doctors_cases_agree_with_float64_on_this_machine() {
        let (cases, failed) = in_short();
        assert!(cases > 60 && failed.is_empty(), "{failed:#?}");
        let strided = |case: &Case| matches!(case.operation, Operation::Convolution { shape: ConvShape { window: Window { kernel: 1, stride: 2 }, inputs, .. }, .. } if inputs < 8);
        assert!(
            random_cases(60, 1).iter().any(strided),
            "they include the condition of faults::STRIDED_POINTWISE"
        );
    }
}
