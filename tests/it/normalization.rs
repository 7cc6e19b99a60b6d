//! Statistics where the mean is ten thousand times the deviation: there sums of squares in f32 keep no correct digit.

use degrain::gpu::{BoundsChecks, Context, Gpu};
use degrain::ops::{Activation, BatchNorm, GroupNorm};
use degrain::tape::inspect::Verifier;
use degrain::tape::testing::Fill;
use degrain::tape::{Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

fn check_far_from_zero(ctx: &Context, op: Rc<dyn Op>, x: [u32; 4], others: &[Fill]) {
    let mut tape = Tape::new(ctx.target());
    let mut ctx = ctx.fork();
    let mut inputs: Vec<Tensor> = Vec::new();
    let first = (Shape::f32(x), Fill::Uniform(10_000.0, 10_003.0));
    let all = std::iter::once(first).chain(others.iter().map(|&fill| (Shape::f32([x[1]]), fill)));
    for (i, (shape, fill)) in all.enumerate() {
        let name = format!("input {i}");
        ctx.require(&name, shape.bytes()).unwrap();
        ctx.write(&name, 0, &fill.words(shape, i as u64)).unwrap();
        inputs.push(tape.named(&name, shape));
    }
    tape.apply_shared(op, &inputs);
    let verifier = Verifier::new(&mut ctx, &tape, Step::default()).unwrap();
    if let Err(mismatch) = verifier.verify(|_, _| ()).unwrap() {
        panic!("{mismatch}");
    }
}

fn check_all(ctx: &Context) {
    let (normal, positive) = (Fill::Normal(1.0), Fill::Uniform(0.5, 2.0));
    for x in [[3, 8, 6, 6], [3, 8, 7, 7]] {
        let group_norm = GroupNorm { groups: 2, eps: 1e-5, activation: Activation::None };
        check_far_from_zero(ctx, Rc::new(group_norm), x, &[normal, normal]);
        check_far_from_zero(ctx, Rc::new(BatchNorm::new(true)), x, &[normal, normal, normal, positive]);
    }
}

#[test]
fn statistics_survive_a_large_mean() {
    let ctx = Context::new(Gpu::open_with(None, BoundsChecks::On).unwrap_or_else(|e| panic!("{e}")));
    check_all(&ctx);
    ctx.gpu.set_target(ctx.target().tiled());
    check_all(&ctx);
}
