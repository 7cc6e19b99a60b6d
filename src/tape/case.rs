//! One operator tried alone: a program of one call, on inputs made from a seed.

use super::check::{Checker, Mismatch};
use super::op::{Case, Fill};
use super::record::{Tape, Tensor};
use super::shape::Shape;
use super::step::Step;
use crate::Result;
use crate::gpu::{Gpu, Memory};
use std::f64::consts::TAU;

/// The step that cases run with.
const STEP: Step = Step {
    seed_low: 1234,
    seed_high: 99,
    index: 3,
    epoch: 2,
    position: 5,
    first_image: 7,
    learning_rate: 1e-2,
    first_correction: 3.5,
    second_correction: 30.0,
    average_decay: 0.9,
    guidance: 2.0,
    reserved: 0.0,
};

/// Runs a case forward, and twice backward from a random gradient of its first output (the first stores the gradients, the second adds to
/// them), on a device; checks it against its reference, and a second run against the first bit for bit.
///
/// # Errors
/// The device's; a mismatch is in the inner result.
pub fn check_case(gpu: &Gpu, case: &Case) -> Result<std::result::Result<(), Mismatch>> {
    let mut results: Vec<Vec<Vec<u32>>> = Vec::new();
    for _ in 0..2 {
        let mut tape = Tape::new(gpu.target());
        let mut memory = Memory::new();
        let mut contents = Vec::new();
        let mut input = |tape: &mut Tape, name: String, shape: Shape, fill: Fill, seed: usize| {
            let x = tape.memory(&name, shape);
            contents.push((name, words(shape, fill, seed as u64)));
            x
        };
        let inputs: Vec<Tensor> = case
            .inputs
            .iter()
            .enumerate()
            .map(|(i, &(shape, fill))| input(&mut tape, format!("input {i}"), shape, fill, i))
            .collect();
        let mut watched = Vec::new();
        if case.op.differentiable() {
            let fixed = |i: &usize| case.op.constants().contains(i) || case.op.updates().contains(i);
            let float = |&i: &usize| tape.shape(inputs[i]).dtype == super::Dtype::F32;
            watched = (0..inputs.len()).filter(|i| !fixed(i)).filter(float).map(|i| inputs[i]).collect::<Vec<_>>();
            watched.iter().for_each(|&x| tape.watch(x));
        }
        let mut outputs = tape.apply_shared(case.op.clone(), &inputs);
        if case.op.differentiable() {
            let shape = tape.shape(outputs[0]);
            let dy = input(&mut tape, "dy".into(), shape, Fill::Normal(1.0), 77);
            tape.backward(outputs[0], dy);
            tape.backward(outputs[0], dy);
            for (number, &x) in watched.iter().enumerate() {
                let Some(dx) = tape.gradient(x) else {
                    panic!("{:?} gives no gradient to its differentiable input {number}", case.op)
                };
                outputs.push(dx);
            }
        }
        outputs.extend(case.op.updates().iter().map(|&i| inputs[i]));
        for (name, words) in &contents {
            memory.require(gpu, name, (words.len() as u64 * 4).next_multiple_of(16))?;
            memory.write(gpu, name, 0, words)?;
        }
        let checker = Checker::new(gpu, &tape, &mut memory, STEP)?;
        if let Err(mismatch) = checker.check(|_, _| ())? {
            return Ok(Err(mismatch));
        }
        results.push(outputs.iter().map(|&x| checker.bits(x)).collect::<Result<_>>()?);
    }
    if results[0] != results[1] {
        let what = "two runs differ in their bits".into();
        let operator = format!("{:?} of {:?}", case.op, case.inputs);
        return Ok(Err(Mismatch { operator, kernels: case.op.name().into(), what }));
    }
    Ok(Ok(()))
}

/// The device's words of a test input, the same for the same seed.
pub fn words(shape: Shape, fill: Fill, seed: u64) -> Vec<u32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def0;
    let mut word = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    };
    let mut uniform = move || (f64::from(word()) + 0.5) / 4_294_967_296.0;
    let normal = |uniform: &mut dyn FnMut() -> f64| (-2.0 * uniform().ln()).sqrt() * (TAU * uniform()).cos();
    let mut element = || match fill {
        Fill::Normal(scale) => (normal(&mut uniform) as f32 * scale).to_bits(),
        Fill::Kinked => {
            let x = normal(&mut uniform) as f32;
            (x + 0.01f32.copysign(x)).to_bits()
        }
        Fill::Uniform(low, high) => (low + (high - low) * uniform() as f32).to_bits(),
        Fill::Below(bound) => (uniform() * f64::from(bound)) as u32,
        Fill::Words => (uniform() * 4_294_967_296.0) as u32,
    };
    (0..shape.len()).map(|_| element()).collect()
}
