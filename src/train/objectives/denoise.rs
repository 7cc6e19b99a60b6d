//! Denoising: the network predicts the process's target from a noised image. The loss is the mean
//! squared error of each image, weighted by its time (Ho et al. 2020, eq. 14; Song et al. 2021, eq.
//! 7; Karras et al. 2022, eq. 8; Lipman et al. 2023, eq. 14). With a learned variance, a term of
//! the variational bound is added. Times can be sampled by their losses (Nichol and Dhariwal 2021,
//! eq. 16 and 18).

use super::noising::Noising;
use crate::Result;
use crate::checkpoint::{CheckpointMetadata, SchedulerConfig};
use crate::diffusion::{
    BatchSpec, Denoiser, DenoiserSpec, FrameTimes, Generator, Labels, Process, ProcessConfig, Sampling, Variance,
    variational,
};
use crate::error::check_stop;
use crate::gpu::Context;
use crate::metrics::likelihood::Draws;
use crate::metrics::likelihood::vlb::VlbEstimator;
use crate::metrics::padding::ImagePadding;
use crate::nn::{Model, Network, Weights};
use crate::ops::{
    BatchPart, DropLabel, HISTORY_LENGTH, ImportanceState, VlbInputs, add, affine, drop_label, importance_sampling,
    randn, random_timesteps, split_channels, vlb, weighted_mse, weighted_timesteps,
};
use crate::output::Images;
use crate::tape::{Shape, Tape, Tensor, stream};
use crate::train::config::Config;
use crate::train::objective::{
    Batch, BitsPerDim, Generative, LikelihoodRequest, Loss, Objective, SampleRequest, Tables,
};

/// Weight of each training time in the loss, `[T]`.
const LOSS_WEIGHTS: &str = "process.weights";
/// Coefficients of the variational bound, `[T, 8]`.
const VLB: &str = "process.vlb";
/// The most recent losses of each training time, `[T, HISTORY_LENGTH]`.
const LOSS_HISTORY: &str = "importance_sampling.history";
/// Number of losses in the history of each training time, `[T]`.
const LOSS_COUNT: &str = "importance_sampling.count";
/// Weight that keeps the loss unbiased, `[T]`.
const IMPORTANCE_WEIGHTS: &str = "importance_sampling.weights";
/// Cumulative probability of each training time, `[T]`.
const CUMULATIVE: &str = "importance_sampling.cumulative";
/// Number of timesteps, in addition to t = 0, at which the variational bound of an image is
/// estimated during training.
const VLB_TIMESTEPS: u32 = 8;

/// Trains a denoiser.
#[derive(Debug)]
pub struct Denoise {
    /// The network.
    pub network: Box<dyn Network>,
    /// The process.
    pub process: Box<dyn Process>,
    /// Name and parameters of the process.
    pub process_config: ProcessConfig,
    /// Tables of the process.
    pub noising: Noising,
    /// The scheduler that describes a discrete process in a checkpoint.
    pub scheduler: Option<SchedulerConfig>,
    /// Labels and variance of the network.
    pub spec: DenoiserSpec,
    /// Weight of the variational bound, for a network that learns the variance.
    pub vlb_weight: f32,
    /// Whether times are sampled by their losses.
    pub importance: bool,
    /// Sampling settings of the grids.
    pub sampling: Sampling,
    /// The loss weight of each training time.
    pub weights: Vec<f32>,
}

impl Objective for Denoise {
    fn model(&self) -> &dyn Model {
        &*self.network
    }

    fn describe(&self) -> String {
        self.process.describe()
    }

    fn warnings(&self) -> Vec<String> {
        // Those of the process, and of a sampler that does not fit it.
        self.sampling.plan(&*self.process).map_or_else(|_| vec![], |(_, warnings)| warnings)
    }

    fn num_times(&self) -> u32 {
        self.noising.num_times()
    }

    fn tables(&self) -> Tables {
        let mut tables = self.noising.named_tables();
        tables.push((LOSS_WEIGHTS, self.weights.clone()));
        if let (true, Some(noise)) = (self.spec.learned_variance, self.process.schedule()) {
            let decoder = self.spec.decoder_min_std;
            let rows = variational::table(noise, &*self.process, Variance::LearnedRange, decoder);
            tables.push((VLB, rows.concat()));
        }
        tables
    }

    fn state(&self) -> Tables {
        if !self.importance {
            return vec![];
        }
        let n = self.num_times() as usize;
        vec![
            (LOSS_HISTORY, vec![0.0; n * HISTORY_LENGTH as usize]),
            (LOSS_COUNT, vec![0.0; n]),
            (IMPORTANCE_WEIGHTS, vec![1.0; n]),
            (CUMULATIVE, vec![0.0; n]),
        ]
    }

