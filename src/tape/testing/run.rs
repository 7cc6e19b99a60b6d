//! A case on a tape, and its comparison with the reference.

use super::case::Case;
use super::fill::Fill;
use crate::Result;
use crate::gpu::{Context, KernelChoices, Target};
use crate::tape::inspect::{Details, Mismatch, Verifier};
use crate::tape::record::Tape;
use crate::tape::shape::{Dtype, Shape};
use crate::tape::step::Step;
use crate::tape::tensor::Tensor;
use std::rc::Rc;

/// The step that cases run with.
pub const TEST_STEP: Step = Step {
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
    sampler_pass: 4,
};

/// A case on a tape. If the operator is differentiable, backward starts from a random gradient of
/// its first output.
pub struct RecordedCase {
    /// The tape.
    pub tape: Tape,
    /// The results of the operator: its outputs, the gradients of its inputs, and the inputs it
    /// updates.
    pub results: Vec<Tensor>,
    inputs: Vec<Input>,
}

struct Input {
    /// Name of its buffer.
    name: String,
    shape: Shape,
    fill: Fill,
    seed: u64,
}

impl Case {
    /// Records the case with `passes` backward passes. The first stores the gradients, later ones
    /// add to them.
    pub fn record(&self, target: Target, passes: usize) -> RecordedCase {
        self.record_with(target, passes, Rc::default())
    }

    /// [`Case::record`] with these forms of kernels.
    pub fn record_with(&self, target: Target, passes: usize, choices: Rc<KernelChoices>) -> RecordedCase {
        let mut tape = Tape::new(target);
        tape.set_choices(choices);
        let describe = |(&(shape, fill), seed): (&(Shape, Fill), u64)| {
            let name = format!("input {seed}");
            Input { name, shape, fill, seed }
        };
        let mut inputs: Vec<Input> = self.inputs.iter().zip(0..).map(describe).collect();
        let given: Vec<Tensor> = inputs.iter().map(|input| tape.named(&input.name, input.shape)).collect();
        let differentiable = self.op.differentiable();
        let fixed = |i: &usize| self.op.constants().contains(i) || self.op.updates().contains(i);
        let watched: Vec<usize> =
            (0..given.len()).filter(|i| differentiable && !fixed(i) && self.inputs[*i].0.dtype == Dtype::F32).collect();
        watched.iter().for_each(|&i| tape.watch(given[i]));
        let mut results = tape.apply_shared(self.op.clone(), &given);
        if differentiable {
            let y = results[0];
            let shape = tape.shape(y);
            inputs.push(Input { name: "dy".into(), shape, fill: Fill::Normal(1.0), seed: 77 });
            let dy = tape.named("dy", shape);
            (0..passes).for_each(|_| tape.backward(y, dy));
            results.extend(watched.iter().map(|&i| match tape.gradient(given[i]) {
                Some(dx) => dx,
                None => panic!("{:?} gives no gradient to its differentiable input {i}", self.op),
            }));
        }
        results.extend(self.op.updates().iter().map(|&i| given[i]));
        RecordedCase { tape, results, inputs }
    }
}

impl RecordedCase {
    /// Makes and fills the named buffers of the inputs. The padding after floating-point numbers, which
    /// other kernels may write, is filled with NaN: no result may depend on it.
    pub fn fill(&self, ctx: &mut Context) -> Result<()> {
        self.fill_with(ctx, &self.values())
    }

    /// The words that [`RecordedCase::fill`] writes, for each input.
    pub fn values(&self) -> Vec<Vec<u32>> {
        let values = |Input { shape, fill, seed, .. }: &Input| {
            let mut words = fill.words(*shape, *seed);
            if shape.dtype == Dtype::F32 {
                words.resize(shape.bytes() as usize / 4, f32::NAN.to_bits());
            }
            words
        };
        self.inputs.iter().map(values).collect()
    }

