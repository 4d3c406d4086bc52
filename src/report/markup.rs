//! HTML and SVG text that is well-formed whatever the names in it are.

use std::fmt::Write;

/// The text as it stands in an element or in a quoted attribute. Characters that XML has no way to
/// write, control characters first of all, become spaces.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            // Marks that turn the direction of writing could make a name look like another.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            '\u{fffe}' | '\u{ffff}' => {}
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A name, which may be broken after an underscore where space is short.
pub fn name(text: &str) -> String {
    escape(text).replace('_', "_<wbr />")
}

/// A link that holds a CSV file.
pub fn csv_link(file: &str, text: &str, csv: &[u8]) -> String {
    let mut uri = String::with_capacity(csv.len() * 5 / 4);
    for &byte in csv {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b',' => {
                uri.push(char::from(byte));
            }
            _ => {
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    format!(
        "<a class=\"csv\" download=\"{}.csv\" href=\"data:text/csv;charset=utf-8,{uri}\">{}</a>",
        escape(file),
        escape(text)
    )
}

/// A name as the title of a link or the id of a section: lower-case letters, digits and dashes.
pub fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_end_matches('-').to_owned()
}

/// A coordinate: a tenth of a pixel is fine enough, and short.
pub fn px(x: f64) -> String {
    let text = format!("{x:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_leave_its_element_or_its_attribute() {
        assert_eq!(
            escape("<script>\"a\" & 'b'\u{0}\u{1b}\u{202e}"),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;  "
        );
    }

    #[test]
    fn a_csv_link_holds_every_byte() {
        let link = csv_link("a\"b", "data", "x,\"1 %\"\nü".as_bytes());
        assert!(link.contains("x,%221%20%25%22%0A%C3%BC\""), "{link}");
        assert!(link.contains("download=\"a&quot;b.csv\""));
    }

    #[test]
    fn slugs_and_coordinates_are_short() {
        assert_eq!(slug("Accuracy over depth (E2)"), "accuracy-over-depth-e2");
        assert_eq!([px(1.0), px(2.345), px(-0.02)], ["1", "2.3", "-0"]);
    }
}
