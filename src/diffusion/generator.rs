//! The generator: a sampler compiled for a denoiser on a device. It runs one program per stage.
//!
//! Image k depends only on the seed, k and its label, not on the batch in which it is sampled.

mod adaptive;
mod tapes;

use super::denoiser::Denoiser;
use super::guidance::Guidance;
use super::plan::{SamplingPlan, StagePlan};
use super::sampler::Action;
use super::scope::Scope;
use crate::gpu::{Context, KernelChoices, MAX_WORKGROUPS, Submission};
use crate::tape::{Program, Shape, Step, Tape, record};
use crate::{Error, Result};
use std::collections::VecDeque;
use tapes::{Tapes, table_rows};

/// Name, size, image shape and seed of a generator's batches.
#[derive(Clone, Copy, Debug)]
pub struct BatchSpec<'a> {
    /// Name of the generator: its buffers are `NAME.x`, `NAME.table` and so on.
    pub name: &'a str,
    /// Images per batch.
    pub size: u32,
    /// Channels, rows and columns of an image.
    pub image: [u32; 3],
    /// Seed of all noise.
    pub seed: u64,
}

/// The noise that a stage adds: which images the batch holds, and how often the stage has run on
/// them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageNoise {
    /// Number of the batch's first image.
    pub first_image: u32,
    /// Earlier passes through this stage. Each pass has fresh noise, up to 2^24 passes. 0 is the
    /// noise of ordinary sampling.
    pub pass: u32,
}

/// Stages that are submitted before the sampler waits for the oldest one, so that the device has
/// work while the host prepares the next stage.
const IN_FLIGHT: usize = 2;

/// Receives the share of a batch whose stages were submitted, 0 to 1, after each stage. Reading the
/// images waits for them. At 1 all stages have finished.
pub type Observer<'o> = dyn FnMut(f64) -> Result<()> + 'o;

/// A sampler that is ready to run. It owns the description of its denoiser and the guidance.
pub struct Generator<'a> {
    denoiser: Denoiser<'a>,
    guidance: Guidance<'a>,
    plan: SamplingPlan,
    scope: Scope,
    seed: u64,
    shape: Shape,
    start: Program,
    /// Moves the state, with or without fresh noise.
    advance: Option<Program>,
    /// A Langevin correction.
    correct: Option<Program>,
}

impl<'a> Generator<'a> {
    /// Records and compiles the stages of a plan for a denoiser whose weights are in a buffer of
    /// the context.
    ///
    /// # Errors
    /// [`Error::Config`] for a batch that is too large, and for guidance that the model does not
    /// support.
    ///
    /// # Panics
    /// If the plan needs a variance that the denoiser did not learn;
    /// [`Sampling::resolve`](super::Sampling::resolve) refuses such a plan.
    pub fn new(
        ctx: &mut Context,
        denoiser: Denoiser<'a>,
        guidance: Guidance<'a>,
        plan: SamplingPlan,
        batch: BatchSpec<'_>,
    ) -> Result<Generator<'a>> {
        let guided = denoiser.spec.labels.map_or(Ok(false), |labels| labels.guided(guidance.scale))?;
        // Kernels count images along one dimension of their grid.
        let most = MAX_WORKGROUPS / if guided { 2 } else { 1 };
        if batch.size == 0 || batch.size > most {
            return Err(Error::Config(format!("batch size {}: use 1 to {most}", batch.size)));
        }
        let [channels, height, width] = batch.image;
        let shape = Shape::f32([batch.size, channels, height, width]);
        let scope = Scope::new(batch.name);
        let actions = plan.stages().iter().map(|stage| stage.action);
        let corrects = actions.clone().filter(|action| matches!(action, Action::Correct { .. })).count();
        let moves = plan.stages().len() > corrects || plan.fixed().is_none();

