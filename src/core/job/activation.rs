//! The activation functions, and γ of each.

use std::f64::consts::PI;

use super::choices::choices;

choices! {
    /// The function φ after a layer, applied to each number of its result z.
    Activation, "activation" {
        /// max(z, 0).
        Relu = "relu",
        /// z, times 0.01 where z < 0.
        LeakyRelu = "leaky_relu" ("slope 0.01"),
        /// The hyperbolic tangent.
        Tanh = "tanh",
        /// z·Φ(z) with the normal distribution function Φ, not its approximation by tanh (Hendrycks & Gimpel 2016).
        Gelu = "gelu",
        /// λ·z, or λα·(exp(z) − 1) where z < 0 (Klambauer et al. 2017).
        Selu = "selu",
        /// z itself.
        Linear = "linear",
    }
}

impl Activation {
    /// The factor of `leaky_relu` on negative numbers, PyTorch's default.
    pub const LEAKY_SLOPE: f64 = 0.01;
    /// α of `selu`.
    pub const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
    /// λ of `selu`.
    pub const SELU_LAMBDA: f64 = 1.050_700_987_355_480_5;

    /// Whether the derivative is computed from z, which is kept for the backward pass then. The
    /// others have it from φ(z), which the next layer keeps anyway.
    pub fn needs_input(self) -> bool {
        self == Activation::Gelu
    }

    /// γ = 1/E\[φ(z)²\] with z ~ N(0, 1). Where a layer's gain is `sqrt(γ·fan_in/fan_out)`, units of
    /// variance 1 before the activation have variance 1 before the next one (Arpit, Campos & Bengio
    /// 2019, section 3, for ReLU).
    ///
    /// The second moments, with n the density of z:
    /// * `leaky_relu` of slope a: ½ + ½a² (He et al. 2015, section 2.2), and ½ for `relu`.
    /// * `gelu`: E\[z·zΦ²\] = E\[(zΦ²)′\] = E\[Φ²\] + 2·E\[zΦn\] (Stein's lemma). The first term is ⅓,
    ///   since Φ(z) is uniform on \[0, 1\]. With n² = exp(−z²)/2π, the second one is
    ///   (1/π)·∫ Φ·z·exp(−z²) dz = (1/2π)·∫ n·exp(−z²) dz = 1/(2π√3), by parts.
    /// * `selu`: 1, for which Klambauer et al. chose α and λ (and for the mean 0).
    /// * `tanh` has no closed form; a test integrates it.
    pub fn gamma(self) -> f64 {
        match self {
            Activation::Relu => 2.0,
            Activation::LeakyRelu => 2.0 / (1.0 + Activation::LEAKY_SLOPE.powi(2)),
            Activation::Tanh => 1.0 / 0.394_294_490_397_841_2,
            Activation::Gelu => 1.0 / (1.0 / 3.0 + 1.0 / (2.0 * PI * 3f64.sqrt())),
            Activation::Selu | Activation::Linear => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn density(z: f64) -> f64 {
        (-z * z / 2.0).exp() / (2.0 * PI).sqrt()
    }

    /// Φ by its series (Marsaglia 2004, "Evaluating the normal distribution").
    fn distribution(z: f64) -> f64 {
        let (mut term, mut sum) = (z, 0.0);
        for k in 1.. {
            sum += term;
            if term.abs() <= 1e-17 * sum.abs() {
                break;
            }
            term *= z * z / f64::from(2 * k + 1);
        }
        0.5 + density(z) * sum
    }

    fn value(activation: Activation, z: f64) -> f64 {
        match activation {
            Activation::Relu => z.max(0.0),
            Activation::LeakyRelu => z.max(0.0) + 0.01 * z.min(0.0),
            Activation::Tanh => z.tanh(),
            Activation::Gelu => z * distribution(z),
            Activation::Selu => {
                let negative = Activation::SELU_ALPHA * z.min(0.0).exp_m1();
                Activation::SELU_LAMBDA * (z.max(0.0) + negative)
            }
            Activation::Linear => z,
        }
    }

    /// ∫ f from 0 to 12 by Simpson's rule.
    fn integral(f: impl Fn(f64) -> f64) -> f64 {
        const N: u32 = 20_000;
        let h = 12.0 / f64::from(N);
        let weight = |i| if i == 0 || i == N { 1.0 } else { f64::from(2 + 2 * (i % 2)) };
        (0..=N).map(|i| weight(i) * f(f64::from(i) * h)).sum::<f64>() * h / 3.0
    }

    #[test]
    fn gamma_is_the_inverse_of_an_activations_second_moment() {
        for &activation in Activation::ALL {
            let square = |z: f64| value(activation, z).powi(2) * density(z);
            // Each side of 0 by itself: most activations have a kink there.
            let moment = integral(square) + integral(|z| square(-z));
            let off = (activation.gamma() * moment - 1.0).abs();
            assert!(off < 1e-12, "{activation}: {} is off by {off:e}", activation.gamma());
        }
    }
}
