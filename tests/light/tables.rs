//! Tables fit the terminal, and numbers are as exact as people need.

use wninit_core::fmt::{count, duration, p_value, percent, plural, scaled, significant};
use wninit_core::text_table::{Heading, Style, TextTable};

fn wide() -> TextTable {
    let headings = std::iter::once(Heading::new("key"))
        .chain((0..12).map(|i| Heading::number(format!("column {i}"))))
        .collect();
    let row =
        |key: &str| std::iter::once(key.to_owned()).chain((0..12).map(|i| i.to_string())).collect();
    TextTable { title: String::new(), headings, keys: 1, rows: vec![row("a"), row("b")] }
}

#[test]
fn a_table_that_is_too_wide_is_split_and_repeats_its_keys() {
    let text = wide().text(Style { width: 80, colour: false });
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert_eq!(text.matches("key").count(), 2);
    assert_eq!(text.lines().filter(|line| line.starts_with('b')).count(), 2);
    assert!((0..12).all(|i| text.contains(&format!("column {i}"))));
}

#[test]
fn a_table_fits_where_it_is_printed_in_one_piece() {
    for width in [20, 40, 60, 80, 200] {
        let printed = wide().text(Style { width, colour: false });
        assert_eq!(wide().fits(width), !printed.contains("\n\n"), "{width}\n{printed}");
    }
    assert!(!wide().fits(20) && wide().fits(200));
}

#[test]
fn there_is_no_colour_where_there_is_no_terminal() {
    let table = TextTable { title: "Title".to_owned(), ..wide() };
    assert!(!table.text(Style { width: 80, colour: false }).contains('\x1b'));
    assert!(table.text(Style { width: 80, colour: true }).starts_with("\x1b[1mTitle\x1b[0m\n"));
}

#[test]
fn numbers_are_written_for_people() {
    assert_eq!([count(1, "job"), plural(2, "run")], ["1 job", "2 runs"]);
    assert_eq!(count(1_234_567, "job"), "1,234,567 jobs");
    assert_eq!(scaled(55_800_000.0, ""), "55.8 M");
    assert_eq!(scaled(999.0, "B"), "999 B");
    assert_eq!(scaled(999_700.0, "FLOP"), "1.00 MFLOP");
    assert_eq!(percent(0.854), "85 %");
    assert_eq!([p_value(0.0341), p_value(0.000_012_3)], ["0.034", "1.2e-5"]);
}

#[test]
fn a_duration_is_as_exact_as_an_estimate_deserves() {
    let texts = [8.2, 119.0, 720.0, 12_000.0, 187_200.0, 3e8, -3.0].map(duration);
    assert_eq!(texts, ["8 s", "2 min", "12 min", "3.3 h", "2.2 d", "10 years", "0 s"]);
}

#[test]
fn significant_digits_are_kept_and_no_more() {
    for (x, text) in [
        (0.123_456, "0.1235"),
        (12.0, "12"),
        (1234.56, "1235"),
        (-0.5, "-0.5"),
        (1e-7, "1e-7"),
        (1.25e-7, "1.25e-7"),
    ] {
        assert_eq!(significant(x, 4), text);
    }
}
