//! Initializers: a direction with a built-in rule for the gain, or a definition of a grid.

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::str::FromStr;
use std::sync::{LazyLock, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::arch::Arch;
use super::choices::{Choice, Choices, choices, one_of, unknown};
use super::expression::{Expression, SyntaxError};
use super::network::{Role, Weight};
use super::{Activation, Norm};

choices! {
    /// Distribution of the direction `v` of the weights.
    Direction, "direction" {
        /// N(0, 2/fan_in) (He et al. 2015); N(0, 1/fan_in) for `he_proposed`.
        He = "he",
        /// Haar-distributed orthogonal rows (or columns, where there are more rows than inputs).
        Orthogonal = "orthogonal",
        /// A kernel that is 0 but for its centre, which is orthogonal (Xiao et al. 2018); without a kernel as `orthogonal`.
        DeltaOrthogonal = "delta_orthogonal",
        /// N(0, 2/(fan_in + fan_out)) (Glorot & Bengio 2010).
        Xavier = "xavier" ("in a definition only"),
        /// N(0, 1/fan_in) (LeCun et al. 1998).
        LeCun = "lecun" ("in a definition only"),
    }
}

choices! {
    /// Rule for the gain `g` (and, if data-dependent, the bias).
    Gain, "gain" {
        /// PyTorch's: `g = ‖v‖`.
        Default = "default",
        /// Unit variance of each unit on one mini-batch (Salimans & Kingma 2016, eq. 6).
        Datadep = "datadep",
        /// `sqrt(γ·fan_in/fan_out)` (Arpit, Campos & Bengio 2019).
        Proposed = "proposed",
        /// `sqrt(γ)`: the backward-pass variant of the same paper.
        ProposedBackward = "proposed_backward",
        /// As proposed, with γ = (0.9^b)² for the second convolution of block b of a stage.
        Hanin = "hanin",
        /// Unit variance of each layer on one mini-batch (LSUV: Mishkin & Matas 2016).
        Lsuv = "lsuv",
    }
}

impl Gain {
    /// Whether layers of this norm can have the rule.
    pub(super) fn suits(self, norm: Norm) -> bool {
        match self {
            Gain::Default => true,
            Gain::Lsuv => norm != Norm::Batch,
            _ => norm == Norm::Weight,
        }
    }
}

/// An initializer: `direction × gain`, for example `orthogonal_proposed`, or a user's own. Own ones
/// are equal if they do the same, whatever their names.
#[derive(Clone, Copy, Debug)]
pub enum Init {
    /// A built-in rule; the default gain has no suffix in its name.
    BuiltIn {
        /// Distribution of `v`.
        direction: Direction,
        /// Rule for `g`.
        gain: Gain,
    },
    /// An `[[initializer]]` of a grid.
    Own {
        /// Its name.
        name: &'static str,
        /// What it does.
        rule: &'static Definition,
    },
}

impl PartialEq for Init {
    fn eq(&self, other: &Init) -> bool {
        match (self, other) {
            (Init::Own { rule, .. }, Init::Own { rule: other, .. }) => rule == other,
            (
                Init::BuiltIn { direction, gain },
                Init::BuiltIn { direction: direction_2, gain: gain_2 },
            ) => (direction, gain) == (direction_2, gain_2),
            _ => false,
        }
    }
}

impl Eq for Init {}

impl Init {
    /// Every built-in initializer, direction by direction.
    pub fn all() -> impl Iterator<Item = Init> {
        use Direction::{DeltaOrthogonal, He, Orthogonal};
        [He, Orthogonal, DeltaOrthogonal].into_iter().flat_map(|direction| {
            Gain::ALL.iter().map(move |&gain| Init::BuiltIn { direction, gain })
        })
    }

    /// The name in grids and CSV files.
    pub fn name(self) -> &'static str {
        // By direction, then by gain: a name is looked up for each row of a file.
        static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
            let word = |direction: Direction, gain| match gain {
                Gain::Default => direction.name().to_owned(),
                gain => format!("{direction}_{gain}"),
            };
            let all = Direction::ALL.iter().flat_map(|&d| Gain::ALL.iter().map(move |&g| (d, g)));
            all.map(|(direction, gain)| word(direction, gain)).collect()
        });
        match self {
            Init::Own { name, .. } => name,
            Init::BuiltIn { direction, gain } => {
                &NAMES[direction as usize * Gain::ALL.len() + gain as usize]
            }
        }
    }

    /// An initializer of a grid.
    ///
    /// # Errors
    /// The name is not a word, or that of a built-in initializer.
    pub(crate) fn own(name: &str, rule: Definition) -> Result<Init, String> {
        check_name(name)?;
        static NAMES: Interned<String> = Interned::new();
        static RULES: Interned<Definition> = Interned::new();
        Ok(Init::Own { name: NAMES.keep(name.to_owned()), rule: RULES.keep(rule) })
    }

    /// Its definition, if it is a user's own.
    pub fn rule(self) -> Option<&'static Definition> {
        match self {
            Init::BuiltIn { .. } => None,
            Init::Own { rule, .. } => Some(rule),
        }
    }

    /// Its built-in rule for the gain, if it has one.
    pub fn gain(self) -> Option<Gain> {
        match self {
            Init::BuiltIn { gain, .. } => Some(gain),
            Init::Own { .. } => None,
        }
    }

    /// Whether it needs a forward pass over a mini-batch.
    pub fn is_data_dependent(self) -> bool {
        matches!(self.gain(), Some(Gain::Datadep | Gain::Lsuv))
    }

    /// "he or orthogonal, alone or with _datadep, _proposed, …"
    pub(super) fn parts() -> String {
        let plain = |init: &Init| init.gain() == Some(Gain::Default);
        let directions: Vec<&str> = Init::all().filter(plain).map(Init::name).collect();
        let gains = Gain::ALL.iter().filter(|gain| **gain != Gain::Default);
        let suffixes: Vec<String> = gains.map(|gain| format!("_{gain}")).collect();
        format!("{}, alone or with {}", one_of(&directions), suffixes.join(", "))
    }
}

