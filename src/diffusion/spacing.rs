//! Spacing: the timesteps that a sampler visits if it has fewer steps than T.

use crate::output::counted;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Distribution of the visited timesteps over 0 .. T-1 (Lin et al. 2023, table 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "cli", value(rename_all = "snake_case"))]
pub enum Spacing {
    /// Multiples of T/n (rounded down), plus an offset: 50 of 1000 are 980, 960 .. 0.
    #[default]
    Leading,
    /// Counted back from the last: 50 of 1000 are 999, 979 .. 19.
    Trailing,
    /// From the last to 0, equally spaced: 50 of 1000 are 999, 979, 958 .. 0.
    Linspace,
}

impl Spacing {
    /// The name in settings and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Spacing::Leading => "leading",
            Spacing::Trailing => "trailing",
            Spacing::Linspace => "linspace",
        }
    }

    /// Chooses `n` of T = `of` timesteps, largest first, as in diffusers, including its rounding
    /// (half to even).
    ///
    /// `offset` (`steps_offset` in diffusers) is added to the timesteps of [`Spacing::Leading`].
    /// The other spacings ignore it.
    ///
    /// ```
    /// # use degrain::diffusion::Spacing;
    /// assert_eq!(Spacing::Leading.timesteps(4, 1000, 0)?, [750, 500, 250, 0]);
    /// assert_eq!(Spacing::Trailing.timesteps(4, 1000, 0)?, [999, 749, 499, 249]);
    /// assert_eq!(Spacing::Linspace.timesteps(4, 1000, 0)?, [999, 666, 333, 0]);
    /// # Ok::<(), degrain::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] for `n` outside 1..=T, and for an offset that leads past the last
    /// timestep.
    pub fn timesteps(self, n: u32, of: u32, offset: u32) -> Result<Vec<u32>> {
        if n == 0 || n > of {
            return Err(Error::Config(format!(
                "{} with a model of {}: use 1 to {of}",
                counted(n, "sampling step"),
                counted(of, "timestep")
            )));
        }
        let (last, count) = (f64::from(of) - 1.0, f64::from(n));
        match self {
            Spacing::Leading => {
                let first = u64::from(of / n) * u64::from(n - 1) + u64::from(offset);
                if first >= u64::from(of) {
                    return Err(Error::Config(format!(
                        "`steps_offset` = {offset} moves the first of {n} steps to {first}, past the last of {of} timesteps: \
                         use a smaller offset or fewer steps"
                    )));
                }
                Ok((0..n).rev().map(|k| k * (of / n) + offset).collect())
            }
            Spacing::Trailing => {
                // The step of numpy.arange is the difference of its first two values, with their
                // rounding. numpy sometimes returns one timestep too many (-1, for 61 of 1000);
                // this function returns n.
                let start = f64::from(of);
                let step = (start - start / count) - start;
                Ok((0..n).map(|k| (start + f64::from(k) * step).round_ties_even() as u32 - 1).collect())
            }
            Spacing::Linspace => {
                let step = last / (count - 1.0).max(1.0);
                Ok((0..n).rev().map(|k| (f64::from(k) * step).round_ties_even() as u32).collect())
            }
        }
    }
}
