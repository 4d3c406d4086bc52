//! A [`Job`]: all that can change a training run's result, and nothing else.
//!
//! Everything that the program says about a job's fields stands in one table, [`FIELDS`]: the
//! grid parser takes its keys from it, the CSV files their columns, `columns.json` its text and
//! [`JobId`] the order in which the values are hashed.
//!
//! A grid or a CSV row fills a [`Draft`]; [`Draft::resolve`] fills in the defaults, checks the
//! whole and is the only way to a `Job`, so a `Job` that exists can be trained.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

/// The version of the job's fields. It is part of every [`JobId`].
pub(crate) const SCHEMA: u32 = 1;

/// Declares a closed enum whose variants have names in grids and CSV files.
macro_rules! choices {
    ($(#[$meta:meta])* $name:ident, $what:literal { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every choice, in the order in which the documentation lists them.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The word for it in grids and CSV files.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(self.name()) }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|c| c.name() == text).ok_or_else(|| {
                    unknown($what, text, Self::ALL.iter().map(|c| c.name()))
                })
            }
        }
    };
}

pub(crate) use choices;

/// "unknown `what` "text"; did you mean …?" with the nearest of the valid words, and all of them.
pub(crate) fn unknown<'a>(what: &str, text: &str, valid: impl IntoIterator<Item = &'a str>) -> String {
    let valid: Vec<&str> = valid.into_iter().collect();
    let hint = match nearest(text, valid.iter().copied()) {
        Some(word) => format!("; did you mean \"{word}\"?"),
        None => String::new(),
    };
    format!("unknown {what} \"{text}\"{hint} (valid: {})", valid.join(", "))
}

/// The valid word closest to `text`, if one is close enough to be what was meant.
pub(crate) fn nearest<'a>(text: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if text.len() > 100 {
        return None; // no slip of the pen, and the distance would take time and memory
    }
    let text = text.to_lowercase().replace('-', "_");
    valid
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&text, &word.replace('-', "_")), word))
        .filter(|(distance, word)| *distance <= 1 + word.len().max(text.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

choices! {
    /// What a job is trained on.
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
        /// Noisy class prototypes of any shape, made on the spot; the same for every job.
        Synthetic = "synthetic",
    }
}

choices! {
    /// What happens to a training image on its way into the network (never to an evaluated one).
    Augment, "augmentation" {
        /// Nothing.
        None = "none",
        /// A random crop after 4 zero pixels of padding, and a horizontal flip with p = ½.
        CropFlip = "crop_flip",
        /// `crop_flip`, then a 16×16 square set to 0 (cutout).
        CropFlipCutout = "crop_flip_cutout",
    }
}

choices! {
    /// How the bytes of an image become a network's input, channel by channel.
    InputScaling, "input scaling" {
        /// As in the paper: x/255 − 0.5, and for CIFAR less its published mean, over its published
        /// standard deviation.
        Paper = "paper",
        /// Mean 0 and variance 1 over all training images, validation included.
        Standardised = "standardised",
    }
}

choices! {
    /// The family of network.
    ModelName, "model" {
        /// `depth` hidden layers of `width` units.
        Mlp = "mlp",
        /// `depth` 3×3 convolutions of `width` channels.
        Cnn = "cnn",
        /// ResNet-(6·blocks+2) with stages of `width`, 2·`width` and 4·`width` channels.
        ResNet = "resnet",
        /// WRN-(6·blocks+4)-k.
        Wrn = "wrn",
    }
}

choices! {
    /// How layers are normalised.
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
    /// How the direction `v` of the weights is drawn.
    Direction, "direction" {
        /// N(0, 2/fan_in); N(0, 1/fan_in) for `he_proposed`.
        He = "he",
        /// Haar-distributed orthogonal rows (or columns, where there are more rows than inputs).
        Orthogonal = "orthogonal",
    }
}

choices! {
    /// How the gain `g` (and, data-dependent, the bias) is set.
    Gain, "gain" {
        /// PyTorch's: `g = ‖v‖`.
        Default = "default",
        /// Unit variance on one mini-batch (Salimans & Kingma 2016, eq. 6).
        Datadep = "datadep",
        /// `sqrt(γ·fan_in/fan_out)` (Arpit, Campos & Bengio 2019).
        Proposed = "proposed",
        /// `sqrt(γ)`: the backward-pass variant of the same paper.
        ProposedBackward = "proposed_backward",
        /// As proposed, with γ = (0.9^b)² for the second convolution of block b of a stage.
        Hanin = "hanin",
    }
}

/// `init = direction × gain`, for example `orthogonal_proposed`; the default gain has no suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Init {
    /// How `v` is drawn.
    pub direction: Direction,
    /// How `g` is set.
    pub gain: Gain,
}

impl Init {
    /// Every initializer, direction by direction.
    pub fn all() -> impl Iterator<Item = Init> {
        Direction::ALL
            .iter()
            .flat_map(|&direction| Gain::ALL.iter().map(move |&gain| Init { direction, gain }))
    }

    /// The word for it in grids and CSV files.
    pub fn name(self) -> &'static str {
        static NAMES: LazyLock<HashMap<Init, String>> = LazyLock::new(|| {
            let word = |init: Init| match init.gain {
                Gain::Default => init.direction.name().to_owned(),
                gain => format!("{}_{}", init.direction.name(), gain.name()),
            };
            Init::all().map(|init| (init, word(init))).collect()
        });
        NAMES.get(&self).map_or("", String::as_str)
    }
}

impl fmt::Display for Init {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Init {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Init::all()
            .find(|i| i.name() == text)
            .ok_or_else(|| unknown("init", text, Init::all().map(Init::name)))
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
        Tf32 = "tf32",
        /// bfloat16 products; parameters, statistics and loss stay in fp32.
        Bf16 = "bf16",
    }
}

