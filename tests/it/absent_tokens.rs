//! Attention computes several tokens at once. Those past the end must not matter, however large the
//! numbers are that lie there.

use crate::common::{Kernels, Setup, context_for};
use degrain::ops::attention;
use degrain::tape::{PlanOptions, Program, Shape, Step, Tape, Tensor};

const TOKENS: usize = 49;
const WIDTH: usize = 8;

/// y and the gradients of q, k and v for two heads.
fn outputs(kernels: Kernels) -> Vec<Vec<f32>> {
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

    // In each head only channel 0 of q and channel 1 of k are large, so all scores are 0. After the
    // last token of channel 0 of k comes the first token of channel 1.
    let large = |channel: usize| -> Vec<f32> {
        (0..2 * WIDTH * TOKENS).map(|i| if i / TOKENS % WIDTH == channel { 40.0 } else { 0.0 }).collect()
    };
    let small = |salt: usize| -> Vec<f32> {
        (0..2 * WIDTH * TOKENS).map(|i| ((i * 37 + salt) % 101) as f32 / 50.0 - 1.0).collect()
    };
    ctx.write("qkv", 0, &[large(0), large(1), small(3)].concat()).unwrap();
    ctx.write("dy", 0, &small(71)).unwrap();
    program.run(&ctx, &Step::default()).unwrap();
    let read =
        |x: Tensor| -> Vec<f32> { program.read_words(&ctx, t, x).unwrap().into_iter().map(f32::from_bits).collect() };
    let parts = read(dqkv);
    std::iter::once(read(y)).chain(parts.chunks(2 * WIDTH * TOKENS).map(<[f32]>::to_vec)).collect()
}

#[test]
fn tokens_past_the_end_do_not_matter() {
    let [native, tiled] = [Kernels::Native, Kernels::Tiles].map(outputs);
    for (what, (native, tiled)) in ["y", "dq", "dk", "dv"].iter().zip(native.iter().zip(&tiled)) {
        let largest = tiled.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        assert!(largest > 0.0 || *what == "dk", "{what}");
        for (i, (a, b)) in native.iter().zip(tiled).enumerate() {
            assert!((a - b).abs() <= 1e-4 * largest.max(1.0), "{what}[{i}]: {a}, and {b} with tiles");
        }
    }
}
