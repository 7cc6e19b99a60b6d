//! Layers: named parameters and the operator that uses them.
//!
//! Creating a layer adds its tensors to the model's list. It can then be recorded on any number of
//! tapes.

use super::choices::Activation;
use super::parameters::{Initial, JoinedId, ParameterId, Parameters, Weights};
use crate::ops::{BatchNormParams, BatchNormSettings, batch_norm, dropout};
use crate::ops::{Conv2d, GroupNorm, Padding, conv2d, conv2d_add, conv2d_add_channels, group_norm, linear, relu, silu};
use crate::tape::{Shape, Tape, Tensor};

/// y = W x + b, over the channels of a map or over rows.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: ParameterId,
    bias: ParameterId,
}

impl Linear {
    /// Adds `NAME.weight` `[outputs, inputs]` and `NAME.bias` `[outputs]`.
    pub fn new(p: &mut Parameters, name: &str, inputs: u32, outputs: u32) -> Linear {
        let initial = Initial::Uniform { fan_in: inputs };
        Linear {
            weight: p.add(format!("{name}.weight"), Shape::f32([outputs, inputs]), initial),
            bias: p.add(format!("{name}.bias"), Shape::f32([outputs]), initial),
        }
    }

    /// Marks it as the last layer of a branch.
    pub fn last(self, p: &mut Parameters) -> Linear {
        p.mark_last(self.weight);
        p.mark_last(self.bias);
        self
    }

    /// Applies it to rows: x `[B, inputs]` to `[B, outputs]`.
    #[track_caller]
    pub fn rows(&self, t: &mut Tape, w: &Weights, x: Tensor) -> Tensor {
        linear(t, x, w.get(self.weight), w.get(self.bias))
    }

    /// Applies it to the channels of every pixel, as a 1x1 convolution: x `[B, inputs, H, W]` to
    /// `[B, outputs, H, W]`.
    #[track_caller]
    pub fn pixels(&self, t: &mut Tape, w: &Weights, x: Tensor) -> Tensor {
        let weight = pointwise(t, w.get(self.weight));
        conv2d(t, x, weight, w.get(self.bias), POINTWISE)
    }

    /// [`Linear::pixels`], plus `map` `[B, outputs, H, W]`.
    #[track_caller]
    pub fn pixels_plus(&self, t: &mut Tape, w: &Weights, x: Tensor, map: Tensor) -> Tensor {
        let weight = pointwise(t, w.get(self.weight));
        conv2d_add(t, [x, weight, w.get(self.bias)], POINTWISE, map)
    }
}

/// The convolution of every pixel by itself.
const POINTWISE: Conv2d = Conv2d { stride: 1, padding: Padding::None };

/// A matrix as the weight of a 1x1 convolution.
fn pointwise(t: &mut Tape, weight: Tensor) -> Tensor {
    let [outputs, inputs] = t.shape(weight).as_array();
    t.reshape(weight, Shape::f32([outputs, inputs, 1, 1]))
}

/// Linear layers of one input, computed as one layer. Its outputs are those of the first layer,
/// then those of the second, and so on.
#[derive(Clone, Debug)]
pub struct JoinedLinear {
    weight: JoinedId,
    bias: JoinedId,
}

impl JoinedLinear {
    /// Joins layers with the same number of inputs. They cannot be applied by themselves any more.
    ///
    /// # Panics
    /// If their numbers of inputs differ.
    #[track_caller]
    pub fn new(p: &mut Parameters, layers: &[Linear]) -> JoinedLinear {
        let all = |id: fn(&Linear) -> ParameterId| layers.iter().map(id).collect::<Vec<_>>();
        JoinedLinear { weight: p.join(&all(|layer| layer.weight)), bias: p.join(&all(|layer| layer.bias)) }
    }

    /// Applies them to rows: x `[B, inputs]` to `[B, outputs of all]`.
    #[track_caller]
    pub fn rows(&self, t: &mut Tape, w: &Weights, x: Tensor) -> Tensor {
        linear(t, x, w.joined(self.weight), w.joined(self.bias))
    }

    /// Applies them to the channels of every pixel: x `[B, inputs, H, W]` to
    /// `[B, outputs of all, H, W]`.
    #[track_caller]
    pub fn pixels(&self, t: &mut Tape, w: &Weights, x: Tensor) -> Tensor {
        let weight = pointwise(t, w.joined(self.weight));
        conv2d(t, x, weight, w.joined(self.bias), POINTWISE)
    }
}

