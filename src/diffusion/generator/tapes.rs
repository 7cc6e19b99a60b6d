//! Tapes of a generator: the initial noise, a stage that moves the state, a Langevin correction.

use crate::diffusion::denoiser::{Denoiser, Output, StageTables};
use crate::diffusion::guidance::Guidance;
use crate::diffusion::plan::SamplingPlan;
use crate::diffusion::prior::Prior;
use crate::diffusion::sampler::Action;
use crate::diffusion::scope::Scope;
use crate::ops::{Extra, SamplerStep, affine, langevin, randn, sampler_step};
use crate::tape::{Shape, Tape, Tensor, stream};

/// Rows of the tables: one for each stage, and one for the adaptive solver.
pub(super) fn table_rows(plan: &SamplingPlan) -> u32 {
    plan.stages().len().max(1) as u32
}

/// The inputs for recording the tapes of a generator.
pub(super) struct Tapes<'t> {
    pub denoiser: &'t Denoiser<'t>,
    pub guidance: &'t Guidance<'t>,
    pub plan: &'t SamplingPlan,
    pub shape: Shape,
    pub scope: &'t Scope,
}

impl Tapes<'_> {
    /// x = mean + std z of the prior.
    pub fn start(&self, t: &mut Tape) {
        let mut x = randn(t, stream::SAMPLE, self.shape);
        let Prior { mean, std } = self.plan.prior();
        if (mean, std) != (0.0, 1.0) {
            x = affine(t, x, std, mean);
        }
        t.keep(x, &self.scope.name("x"));
    }

    /// A stage that moves the state.
    pub fn advance(&self, t: &mut Tape) {
        let StageTensors { x, output, table } = self.record_network(t);
        let actions = || self.plan.stages().iter().map(|stage| stage.action);
        let extra = if actions().any(|action| matches!(action, Action::Move(update) if update.h != 0.0)) {
            Extra::History(t.named(&self.scope.name("history"), self.shape))
        } else if actions().any(|action| matches!(action, Action::MoveLearned { .. })) {
            Extra::Variance(output.variance.expect("the plan needs a denoiser that learned a variance"))
        } else {
            Extra::None
        };
        sampler_step(t, x, output.mean, table, SamplerStep { clip: self.plan.clip(), extra });
    }

    /// A Langevin correction.
    pub fn correct(&self, t: &mut Tape) {
        let StageTensors { x, output, table } = self.record_network(t);
        langevin(t, x, output.mean, table);
    }

    fn record_network(&self, t: &mut Tape) -> StageTensors {
        let rows = table_rows(self.plan);
        let x = t.named(&self.scope.name("x"), self.shape);
        let output = self.denoiser.record(t, x, self.guidance, StageTables { scope: self.scope, count: rows });
        let table = t.named(&self.scope.name("table"), Shape::f32([rows, sampler_step::COEFFICIENTS]));
        StageTensors { x, output, table }
    }
}

/// The state of a stage, the output of the network, and the coefficients of the stages.
struct StageTensors {
    x: Tensor,
    output: Output,
    table: Tensor,
}
