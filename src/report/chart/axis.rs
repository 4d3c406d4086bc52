//! Scales, ticks and axes.

use wninit_core::fmt::significant;

/// Maps numbers to positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    Linear(f64, f64),
    /// By their logarithms; both ends are positive.
    Log(f64, f64),
}

impl Scale {
    /// The smallest scale for the numbers: logarithmic if they are positive and span more than a
    /// factor of ten.
    pub fn over(values: impl Iterator<Item = f64> + Clone) -> Scale {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        match (low, high) {
            (low, high) if low > high => Scale::Linear(0.0, 1.0),
            (low, high) if low > 0.0 && high / low > 10.0 => Scale::Log(low, high),
            (low, high) if low < high => Scale::Linear(low, high),
            (low, _) => Scale::Linear(low - 0.5, low + 0.5),
        }
    }

    /// The position of the number between the ends: 0 to 1 if it is between them.
    pub fn share(self, x: f64) -> f64 {
        match self {
            Scale::Linear(low, high) => (x - low) / (high - low),
            Scale::Log(low, high) => (x / low).ln() / (high / low).ln(),
        }
    }

    pub fn ticks(self) -> Vec<f64> {
        match self {
            Scale::Linear(low, high) => {
                let rough = (high - low) / 5.0;
                let power = 10_f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0]
                    .map(|m| m * power)
                    .into_iter()
                    .find(|step| *step >= rough * 0.999)
                    .unwrap_or(rough);
                let first = (low / step - 1e-9).ceil() as i64;
                (first..)
                    .map(|i| i as f64 * step)
                    .take_while(|x| *x <= high + step * 1e-9)
                    .take(50)
                    .collect()
            }
            Scale::Log(low, high) => {
                let (from, to) = (low.log10().floor() as i32, high.log10().ceil() as i32);
                (from..=to)
                    .map(|p| 10_f64.powi(p))
                    .filter(|x| (low * 0.999..=high * 1.001).contains(x))
                    .collect()
            }
        }
    }
}

#[derive(Clone, Debug)]
pub struct ChartAxis {
    /// The quantity, with its unit.
    pub label: String,
    pub scale: Scale,
    pub ticks: Vec<f64>,
}

impl ChartAxis {
    pub fn new(label: impl Into<String>, scale: Scale) -> ChartAxis {
        ChartAxis { label: label.into(), scale, ticks: scale.ticks() }
    }

    pub fn with_ticks(label: impl Into<String>, scale: Scale, ticks: Vec<f64>) -> ChartAxis {
        ChartAxis { label: label.into(), scale, ticks }
    }

    /// An axis for counts: its labels are whole numbers.
    pub fn whole(label: impl Into<String>, low: f64, high: f64) -> ChartAxis {
        let scale = Scale::Linear(low, high);
        let mut ticks = scale.ticks();
        ticks.retain(|x| (x - x.round()).abs() < 1e-6);
        ChartAxis::with_ticks(label, scale, ticks)
    }

    /// An axis for a fraction, 0 to 1.
    pub fn fraction(label: impl Into<String>) -> ChartAxis {
        ChartAxis::new(label, Scale::Linear(0.0, 1.0))
    }

    /// An axis for fractions that are at most `most`: from 0 to the next fifth.
    pub fn fraction_to(label: impl Into<String>, most: f64) -> ChartAxis {
        let fifths = (most * 5.0 - 1e-9).ceil().clamp(1.0, 5.0);
        ChartAxis::new(label, Scale::Linear(0.0, fifths / 5.0))
    }

    /// An axis for fractions that are at most `most`. If those of `values` are close together and far
    /// from 0, it is about them only, so that their differences are seen.
    pub fn fraction_around(label: impl Into<String>, values: &[f64], most: f64) -> ChartAxis {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let room = (0.2 * (high - low)).max(0.002);
        if low - room < 0.75 * high || values.is_empty() {
            return ChartAxis::fraction_to(label, most);
        }
        let low = ((low - room) * 100.0).floor() / 100.0;
        let high = ((high + room) * 100.0).ceil() / 100.0;
        ChartAxis::new(label, Scale::Linear(low, high.min(1.0)))
    }
}

pub(super) fn tick_label(x: f64) -> String {
    // Powers of ten that need too much room are abbreviated.
    match x.abs().log10() {
        power if power.fract() == 0.0 && !(-4.0..6.0).contains(&power) => format!("{x:e}"),
        _ => significant(x, 4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_lie_within_the_scale() {
        assert_eq!(Scale::Linear(0.0, 1.0).ticks().len(), 6);
        assert_eq!(Scale::Log(0.003, 2.0).ticks(), [0.01, 0.1, 1.0]);
        for (low, high) in [(-0.3, 0.7), (1e-9, 3e-9), (-1e6, 1e6), (0.98, 0.981)] {
            let ticks = Scale::Linear(low, high).ticks();
            assert!((2..=8).contains(&ticks.len()), "{low} {high}: {ticks:?}");
            assert!(ticks.iter().all(|x| (low - 1e-6..=high + 1e-6).contains(x)));
        }
    }

    #[test]
    fn fractions_that_are_close_together_are_seen_to_differ() {
        let scale = |values: &[f64]| ChartAxis::fraction_around("", values, 0.85).scale;
        let share = scale(&[0.83, 0.85]).share(0.85) - scale(&[0.83, 0.85]).share(0.83);
        assert!(share > 0.4, "{share}");
        assert!((0.0..=1.0).contains(&scale(&[0.999, 1.0]).share(1.0)));
        for values in [&[][..], &[0.4, 0.85], &[0.0, 0.001]] {
            assert_eq!(
                (scale(values).share(0.0), scale(values).share(1.0)),
                (0.0, 1.0),
                "{values:?}"
            );
        }
    }

    #[test]
    fn a_scale_is_logarithmic_where_numbers_span_decades() {
        assert_eq!(Scale::over([2.0, 50.0, 200.0].into_iter()), Scale::Log(2.0, 200.0));
        assert_eq!(Scale::over([2.0, 10.0].into_iter()), Scale::Linear(2.0, 10.0));
        assert_eq!(Scale::over([0.0, 1000.0].into_iter()), Scale::Linear(0.0, 1000.0));
        assert_eq!(Scale::over([7.0].into_iter()), Scale::Linear(6.5, 7.5));
        assert_eq!(Scale::over(std::iter::empty()), Scale::Linear(0.0, 1.0));
    }
}
