//! Scaled dot-product attention with several heads (Vaswani et al. 2017, "Attention is all you
//! need", eq. 1). Every token attends to every token.
//!
//! In each head y = softmax(q k^T / sqrt(d)) v, where d is the head's number of channels. The input
//! `[B, 3 I, T]` has T tokens. Its first I channels are q, the next I are k, and the last I are v, as
//! one convolution with 3 I channels computes them. y is `[B, I, T]`. The I channels are split into
//! I / d heads of consecutive channels. Differentiable. The matrix of scores is never stored: the
//! forward kernel keeps maximum and sum of each row, from which the backward kernels recompute the
//! scores (Dao et al. 2022, "FlashAttention").
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::attention;
//!
//! let qkv = t.named("qkv", Shape::f32([64, 3 * 32, 49]));
//! let y = attention(t, qkv, 8); // four heads
//! assert_eq!(t.shape(y), Shape::f32([64, 32, 49]));
//! ```

mod tiled;
mod wide;

use self::tiled::TiledSizes;
use self::wide::{Operands, WideSizes};
use super::kernels::{attention, attention_subgroup, attention_untiled};
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

/// Attention in heads of `head_width` channels. `qkv` `[B, 3 I, T]` has the channels of q, then
/// those of k, then those of v. The result is `[B, I, T]`.
#[track_caller]
pub fn attention(t: &mut Tape, qkv: Tensor, head_width: u32) -> Tensor {
    t.apply1(Attention { head_width }, &[qkv])
}

/// The form with elements of 64 bits.
const WIDE: &str = "wide";
/// The form of the subgroup variant.
const SUBGROUP: &str = "subgroup";
/// The form with tiles in workgroup memory.
const TILED: &str = "tiled";
/// The form without workgroup memory, which does heads of any width.
const UNTILED: &str = "untiled";

/// Sizes from which constants and grids of the kernels follow.
struct AttentionSizes {
    t: u32,
    heads: u32,
    width: u32,
    scale: f32,
    /// FLOPs of one product of the token matrix with the channels, over all heads.
    product: u64,
    /// Workgroups compute the result of a head in this many chunks of channels. Each chunk needs all
    /// scores, so the kernels compute them again for each chunk.
    chunks: u64,
    grid: [u32; 3],
}

impl Attention {
    /// Sizes for a result of the shape of `y`.
    fn sizes(&self, tape: &Tape, y: Tensor) -> AttentionSizes {
        let [batch, channels, t] = tape.shape(y).as_array();
        let (width, heads) = (self.head_width, channels / self.head_width);
        let (tokens, chunk) = match tape.target().variant {
            KernelVariant::Subgroup => (attention_subgroup::OWN * tape.target().lanes(), attention_subgroup::CHUNK),
            KernelVariant::Tiled => (attention_untiled::GROUP, attention_untiled::CHUNK),
        };
        let scale = (LOG2_E / f64::from(width).sqrt()) as f32;
        let product = 2 * u64::from(batch) * u64::from(channels) * u64::from(t) * u64::from(t);
        AttentionSizes {
            t,
            heads,
            width,
            scale,
            product,
            chunks: u64::from(width.div_ceil(chunk)),
            grid: [t.div_ceil(tokens), heads * width.div_ceil(chunk), batch],
        }
    }

