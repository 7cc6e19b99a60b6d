//! Batch normalization (Ioffe and Szegedy 2015) with the conventions of PyTorch's `BatchNorm2d`.
//!
//! y = (x - mean) / sqrt(var + eps) w + b, with `x` and y `[B, C, ...]` and all parameters `[C]`.
//! In training, mean and variance are computed for each channel over the batch, and the running
//! statistics move towards them by `momentum` (the variance towards the unbiased estimate).
//! Otherwise the running statistics are used. Differentiable in `x`, weight and bias.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::{BatchNormParams, BatchNormSettings, batch_norm};
//!
//! let x = t.named("x", Shape::f32([64, 32, 28, 28]));
//! let names = ["weight", "bias", "running_mean", "running_var"];
//! let [weight, bias, running_mean, running_var] =
//!     names.map(|name| t.named(name, Shape::f32([32])));
//! let params = BatchNormParams { weight, bias, running_mean, running_var };
//! let y = batch_norm(t, x, params, BatchNormSettings::new(true));
//! assert_eq!(t.shape(y), t.shape(x));
//! ```

use super::kernels::batch_norm::{
    BackwardInput, BackwardTable, BackwardWeight, ChannelMoments, ChannelRunning, Normalize, RowGradients, RowMoments,
};
use super::normalized::largest_gradient_term;
use super::rows::{batch_channels_area, row_span, spans};
use crate::tape::accuracy::{DIVISION, RECIPROCAL_DEVIATION};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Node, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

/// Settings of a batch normalization.
#[derive(Debug)]
pub struct BatchNormSettings {
    /// Whether to normalize by the statistics of the batch, and to update the running ones.
    pub training: bool,
    /// Weight of the batch in the running statistics.
    pub momentum: f32,
    /// Added to the variance.
    pub eps: f32,
}

impl BatchNormSettings {
    /// The defaults of PyTorch: momentum 0.1 and eps 1e-5.
    pub fn new(training: bool) -> BatchNormSettings {
        BatchNormSettings { training, momentum: 0.1, eps: 1e-5 }
    }
}

/// The tensors of a batch normalization, all `[C]`.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormParams {
    /// Scale w.
    pub weight: Tensor,
    /// Shift b.
    pub bias: Tensor,
    /// Running mean, in a named buffer.
    pub running_mean: Tensor,
    /// Running variance, in a named buffer.
    pub running_var: Tensor,
}

/// Normalizes each channel of `x` `[B, C, ...]`. In training the running statistics are updated in
/// place.
#[track_caller]
pub fn batch_norm(t: &mut Tape, x: Tensor, params: BatchNormParams, settings: BatchNormSettings) -> Tensor {
    let BatchNormParams { weight, bias, running_mean, running_var } = params;
    t.apply1(settings, &[x, weight, bias, running_mean, running_var])
}

