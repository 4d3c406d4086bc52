//! Numbers as text.

/// "1 run", "2 runs".
pub fn plural(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// "1 job", "1,797 jobs".
pub fn count(n: usize, noun: &str) -> String {
    format!("{} {noun}{}", thousands(n), if n == 1 { "" } else { "s" })
}

/// A number with commas: `1,000,000`.
pub fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three digits and a prefix: `55.8 M`.
pub fn scaled(number: f64, unit: &str) -> String {
    const PREFIXES: [&str; 8] = ["", "k", "M", "G", "T", "P", "E", "Z"];
    let (mut rest, mut prefix) = (number, 0);
    while rest >= 999.5 && prefix + 1 < PREFIXES.len() {
        rest /= 1000.0;
        prefix += 1;
    }
    let digits = match rest {
        _ if prefix == 0 => 0,
        rest if rest >= 99.95 => 0,
        rest if rest >= 9.995 => 1,
        _ => 2,
    };
    format!("{rest:.digits$} {}{unit}", PREFIXES[prefix]).trim_end().to_owned()
}

/// A duration: `45 s`, `12 min`, `3.3 h`, `2.2 d`, `7 years`.
pub fn duration(seconds: f64) -> String {
    const MINUTE: f64 = 60.0;
    const HOUR: f64 = 3600.0;
    const DAY: f64 = 24.0 * HOUR;
    match seconds.max(0.0) {
        s if s < 1.5 * MINUTE => format!("{s:.0} s"),
        s if s < 1.5 * HOUR => format!("{:.0} min", s / MINUTE),
        s if s < 1.5 * DAY => format!("{:.1} h", s / HOUR),
        s if s < 10.0 * DAY => format!("{:.1} d", s / DAY),
        s if s < 1000.0 * DAY => format!("{:.0} d", s / DAY),
        s => format!("{:.0} years", s / (365.25 * DAY)),
    }
}

/// "85 %".
pub fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A p value: `0.034`, `1.2e-5`.
pub fn p_value(p: f64) -> String {
    if p < 0.001 { format!("{p:.1e}") } else { format!("{p:.3}") }
}

/// The number with so many significant digits, without trailing zeros after the point.
pub fn significant(x: f64, digits: usize) -> String {
    if x == 0.0 {
        return "0".to_owned();
    }
    let short = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    let magnitude = x.abs().log10().floor() as i32;
    if !(-4..15).contains(&magnitude) {
        let text = format!("{x:.*e}", digits - 1);
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{exponent}", short(mantissa));
    }
    short(&format!("{x:.*}", (digits as i32 - 1 - magnitude).max(0) as usize))
}
