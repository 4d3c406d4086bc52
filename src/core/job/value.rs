//! Values from grids, options and CSV cells, and their checks.

use std::fmt;
use std::str::FromStr;

use super::initializer::Init;

/// A value from a grid, an option or a CSV cell.
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
    /// An own initializer, shown by its name.
    Init(Init),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => write!(f, "{text}"),
            Value::Integer(number) => write!(f, "{number}"),
            Value::Float(number) => write!(f, "{number}"),
            Value::Boolean(truth) => write!(f, "{truth}"),
            Value::Init(init) => write!(f, "{init}"),
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
    /// The value for readers: a small number with an exponent, `1e-6`.
    pub fn in_words(&self) -> String {
        match self {
            Value::Float(x) if *x != 0.0 && x.abs() < 1e-4 => format!("{x:e}"),
            value => value.to_string(),
        }
    }
}

/// The largest size along an axis of an image.
pub(crate) const MAX_SIZE: u64 = 4096;

/// The largest number of classes.
pub(crate) const MAX_CLASSES: u64 = 10_000;

impl Value {
    pub(super) fn parse<T: FromStr<Err = String>>(&self) -> Result<T, String> {
        match self {
            Value::Text(text) => text.parse(),
            other => Err(format!("expected a string, got {other}")),
        }
    }

    /// A finite number between the bounds, both included unless `why_not_low` excludes the lower.
    pub(super) fn number(&self, low: f64, high: f64, why_not_low: &str) -> Result<f64, String> {
        let number = match self {
            Value::Integer(n) => *n as f64,
            Value::Float(x) => *x,
            Value::Text(text) => {
                text.trim().parse().map_err(|_| format!("expected a number, got \"{text}\""))?
            }
            other => return Err(format!("expected a number, got {other}")),
        };
        if !number.is_finite() {
            Err(format!("expected a finite number, got {number}"))
        } else if number == low && !why_not_low.is_empty() {
            Err(format!("{number} is out of range: {why_not_low}"))
        } else if (low..=high).contains(&number) {
            Ok(number + 0.0) // -0 becomes 0: they are the same job
        } else if high == f64::MAX {
            Err(format!("{number} is out of range: it must be at least {low}"))
        } else {
            Err(format!("{number} is out of range: it must lie between {low} and {high}"))
        }
    }

    pub(super) fn whole(&self, low: u64, high: u64) -> Result<u64, String> {
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

    pub(super) fn boolean(&self) -> Result<bool, String> {
        match self {
            Value::Boolean(truth) => Ok(*truth),
            Value::Text(text) if text == "true" => Ok(true),
            Value::Text(text) if text == "false" => Ok(false),
            other => Err(format!("expected true or false, got {other}")),
        }
    }

    pub(super) fn sizes(&self) -> Result<[u16; 3], String> {
        let expected =
            || format!("expected channels, height and width such as [1, 8, 8], got {self}");
        let items = match self {
            Value::List(items) => items.clone(),
            Value::Text(text) => text.split('x').map(|t| Value::Text(t.to_owned())).collect(),
            _ => return Err(expected()),
        };
        let sizes = items.iter().map(|v| v.whole(1, MAX_SIZE)).collect::<Result<Vec<_>, _>>()?;
        match sizes[..] {
            [c, h, w] => Ok([c as u16, h as u16, w as u16]),
            _ => Err(expected()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Value;

    #[test]
    fn small_numbers_have_an_exponent_in_words_and_no_others() {
        for (number, words) in [
            (1e-10, "1e-10"),
            (3e-5, "3e-5"),
            (-2.5e-7, "-2.5e-7"),
            (1e-4, "0.0001"),
            (0.03, "0.03"),
            (0.0, "0"),
            (2.0, "2"),
        ] {
            assert_eq!(Value::Float(number).in_words(), words);
        }
        assert_eq!(Value::Integer(0).in_words(), "0");
    }
}