/// A convolution with bias.
#[derive(Clone, Debug)]
pub struct Conv {
    weight: ParameterId,
    bias: ParameterId,
    settings: Conv2d,
}

impl Conv {
    /// Adds `NAME.weight` `[outputs, inputs, 3, 3]` and `NAME.bias` `[outputs]`.
    pub fn new(p: &mut Parameters, name: &str, inputs: u32, outputs: u32, settings: Conv2d) -> Conv {
        Conv::with_kernel(p, name, [outputs, inputs, 3, 3], settings)
    }

    /// A 3x3 convolution that keeps the size of the map.
    pub fn same(p: &mut Parameters, name: &str, inputs: u32, outputs: u32) -> Conv {
        Conv::with_kernel(p, name, [outputs, inputs, 3, 3], Conv2d { stride: 1, padding: Padding::Same })
    }

    /// A 1x1 convolution: `NAME.weight` [outputs, inputs, 1, 1].
    pub fn pointwise(p: &mut Parameters, name: &str, inputs: u32, outputs: u32) -> Conv {
        Conv::with_kernel(p, name, [outputs, inputs, 1, 1], POINTWISE)
    }

    fn with_kernel(p: &mut Parameters, name: &str, shape: [u32; 4], settings: Conv2d) -> Conv {
        let [outputs, inputs, height, width] = shape;
        let initial = Initial::Uniform { fan_in: inputs * height * width };
        Conv {
            weight: p.add(format!("{name}.weight"), Shape::f32(shape), initial),
            bias: p.add(format!("{name}.bias"), Shape::f32([outputs]), initial),
            settings,
        }
    }

    /// Marks it as the last layer of a branch.
    pub fn last(self, p: &mut Parameters) -> Conv {
        p.mark_last(self.weight);
        p.mark_last(self.bias);
        self
    }

    /// Applies it to a map `[B, inputs, H, W]`.
    #[track_caller]
    pub fn forward(&self, t: &mut Tape, w: &Weights, x: Tensor) -> Tensor {
        conv2d(t, x, w.get(self.weight), w.get(self.bias), self.settings)
    }

    /// [`Conv::forward`], plus `map`, which has the shape of the result.
    #[track_caller]
    pub fn forward_plus(&self, t: &mut Tape, w: &Weights, x: Tensor, map: Tensor) -> Tensor {
        conv2d_add(t, [x, w.get(self.weight), w.get(self.bias)], self.settings, map)
    }

    /// [`Conv::forward`], plus columns of `e` `[B, E]` from `first` on: a number for each image and
    /// channel.
    #[track_caller]
    pub fn forward_plus_channels(&self, t: &mut Tape, w: &Weights, x: Tensor, (e, first): (Tensor, u32)) -> Tensor {
        conv2d_add_channels(t, [x, w.get(self.weight), w.get(self.bias)], self.settings, e, first)
    }
}

/// Group normalization with a weight and a bias for each channel.
#[derive(Clone, Debug)]
pub struct Norm {
    weight: ParameterId,
    bias: ParameterId,
    groups: u32,
    eps: f32,
}

impl Norm {
    /// Adds `NAME.weight` and `NAME.bias`, both `[channels]`.
    pub fn new(p: &mut Parameters, name: &str, channels: u32, groups: u32, eps: f32) -> Norm {
        Norm {
            weight: p.add(format!("{name}.weight"), Shape::f32([channels]), Initial::Ones),
            bias: p.add(format!("{name}.bias"), Shape::f32([channels]), Initial::Zeros),
            groups,
            eps,
        }
    }

    /// Applies it to a map `[B, channels, H, W]`.
    #[track_caller]
    pub fn forward(&self, t: &mut Tape, w: &Weights, x: Tensor) -> Tensor {
        self.record(t, w, x, false)
    }

    /// Applies it and then an activation function, in one kernel if possible.
    #[track_caller]
    pub fn activated(&self, t: &mut Tape, w: &Weights, x: Tensor, activation: Activation) -> Tensor {
        match activation {
            Activation::Silu => self.record(t, w, x, true),
            Activation::Relu => {
                let y = self.forward(t, w, x);
                relu(t, y)
            }
        }
    }

    #[track_caller]
    fn record(&self, t: &mut Tape, w: &Weights, x: Tensor, silu: bool) -> Tensor {
        let settings = GroupNorm { groups: self.groups, eps: self.eps, silu };
        group_norm(t, x, w.get(self.weight), w.get(self.bias), settings)
    }
}

