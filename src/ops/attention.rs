//! Scaled dot-product attention with several heads (Vaswani et al. 2017, "Attention is all you
//! need", eq. 1). Every token attends to every token.
//!
//! In each head y = softmax(q k^T / sqrt(d)) v, where d is the head's number of channels. `q`, `k`,
//! `v` and y are `[B, I, T]`: T tokens with I channels, which are split into I / d heads of
//! consecutive channels. Differentiable in all inputs. The matrix of scores is never stored: the
//! forward kernel keeps maximum and sum of each row, from which the backward kernels recompute the
//! scores (Dao et al. 2022, "FlashAttention").
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::attention;
//!
//! let [q, k, v] = ["q", "k", "v"].map(|name| t.named(name, Shape::f32([64, 32, 49])));
//! let y = attention(t, q, k, v, 8); // four heads
//! assert_eq!(t.shape(y), t.shape(q));
//! ```

mod wide;

use self::wide::WideSizes;
use super::kernels::{attention, attention_subgroup};
use crate::gpu::KernelVariant;
use crate::tape::accuracy::{DIVISION, EXP_BELOW_ONE};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, KernelClass, Node, Op, Shape, Step, Tape, Tensor};
use std::f64::consts::LOG2_E;
use std::rc::Rc;

#[derive(Debug)]
struct Attention {
    head_width: u32,
}

/// Attention of `q`, `k` and `v` `[B, I, T]` in heads of `head_width` channels.
#[track_caller]
pub fn attention(t: &mut Tape, q: Tensor, k: Tensor, v: Tensor, head_width: u32) -> Tensor {
    t.apply1(Attention { head_width }, &[q, k, v])
}

/// The form with elements of 64 bits.
const WIDE: &str = "wide";
/// The form of the subgroup variant.
const SUBGROUP: &str = "subgroup";
/// The form that every device can run.
const TILED: &str = "tiled";

/// Sizes from which constants and grids of the kernels follow.
struct AttentionSizes {
    t: u32,
    heads: u32,
    width: u32,
    scale: f32,
    /// FLOPs of one product of the token matrix with the channels, over all heads.
    product: u64,
    grid: [u32; 3],
}

impl Attention {
    fn sizes(&self, tape: &Tape, x: Tensor) -> AttentionSizes {
        let [batch, channels, t] = tape.shape(x).as_array();
        let (width, heads) = (self.head_width, channels / self.head_width);
        let (tokens, chunk) = match tape.target().variant {
            KernelVariant::Subgroup => (attention_subgroup::OWN * tape.target().lanes(), attention_subgroup::CHUNK),
            KernelVariant::Tiled => (attention::GROUP, attention::CHUNK),
        };
        let scale = (LOG2_E / f64::from(width).sqrt()) as f32;
        let product = 2 * u64::from(batch) * u64::from(channels) * u64::from(t) * u64::from(t);
        AttentionSizes {
            t,
            heads,
            width,
            scale,
            product,
            grid: [t.div_ceil(tokens), heads * width.div_ceil(chunk), batch],
        }
    }

    /// The class of the work on tensors of the shape of `x`, with the forms that fit. `wide`: whether
    /// the form with elements of 64 bits may be used.
    fn class(&self, work: &str, tape: &Tape, x: Tensor, wide: bool) -> KernelClass {
        let [_, channels, tokens] = tape.shape(x).as_array();
        let width = self.head_width;
        let mut forms = match tape.target().variant {
            KernelVariant::Subgroup => vec![SUBGROUP],
            KernelVariant::Tiled => vec![TILED],
        };
        if wide && WideSizes::fit(tape, x, width) {
            forms.insert(0, WIDE);
        }
        KernelClass {
            name: format!("attention.{work} {} heads of {width}, {tokens} tokens", channels / width),
            forms,
            inputs: vec![Shape::f32([KernelClass::TIMED_BATCH, channels, tokens]); 3],
        }
    }

