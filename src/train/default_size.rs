//! The size of a model if the user sets none: the largest that the device trains in an hour.

use super::config::Size;
use crate::tape::inspect::scaled;
use crate::{Error, Result};
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
    /// Sizes that the settings do not fit are left out.
    ///
    /// # Errors
    /// Settings that fit no size, with the reason for `tiny`.
    pub(super) fn choose(peak: f64, flops: impl Fn(Size) -> Result<f64>) -> Result<DefaultSize> {
        let (mut hours, mut problem) = (vec![], None);
        for size in [Size::Base, Size::Small, Size::Tiny] {
            match flops(size) {
                Ok(flops) => hours.push((size, flops / (SHARE * peak) / 3600.0)),
                // Settings may fit some sizes only, such as a list with a value for each level.
                Err(error @ (Error::Config(_) | Error::TooLarge { .. })) => problem = Some(error),
                Err(error) => return Err(error),
            }
            if hours.last().is_some_and(|(_, hours)| *hours <= LONGEST) {
                break;
            }
        }
        match (hours.last(), problem) {
            (Some(&(size, _)), _) => Ok(DefaultSize { size, peak, hours }),
            (None, Some(problem)) => Err(problem),
            (None, None) => Err(Error::Config("no size fits".into())),
        }
    }
}

/// For example `small by default: this device reaches 12.0 TFLOP/s, so base would train for about
/// 3.3 hours and small should train for about 9 minutes; --size sets another`.
impl fmt::Display for DefaultSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by default: this device reaches {}", self.size, scaled(self.peak, "FLOP/s"))?;
        for (i, (size, hours)) in self.hours.iter().enumerate() {
            let and = match i {
                0 => ", so",
                i if i + 1 == self.hours.len() => " and",
                _ => ",",
            };
            let verb = if *size == self.size { "should" } else { "would" };
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
            Size::Tiny => 6000.0 * 4.6e9,
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
            assert_eq!(DefaultSize::choose(peak, ddpm).unwrap().size, size, "{peak}");
        }
    }

    /// Channels of `small` that are multiples of 32, and of `tiny` that are not.
    #[test]
    fn default_size_is_one_that_the_settings_fit() {
        let problem = |size: Size| Err(Error::Config(format!("{size} does not fit")));
        let small_only = |size| if size == Size::Small { ddpm(size) } else { problem(size) };
        assert_eq!(DefaultSize::choose(1e9, small_only).unwrap().size, Size::Small);
        let none = DefaultSize::choose(1e9, problem).unwrap_err().to_string();
        assert_eq!(none, "tiny does not fit");
        let lost = |_| Err(Error::Device("lost".into()));
        assert!(matches!(DefaultSize::choose(1e9, lost), Err(Error::Device(_))));
    }

    #[test]
    fn default_size_names_its_reason() {
        let text = |peak| DefaultSize::choose(peak, ddpm).unwrap().to_string();
        assert_eq!(
            text(63.9e12),
            "base by default: this device reaches 63.9 TFLOP/s, so base should train for about 37 minutes; \
             --size sets another"
        );
        assert_eq!(
            text(0.1e12),
            "tiny by default: this device reaches 100 GFLOP/s, so base would train for about 398 hours, small would \
             train for about 18 hours and tiny should train for about 23 minutes; --size sets another"
        );
    }
}