    /// The class of the work for a result of the shape of `y`, with the forms that fit.
    fn class(&self, work: &str, tape: &Tape, y: Tensor) -> KernelClass {
        let [batch, channels, tokens] = tape.shape(y).as_array();
        let width = self.head_width;
        let AttentionSizes { product, chunks, .. } = self.sizes(tape, y);
        // The longest call, for the gradients of k and v.
        let most = KernelClass::most_timed((2 * chunks + 2) * product / u64::from(batch));
        let mut forms = match tape.target().variant {
            KernelVariant::Subgroup => vec![SUBGROUP],
            // If one image takes too long, nothing is measured.
            KernelVariant::Tiled if width <= attention::MAX_WIDTH && most == 0 => vec![TILED],
            KernelVariant::Tiled if width <= attention::MAX_WIDTH => vec![TILED, UNTILED],
            KernelVariant::Tiled => vec![UNTILED],
        };
        if WideSizes::fit(tape, y, width) {
            forms.insert(0, WIDE);
        }
        let timed = match tape.target().variant {
            KernelVariant::Subgroup => KernelClass::timed_batch(tokens),
            KernelVariant::Tiled => KernelClass::timed_batch(tokens).min(most).max(1),
        };
        KernelClass {
            name: format!("attention.{work} {} heads of {width}, {tokens} tokens", channels / width),
            forms,
            inputs: vec![Shape::f32([timed, 3 * channels, tokens])],
        }
    }

    /// Writes the gradient, or adds to it, by a kernel for q and one for k and v.
    fn separate_gradients(&self, tape: &mut Tape, o: Operands, dqkv: Tensor, add: bool) {
        let Operands { qkv, y, saved, dy } = o;
        let AttentionSizes { t, heads, width, scale, product, chunks, grid } = self.sizes(tape, dy);
        let [batch, ..] = tape.shape(dy).as_array::<3>();
        let delta = tape.transient(Shape::f32([batch, heads, t]));
        let length = batch * heads * t;
        let kernel = attention_untiled::BackwardDelta { result: y, dresult: dy, delta_out: delta, t, width, length };
        tape.emit_flat(kernel, length, 2 * u64::from(length) * u64::from(width));
        match tape.target().variant {
            KernelVariant::Subgroup => {
                use attention_subgroup::BackwardQuery;
                let kernel = BackwardQuery { qkv, saved, dy, delta, dqkv, t, heads, width, scale, add };
                tape.emit_grid(kernel, grid, 3 * product);
            }
            KernelVariant::Tiled => {
                use attention_untiled::BackwardQuery;
                let kernel = BackwardQuery { qkv, saved, dy, delta, dqkv, t, heads, width, scale, add };
                tape.emit_grid(kernel, grid, 3 * product);
            }
        }
        // The kernel does 2 chunks + 1 products: the scores and their gradients for each chunk, and the
        // result once.
        tape.repeats((2 * chunks - 2) * product);
        let part = tape.shape(dy).bytes();
        tape.moves(dqkv, part);
        match tape.target().variant {
            KernelVariant::Subgroup => {
                use attention_subgroup::BackwardKeyValue;
                let kernel = BackwardKeyValue { qkv, saved, dy, delta, dqkv, t, heads, width, scale, add };
                tape.emit_grid(kernel, grid, 2 * product);
            }
            KernelVariant::Tiled => {
                use attention_untiled::BackwardKeyValue;
                let kernel = BackwardKeyValue { qkv, saved, dy, delta, dqkv, t, heads, width, scale, add };
                tape.emit_grid(kernel, grid, 2 * product);
            }
        }
        // It does 2 chunks + 2 products: there are two results.
        tape.repeats(2 * chunks * product);
        tape.moves(dqkv, 2 * part);
    }

    /// The softmax over the keys for one query, in f64.
    fn weights(&self, x: &Heads<'_>, head: usize, query: usize) -> Vec<f64> {
        let width = self.head_width as usize;
        let score = |key| {
            let dot: f64 = (0..width).map(|c| x.at(Q, head, c, query) * x.at(K, head, c, key)).sum();
            dot / (width as f64).sqrt()
        };
        let scores: Vec<f64> = (0..x.tokens).map(score).collect();
        let largest = scores.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        let exponentials: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
        let total: f64 = exponentials.iter().sum();
        exponentials.iter().map(|e| e / total).collect()
    }
}

// The parts of the input.
const Q: usize = 0;
const K: usize = 1;
const V: usize = 2;

/// The heads of an array `[B, parts I, T]`, numbered through the batch.
struct Heads<'a> {
    data: &'a [f64],
    parts: usize,
    /// Heads of an image.
    heads: usize,
    width: usize,
    tokens: usize,
}

