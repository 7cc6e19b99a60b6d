//! Statistics where the mean is ten thousand times the deviation: there sums of squares in f32 keep no correct digit.

use degrain::gpu::{BoundsChecks, Gpu, Memory, Target};
use degrain::ops::{batch_norm::BatchNorm, group_norm::Activation, group_norm::GroupNorm};
use degrain::tape::{Checker, Fill, Op, Shape, Step, Tape, Tensor, words};
use std::rc::Rc;

fn check_far_from_zero(gpu: &Gpu, op: Rc<dyn Op>, x: [u32; 4], others: &[Fill]) {
    let mut tape = Tape::new(gpu.target());
    let mut memory = Memory::new();
    let mut inputs: Vec<Tensor> = Vec::new();
    let first = (Shape::f32(x), Fill::Uniform(10_000.0, 10_003.0));
    let all = std::iter::once(first).chain(others.iter().map(|&fill| (Shape::f32([x[1]]), fill)));
    for (i, (shape, fill)) in all.enumerate() {
        let name = format!("input {i}");
        memory.require(gpu, &name, shape.bytes()).unwrap();
        memory.write(gpu, &name, 0, &words(shape, fill, i as u64)).unwrap();
        inputs.push(tape.memory(&name, shape));
    }
    tape.apply_shared(op, &inputs);
    let checker = Checker::new(gpu, &tape, &mut memory, Step::default()).unwrap();
    if let Err(mismatch) = checker.check(|_, _| ()).unwrap() {
        panic!("{mismatch}");
    }
}

fn check_all(gpu: &Gpu) {
    let (normal, positive) = (Fill::Normal(1.0), Fill::Uniform(0.5, 2.0));
    for x in [[3, 8, 6, 6], [3, 8, 7, 7]] {
        let group_norm = GroupNorm { groups: 2, eps: 1e-5, activation: Activation::None };
        check_far_from_zero(gpu, Rc::new(group_norm), x, &[normal, normal]);
        check_far_from_zero(gpu, Rc::new(BatchNorm::new(true)), x, &[normal, normal, normal, positive]);
    }
}

#[test]
fn statistics_survive_a_large_mean() {
    let mut gpu = Gpu::open_with(None, BoundsChecks::On).unwrap_or_else(|e| panic!("{e}"));
    check_all(&gpu);
    gpu.set_target(Target::TILES);
    check_all(&gpu);
}
