//! Samples by an adaptive solver, which asks for the velocity of the probability flow where it needs it.

use super::Generator;
use crate::Result;
use crate::diffusion::Denoiser;
use crate::diffusion::ode;
use crate::diffusion::sampler::{Action, Stage, Update, row};
use crate::gpu::Context;

impl Generator {
    /// Goes from noise to image on a batch that was begun, by steps that hold the tolerances (relative, absolute).
    pub(super) fn solve(
        &self,
        ctx: &Context,
        model: &Denoiser<'_>,
        span: [f64; 2],
        [relative, absolute]: [f64; 2],
        progress: &mut dyn FnMut(f64) -> Result<()>,
    ) -> Result<()> {
        let start: Vec<f64> = self.images(ctx)?.into_iter().map(f64::from).collect();
        let mut velocity = |t: f64, x: &[f64]| self.velocity(ctx, model, t, x);
        let settings =
            ode::Settings { relative, absolute, rows: self.shape.dims()[0] as usize, ..ode::Settings::default() };
        let end =
            ode::solve(&mut velocity, span, start, settings, &mut |t| progress((t - span[0]) / (span[1] - span[0])))?;
        let end: Vec<f32> = end.x.into_iter().map(|x| x as f32).collect();
        self.set_images(ctx, &end)
    }

    /// dx/dt of the probability flow at a time: alpha' x_0 + sigma' eps.
    fn velocity(&self, ctx: &Context, model: &Denoiser<'_>, t: f64, x: &[f64]) -> Result<Vec<f64>> {
        let (at, view) = (model.process.marginal(t), model.process.parameterization(t));
        let update = Update { x0: at.alpha_rate, eps: at.sigma_rate, ..Update::default() };
        let stage = Stage { time: t, action: Action::Move(update) };
        let time = model.network.time_table(&[view.time]);
        self.load(ctx, &time, &[view.c_in as f32], &row(model.process, &stage), &[])?;
        self.set_images(ctx, &x.iter().map(|&x| x as f32).collect::<Vec<f32>>())?;
        let program = self.advance.as_ref().expect("an adaptive plan has a program that moves");
        program.run(ctx, &self.step(0, 0))?;
        Ok(self.images(ctx)?.into_iter().map(f64::from).collect())
    }
}
