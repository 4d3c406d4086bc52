//! HTML components shared by all pages.

use std::fmt::Write;

use maud::{Markup, PreEscaped, html};

use super::theme::Theme;

/// A page with this title and `main` content. Void elements are closed, and characters that XML
/// does not allow are removed, so the page is well-formed XML for any names.
pub fn document(title: &str, main: &Markup) -> String {
    let page = html! {
        (PreEscaped("<!DOCTYPE html>\n"))
        html lang="en" {
            head {
                (PreEscaped(
                    "<meta charset=\"utf-8\" />\
                     <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\
                     <meta name=\"color-scheme\" content=\"light dark\" />\
                     <link rel=\"icon\" href=\"data:,\" />"
                ))
                title { (title) " – wninit" }
                style { (PreEscaped(style())) }
            }
            body {
                main { (main) }
                script { (PreEscaped("//<![CDATA[\n" )) (PreEscaped(SCRIPT)) (PreEscaped("//]]>\n")) }
            }
        }
    };
    page.into_string().chars().filter_map(visible).chain(['\n']).collect()
}

/// What makes a page easier to use. It shows everything without it.
pub const SCRIPT: &str = include_str!("script.js");

fn style() -> String {
    let [light, dark] = [Theme::Light, Theme::Dark].map(Theme::variables);
    format!(
        ":root{{{light}}}\n@media (prefers-color-scheme: dark){{:root{{{dark}}}}}\n@media print{{:root{{{light}}}}}\n{}{}",
        include_str!("chart.css"),
        include_str!("style.css")
    )
}

/// A section that a reader can fold; on a phone the script folds it.
pub fn fold(id: &str, title: &str, content: &Markup) -> Markup {
    html! {
        section id=(id) {
            details open="" {
                summary { h2 { (title) } }
                (content)
            }
        }
    }
}

/// A character, if a page may contain it.
fn visible(c: char) -> Option<char> {
    match c {
        '\n' => Some(c),
        c if c.is_control() => Some(' '),
        // Marks that change the writing direction could make one name look like another.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => None,
        c => Some(c),
    }
}

/// A name, which may break after an underscore.
pub fn name(text: &str) -> Markup {
    html! {
        @for (i, part) in text.split('_').enumerate() {
            @if i > 0 { "_" (PreEscaped("<wbr />")) }
            (part)
        }
    }
}

/// "a, b and c", or another word before the last.
pub fn listed(items: &[Markup], before_last: &str) -> Markup {
    html! {
        @for (i, item) in items.iter().enumerate() {
            @if i > 0 && i + 1 == items.len() { " " (before_last) " " } @else if i > 0 { ", " }
            (item)
        }
    }
}

/// A link that contains a CSV file.
pub fn csv_link(file: &str, text: &str, csv: &[u8]) -> Markup {
    let href = contained("text/csv;charset=utf-8", csv);
    html! { a.csv download={ (file) ".csv" } href=(href) { (text) } }
}

/// A link that contains an SVG file.
pub fn svg_link(file: &str, text: &str, svg: &str) -> Markup {
    let href = contained("image/svg+xml", svg.as_bytes());
    html! { a download={ (file) ".svg" } href=(href) { (text) } }
}

/// The address of a file that stands in the address.
fn contained(kind: &str, bytes: &[u8]) -> String {
    let mut uri = format!("data:{kind},");
    uri.reserve(bytes.len() * 5 / 4);
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b',' => {
                uri.push(char::from(byte));
            }
            _ => {
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    uri
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
        let nasty = "<script>\"a\" & 'b'\u{0}\u{1b}\u{202e}";
        let page = document(nasty, &html! { p title=(nasty) { (name(nasty)) } });
        assert_eq!(page.matches("&lt;script&gt;").count(), 3);
        assert!(page.contains("<p title=\"&lt;script&gt;&quot;a&quot; &amp; 'b'  \">"), "{page}");
    }

    #[test]
    fn a_csv_link_holds_every_byte() {
        let link = csv_link("a\"b", "data", "x,\"1 %\"\nü".as_bytes()).into_string();
        assert!(link.contains("x,%221%20%25%22%0A%C3%BC\""), "{link}");
        assert!(link.contains("download=\"a&quot;b.csv\""));
    }

    #[test]
    fn slugs_and_coordinates_are_short() {
        assert_eq!(slug("Accuracy over depth (E2)"), "accuracy-over-depth-e2");
        assert_eq!([px(1.0), px(2.345), px(-0.02)], ["1", "2.3", "-0"]);
    }
}