/// A data set with all that identifies its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dataset {
    /// A data set that exists.
    Named(DatasetName),
    /// Made on the spot.
    Synthetic {
        /// Channels, height, width.
        shape: [u16; 3],
        /// Number of classes.
        classes: u16,
        /// Training images; there are a fifth as many test images, at least one of each class.
        images: u32,
    },
}

impl Dataset {
    /// The data set's name, without the sizes of a synthetic one.
    pub fn name(self) -> DatasetName {
        match self {
            Dataset::Named(name) => name,
            Dataset::Synthetic { .. } => DatasetName::Synthetic,
        }
    }

    /// Channels, height and width of an image.
    pub fn shape(self) -> [usize; 3] {
        match self {
            Dataset::Synthetic { shape, .. } => shape.map(usize::from),
            Dataset::Named(DatasetName::Digits) => [1, 8, 8],
            Dataset::Named(DatasetName::Cifar10 | DatasetName::Cifar100) => [3, 32, 32],
            Dataset::Named(_) => [1, 28, 28],
        }
    }

    /// Number of classes.
    pub fn classes(self) -> usize {
        match self {
            Dataset::Synthetic { classes, .. } => classes.into(),
            Dataset::Named(DatasetName::Cifar100) => 100,
            Dataset::Named(_) => 10,
        }
    }

    /// Number of training (validation included) and of test images.
    pub fn images(self) -> (usize, usize) {
        match self {
            Dataset::Synthetic { images, classes, .. } => {
                (images as usize, (images as usize / 5).max(classes.into()))
            }
            Dataset::Named(DatasetName::Digits) => (1437, 360),
            Dataset::Named(DatasetName::Cifar10 | DatasetName::Cifar100) => (50_000, 10_000),
            Dataset::Named(_) => (60_000, 10_000),
        }
    }
}

/// A network with its sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arch {
    /// Multilayer perceptron.
    Mlp {
        /// Hidden layers.
        depth: u32,
        /// Units of a hidden layer.
        width: u32,
    },
    /// Plain convolutional network.
    Cnn {
        /// Convolutions.
        depth: u32,
        /// Channels of each.
        width: u32,
    },
    /// CIFAR-style residual network.
    ResNet {
        /// Residual blocks in each of the three stages.
        blocks: u32,
        /// Channels of the first stage.
        width: u32,
    },
    /// Wide residual network.
    Wrn {
        /// Residual blocks in each of the three stages.
        blocks: u32,
        /// Widening factor.
        k: u32,
        /// Stem of stride 2.
        reduced_memory: bool,
    },
}

/// The network as the literature names it.
impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers = self.layers();
        match *self {
            Arch::Mlp { width, .. } => write!(f, "mlp {layers} x {width}"),
            Arch::Cnn { width, .. } => write!(f, "cnn {layers} x {width}"),
            Arch::ResNet { width, .. } => write!(f, "ResNet-{layers} ({width})"),
            Arch::Wrn { k, reduced_memory, .. } => {
                write!(f, "WRN-{layers}-{k}{}", if reduced_memory { " reduced" } else { "" })
            }
        }
    }
}

impl Arch {
    /// The family.
    pub fn name(self) -> ModelName {
        match self {
            Arch::Mlp { .. } => ModelName::Mlp,
            Arch::Cnn { .. } => ModelName::Cnn,
            Arch::ResNet { .. } => ModelName::ResNet,
            Arch::Wrn { .. } => ModelName::Wrn,
        }
    }

    /// Layers with weights, the way the literature counts them (ResNet-56, WRN-40-10, …);
    /// hidden layers for `mlp` and `cnn`.
    pub fn layers(self) -> u32 {
        match self {
            Arch::Mlp { depth, .. } | Arch::Cnn { depth, .. } => depth,
            Arch::ResNet { blocks, .. } => 6 * blocks + 2,
            Arch::Wrn { blocks, .. } => 6 * blocks + 4,
        }
    }
}

/// The settings of a job, readable through [`Job`]. Build one with [`Draft::resolve`].
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // FIELDS documents each
pub struct Settings {
    pub dataset: Dataset,
    pub train_images: Option<u32>,
    pub val_fraction: f64,
    pub test_images: Option<u32>,
    pub augment: Augment,
    pub input: InputScaling,
    pub arch: Arch,
    pub norm: Norm,
    pub init: Init,
    pub precision: Precision,
    pub lr: f64,
    pub momentum: f64,
    pub weight_decay: f64,
    pub schedule: Schedule,
    pub warmup_epochs: u32,
    pub warmup_lr: f64,
    pub batch_size: u32,
    pub micro_batch: Option<u32>,
    pub epochs: u32,
    pub init_seed: u64,
    pub data_seed: u64,
}

/// A training run that can be carried out: validated, with every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Job(Settings);

impl Deref for Job {
    type Target = Settings;
    fn deref(&self) -> &Settings {
        &self.0
    }
}

impl Settings {
    /// Images that the job trains on in one epoch, and images that it validates on.
    pub(crate) fn split(&self) -> (usize, usize) {
        let all = self.dataset.images().0;
        let val = (all as f64 * self.val_fraction).round() as usize;
        let train = self.train_images.map_or(all - val, |n| n as usize);
        (train, val)
    }

    /// Images of the test set that the job is tested on.
    pub fn tested(&self) -> usize {
        self.test_images.map_or(self.dataset.images().1, |n| n as usize)
    }
}

