//! The type of a job's fields, and the macro that generates everything about them from one table.

use std::fmt;

use super::activation::Activation;
use super::arch::{ModelName, Size};
use super::choices::{
    Augment, Choice, Choices, DataType, DatasetName, InputScaling, Norm, Precision, Schedule,
};
use super::initializer::Init;
use super::value::Value;
use super::{DataHash, Draft, FIELDS, Settings, one_of};

/// The values that a field accepts.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// One of these words.
    Choice(fn() -> Vec<Choice>),
    /// Whole numbers from the first to the last.
    Whole(u64, u64),
    /// Numbers from the first to the last; the text gives the reason if the first itself is
    /// excluded, and is empty otherwise.
    Number(f64, f64, &'static str),
    /// `true` or `false`.
    Boolean,
    /// Channels, height and width.
    Sizes,
    /// A [`DataHash`].
    Hash,
    /// The path of a file.
    Path,
}

/// One field of a job: its key in a grid, its column in a CSV file, its part of the id.
pub struct Field {
    /// The key and the column.
    pub name: &'static str,
    /// Its meaning.
    pub about: &'static str,
    /// Its unit, or an empty string.
    pub unit: &'static str,
    /// The default value, or a description if it depends on other fields.
    pub default: &'static str,
    /// What an empty cell means in a CSV file, or an empty string if it is never empty.
    pub empty: &'static str,
    /// For a field that was added later, the value of all jobs before that. It is left out of the
    /// id, and files of earlier versions lack the column.
    pub(crate) as_before: Option<&'static str>,
    pub(crate) kind: Kind,
    /// Whether the default is one value, whatever the other fields are.
    pub(crate) constant: bool,
    /// Whether a job stores the default as `None`.
    pub(crate) optional: bool,
    pub(super) set: fn(&mut Draft, &Value, Kind) -> Result<(), String>,
    pub(super) get: fn(&Settings) -> Option<Value>,
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
        (self.set)(draft, value, self.kind)
    }

    /// Whether the field can have the value, as [`Field::set`].
    pub(crate) fn check(&self, value: &Value) -> Result<(), String> {
        self.set(&mut Draft::default(), value)
    }

    /// The field's value in a job; `None` if it does not apply (the `depth` of a `wrn`).
    pub fn get(&self, job: &Settings) -> Option<Value> {
        (self.get)(job)
    }
}

/// The table's entry for a field, besides its name and type.
pub(super) struct Declared {
    /// Its meaning; `{choices}` and `{either}` stand for its words, and `{parts}` for
    /// those of an initializer. Empty for a field that sizes architectures, which document it.
    pub about: &'static str,
    pub unit: &'static str,
    /// The default, if it is one value.
    pub default: &'static str,
    /// Else a description of what it depends on.
    pub otherwise: &'static str,
    pub empty: &'static str,
    pub as_before: Option<&'static str>,
    pub kind: Kind,
}

impl Declared {
    pub(super) const fn of(kind: Kind) -> Declared {
        Declared {
            about: "",
            unit: "",
            default: "",
            otherwise: "",
            empty: "",
            as_before: None,
            kind,
        }
    }

    pub(super) fn field(
        self,
        name: &'static str,
        optional: bool,
        set: fn(&mut Draft, &Value, Kind) -> Result<(), String>,
        get: fn(&Settings) -> Option<Value>,
    ) -> Field {
        let Declared { about, unit, default, otherwise, empty, as_before, kind } = self;
        let constant = !default.is_empty();
        let (about, default, empty) = match (about, kind) {
            ("", _) => {
                let default = Size::defaults(name).leak() as &str;
                (Size::about(name).leak() as &str, default, Size::empty(name).leak() as &str)
            }
            (about, Kind::Choice(choices)) => (with_choices(about, choices()), default, empty),
            _ => (about, default, empty),
        };
        let default = if default.is_empty() { otherwise } else { default };
        Field { name, about, unit, default, empty, as_before, kind, constant, optional, set, get }
    }
}

fn with_choices(about: &str, choices: Vec<Choice>) -> &'static str {
    let word = |choice: &Choice| match choice.note {
        "" => choice.name.to_owned(),
        note => format!("{} ({note})", choice.name),
    };
    let words: Vec<String> = choices.iter().map(word).collect();
    let either = one_of(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let about = about.replace("{choices}", &words.join(", ")).replace("{either}", &either);
    about.replace("{parts}", &Init::parts()).leak()
}

/// The type of a field's values.
pub(super) trait FieldType: Copy {
    const KIND: Kind;
    fn read(value: &Value, kind: Kind) -> Result<Self, String>;
    fn value(self) -> Value;
}

macro_rules! words {
    ($($type:ty),+) => {
        $(impl FieldType for $type {
            const KIND: Kind = Kind::Choice(<$type as Choices>::choices);
            fn read(value: &Value, _: Kind) -> Result<Self, String> { value.parse() }
            fn value(self) -> Value { Value::Text(self.name().to_owned()) }
        })+
    };
}

words!(
    DatasetName,
    DataType,
    Augment,
    InputScaling,
    ModelName,
    Activation,
    Norm,
    Precision,
    Schedule
);

impl FieldType for Init {
    const KIND: Kind = Kind::Choice(<Init as Choices>::choices);
    fn read(value: &Value, _: Kind) -> Result<Init, String> {
        match value {
            Value::Init(init) => Ok(*init),
            other => other.parse(),
        }
    }
    fn value(self) -> Value {
        match self {
            Init::BuiltIn { .. } => Value::Text(self.name().to_owned()),
            Init::Own { .. } => Value::Init(self),
        }
    }
}

