//! The expressions of own initializers, such as `sqrt(2 * fan_in / fan_out)`.
//!
//! ```text
//! sum     = product { ("+" | "-") product }
//! product = unary { ("*" | "/") unary }
//! unary   = "-" unary | power
//! power   = atom [ "^" unary ]
//! atom    = number | variable | constant | function "(" sum { "," sum } ")" | "(" sum ")"
//! ```
//!
//! So `-x^2` is `-(x^2)` and `x^y^z` is `x^(y^z)`. Arithmetic is in double precision.

use std::fmt;
use std::hash::{Hash, Hasher};

use super::choices::{Choices, choices, unknown};

/// The longest expression, in bytes.
const MAX_LENGTH: usize = 2000;

/// The deepest nesting of parentheses, signs and powers.
const MAX_DEPTH: usize = 50;

choices! {
    /// What an expression can refer to.
    Variable, "name" {
        /// Inputs of a unit: `in`, for a convolution `in·k·k`.
        FanIn = "fan_in",
        /// Outputs of an input: `out`, for a convolution `out·k·k`.
        FanOut = "fan_out",
        /// The layer's number from the input, from 1. A shortcut has that of the convolution beside it that ends the block.
        Layer = "layer",
        /// The number of layers without shortcuts and without the output layer.
        Layers = "layers",
        /// The number of the residual block in its stage, from 1.
        Block = "block",
        /// The number of residual blocks in the stage.
        Blocks = "blocks",
        /// The number of residual blocks in the network; 0 for one without.
        AllBlocks = "all_blocks",
        /// The γ of the paper's gain for the layer's role.
        Gamma = "gamma",
    }
}

/// A function of one or of two numbers.
#[derive(Clone, Copy)]
enum Function {
    One(fn(f64) -> f64),
    Two(fn(f64, f64) -> f64),
}

const FUNCTIONS: &[(&str, Function)] = &[
    ("sqrt", Function::One(f64::sqrt)),
    ("cbrt", Function::One(f64::cbrt)),
    ("exp", Function::One(f64::exp)),
    ("log", Function::One(f64::ln)),
    ("log2", Function::One(f64::log2)),
    ("log10", Function::One(f64::log10)),
    ("abs", Function::One(f64::abs)),
    ("floor", Function::One(f64::floor)),
    ("ceil", Function::One(f64::ceil)),
    ("sin", Function::One(f64::sin)),
    ("cos", Function::One(f64::cos)),
    ("tanh", Function::One(f64::tanh)),
    ("min", Function::Two(f64::min)),
    ("max", Function::Two(f64::max)),
];

const CONSTANTS: &[(&str, f64)] = &[("pi", std::f64::consts::PI), ("e", std::f64::consts::E)];

/// The words that an expression may contain: (variables, functions, constants), each separated by
/// commas.
pub fn vocabulary() -> [String; 3] {
    let join = |words: Vec<&str>| words.join(", ");
    [
        join(Variable::choices().iter().map(|choice| choice.name).collect()),
        join(FUNCTIONS.iter().map(|(name, _)| *name).collect()),
        join(CONSTANTS.iter().map(|(name, _)| *name).collect()),
    ]
}

/// One step of an evaluation with a stack of numbers.
#[derive(Clone, Copy)]
enum Step {
    Push(f64),
    Look(Variable),
    Negate,
    Two(fn(f64, f64) -> f64),
    One(fn(f64) -> f64),
}

/// An expression that parses.
#[derive(Clone)]
pub struct Expression {
    /// As it was written, without spaces.
    text: String,
    steps: Vec<Step>,
}

/// Where an expression does not parse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// The byte of the text at which it goes wrong, from 0.
    pub at: usize,
    pub message: String,
}

impl Expression {
    /// # Errors
    /// The text is too long, is nested too deeply or has a syntax error.
    pub(crate) fn parse(text: &str) -> Result<Expression, SyntaxError> {
        if text.len() > MAX_LENGTH {
            let message = format!(
                "{} bytes are too long for an expression of at most {MAX_LENGTH}",
                text.len()
            );
            return Err(SyntaxError { at: 0, message });
        }
        let mut parser = Parser { text, at: 0, depth: 0, steps: Vec::new() };
        parser.sum()?;
        match parser.peek() {
            None => {
                let text = text.split_ascii_whitespace().collect();
                Ok(Expression { text, steps: parser.steps })
            }
            Some(')') => parser.error("a parenthesis is closed that was not opened"),
            Some(_) => parser.error("expected an operator: + - * / ^"),
        }
    }