/// A value as a grid or a CSV cell gives it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a point or an exponent.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A list, for example `[1, 8, 8]`.
    List(Vec<Value>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => write!(f, "{text}"),
            Value::Integer(number) => write!(f, "{number}"),
            Value::Float(number) => write!(f, "{number}"),
            Value::Boolean(truth) => write!(f, "{truth}"),
            Value::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i > 0 { "x" } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

impl Value {
    fn text(&self) -> Result<&str, String> {
        match self {
            Value::Text(text) => Ok(text),
            other => Err(format!("expected a string, got {other}")),
        }
    }

    fn parse<T: FromStr<Err = String>>(&self) -> Result<T, String> {
        self.text()?.parse()
    }

    fn number(&self) -> Result<f64, String> {
        let number = match self {
            Value::Integer(n) => *n as f64,
            Value::Float(x) => *x,
            Value::Text(text) => {
                text.trim().parse().map_err(|_| format!("expected a number, got \"{text}\""))?
            }
            other => return Err(format!("expected a number, got {other}")),
        };
        if number.is_finite() {
            Ok(number)
        } else {
            Err(format!("expected a finite number, got {number}"))
        }
    }

    fn number_in(&self, low: f64, high: f64) -> Result<f64, String> {
        let number = self.number()?;
        if (low..=high).contains(&number) {
            Ok(number + 0.0) // -0 becomes 0: they are the same job
        } else if high == f64::MAX {
            Err(format!("{number} is out of range: it must be at least {low}"))
        } else {
            Err(format!("{number} is out of range: it must lie between {low} and {high}"))
        }
    }

    fn whole_in(&self, low: u64, high: u64) -> Result<u64, String> {
        let number = match self {
            Value::Integer(n) => i128::from(*n),
            Value::Text(text) => text
                .trim()
                .parse()
                .map_err(|_| format!("expected a whole number, got \"{text}\""))?,
            other => return Err(format!("expected a whole number, got {other}")),
        };
        if (i128::from(low)..=i128::from(high)).contains(&number) {
            Ok(number as u64)
        } else {
            Err(format!("{number} is out of range: it must lie between {low} and {high}"))
        }
    }

    fn boolean(&self) -> Result<bool, String> {
        match self {
            Value::Boolean(truth) => Ok(*truth),
            Value::Text(text) if text == "true" => Ok(true),
            Value::Text(text) if text == "false" => Ok(false),
            other => Err(format!("expected true or false, got {other}")),
        }
    }

    fn shape(&self) -> Result<[u16; 3], String> {
        let expected =
            || format!("expected channels, height and width such as [1, 8, 8], got {self}");
        let items = match self {
            Value::List(items) => items.clone(),
            Value::Text(text) => text.split('x').map(|t| Value::Text(t.to_owned())).collect(),
            _ => return Err(expected()),
        };
        let sizes = items.iter().map(|v| v.whole_in(1, 4096)).collect::<Result<Vec<_>, _>>()?;
        match sizes[..] {
            [c, h, w] => Ok([c as u16, h as u16, w as u16]),
            _ => Err(expected()),
        }
    }
}

/// A job being filled in: `None` is "not said, take the default".
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)] // FIELDS documents each
pub struct Draft {
    pub dataset: Option<DatasetName>,
    pub synthetic_shape: Option<[u16; 3]>,
    pub synthetic_classes: Option<u16>,
    pub synthetic_images: Option<u32>,
    pub train_images: Option<u32>,
    pub val_fraction: Option<f64>,
    pub test_images: Option<u32>,
    pub augment: Option<Augment>,
    pub input: Option<InputScaling>,
    pub model: Option<ModelName>,
    pub depth: Option<u32>,
    pub width: Option<u32>,
    pub blocks: Option<u32>,
    pub k: Option<u32>,
    pub reduced_memory: Option<bool>,
    pub norm: Option<Norm>,
    pub init: Option<Init>,
    pub precision: Option<Precision>,
    pub lr: Option<f64>,
    pub momentum: Option<f64>,
    pub weight_decay: Option<f64>,
    pub schedule: Option<Schedule>,
    pub warmup_epochs: Option<u32>,
    pub warmup_lr: Option<f64>,
    pub batch_size: Option<u32>,
    pub micro_batch: Option<u32>,
    pub epochs: Option<u32>,
    pub seed: Option<u64>,
    pub init_seed: Option<u64>,
    pub data_seed: Option<u64>,
}

/// What the values of a field are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of some words.
    Word,
    /// Whole numbers.
    Whole,
    /// Numbers.
    Number,
    /// `true` or `false`.
    Boolean,
    /// Channels, height and width.
    Sizes,
}

/// One field of a job: its key in a grid, its column in a CSV file, its part of the id.
pub struct Field {
    /// The key and the column.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// What it is, for people.
    pub about: &'static str,
    /// Its unit, or an empty string.
    pub unit: &'static str,
    /// The value if it is left out, in words where it depends on other fields.
    pub default: &'static str,
    /// What an empty cell means in a CSV file, or an empty string if it is never empty.
    pub empty: &'static str,
    /// The value of every job from before the field was added, if it was added later. It is left
    /// out of the id, and files of earlier versions lack the column.
    pub as_before: Option<&'static str>,
    set: fn(&mut Draft, &Value) -> Result<(), String>,
    get: fn(&Settings) -> Option<Value>,
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Field {
    fn eq(&self, other: &Field) -> bool {
        self.name == other.name
    }
}

impl Field {
    /// The field of that name.
    pub fn named(name: &str) -> Option<&'static Field> {
        FIELDS.iter().find(|f| f.name == name)
    }

    /// Sets the field in a draft.
    ///
    /// # Errors
    /// Says what is wrong with the value, its range included.
    pub fn set(&self, draft: &mut Draft, value: &Value) -> Result<(), String> {
        (self.set)(draft, value)
    }

    /// The field's value in a job; `None` where it does not apply (the `depth` of a `wrn`).
    pub fn get(&self, job: &Settings) -> Option<Value> {
        (self.get)(job)
    }
}

const SEED_MAX: u64 = i64::MAX as u64; // TOML's whole numbers end there