    /// Gradients by a kernel for q and one for k and v.
    fn separate_gradients(&self, tape: &mut Tape, node: &Node, dy: Tensor) {
        let AttentionSizes { t, heads, width, scale, product, grid } = self.sizes(tape, dy);
        let q = node.inputs[0];
        let k = node.inputs[1];
        let v = node.inputs[2];
        let y = node.outputs[0];
        let saved = node.saved[0];
        let [batch, ..] = tape.shape(dy).as_array::<3>();
        let delta = tape.transient(Shape::f32([batch, heads, t]));
        let length = batch * heads * t;
        let kernel = attention::BackwardDelta { result: y, dresult: dy, delta_out: delta, t, width, length };
        tape.emit_flat(kernel, length, 2 * u64::from(length) * u64::from(width));
        let variant = tape.target().variant;
        tape.grad(q, |tape, dq, add| match variant {
            KernelVariant::Subgroup => {
                use attention_subgroup::BackwardQuery;
                let kernel = BackwardQuery { q, k, v, saved, dy, delta, dq, t, heads, width, scale, add };
                tape.emit_grid(kernel, grid, 3 * product);
            }
            KernelVariant::Tiled => {
                use attention::BackwardQuery;
                let kernel = BackwardQuery { q, k, v, saved, dy, delta, dq, t, heads, width, scale, add };
                tape.emit_grid(kernel, grid, 3 * product);
            }
        });
        tape.grad2(k, v, |tape, dk, dv, add| match variant {
            KernelVariant::Subgroup => {
                use attention_subgroup::BackwardKeyValue;
                let kernel = BackwardKeyValue { q, k, v, saved, dy, delta, dk, dv, t, heads, width, scale, add };
                tape.emit_grid(kernel, grid, 4 * product);
            }
            KernelVariant::Tiled => {
                use attention::BackwardKeyValue;
                let kernel = BackwardKeyValue { q, k, v, saved, dy, delta, dk, dv, t, heads, width, scale, add };
                tape.emit_grid(kernel, grid, 4 * product);
            }
        });
    }

    /// The softmax over the keys for one query of one head, in f64.
    fn weights(&self, x: &[Array], head: usize, query: usize) -> Vec<f64> {
        let tokens = x[0].shape.dims()[2] as usize;
        let width = self.head_width as usize;
        let at = |channel: usize, token: usize| (head * width + channel) * tokens + token;
        let score = |key| {
            let dot: f64 = (0..width).map(|c| x[0].data[at(c, query)] * x[1].data[at(c, key)]).sum();
            dot / (width as f64).sqrt()
        };
        let scores: Vec<f64> = (0..tokens).map(score).collect();
        let largest = scores.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        let exponentials: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
        let total: f64 = exponentials.iter().sum();
        exponentials.iter().map(|e| e / total).collect()
    }
}

