//! A trained network with its process, and its output at one stage of a sampler.

use super::guidance::{ClassifierGuide, Guidance, Labels};
use super::prior::DataMoments;
use super::process::Process;
use super::sampler::Stage;
use super::scope::Scope;
use crate::nn::{Conditions, Network, TimeTable};
use crate::ops::{cross_entropy, fill, guidance, q_sample, scheduled_timesteps, slice, split_channels};
use crate::tape::{Shape, Tape, Tensor};
use serde::{Deserialize, Serialize};

/// Labels, variance and data that a denoiser was trained with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DenoiserSpec {
    /// The class labels; `None` for a model without classes.
    pub labels: Option<Labels>,
    /// Whether the second half of its output channels is the variance (Nichol and Dhariwal 2021,
    /// section 3.1).
    pub learned_variance: bool,
    /// Lower bound of the learned standard deviation at timestep 0, where it is the width of the
    /// pixel decoder. 0 selects the published bound: see [`super::variational::table`].
    pub decoder_min_std: f64,
    /// Moments of the training images; `None` if they are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<DataMoments>,
}

/// A network whose weights are in a named buffer, with its process.
#[derive(Clone, Copy, Debug)]
pub struct Denoiser<'a> {
    /// The network.
    pub network: &'a dyn Network,
    /// Name of the buffer that holds its weights.
    pub weights: &'a str,
    /// The process.
    pub process: &'a dyn Process,
    /// Labels and variance of the network.
    pub spec: DenoiserSpec,
}

/// Output of a denoiser, `[B, C, H, W]` each: the predicted target of the process, and the variance
/// if the denoiser learned one.
pub(super) struct Output {
    pub mean: Tensor,
    pub variance: Option<Tensor>,
}

/// The tables of `count` stages, in the buffers `SCOPE.stages`, `SCOPE.time`, `SCOPE.inputs`,
/// `SCOPE.labels` and `SCOPE.classifier.*`.
#[derive(Clone, Copy)]
pub(super) struct StageTables<'a> {
    pub scope: &'a Scope,
    pub count: u32,
}

impl Denoiser<'_> {
    /// Whether the network gets two sets of conditions: the null class and the labels.
    pub(super) fn guided(&self, guidance: &Guidance<'_>) -> bool {
        self.spec.labels.is_some_and(|labels| labels.guided(guidance.scale).unwrap_or(false))
    }

    /// Records the guided output for x at the stage `step.index`. The buffers of `tables` must be
    /// written before the tape runs.
    pub(super) fn record(&self, t: &mut Tape, x: Tensor, guidance: &Guidance<'_>, tables: StageTables<'_>) -> Output {
        let StageTables { scope, count } = tables;
        let shape = t.shape(x);
        let [batch, channels, height, width] = shape.as_array();
        let guided = self.guided(guidance);
        let images = if guided { 2 * batch } else { batch };
        let stages = t.named(&scope.name("stages"), Shape::u32([count]));
        let index = scheduled_timesteps(t, stages, batch);

        let scaled = self.process.t_range().iter().any(|&time| self.process.parameterization(time).c_in != 1.0);
        let mut input = x;
        if scaled {
            let inputs = t.named(&scope.name("inputs"), Shape::f32([count, 2]));
            input = q_sample(t, x, x, inputs, index);
        }
        let time = if guided { scheduled_timesteps(t, stages, images) } else { index };
        let labels = self.network.classes().map(|_| t.named(&scope.name("labels"), Shape::u32([images])));
        let table = TimeTable { name: &scope.name("time"), rows: count };
        let conditions = Conditions::record(t, self.network, time, table, labels);
        let weights = self.network.parameters().fixed(t, self.weights);
        let output = self.network.forward(t, &weights, input, conditions);

        let mut mean = output;
        let mut variance = None;
        if self.spec.learned_variance {
            let [first, second] = split_channels(t, output);
            mean = first;
            variance = Some(second);
            if guided {
                // The half with labels, taken by viewing the batch as the channels of one image.
                let flat = t.reshape(second, Shape::f32([1, images, channels * height * width]));
                let half = slice(t, flat, batch, batch);
                variance = Some(t.reshape(half, shape));
            }
        }
        if guided {
            mean = crate::ops::guidance(t, mean, guidance::Guidance { rescale: guidance.rescale });
        }
        if let Some(guide) = &guidance.classifier {
            let gradient = guide.record_gradient(t, x, index, tables);
            let table = t.named(&scope.name("classifier.table"), Shape::f32([count, 2]));
            mean = q_sample(t, mean, gradient, table, index);
        }
        Output { mean, variance }
    }
}

impl ClassifierGuide<'_> {
    /// d log p(y | x) / dx of each image.
    fn record_gradient(&self, t: &mut Tape, x: Tensor, index: Tensor, tables: StageTables<'_>) -> Tensor {
        let StageTables { scope, count } = tables;
        let batch = t.shape(x).dims()[0];
        t.watch(x);
        let table = TimeTable { name: &scope.name("classifier.time"), rows: count };
        let conditions = Conditions::record(t, self.network, index, table, None);
        let labels = t.named(&scope.name("classifier.labels"), Shape::u32([batch]));
        let weights = self.network.parameters().fixed(t, self.weights);
        let logits = self.network.forward(t, &weights, x, conditions);
        let loss = cross_entropy(t, logits, labels);
        let minus = fill(t, -1.0, Shape::f32([batch]));
        t.backward(loss, minus);
        t.gradient(x).expect("the classifier is differentiable in its image")
    }

    /// (1, c) for each stage, [S, 2]: the output m becomes m + c g with the classifier's gradient
    /// g. The score gains lambda g, so the noise loses lambda sigma g (Dhariwal and Nichol 2021,
    /// algorithm 2, with sigma = sqrt(1 - abar)).
    pub(super) fn table(&self, process: &dyn Process, stages: &[Stage]) -> Vec<f32> {
        let weight = |stage: &Stage| {
            let at = process.marginal(stage.time);
            let [.., eps_per_output] = process.to_x0_eps(stage.time);
            // At alpha = 0 the classifier has no signal and eps cannot be recovered, so the weight
            // is zero.
            if at.alpha == 0.0 { 0.0 } else { -self.scale * at.sigma / eps_per_output }
        };
        stages.iter().flat_map(|stage| [1.0, weight(stage) as f32]).collect()
    }
}