macro_rules! text {
    ($x:expr) => {
        Some(Value::Text($x.name().to_owned()))
    };
}
macro_rules! whole {
    ($x:expr) => {
        Some(Value::Integer(i64::from($x)))
    };
}
macro_rules! seed {
    ($x:expr) => {
        Some(Value::Integer($x as i64))
    };
}

/// Every field of a job, in the order of the CSV columns.
pub static FIELDS: &[Field] = &[
    Field {
        name: "dataset",
        kind: Kind::Word,
        unit: "",
        default: "fashion-mnist",
        empty: "",
        as_before: None,
        about: "what is trained on: digits, fashion-mnist, mnist, cifar10, cifar100, synthetic",
        set: |d, v| {
            d.dataset = Some(v.parse()?);
            Ok(())
        },
        get: |j| text!(j.dataset.name()),
    },
    Field {
        name: "synthetic_shape",
        kind: Kind::Sizes,
        unit: "channels x height x width",
        default: "1x8x8",
        empty: "the data set is not synthetic",
        as_before: None,
        about: "shape of a synthetic image; [1, 8, 8] or \"1x8x8\" in a grid",
        set: |d, v| {
            d.synthetic_shape = Some(v.shape()?);
            Ok(())
        },
        get: |j| match j.dataset {
            Dataset::Synthetic { shape: [c, h, w], .. } => {
                Some(Value::Text(format!("{c}x{h}x{w}")))
            }
            Dataset::Named(_) => None,
        },
    },
    Field {
        name: "synthetic_classes",
        kind: Kind::Whole,
        unit: "classes",
        default: "10",
        empty: "the data set is not synthetic",
        as_before: None,
        about: "number of classes of the synthetic data set",
        set: |d, v| {
            d.synthetic_classes = Some(v.whole_in(2, 10_000)? as u16);
            Ok(())
        },
        get: |j| match j.dataset {
            Dataset::Synthetic { classes, .. } => whole!(classes),
            Dataset::Named(_) => None,
        },
    },
    Field {
        name: "synthetic_images",
        kind: Kind::Whole,
        unit: "images",
        default: "1000",
        empty: "the data set is not synthetic",
        as_before: None,
        about: "number of training images of the synthetic data set, validation included",
        set: |d, v| {
            d.synthetic_images = Some(v.whole_in(10, 10_000_000)? as u32);
            Ok(())
        },
        get: |j| match j.dataset {
            Dataset::Synthetic { images, .. } => whole!(images),
            Dataset::Named(_) => None,
        },
    },
    Field {
        name: "train_images",
        kind: Kind::Whole,
        unit: "images",
        default: "all that validation leaves",
        empty: "all that validation leaves",
        as_before: None,
        about: "train on this many images only, drawn with data_seed after the validation split",
        set: |d, v| {
            d.train_images = Some(v.whole_in(1, 10_000_000)? as u32);
            Ok(())
        },
        get: |j| j.train_images.map(|n| Value::Integer(n.into())),
    },
    Field {
        name: "val_fraction",
        kind: Kind::Number,
        unit: "fraction",
        default: "0.1",
        empty: "",
        as_before: None,
        about: "share of the training set held out for validation, drawn with data_seed",
        set: |d, v| {
            let fraction = v.number_in(0.0, 0.9)?;
            if fraction == 0.0 {
                return Err(
                    "0 is out of range: the test accuracy is that of the best validation epoch, \
                            so some images must be held out"
                        .into(),
                );
            }
            d.val_fraction = Some(fraction);
            Ok(())
        },
        get: |j| Some(Value::Float(j.val_fraction)),
    },
    Field {
        name: "test_images",
        kind: Kind::Whole,
        unit: "images",
        default: "the whole test set",
        empty: "the whole test set",
        as_before: Some(""),
        about: "test on this many test images only, evenly spaced through the test set, the same for every seed",
        set: |d, v| {
            d.test_images = Some(v.whole_in(1, 10_000_000)? as u32);
            Ok(())
        },
        get: |j| j.test_images.map(|n| Value::Integer(n.into())),
    },
    Field {
        name: "augment",
        kind: Kind::Word,
        unit: "",
        default: "crop_flip for cifar10 and cifar100, none otherwise",
        empty: "",
        as_before: None,
        about: "augmentation of training images: none, crop_flip, crop_flip_cutout",
        set: |d, v| {
            d.augment = Some(v.parse()?);
            Ok(())
        },
        get: |j| text!(j.augment),
    },
    Field {
        name: "input",
        kind: Kind::Word,
        unit: "",
        default: "paper",
        empty: "paper",
        as_before: Some("paper"),
        about: "scaling of the images: paper (x/255 - 0.5; CIFAR by its published mean and standard deviation), standardised (mean 0, variance 1 over the training set)",
        set: |d, v| {
            d.input = Some(v.parse()?);
            Ok(())
        },
        get: |j| text!(j.input),
    },
    Field {
        name: "model",
        kind: Kind::Word,
        unit: "",
        default: "mlp",
        empty: "",
        as_before: None,
        about: "family of the network: mlp, cnn, resnet (6*blocks+2 layers), wrn (6*blocks+4 layers)",
        set: |d, v| {
            d.model = Some(v.parse()?);
            Ok(())
        },
        get: |j| text!(j.arch.name()),
    },
    Field {
        name: "depth",
        kind: Kind::Whole,
        unit: "layers",
        default: "10 (mlp), 5 (cnn)",
        empty: "the model is sized by blocks",
        as_before: None,
        about: "hidden layers of an mlp, convolutions of a cnn",
        set: |d, v| {
            d.depth = Some(v.whole_in(1, 100_000)? as u32);
            Ok(())
        },
        get: |j| match j.arch {
            Arch::Mlp { depth, .. } | Arch::Cnn { depth, .. } => whole!(depth),
            _ => None,
        },
    },
    Field {
        name: "width",
        kind: Kind::Whole,
        unit: "units or channels",
        default: "128 (mlp), 64 (cnn), 16 (resnet)",
        empty: "the model is a wrn, sized by k",
        as_before: None,
        about: "units of an mlp's hidden layer, channels of a cnn's, channels of a resnet's first stage",
        set: |d, v| {
            d.width = Some(v.whole_in(1, 100_000)? as u32);
            Ok(())
        },
        get: |j| match j.arch {
            Arch::Mlp { width, .. } | Arch::Cnn { width, .. } | Arch::ResNet { width, .. } => {
                whole!(width)
            }
            Arch::Wrn { .. } => None,
        },
    },
    Field {
        name: "blocks",
        kind: Kind::Whole,
        unit: "blocks",
        default: "9 (resnet), 6 (wrn)",
        empty: "the model is an mlp or a cnn",
        as_before: None,
        about: "residual blocks in each of the three stages",
        set: |d, v| {
            d.blocks = Some(v.whole_in(1, 100_000)? as u32);
            Ok(())
        },
        get: |j| match j.arch {
            Arch::ResNet { blocks, .. } | Arch::Wrn { blocks, .. } => whole!(blocks),
            _ => None,
        },
    },
    Field {
        name: "k",
        kind: Kind::Whole,
        unit: "",
        default: "1",
        empty: "the model is no wrn",
        as_before: None,
        about: "widening factor of a wrn: stages of 16k, 32k and 64k channels",
        set: |d, v| {
            d.k = Some(v.whole_in(1, 1000)? as u32);
            Ok(())
        },
        get: |j| match j.arch {
            Arch::Wrn { k, .. } => whole!(k),
            _ => None,
        },
    },
    Field {
        name: "reduced_memory",
        kind: Kind::Boolean,
        unit: "",
        default: "false",
        empty: "the model is no wrn",
        as_before: None,
        about: "give a wrn's stem stride 2, for the very deep ones",
        set: |d, v| {
            d.reduced_memory = Some(v.boolean()?);
            Ok(())
        },
        get: |j| match j.arch {
            Arch::Wrn { reduced_memory, .. } => Some(Value::Boolean(reduced_memory)),
            _ => None,
        },
    },
    Field {
        name: "norm",
        kind: Kind::Word,
        unit: "",
        default: "weight",
        empty: "",
        as_before: None,
        about: "normalisation: weight, batch or none",
        set: |d, v| {
            d.norm = Some(v.parse()?);
            Ok(())
        },
        get: |j| text!(j.norm),
    },
    Field {
        name: "init",
        kind: Kind::Word,
        unit: "",
        default: "orthogonal_proposed (weight norm), orthogonal (otherwise)",
        empty: "",
        as_before: None,
        about: "initializer: he or orthogonal, alone or with _datadep, _proposed, _proposed_backward, _hanin",
        set: |d, v| {
            d.init = Some(v.parse()?);
            Ok(())
        },
        get: |j| text!(j.init),
    },
    Field {
        name: "precision",
        kind: Kind::Word,
        unit: "",
        default: "fp32",
        empty: "",
        as_before: None,
        about: "arithmetic of products and convolutions: fp32, tf32 (GPU only), bf16",
        set: |d, v| {
            d.precision = Some(v.parse()?);
            Ok(())
        },
        get: |j| text!(j.precision),
    },
    Field {
        name: "lr",
        kind: Kind::Number,
        unit: "",
        default: "0.01",
        empty: "",
        as_before: None,
        about: "base learning rate of SGD",
        set: |d, v| {
            d.lr = Some(v.number_in(0.0, f64::MAX)?);
            Ok(())
        },
        get: |j| Some(Value::Float(j.lr)),
    },
    Field {
        name: "momentum",
        kind: Kind::Number,
        unit: "",
        default: "0.9",
        empty: "",
        as_before: None,
        about: "momentum of SGD (PyTorch's update rule, no dampening)",
        set: |d, v| {
            d.momentum = Some(v.number_in(0.0, 1.0)?);
            Ok(())
        },
        get: |j| Some(Value::Float(j.momentum)),
    },
    Field {
        name: "weight_decay",
        kind: Kind::Number,
        unit: "",
        default: "0",
        empty: "",
        as_before: None,
        about: "weight decay of SGD, on every parameter",
        set: |d, v| {
            d.weight_decay = Some(v.number_in(0.0, f64::MAX)?);
            Ok(())
        },
        get: |j| Some(Value::Float(j.weight_decay)),
    },
    Field {
        name: "schedule",
        kind: Kind::Word,
        unit: "",
        default: "constant",
        empty: "",
        as_before: None,
        about: "factor on the learning rate by epoch: constant, thirds, halves, wrn, he",
        set: |d, v| {
            d.schedule = Some(v.parse()?);
            Ok(())
        },
        get: |j| text!(j.schedule),
    },
    Field {
        name: "warmup_epochs",
        kind: Kind::Whole,
        unit: "epochs",
        default: "0",
        empty: "",
        as_before: None,
        about: "length of the quadratic warm-up of the learning rate",
        set: |d, v| {
            d.warmup_epochs = Some(v.whole_in(0, 1_000_000)? as u32);
            Ok(())
        },
        get: |j| whole!(j.warmup_epochs),
    },
    Field {
        name: "warmup_lr",
        kind: Kind::Number,
        unit: "",
        default: "0",
        empty: "",
        as_before: None,
        about: "learning rate at which the warm-up starts",
        set: |d, v| {
            d.warmup_lr = Some(v.number_in(0.0, f64::MAX)?);
            Ok(())
        },
        get: |j| Some(Value::Float(j.warmup_lr)),
    },
    Field {
        name: "batch_size",
        kind: Kind::Whole,
        unit: "images",
        default: "128",
        empty: "",
        as_before: None,
        about: "images of a mini-batch; the last one of an epoch may be smaller",
        set: |d, v| {
            d.batch_size = Some(v.whole_in(1, 1_000_000)? as u32);
            Ok(())
        },
        get: |j| whole!(j.batch_size),
    },
    Field {
        name: "micro_batch",
        kind: Kind::Whole,
        unit: "images",
        default: "batch_size",
        empty: "batch_size",
        as_before: None,
        about: "images that pass through the network at a time; gradients add up over the mini-batch",
        set: |d, v| {
            d.micro_batch = Some(v.whole_in(1, 1_000_000)? as u32);
            Ok(())
        },
        get: |j| j.micro_batch.map(|n| Value::Integer(n.into())),
    },
    Field {
        name: "epochs",
        kind: Kind::Whole,
        unit: "epochs",
        default: "1",
        empty: "",
        as_before: None,
        about: "passes over the training images",
        set: |d, v| {
            d.epochs = Some(v.whole_in(1, 1_000_000)? as u32);
            Ok(())
        },
        get: |j| whole!(j.epochs),
    },
    Field {
        name: "seed",
        kind: Kind::Whole,
        unit: "",
        default: "0",
        empty: "init_seed and data_seed differ",
        as_before: None,
        about: "init_seed and data_seed at once",
        set: |d, v| {
            d.seed = Some(v.whole_in(0, SEED_MAX)?);
            Ok(())
        },
        get: |j| if j.init_seed == j.data_seed { seed!(j.init_seed) } else { None },
    },
    Field {
        name: "init_seed",
        kind: Kind::Whole,
        unit: "",
        default: "seed",
        empty: "",
        as_before: None,
        about: "seed of the initial parameters",
        set: |d, v| {
            d.init_seed = Some(v.whole_in(0, SEED_MAX)?);
            Ok(())
        },
        get: |j| seed!(j.init_seed),
    },
    Field {
        name: "data_seed",
        kind: Kind::Whole,
        unit: "",
        default: "seed",
        empty: "",
        as_before: None,
        about: "seed of the validation split, the order of the images, their augmentation and the data-dependent batch",
        set: |d, v| {
            d.data_seed = Some(v.whole_in(0, SEED_MAX)?);
            Ok(())
        },
        get: |j| seed!(j.data_seed),
    },
];

