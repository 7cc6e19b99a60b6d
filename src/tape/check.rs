//! Checks a program against the f64 references, operator by operator: what kernel tests and `--verify` both do.
//!
//! Forward results are compared element by element. Gradients are compared by central differences of the reference in f64, along a few dense
//! random directions and along single elements: sum(dx * v) against sum(dy * (f(x + h v) - f(x - h v))) / 2h. Inside a network an element may
//! lie at a kink of a piecewise linear operator (zeros under a maximum, after ReLU); there half the difference of the slopes on its two sides,
//! sum(|dy| * |f(x + h v) + f(x - h v) - 2 f(x)|) / 2h, is allowed as well, which is zero elsewhere.

use super::array::Array;
use super::memory_plan::PlanOptions;
use super::program::Program;
use super::record::{Section, Tape, Tensor};
use super::shape::{Dtype, Shape};
use super::step::Step;
use crate::Result;
use crate::gpu::Context;
use std::fmt;

/// Bytes around each tensor that no kernel may touch.
const GUARD: u64 = 256;
/// A NaN whose bits no kernel makes by chance: what slots are filled with.
pub const POISON: u32 = 0x7fc0_dead;

/// The allowed difference between a result in f32 and in f64: rounding errors of a sum of `terms` terms grow like its square root, and are
/// relative to the largest result `scale`. Eight units cover the few operations around the sum.
pub fn tolerance(terms: usize, scale: f64) -> f64 {
    f64::from(f32::EPSILON) * (8.0 + 2.0 * (terms as f64).sqrt()) * scale
}

/// Where a kernel and its reference part.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// Operator with its settings, and the shapes of its inputs.
    pub operator: String,
    /// Labels of the kernels of the section.
    pub kernels: String,
    /// What differs, and by how much.
    pub what: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  kernels: {}\n  {}", self.operator, self.kernels, self.what)
    }
}

/// A program whose every value stays readable, to be checked section by section.
pub struct Checker<'a> {
    ctx: &'a Context,
    tape: &'a Tape,
    program: Program,
    step: Step,
}

impl<'a> Checker<'a> {
    /// Compiles the tape with a guarded slot for each tensor, all filled with NaN.
    ///
    /// # Errors
    /// As [`Program::compile`]; without sharing of slots a program needs far more memory.
    pub fn new(ctx: &'a mut Context, tape: &'a Tape, step: Step) -> Result<Checker<'a>> {
        let options = PlanOptions { separate: true, guard: GUARD };
        let program = Program::compile_with(ctx, tape, options)?;
        program.fill_slots(ctx, POISON);
        Ok(Checker { ctx, tape, program, step })
    }

    /// Runs the sections one after another, comparing each with its reference; the first mismatch ends the check.
    /// `progress(done, all)` is called after each.
    ///
    /// # Errors
    /// The device's. A kernel that differs from its reference is the inner `Err`.
    pub fn check(&self, mut progress: impl FnMut(usize, usize)) -> Result<std::result::Result<(), Mismatch>> {
        let sections = self.tape.sections();
        for (number, section) in sections.iter().enumerate() {
            let found = if section.backward { self.check_backward(section)? } else { self.check_forward(section)? };
            if let Some(what) = found {
                return Ok(Err(self.mismatch(section, what)));
            }
            progress(number + 1, sections.len());
        }
        if let Err(x) = self.program.check_guards(self.ctx, self.tape, POISON)? {
            let section = sections
                .iter()
                .find(|s| self.tape.calls()[s.calls.clone()].iter().any(|c| c.dispatch.operands.contains(&x)));
            let what = format!("wrote beside a tensor of shape {}", self.tape.shape(x));
            return Ok(Err(self.mismatch(section.unwrap_or(&sections[0]), what)));
        }
        Ok(Ok(()))
    }

    /// Bits of a tensor after the check, to compare two runs.
    ///
    /// # Errors
    /// The device's.
    pub fn bits(&self, x: Tensor) -> Result<Vec<u32>> {
        self.program.read_words(self.ctx, self.tape, x)
    }

    fn mismatch(&self, section: &Section, what: String) -> Mismatch {
        let node = &self.tape.nodes()[section.node];
        let shapes: Vec<Shape> = node.inputs.iter().map(|&x| self.tape.shape(x)).collect();
        let kernels: Vec<&str> =
            self.tape.calls()[section.calls.clone()].iter().map(|call| call.dispatch.entry.label).collect();
        Mismatch { operator: format!("{:?} of {shapes:?}", node.op), kernels: kernels.join(", "), what }
    }

    fn read(&self, x: Tensor) -> Result<Array> {
        self.program.read(self.ctx, self.tape, x)
    }

    fn read_all(&self, tensors: &[Tensor]) -> Result<Vec<Array>> {
        tensors.iter().map(|&x| self.read(x)).collect()
    }

    fn run(&self, section: &Section) -> Result<()> {
        self.program.run_calls(self.ctx, section.calls.clone(), &self.step).map(|_| ())
    }

    fn check_forward(&self, section: &Section) -> Result<Option<String>> {
        let node = &self.tape.nodes()[section.node];
        let inputs = self.read_all(&node.inputs)?;
        self.run(section)?;
        let expected = node.op.reference(&inputs, &self.step);
        let updated = node.op.updates().iter().map(|&i| node.inputs[i]);
        let results: Vec<Tensor> = node.outputs.iter().copied().chain(updated).collect();
        assert_eq!(expected.len(), results.len(), "{:?}: the reference has another number of results", node.op);
        let terms = node.op.terms(&shapes(&inputs));
        for (number, (&result, expected)) in results.iter().zip(&expected).enumerate() {
            let got = self.read(result)?;
            if let Some(difference) = compare(&got, expected, terms) {
                return Ok(Some(format!("result {number}: {difference}")));
            }
        }
        Ok(None)
    }

    fn check_backward(&self, section: &Section) -> Result<Option<String>> {
        let node = &self.tape.nodes()[section.node];
        let Some(dy) = section.dy else { return Ok(None) };
        let inputs = self.read_all(&node.inputs)?;
        let dy = self.read(dy)?;
        let before: Vec<Option<Array>> = section
            .gradients
            .iter()
            .map(|&(_, dx, add)| add.then(|| self.read(dx)).transpose())
            .collect::<Result<_>>()?;
        self.run(section)?;
        let terms = node.op.terms(&shapes(&inputs));
        for (&(x, dx, _), before) in section.gradients.iter().zip(before) {
            let Some(number) = node.inputs.iter().position(|&input| input == x) else { continue };
            let mut dx = self.read(dx)?;
            let mut scale = dx.max_abs();
            if let Some(before) = before {
                dx.data.iter_mut().zip(&before.data).for_each(|(a, b)| *a -= b);
                scale = scale.max(before.max_abs());
            }
            let function = |x: &[Array]| node.op.reference(x, &self.step).swap_remove(0);
            let kinked = node.op.piecewise_linear();
            if let Some(what) = compare_gradient(function, &inputs, number, &dy, &dx, scale, terms, kinked) {
                return Ok(Some(format!("gradient of input {number} {}: {what}", inputs[number].shape)));
            }
        }
        Ok(None)
    }
}

