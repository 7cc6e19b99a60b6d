//! One step of a sampler that is linear in image, network output, noise and a history: DDPM, DDIM,
//! and the multistep (DPM-Solver++) and multistage (Heun, midpoint) solvers. Each is a table with
//! one row of coefficients c0 .. c11 per network evaluation.
//!
//! Updates the images `x` in place, with m the network's output, z ~ N(0, 1) and row `step.index`
//! of `table`:
//!
//! ```text
//! x0 = clip(c0 x + c1 m)
//! eps = c2 x + c3 m
//! x = c4 x0 + c5 x + c6 eps + c7 z + c8 h
//! h = c9 x0 + c10 x + c11 eps       of the old x
//! ```
//!
//! Without [`Extra::History`] there is no h, and c8 .. c11 are unused. If c8 is zero, h may have
//! any value, even NaN. With [`Extra::Variance`] a c7 other than zero means exp((f c10 + (1 - f)
//! c11) / 2), where f = (v + 1) / 2, and c10 and c11 are the logarithms of the largest and the
//! smallest variance (Nichol and Dhariwal 2021, eq. 15). `x`, `output`, h and v are `[B, ...]`,
//! `table` is `[S, 12]`. There is no gradient.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::{Extra, SamplerStep, sampler_step};
//!
//! let [x, output] = ["x", "output"].map(|name| t.named(name, Shape::f32([64, 1, 28, 28])));
//! let table = t.named("table", Shape::f32([50, 12]));
//! sampler_step(t, x, output, table, SamplerStep { clip: 1.0, extra: Extra::None });
//! assert_eq!(t.calls().last().unwrap().dispatch.entry.label, "sampler_step.forward");
//! ```

pub(crate) use super::kernels::sampler_step::COEFFICIENTS;
use super::kernels::sampler_step::{Forward, ForwardHistory, ForwardVariance};
use crate::tape::accuracy::{NORMAL, exp};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Op, Shape, Step, Tape, Tensor, stream};
use std::rc::Rc;

/// An additional input of a step.
#[derive(Clone, Copy, Debug)]
pub enum Extra {
    /// Nothing.
    None,
    /// The history h `[B, ...]` of a multistep sampler, updated in place.
    History(Tensor),
    /// The network's output v `[B, ...]` for the variance.
    Variance(Tensor),
}

/// Settings of a step.
#[derive(Clone, Copy, Debug)]
pub struct SamplerStep {
    /// Bound on the magnitude of the predicted x0; infinite for none.
    pub clip: f32,
    /// History or learned variance.
    pub extra: Extra,
}

/// Updates the images `x` `[B, ...]` in place, from the network's `output` `[B, ...]` and row
/// `step.index` of `table` `[S, 12]`.
#[track_caller]
pub fn sampler_step(t: &mut Tape, x: Tensor, output: Tensor, table: Tensor, settings: SamplerStep) {
    let SamplerStep { clip, extra } = settings;
    match extra {
        Extra::None => t.apply(SamplerStepOp { clip, kind: Kind::Plain }, &[x, output, table]),
        Extra::History(h) => t.apply(SamplerStepOp { clip, kind: Kind::History }, &[x, output, table, h]),
        Extra::Variance(v) => t.apply(SamplerStepOp { clip, kind: Kind::Variance }, &[x, output, table, v]),
    };
}

/// The kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    History,
    Variance,
}

#[derive(Debug)]
struct SamplerStepOp {
    clip: f32,
    kind: Kind,
}

