//! The size of a model if the user sets none: the largest that the device trains in an hour.

use super::config::Size;
use crate::Result;
use crate::tape::inspect::scaled;
use std::fmt;

/// Longest expected training of a default, in hours. `tiny` may take longer: there is no smaller
/// size.
const LONGEST: f64 = 1.0;
/// Share of the measured peak that a training step is expected to reach. `docs/benchmarks.md` has
/// measured shares: 25 % for `base` on an H200.
const SHARE: f64 = 0.2;

/// A default size with its reason, which `Display` prints.
#[derive(Clone, Debug, PartialEq)]
pub struct DefaultSize {
    /// The size.
    pub size: Size,
    /// Measured peak of the device in FLOP/s.
    peak: f64,
    /// Expected hours of training, for the sizes from the largest to the chosen one.
    hours: Vec<(Size, f64)>,
}

impl DefaultSize {
    /// Chooses by the peak of a device in FLOP/s and the FLOPs of a training at each size.
    /// An error of `flops` means that the settings do not fit the size.
    pub(super) fn choose(peak: f64, flops: impl Fn(Size) -> Result<f64>) -> DefaultSize {
        let mut hours = vec![];
        for size in [Size::Base, Size::Small] {
            // Settings may fit one size only, such as a list with a value for each level.
            let Ok(flops) = flops(size) else { continue };
            let expected = flops / (SHARE * peak) / 3600.0;
            hours.push((size, expected));
            if expected <= LONGEST {
                return DefaultSize { size, peak, hours };
            }
        }
        DefaultSize { size: Size::Tiny, peak, hours }
    }
}

/// For example `small by default: this device reaches 12.0 TFLOP/s, so base would train for about
/// 3.3 hours and small should train for about 9 minutes; --size sets another`.
impl fmt::Display for DefaultSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by default: this device reaches {}", self.size, scaled(self.peak, "FLOP/s"))?;
        for (i, (size, hours)) in self.hours.iter().enumerate() {
            let (and, verb) =
                (if i > 0 { " and" } else { ", so" }, if *size == self.size { "should" } else { "would" });
            write!(f, "{and} {size} {verb} train for {}", time(*hours))?;
        }
        f.write_str("; --size sets another")
    }
}

/// Hours with one digit below 10, and minutes below one hour.
fn time(hours: f64) -> String {
    match hours {
        h if h < 0.95 => format!("about {:.0} minutes", (60.0 * h).max(1.0)),
        h if h < 9.95 => format!("about {h:.1} hours"),
        h if h < 999.5 => format!("about {h:.0} hours"),
        _ => "more than 1000 hours".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FLOPs of the trainings of `ddpm` on MNIST.
    fn ddpm(size: Size) -> Result<f64> {
        Ok(match size {
            Size::Tiny => 1400.0 * 9e9,
            Size::Small => 10_000.0 * 127e9,
            Size::Base => 30_000.0 * 955e9,
        })
    }

    #[test]
    fn default_size_is_the_largest_that_trains_in_an_hour() {
        // An H200, a mid-range GPU, integrated GPUs, and two cores with a software driver.
        for (peak, size) in [
            (63.9e12, Size::Base),
            (12e12, Size::Small),
            (2e12, Size::Small),
            (0.4e12, Size::Tiny),
            (0.1e12, Size::Tiny),
        ] {
            assert_eq!(DefaultSize::choose(peak, ddpm).size, size, "{peak}");
        }
    }

    #[test]
    fn default_size_names_its_reason() {
        let text = |peak| DefaultSize::choose(peak, ddpm).to_string();
        assert_eq!(
            text(63.9e12),
            "base by default: this device reaches 63.9 TFLOP/s, so base should train for about 37 minutes; \
             --size sets another"
        );
        assert_eq!(
            text(0.1e12),
            "tiny by default: this device reaches 100 GFLOP/s, so base would train for about 398 hours and small \
             would train for about 18 hours; --size sets another"
        );
    }
}