    fn loss(&self, t: &mut Tape, weights: &Weights, batch: Batch) -> Loss {
        let x0 = batch.images;
        let importance = (self.importance && weights.training()).then(|| self.importance_state(t));
        let time = self.sample_times(t, batch.part, importance);
        let eps = randn(t, stream::NOISE, t.shape(x0));
        let input = self.noising.input(t, x0, eps, time);
        let target = self.noising.target(t, x0, eps, time);

        let labels = self
            .spec
            .labels
            .map(|labels| if weights.training() { drop_labels(t, batch.labels, labels) } else { batch.labels });
        let conditions = self.noising.conditions(t, &*self.network, time, labels);
        let output = self.network.forward(t, weights, input, conditions);

        let w = t.named(LOSS_WEIGHTS, Shape::f32([self.num_times()]));
        let loss = if self.spec.learned_variance {
            let [mean, variance] = split_channels(t, output);
            let simple = weighted_mse(t, mean, target, w, time);
            let table = t.named(VLB, Shape::f32([self.num_times(), vlb::COEFFICIENTS]));
            let inputs = VlbInputs { mean_output: mean, variance_output: variance, x0, x_t: input };
            let term = vlb(t, inputs, table, time);
            // L_vlb is a sum over all times, of which one is sampled.
            let term = affine(t, term, self.vlb_weight * self.num_times() as f32, 0.0);
            add(t, simple, term)
        } else {
            weighted_mse(t, output, target, w, time)
        };
        Loss { loss, time, weights: importance.map(|state| state.weights) }
    }

    fn post_step(&self, t: &mut Tape, loss: Loss) {
        if self.importance {
            let state = self.importance_state(t);
            importance_sampling(t, loss.loss, loss.time, state);
        }
    }

    fn fill_metadata(&self, metadata: &mut CheckpointMetadata) {
        metadata.process = self.process_config;
        metadata.denoiser = self.spec;
        metadata.sampling = self.sampling.into();
    }

    fn scheduler(&self) -> Option<SchedulerConfig> {
        self.scheduler.clone()
    }

    fn generative(&self) -> Option<&dyn Generative> {
        Some(self)
    }

    fn bits_per_dim(&self) -> Option<&dyn BitsPerDim> {
        // In continuous time, an ODE would have to be solved for each image.
        if self.process.schedule().is_some() { Some(self) } else { None }
    }
}

impl Denoise {
    /// Indices of the training times of a batch, sampled uniformly or by their losses.
    fn sample_times(&self, t: &mut Tape, part: BatchPart, importance: Option<ImportanceState>) -> Tensor {
        match importance {
            Some(state) => weighted_timesteps(t, state.cdf, part, self.num_times()),
            None => random_timesteps(t, part, self.num_times()),
        }
    }

    fn importance_state(&self, t: &mut Tape) -> ImportanceState {
        let n = self.num_times();
        ImportanceState {
            history: t.named(LOSS_HISTORY, Shape::f32([n, HISTORY_LENGTH])),
            count: t.named(LOSS_COUNT, Shape::f32([n])),
            weights: t.named(IMPORTANCE_WEIGHTS, Shape::f32([n])),
            cdf: t.named(CUMULATIVE, Shape::f32([n])),
        }
    }

    fn denoiser_with<'a>(&'a self, weights: &'a str) -> Denoiser<'a> {
        Denoiser { network: &*self.network, weights, process: &*self.process, spec: self.spec }
    }

    fn image(&self) -> [u32; 3] {
        self.network.image_shape().expect("a network in training has an image size")
    }
}

/// Replaces labels by the null class at random, for classifier-free guidance (Ho and Salimans
/// 2022).
fn drop_labels(t: &mut Tape, batch: Tensor, labels: Labels) -> Tensor {
    match labels.null_class() {
        Some(null_class) => drop_label(t, batch, DropLabel { null_class, rate: labels.dropout }),
        None => batch,
    }
}

impl Generative for Denoise {
    fn sample(&self, ctx: &mut Context, config: &Config, request: &SampleRequest<'_>) -> Result<Vec<Images<'static>>> {
        let (plan, _) = self.sampling.plan(&*self.process)?;
        let guidance = self.sampling.guidance();
        let batch =
            BatchSpec { name: request.name, size: request.labels.len() as u32, image: self.image(), seed: config.seed };
        let generator = Generator::new(ctx, self.denoiser_with(request.weights), guidance, plan, batch)?;
        let shape = generator.shape().as_array().map(|n: u32| n as usize);
        let now = || -> Result<Images<'static>> { Ok(Images::from_f32(&generator.images(ctx)?, shape)) };
        let mut frames = FrameTimes::new(request.snapshots);
        let mut images = vec![];
        generator.begin(ctx, request.labels, request.first)?;
        if frames.due(0.0) {
            images.push(now()?);
        }
        generator.run(ctx, request.first, &mut |done| {
            check_stop(request.stop)?;
            if frames.due(done) {
                images.push(now()?);
            }
            Ok(())
        })?;
        images.push(now()?);
        Ok(images)
    }

    fn denoiser<'a>(&'a self, weights: &'a str) -> Option<Denoiser<'a>> {
        Some(self.denoiser_with(weights))
    }

    fn sampling(&self) -> Option<Sampling> {
        Some(self.sampling)
    }

    fn forward_process(&self, columns: u32) -> Vec<[f32; 2]> {
        let last = self.num_times() - 1;
        (0..columns).map(|column| self.noising.tables.input_factors[(last * column / (columns - 1)) as usize]).collect()
    }
}

impl BitsPerDim for Denoise {
    fn measure(&self, ctx: &mut Context, config: &Config, request: &LikelihoodRequest<'_>) -> Result<f64> {
        let padding = ImagePadding::new(self.image(), self.image())?;
        let model = self.denoiser_with(request.weights);
        let vlb = VlbEstimator::new(ctx, &model, padding, config.batch, "evaluation.vlb")?;
        let draws = Draws { per_image: VLB_TIMESTEPS, seed: config.seed };
        Ok(vlb.measure(ctx, request.images, draws, &mut |_| check_stop(request.stop))?.total.value)
    }
}