/// The fields that tell replicates of one setting apart.
pub const SEED_FIELDS: [&str; 3] = ["seed", "init_seed", "data_seed"];

/// Why a draft is no job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct JobError {
    /// The field to change.
    pub field: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

impl Draft {
    /// Fills in the defaults and checks the fields against each other.
    ///
    /// # Errors
    /// Names the field to change and says why.
    pub fn resolve(&self) -> Result<Job, JobError> {
        let err = |field, message: String| Err(JobError { field, message });

        let dataset = match self.dataset.unwrap_or(DatasetName::FashionMnist) {
            DatasetName::Synthetic => Dataset::Synthetic {
                shape: self.synthetic_shape.unwrap_or([1, 8, 8]),
                classes: self.synthetic_classes.unwrap_or(10),
                images: self.synthetic_images.unwrap_or(1000),
            },
            name => Dataset::Named(name),
        };
        let cifar = matches!(dataset.name(), DatasetName::Cifar10 | DatasetName::Cifar100);
        let arch = match self.model.unwrap_or(ModelName::Mlp) {
            ModelName::Mlp => {
                Arch::Mlp { depth: self.depth.unwrap_or(10), width: self.width.unwrap_or(128) }
            }
            ModelName::Cnn => {
                Arch::Cnn { depth: self.depth.unwrap_or(5), width: self.width.unwrap_or(64) }
            }
            ModelName::ResNet => {
                Arch::ResNet { blocks: self.blocks.unwrap_or(9), width: self.width.unwrap_or(16) }
            }
            ModelName::Wrn => Arch::Wrn {
                blocks: self.blocks.unwrap_or(6),
                k: self.k.unwrap_or(1),
                reduced_memory: self.reduced_memory.unwrap_or(false),
            },
        };
        let norm = self.norm.unwrap_or(Norm::Weight);
        let gain = if norm == Norm::Weight { Gain::Proposed } else { Gain::Default };
        let init = self.init.unwrap_or(Init { direction: Direction::Orthogonal, gain });
        if init.gain != Gain::Default && norm != Norm::Weight {
            return err(
                "init",
                format!(
                    "\"{init}\" sets the gain of weight normalisation, but norm = \"{norm}\"; \
                     use norm = \"weight\", or init = \"{}\"",
                    init.direction
                ),
            );
        }
        let residual = matches!(arch, Arch::ResNet { .. } | Arch::Wrn { .. });
        if init.gain == Gain::Hanin && !residual {
            return err(
                "init",
                format!(
                    "\"{init}\" is for residual networks (resnet, wrn), but model = \"{}\"",
                    arch.name()
                ),
            );
        }
        if norm == Norm::Batch && !residual {
            return err(
                "norm",
                format!(
                    "\"batch\" is for residual networks (resnet, wrn), but model = \"{}\"",
                    arch.name()
                ),
            );
        }
        let seed = self.seed.unwrap_or(0);
        let settings = Settings {
            dataset,
            train_images: self.train_images,
            val_fraction: self.val_fraction.unwrap_or(0.1),
            test_images: self.test_images,
            input: self.input.unwrap_or(InputScaling::Paper),
            augment: self.augment.unwrap_or(if cifar { Augment::CropFlip } else { Augment::None }),
            arch,
            norm,
            init,
            precision: self.precision.unwrap_or(Precision::Fp32),
            lr: self.lr.unwrap_or(0.01),
            momentum: self.momentum.unwrap_or(0.9),
            weight_decay: self.weight_decay.unwrap_or(0.0),
            schedule: self.schedule.unwrap_or(Schedule::Constant),
            warmup_epochs: self.warmup_epochs.unwrap_or(0),
            warmup_lr: self.warmup_lr.unwrap_or(0.0),
            batch_size: self.batch_size.unwrap_or(128),
            micro_batch: self.micro_batch,
            epochs: self.epochs.unwrap_or(1),
            init_seed: self.init_seed.unwrap_or(seed),
            data_seed: self.data_seed.unwrap_or(seed),
        };
        settings.check()
    }
}

