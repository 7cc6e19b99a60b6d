//! The probability flow, solved to a tolerance (Song et al. 2021b, section 4.3). The solver chooses
//! its steps: see [`crate::diffusion::ode`].
//!
//! The predicted image is not clipped, as in the paper and in the likelihood of the flow. A clip is
//! a kink in the velocity.
//!
//! It ends at the last time of the process, where noise of 0.01 or less remains. It does not
//! support discrete timesteps: the interpolated schedule has a kink at each timestep, and a step of
//! high order across a kink does not meet its tolerance.

use crate::diffusion::process::{Family, Process};
use crate::diffusion::sampler::{OdeSpec, Sampler, SamplerOptions, StepSpec, Trajectory};
use crate::{Error, Result};

/// The probability flow, solved to a tolerance.
#[derive(Clone, Copy, Debug)]
pub struct Ode {
    rtol: f64,
    atol: f64,
}

impl Ode {
    pub(super) const KEYS: &[&str] = &[];
    pub(super) const OPTIONS: &[&str] = &["rtol", "atol"];

    pub(super) fn new(options: &SamplerOptions) -> Result<Ode> {
        let [rtol, atol] = [options.rtol, options.atol].map(|tolerance| tolerance.unwrap_or(1e-5));
        for (name, tolerance) in [("rtol", rtol), ("atol", atol)] {
            if !(tolerance > 0.0 && tolerance < 1.0) {
                return Err(Error::Config(format!("{name} = {tolerance}: use a number between 0 and 1, usually 1e-5")));
            }
        }
        Ok(Ode { rtol, atol })
    }
}

impl Sampler for Ode {
    fn families(&self) -> &'static [Family] {
        &[Family::Sde, Family::Edm, Family::Flow]
    }

    fn trajectory(&self, process: &dyn Process, _spec: &StepSpec) -> Result<Trajectory> {
        Ok(Trajectory::Ode(OdeSpec { t_range: process.t_range(), rtol: self.rtol, atol: self.atol }))
    }
}