impl<'a> Heads<'a> {
    fn new(x: &'a Array, parts: usize, width: u32) -> Heads<'a> {
        let [_, channels, tokens] = x.shape.as_array::<3>().map(|n| n as usize);
        let width = width as usize;
        Heads { data: &x.data, parts, heads: channels / parts / width, width, tokens }
    }

    /// Heads of all images.
    fn count(&self) -> usize {
        self.data.len() / (self.parts * self.width * self.tokens)
    }

    fn at(&self, part: usize, head: usize, channel: usize, token: usize) -> f64 {
        let image = head / self.heads;
        let row = ((image * self.parts + part) * self.heads + head % self.heads) * self.width + channel;
        self.data[row * self.tokens + token]
    }
}

impl Op for Attention {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let width = self.head_width;
        let rule = "takes q, k and v as one f32 tensor [B, 3 I, T]";
        let [x] = inputs else { return Err(rule.into()) };
        let [batch, channels, tokens] = *x.dims() else { return Err(rule.into()) };
        if x.dtype != Dtype::F32 || channels % 3 != 0 {
            return Err(rule.into());
        }
        if width == 0 || channels / 3 % width != 0 {
            return Err(format!("I of [B, 3 I, T] must be a multiple of the head's width {width}"));
        }
        Ok(vec![Shape::f32([batch, channels / 3, tokens])])
    }

    fn forward(&self, tape: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let AttentionSizes { t, heads, width, scale, product, chunks, grid } = self.sizes(tape, y[0]);
        let [batch, ..] = tape.shape(y[0]).as_array::<3>();
        let stats = tape.transient(Shape::f32([batch, heads, 2, t]));
        let qkv = x[0];
        let y = y[0];
        let flops = 2 * product;
        tape.choose(self.class("forward", tape, y), |tape, form| match form {
            WIDE => wide::forward(tape, WideSizes::new(tape, y, width), qkv, [y, stats]),
            SUBGROUP => {
                tape.emit_grid(attention_subgroup::Forward { qkv, y, stats, t, heads, width, scale }, grid, flops);
                tape.repeats((chunks - 1) * product);
            }
            TILED => tiled::forward(tape, TiledSizes::forward(tape, y, width), qkv, [y, stats]),
            _ => {
                tape.emit_grid(attention_untiled::Forward { qkv, y, stats, t, heads, width, scale }, grid, flops);
                tape.repeats((chunks - 1) * product);
            }
        });
        vec![stats]
    }