impl Settings {
    fn check(mut self) -> Result<Job, JobError> {
        let err = |field, message: String| Err(JobError { field, message });
        let all = self.dataset.images().0;
        let val = (all as f64 * self.val_fraction).round() as usize;
        if val == 0 || val >= all {
            return err(
                "val_fraction",
                format!(
                    "{} of {all} images leaves nothing to validate or to train on",
                    self.val_fraction
                ),
            );
        }
        match self.train_images {
            Some(n) if n as usize > all - val => {
                return err(
                    "train_images",
                    format!(
                        "{n} is more than the {} images that validation leaves of {}",
                        all - val,
                        self.dataset.name()
                    ),
                );
            }
            // Asking for all of them is the same job as not asking.
            Some(n) if n as usize == all - val => self.train_images = None,
            _ => {}
        }
        let test = self.dataset.images().1;
        match self.test_images {
            Some(n) if n as usize > test => {
                return err(
                    "test_images",
                    format!("{n} is more than the {test} test images of {}", self.dataset.name()),
                );
            }
            Some(n) if n as usize == test => self.test_images = None,
            _ => {}
        }
        if let Some(micro) = self.micro_batch {
            if micro > self.batch_size {
                return err(
                    "micro_batch",
                    format!("{micro} is more than batch_size = {}", self.batch_size),
                );
            }
            if micro == self.batch_size {
                self.micro_batch = None;
            }
        }
        if self.warmup_epochs == 0 {
            self.warmup_lr = 0.0; // has no effect without a warm-up
        }
        if self.warmup_epochs > self.epochs {
            return err(
                "warmup_epochs",
                format!(
                    "a warm-up of {} epochs is longer than the training, epochs = {}",
                    self.warmup_epochs, self.epochs
                ),
            );
        }
        Ok(Job(self))
    }
}