impl Choices for Init {
    fn choices() -> Vec<Choice> {
        let about = |of: Vec<Choice>, name: &str| {
            of.into_iter().find(|choice| choice.name == name).map_or(String::new(), |c| c.about)
        };
        Init::all()
            .filter_map(|init| match init {
                Init::BuiltIn { direction, gain } => Some(Choice {
                    name: init.name(),
                    note: "",
                    about: format!(
                        "Direction: {} Gain: {}",
                        about(Direction::choices(), direction.name()),
                        about(Gain::choices(), gain.name())
                    ),
                }),
                Init::Own { .. } => None,
            })
            .collect()
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
            .find(|init| init.name() == text)
            .ok_or_else(|| unknown("init", text, Init::all().map(Init::name)))
    }
}

/// The longest name of an initializer, in bytes.
pub(crate) const MAX_INIT_NAME: usize = 60;

/// Checks the name of an own initializer.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.is_empty()
        || name.len() > MAX_INIT_NAME
        || !name.starts_with(|c: char| c.is_ascii_alphabetic())
        || !name.chars().all(fits)
    {
        return Err(format!(
            "an initializer's name is a letter and up to {} letters, digits, _, . or -",
            MAX_INIT_NAME - 1
        ));
    }
    match name.parse::<Init>() {
        Ok(_) => Err(format!("{name} is a built-in initializer; choose another name")),
        Err(_) => Ok(()),
    }
}

/// Values that live as long as the program, each once, so that a job that has one can be copied.
struct Interned<T: 'static>(LazyLock<Mutex<HashSet<&'static T>>>);

impl<T: Eq + Hash + Send + Sync> Interned<T> {
    const fn new() -> Interned<T> {
        Interned(LazyLock::new(Mutex::default))
    }

    fn keep(&self, value: T) -> &'static T {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&value) {
            Some(value) => value,
            None => {
                let value = Box::leak(Box::new(value));
                known.insert(value);
                value
            }
        }
    }
}

/// Declares the expressions of a definition, with their keys and their meanings.
macro_rules! expressions {
    ($($name:ident: $about:literal;)+) => {
        /// An own initializer: a direction and expressions for the gain and the bias of a layer.
        ///
        /// The gain is the norm of each unit's weights: `g` of a weight-normalised layer; a plain
        /// layer's rows are scaled to it. Without an expression it stays `‖v‖`. The output layer
        /// keeps PyTorch's default.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct Definition {
            /// Distribution of `v`.
            pub direction: Direction,
            $(#[doc = $about] pub $name: Option<Expression>,)+
        }

        impl Definition {
            /// The keys of its expressions, each with its meaning.
            pub(crate) const EXPRESSIONS: &'static [(&'static str, &'static str)] =
                &[$((stringify!($name), $about),)+];

            /// A direction with the gain `‖v‖` and no bias.
            pub(crate) fn of(direction: Direction) -> Definition {
                Definition { direction, $($name: None,)+ }
            }

            /// Each expression that it has, with its key.
            pub(crate) fn expressions(&self) -> impl Iterator<Item = (&'static str, &Expression)> {
                [$((stringify!($name), &self.$name),)+]
                    .into_iter()
                    .filter_map(|(key, expression)| Some((key, expression.as_ref()?)))
            }

            /// Sets the expression of a key; `false` if there is no such key.
            ///
            /// # Errors
            /// The text does not parse.
            pub(crate) fn set(&mut self, key: &str, text: &str) -> Result<bool, SyntaxError> {
                match key {
                    $(stringify!($name) => self.$name = Some(Expression::parse(text)?),)+
                    _ => return Ok(false),
                }
                Ok(true)
            }
        }
    };
}

