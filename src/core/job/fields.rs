//! The fields of a job, each declared once: grids take their keys and checks from this table, CSV
//! files their columns, `columns.json`, the README and the JSON schema their text, and
//! [`JobId`](super::JobId) the order in which the values are hashed.

use std::sync::LazyLock;

use super::activation::Activation;
use super::arch::{Arch, ModelName};
use super::choices::{Augment, DataType, DatasetName, InputScaling, Norm, Precision, Schedule};
use super::field::{Declared, Field, FieldType, Kind, fields, held, settled, stored};
use super::initializer::{Direction, Gain, Init};
use super::value::{MAX_CLASSES, Value};
use super::{DataHash, Dataset, Job, JobError};

/// The fields that distinguish replicates of one setting.
pub const SEED_FIELDS: [&str; 3] = ["seed", "init_seed", "data_seed"];

/// The default of a field that says what is in a user's file.
const FOUND: &str = "found in the file";
/// When such a field does not apply.
const NO_FILE: &str = "the data set is not a file";

fields! {
    dataset: DatasetName {
        about: "what is trained on: {choices}",
        default: "fashion-mnist",
    } get |job| { Some(job.dataset.name()) };

    synthetic_shape: [u16; 3] {
        about: "shape of a synthetic image; [1, 8, 8] or \"1x8x8\" in a grid",
        unit: "channels x height x width",
        default: "1x8x8",
        empty: "the data set is not synthetic",
    } get |job| { job.dataset.draft().synthetic_shape };

    synthetic_classes: u16 {
        about: "number of classes of the synthetic data set",
        unit: "classes",
        default: "10",
        kind: Kind::Whole(2, MAX_CLASSES),
        empty: "the data set is not synthetic",
    } get |job| { job.dataset.draft().synthetic_classes };

    synthetic_images: u32 {
        about: "number of training images of the synthetic data set, validation included",
        unit: "images",
        default: "1000",
        kind: Kind::Whole(10, 10_000_000),
        empty: "the data set is not synthetic",
    } get |job| { job.dataset.draft().synthetic_images };

    data_hash: DataHash {
        about: "the first 64 bits of a SHA-256 of what is in the file, whatever its name and format",
        otherwise: FOUND,
        empty: NO_FILE,
        as_before: Some(""),
    } get |job| { job.dataset.draft().data_hash };

    data_type: DataType {
        about: "type of the images in the file: {choices}",
        otherwise: FOUND,
        empty: NO_FILE,
        as_before: Some(""),
    } get |job| { job.dataset.draft().data_type };

    data_shape: [u16; 3] {
        about: "shape of an image in the file; n features are 1x1xn",
        unit: "channels x height x width",
        otherwise: FOUND,
        empty: NO_FILE,
        as_before: Some(""),
    } get |job| { job.dataset.draft().data_shape };

    data_classes: u16 {
        about: "number of classes in the file",
        unit: "classes",
        otherwise: FOUND,
        kind: Kind::Whole(2, MAX_CLASSES),
        empty: NO_FILE,
        as_before: Some(""),
    } get |job| { job.dataset.draft().data_classes };

    data_train: u32 {
        about: "number of training images in the file, validation included",
        unit: "images",
        otherwise: FOUND,
        kind: Kind::Whole(2, u32::MAX as u64),
        empty: NO_FILE,
        as_before: Some(""),
    } get |job| { job.dataset.draft().data_train };

    data_test: u32 {
        about: "number of test images in the file; 0: a fifth of all images is the test set, drawn with data_seed",
        unit: "images",
        otherwise: FOUND,
        kind: Kind::Whole(0, u32::MAX as u64),
        empty: NO_FILE,
        as_before: Some(""),
    } get |job| { job.dataset.draft().data_test };

    train_images: u32 {
        about: "train on this many images only, drawn with data_seed after the validation split",
        unit: "images",
        otherwise: "all that validation leaves",
        kind: Kind::Whole(1, 10_000_000),
        empty: "all that validation leaves",
    } is optional;

    val_fraction: f64 {
        about: "share of the training set held out for validation, drawn with data_seed",
        unit: "fraction",
        default: "0.1",
        kind: Kind::Number(0.0, 0.9, "the test accuracy is that of the best validation epoch, \
                                      so some images must be held out"),
    } is required;

    test_images: u32 {
        about: "test on this many test images only, evenly spaced through the test set, the same for every seed",
        unit: "images",
        otherwise: "the whole test set",
        kind: Kind::Whole(1, 10_000_000),
        empty: "the whole test set",
        as_before: Some(""),
    } is optional;

    augment: Augment {
        about: "augmentation of training images: {choices}",
        otherwise: "crop_flip for cifar10 and cifar100, none otherwise",
    } is required or |draft| {
        match draft.dataset {
            Some(DatasetName::Cifar10 | DatasetName::Cifar100) => Augment::CropFlip,
            _ => Augment::None,
        }
    };

    input: InputScaling {
        about: "scaling of the images: {choices}",
        default: "paper",
        empty: "paper",
        as_before: Some("paper"),
    } is required;

    model: ModelName {
        about: "family of the network: {choices}",
        default: "mlp",
    } get |job| { Some(job.arch.name()) };

    // Meaning, default and applicability of these are in `arch.rs`.
    depth: u32 { unit: "layers", kind: Kind::Whole(1, 100_000) } get |job| { job.arch.draft().depth };

    width: u32 {
        unit: "units or channels",
        kind: Kind::Whole(1, 100_000),
    } get |job| { job.arch.draft().width };

    blocks: u32 { unit: "blocks", kind: Kind::Whole(1, 100_000) } get |job| { job.arch.draft().blocks };

    k: u32 { kind: Kind::Whole(1, 1000) } get |job| { job.arch.draft().k };

    reduced_memory: bool {} get |job| { job.arch.draft().reduced_memory };

    activation: Activation {
        about: "activation function: {choices}",
        default: "relu",
        empty: "relu",
        as_before: Some("relu"),
    } is required;

    norm: Norm { about: "normalisation: {either}", default: "weight" } is required;

    init: Init {
        about: "initializer: {parts}, or the name of an [[initializer]]",
        otherwise: "orthogonal_proposed (weight norm), orthogonal (otherwise)",
    } is required or |draft| {
        let weight = draft.norm == Some(Norm::Weight);
        let gain = if weight { Gain::Proposed } else { Gain::Default };
        Init::BuiltIn { direction: Direction::Orthogonal, gain }
    };

    branch_scale: f64 {
        about: "initial value of a learnt scalar that multiplies each residual branch (0 in SkipInit and ReZero)",
        otherwise: "no such scalar",
        kind: Kind::Number(-100.0, 100.0, ""),
        empty: "no such scalar",
        as_before: Some(""),
    } is optional;

    precision: Precision {
        about: "arithmetic of products and convolutions: {choices}",
        default: "fp32",
    } is required;

    lr: f64 { about: "base learning rate of SGD", default: "0.01" } is required;

    momentum: f64 {
        about: "momentum of SGD (PyTorch's update rule, no dampening)",
        default: "0.9",
        kind: Kind::Number(0.0, 1.0, ""),
    } is required;

    weight_decay: f64 {
        about: "weight decay of SGD, on every parameter",
        default: "0",
    } is required;

    schedule: Schedule {
        about: "factor on the learning rate by epoch: {choices}",
        default: "constant",
    } is required;

    warmup_epochs: u32 {
        about: "length of the quadratic warm-up of the learning rate",
        unit: "epochs",
        default: "0",
        kind: Kind::Whole(0, 1_000_000),
    } is required;

    warmup_lr: f64 { about: "learning rate at which the warm-up starts", default: "0" } is required;

    batch_size: u32 {
        about: "images of a mini-batch; the last one of an epoch may be smaller",
        unit: "images",
        default: "128",
        kind: Kind::Whole(1, 1_000_000),
    } is required;

    micro_batch: u32 {
        about: "images that pass through the network at a time; gradients add up over the mini-batch",
        unit: "images",
        otherwise: "batch_size",
        kind: Kind::Whole(1, 1_000_000),
        empty: "batch_size",
    } is optional;

    epochs: u32 {
        about: "passes over the training images",
        unit: "epochs",
        default: "1",
        kind: Kind::Whole(1, 1_000_000),
    } is required;

    seed: u64 {
        about: "init_seed and data_seed at once",
        default: "0",
        empty: "init_seed and data_seed differ",
    } get |job| { (job.init_seed == job.data_seed).then_some(job.init_seed) };

    init_seed: u64 {
        about: "seed of the initial parameters",
        otherwise: "seed",
    } is required or |draft| { draft.seed.unwrap_or_default() };

    data_seed: u64 {
        about: "seed of the validation split, the order of the images, their augmentation and the data-dependent batch",
        otherwise: "seed",
    } is required or |draft| { draft.seed.unwrap_or_default() };
}

/// The defaults that do not depend on other fields.
static DEFAULTS: LazyLock<Draft> = LazyLock::new(|| {
    let mut draft = Draft::default();
    for field in FIELDS.iter().filter(|field| field.constant) {
        let set = field.set(&mut draft, &Value::Text(field.default.to_owned()));
        set.unwrap_or_else(|message| panic!("the default of {field:?}: {message}"));
    }
    draft
});

impl Draft {
    /// Fills in the defaults and checks the fields against each other.
    ///
    /// # Errors
    /// Names the field to change and says why.
    pub fn resolve(&self) -> Result<Job, JobError> {
        let missing = || match self.dataset {
            Some(DatasetName::File) => JobError {
                field: "dataset",
                message: "\"file\" needs path = \"my.npz\", the file that holds your data"
                    .to_owned(),
            },
            _ => JobError { field: "job", message: "a default is missing".to_owned() },
        };
        self.with_defaults().settings().ok_or_else(missing)?.check()
    }
}