/// Identifies a job: the first 48 bits of a SHA-256 over the schema number and every field.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId([u8; 6]);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for JobId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is no job id: 12 hexadecimal digits are expected");
        if text.len() != 12 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut id = [0; 6];
        for (byte, digits) in id.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(JobId(id))
    }
}

impl JobId {
    /// The id of a job of which these are the fields that apply, with their values as
    /// [`Field::get`] gives them, in the order of [`FIELDS`].
    pub(crate) fn of<V: fmt::Display>(fields: impl IntoIterator<Item = (&'static Field, V)>) -> JobId {
        use std::fmt::Write;
        let mut text = String::with_capacity(512);
        let mut written = writeln!(text, "wninit job {SCHEMA}");
        for (field, value) in fields {
            let line = text.len();
            written = written.and(write!(text, "{}={value}", field.name));
            match field.as_before {
                Some(before) if text[line..].split_once('=').is_some_and(|(_, v)| v == before) => {
                    text.truncate(line);
                }
                _ => text.push('\n'),
            }
        }
        debug_assert!(written.is_ok(), "writing to memory cannot fail");
        let digest = Sha256::digest(&text);
        let mut id = [0; 6];
        id.copy_from_slice(&digest[..6]);
        JobId(id)
    }
}

impl Job {
    /// The job's identity: equal for equal jobs, in every version of the program.
    ///
    /// Hashed is `wninit job 1` and then a line `name=value` for each of [`FIELDS`] that applies.
    /// A field added later must not change the ids of the jobs that came before it:
    /// [`Field::as_before`] names the value that is left out.
    pub fn id(&self) -> JobId {
        JobId::of(FIELDS.iter().filter_map(|field| Some((field, field.get(self)?))))
    }

    /// The job with other values in some fields.
    ///
    /// # Errors
    /// As [`Draft::resolve`]; the field is the one whose value was refused.
    pub fn with(&self, changes: &[(&str, Value)]) -> Result<Job, JobError> {
        let mut draft = self.draft();
        for (name, value) in changes {
            let field = Field::named(name).ok_or_else(|| JobError {
                field: "job",
                message: unknown("field", name, FIELDS.iter().map(|f| f.name)),
            })?;
            if field.name == "seed" {
                draft.init_seed = None;
                draft.data_seed = None;
            }
            field
                .set(&mut draft, value)
                .map_err(|message| JobError { field: field.name, message })?;
        }
        draft.resolve()
    }

