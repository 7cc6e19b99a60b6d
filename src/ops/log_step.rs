//! Keeps losses of the last steps on the device, so that the host need not wait for each step.
//!
//! Row `step.index` modulo R of `log` `[R, 4 + 2B]` becomes (mean loss, gradient norm, finite,
//! step.index modulo 2^24 + 1, losses, timesteps), from `loss` `[B]`, `timesteps` u32 `[B]`, and
//! `norm` `[4]`, the result of [`gradient_norm`](super::gradient_norm()). There is no output and no
//! gradient.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::log_step;
//! use degrain::ops::log_step::row_width;
//!
//! let loss = t.named("loss", Shape::f32([64]));
//! let timesteps = t.named("timesteps", Shape::u32([64]));
//! let norm = t.named("norm", Shape::f32([4]));
//! let log = t.named("log", Shape::f32([256, row_width(64)]));
//! log_step(t, loss, timesteps, norm, log);
//! assert_eq!(t.calls().last().unwrap().dispatch.entry.label, "log_step.forward");
//! ```

use super::kernels::log_step::{Forward, HEADER};
use crate::tape::accuracy::DIVISION;
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

/// Columns of the log for a batch size.
pub fn row_width(batch: u32) -> u32 {
    HEADER + 2 * batch
}

/// The number that the step with this index (the number of finished steps) writes to its row. It is
/// never 0, and exact in f32.
pub fn step_number(index: u32) -> u32 {
    index % (1 << 24) + 1
}

#[derive(Debug)]
struct LogStep;

/// Writes losses, timesteps and the gradient's norm to a row of `log`.
#[track_caller]
pub fn log_step(t: &mut Tape, loss: Tensor, timesteps: Tensor, norm: Tensor, log: Tensor) {
    t.apply(LogStep, &[loss, timesteps, norm, log]);
}

impl Op for LogStep {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [loss, t, norm, log] if t.dtype == Dtype::U32 && t.dims() == loss.dims() && norm.len() == 4 => {
                match *log.dims() {
                    [_, width] if width == row_width(loss.len() as u32) => Ok(vec![]),
                    _ => Err("the log is [rows, 4 + 2B]".into()),
                }
            }
            _ => Err("takes losses [B], timesteps u32 [B], the gradient's norm [4] and the log".into()),
        }
    }

    fn updates(&self) -> &'static [usize] {
        &[3]
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], _: &[Tensor]) -> Vec<Tensor> {
        let batch = t.shape(x[0]).len() as u32;
        let rows = t.shape(x[3]).dims()[0];
        t.emit(Forward { loss: x[0], t: x[1], norm: x[2], log_rows: x[3], batch, rows }, 1, u64::from(batch));
        t.moves(x[3], t.shape(x[3]).bytes() / u64::from(rows));
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, x: &[Array], step: &Step) -> Vec<Array> {
        let mut log = x[3].clone();
        let width = log.shape.dims()[1] as usize;
        let row = step.index as usize % log.shape.dims()[0] as usize;
        let mean = x[0].data.iter().sum::<f64>() / x[0].data.len() as f64;
        let written =
            [&[mean, x[2].data[0], x[2].data[2], f64::from(step_number(step.index))], &x[0].data[..], &x[1].data[..]]
                .concat();
        log.data[row * width..(row + 1) * width].copy_from_slice(&written);
        vec![log]
    }

    fn terms(&self, inputs: &[Shape]) -> usize {
        inputs[0].len()
    }

    fn function_error(&self, _: &[Array]) -> f64 {
        DIVISION
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        inputs[0].len() as u64
    }
}

fn case(batch: u32, rows: u32) -> Case {
    let inputs = vec![
        (Shape::f32([batch]), Fill::Normal(1.0)),
        (Shape::u32([batch]), Fill::Below(1000)),
        (Shape::f32([4]), Fill::Normal(1.0)),
        (Shape::f32([rows, row_width(batch)]), Fill::Normal(1.0)),
    ];
    Case { op: Rc::new(LogStep), inputs }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "log[step mod rows] = (mean loss, |g|, finite, step, losses, t)",
    case: |draw: &mut Choices| case(draw.range(1, 70), draw.range(1, 9)),
    edge: Vec::new,
    bench: || vec![case(64, 64)],
};
