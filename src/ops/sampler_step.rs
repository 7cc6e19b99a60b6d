//! One denoising step of DDPM, DDIM and every other sampler that is linear in image, model output, noise and a memory of the steps before:
//! multistep samplers (DPM-Solver++) and those of several stages (Heun, midpoint) are tables with a row for each run of the model.

pub(crate) use super::kernels::sampler_step::COEFFICIENTS;
use super::kernels::sampler_step::{Forward, ForwardHistory, ForwardVariance};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Op, Shape, Step, Tape, Tensor, stream};
use std::rc::Rc;

/// What a step reads besides the image, the model's output and the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// Nothing.
    None,
    /// A memory of the steps before, of the image's shape.
    History,
    /// The model's place between two variances, of the image's shape.
    Variance,
}

/// A denoising step in place.
#[derive(Debug)]
pub struct SamplerStep {
    /// Bound on the predicted image's magnitude; infinite for none.
    pub clip: f32,
    /// What the step reads besides.
    pub extra: Extra,
}

/// Updates `x` [B, ...] from the model's output m of the same shape and row `step.index` of `table` [S, 12] = (c0 .. c11): x0 = clip(c0 x + c1 m),
/// e = c2 x + c3 m, x' = c4 x0 + c5 x + c6 e + c7 z; `clip` bounds the predicted image x0's magnitude, infinite for none. c8 to c11 are unused.
#[track_caller]
pub fn sampler_step(t: &mut Tape, x: Tensor, model: Tensor, table: Tensor, clip: f32) {
    t.apply(SamplerStep { clip, extra: Extra::None }, &[x, model, table]);
}

/// [`denoise`] with a memory h of x's shape: x' = c4 x0 + c5 x + c6 e + c7 z + c8 h and h' = c9 x0 + c10 x + c11 e, both of the old x and h.
/// Where c8 is zero, h may hold anything.
#[track_caller]
pub fn sampler_step_with_history(t: &mut Tape, x: Tensor, model: Tensor, table: Tensor, history: Tensor, clip: f32) {
    t.apply(SamplerStep { clip, extra: Extra::History }, &[x, model, table, history]);
}

/// [`denoise`] with a learned variance (Nichol and Dhariwal 2021, eq. 15): a c7 that is not zero stands for exp((f c10 + (1 - f) c11) / 2) with
/// f = (v + 1) / 2, for the model's v of x's shape and the logarithms c10 and c11 of the largest and the smallest variance.
#[track_caller]
pub fn sampler_step_with_variance(t: &mut Tape, x: Tensor, model: Tensor, table: Tensor, variance: Tensor, clip: f32) {
    t.apply(SamplerStep { clip, extra: Extra::Variance }, &[x, model, table, variance]);
}

