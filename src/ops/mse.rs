//! Mean squared error of each image, weighted by its time step.

use super::kernels::mse::{Backward, Forward};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Node, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

/// Weighted mean squared error.
#[derive(Debug)]
struct Mse;

/// `loss[b] = w[t_b] mean((x[b] - target[b])²)`: `x` and `target` `[B, ...]`, `weights` `[T]`, `timesteps` u32 `[B]`, loss `[B]`. Differentiable in `x`.
#[track_caller]
pub fn mse(t: &mut Tape, x: Tensor, target: Tensor, weights: Tensor, timesteps: Tensor) -> Tensor {
    t.apply1(Mse, &[x, target, weights, timesteps])
}

impl Op for Mse {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [x, target, w, t] if x == target && w.dims().len() == 1 && w.dtype == Dtype::F32 && t == Shape::u32([x.dims()[0]]) => {
                Ok(vec![Shape::f32([x.dims()[0]])])
            }
            _ => Err("takes two tensors [B, ...], weights [T] and time steps u32 [B]".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let (batch, length) = (t.shape(y[0]).len() as u32, t.shape(x[0]).len() as u32);
        let kernel = Forward { x: x[0], targets: x[1], w: x[2], t: x[3], loss: y[0], image_size: length / batch };
        t.emit(kernel, batch, 3 * u64::from(length));
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let [x, target, w, steps] = node.inputs[..] else { unreachable!("four inputs") };
        let (batch, length) = (t.shape(dy).len() as u32, t.shape(x).len() as u32);
        t.grad(x, |t, dx, add| {
            let kernel = Backward { x, targets: target, w, t: steps, dy, dx, add, image_size: length / batch, length };
            t.emit_flat(kernel, length, 3 * u64::from(length));
        });
    }

    fn constants(&self) -> &'static [usize] {
        &[1, 2]
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let each = x[0].data.len() / x[3].data.len();
        vec![Array::from_fn(Shape::f32([x[3].data.len() as u32]), |b| {
            let square = |i: usize| (x[0].data[i] - x[1].data[i]).powi(2);
            x[2].data[x[3].data[b] as usize] * (b * each..(b + 1) * each).map(square).sum::<f64>() / each as f64
        })]
    }

    fn terms(&self, inputs: &[Shape]) -> usize {
        inputs[0].len() / inputs[0].dims()[0] as usize
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        3 * inputs[0].len() as u64
    }
}

fn case(image: Shape, timesteps: u32) -> Case {
    let weights = (Shape::f32([timesteps]), Fill::Uniform(0.5, 2.0));
    let t = (Shape::u32([image.dims()[0]]), Fill::Below(timesteps));
    Case { op: Rc::new(Mse), inputs: vec![(image, Fill::Normal(1.0)), (image, Fill::Normal(1.0)), weights, t] }
}

/// What tests and benches try.
pub(super) const OPERATOR: Operator = Operator {
    formula: "loss[b] = w[t] mean((x - target)²)",
    case: |draw: &mut Choices| {
        let shape = Shape::f32([draw.range(1, 5), draw.range(1, 3), draw.range(1, 19), draw.range(1, 9)]);
        case(shape, draw.range(1, 30))
    },
    bench: || vec![case(Shape::f32([64, 1, 28, 28]), 1000)],
};