    /// Its value, where `look` has the values of the variables.
    ///
    /// # Errors
    /// Those of `look`.
    pub(crate) fn value(
        &self,
        look: impl Fn(Variable) -> Result<f64, String>,
    ) -> Result<f64, String> {
        let mut stack: Vec<f64> = Vec::with_capacity(8);
        for step in &self.steps {
            let mut pop = || stack.pop().unwrap_or(f64::NAN); // the parser leaves enough
            let value = match step {
                Step::Push(number) => *number,
                Step::Look(variable) => look(*variable)?,
                Step::Negate => -pop(),
                Step::One(function) => function(pop()),
                Step::Two(function) => {
                    let second = pop();
                    function(pop(), second)
                }
            };
            stack.push(value);
        }
        Ok(stack.pop().unwrap_or(f64::NAN))
    }
}

/// The expression as it was written, spaces aside.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Expression) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

impl Hash for Expression {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    steps: Vec<Step>,
}

type Parsed<T = ()> = Result<T, SyntaxError>;

impl<'t> Parser<'t> {
    fn error<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Err(SyntaxError { at: self.at, message: message.into() })
    }

    /// The next character after spaces.
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_ascii_start().len();
        self.text[self.at..].chars().next()
    }

    /// Takes the next character if it is this one.
    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn sum(&mut self) -> Parsed {
        self.product()?;
        loop {
            let step: fn(f64, f64) -> f64 = match self.peek() {
                Some('+') => |a, b| a + b,
                Some('-') => |a, b| a - b,
                _ => return Ok(()),
            };
            self.at += 1;
            self.product()?;
            self.steps.push(Step::Two(step));
        }
    }

    fn product(&mut self) -> Parsed {
        self.unary()?;
        loop {
            let step: fn(f64, f64) -> f64 = match self.peek() {
                Some('*') => |a, b| a * b,
                Some('/') => |a, b| a / b,
                _ => return Ok(()),
            };
            self.at += 1;
            self.unary()?;
            self.steps.push(Step::Two(step));
        }
    }

    fn unary(&mut self) -> Parsed {
        if self.depth == MAX_DEPTH {
            return self.error(format!("more than {MAX_DEPTH} parentheses, signs and powers deep"));
        }
        self.depth += 1;
        if self.take('-') {
            self.unary()?;
            self.steps.push(Step::Negate);
        } else {
            self.atom()?;
            if self.take('^') {
                self.unary()?;
                self.steps.push(Step::Two(f64::powf));
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn atom(&mut self) -> Parsed {
        match self.peek() {
            None => self.error("the expression ends where a number or a name is expected"),
            Some('(') => {
                self.at += 1;
                self.sum()?;
                self.close()
            }
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => self.name(),
            Some(c) => self.error(format!("expected a number or a name, not {c:?}")),
        }
    }

    fn close(&mut self) -> Parsed {
        if self.take(')') { Ok(()) } else { self.error("expected a closing parenthesis") }
    }

    /// The characters from here that are of some kind.
    fn run(&self, of: impl Fn(char) -> bool) -> &'t str {
        let rest = &self.text[self.at..];
        &rest[..rest.find(|c| !of(c)).unwrap_or(rest.len())]
    }

    /// Digits with a point and an exponent.
    fn number(&mut self) -> Parsed {
        let digits = |at: &mut usize| {
            let rest = &self.text[*at..];
            *at += rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        };
        let mut end = self.at;
        digits(&mut end);
        if self.text[end..].starts_with('.') {
            end += 1;
            digits(&mut end);
        }
        if self.text[end..].starts_with(['e', 'E']) {
            let sign = usize::from(self.text[end + 1..].starts_with(['+', '-']));
            let mut exponent = end + 1 + sign;
            digits(&mut exponent);
            if exponent > end + 1 + sign {
                end = exponent;
            }
        }
        let text = &self.text[self.at..end];
        match text.parse() {
            Ok(number) => {
                self.steps.push(Step::Push(number));
                self.at = end;
                Ok(())
            }
            Err(_) => self.error(format!("{text:?} is not a number")),
        }
    }

    fn name(&mut self) -> Parsed {
        let name = self.run(|c| c.is_ascii_alphanumeric() || c == '_');
        let start = self.at;
        self.at += name.len();
        if let Some((_, function)) = FUNCTIONS.iter().find(|(known, _)| *known == name) {
            return self.call(name, *function);
        }
        let constant = CONSTANTS.iter().find(|(known, _)| *known == name);
        self.steps.push(match (constant, name.parse::<Variable>()) {
            (Some((_, value)), _) => Step::Push(*value),
            (_, Ok(variable)) => Step::Look(variable),
            (None, Err(_)) => {
                self.at = start;
                let is_call = self.text[start + name.len()..].trim_ascii_start().starts_with('(');
                let functions = FUNCTIONS.iter().map(|(name, _)| *name);
                return self.error(if is_call {
                    unknown("function", name, functions)
                } else {
                    let constants = CONSTANTS.iter().map(|(name, _)| *name);
                    let variables = Variable::ALL.iter().map(|variable| variable.name());
                    unknown("name", name, variables.chain(constants))
                });
            }
        });
        if self.peek() == Some('(') {
            return self.error(format!("{name} is not a function"));
        }
        Ok(())
    }

    fn call(&mut self, name: &str, function: Function) -> Parsed {
        if !self.take('(') {
            return self.error(format!("{name} is a function: expected {name}(…)"));
        }
        self.sum()?;
        let step = match function {
            Function::One(function) => {
                if self.peek() == Some(',') {
                    return self.error(format!("{name} takes one number"));
                }
                Step::One(function)
            }
            Function::Two(function) => {
                if !self.take(',') {
                    return self.error(format!("{name} takes two numbers: expected a comma"));
                }
                self.sum()?;
                Step::Two(function)
            }
        };
        self.steps.push(step);
        self.close()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> f64 {
        let look = |variable| match variable {
            Variable::FanIn => Ok(8.0),
            Variable::FanOut => Ok(2.0),
            _ => Err("no value".to_owned()),
        };
        Expression::parse(text).unwrap().value(look).unwrap()
    }

    #[test]
    fn expressions_have_the_values_of_mathematics() {
        for (text, expected) in [
            ("sqrt(2 * fan_in / fan_out)", 8f64.sqrt()),
            ("-2^2", -4.0),
            ("2^-1", 0.5),
            ("2^3^2", 512.0),
            ("1 - 2 - 3", -4.0),
            ("8 / 4 / 2", 1.0),
            ("2 + 3 * 4", 14.0),
            ("(2 + 3) * 4", 20.0),
            ("--3", 3.0),
            (".5e1 + 1.E-1", 5.1),
            ("max(1, min(fan_in, 3))", 3.0),
            ("e", std::f64::consts::E),
            ("2*e", 2.0 * std::f64::consts::E),
            ("cos(pi)", -1.0),
            ("log(e)", 1.0),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
        assert!(value("0 / 0").is_nan() && value("sqrt(-1)").is_nan());
        assert_eq!(value("1 / 0"), f64::INFINITY);
    }

    #[test]
    fn errors_say_where_and_what() {
        for (text, at, message) in [
            ("", 0, "the expression ends"),
            ("2 * ", 4, "the expression ends"),
            ("sqrt(2 * fan_inn)", 9, "did you mean \"fan_in\"?"),
            ("sqr(2)", 0, "did you mean \"sqrt\"?"),
            ("sqrt 2", 5, "expected sqrt(…)"),
            ("sqrt(2", 6, "closing parenthesis"),
            ("sqrt(1, 2)", 6, "takes one number"),
            ("max(1)", 5, "takes two numbers"),
            ("fan_in(2)", 6, "not a function"),
            ("2 3", 2, "expected an operator"),
            ("2)", 1, "not opened"),
            ("1 + $", 4, "not '$'"),
            ("2 × 3", 2, "expected an operator"),
            (".", 0, "not a number"),
        ] {
            let error = Expression::parse(text).unwrap_err();
            assert!(error.at == at && error.message.contains(message), "{text}: {error:?}");
        }
    }

    #[test]
    fn hostile_expressions_are_refused_without_recursing() {
        let deep = |open: &str, n: usize| Expression::parse(&open.repeat(n)).unwrap_err().message;
        for open in ["(", "-", "2^", "sqrt("] {
            assert!(deep(open, 300).contains("deep"), "{open}");
            assert!(deep(open, 3_000_000).contains("too long"), "{open}");
        }
    }

    #[test]
    fn spaces_do_not_make_another_expression() {
        let parse = |text| Expression::parse(text).unwrap();
        assert_eq!(parse("sqrt( fan_in/ 2 )"), parse("sqrt(fan_in/2)"));
        assert_eq!(parse(" 2 ").to_string(), "2");
        assert_ne!(parse("2*fan_in"), parse("fan_in*2"), "as written");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_text_panics(text in "[-+*/^(), .0-9a-zé_]{0,60}") {
            if let Ok(expression) = Expression::parse(&text) {
                let again = Expression::parse(&expression.to_string()).unwrap();
                let one = |_| Ok(1.5);
                let (a, b) = (expression.value(one).unwrap(), again.value(one).unwrap());
                prop_assert_eq!(a.to_bits(), b.to_bits());
            }
        }
    }
}
