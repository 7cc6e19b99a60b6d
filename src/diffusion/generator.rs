//! Draws samples: a program that is run once for each stage of a sampler, over the same memory as the training that made the weights.

mod adaptive;

use super::denoiser::{ClassifierGuide, Denoiser, classifier_table, record_answer};
use super::sampler::{Action, SamplingPlan};
use crate::gpu::{Context, MAX_WORKGROUPS, Submission};
use crate::ops::{Extra, SamplerStep, affine, langevin, randn, sampler_step};
use crate::tape::{Program, Shape, Step, Tape, stream};
use crate::{Error, Result};

/// What samples are drawn.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Images drawn at once.
    pub batch: u32,
    /// Channels, rows and columns of an image.
    pub image: [u32; 3],
    /// Scale of classifier-free guidance; 1 is none, and costs half.
    pub guidance: f32,
    /// How far the guided answer is brought back to the deviation of the unguided one (Lin et al. 2023, section 3.4): 0 not at all, 1 wholly.
    pub guidance_rescale: f32,
    /// A classifier whose gradient guides, if any.
    pub classifier: Option<ClassifierGuide<'a>>,
    /// Seed of all noise.
    pub seed: u64,
}

/// A sampler ready to run.
pub struct Generator {
    seed: u64,
    guidance: f32,
    labels: Option<super::Labels>,
    name: String,
    start: Program,
    advance: Option<Program>,
    correct: Option<Program>,
    corrects: Vec<bool>,
    ode: Option<([f64; 2], [f64; 2])>,
    shape: Shape,
    conditional: bool,
    classifier: bool,
}

impl Generator {
    /// Records and compiles the stages of a plan for a model whose weights lie in memory. Its own memory begins with `name`.
    ///
    /// # Errors
    /// A batch that is too large, a guidance that the model cannot follow, and the device's.
    pub fn new(
        ctx: &mut Context,
        model: &Denoiser<'_>,
        plan: &SamplingPlan,
        request: &Request<'_>,
        name: &str,
    ) -> Result<Generator> {
        let guided = model.labels.map_or(Ok(false), |labels| labels.guided(request.guidance))?;
        // Kernels count images along one dimension of their grid.
        let most = MAX_WORKGROUPS / if guided { 2 } else { 1 };
        if request.batch == 0 || request.batch > most {
            return Err(Error::Config(format!("a batch of {} images: draw 1 to {most} at once", request.batch)));
        }
        let [channels, height, width] = request.image;
        let shape = Shape::f32([request.batch, channels, height, width]);
        let named = |part: &str| format!("{name}.{part}");

        let mut start = Tape::new(ctx.target());
        let mut x = randn(&mut start, stream::SAMPLE, shape);
        if plan.prior_std != 1.0 {
            x = affine(&mut start, x, plan.prior_std, 0.0);
        }
        start.keep(x, &named("x"));

        let stages = plan.stages.len().max(1) as u32;
        let corrects: Vec<bool> = plan.stages.iter().map(|s| matches!(s.action, Action::Correct { .. })).collect();
        let keeps = plan.stages.iter().any(|s| matches!(s.action, Action::Move(u) if u.h != 0.0));
        let learned = plan.stages.iter().any(|s| matches!(s.action, Action::MoveLearned { .. }));
        let target = ctx.target();
        let record = |correct: bool| -> Tape {
            let mut tape = Tape::new(target);
            let t = &mut tape;
            let x = t.named(&named("x"), shape);
            let answer = record_answer(t, model, request, x, stages, name);
            let table = t.named(&named("table"), Shape::f32([stages, sampler_step::COEFFICIENTS]));
            if correct {
                langevin(t, x, answer.mean, table);
                return tape;
            }
            let extra = match (keeps, answer.variance.filter(|_| learned)) {
                (true, _) => Extra::History(t.named(&named("history"), shape)),
                (false, Some(variance)) => Extra::Variance(variance),
                (false, None) => Extra::None,
            };
            sampler_step(t, x, answer.mean, table, SamplerStep { clip: plan.clip, extra });
            tape
        };
        if learned && !model.learned_variance {
            return Err(Error::Config(
                "the variance learned_range needs a model that learned one (preset hybrid): use fixed_small".into(),
            ));
        }
        let mut compile = |tape: Tape| Program::compile(ctx, &tape);
        let start = compile(start)?;
        let advance =
            (corrects.iter().any(|c| !c) || plan.ode.is_some()).then(|| compile(record(false))).transpose()?;
        let correct = corrects.contains(&true).then(|| compile(record(true))).transpose()?;
        let generator = Generator {
            seed: request.seed,
            guidance: request.guidance,
            labels: model.labels,
            name: name.into(),
            start,
            advance,
            correct,
            corrects,
            ode: plan.ode,
            shape,
            conditional: model.network.classes().is_some(),
            classifier: request.classifier.is_some(),
        };
        if plan.ode.is_none() {
            let guide = classifier_table(model.process, request, &plan.stages);
            generator.load(ctx, &model.network.time_table(&plan.times), &plan.inputs, &plan.table.concat(), &guide)?;
            if let Some(guide) = &request.classifier {
                // A classifier of clean images is not told the time.
                ctx.write_if_present(&named("classifier.time"), &guide.network.time_table(&plan.times))?;
            }
        }
        ctx.write_if_present(&named("stages"), &(0..stages).collect::<Vec<u32>>())?;
        Ok(generator)
    }

