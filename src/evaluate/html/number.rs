//! Numbers on the page: rounded as text, and with all digits in attributes, where a program can
//! compare them with `evaluation.json`.

use maud::{Markup, html};

/// A number of a run, with its path in the run's `evaluation.json`.
#[derive(Clone, Debug)]
pub(super) struct Number {
    /// Name of the run.
    pub run: String,
    /// The path, such as `quality.fd_test`. A quotient has both paths:
    /// `sampling.seconds / sampling.count`.
    pub field: String,
    /// All digits, as JSON writes them.
    pub digits: String,
    pub value: f64,
}

/// Rounding and unit of a number.
#[derive(Clone, Copy, Debug)]
pub(super) enum NumberFormat {
    /// Four significant digits.
    Significant,
    /// A fixed number of decimals.
    Fixed(usize),
    /// A multiple of a power of ten, with a fixed number of decimals.
    Power(i32, usize),
    /// In percent, with one more digit near 0 % and 100 %.
    Share,
    /// An integer with commas between thousands.
    Count,
    /// With all its digits, for a setting.
    Written,
    /// A time, in microseconds to days.
    Seconds,
    /// Three significant digits and this unit.
    Unit(&'static str),
    /// The same with an SI prefix.
    Prefixed(&'static str),
}

impl Number {
    /// The rounded number with its attributes.
    pub fn show(&self, format: NumberFormat) -> Markup {
        html! {
            span.number data-run=(self.run) data-field=(self.field) data-value=(self.digits) { (format.text(self)) }
        }
    }
}

impl NumberFormat {
    /// The format of a mean and its standard error: the error has two significant digits, and the
    /// mean has the same number of decimals. Small numbers are multiples of one power of ten.
    pub fn for_estimate(value: f64, error: f64) -> NumberFormat {
        if error <= 0.0 {
            return NumberFormat::Significant;
        }
        let last = magnitude(error, 2) - 1;
        match magnitude(value.abs().max(error), 2) {
            first if first < -3 => NumberFormat::Power(first, (first - last) as usize),
            _ => NumberFormat::Fixed((-last).max(0) as usize),
        }
    }

    /// The rounded number with its unit.
    fn text(self, number: &Number) -> String {
        let value = number.value;
        match self {
            NumberFormat::Significant => significant(value, 4),
            NumberFormat::Fixed(decimals) => fixed(value, decimals),
            NumberFormat::Power(power, decimals) => raised(value, power, decimals),
            NumberFormat::Share if value > 0.0 && value < 0.01 || value > 0.99 && value < 1.0 => percent(value, 2),
            NumberFormat::Share => percent(value, 1),
            NumberFormat::Count => fixed(value, 0),
            NumberFormat::Written => number.digits.clone(),
            NumberFormat::Seconds => {
                let units = [(86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms")];
                scaled(value, &units, (1e-6, "µs"))
            }
            NumberFormat::Unit(unit) => format!("{}\u{a0}{unit}", significant(value, 3)),
            NumberFormat::Prefixed(unit) => {
                let prefixes = [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
                scaled(value, &prefixes, (1.0, "")) + unit
            }
        }
    }
}

/// Three significant digits in the largest unit that is not larger than the number.
fn scaled(value: f64, units: &[(f64, &str)], smallest: (f64, &str)) -> String {
    let (size, unit) = units.iter().copied().find(|(size, _)| value >= *size).unwrap_or(smallest);
    format!("{}\u{a0}{unit}", significant(value / size, 3))
}

fn percent(share: f64, decimals: usize) -> String {
    format!("{}\u{a0}%", fixed(100.0 * share, decimals))
}

/// Rounded to `digits` significant digits, but never to more than the unit place. Very small and
/// very large numbers are multiples of a power of ten.
fn significant(value: f64, digits: i32) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let power = magnitude(value, digits);
    if (-4..9).contains(&power) {
        return fixed(value, (digits - 1 - power).max(0) as usize);
    }
    raised(value, power, digits as usize - 1)
}

/// A multiple of a power of ten.
fn raised(value: f64, power: i32, decimals: usize) -> String {
    let exponent: String = power.to_string().chars().map(superscript).collect();
    format!("{}\u{a0}×\u{a0}10{exponent}", fixed(value / 10f64.powi(power), decimals))
}

/// The power of ten of the first digit after rounding: for 9.999 it is 1 with three digits and 0
/// with four.
fn magnitude(value: f64, digits: i32) -> i32 {
    let written = format!("{:.*e}", (digits - 1) as usize, value);
    written.rsplit('e').next().and_then(|power| power.parse().ok()).unwrap_or(0)
}

fn superscript(c: char) -> char {
    match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        _ => c.to_digit(10).and_then(|digit| char::from_u32(0x2070 + digit)).unwrap_or(c),
    }
}

/// Fixed decimals, with a true minus sign and commas between thousands.
fn fixed(value: f64, decimals: usize) -> String {
    let written = format!("{:.decimals$}", value.abs());
    let (whole, rest) = written.split_once('.').map_or((written.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let negative = value < 0.0 && written.chars().any(|c| ('1'..='9').contains(&c));
    let mut text = String::from(if negative { "\u{2212}" } else { "" });
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    rest.into_iter().for_each(|rest| text.extend([".", rest]));
    text
}