impl Op for BatchNormSettings {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [x, w, b, mean, variance]
                if x.dims().len() >= 3 && [w, b, mean, variance] == [Shape::f32([x.dims()[1]]); 4] =>
            {
                let [batch, _, hw] = batch_channels_area(x);
                if self.training && batch * hw == 1 {
                    return Err("training needs more than one value per channel".into());
                }
                Ok(vec![x])
            }
            _ => Err("takes x [B, C, ...], and w, b, running mean and running variance [C]".into()),
        }
    }

    fn updates(&self) -> &'static [usize] {
        if self.training { &[3, 4] } else { &[] }
    }

    fn constants(&self) -> &'static [usize] {
        &[3, 4]
    }

    fn forward(&self, t: &mut Tape, inputs: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let x = inputs[0];
        let w = inputs[1];
        let b = inputs[2];
        let mean = inputs[3];
        let variance = inputs[4];
        let shape = t.shape(x);
        let [batch, c, hw] = batch_channels_area(shape);
        let length = shape.vec4s();
        let eps = self.eps;
        let aligned = hw % 4 == 0;
        let elements = shape.len() as u64;
        let saved = t.transient(Shape::f32([c, 4]));
        let table = t.transient(Shape::f32([c, 4]));
        if self.training {
            let moments = t.transient(Shape::f32([batch, c, 2]));
            let span = row_span(t.target(), hw.div_ceil(4));
            let groups = (batch * c).div_ceil(spans(t.target(), span));
            t.emit(RowMoments { x, moments, c, hw, aligned, span, batch, length }, groups, 6 * elements);
            let kernel = ChannelMoments {
                x,
                rows: moments,
                w,
                b,
                running_mean: mean,
                running_variance: variance,
                saved,
                table,
                c,
                hw,
                eps,
                momentum: self.momentum,
                batch,
                length,
            };
            t.emit(kernel, c, 6 * u64::from(batch * c));
        } else {
            t.emit_flat(ChannelRunning { w, b, mean, variance, saved, table, c, eps }, c, 4 * u64::from(c));
        }
        let kernel = Normalize { x, coefficients: table, y: y[0], c, hw, aligned, batch, length };
        t.emit_flat(kernel, length, 3 * elements);
        vec![saved]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let x = node.inputs[0];
        let w = node.inputs[1];
        let b = node.inputs[2];
        let saved = node.saved[0];
        let shape = t.shape(x);
        let [batch, c, hw] = batch_channels_area(shape);
        let length = shape.vec4s();
        let aligned = hw % 4 == 0;
        let elements = shape.len() as u64;
        let parts = t.transient(Shape::f32([batch, c, 2]));
        let span = row_span(t.target(), hw.div_ceil(4));
        let groups = (batch * c).div_ceil(spans(t.target(), span));
        let kernel = RowGradients { x, statistics: saved, dy, parts, c, hw, aligned, span, batch, length };
        t.emit(kernel, groups, 6 * elements);
        let sums = 2 * u64::from(batch * c);
        t.grad2(w, b, |t, dw, db, add| {
            t.emit(BackwardWeight { rows: parts, dw, db, c, add, batch, length }, c, sums);
        });
        t.grad(x, |t, dx, add| {
            let table = t.transient(Shape::f32([c, 4]));
            let training = self.training;
            let kernel = BackwardTable { rows: parts, w, forward_saved: saved, table, c, hw, training, batch, length };
            t.emit(kernel, c, sums);
            let kernel = BackwardInput { x, coefficients: table, dy, dx, c, hw, aligned, add, batch, length };
            t.emit_flat(kernel, length, 5 * elements);
        });
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let [batch, channels, hw] = batch_channels_area(x[0].shape).map(|n| n as usize);
        let count = (batch * hw) as f64;
        let momentum = f64::from(self.momentum);
        let (mut y, mut mean, mut variance) = (Array::zeros(x[0].shape), x[3].clone(), x[4].clone());
        for c in 0..channels {
            let places = || (0..batch).flat_map(|n| (0..hw).map(move |i| (n * channels + c) * hw + i));
            let (mut m, mut v) = (x[3].data[c], x[4].data[c]);
            if self.training {
                m = places().map(|i| x[0].data[i]).sum::<f64>() / count;
                let squares = places().map(|i| (x[0].data[i] - m).powi(2)).sum::<f64>();
                v = squares / count;
                mean.data[c] += momentum * (m - mean.data[c]);
                variance.data[c] += momentum * (squares / (count - 1.0) - variance.data[c]);
            }
            let rstd = 1.0 / (v + f64::from(self.eps)).sqrt();
            places().for_each(|i| y.data[i] = (x[0].data[i] - m) * rstd * x[1].data[c] + x[2].data[c]);
        }
        if self.training { vec![y, mean, variance] } else { vec![y] }
    }

    fn terms(&self, inputs: &[Shape]) -> usize {
        let [batch, _, hw] = batch_channels_area(inputs[0]);
        (batch * hw) as usize
    }

    fn function_error(&self, _: &[Array]) -> f64 {
        // The normalized value, and the sums that its gradient divides.
        2.0 * (RECIPROCAL_DEVIATION + DIVISION)
    }

    fn gradient_scale(&self, x: &[Array], dy: &Array, input: usize) -> f64 {
        if input != 0 || !self.training {
            return 0.0;
        }
        let [batch, channels, hw] = batch_channels_area(x[0].shape).map(|n| n as usize);
        let of_channel = |c: usize| {
            let places = (0..batch).flat_map(|n| (0..hw).map(move |i| (n * channels + c) * hw + i));
            let values: Vec<(f64, f64)> = places.map(|i| (x[0].data[i], x[1].data[c] * dy.data[i])).collect();
            largest_gradient_term(&values, f64::from(self.eps))
        };
        (0..channels).map(of_channel).fold(0.0, f64::max)
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        (if self.training { 9 } else { 3 }) * inputs[0].len() as u64
    }
}

fn case(x: Shape, fill: Fill, training: bool) -> Case {
    let c = Shape::f32([x.dims()[1]]);
    let (normal, positive) = (Fill::Normal(1.0), Fill::Uniform(0.5, 2.0));
    let inputs = vec![(x, fill), (c, normal), (c, normal), (c, normal), (c, positive)];
    Case { op: Rc::new(BatchNormSettings::new(training)), inputs }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "y = (x - mean) / sqrt(var + eps) w + b, over the batch",
    case: |draw: &mut Choices| {
        let training = !draw.flag();
        let batch = draw.range(1, 6);
        let channels = draw.range(1, 20);
        // At least eight elements per channel: with two or three the gradient nearly cancels.
        let low = 8u32.div_ceil(batch);
        let x = Shape::f32([batch, channels, draw.range(1, 8), draw.range(low, low + 12)]);
        // A mean of zero, or one far larger than the standard deviation.
        let fill = draw.one_of(&[Fill::Normal(1.0), Fill::Uniform(15.0, 17.0)]);
        case(x, if training { fill } else { Fill::Normal(1.0) }, training)
    },
    // With a mean ten thousand times the standard deviation, sums of squares in f32 have no correct
    // digit.
    edge: || {
        let far = Fill::Uniform(10_000.0, 10_003.0);
        [[3, 8, 6, 6], [3, 8, 7, 7]].map(|x| case(Shape::f32(x), far, true)).into()
    },
    bench: || {
        [[64, 32, 28, 28], [64, 64, 14, 14], [64, 64, 7, 7]]
            .map(|x| case(Shape::f32(x), Fill::Normal(1.0), true))
            .into()
    },
};
