//! Draws samples: a program that is run once for each denoising step, over the same memory as the training that made the weights.

use super::guidance::Labels;
use super::sampler::SamplingPlan;
use crate::gpu::{Gpu, MAX_WORKGROUPS, Memory, Ticket};
use crate::nn::{TIME_TABLE, UNet2d};
use crate::ops::{denoise, guidance, noise, repeat, timesteps};
use crate::tape::{Program, Shape, Step, Tape, purpose};
use crate::{Error, Result};

/// What samples are drawn.
#[derive(Clone, Debug)]
pub struct Request {
    /// Images drawn at once.
    pub batch: u32,
    /// Rows and columns of an image.
    pub height_width: [u32; 2],
    /// Scale of classifier-free guidance; 1 is none, and costs half.
    pub guidance: f32,
    /// What the model knows of labels.
    pub labels: Option<Labels>,
    /// Seed of all noise.
    pub seed: u64,
}

/// A sampler ready to run.
pub struct Generator {
    request: Request,
    name: String,
    start: Program,
    denoise: Program,
    shape: Shape,
    steps: u32,
    has_classes: bool,
}

impl Generator {
    /// Records and compiles the denoising step of a plan for a model whose weights lie in the memory `slab`. Its own memory begins with
    /// `name`.
    ///
    /// # Errors
    /// The device's.
    pub fn new(
        gpu: &Gpu,
        memory: &mut Memory,
        unet: &UNet2d,
        slab: &str,
        plan: &SamplingPlan,
        request: Request,
        name: &str,
    ) -> Result<Generator> {
        let steps = plan.timesteps.len() as u32;
        let has_classes = unet.config().num_class_embeds.is_some();
        let guided = request.labels.map_or(Ok(false), |labels| labels.guided(request.guidance))?;
        // Kernels count images along one dimension of their grid.
        let most = MAX_WORKGROUPS / if guided { 2 } else { 1 };
        if request.batch == 0 || request.batch > most {
            return Err(Error::Config(format!("a batch of {} images: draw 1 to {most} at once", request.batch)));
        }
        let [height, width] = request.height_width;
        let shape = Shape::f32([request.batch, unet.config().in_channels, height, width]);
        let named = |part: &str| format!("{name}.{part}");

        let mut start = Tape::new(gpu.target());
        let x = noise::noise(&mut start, purpose::SAMPLE, shape);
        start.keep(x, &named("x"));

        let mut tape = Tape::new(gpu.target());
        let t = &mut tape;
        let x = t.memory(&named("x"), shape);
        let list = t.memory(&named("timesteps"), Shape::u32([steps]));
        let table = t.memory(&named("table"), Shape::f32([steps, denoise::COEFFICIENTS]));
        let inputs = if guided { 2 * request.batch } else { request.batch };
        let time = timesteps::scheduled_timesteps(t, list, inputs);
        let labels = has_classes.then(|| t.memory(&named("labels"), Shape::u32([inputs])));
        let weights = unet.parameters().fixed(t, slab);
        let seen = if guided { repeat::repeat(t, x) } else { x };
        let model = unet.forward(t, &weights, seen, time, labels);
        let model = if guided { guidance::guidance(t, model, guidance::Guidance { rescale: 0.0 }) } else { model };
        denoise::denoise(t, x, model, table, plan.clip);

        let start = Program::compile(gpu, &start, memory)?;
        let denoise = Program::compile(gpu, &tape, memory)?;
        memory.write(gpu, &named("timesteps"), 0, &plan.timesteps)?;
        let mut rows = vec![[0.0; denoise::COEFFICIENTS as usize]; plan.table.len()];
        rows.iter_mut().zip(&plan.table).for_each(|(row, known)| row[..known.len()].copy_from_slice(known));
        memory.write(gpu, &named("table"), 0, rows.as_flattened())?;
        memory.write(gpu, TIME_TABLE, 0, &unet.time_table())?;
        Ok(Generator { request, name: name.into(), start, denoise, shape, steps, has_classes })
    }

    /// Shape of a batch: [B, C, H, W].
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Denoising steps of a batch.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Sets x to the noise that images `first_image ..` start from, or to the given one (as many images as the batch has).
    ///
    /// # Errors
    /// A label that is no class, a guidance that the model cannot follow (see [`Labels::batch`]), and the device's.
    pub fn begin(
        &self,
        gpu: &Gpu,
        memory: &Memory,
        first_image: u32,
        labels: &[u32],
        noise: Option<&[f32]>,
    ) -> Result<()> {
        if self.has_classes {
            let mut all = labels.to_vec();
            all.resize(self.request.batch as usize, labels.last().copied().unwrap_or(0));
            let all = self.request.labels.map_or(Ok(all.clone()), |known| known.batch(&all, self.request.guidance))?;
            memory.write(gpu, &format!("{}.labels", self.name), 0, &all)?;
        }
        match noise {
            Some(noise) => memory.write(gpu, &format!("{}.x", self.name), 0, noise),
            None => self.start.run(gpu, &self.step(0, first_image)).map(|_| ()),
        }
    }

    /// Runs denoising step `index` (from 0) on the batch, and waits for it.
    ///
    /// # Errors
    /// The device's.
    pub fn denoise(&self, gpu: &Gpu, index: u32, first_image: u32) -> Result<()> {
        gpu.wait_for(&self.submit(gpu, index, first_image)?)
    }

    /// [`Generator::denoise`] without waiting.
    pub fn submit(&self, gpu: &Gpu, index: u32, first_image: u32) -> Result<Ticket> {
        self.denoise.run(gpu, &self.step(index, first_image))
    }

    /// The images as they are now: [B, C, H, W] in about [-1, 1].
    ///
    /// # Errors
    /// The device's.
    pub fn images(&self, gpu: &Gpu, memory: &Memory) -> Result<Vec<f32>> {
        memory.read(gpu, &format!("{}.x", self.name), 0, self.shape.len())
    }

    /// Draws one batch from noise to image; `progress(step)` is called after each denoising step.
    ///
    /// # Errors
    /// As [`Generator::begin`].
    pub fn draw(
        &self,
        gpu: &Gpu,
        memory: &Memory,
        first_image: u32,
        labels: &[u32],
        mut progress: impl FnMut(u32),
    ) -> Result<Vec<f32>> {
        self.begin(gpu, memory, first_image, labels, None)?;
        for index in 0..self.steps {
            self.denoise(gpu, index, first_image)?;
            progress(index);
        }
        self.images(gpu, memory)
    }

    fn step(&self, index: u32, first_image: u32) -> Step {
        Step {
            seed_low: self.request.seed as u32,
            seed_high: (self.request.seed >> 32) as u32,
            index,
            first_image,
            guidance: self.request.guidance,
            ..Step::default()
        }
    }
}