    fn load(&self, ctx: &Context, time: &[f32], inputs: &[f32], table: &[f32], guide: &[f32]) -> Result<()> {
        let scales: Vec<f32> = inputs.iter().flat_map(|&input| [input, 0.0]).collect();
        for (part, values) in [("time", time), ("inputs", &scales), ("table", table), ("classifier.table", guide)] {
            ctx.write_if_present(&format!("{}.{part}", self.name), values)?;
        }
        Ok(())
    }

    /// Shape of a batch: [B, C, H, W].
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Bytes of device memory that its programs plan besides named memory.
    pub fn slot_bytes(&self) -> u64 {
        let programs = [Some(&self.start), self.advance.as_ref(), self.correct.as_ref()];
        programs.into_iter().flatten().map(Program::slot_bytes).sum()
    }

    /// Stages of a batch; 0 for an adaptive solver, which chooses their number itself.
    pub fn stages(&self) -> u32 {
        self.corrects.len() as u32
    }

    /// Sets x to the noise that images `first_image ..` start from, or to the given one (as many images as the batch has).
    ///
    /// # Errors
    /// A label that is no class, a guidance that the model cannot follow (see [`super::Labels::batch`]), and the device's.
    pub fn begin(&self, ctx: &Context, first_image: u32, labels: &[u32], given: Option<&[f32]>) -> Result<()> {
        let batch = self.shape.dims()[0] as usize;
        let mut all = labels.to_vec();
        all.resize(batch, labels.last().copied().unwrap_or(0));
        if self.classifier {
            ctx.write(&format!("{}.classifier.labels", self.name), 0, &all)?;
        }
        if self.conditional {
            let all = self.labels.map_or(Ok(all.clone()), |known| known.batch(&all, self.guidance))?;
            ctx.write(&format!("{}.labels", self.name), 0, &all)?;
        }
        match given {
            Some(given) => self.set_images(ctx, given),
            None => self.start.run(ctx, &self.step(0, first_image)).map(|_| ()),
        }
    }

    /// Runs stage `index` (from 0) on the batch, and waits for it.
    ///
    /// # Errors
    /// The device's.
    pub fn stage(&self, ctx: &Context, index: u32, first_image: u32) -> Result<()> {
        ctx.wait_for(&self.submit(ctx, index, first_image)?)
    }

    /// [`Generator::stage`] without waiting.
    ///
    /// # Panics
    /// If there is no such stage.
    pub fn submit(&self, ctx: &Context, index: u32, first_image: u32) -> Result<Submission> {
        let program = if self.corrects[index as usize] { &self.correct } else { &self.advance };
        let program = program.as_ref().expect("a program for each kind of stage");
        program.run(ctx, &self.step(index, first_image))
    }

    /// The images as they are now: [B, C, H, W] in about [-1, 1].
    ///
    /// # Errors
    /// The device's.
    pub fn images(&self, ctx: &Context) -> Result<Vec<f32>> {
        ctx.read(&format!("{}.x", self.name), 0, self.shape.len())
    }

    /// Puts images in the place of those that are being drawn.
    ///
    /// # Errors
    /// The device's.
    pub fn set_images(&self, ctx: &Context, images: &[f32]) -> Result<()> {
        ctx.write(&format!("{}.x", self.name), 0, images)
    }

    /// Goes from noise to image on a batch that was begun; `progress` is called with the share of the way that is done.
    ///
    /// # Errors
    /// The device's, those of `progress`, and a solver that runs out of steps.
    pub fn run(
        &self,
        ctx: &Context,
        model: &Denoiser<'_>,
        first_image: u32,
        progress: &mut dyn FnMut(f64) -> Result<()>,
    ) -> Result<()> {
        if let Some((span, tolerances)) = self.ode {
            return self.solve(ctx, model, span, tolerances, progress);
        }
        for index in 0..self.stages() {
            self.stage(ctx, index, first_image)?;
            progress(f64::from(index + 1) / f64::from(self.stages()))?;
        }
        Ok(())
    }

    /// Draws one batch from noise to image.
    ///
    /// # Errors
    /// As [`Generator::begin`] and [`Generator::run`].
    pub fn draw(&self, ctx: &Context, model: &Denoiser<'_>, first_image: u32, labels: &[u32]) -> Result<Vec<f32>> {
        self.begin(ctx, first_image, labels, None)?;
        self.run(ctx, model, first_image, &mut |_| Ok(()))?;
        self.images(ctx)
    }

    fn step(&self, index: u32, first_image: u32) -> Step {
        Step {
            seed_low: self.seed as u32,
            seed_high: (self.seed >> 32) as u32,
            index,
            first_image,
            guidance: self.guidance,
            ..Step::default()
        }
    }
}