    /// A draft that resolves to this job.
    pub(crate) fn draft(&self) -> Draft {
        let mut draft = Draft::default();
        for field in FIELDS {
            if let Some(value) = field.get(self) {
                let set = field.set(&mut draft, &value);
                debug_assert_eq!(set, Ok(()), "{} does not take its own value", field.name);
            }
        }
        draft
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn job(settings: &[(&str, &str)]) -> Result<Job, JobError> {
        let mut draft = Draft::default();
        for (name, text) in settings {
            Field::named(name).unwrap().set(&mut draft, &Value::Text((*text).to_owned())).unwrap();
        }
        draft.resolve()
    }

    #[test]
    fn ids_stay_what_they_were_in_the_first_release() {
        // Results are found by these: if one changes, finished sweeps start over.
        let id = |settings: &[(&str, &str)]| job(settings).unwrap().id().to_string();
        assert_eq!(id(&[]), "a7a94226f0eb");
        assert_eq!(
            id(&[("dataset", "digits"), ("depth", "50"), ("seed", "3"), ("lr", "0.001")]),
            "8a95386b95c0"
        );
        assert_eq!(
            id(&[
                ("model", "wrn"),
                ("k", "10"),
                ("dataset", "cifar10"),
                ("init", "he_hanin"),
                ("warmup_epochs", "1")
            ]),
            "d2737f79a8ae"
        );
        assert_eq!(
            id(&[
                ("dataset", "synthetic"),
                ("model", "resnet"),
                ("norm", "batch"),
                ("micro_batch", "32")
            ]),
            "46e6fdade54a"
        );
    }

    #[test]
    fn a_field_takes_the_kind_of_value_that_it_declares() {
        for field in FIELDS {
            let takes = |value: Value| field.set(&mut Draft::default(), &value).is_ok();
            let (half, many) = (Value::Float(0.5), Value::Integer(20));
            let kind = match (takes(half), takes(Value::Boolean(true)), takes(many)) {
                (true, false, _) => Kind::Number,
                (false, true, false) => Kind::Boolean,
                (false, false, true) => Kind::Whole,
                _ if takes(Value::Text("1x8x8".to_owned())) => Kind::Sizes,
                _ => Kind::Word,
            };
            assert_eq!(kind, field.kind, "{field:?}");
        }
    }

    #[test]
    fn every_field_changes_the_id_and_takes_its_own_value_back() {
        let base = [
            ("dataset", "synthetic"),
            ("model", "wrn"),
            ("epochs", "9"),
            ("warmup_epochs", "2"),
            ("augment", "none"),
        ];
        let plain = job(&base).unwrap();
        for field in FIELDS {
            let (others, value) = match field.name {
                "dataset" => (&base[1..], "digits"),
                "synthetic_shape" => (&base[..], "3x9x7"),
                "synthetic_classes" => (&base[..], "7"),
                "synthetic_images" => (&base[..], "500"),
                "train_images" | "test_images" | "micro_batch" => (&base[..], "17"),
                "val_fraction" | "momentum" | "warmup_lr" => (&base[..], "0.25"),
                "augment" => (&base[..4], "crop_flip"),
                "input" => (&base[..], "standardised"),
                "model" => (&[base[0], base[2], base[3], base[4]][..], "mlp"),
                "depth" | "width" => continue, // of other models
                "reduced_memory" => (&base[..], "true"),
                "norm" => (&base[..], "batch"),
                "init" => (&base[..], "he_hanin"),
                "precision" => (&base[..], "bf16"),
                "schedule" => (&base[..], "thirds"),
                "epochs" => (&[base[0], base[1], base[3], base[4]][..], "5"),
                "warmup_epochs" => (&[base[0], base[1], base[2], base[4]][..], "3"),
                "lr" | "weight_decay" => (&base[..], "0.5"),
                _ => (&base[..], "33"), // blocks, k, batch_size, seeds
            };
            let changed = job(&[others, &[(field.name, value)]].concat()).unwrap();
            assert_ne!(changed.id(), plain.id(), "{}", field.name);
            assert_eq!(changed.draft().resolve().unwrap(), changed, "{}", field.name);
        }
    }

    #[test]
    fn what_has_no_effect_is_no_part_of_the_id() {
        let same = |a: &[(&str, &str)], b: &[(&str, &str)]| {
            assert_eq!(job(a).unwrap().id(), job(b).unwrap().id())
        };
        same(&[("depth", "10")], &[]);
        same(&[("model", "wrn"), ("depth", "3")], &[("model", "wrn")]);
        same(&[("micro_batch", "128")], &[]);
        same(&[("train_images", "54000")], &[]);
        same(&[("test_images", "10000")], &[]);
        same(&[("input", "paper")], &[]);
        same(&[("warmup_lr", "0.1")], &[]);
        same(&[("synthetic_classes", "3")], &[]);
        same(&[("seed", "4")], &[("init_seed", "4"), ("data_seed", "4")]);
        same(&[("weight_decay", "-0")], &[]);
    }

    #[test]
    fn what_cannot_be_trained_is_no_job_and_the_error_names_the_field_to_change() {
        for (settings, field) in [
            (&[("init", "he_datadep"), ("norm", "none")][..], "init"),
            (&[("init", "orthogonal_hanin")], "init"),
            (&[("norm", "batch")], "norm"),
            (&[("train_images", "54001")], "train_images"),
            (&[("test_images", "10001")], "test_images"),
            (&[("micro_batch", "129")], "micro_batch"),
            (&[("warmup_epochs", "2")], "warmup_epochs"),
            (
                &[("dataset", "synthetic"), ("synthetic_images", "10"), ("val_fraction", "0.01")],
                "val_fraction",
            ),
        ] {
            assert_eq!(job(settings).unwrap_err().field, field, "{settings:?}");
        }
        for (field, value) in [
            ("lr", "-1"),
            ("lr", "nan"),
            ("momentum", "1.5"),
            ("val_fraction", "0"),
            ("epochs", "0"),
            ("depth", "2.5"),
        ] {
            let refused =
                Field::named(field).unwrap().set(&mut Draft::default(), &Value::Text(value.into()));
            assert!(refused.is_err(), "{field} = {value}");
        }
    }

    #[test]
    fn a_misspelt_word_is_answered_with_the_nearest_valid_one() {
        let error = "orthogonal_propsed".parse::<Init>().unwrap_err();
        assert!(error.contains("did you mean \"orthogonal_proposed\"?"), "{error}");
        assert_eq!(nearest("fashion_mnist", ["mnist", "fashion-mnist"]), Some("fashion-mnist"));
        assert_eq!(nearest("zzz", ["mnist"]), None);
    }

    #[test]
    fn ids_are_read_as_they_are_written() {
        let id = job(&[]).unwrap().id();
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "12345", "zzzzzzzzzzzz", "1234567890abc", "+23456789abc"] {
            assert!(wrong.parse::<JobId>().is_err(), "{wrong}");
        }
    }
}