impl Op for SamplerStepOp {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let fits = match *inputs {
            [x, model, table] => self.kind == Kind::Plain && is_step(x, model, table),
            [x, model, table, extra] => self.kind != Kind::Plain && is_step(x, model, table) && extra == x,
            _ => false,
        };
        let extra = if self.kind == Kind::Plain { "" } else { ", and one more of the images' shape" };
        if fits {
            Ok(vec![])
        } else {
            Err(format!("takes images, the network's output of their shape, a table [S, 12]{extra}"))
        }
    }

    fn updates(&self) -> &'static [usize] {
        if self.kind == Kind::History { &[0, 3] } else { &[0] }
    }

    fn forward(&self, t: &mut Tape, inputs: &[Tensor], _: &[Tensor]) -> Vec<Tensor> {
        let shape = t.shape(inputs[0]);
        let batch = shape.dims()[0];
        let image_size = shape.len() as u32 / batch;
        let clip = self.clip.min(f32::MAX); // WGSL has no infinities
        let x = inputs[0];
        let model = inputs[1];
        let table = inputs[2];
        let (invocations, flops) = (batch * image_size.div_ceil(4), self.flops(&[shape]));
        match self.kind {
            Kind::Plain => t.emit_flat(Forward { x, model, table, image_size, clip, batch }, invocations, flops),
            Kind::History => {
                let kernel = ForwardHistory { x, model, table, history: inputs[3], image_size, clip, batch };
                t.emit_flat(kernel, invocations, flops);
            }
            Kind::Variance => {
                let kernel = ForwardVariance { x, model, table, variance: inputs[3], image_size, clip, batch };
                t.emit_flat(kernel, invocations, flops);
            }
        }
        t.moves(table, 4 * u64::from(COEFFICIENTS)); // one row
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, inputs: &[Array], step: &Step) -> Vec<Array> {
        let (shape, clip) = (inputs[0].shape, f64::from(self.clip));
        let c = &inputs[2].data[(COEFFICIENTS * step.index) as usize..][..COEFFICIENTS as usize];
        let stream = stream::SAMPLER | (step.sampler_pass << 8);
        let noise = super::randn::Randn { stream, shape }.reference(&[], step).swap_remove(0);
        let mut updated = vec![Array::zeros(shape); self.updates().len()];
        for i in 0..shape.len() {
            let (x, m) = (inputs[0].data[i], inputs[1].data[i]);
            let (x0, e) = ((c[0] * x + c[1] * m).clamp(-clip, clip), c[2] * x + c[3] * m);
            let mut deviation = c[7];
            if self.kind == Kind::Variance && c[7] != 0.0 {
                let f = (inputs[3].data[i] + 1.0) / 2.0;
                deviation = (0.5 * (f * c[10] + (1.0 - f) * c[11])).exp();
            }
            updated[0].data[i] = c[4] * x0 + c[5] * x + c[6] * e + deviation * noise.data[i];
            if self.kind == Kind::History {
                updated[0].data[i] += if c[8] == 0.0 { 0.0 } else { c[8] * inputs[3].data[i] };
                updated[1].data[i] = c[9] * x0 + c[10] * x + c[11] * e;
            }
        }
        updated
    }

    fn terms(&self, _: &[Shape]) -> usize {
        16
    }

    fn function_error(&self, x: &[Array]) -> f64 {
        // A normal number, times exp(l / 2) if the variance is learned.
        if self.kind != Kind::Variance {
            return NORMAL;
        }
        let log_variances = x[2].data.chunks(COEFFICIENTS as usize).map(|c| c[10].abs().max(c[11].abs()));
        let shares = 1.0 + x[3].max_abs();
        NORMAL + exp(0.5 * shares * log_variances.fold(0.0, f64::max))
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        (if self.kind == Kind::Plain { 60 } else { 70 }) * inputs[0].len() as u64
    }
}

fn is_step(x: Shape, model: Shape, table: Shape) -> bool {
    x.dtype == Dtype::F32 && model == x && matches!(table.dims(), [_, COEFFICIENTS])
}

fn case(image: Shape, kind: Kind, clip: f32, table: Fill) -> Case {
    // A history whose coefficient is zero must not matter, even if it is NaN.
    let unread = kind == Kind::History && matches!(table, Fill::Uniform(..));
    let other = if unread { Fill::Uniform(f32::NAN, f32::NAN) } else { Fill::Normal(1.0) };
    let mut inputs =
        vec![(image, Fill::Normal(1.0)), (image, Fill::Normal(1.0)), (Shape::f32([5, COEFFICIENTS]), table)];
    inputs.extend((kind != Kind::Plain).then_some((image, other)));
    Case { op: Rc::new(SamplerStepOp { clip, kind }), inputs }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "x = c4 clip(c0 x + c1 m) + c5 x + c6 (c2 x + c3 m) + c7 z + c8 h, \
              h = c9 clip(c0 x + c1 m) + c10 x + c11 (c2 x + c3 m)",
    case: |draw: &mut Choices| {
        let kind = draw.one_of(&[Kind::Plain, Kind::History, Kind::Variance, Kind::History]);
        let shape = [draw.range(1, 5), draw.range(1, 3), draw.range(1, 9), draw.range(1, 9)];
        // Any size, or one that fills whole workgroups.
        let shape = Shape::f32(if draw.range(0, 3) == 3 { [shape[0], shape[1], 16, 16] } else { shape });
        // All coefficients; c1 and c3 .. c11 zero alternately; none.
        let table =
            draw.one_of(&[Fill::Normal(0.5), Fill::Normal(0.5), Fill::Alternating(0.5), Fill::Uniform(0.0, 0.0)]);
        case(shape, kind, draw.one_of(&[1.0, f32::INFINITY]), table)
    },
    edge: Vec::new,
    bench: || {
        let all = [Kind::Plain, Kind::History, Kind::Variance];
        all.map(|kind| case(Shape::f32([64, 1, 28, 28]), kind, 1.0, Fill::Normal(0.5))).into()
    },
};