    /// [`RecordedCase::fill`] with the values of another form of the same case.
    pub fn fill_with(&self, ctx: &mut Context, values: &[Vec<u32>]) -> Result<()> {
        for (Input { name, shape, .. }, words) in self.inputs.iter().zip(values) {
            ctx.require(name, shape.bytes())?;
            ctx.write(name, 0, words)?;
        }
        Ok(())
    }
}

impl Case {
    /// Choices that record the case in each form of its kernels: the first one has the first form of
    /// every class of work.
    pub fn forms(&self, target: Target) -> Vec<Rc<KernelChoices>> {
        forms(&self.record(target, 1).tape)
    }
}

/// Choices that record a tape again in each form of its kernels: the first one has the first form of
/// every class of work.
pub fn forms(recorded: &Tape) -> Vec<Rc<KernelChoices>> {
    let classes = || recorded.made_choices().iter().map(|choice| &choice.class);
    let most = classes().map(|class| class.forms.len()).max().unwrap_or(1);
    let forced = |number: usize| {
        let mut choices = KernelChoices::default();
        classes().for_each(|class| choices.insert(&class.name, class.forms[number.min(class.forms.len() - 1)]));
        Rc::new(choices)
    };
    (0..most).map(forced).collect()
}

/// Runs a case forward, and twice backward from a random gradient of its first output: the first
/// pass stores the gradients, the second adds to them. Compares the results with the reference, and
/// a second run with the first bit for bit. Does all this in each form of the kernels.
///
/// # Errors
/// The outer error is the device's. The inner one is a mismatch.
pub fn check_case(ctx: &Context, case: &Case) -> Result<std::result::Result<(), Mismatch>> {
    check_forms(ctx, &case.clone().remembered(), Details::Full)
}

/// [`check_case`] for a case that is checked often: a mismatch does not name the element of a gradient
/// that is wrong, which takes many evaluations of the reference. Give it a [`Case::remembered`] case.
///
/// # Errors
/// As [`check_case`].
pub fn check_case_briefly(ctx: &Context, case: &Case) -> Result<std::result::Result<(), Mismatch>> {
    check_forms(ctx, case, Details::Brief)
}

fn check_forms(ctx: &Context, case: &Case, details: Details) -> Result<std::result::Result<(), Mismatch>> {
    for choices in case.forms(ctx.target()) {
        if let Err(mismatch) = check_form(ctx, case, choices, details)? {
            return Ok(Err(mismatch));
        }
    }
    Ok(Ok(()))
}

/// [`check_case`] in one form of the kernels.
fn check_form(
    ctx: &Context,
    case: &Case,
    choices: Rc<KernelChoices>,
    details: Details,
) -> Result<std::result::Result<(), Mismatch>> {
    let mut bits: Vec<Vec<Vec<u32>>> = Vec::new();
    for _ in 0..2 {
        let recorded = case.record_with(ctx.target(), 2, choices.clone());
        let mut ctx = ctx.fork();
        recorded.fill(&mut ctx)?;
        let verifier = Verifier::new(&mut ctx, &recorded.tape, TEST_STEP)?.with_details(details);
        if let Err(mismatch) = verifier.verify(|_, _| ())? {
            return Ok(Err(Mismatch { operator: describe(case), ..mismatch }));
        }
        bits.push(recorded.results.iter().map(|&x| verifier.bits(x)).collect::<Result<_>>()?);
    }
    if bits[0] != bits[1] {
        let what = "two runs differ in their bits".into();
        let operator = describe(case);
        let recorded = case.record_with(ctx.target(), 2, choices);
        let kernels: Vec<&str> = recorded.tape.calls().iter().map(|call| call.dispatch.entry.label).collect();
        return Ok(Err(Mismatch { operator, kernels: kernels.join(", "), what }));
    }
    Ok(Ok(()))
}

/// The operator with its settings, and the shapes and contents of its inputs.
fn describe(case: &Case) -> String {
    format!("{:?} of {:?}", case.op, case.inputs)
}