/// Batch normalization with a weight, a bias and running statistics for each channel (PyTorch's
/// `BatchNorm2d`).
#[derive(Clone, Debug)]
pub struct BatchNorm {
    weight: ParameterId,
    bias: ParameterId,
    running: [ParameterId; 2],
}

impl BatchNorm {
    /// Adds `NAME.weight`, `NAME.bias`, `NAME.running_mean` and `NAME.running_var`, all
    /// `[channels]`.
    pub fn new(p: &mut Parameters, name: &str, channels: u32) -> BatchNorm {
        let shape = Shape::f32([channels]);
        BatchNorm {
            weight: p.add(format!("{name}.weight"), shape, Initial::Ones),
            bias: p.add(format!("{name}.bias"), shape, Initial::Zeros),
            running: [
                p.add_statistic(format!("{name}.running_mean"), shape, Initial::Zeros),
                p.add_statistic(format!("{name}.running_var"), shape, Initial::Ones),
            ],
        }
    }

    /// Applies it to a map `[B, channels, H, W]`: with the batch's statistics in training, with the
    /// running ones otherwise.
    #[track_caller]
    pub fn forward(&self, t: &mut Tape, w: &Weights, x: Tensor) -> Tensor {
        let [running_mean, running_var] = self.running.map(|id| w.get(id));
        let params = BatchNormParams { weight: w.get(self.weight), bias: w.get(self.bias), running_mean, running_var };
        batch_norm(t, x, params, BatchNormSettings::new(w.training()))
    }

    /// Applies it and then an activation function.
    #[track_caller]
    pub fn activated(&self, t: &mut Tape, w: &Weights, x: Tensor, activation: Activation) -> Tensor {
        let y = self.forward(t, w, x);
        activation.apply(t, y)
    }
}

/// The kind of normalization of a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Normalization {
    /// Over groups of channels of each image.
    Groups {
        /// Number of groups.
        groups: u32,
        /// Added to variances.
        eps: f32,
    },
    /// Over the batch, for each channel.
    Batch,
}

/// Group or batch normalization.
#[derive(Clone, Debug)]
pub enum EitherNorm {
    /// Over groups of channels of each image.
    Groups(Norm),
    /// Over the batch, for each channel.
    Batch(BatchNorm),
}

impl EitherNorm {
    /// Adds the tensors below `NAME.`.
    pub fn new(p: &mut Parameters, name: &str, channels: u32, normalization: Normalization) -> EitherNorm {
        match normalization {
            Normalization::Groups { groups, eps } => EitherNorm::Groups(Norm::new(p, name, channels, groups, eps)),
            Normalization::Batch => EitherNorm::Batch(BatchNorm::new(p, name, channels)),
        }
    }

    /// Applies it to a map `[B, channels, H, W]`.
    #[track_caller]
    pub fn forward(&self, t: &mut Tape, w: &Weights, x: Tensor) -> Tensor {
        match self {
            EitherNorm::Groups(norm) => norm.forward(t, w, x),
            EitherNorm::Batch(norm) => norm.forward(t, w, x),
        }
    }

    /// Applies it and then an activation function.
    #[track_caller]
    pub fn activated(&self, t: &mut Tape, w: &Weights, x: Tensor, activation: Activation) -> Tensor {
        match self {
            EitherNorm::Groups(norm) => norm.activated(t, w, x, activation),
            EitherNorm::Batch(norm) => norm.activated(t, w, x, activation),
        }
    }
}

/// Dropout (Srivastava et al. 2014). It has no tensors, only a number, so that no two layers of a
/// model drop the same elements.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    rate: f32,
    layer: u32,
}

impl Dropout {
    /// A layer that drops each element with probability `rate` in [0, 1).
    pub fn new(p: &mut Parameters, rate: f32) -> Dropout {
        Dropout { rate, layer: p.number_dropout() }
    }

    /// Applies it to x `[B, ...]` in training; returns x itself otherwise, or if the rate is 0.
    #[track_caller]
    pub fn forward(&self, t: &mut Tape, w: &Weights, x: Tensor) -> Tensor {
        if w.training() && self.rate > 0.0 { dropout(t, x, self.rate, self.layer) } else { x }
    }
}

impl Activation {
    /// Applies it elementwise.
    #[track_caller]
    pub fn apply(self, t: &mut Tape, x: Tensor) -> Tensor {
        match self {
            Activation::Silu => silu(t, x),
            Activation::Relu => relu(t, x),
        }
    }
}
