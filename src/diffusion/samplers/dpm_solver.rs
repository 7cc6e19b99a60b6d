//! DPM-Solver++(2M) (Lu et al. 2022b), as diffusers' DPMSolverMultistepScheduler: order 2, one
//! stage per step.
//!
//! With lambda = log(alpha / sigma), h the step of lambda, h_p the previous step of lambda and
//! fresh noise z ~ N(0, 1):
//!
//! ```text
//! x' = (sigma' / sigma) exp(-eta h) x + alpha' (1 - exp(-h - eta h)) D
//!    + sigma' sqrt(1 - exp(-2 eta h)) z
//! D  = (1 + w) x_0 - w (previous x_0),  w = h / (2 h_p)
//! ```
//!
//! w is 0 in the first step. It is also 0 in the last step, because lambda is infinite at the
//! image.
//!
//! With eta = 0 this is DPM-Solver++(2M) for the probability flow (algorithm 2), without noise. With
//! eta = 1 it is SDE-DPM-Solver++(2M) for the reverse SDE, diffusers' `sde-dpmsolver++`. Values
//! between them solve the SDEs between the two, as k-diffusion's `sample_dpmpp_2m_sde`. There the
//! variance of the noise of a small step is proportional to eta; with DDIM's eta, its standard
//! deviation is.

use crate::Result;
use crate::diffusion::process::{Family, Marginal, Process};
use crate::diffusion::sampler::{
    Action, Sampler, SamplerOptions, Stage, StepSpec, Trajectory, Update, discrete_timesteps,
};

/// DPM-Solver++(2M).
#[derive(Clone, Copy, Debug)]
pub struct DpmSolver {
    eta: f64,
}

impl DpmSolver {
    pub(super) const KEYS: &[&str] = &[];
    pub(super) const OPTIONS: &[&str] = &["eta"];

    pub(super) fn new(options: &SamplerOptions) -> Result<DpmSolver> {
        Ok(DpmSolver { eta: options.eta()? })
    }
}

impl Sampler for DpmSolver {
    fn families(&self) -> &'static [Family] {
        &[Family::Discrete, Family::Edm]
    }

    fn trajectory(&self, process: &dyn Process, spec: &StepSpec) -> Result<Trajectory> {
        let times = match process.schedule() {
            Some(_) => discrete_timesteps(process, spec)?.1.into_iter().map(f64::from).collect(),
            None => process.timesteps(spec.steps),
        };
        let path: Vec<Marginal> = times.iter().map(|&t| process.marginal(t)).collect();
        // From pure noise the step is infinite, so the next step has w = 0.
        let lambda_step = |from: &Marginal, to: &Marginal| (from.sigma_ratio() / to.sigma_ratio()).ln();
        let stage = |(k, (&time, at)): (usize, (&f64, &Marginal))| {
            let next = path.get(k + 1);
            let (alpha, sigma) = next.map_or((1.0, 0.0), |next| (next.alpha, next.sigma));
            let before = k.checked_sub(1).map(|before| &path[before]);
            let weight = match (before, next) {
                (Some(before), Some(next)) => 0.5 * lambda_step(at, next) / lambda_step(before, at),
                _ => 0.0,
            };
            let left = (at.alpha * sigma / (at.sigma * alpha)).powf(self.eta); // exp(-eta h)
            let x = sigma / at.sigma * left;
            let x0 = alpha - at.alpha * x; // alpha' (1 - exp(-h - eta h))
            let z = sigma * (1.0 - left * left).max(0.0).sqrt();
            let h_next = [1.0, 0.0, 0.0];
            let update = Update { x0: (1.0 + weight) * x0, x, z, h: -weight * x0, h_next, ..Update::default() };
            Stage { time, action: Action::Move(update) }
        };
        Ok(Trajectory::Stages(times.iter().zip(&path).enumerate().map(stage).collect()))
    }
}
