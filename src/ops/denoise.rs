//! One denoising step of DDPM, DDIM and every other sampler that is linear in image, model output and noise.

use super::faces::denoise::Forward;
use crate::tape::{Array, Case, Draw, Fill, Op, Operator, Shape, Step, Tape, Tensor, purpose};
use std::rc::Rc;

/// Coefficients of one step: a row of the table.
pub const COEFFICIENTS: u32 = 8;

/// A denoising step in place.
#[derive(Debug)]
pub struct Denoise {
    /// Bound on the predicted image's magnitude; infinite for none.
    pub clip: f32,
    /// Whether the model ran on a doubled batch, first half without and second with labels.
    pub guided: bool,
}

/// Updates `x` [B, ...] from the model's output [B, ...] (or [2B, ...] if guided, by the scale `step.guidance`) and row `step.index` of `table`
/// [S, 8] = (c0 .. c7): x0 = clip(c0 x + c1 m), e = c2 x + c3 m, x = c4 x0 + c5 x + c6 e + c7 z.
#[track_caller]
pub fn denoise(t: &mut Tape, x: Tensor, model: Tensor, table: Tensor, denoise: Denoise) {
    t.apply(denoise, &[x, model, table]);
}

impl Op for Denoise {
    fn name(&self) -> &'static str {
        "denoise"
    }

    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [x, model, table] if matches!(table.dims(), [_, COEFFICIENTS]) => {
                let factor = if self.guided { 2 } else { 1 };
                let fits = model.len() == factor * x.len() && model.dims()[1..] == x.dims()[1..];
                if fits { Ok(vec![]) } else { Err(format!("the model's output must hold {factor} images for each of x")) }
            }
            _ => Err("takes images, the model's output and a table [S, 8]".into()),
        }
    }

    fn updates(&self) -> &'static [usize] {
        &[0]
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], _: &[Tensor]) -> Vec<Tensor> {
        let shape = t.shape(x[0]);
        let batch = shape.dims()[0];
        let image_size = shape.len() as u32 / batch;
        let clip = self.clip.min(f32::MAX); // WGSL has no infinities
        let kernel = Forward { x: x[0], model: x[1], table: x[2], image_size, guided: self.guided, clip, batch };
        t.emit_flat(kernel, batch * image_size.div_ceil(4), 60 * shape.len() as u64);
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, x: &[Array], step: &Step) -> Vec<Array> {
        let (count, clip) = (x[0].data.len(), f64::from(self.clip));
        let c = &x[2].data[8 * step.index as usize..][..8];
        let noise = super::noise::Noise { purpose: purpose::SAMPLER, shape: x[0].shape }.reference(&[], step).swap_remove(0);
        vec![Array::from_fn(Shape::new(x[0].shape.dims(), x[0].shape.dtype), |i| {
            let (image, first) = (x[0].data[i], x[1].data[i]);
            let m = if self.guided { first + f64::from(step.guidance) * (x[1].data[i + count] - first) } else { first };
            let x0 = (c[0] * image + c[1] * m).clamp(-clip, clip);
            c[4] * x0 + c[5] * image + c[6] * (c[2] * image + c[3] * m) + c[7] * noise.data[i]
        })]
    }

    fn terms(&self, _: &[Shape]) -> usize {
        16
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        60 * inputs[0].len() as u64
    }
}

fn case(image: Shape, guided: bool, clip: f32) -> Case {
    let mut dims = image.dims().to_vec();
    dims[0] *= if guided { 2 } else { 1 };
    let model = Shape::new(&dims, image.dtype);
    let inputs = vec![(image, Fill::Normal(1.0)), (model, Fill::Normal(1.0)), (Shape::f32([5, COEFFICIENTS]), Fill::Normal(0.5))];
    Case { op: Rc::new(Denoise { clip, guided }), inputs }
}

/// What tests and benches try.
pub const OPERATOR: Operator = Operator {
    name: "denoise",
    formula: "x = c4 clip(c0 x + c1 m) + c5 x + c6 (c2 x + c3 m) + c7 z",
    case: |draw: &mut Draw| {
        let shape = Shape::f32([draw.range(1, 5), draw.range(1, 3), draw.range(1, 9), draw.range(1, 9)]);
        case(shape, draw.flag(), draw.one_of(&[1.0, f32::INFINITY]))
    },
    bench: || vec![case(Shape::f32([64, 1, 28, 28]), true, 1.0)],
};
