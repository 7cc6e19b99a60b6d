//! Denoising: the network is shown a noised image and is to answer what the process asks for, by the mean squared error of each image,
//! weighted by its time (Ho et al. 2020, eq. 14; Song et al. 2021, eq. 7; Karras et al. 2022, eq. 8; Lipman et al. 2023, eq. 14). With a
//! learned variance the term of the variational bound is added (Nichol and Dhariwal 2021, eq. 16), and times may be drawn by their losses.

use crate::Result;
use crate::diffusion::{
    CheckpointMetadata, Denoiser, Generator, Labels, Process, ProcessConfig, Request, Sampling, SchedulerConfig,
    TrainingTables, Variance, variational,
};
use crate::gpu::Context;
use crate::metrics::likelihood::vlb::VlbEstimator;
use crate::metrics::likelihood::{Draws, LabeledImages};
use crate::metrics::padding::ImagePadding;
use crate::nn::{Conditions, Model, Network, Weights};
use crate::ops::{
    add, affine, drop_label, embedding, importance_sampling, mse, q_sample, randn, random_timesteps, slice, vlb,
    weighted_timesteps,
};
use crate::output::Images;
use crate::tape::{Shape, Tape, Tensor, stream};
use crate::train::objective::{Batch, Drawing, Loss, Objective, Tables};
use crate::train::settings::Config;

const SHOWN: &str = "process.shown";
const TARGET: &str = "process.target";
const WEIGHTS: &str = "process.weights";
const TIME: &str = "process.time";
const BOUND: &str = "process.bound";
/// State of the choice of times by their losses.
const IMPORTANCE: [&str; 4] = [
    "importance_sampling.history",
    "importance_sampling.count",
    "importance_sampling.weights",
    "importance_sampling.cumulative",
];
/// Time steps of an image at which its bound is measured while a run goes on, besides t = 0.
const BOUND_TIMESTEPS: u32 = 8;

/// Denoising.
#[derive(Debug)]
pub struct Denoise {
    /// The network.
    pub network: Box<dyn Network>,
    /// The process.
    pub process: Box<dyn Process>,
    /// Its name and numbers.
    pub process_name: ProcessConfig,
    /// The sampler of pictures and checkpoints.
    pub scheduler: SchedulerConfig,
    /// What the network is told of labels.
    pub labels: Option<Labels>,
    /// Weight of the variational bound of all times, for a network that learns the variance.
    pub vlb_weight: Option<f32>,
    /// Smallest standard deviation of the decoder of a learned variance; 0 for that of the other time steps.
    pub decoder_min_std: f64,
    /// Whether times are drawn by their losses.
    pub importance: bool,
    /// How the run draws its samples.
    pub sampling: Sampling,
    /// The weight of each training time.
    pub weights: Vec<f32>,
    /// The tables of the process.
    pub tables: TrainingTables,
}

impl Denoise {
    fn state_tensors(&self, t: &mut Tape) -> [Tensor; 4] {
        let (n, table) = (self.times(), |t: &mut Tape, name, shape| t.named(name, shape));
        let [history, count, weights, cumulative] = IMPORTANCE;
        [
            table(t, history, Shape::f32([n, importance_sampling::HISTORY_LENGTH])),
            table(t, count, Shape::f32([n])),
            table(t, weights, Shape::f32([n])),
            table(t, cumulative, Shape::f32([n])),
        ]
    }

    /// Whether target and noise (or image) are one: then no kernel has to mix them.
    fn constant_target(&self) -> Option<[f32; 2]> {
        let first = *self.tables.target.first()?;
        let plain = first == [0.0, 1.0] || first == [1.0, 0.0];
        (plain && self.tables.target.iter().all(|&target| target == first)).then_some(first)
    }
}

impl Objective for Denoise {
    fn model(&self) -> &dyn Model {
        &*self.network
    }

    fn describe(&self) -> String {
        self.process.describe()
    }

    fn warning(&self) -> Option<String> {
        self.process.warning()
    }

    fn times(&self) -> u32 {
        self.tables.times.len() as u32
    }

    fn constants(&self) -> Tables {
        let mut tables = vec![
            (SHOWN, self.tables.shown.concat()),
            (WEIGHTS, self.weights.clone()),
            (TIME, self.network.time_table(&self.tables.times)),
            (TARGET, self.tables.target.concat()),
        ];
        if let (Some(_), Some(noise)) = (self.vlb_weight, self.process.schedule()) {
            tables.push((
                BOUND,
                variational::table(noise, &*self.process, Variance::LearnedRange, self.decoder_min_std).concat(),
            ));
        }
        tables
    }

    fn state(&self) -> Tables {
        if !self.importance {
            return vec![];
        }
        let n = self.times() as usize;
        let [history, count, weights, cumulative] = IMPORTANCE;
        vec![
            (history, vec![0.0; n * importance_sampling::HISTORY_LENGTH as usize]),
            (count, vec![0.0; n]),
            (weights, vec![1.0; n]),
            (cumulative, vec![0.0; n]),
        ]
    }

