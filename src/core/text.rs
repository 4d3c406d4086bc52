//! Makes text from files and other programs safe to show, and lists words.

use std::path::PathBuf;

/// Whether a character is invisible: control characters, which move a terminal's cursor or end a
/// row, and marks that change the writing direction, which make one name look like another.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text with its hidden characters escaped (`\u{1b}`), except line breaks and tabs.
pub fn visible(text: &str) -> String {
    spelt_out(text, |c| is_hidden(c) && !matches!(c, '\n' | '\t'))
}

/// The text with every hidden character escaped, so that it is one line.
pub fn visible_line(text: &str) -> String {
    spelt_out(text, is_hidden)
}

fn spelt_out(text: &str, hidden: impl Fn(char) -> bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if hidden(c) { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    safe
}

/// The text in one line, with a space for each hidden character.
pub fn one_line(text: &str) -> String {
    let clean: String = text.chars().map(|c| if is_hidden(c) { ' ' } else { c }).collect();
    clean.trim().to_owned()
}

/// The characters that make a spreadsheet take a cell for a formula.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Maximum number of characters in a cell.
const LONGEST: usize = 4000;

/// The text as a cell of a CSV file: one line, which no spreadsheet evaluates.
pub(crate) fn cell(text: &str) -> String {
    let line = one_line(text);
    let formula = text.starts_with(FORMULA) || line.starts_with(FORMULA);
    if formula { "'" } else { "" }.chars().chain(line.chars()).take(LONGEST).collect()
}

/// Removes the prefix that [`cell`] puts before a formula.
pub(crate) fn from_cell(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(rest) if rest.starts_with(FORMULA) => rest,
        _ => cell,
    }
}

/// Wraps text into lines of at most `width` columns, all but the first indented.
pub fn wrap(text: &str, width: usize, indent: usize) -> String {
    let (mut wrapped, mut column) = (String::new(), 0);
    for word in one_line(text).split_whitespace() {
        if column > 0 && column + 1 + length(word) > width {
            wrapped.push('\n');
            wrapped.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > 0 {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += length(word);
    }
    wrapped
}

/// The paths, joined by commas.
pub(crate) fn paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// More names than these are counted, not named.
pub const MOST_NAMED: usize = 6;

/// The first few words, and the number of the others.
pub fn listed(words: &[impl AsRef<str>]) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.len() {
        0..=MOST_NAMED => words.join(", "),
        n => format!("{} and {} more", words[..3].join(", "), n - 3),
    }
}

/// Width in terminal columns.
pub(crate) fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_spelt_out_and_all_others_kept() {
        assert_eq!(visible("a\u{1b}[2Jb\r\n\tc\u{202e}"), "a\\u{1b}[2Jb\\r\n\tc\\u{202e}");
        assert_eq!(visible_line("a\nb"), "a\\nb");
        assert_eq!(visible("√2 ± 1 \\ é"), "√2 ± 1 \\ é");
    }

    #[test]
    fn no_cell_starts_a_formula_or_a_line() {
        for text in ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", " =1", "=cmd|' /C calc'!A0"] {
            let cell = cell(text);
            assert!(cell.starts_with('\''), "{text:?}");
            assert!(!cell.contains(['\n', '\r', '\t']));
        }
        assert_eq!(cell("one\r\ntwo\u{1b}\u{0}"), "one  two");
        assert_eq!(from_cell(&cell("=1+1")), "=1+1");
        assert_eq!(from_cell("'quoted'"), "'quoted'");
    }

    #[test]
    fn long_text_is_wrapped_and_loses_what_moves_the_cursor() {
        assert_eq!(wrap("one two three", 7, 2), "one two\n  three");
        assert_eq!(wrap("a\x1b[2Jb\n c", 80, 0), "a [2Jb c");
    }
}
