//! Attention computes several tokens at once. Those past the end must not matter, however large the
//! numbers are that lie there, or however far the scores of the others are from zero.

use crate::common::{Kernels, Setup, context_for};
use degrain::ops::attention;
use degrain::tape::{PlanOptions, Program, Shape, Step, Tape, Tensor};

const TOKENS: usize = 49;
const WIDTH: usize = 8;

/// Numbers of q or k for two heads: in each head this channel has a value for each token, and the
/// others are zero.
fn large(channel: usize, value: impl Fn(usize) -> f32) -> Vec<f32> {
    let number = |i: usize| if i / TOKENS % WIDTH == channel { value(i % TOKENS) } else { 0.0 };
    (0..2 * WIDTH * TOKENS).map(number).collect()
}

/// y and the gradients of q, k and v for two heads.
fn outputs(kernels: Kernels, q: &[f32], k: &[f32]) -> Vec<Vec<f32>> {
    let mut ctx = context_for(Setup::unchecked(kernels));
    let mut tape = Tape::new(ctx.target());
    let t = &mut tape;
    let qkv = t.named("qkv", Shape::f32([1, 3 * 2 * WIDTH as u32, TOKENS as u32]));
    t.watch(qkv);
    let y = attention(t, qkv, WIDTH as u32);
    let dy = t.named("dy", t.shape(y));
    t.backward(y, dy);
    let dqkv = t.gradient(qkv).unwrap();
    let program = Program::compile_with(&mut ctx, t, PlanOptions { separate: true, guard: 0 }).unwrap();

    let small = |salt: usize| -> Vec<f32> {
        (0..2 * WIDTH * TOKENS).map(|i| ((i * 37 + salt) % 101) as f32 / 50.0 - 1.0).collect()
    };
    ctx.write("qkv", 0, &[q, k, &small(3)].concat()).unwrap();
    ctx.write("dy", 0, &small(71)).unwrap();
    program.run(&ctx, &Step::default()).unwrap();
    let read =
        |x: Tensor| -> Vec<f32> { program.read_words(&ctx, t, x).unwrap().into_iter().map(f32::from_bits).collect() };
    let parts = read(dqkv);
    std::iter::once(read(y)).chain(parts.chunks(2 * WIDTH * TOKENS).map(<[f32]>::to_vec)).collect()
}

/// Compares both kinds of kernels.
fn check(q: &[f32], k: &[f32]) {
    let [native, tiled] = [Kernels::Native, Kernels::Tiles].map(|kernels| outputs(kernels, q, k));
    for (what, (native, tiled)) in ["y", "dq", "dk", "dv"].iter().zip(native.iter().zip(&tiled)) {
        let largest = tiled.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        assert!(largest > 0.0 || ["dq", "dk"].contains(what), "{what}");
        for (i, (a, b)) in native.iter().zip(tiled).enumerate() {
            assert!((a - b).abs() <= 1e-4 * largest.max(1.0), "{what}[{i}]: {a}, and {b} with tiles");
        }
    }
}

#[test]
fn tokens_past_the_end_do_not_matter() {
    // In each head only channel 0 of q and channel 1 of k are large, so all scores are 0. After the
    // last token of channel 0 of k comes the first token of channel 1.
    check(&large(0, |_| 40.0), &large(1, |_| 40.0));
}

#[test]
fn tokens_past_the_end_do_not_matter_if_all_scores_are_far_below_zero() {
    check(&large(0, |_| 40.0), &large(0, |_| -40.0));
}

/// The exponential of a score overflows unless it is relative to the largest, which comes last.
#[test]
fn tokens_with_ascending_scores_do_not_overflow() {
    check(&large(0, |_| 100.0), &large(0, |token| token as f32));
}