impl Op for Attention {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let width = self.head_width;
        match inputs {
            [q, k, v] if q == k && k == v && q.dtype == Dtype::F32 => match *q.dims() {
                [_, channels, _] if width > 0 && channels % width == 0 => Ok(vec![*q]),
                _ => Err(format!("the channels of [B, I, T] must be a multiple of the head's width {width}")),
            },
            _ => Err("takes q, k and v of one shape [B, I, T]".into()),
        }
    }

    fn forward(&self, tape: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let AttentionSizes { t, heads, width, scale, product, grid } = self.sizes(tape, y[0]);
        let [batch, ..] = tape.shape(y[0]).as_array::<3>();
        let stats = tape.transient(Shape::f32([batch, heads, 2, t]));
        let q = x[0];
        let k = x[1];
        let v = x[2];
        let y = y[0];
        let flops = 2 * product;
        tape.choose(self.class("forward", tape, y, true), |tape, form| match form {
            WIDE => wide::forward(tape, WideSizes::new(tape, y, width), [q, k, v], [y, stats]),
            SUBGROUP => {
                tape.emit_grid(attention_subgroup::Forward { q, k, v, y, stats, t, heads, width, scale }, grid, flops);
            }
            _ => tape.emit_grid(attention::Forward { q, k, v, y, stats, t, heads, width, scale }, grid, flops),
        });
        vec![stats]
    }

    fn backward(&self, tape: &mut Tape, node: &Node, dy: Tensor) {
        let inputs = [node.inputs[0], node.inputs[1], node.inputs[2]];
        let together = tape.are_written_together(inputs);
        tape.choose(self.class("backward", tape, dy, together), |tape, form| match form {
            WIDE => tape.grad3(inputs, |tape, gradients, add| {
                let sizes = WideSizes::new(tape, dy, self.head_width);
                wide::backward(
                    tape,
                    sizes,
                    wide::Operands { inputs, y: node.outputs[0], saved: node.saved[0], dy },
                    gradients,
                    add,
                );
            }),
            _ => self.separate_gradients(tape, node, dy),
        });
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let [batch, channels, tokens] = x[0].shape.as_array::<3>().map(|n| n as usize);
        let width = self.head_width as usize;
        let mut y = Array::zeros(x[0].shape);
        for head in 0..batch * channels / width {
            let at = |channel: usize, token: usize| (head * width + channel) * tokens + token;
            for query in 0..tokens {
                let weights = self.weights(x, head, query);
                for c in 0..width {
                    y.data[at(c, query)] = (0..tokens).map(|key| weights[key] * x[2].data[at(c, key)]).sum();
                }
            }
        }
        vec![y]
    }

    fn terms(&self, inputs: &[Shape]) -> usize {
        // A sum over the tokens of products with sums over the head's channels.
        inputs[0].dims()[2] as usize * self.head_width as usize
    }

    /// The gradient of a score is p (dp - sum p dp) with dp = dy v. With one token it is 0, but dp
    /// and the sum are rounded.
    fn gradient_scale(&self, x: &[Array], dy: &Array, input: usize) -> f64 {
        let [batch, channels, tokens] = dy.shape.as_array::<3>().map(|n| n as usize);
        let width = self.head_width as usize;
        let mut scale = 0.0f64;
        for head in 0..batch * channels / width {
            let at = |channel: usize, token: usize| (head * width + channel) * tokens + token;
            for query in 0..tokens {
                for (key, p) in self.weights(x, head, query).into_iter().enumerate() {
                    let dp: f64 = (0..width).map(|c| dy.data[at(c, query)] * x[2].data[at(c, key)]).sum();
                    let factor = |c| match input {
                        0 => x[1].data[at(c, key)],
                        1 => x[0].data[at(c, query)],
                        _ => 0.0,
                    };
                    let factor = (0..width).map(|c| factor(c).abs()).fold(0.0, f64::max);
                    scale = scale.max(p * dp.abs() * factor / (width as f64).sqrt());
                }
            }
        }
        scale
    }

    fn function_error(&self, _: &[Array]) -> f64 {
        // The weights and their sum, then the gradient of the scores from these weights and y.
        let weights = 2.0 * EXP_BELOW_ONE + DIVISION;
        2.0 * weights
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        4 * inputs[0].len() as u64 * u64::from(inputs[0].dims()[2])
    }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "y = softmax(q k^T / sqrt(d)) v in each head",
    case: |draw: &mut Choices| {
        let head_width = draw.one_of(&[8, 1, 3, 8, 12, 16, 33]);
        let tokens = draw.one_of(&[1, 7, 8, 49, 20, 70]);
        let shape = Shape::f32([draw.range(1, 2), head_width * draw.range(1, 3), tokens]);
        let fill = Fill::Normal(draw.one_of(&[1.0, 3.0]));
        let inputs = vec![(shape, fill), (shape, fill), (shape, Fill::Normal(1.0))];
        Case { op: Rc::new(Attention { head_width }), inputs }
    },
    // With one token, the gradients of q and k are 0.
    edge: || {
        let shape = Shape::f32([2, 16, 1]);
        vec![Case { op: Rc::new(Attention { head_width: 8 }), inputs: vec![(shape, Fill::Normal(1.0)); 3] }]
    },
    bench: || {
        let case = |channels, tokens| {
            let shape = Shape::f32([64, channels, tokens]);
            Case { op: Rc::new(Attention { head_width: 8 }), inputs: vec![(shape, Fill::Normal(1.0)); 3] }
        };
        vec![case(64, 196), case(64, 49), case(32, 49)]
    },
};
