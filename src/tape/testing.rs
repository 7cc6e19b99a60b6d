//! One operator tried alone: a program of one call, on inputs made from a seed.

use super::check::{Checker, Mismatch};
use super::op::{Case, Fill};
use super::record::{Tape, Tensor};
use super::shape::{Dtype, Shape};
use super::step::Step;
use crate::Result;
use crate::gpu::{Context, Target};
use std::f64::consts::TAU;

/// The step that cases run with.
pub const STEP: Step = Step {
    seed_low: 1234,
    seed_high: 99,
    index: 3,
    epoch: 2,
    position: 5,
    first_image: 7,
    learning_rate: 1e-2,
    first_correction: 3.5,
    second_correction: 30.0,
    ema_decay: 0.9,
    guidance: 2.0,
    reserved: 0.0,
};

/// A case on a tape: forward, and backward from a random gradient of its first output if it has gradients.
pub struct Trial {
    /// The record.
    pub tape: Tape,
    /// What the operator computes: its outputs, the gradients of its inputs, and the inputs it updates.
    pub results: Vec<Tensor>,
    /// Name of the memory, shape, content and seed of each input.
    inputs: Vec<(String, Shape, Fill, u64)>,
}

impl Case {
    /// Records the case for a kind of device, with `passes` backward passes: the first stores the gradients, later ones add to them.
    pub fn record(&self, target: Target, passes: usize) -> Trial {
        let mut tape = Tape::new(target);
        let mut inputs: Vec<_> =
            self.inputs.iter().zip(0u64..).map(|(&(s, fill), i)| (format!("input {i}"), s, fill, i)).collect();
        let given: Vec<Tensor> = inputs.iter().map(|(name, shape, ..)| tape.named(name, *shape)).collect();
        let differentiable = self.op.differentiable();
        let fixed = |i: &usize| self.op.constants().contains(i) || self.op.updates().contains(i);
        let watched: Vec<usize> =
            (0..given.len()).filter(|i| differentiable && !fixed(i) && self.inputs[*i].0.dtype == Dtype::F32).collect();
        watched.iter().for_each(|&i| tape.watch(given[i]));
        let mut results = tape.apply_shared(self.op.clone(), &given);
        if differentiable {
            let y = results[0];
            inputs.push(("dy".into(), tape.shape(y), Fill::Normal(1.0), 77));
            let dy = tape.named("dy", tape.shape(y));
            (0..passes).for_each(|_| tape.backward(y, dy));
            results.extend(watched.iter().map(|&i| match tape.gradient(given[i]) {
                Some(dx) => dx,
                None => panic!("{:?} gives no gradient to its differentiable input {i}", self.op),
            }));
        }
        results.extend(self.op.updates().iter().map(|&i| given[i]));
        Trial { tape, results, inputs }
    }
}

impl Trial {
    /// Makes the memory of the inputs and fills it.
    ///
    /// # Errors
    /// Out of memory.
    pub fn fill(&self, ctx: &mut Context) -> Result<()> {
        for (name, shape, fill, seed) in &self.inputs {
            ctx.require(name, shape.bytes())?;
            ctx.write(name, 0, &words(*shape, *fill, *seed))?;
        }
        Ok(())
    }
}

/// Runs a case forward, and twice backward from a random gradient of its first output (the first stores the gradients, the second adds to
/// them), on a device; checks it against its reference, and a second run against the first bit for bit.
///
/// # Errors
/// The device's; a mismatch is in the inner result.
pub fn check_case(ctx: &Context, case: &Case) -> Result<std::result::Result<(), Mismatch>> {
    let mut bits: Vec<Vec<Vec<u32>>> = Vec::new();
    for _ in 0..2 {
        let trial = case.record(ctx.target(), 2);
        let mut ctx = ctx.fork();
        trial.fill(&mut ctx)?;
        let checker = Checker::new(&mut ctx, &trial.tape, STEP)?;
        if let Err(mismatch) = checker.check(|_, _| ())? {
            return Ok(Err(mismatch));
        }
        bits.push(trial.results.iter().map(|&x| checker.bits(x)).collect::<Result<_>>()?);
    }
    if bits[0] != bits[1] {
        let what = "two runs differ in their bits".into();
        let operator = format!("{:?} of {:?}", case.op, case.inputs);
        let trial = case.record(ctx.target(), 2);
        let kernels: Vec<&str> = trial.tape.calls().iter().map(|call| call.dispatch.entry.label).collect();
        return Ok(Err(Mismatch { operator, kernels: kernels.join(", "), what }));
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
    // An odd factor and a shift that folds the upper half in: both invertible, so no two of 65,536 counts give the same.
    let scrambled = |count: u16| (count ^ (count >> 8)).wrapping_mul(0x9e3d);
    let element = |count: usize| match fill {
        Fill::Alternating(_) if count % 2 == 1 => 0,
        Fill::Normal(scale) | Fill::Alternating(scale) => (normal(&mut uniform) as f32 * scale).to_bits(),
        Fill::Kinked => {
            let x = normal(&mut uniform) as f32;
            (x + 0.01f32.copysign(x)).to_bits()
        }
        Fill::Distinct => {
            let count = scrambled(scrambled((count as u16).wrapping_add(seed as u16)));
            (f32::from(count) / 16_384.0 - 2.0).to_bits()
        }
        Fill::Uniform(low, high) => (low + (high - low) * uniform() as f32).to_bits(),
        Fill::Below(bound) => (uniform() * f64::from(bound)) as u32,
        Fill::Rising => ((count as f64 + 1.0 - uniform()) as f32 / shape.len() as f32).to_bits(),
        Fill::Words => (uniform() * 4_294_967_296.0) as u32,
    };
    (0..shape.len()).map(element).collect()
}