        let tapes = Tapes { denoiser: &denoiser, guidance: &guidance, plan: &plan, shape, scope: &scope };
        let mut compile = |write: &dyn Fn(&mut Tape)| {
            let (tape, ()) = record(ctx, write)?;
            Program::compile(ctx, &tape)
        };
        let start = compile(&|t| tapes.start(t))?;
        let advance = moves.then(|| compile(&|t| tapes.advance(t))).transpose()?;
        let correct = (corrects > 0).then(|| compile(&|t| tapes.correct(t))).transpose()?;
        let generator = Generator { denoiser, guidance, plan, scope, seed: batch.seed, shape, start, advance, correct };
        generator.write_tables(ctx)?;
        Ok(generator)
    }

    /// The forms of kernels that it was compiled with.
    pub fn forms(&self) -> KernelChoices {
        let programs = [self.advance.as_ref(), self.correct.as_ref()];
        programs.into_iter().flatten().fold(self.start.forms().clone(), |forms, program| forms.with(program.forms()))
    }

    /// Writes the tables of all stages. The adaptive solver writes its tables at each evaluation.
    fn write_tables(&self, ctx: &Context) -> Result<()> {
        if let Some(plan) = self.plan.fixed() {
            self.write_stages(ctx, plan)?;
        }
        let numbers: Vec<u32> = (0..table_rows(&self.plan)).collect();
        ctx.write_if_present(&self.scope.name("stages"), &numbers)?;
        Ok(())
    }

    /// Writes the tables of these stages. A table that no program reads has no buffer and is
    /// skipped.
    fn write_stages(&self, ctx: &Context, plan: &StagePlan) -> Result<()> {
        let scales: Vec<f32> = plan.inputs.iter().flat_map(|&input| [input, 0.0]).collect();
        let time = self.denoiser.network.time_table(&plan.times);
        for (part, values) in [("time", time), ("inputs", scales), ("table", plan.table.concat())] {
            ctx.write_if_present(&self.scope.name(part), &values)?;
        }
        if let Some(guide) = &self.guidance.classifier {
            let table = guide.table(self.denoiser.process, &plan.stages);
            ctx.write_if_present(&self.scope.name("classifier.table"), &table)?;
            ctx.write_if_present(&self.scope.name("classifier.time"), &guide.network.time_table(&plan.times))?;
        }
        Ok(())
    }

    /// Shape of a batch: [B, C, H, W].
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The plan that it follows.
    pub fn plan(&self) -> &SamplingPlan {
        &self.plan
    }

    /// The denoiser.
    pub fn denoiser(&self) -> &Denoiser<'a> {
        &self.denoiser
    }

    /// Bytes of device memory that its programs need next to the named buffers.
    pub fn slot_bytes(&self) -> u64 {
        let programs = [Some(&self.start), self.advance.as_ref(), self.correct.as_ref()];
        programs.into_iter().flatten().map(Program::slot_bytes).sum()
    }

    /// Stages of a batch; 0 for the adaptive solver, which chooses their number itself.
    pub fn stages(&self) -> u32 {
        self.plan.stages().len() as u32
    }

    /// Samples one batch: images `first_image ..` of the seed, `[B, C, H, W]` in about [-1, 1].
    /// Missing labels repeat the last one. The observer can read the current images with
    /// [`Generator::images`].
    ///
    /// # Errors
    /// As [`Generator::begin`] and [`Generator::run`].
    pub fn sample(
        &self,
        ctx: &Context,
        labels: &[u32],
        first_image: u32,
        observer: &mut Observer<'_>,
    ) -> Result<Vec<f32>> {
        self.begin(ctx, labels, first_image)?;
        self.run(ctx, first_image, observer)?;
        self.images(ctx)
    }

    /// [`Generator::sample`] from given noise instead of the seed's: `[B, C, H, W]`, with mean and
    /// standard deviation of the plan's [`Prior`](super::Prior).
    ///
    /// # Errors
    /// As [`Generator::sample`].
    pub fn sample_from(
        &self,
        ctx: &Context,
        noise: &[f32],
        labels: &[u32],
        observer: &mut Observer<'_>,
    ) -> Result<Vec<f32>> {
        self.begin_from(ctx, noise, labels)?;
        self.run(ctx, 0, observer)?;
        self.images(ctx)
    }

    /// Sets the labels, and x to the noise of images `first_image ..`.
    ///
    /// # Errors
    /// A label that is not a class: see [`super::Labels::batch`].
    pub fn begin(&self, ctx: &Context, labels: &[u32], first_image: u32) -> Result<()> {
        self.write_labels(ctx, labels)?;
        self.start.run(ctx, &Step { first_image, ..Step::seeded(self.seed) }).map(|_| ())
    }

    /// Sets the labels, and x to given noise or images.
    ///
    /// # Errors
    /// As [`Generator::begin`].
    pub fn begin_from(&self, ctx: &Context, x: &[f32], labels: &[u32]) -> Result<()> {
        self.write_labels(ctx, labels)?;
        self.set_images(ctx, x)
    }

    fn write_labels(&self, ctx: &Context, labels: &[u32]) -> Result<()> {
        let batch = self.shape.dims()[0] as usize;
        let mut all = labels.to_vec();
        all.resize(batch, labels.last().copied().unwrap_or(0));
        if self.guidance.classifier.is_some() {
            ctx.write(&self.scope.name("classifier.labels"), 0, &all)?;
        }
        if self.denoiser.network.classes().is_some() {
            let known = self.denoiser.spec.labels;
            let all = known.map_or(Ok(all.clone()), |known| known.batch(&all, self.guidance.scale))?;
            ctx.write(&self.scope.name("labels"), 0, &all)?;
        }
        Ok(())
    }

    /// Samples a batch that has begun, from noise to image.
    ///
    /// # Errors
    /// Errors of the observer, and [`Error::Config`] for an adaptive solver that stops early: see
    /// [`super::ode::solve`].
    pub fn run(&self, ctx: &Context, first_image: u32, observer: &mut Observer<'_>) -> Result<()> {
        if let SamplingPlan::Ode(plan) = &self.plan {
            return self.solve(ctx, plan.ode, observer);
        }
        let mut running = VecDeque::new();
        for index in 0..self.stages() {
            running.push_back(self.submit(ctx, index, StageNoise { first_image, pass: 0 })?);
            let allowed = if index + 1 < self.stages() { IN_FLIGHT - 1 } else { 0 };
            while running.len() > allowed
                && let Some(oldest) = running.pop_front()
            {
                ctx.wait_for(&oldest)?;
            }
            observer(f64::from(index + 1) / f64::from(self.stages()))?;
        }
        Ok(())
    }

    /// Runs stage `index` (from 0) on the batch, and waits for it.
    pub fn stage(&self, ctx: &Context, index: u32, noise: StageNoise) -> Result<()> {
        ctx.wait_for(&self.submit(ctx, index, noise)?)
    }

    /// [`Generator::stage`] without waiting.
    ///
    /// # Panics
    /// If there is no such stage.
    pub fn submit(&self, ctx: &Context, index: u32, noise: StageNoise) -> Result<Submission> {
        let stage = self.plan.stages()[index as usize];
        let correct = matches!(stage.action, Action::Correct { .. });
        let program = if correct { &self.correct } else { &self.advance };
        let program = program.as_ref().expect("a program for each kind of stage");
        program.run(ctx, &self.step(index, stage.time, noise))
    }

    /// The current images: [B, C, H, W] in about [-1, 1].
    pub fn images(&self, ctx: &Context) -> Result<Vec<f32>> {
        ctx.read(&self.scope.name("x"), 0, self.shape.len())
    }

    /// Replaces the current images.
    pub fn set_images(&self, ctx: &Context, images: &[f32]) -> Result<()> {
        ctx.write(&self.scope.name("x"), 0, images)
    }

    /// The step of stage `index` at a time.
    fn step(&self, index: u32, time: f64, noise: StageNoise) -> Step {
        let StageNoise { first_image, pass: sampler_pass } = noise;
        let guidance = self.guidance.scale_at(self.denoiser.process.marginal(time).sigma_ratio());
        Step { index, first_image, sampler_pass, guidance, ..Step::seeded(self.seed) }
    }
}
