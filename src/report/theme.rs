//! The colours of pages and pictures.

use std::fmt::Write;

/// A set of colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    Light,
    Dark,
}

/// The name of each colour, and its value in the light and in the dark theme. `c0` and so on are
/// those of arms (Okabe & Ito 2008, yellow last).
const COLOURS: &[(&str, [&str; 2])] = &[
    ("paper", ["#ffffff", "#14171a"]),
    ("ink", ["#1b1f24", "#e6e9ec"]),
    ("muted", ["#5c6670", "#9aa5b0"]),
    ("line", ["#d8dde3", "#333a41"]),
    ("wash", ["#f4f6f8", "#1d2226"]),
    ("link", ["#0057a3", "#7cc0ff"]),
    ("yes", ["#006b4f", "#3ccfa0"]),
    ("no", ["#b23a00", "#ff8a4c"]),
    ("maybe", ["#7a5a00", "#e8bd4a"]),
    ("c0", ["#0072b2", "#3f9fe0"]),
    ("c1", ["#d55e00", "#f07b26"]),
    ("c2", ["#009e73", "#1fc496"]),
    ("c3", ["#b5608f", "#cc79a7"]),
    ("c4", ["#d98c00", "#e69f00"]),
    ("c5", ["#3d9fd6", "#8fd0f5"]),
    ("c6", ["#000000", "#f5f5f5"]),
    ("c7", ["#b5a900", "#f0e442"]),
];

impl Theme {
    /// The colour of this name.
    pub fn colour(self, name: &str) -> Option<&'static str> {
        let (_, colours) = COLOURS.iter().find(|(other, _)| *other == name)?;
        Some(colours[self as usize])
    }

    /// The colours as CSS variables.
    pub fn variables(self) -> String {
        let mut css = String::new();
        for (name, colours) in COLOURS {
            let _ = write!(css, "--{name}:{};", colours[self as usize]);
        }
        css
    }

    /// A text in which each `var(--name)` is the colour itself, for programs that know no CSS
    /// variables.
    pub fn resolve(self, text: &str) -> String {
        let mut resolved = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("var(--") {
            resolved.push_str(before);
            let (name, behind) = after.split_once(')').unwrap_or((after, ""));
            resolved.push_str(self.colour(name).unwrap_or("#808080"));
            rest = behind;
        }
        resolved + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_of_the_style_sheets_is_a_colour_of_each_theme() {
        let sheets = concat!(include_str!("style.css"), include_str!("chart.css"));
        let names = sheets.split("var(--").skip(1).filter_map(|rest| rest.split(')').next());
        // `--panels` is no colour: a page sets it for each figure.
        for name in names.filter(|name| *name != "panels").chain(["c0", "c7"]) {
            assert!(Theme::Dark.colour(name).is_some(), "--{name}");
        }
        assert_eq!(Theme::Light.resolve("a var(--c0) b var(--ink)"), "a #0072b2 b #1b1f24");
    }
}
