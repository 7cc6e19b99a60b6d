//! Sums that are computed together at the end of backward have the values that they have one by
//! one.

use crate::common::{Setup, context, context_for};
use degrain::gpu::Context;
use degrain::ops::{Conv2d, GroupNorm, Padding, add_channels, affine, conv2d, group_norm, linear};
use degrain::rng::philox;
use degrain::tape::{BufferOffset, Program, Shape, Step, Tape, Tensor};

const SAME: Conv2d = Conv2d { stride: 1, padding: Padding::Same };
const STRIDE: Conv2d = Conv2d { stride: 2, padding: Padding::Same };

/// Parameters, one after another in two buffers.
struct Parameters {
    end: u64,
}

impl Parameters {
    fn add<const N: usize>(&mut self, t: &mut Tape, dims: [u32; N]) -> Tensor {
        let shape = Shape::f32(dims);
        let place = |buffer| BufferOffset::new(buffer, self.end);
        let tensor = t.parameter(shape, place("w"), place("dw"));
        self.end = (self.end + shape.bytes()).next_multiple_of(256);
        tensor
    }
}

/// A network with weights that two convolutions share, with `large` convolutions of 256 channels at
/// the end. Returns the bytes of all parameters.
fn record(t: &mut Tape, large: usize) -> u64 {
    let mut p = Parameters { end: 0 };
    let mut h = t.named("x", Shape::f32([3, 5, 8, 8]));
    let (w, b) = (p.add(t, [12, 5, 3, 3]), p.add(t, [12]));
    h = conv2d(t, h, w, b, SAME);
    let (w, b) = (p.add(t, [12, 12, 3, 3]), p.add(t, [12]));
    for _ in 0..2 {
        let (scale, shift) = (p.add(t, [12]), p.add(t, [12]));
        h = group_norm(t, h, scale, shift, GroupNorm { groups: 3, eps: 1e-5, silu: true });
        h = conv2d(t, h, w, b, SAME);
    }
    // A weight whose gradient a node reads, and weights to whose gradients another operator adds.
    let (w, b) = (p.add(t, [12, 12, 3, 3]), p.add(t, [12]));
    let half = affine(t, w, 0.5, 0.0);
    h = conv2d(t, h, half, b, STRIDE);
    let (w, b) = (p.add(t, [12, 12]), p.add(t, [12]));
    let rows = t.named("rows", Shape::f32([3, 12]));
    let e = linear(t, rows, w, b);
    h = add_channels(t, h, e, 0);
    let pointwise = t.reshape(w, Shape::f32([12, 12, 1, 1]));
    h = conv2d(t, h, pointwise, b, STRIDE);
    let (w, b) = (p.add(t, [256, 12, 3, 3]), p.add(t, [256]));
    h = conv2d(t, h, w, b, STRIDE);
    for _ in 0..large {
        let (w, b) = (p.add(t, [256, 256, 3, 3]), p.add(t, [256]));
        h = conv2d(t, h, w, b, STRIDE);
    }
    let dy = t.named("dy", t.shape(h));
    t.backward(h, dy);
    p.end
}

/// The bits of all gradients, and the number of calls.
fn gradients(ctx: &Context, large: usize, late: bool) -> (Vec<u32>, usize) {
    let mut ctx = ctx.fork();
    let mut tape = Tape::new(ctx.target());
    if late {
        tape.sum_late();
    }
    let bytes = record(&mut tape, large);
    let program = Program::compile(&mut ctx, &tape).unwrap();
    for (salt, name) in ["x", "dy", "w", "rows"].into_iter().enumerate() {
        let count = ctx.buffers.bytes(name) as u32 / 4;
        let number = |i| philox([i, salt as u32, 0, 0], [3, 4])[0] as f32 / u32::MAX as f32 - 0.4;
        ctx.write(name, 0, &(0..count).map(number).collect::<Vec<f32>>()).unwrap();
    }
    program.run(&ctx, &Step::default()).unwrap();
    (ctx.read("dw", 0, bytes as usize / 4).unwrap(), tape.calls().len())
}

#[test]
fn late_sums_have_the_values_of_separate_ones() {
    for setup in Setup::all() {
        let ctx = context_for(setup);
        let [(separate, many), (late, few)] = [false, true].map(|late| gradients(&ctx, 0, late));
        assert!(late == separate, "{setup:?}");
        assert!(few + 3 <= many, "{setup:?}: {few} calls instead of {many}");
        assert!(late.iter().filter(|&&bits| bits != 0).count() > 10_000, "{setup:?}: gradients are zero");
    }
}

/// The rows of the sums need more memory than may wait until the end.
#[test]
fn late_sums_of_many_rows_are_computed_in_parts() {
    let ctx = context_for(Setup::unchecked(crate::common::Kernels::Tiles));
    let [(separate, many), (late, few)] = [false, true].map(|late| gradients(&ctx, 40, late));
    assert!(late == separate);
    // Two calls for each of 46 convolutions and 2 normalizations.
    let sums = 96 - (many - few);
    assert!((2..12).contains(&sums), "{sums} calls for the sums");
}

/// The kernel tests of an operator add one sum at a time, so this test checks the search for the sum of
/// an invocation.
#[test]
fn late_sums_with_a_wrong_search_have_other_values() {
    let ctx = context();
    let text = include_str!("../../shaders/row_sums.wgsl");
    let (right, _) = gradients(&ctx, 0, true);
    for (before, after) in [
        ("table[2u * (first + half)]", "table[3u * (first + half)]"),
        ("table[2u * (first + half)]", "table[2u / (first + half)]"),
        ("table[2u * (first + half)]", "table[2u * (first - half)]"),
        (".x <= i;", ".x < i;"),
        ("select(first, first + half, after)", "select(first, first - half, after)"),
        ("select(first, first + half, after)", "select(first + half, first, after)"),
        ("select(half, count - half, after)", "select(count - half, half, after)"),
        ("sum_of(min(i, dims.invocations - 1u))", "sum_of(max(i, dims.invocations - 1u))"),
        ("let a = table[2u * number];", "let a = table[3u * number];"),
        ("let b = table[2u * number + 1u];", "let b = table[3u * number + 1u];"),
        ("let j = i - a.x;", "let j = i + a.x;"),
    ] {
        assert!(text.contains(before), "row_sums.wgsl has no '{before}'");
        ctx.gpu.replace_shader("row_sums", Some(text.replace(before, after)));
        let (wrong, _) = gradients(&ctx, 0, true);
        assert!(wrong != right, "{before} -> {after}");
    }
}