fn shapes(arrays: &[Array]) -> Vec<Shape> {
    arrays.iter().map(|a| a.shape).collect()
}

fn compare(got: &Array, expected: &Array, terms: usize) -> Option<String> {
    assert_eq!(got.shape, expected.shape, "the reference has another shape");
    let allowed =
        if got.shape.dtype == Dtype::U32 { 0.0 } else { tolerance(terms, expected.max_abs().max(f64::MIN_POSITIVE)) };
    let worst = got.data.iter().zip(&expected.data).map(|(a, b)| (a - b).abs()).enumerate();
    // A NaN difference is worse than any number.
    let (at, difference) = worst.max_by(|a, b| {
        if a.1.is_nan() { f64::INFINITY } else { a.1 }.total_cmp(&if b.1.is_nan() { f64::INFINITY } else { b.1 })
    })?;
    (difference.is_nan() || difference > allowed).then(|| {
        format!(
            "element {at} of {} is {}, not {}: off by {difference:.3e}, allowed {allowed:.3e}",
            got.shape, got.data[at], expected.data[at]
        )
    })
}

#[allow(clippy::too_many_arguments)] // one comparison, of one place
fn compare_gradient(
    function: impl Fn(&[Array]) -> Array,
    inputs: &[Array],
    number: usize,
    dy: &Array,
    dx: &Array,
    scale: f64,
    terms: usize,
    kinked: bool,
) -> Option<String> {
    let here = kinked.then(|| function(inputs));
    let count = dx.data.len();
    let length = 1e-5 * inputs[number].max_abs().max(1e-3);
    for direction in directions(count) {
        let moved = |sign: f64| {
            let mut inputs = inputs.to_vec();
            inputs[number].data.iter_mut().zip(&direction).for_each(|(x, v)| *x += sign * length * v);
            function(&inputs)
        };
        let (up, down) = (moved(1.0), moved(-1.0));
        let slopes = up.data.iter().zip(&down.data).zip(&dy.data).map(|((u, d), g)| g * (u - d) / (2.0 * length));
        let (expected, squares) =
            slopes.fold((0.0, 0.0), |(sum, squares), slope| (sum + slope, squares + slope * slope));
        let got: f64 = dx.data.iter().zip(&direction).map(|(g, v)| g * v).sum();
        let norm = direction.iter().map(|v| v * v).sum::<f64>().sqrt();
        // Where the slopes cancel, their sum says nothing of the size of what was rounded: the root of their squares does.
        let bend = |here: &Array| {
            let sides = up.data.iter().zip(&down.data).zip(&here.data).map(|((u, d), x)| (u + d - 2.0 * x).abs());
            sides.zip(&dy.data).map(|(bend, g)| g.abs() * bend / (2.0 * length)).sum()
        };
        let allowed = tolerance(terms, (scale * norm).max(f64::sqrt(squares)).max(f64::MIN_POSITIVE))
            + here.as_ref().map_or(0.0, bend);
        let difference = (got - expected).abs();
        if difference.is_nan() || difference > allowed {
            let along = match direction.iter().filter(|&&v| v != 0.0).count() {
                1 => format!("element {}", direction.iter().position(|&v| v != 0.0).unwrap_or(0)),
                _ => "a random direction".into(),
            };
            return Some(format!(
                "along {along} it is {got}, not {expected}: off by {difference:.3e}, allowed {allowed:.3e}"
            ));
        }
    }
    None
}

/// Two dense directions and up to eight single elements, the first and the last among them.
fn directions(count: usize) -> Vec<Vec<f64>> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / (1u64 << 24) as f64
    };
    let mut all: Vec<Vec<f64>> = (0..2).map(|_| (0..count).map(|_| 2.0 * random() - 1.0).collect()).collect();
    let mut elements = vec![0, count - 1];
    elements.extend((0..6).map(|_| (random() * count as f64) as usize));
    elements.sort_unstable();
    elements.dedup();
    for element in elements {
        let mut direction = vec![0.0; count];
        direction[element] = 1.0;
        all.push(direction);
    }
    all
}
