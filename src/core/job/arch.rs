//! The architectures: each is declared once, with its sizes and its layers.

use std::fmt;

use super::choices::{choices, one_of};
use super::network::{Layer, Network, Role};
use super::{Activation, Draft, Norm};

/// A field that sizes an architecture.
pub(super) struct Size {
    model: &'static str,
    field: &'static str,
    default: &'static str,
    meaning: &'static str,
}

/// Declares the architectures: the words for them, the fields that size them with defaults and
/// meanings, the number of layers as the literature counts them, and the literature's name.
macro_rules! architectures {
    ($($(#[doc = $doc:literal])* $variant:ident = $text:literal $(($note:literal))? {
        $($field:ident: $type:ty = $default:literal, $meaning:literal;)+
    } $layers:ident = $count:expr, $shown:literal $(, $shown_arg:expr)?;)+) => {
        choices! {
            /// The family of network.
            ModelName, "model" { $($(#[doc = $doc])* $variant = $text $(($note))?,)+ }
        }

        /// A network with its sizes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Arch {
            $($(#[doc = $doc])* $variant { $(#[doc = $meaning] $field: $type,)+ },)+
        }

        const SIZES: &[Size] = &[$($(Size {
            model: $text,
            field: stringify!($field),
            default: stringify!($default),
            meaning: $meaning,
        },)+)+];

        impl Arch {
            /// The network of a draft; `None` if it has no model.
            pub(super) fn of(draft: &Draft) -> Option<Arch> {
                Some(match draft.model? {
                    $(ModelName::$variant => Arch::$variant {
                        $($field: draft.$field.unwrap_or($default),)+
                    },)+
                })
            }

            /// The fields that describe it.
            pub(super) fn draft(self) -> Draft {
                match self {
                    $(Arch::$variant { $($field),+ } => Draft {
                        model: Some(ModelName::$variant),
                        $($field: Some($field),)+
                        ..Draft::default()
                    },)+
                }
            }

            /// The family.
            pub fn name(self) -> ModelName {
                match self { $(Arch::$variant { .. } => ModelName::$variant,)+ }
            }

            /// Layers with weights, the way the literature counts them (ResNet-56, WRN-40-10, …);
            /// hidden layers for `mlp` and `cnn`.
            pub fn layers(self) -> u32 {
                match self {
                    $(Arch::$variant { $($field),+ } => { let _ = ($($field),+); $count })+
                }
            }
        }

        /// The network as the literature names it.
        impl fmt::Display for Arch {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {
                    $(Arch::$variant { $($field),+ } => {
                        let ($layers, _) = ($count, ($($field),+));
                        write!(f, $shown $(, $shown_arg)?)
                    })+
                }
            }
        }
    };
}

architectures! {
    /// `depth` hidden layers of `width` units.
    Mlp = "mlp" {
        depth: u32 = 10, "hidden layers of an mlp";
        width: u32 = 128, "units of an mlp's hidden layer";
    } layers = depth, "mlp {layers} x {width}";

    /// `depth` 3×3 convolutions of `width` channels, stride 2 in the first two; average pool.
    Cnn = "cnn" {
        depth: u32 = 5, "convolutions of a cnn";
        width: u32 = 64, "channels of a cnn's";
    } layers = depth, "cnn {layers} x {width}";

    /// ResNet-(6·blocks+2) with stages of `width`, 2·`width` and 4·`width` channels.
    ResNet = "resnet" ("6*blocks+2 layers") {
        blocks: u32 = 9, "residual blocks in each of the three stages";
        width: u32 = 16, "channels of a resnet's first stage";
    } layers = 6 * blocks + 2, "ResNet-{layers} ({width})";

    /// WRN-(6·blocks+4)-k: a stem of 16 channels, stages of 16k, 32k and 64k.
    Wrn = "wrn" ("6*blocks+4 layers") {
        blocks: u32 = 6, "residual blocks in each of the three stages";
        k: u32 = 1, "widening factor of a wrn: stages of 16k, 32k and 64k channels";
        reduced_memory: bool = false, "give a wrn's stem stride 2, for the very deep ones";
    } layers = 6 * blocks + 4, "WRN-{layers}-{k}{}", if reduced_memory { " reduced" } else { "" };
}

impl Arch {
    /// Its layers, for images of `[channels, height, width]`. With `scaled`, each residual branch
    /// ends in a learnt scalar.
    pub fn network(
        self,
        input: [usize; 3],
        classes: usize,
        norm: Norm,
        activation: Activation,
        scaled: bool,
    ) -> Network {
        let mut net = Network::new(input, norm, activation, scaled);
        match self {
            Arch::Mlp { depth, width } => net.linear("hidden.{}", depth, width.into()),
            Arch::Cnn { depth, width } => {
                let strided = depth.min(2);
                for (times, stride) in [(strided, 2), (depth - strided, 1)] {
                    net.conv("hidden.{}", times, [width.into(), stride], Role::Activated, true);
                }
                net.global_average_pool();
            }
            Arch::ResNet { blocks, width } => {
                let width = u64::from(width);
                net.conv("stem", 1, [width, 1], Role::Stem { linear: false }, false);
                net.batch_norm("bn_stem");
                net.stages(blocks, [width, 2 * width, 4 * width]);
                net.batch_norm("bn_final");
                net.global_average_pool();
            }
            Arch::Wrn { blocks, k, reduced_memory } => {
                let k = u64::from(k);
                let stride = if reduced_memory { 2 } else { 1 };
                net.conv("stem", 1, [16, stride], Role::Stem { linear: true }, false);
                net.stages(blocks, [16 * k, 32 * k, 64 * k]);
                net.global_average_pool();
            }
        }
        net.head(classes)
    }

    /// Whether it has residual blocks.
    pub(super) fn is_residual(self) -> bool {
        let network = self.network([1, 1, 1], 1, Norm::None, Activation::Linear, false);
        network.runs().iter().any(|run| matches!(run.layer, Layer::Block(_)))
    }
}

impl ModelName {
    /// The architectures with residual blocks: "resnet, wrn".
    pub(super) fn residual() -> String {
        let arch = |&model| Arch::of(&Draft { model: Some(model), ..Draft::default() });
        let residual = ModelName::ALL.iter().filter_map(arch).filter(|arch| arch.is_residual());
        residual.map(|arch| arch.name().name()).collect::<Vec<_>>().join(", ")
    }
}

impl Size {
    /// The architectures that a field sizes; none if it is another kind of field.
    fn of(field: &str) -> impl Iterator<Item = &'static Size> {
        SIZES.iter().filter(move |size| size.field == field)
    }

    /// The meaning of a size in each architecture.
    pub(super) fn about(field: &str) -> String {
        let mut meanings: Vec<&str> = Size::of(field).map(|size| size.meaning).collect();
        meanings.dedup();
        meanings.join(", ")
    }

    /// "10 (mlp), 5 (cnn)", or the value alone if only one architecture has the field.
    pub(super) fn defaults(field: &str) -> String {
        let sizes: Vec<&Size> = Size::of(field).collect();
        match sizes[..] {
            [only] => only.default.to_owned(),
            _ => {
                let all = sizes.iter().map(|size| format!("{} ({})", size.default, size.model));
                all.collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// When the field does not apply.
    pub(super) fn empty(field: &str) -> String {
        let has = |model: &ModelName| Size::of(field).any(|size| size.model == model.name());
        let without: Vec<&str> =
            ModelName::ALL.iter().filter(|m| !has(m)).map(|m| m.name()).collect();
        format!("the model is {}", one_of(&without))
    }
}