macro_rules! whole {
    ($($type:ty),+) => {
        $(impl FieldType for $type {
            // TOML's whole numbers end at i64::MAX.
            const KIND: Kind = Kind::Whole(0, if <$type>::BITS < 64 { <$type>::MAX as u64 } else { i64::MAX as u64 });
            fn read(value: &Value, kind: Kind) -> Result<Self, String> {
                let Kind::Whole(low, high) = kind else { return Err(NO_RANGE.to_owned()) };
                value.whole(low, high)?.try_into().map_err(|_| NO_RANGE.to_owned())
            }
            fn value(self) -> Value { Value::Integer(self as i64) }
        })+
    };
}

/// A table that declares a range of another type than the field's: a unit test finds it.
const NO_RANGE: &str = "the field's range does not suit its type";

whole!(u16, u32, u64);

impl FieldType for f64 {
    const KIND: Kind = Kind::Number(0.0, f64::MAX, "");
    fn read(value: &Value, kind: Kind) -> Result<f64, String> {
        let Kind::Number(low, high, why_not_low) = kind else { return Err(NO_RANGE.to_owned()) };
        value.number(low, high, why_not_low)
    }
    fn value(self) -> Value {
        Value::Float(self)
    }
}

impl FieldType for bool {
    const KIND: Kind = Kind::Boolean;
    fn read(value: &Value, _: Kind) -> Result<bool, String> {
        value.boolean()
    }
    fn value(self) -> Value {
        Value::Boolean(self)
    }
}

impl FieldType for [u16; 3] {
    const KIND: Kind = Kind::Sizes;
    fn read(value: &Value, _: Kind) -> Result<[u16; 3], String> {
        value.sizes()
    }
    fn value(self) -> Value {
        Value::Text(self.map(|size| size.to_string()).join("x"))
    }
}

impl FieldType for DataHash {
    const KIND: Kind = Kind::Hash;
    fn read(value: &Value, _: Kind) -> Result<Self, String> {
        value.parse()
    }
    fn value(self) -> Value {
        Value::Text(self.to_string())
    }
}

/// The key `path` of a grid. It is no field of a job: the grid replaces it by the fields `data_…`,
/// which say what is in the file.
pub(crate) static PATH: Field = Field {
    name: "path",
    about: "the file of dataset = \"file\", .npz or .safetensors, relative to this grid",
    unit: "",
    default: "none",
    empty: "",
    as_before: None,
    kind: Kind::Path,
    constant: false,
    optional: true,
    set: |_, value, _| match value {
        Value::Text(_) => Ok(()),
        other => Err(format!("expected the path of a file, got {other}")),
    },
    get: |_| None,
};

/// Makes [`Draft`], [`Settings`] and [`FIELDS`] of the table of fields. After its name, type and
/// text, a field says how a job stores it:
///
/// * `is required`: as a value. Its default is a constant, or `or |draft| { … }` computes it from the
///   fields above.
/// * `is optional`: as an `Option`, `None` for the default.
/// * `get |job| { … }`: as a part of the job's data set, architecture or seeds.
macro_rules! fields {
    ($($name:ident: $type:ty { $($key:ident: $said:expr),* $(,)? }
        $(is $stored:ident $(or |$draft:ident| $computed:block)?)? $(get |$job:ident| $get:block)?;
    )+) => {
        /// A job being filled in: a field that is `None` takes its default.
        #[derive(Clone, Debug, Default, PartialEq)]
        #[allow(missing_docs)] // FIELDS documents each
        pub struct Draft { $(pub $name: Option<$type>,)+ }

        /// The settings of a job, readable through [`Job`]. Build one with [`Draft::resolve`].
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs)] // FIELDS documents each
        pub struct Settings {
            pub dataset: Dataset,
            pub arch: Arch,
            $($(pub $name: stored!($stored $type),)?)+
        }

        /// Every field of a job, in the order of the CSV columns.
        pub static FIELDS: LazyLock<Vec<Field>> = LazyLock::new(|| vec![$({
            let declared = Declared { $($key: $said,)* ..Declared::of(<$type as FieldType>::KIND) };
            let optional = matches!(concat!($(stringify!($stored))?), "optional");
            declared.field(
                stringify!($name),
                optional,
                |draft, value, kind| {
                    draft.$name = Some(FieldType::read(value, kind)?);
                    Ok(())
                },
                |job| {
                    $(let value: Option<$type> = held!($stored job.$name);)?
                    $(let value: Option<$type> = { let $job = job; $get };)?
                    Some(value?.value())
                },
            )
        },)+]);

        impl Draft {
            /// The draft with the defaults of its empty fields. The fields that size an
            /// architecture, and those that store the default as `None`, stay as they are.
            fn with_defaults(&self) -> Draft {
                let mut draft = self.clone();
                $(draft.$name = draft.$name.or(DEFAULTS.$name);)+
                $($($(if draft.$name.is_none() {
                    let computed = { let $draft = &draft; $computed };
                    draft.$name = Some(computed);
                })?)?)+
                draft
            }

            /// The settings of a draft with its defaults; `None` if one is missing.
            fn settings(&self) -> Option<Settings> {
                Some(Settings {
                    dataset: Dataset::of(self)?,
                    arch: Arch::of(self)?,
                    $($($name: settled!($stored self.$name),)?)+
                })
            }
        }
    };
}

macro_rules! stored {
    (required $type:ty) => { $type };
    (optional $type:ty) => { Option<$type> };
}

macro_rules! settled {
    (required $value:expr) => {
        $value?
    };
    (optional $value:expr) => {
        $value
    };
}

macro_rules! held {
    (required $value:expr) => {
        Some($value)
    };
    (optional $value:expr) => {
        $value
    };
}

pub(super) use {fields, held, settled, stored};
