//! Closed lists of words: declaring one, and the error for an unknown word.

/// Declares an enum whose variants have names in grids and CSV files. A note in parentheses follows
/// the name in a field's list of choices; the first paragraph of a variant's documentation is its
/// description in the JSON schema.
macro_rules! choices {
    ($(#[$meta:meta])* $name:ident, $what:literal {
        $($(#[doc = $doc:literal])* $variant:ident = $text:literal $(($note:literal))?,)+
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[doc = $doc])* $variant,)+ }

        impl $name {
            /// Every choice, in the order in which the documentation lists them.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The name in grids and CSV files.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }
        }

        impl $crate::job::Choices for $name {
            fn choices() -> Vec<$crate::job::Choice> {
                vec![$($crate::job::Choice {
                    name: $text,
                    note: concat!($($note)?),
                    about: concat!($($doc),*).trim().to_owned(),
                },)+]
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.pad(self.name()) }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|c| c.name() == text).ok_or_else(|| {
                    $crate::job::unknown($what, text, Self::ALL.iter().map(|c| c.name()))
                })
            }
        }
    };
}

pub(crate) use choices;

/// One of the words that a field or a key accepts, with its note and its description.
pub(crate) struct Choice {
    pub(crate) name: &'static str,
    pub(crate) note: &'static str,
    pub(crate) about: String,
}

/// A closed list of words.
pub(crate) trait Choices {
    fn choices() -> Vec<Choice>;
}

/// "unknown `what` "text"; did you mean …?" with the nearest of the valid words, and all of them.
pub fn unknown<'a>(what: &str, text: &str, valid: impl IntoIterator<Item = &'a str>) -> String {
    let valid: Vec<&str> = valid.into_iter().collect();
    let hint = did_you_mean(text, valid.iter().copied());
    format!("unknown {what} \"{text}\"{hint} (valid: {})", valid.join(", "))
}

/// `; did you mean "word"?` with the nearest of the valid words, or nothing.
pub fn did_you_mean<'a>(text: &str, valid: impl IntoIterator<Item = &'a str>) -> String {
    nearest(text, valid).map(|word| format!("; did you mean \"{word}\"?")).unwrap_or_default()
}

/// The valid word closest to `text`, if one is close enough to be a misspelling.
fn nearest<'a>(text: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if text.len() > 100 {
        return None; // too long for a misspelling, and the distance would take time and memory
    }
    let text = text.to_lowercase().replace('-', "_");
    valid
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&text, &word.replace('-', "_")), word))
        .filter(|(distance, word)| *distance <= 1 + word.len().max(text.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// "a, b or c"
pub(crate) fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}

choices! {
    /// The data set that a job trains on.
    DatasetName, "data set" {
        /// UCI optical digits: 1×8×8, 10 classes, 1,797 images; embedded in the binary.
        Digits = "digits",
        /// Fashion-MNIST: 1×28×28, 10 classes, 60,000 + 10,000 images.
        FashionMnist = "fashion-mnist",
        /// MNIST: 1×28×28, 10 classes, 60,000 + 10,000 images.
        Mnist = "mnist",
        /// CIFAR-10: 3×32×32, 10 classes, 50,000 + 10,000 images.
        Cifar10 = "cifar10",
        /// CIFAR-100: 3×32×32, 100 classes, 50,000 + 10,000 images.
        Cifar100 = "cifar100",
        /// Noisy class prototypes of any shape, generated in memory; the same for every job.
        Synthetic = "synthetic",
        /// Your own images or features, from the file that `path` names.
        File = "file" ("your own, at path"),
    }
}

choices! {
    /// The values of a user's file, as they are kept in memory.
    DataType, "data type" {
        /// Bytes 0 to 255.
        Uint8 = "uint8",
        /// Single precision, to which double precision is rounded.
        Float32 = "float32",
    }
}

choices! {
    /// Augmentation of training images; evaluation images are never augmented.
    Augment, "augmentation" {
        /// No augmentation.
        None = "none",
        /// A random crop after 4 zero pixels of padding, and a horizontal flip with p = ½.
        CropFlip = "crop_flip",
        /// `crop_flip`, then a 16×16 square set to 0 (cutout).
        CropFlipCutout = "crop_flip_cutout",
    }
}

choices! {
    /// Scaling of an image's values to a network's input, per channel.
    InputScaling, "input scaling" {
        /// As in the paper: x/255 − 0.5, and for CIFAR (x/255 − mean)/std with the published values.
        /// Floating-point values of a file stay as they are.
        Paper = "paper" ("x/255 - 0.5; CIFAR by its published mean and standard deviation; a file's floats as they are"),
        /// Mean 0 and variance 1 over all training images, validation included; of a file without a
        /// test set, over all of its images.
        Standardised = "standardised" ("mean 0, variance 1 over the training set"),
    }
}

choices! {
    /// Normalisation of the layers.
    Norm, "norm" {
        /// Weight normalisation, `w = g·v/‖v‖` (Salimans & Kingma 2016).
        Weight = "weight",
        /// Batch normalisation, momentum 0.1, eps 1e-5.
        Batch = "batch",
        /// Plain weights.
        None = "none",
    }
}

choices! {
    /// The factor on the learning rate, by epoch e = 0, 1, … of E.
    Schedule, "schedule" {
        /// 1 throughout.
        Constant = "constant",
        /// 0.1 from E/3, 0.01 from 2E/3.
        Thirds = "thirds",
        /// 0.1 from E/2, 0.01 from 3E/4.
        Halves = "halves",
        /// ×0.2 at each of 0.3E, 0.6E and 0.8E.
        Wrn = "wrn",
        /// 0.1 from e = 91, 0.01 from e = 136.
        He = "he",
    }
}

choices! {
    /// The arithmetic of matrix products and convolutions. Part of the job: it changes numbers.
    Precision, "precision" {
        /// IEEE single precision everywhere.
        Fp32 = "fp32",
        /// TensorFloat-32 on a GPU; an error elsewhere.
        Tf32 = "tf32" ("GPU only"),
        /// bfloat16 products; parameters, statistics and loss stay in fp32.
        Bf16 = "bf16",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::job::Init;

    #[test]
    fn a_misspelt_word_is_answered_with_the_nearest_valid_one() {
        let error = "orthogonal_propsed".parse::<Init>().unwrap_err();
        assert!(error.contains("did you mean \"orthogonal_proposed\"?"), "{error}");
        assert_eq!(nearest("fashion_mnist", ["mnist", "fashion-mnist"]), Some("fashion-mnist"));
        assert_eq!(nearest("zzz", ["mnist"]), None);
    }
}