    fn backward(&self, tape: &mut Tape, node: &Node, dy: Tensor) {
        let operands = Operands { qkv: node.inputs[0], y: node.outputs[0], saved: node.saved[0], dy };
        tape.grad(operands.qkv, |tape, dqkv, add| {
            tape.choose(self.class("backward", tape, dy), |tape, form| match form {
                WIDE => wide::backward(tape, WideSizes::new(tape, dy, self.head_width), operands, dqkv, add),
                TILED => tiled::backward(tape, TiledSizes::backward(tape, dy, self.head_width), operands, dqkv, add),
                _ => self.separate_gradients(tape, operands, dqkv, add),
            });
        });
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let [batch, channels, tokens] = x[0].shape.as_array();
        let x = Heads::new(&x[0], 3, self.head_width);
        let mut y = Array::zeros(Shape::f32([batch, channels / 3, tokens]));
        for head in 0..x.count() {
            for query in 0..x.tokens {
                let weights = self.weights(&x, head, query);
                for c in 0..x.width {
                    let sum = (0..x.tokens).map(|key| weights[key] * x.at(V, head, c, key)).sum();
                    y.data[(head * x.width + c) * x.tokens + query] = sum;
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
    fn gradient_scale(&self, x: &[Array], dy: &Array, _: usize) -> f64 {
        let x = Heads::new(&x[0], 3, self.head_width);
        let dy = Heads::new(dy, 1, self.head_width);
        let mut scale = 0.0f64;
        for head in 0..x.count() {
            for query in 0..x.tokens {
                for (key, p) in self.weights(&x, head, query).into_iter().enumerate() {
                    let dp: f64 = (0..x.width).map(|c| dy.at(0, head, c, query) * x.at(V, head, c, key)).sum();
                    let factors = (0..x.width).flat_map(|c| [x.at(Q, head, c, query), x.at(K, head, c, key)]);
                    let factor = factors.map(f64::abs).fold(0.0, f64::max);
                    scale = scale.max(p * dp.abs() * factor / (x.width as f64).sqrt());
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
        4 * inputs[0].len() as u64 / 3 * u64::from(inputs[0].dims()[2])
    }
}

/// Queries of -12, then keys of 12.
const fn opposite<const N: usize>() -> [f32; N] {
    let mut values = [-12.0; N];
    let mut i = N / 2;
    while i < N {
        values[i] = 12.0;
        i += 1;
    }
    values
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "y = softmax(q k^T / sqrt(d)) v in each head; the input is q, then k, then v, along the channels",
    case: |draw: &mut Choices| {
        let head_width = draw.one_of(&[8, 1, 3, 8, 12, 16, 33]);
        let tokens = draw.one_of(&[1, 7, 8, 49, 20, 70]);
        let shape = Shape::f32([draw.range(1, 2), 3 * head_width * draw.range(1, 3), tokens]);
        let fill = Fill::Normal(draw.one_of(&[1.0, 3.0]));
        Case { op: Rc::new(Attention { head_width }), inputs: vec![(shape, fill)] }
    },
    edge: || {
        let spread = |deviation, [batch, heads, head_width, tokens]: [u32; 4]| {
            let shape = Shape::f32([batch, 3 * heads * head_width, tokens]);
            Case { op: Rc::new(Attention { head_width }), inputs: vec![(shape, Fill::Normal(deviation))] }
        };
        let case = |sizes| spread(1.0, sizes);
        // One channel. The values of q and k repeat, so v equals q.
        let negative = |tokens, values| Case {
            op: Rc::new(Attention { head_width: 1 }),
            inputs: vec![(Shape::f32([1, 3, tokens]), Fill::Values(values))],
        };
        vec![
            // With one token, the gradients of q and k are 0. The others have two images with two
            // heads in each form of the kernels.
            case([2, 2, 8, 1]),
            case([2, 2, 8, 20]),
            case([2, 2, 8, 23]),
            // Several tiles, of which the last is not full, and more heads than a workgroup has.
            case([3, 1, 8, 76]),
            case([9, 2, 4, 13]),
            // Heads of several lanes, also with a channel less in the last one; the widest with
            // tiles, and a wider one.
            case([1, 2, 32, 36]),
            case([1, 1, 23, 70]),
            case([1, 1, 128, 9]),
            case([1, 1, 130, 6]),
            // Two and three chunks of channels in the lanes of a subgroup. The second has more heads in
            // the batch, four, than pairs of tokens.
            case([1, 2, 16, 38]),
            case([2, 2, 24, 6]),
            // Scores so far apart that exp overflows unless their maximum is subtracted.
            spread(6.0, [3, 1, 8, 76]),
            spread(6.0, [9, 2, 4, 13]),
            spread(9.0, [1, 2, 16, 38]),
            // Scores so low that exp2 of their negative overflows: zeros past the last key must be
            // masked.
            negative(3, &[-12.0, -12.0, -12.0, 24.0, 24.0, 8.0]),
            negative(5, const { &opposite::<10>() }),
            negative(12, const { &opposite::<24>() }),
        ]
    },
    bench: || {
        let case = |channels: u32, tokens| {
            let shape = Shape::f32([64, 3 * channels, tokens]);
            Case { op: Rc::new(Attention { head_width: 8 }), inputs: vec![(shape, Fill::Normal(1.0))] }
        };
        vec![case(64, 196), case(64, 49), case(32, 49)]
    },
};