    fn loss(&self, t: &mut Tape, weights: &Weights, batch: Batch) -> Loss {
        let (x0, n) = (batch.images, self.times());
        let [count, channels, ..]: [u32; 4] = t.shape(x0).as_array();
        let weighted = (self.importance && weights.training()).then(|| self.state_tensors(t));
        let time = match weighted {
            Some([.., cumulative]) => weighted_timesteps(t, cumulative, count, n),
            None => random_timesteps(t, count, n),
        };
        let e = randn(t, stream::NOISE, t.shape(x0));
        let shown = t.named(SHOWN, Shape::f32([n, 2]));
        let x = q_sample(t, x0, e, shown, time);
        let target = match self.constant_target() {
            Some([image, _]) => {
                if image == 1.0 {
                    x0
                } else {
                    e
                }
            }
            None => {
                let target = t.named(TARGET, Shape::f32([n, 2]));
                q_sample(t, x0, e, target, time)
            }
        };
        let labels = self.labels.map(|labels| match (weights.training(), labels.null_class()) {
            (true, Some(none)) => drop_label(t, batch.labels, drop_label::DropLabel { none, rate: labels.dropout }),
            _ => batch.labels,
        });
        let told = match self.network.time_width() {
            0 => None,
            width => {
                let rows = t.named(TIME, Shape::f32([n, width]));
                Some(embedding(t, time, rows))
            }
        };
        let whole = self.network.forward(t, weights, x, Conditions { time: told, labels });
        let w = t.named(WEIGHTS, Shape::f32([n]));
        let loss = match self.vlb_weight {
            None => mse(t, whole, target, w, time),
            Some(weight) => {
                let mean = slice(t, whole, 0, channels);
                let variance = slice(t, whole, channels, channels);
                let simple = mse(t, mean, target, w, time);
                let table = t.named(BOUND, Shape::f32([n, vlb::COEFFICIENTS]));
                let bound = vlb(t, mean, variance, x0, x, table, time);
                // L_vlb is the sum over all times of what is drawn for one.
                let bound = affine(t, bound, weight * n as f32, 0.0);
                add(t, simple, bound)
            }
        };
        Loss { loss, time, weights: weighted.map(|[_, _, weights, _]| weights) }
    }

    fn after(&self, t: &mut Tape, loss: Loss) {
        if self.importance {
            let state = self.state_tensors(t);
            importance_sampling(t, loss.loss, loss.time, state);
        }
    }

    fn denoiser<'a>(&'a self, slab: &'a str) -> Option<Denoiser<'a>> {
        Some(Denoiser {
            network: &*self.network,
            slab,
            process: &*self.process,
            labels: self.labels,
            learned_variance: self.vlb_weight.is_some(),
            decoder_min_std: self.decoder_min_std,
        })
    }

    fn scheduler(&self) -> Option<SchedulerConfig> {
        Some(self.scheduler.clone())
    }

    fn complete(&self, card: &mut CheckpointMetadata) {
        card.labels = self.labels;
        card.process = self.process_name;
        card.learned_variance = self.vlb_weight.is_some();
        card.decoder_min_std = self.decoder_min_std;
        card.sampling = Some(self.sampling);
    }

    fn draw(&self, ctx: &mut Context, config: &Config, drawing: &Drawing<'_>) -> Result<Option<Vec<Images<'static>>>> {
        let (Some(image), Some(model)) = (self.network.image_shape(), self.denoiser(drawing.slab)) else {
            return Ok(None);
        };
        let (plan, _) = self.scheduler.plan_for(&*self.process, config.sampling_steps)?;
        let request = Request {
            batch: drawing.labels.len() as u32,
            image,
            guidance: if self.labels.is_some() { config.guidance } else { 1.0 },
            guidance_rescale: config.guidance_rescale,
            classifier: None,
            seed: config.seed,
        };
        let generator = Generator::new(ctx, &model, &plan, &request, drawing.name)?;
        generator.begin(ctx, drawing.first, drawing.labels, None)?;
        let shape = generator.shape().as_array().map(|n: u32| n as usize);
        let now =
            |generator: &Generator| -> Result<Images<'static>> { Ok(Images::from_f32(&generator.images(ctx)?, shape)) };
        let mut columns = vec![];
        if drawing.looks > 0 {
            columns.push(now(&generator)?);
        }
        let mut seen = 0;
        let looks = drawing.looks;
        generator.run(ctx, &model, drawing.first, &mut |done| {
            let look = (done * f64::from(looks)) as u32;
            if look > seen && done < 1.0 {
                columns.push(now(&generator)?);
            }
            seen = look;
            Ok(())
        })?;
        columns.push(now(&generator)?);
        Ok(Some(columns))
    }

    fn bits(&self, ctx: &mut Context, images: LabeledImages<'_>, slab: &str, config: &Config) -> Result<Option<f64>> {
        let (Some(model), Some(image)) = (self.denoiser(slab), self.network.image_shape()) else { return Ok(None) };
        if self.process.schedule().is_none() {
            return Ok(None); // an equation would have to be solved for each image
        }
        let padding = ImagePadding::new(image, image)?;
        let vlb = VlbEstimator::new(ctx, &model, padding, config.batch, "evaluation.vlb")?;
        let bits =
            vlb.measure(ctx, images, Draws { per_image: BOUND_TIMESTEPS, seed: config.seed }, &mut |_| Ok(()))?;
        Ok(Some(bits.total.value))
    }

    fn forward_process(&self, columns: u32) -> Vec<[f32; 2]> {
        let last = self.times() - 1;
        (0..columns).map(|column| self.tables.shown[(last * column / (columns - 1)) as usize]).collect()
    }
}
