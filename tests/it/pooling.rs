//! Ties of max pooling, which central differences cannot check: the first of equal elements gets
//! the whole gradient.

use crate::common::Setup;
use degrain::gpu::Context;
use degrain::ops::max_pool;
use degrain::tape::{Program, Shape, Step, Tape};

/// Gradient of the sum of the maxima with respect to `x`.
fn gradient(ctx: &Context, shape: Shape, x: &[f32]) -> Vec<f32> {
    let mut ctx = ctx.fork();
    let mut tape = Tape::new(ctx.target());
    let [b, c, h, w] = shape.as_array();
    let pooled = Shape::f32([b, c, h / 2, w / 2]);
    for (name, shape, values) in [("x", shape, x), ("dy", pooled, &vec![1.0; pooled.len()])] {
        ctx.require(name, shape.bytes()).expect("memory");
        ctx.write(name, 0, values).expect("writes");
    }
    let (x, dy) = (tape.named("x", shape), tape.named("dy", pooled));
    tape.watch(x);
    let y = max_pool(&mut tape, x);
    tape.backward(y, dy);
    let dx = tape.gradient(x).expect("x is watched");
    let program = Program::compile(&mut ctx, &tape).expect("compiles");
    program.run(&ctx, &Step::default()).expect("runs");
    let words = program.read_words(&ctx, &tape, dx).expect("reads");
    words.into_iter().map(f32::from_bits).collect()
}

#[test]
fn max_pool_gives_the_gradient_to_the_first_of_equals() {
    #[rustfmt::skip]
    let x = [
        1.0, 1.0,   0.0, 2.0,
        1.0, 1.0,   2.0, 2.0,
        0.0, 0.0,   0.0, 1.0,
        3.0, 3.0,   0.0, 1.0,
    ];
    #[rustfmt::skip]
    let expected = [
        1.0, 0.0,   0.0, 1.0,
        0.0, 0.0,   0.0, 0.0,
        0.0, 0.0,   0.0, 1.0,
        1.0, 0.0,   0.0, 0.0,
    ];
    // A fifth column, which is in no block, selects the kernels without vec4s.
    let widened =
        |rows: &[f32], last: f32| rows.chunks(4).flat_map(|row| [row, &[last]].concat()).collect::<Vec<f32>>();
    for setup in Setup::all() {
        let ctx = crate::common::context_for(setup);
        assert_eq!(gradient(&ctx, Shape::f32([1, 1, 4, 4]), &x), expected, "{setup:?}");
        assert_eq!(gradient(&ctx, Shape::f32([1, 1, 4, 5]), &widened(&x, 9.0)), widened(&expected, 0.0), "{setup:?}");
    }
}