impl Op for SamplerStep {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let fits = match *inputs {
            [x, model, table] => self.extra == Extra::None && is_step(x, model, table),
            [x, model, table, extra] => self.extra != Extra::None && is_step(x, model, table) && extra == x,
            _ => false,
        };
        let extra = if self.extra == Extra::None { "" } else { ", and one more of the images' shape" };
        if fits { Ok(vec![]) } else { Err(format!("takes images, the model's output of their shape, a table [S, 12]{extra}")) }
    }

    fn updates(&self) -> &'static [usize] {
        if self.extra == Extra::History { &[0, 3] } else { &[0] }
    }

    fn forward(&self, t: &mut Tape, inputs: &[Tensor], _: &[Tensor]) -> Vec<Tensor> {
        let shape = t.shape(inputs[0]);
        let batch = shape.dims()[0];
        let image_size = shape.len() as u32 / batch;
        let clip = self.clip.min(f32::MAX); // WGSL has no infinities
        let (x, model, table) = (inputs[0], inputs[1], inputs[2]);
        let (invocations, flops) = (batch * image_size.div_ceil(4), self.flops(&[shape]));
        match self.extra {
            Extra::None => t.emit_flat(Forward { x, model, table, image_size, clip, batch }, invocations, flops),
            Extra::History => {
                let kernel = ForwardHistory { x, model, table, history: inputs[3], image_size, clip, batch };
                t.emit_flat(kernel, invocations, flops);
            }
            Extra::Variance => {
                let kernel = ForwardVariance { x, model, table, variance: inputs[3], image_size, clip, batch };
                t.emit_flat(kernel, invocations, flops);
            }
        }
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, inputs: &[Array], step: &Step) -> Vec<Array> {
        let (shape, clip) = (inputs[0].shape, f64::from(self.clip));
        let c = &inputs[2].data[(COEFFICIENTS * step.index) as usize..][..COEFFICIENTS as usize];
        let noise = super::randn::Randn { stream: stream::SAMPLER, shape }.reference(&[], step).swap_remove(0);
        let mut updated = vec![Array::zeros(shape); self.updates().len()];
        for i in 0..shape.len() {
            let (x, m) = (inputs[0].data[i], inputs[1].data[i]);
            let (x0, e) = ((c[0] * x + c[1] * m).clamp(-clip, clip), c[2] * x + c[3] * m);
            let mut deviation = c[7];
            if self.extra == Extra::Variance && c[7] != 0.0 {
                let f = (inputs[3].data[i] + 1.0) / 2.0;
                deviation = (0.5 * (f * c[10] + (1.0 - f) * c[11])).exp();
            }
            updated[0].data[i] = c[4] * x0 + c[5] * x + c[6] * e + deviation * noise.data[i];
            if self.extra == Extra::History {
                updated[0].data[i] += if c[8] == 0.0 { 0.0 } else { c[8] * inputs[3].data[i] };
                updated[1].data[i] = c[9] * x0 + c[10] * x + c[11] * e;
            }
        }
        updated
    }

    fn terms(&self, _: &[Shape]) -> usize {
        16
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        (if self.extra == Extra::None { 60 } else { 70 }) * inputs[0].len() as u64
    }
}

fn is_step(x: Shape, model: Shape, table: Shape) -> bool {
    x.dtype == Dtype::F32 && model == x && matches!(table.dims(), [_, COEFFICIENTS])
}

fn case(image: Shape, extra: Extra, clip: f32, table: Fill) -> Case {
    // A history whose coefficient is zero must not matter, not even if it is no number.
    let unread = extra == Extra::History && matches!(table, Fill::Uniform(..));
    let other = if unread { Fill::Uniform(f32::NAN, f32::NAN) } else { Fill::Normal(1.0) };
    let mut inputs = vec![(image, Fill::Normal(1.0)), (image, Fill::Normal(1.0)), (Shape::f32([5, COEFFICIENTS]), table)];
    inputs.extend((extra != Extra::None).then_some((image, other)));
    Case { op: Rc::new(SamplerStep { clip, extra }), inputs }
}

/// What tests and benches try.
pub(super) const OPERATOR: Operator = Operator {
    formula: "x = c4 clip(c0 x + c1 m) + c5 x + c6 (c2 x + c3 m) + c7 z + c8 h, h = c9 clip(c0 x + c1 m) + c10 x + c11 (c2 x + c3 m)",
    case: |draw: &mut Choices| {
        let extra = draw.one_of(&[Extra::None, Extra::History, Extra::Variance, Extra::History]);
        let shape = [draw.range(1, 5), draw.range(1, 3), draw.range(1, 9), draw.range(1, 9)];
        // Any size, or one that fills whole workgroups.
        let shape = Shape::f32(if draw.range(0, 3) == 3 { [shape[0], shape[1], 16, 16] } else { shape });
        // All coefficients, all but c1, c3 .. c11, none.
        let table = draw.one_of(&[Fill::Normal(0.5), Fill::Normal(0.5), Fill::Alternating(0.5), Fill::Uniform(0.0, 0.0)]);
        case(shape, extra, draw.one_of(&[1.0, f32::INFINITY]), table)
    },
    bench: || {
        let all = [Extra::None, Extra::History, Extra::Variance];
        all.map(|extra| case(Shape::f32([64, 1, 28, 28]), extra, 1.0, Fill::Normal(0.5))).into()
    },
};