expressions! {
    gain: "the gain of every layer that has no rule of its own below";
    residual: "the gain of the last convolution of a residual block";
    shortcut: "the gain of a 1x1 shortcut";
    stem: "the gain of the first convolution of a residual network";
    bias: "the bias of every layer; 0 if left out";
}

/// The definition in one line, as it is stored and hashed: `direction=he; gain=sqrt(2)`.
impl fmt::Display for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "direction={}", self.direction)?;
        self.expressions().try_for_each(|(key, expression)| write!(f, "; {key}={expression}"))
    }
}

impl FromStr for Definition {
    type Err = String;
    fn from_str(text: &str) -> Result<Definition, String> {
        let mut parts = text.split(';').map(|part| part.trim().split_once('='));
        let Some(Some(("direction", direction))) = parts.next() else {
            return Err(format!("{text:?} does not start with a direction"));
        };
        let mut rule = Definition::of(direction.parse()?);
        for part in parts {
            let (key, expression) =
                part.ok_or_else(|| format!("{text:?} has a part that is no key=expression"))?;
            match rule.set(key, expression) {
                Ok(true) => {}
                Ok(false) => {
                    let keys = Definition::EXPRESSIONS.iter().map(|(key, _)| *key);
                    return Err(unknown("key", key, keys));
                }
                Err(error) => return Err(format!("{key}: {}", error.message)),
            }
        }
        Ok(rule)
    }
}

impl Definition {
    /// The first four digits of a hash, which tell definitions of one name apart.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.to_string());
        format!("{:02x}{:02x}", digest[0], digest[1])
    }

    /// The key of the expression for a role's gain, with the expression; `None` if the gain is
    /// `‖v‖`.
    fn gain_of(&self, role: Role) -> Option<(&'static str, &Expression)> {
        let own = match role {
            Role::Residual { .. } => Some("residual").zip(self.residual.as_ref()),
            Role::Shortcut => Some("shortcut").zip(self.shortcut.as_ref()),
            Role::Stem { .. } => Some("stem").zip(self.stem.as_ref()),
            Role::Activated => None,
            Role::Head => return None,
        };
        own.or(Some("gain").zip(self.gain.as_ref()))
    }

    /// The gain (`None` for `‖v‖`) and the bias of a layer.
    ///
    /// # Errors
    /// Names the layer, the expression and what is wrong with its value.
    pub fn values(&self, layer: &Weight) -> Result<(Option<f64>, f64), String> {
        let value = |(key, expression): (&str, &Expression), low: f64, wanted: &str| {
            let value = expression.value(|variable| layer.value(variable));
            let wrong =
                |what: &str| format!("{key} = \"{expression}\": layer {}: {what}", layer.name);
            match value {
                Ok(value) if (low..=f32::MAX.into()).contains(&value) => Ok(value),
                Ok(value) => Err(wrong(&format!("the value is {value}, {wanted}"))),
                Err(message) => Err(wrong(&message)),
            }
        };
        let gain = self
            .gain_of(layer.role)
            .map(|gain| value(gain, 0.0, "but a gain is a finite number of at least 0"))
            .transpose()?;
        let bias = self
            .bias
            .as_ref()
            .map(|bias| value(("bias", bias), f32::MIN.into(), "but a bias is a finite number"));
        Ok((gain, bias.transpose()?.unwrap_or(0.0)))
    }

    /// Checks the values for every layer of a network.
    ///
    /// # Errors
    /// As [`Definition::values`].
    pub(super) fn check(
        &'static self,
        arch: Arch,
        input: [usize; 3],
        activation: Activation,
    ) -> Result<(), String> {
        type Known = HashSet<(&'static Definition, Arch, [usize; 3], Activation)>;
        // A plan of a million jobs has few networks.
        static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
        let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if known().contains(&(self, arch, input, activation)) {
            return Ok(());
        }
        let network = arch.network(input, 1, Norm::None, activation, false);
        network.weights().try_for_each(|layer| self.values(&layer).map(drop))?;
        known().insert((self, arch, input, activation));
        Ok(())
    }
}
