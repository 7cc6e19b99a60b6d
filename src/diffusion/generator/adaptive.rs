//! Sampling with the adaptive solver, which chooses the times at which it evaluates the velocity of
//! the probability flow.

use super::{Generator, Observer, StageNoise};
use crate::Result;
use crate::diffusion::ode;
use crate::diffusion::plan::StagePlan;
use crate::diffusion::sampler::{Action, OdeSpec, Stage, Update};
use crate::gpu::Context;

impl Generator<'_> {
    /// Samples a batch that has begun, from noise to image, in steps that meet the tolerances.
    pub(super) fn solve(&self, ctx: &Context, spec: OdeSpec, observer: &mut Observer<'_>) -> Result<()> {
        let start: Vec<f64> = self.images(ctx)?.into_iter().map(f64::from).collect();
        let [noise, image] = spec.t_range;
        let mut velocity = |t: f64, x: &[f64]| self.velocity(ctx, t, x);
        let settings = ode::Settings {
            relative: spec.rtol,
            absolute: spec.atol,
            rows: self.shape.dims()[0] as usize,
            ..ode::Settings::default()
        };
        let mut progress = |t: f64| observer((t - noise) / (image - noise));
        let end = ode::solve(&mut velocity, spec.t_range, start, settings, &mut progress)?;
        let end: Vec<f32> = end.x.into_iter().map(|x| x as f32).collect();
        self.set_images(ctx, &end)
    }

    /// dx/dt of the probability flow at a time: alpha' x_0 + sigma' eps, with the network's x_0 and
    /// eps, not clipped.
    fn velocity(&self, ctx: &Context, t: f64, x: &[f64]) -> Result<Vec<f64>> {
        let process = self.denoiser.process;
        let at = process.marginal(t);
        let update = Update { x0: at.alpha_rate, eps: at.sigma_rate, ..Update::default() };
        let stage = Stage { time: t, action: Action::Move(update) };
        self.write_stages(ctx, &StagePlan::new(process, vec![stage], self.plan.clip()))?;
        self.set_images(ctx, &x.iter().map(|&x| x as f32).collect::<Vec<f32>>())?;
        let program = self.advance.as_ref().expect("an adaptive plan has a program that moves");
        program.run(ctx, &self.step(0, t, StageNoise::default()))?;
        Ok(self.images(ctx)?.into_iter().map(f64::from).collect())
    }
}
