//! A trained network with its process, asked at one stage of a sampler: time, input scale, labels, guidance without and with a classifier.

use super::generator::Request;
use super::guidance::Labels;
use super::process::Process;
use super::sampler::Stage;
use crate::nn::{Conditions, Network};
use crate::ops::{cross_entropy, duplicate, embedding, fill, guidance, q_sample, scheduled_timesteps, slice};
use crate::tape::{Shape, Tape, Tensor};

/// A network whose weights lie in memory, and what it was trained for.
#[derive(Clone, Copy, Debug)]
pub struct Denoiser<'a> {
    /// The network.
    pub network: &'a dyn Network,
    /// Name of the memory that holds its weights.
    pub slab: &'a str,
    /// The process.
    pub process: &'a dyn Process,
    /// What it knows of labels.
    pub labels: Option<Labels>,
    /// Whether it answers a variance in a second half of channels.
    pub learned_variance: bool,
    /// Smallest standard deviation of its decoder, if its variance is learned: see [`super::variational::table`].
    pub decoder_min_std: f64,
}

/// A classifier that guides by the gradient of its log-probability (Dhariwal and Nichol 2021, algorithm 2).
#[derive(Clone, Copy, Debug)]
pub struct ClassifierGuide<'a> {
    /// The classifier.
    pub network: &'a dyn Network,
    /// Name of the memory that holds its weights.
    pub slab: &'a str,
    /// lambda: how strongly it guides.
    pub scale: f64,
}

/// What the network says of x: its answer [B, C, H, W], and the variance if it learned one.
pub(super) struct Answer {
    pub mean: Tensor,
    pub variance: Option<Tensor>,
}

/// Records the network's answer for x at the stage `step.index`, guided as the request says. The memories `NAME.stages`, `NAME.time`,
/// `NAME.inputs`, `NAME.labels` and `NAME.classifier.*` must be written before the tape is run.
pub(super) fn record_answer(
    t: &mut Tape,
    model: &Denoiser<'_>,
    request: &Request<'_>,
    x: Tensor,
    stages: u32,
    name: &str,
) -> Answer {
    let named = |part: &str| format!("{name}.{part}");
    let shape = t.shape(x);
    let [batch, channels, height, width] = shape.as_array();
    let guided = model.labels.is_some_and(|labels| labels.guided(request.guidance).unwrap_or(false));
    let images = if guided { 2 * batch } else { batch };
    let list = t.named(&named("stages"), Shape::u32([stages]));
    let index = scheduled_timesteps(t, list, batch);

    let scaled = model.process.t_range().iter().any(|&time| model.process.parameterization(time).c_in != 1.0);
    let mut seen = x;
    if scaled {
        let inputs = t.named(&named("inputs"), Shape::f32([stages, 2]));
        seen = q_sample(t, x, x, inputs, index);
    }
    if guided {
        seen = duplicate(t, seen);
    }
    let told = if guided { scheduled_timesteps(t, list, images) } else { index };
    let time = match model.network.time_width() {
        0 => None,
        width => {
            let rows = t.named(&named("time"), Shape::f32([stages, width]));
            Some(embedding(t, told, rows))
        }
    };
    let labels = model.network.classes().map(|_| t.named(&named("labels"), Shape::u32([images])));
    let weights = model.network.parameters().fixed(t, model.slab);
    let whole = model.network.forward(t, &weights, seen, Conditions { time, labels });

    let (mut mean, mut variance) = (whole, None);
    if model.learned_variance {
        mean = slice(t, whole, 0, channels);
        let both = slice(t, whole, channels, channels);
        // Of a doubled batch the half that was told its labels: as a slice of channels of one large image.
        variance = Some(if guided {
            let flat = t.reshape(both, Shape::f32([1, images, channels * height * width]));
            let half = slice(t, flat, batch, batch);
            t.reshape(half, shape)
        } else {
            both
        });
    }
    if guided {
        mean = guidance(t, mean, guidance::Guidance { rescale: request.guidance_rescale });
    }
    if let Some(guide) = &request.classifier {
        let gradient = record_gradient(t, guide, x, index, stages, name);
        let table = t.named(&named("classifier.table"), Shape::f32([stages, 2]));
        mean = q_sample(t, mean, gradient, table, index);
    }
    Answer { mean, variance }
}

/// d log p(y | x) / dx of each image.
fn record_gradient(
    t: &mut Tape,
    guide: &ClassifierGuide<'_>,
    x: Tensor,
    index: Tensor,
    stages: u32,
    name: &str,
) -> Tensor {
    let shape = t.shape(x);
    let batch = shape.dims()[0];
    t.watch(x);
    let time = match guide.network.time_width() {
        0 => None,
        width => {
            let rows = t.named(&format!("{name}.classifier.time"), Shape::f32([stages, width]));
            Some(embedding(t, index, rows))
        }
    };
    let labels = t.named(&format!("{name}.classifier.labels"), Shape::u32([batch]));
    let weights = guide.network.parameters().fixed(t, guide.slab);
    let logits = guide.network.forward(t, &weights, x, Conditions { time, labels: None });
    let loss = cross_entropy(t, logits, labels);
    let minus = fill(t, -1.0, Shape::f32([batch]));
    t.backward(loss, minus);
    t.gradient(x).expect("the classifier is differentiable in its picture")
}

/// (1, c) of each stage, [S, 2]: the answer m becomes m + c g for the classifier's gradient g. The score gains lambda g, so the noise loses
/// lambda sigma g (Dhariwal and Nichol 2021, algorithm 2: sigma = sqrt(1 - abar)) and the image gains lambda sigma²/alpha g.
pub(super) fn classifier_table(process: &dyn Process, request: &Request<'_>, stages: &[Stage]) -> Vec<f32> {
    let Some(guide) = &request.classifier else { return vec![] };
    let weight = |stage: &Stage| {
        let at = process.marginal(stage.time);
        let [.., per_answer] = process.to_x0_eps(stage.time); // of the noise
        // In pure noise a classifier sees nothing, and no answer stands for the noise.
        if at.alpha == 0.0 { 0.0 } else { -guide.scale * at.sigma / per_answer }
    };
    stages.iter().flat_map(|stage| [1.0, weight(stage) as f32]).collect()
}
