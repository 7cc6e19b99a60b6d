//! Compares a program with the f64 references, operator by operator. The kernel tests and
//! `--verify` both use it.
//!
//! Forward results are compared element by element. Gradients are compared with central differences
//! of the reference in f64, along a few dense random directions and along single elements: sum(dx *
//! v) with sum(dy * (f(x + h v) - f(x - h v))) / 2h. Inside a network an element may be at a kink
//! of a piecewise linear operator (zeros under a maximum, after ReLU). There, half the difference
//! of the slopes on both sides is allowed as well, sum(|dy| * |f(x + h v) + f(x - h v) - 2 f(x)|) /
//! 2h, which is zero elsewhere.

use crate::Result;
use crate::gpu::Context;
use crate::tape::array::Array;
use crate::tape::memory_plan::PlanOptions;
use crate::tape::op::Node;
use crate::tape::program::Program;
use crate::tape::record::{BackwardSection, Section, Tape, WrittenGradient};
use crate::tape::shape::{Dtype, Shape};
use crate::tape::step::Step;
use crate::tape::tensor::Tensor;
use std::fmt;
use std::ops::Range;

/// Bytes around each tensor that no kernel may touch.
pub const GUARD: u64 = 256;
/// The pattern that transient buffers are filled with: a NaN whose bits no kernel produces by
/// chance. Their guards hold other NaNs.
pub const POISON: u32 = 0x7fc0_dead;

/// The allowed difference between a result in f32 and in f64. The rounding errors of a sum of
/// `terms` terms grow with the square root of `terms`, relative to the largest result `scale`.
/// Eight units cover the few operations around the sum. `functions` is the error of functions in
/// units in the last place ([`Op::function_error`](crate::tape::Op::function_error)).
pub fn tolerance(terms: usize, functions: f64, scale: f64) -> f64 {
    f64::from(f32::EPSILON) * (8.0 + 2.0 * (terms as f64).sqrt() + functions) * scale
}

/// A difference between a kernel and its reference.
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

/// What a mismatch says about a wrong gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Details {
    /// The difference along a direction, and the worst element. To find it takes many evaluations of the
    /// reference.
    Full,
    /// The difference along a direction.
    Brief,
}

/// Compares a tape's sections with their references, on a program whose values all stay readable.
pub struct Verifier<'a> {
    ctx: &'a Context,
    tape: &'a Tape,
    program: Program,
    step: Step,
    details: Details,
}

impl<'a> Verifier<'a> {
    /// Compiles the tape with a separate, guarded buffer for each tensor, filled with [`POISON`].
    ///
    /// # Errors
    /// As [`Program::compile`]. A program needs far more memory if tensors do not share buffers.
    pub fn new(ctx: &'a mut Context, tape: &'a Tape, step: Step) -> Result<Verifier<'a>> {
        let options = PlanOptions { separate: true, guard: GUARD };
        let program = Program::compile_with(ctx, tape, options)?;
        program.fill_slots(ctx, tape, POISON);
        Ok(Verifier { ctx, tape, program, step, details: Details::Full })
    }

    /// The same with these details in mismatches.
    pub fn with_details(self, details: Details) -> Verifier<'a> {
        Verifier { details, ..self }
    }

    /// Runs the sections one after another and compares each with its reference, until the first
    /// mismatch. Calls `progress(done, all)` after each section.
    ///
    /// # Errors
    /// The outer error is the device's. The inner one is a kernel that differs from its reference.
    pub fn verify(&self, mut progress: impl FnMut(usize, usize)) -> Result<std::result::Result<(), Mismatch>> {
        let sections = self.tape.sections();
        for (number, section) in sections.iter().enumerate() {
            let found = match &section.backward {
                Some(backward) => self.verify_backward(section, backward)?,
                None => self.verify_forward(section)?,
            };
            if let Some(what) = found {
                return Ok(Err(self.mismatch(section, what)));
            }
            progress(number + 1, sections.len());
        }
        if let Some(x) = self.program.find_broken_guard(self.ctx, self.tape)? {
            let section = sections
                .iter()
                .find(|s| self.tape.calls()[s.calls.clone()].iter().any(|c| c.dispatch.operands.contains(&x)));
            let what = format!("wrote outside a tensor of shape {}", self.tape.shape(x));
            return Ok(Err(self.mismatch(section.unwrap_or(&sections[0]), what)));
        }
        Ok(Ok(()))
    }

    /// The bits of a tensor after the run, to compare two runs.
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

    fn verify_forward(&self, section: &Section) -> Result<Option<String>> {
        let node = &self.tape.nodes()[section.node];
        let inputs = self.read_all(&node.inputs)?;
        self.run(section)?;
        let expected = node.op.reference(&inputs, &self.step);
        let updated = node.op.updates().iter().map(|&i| node.inputs[i]);
        let results: Vec<Tensor> = node.outputs.iter().copied().chain(updated).collect();
        assert_eq!(expected.len(), results.len(), "{:?}: the reference has another number of results", node.op);
        let terms = node.op.terms(&shapes(&inputs));
        let functions = node.op.function_error(&inputs);
        for (number, (&result, expected)) in results.iter().zip(&expected).enumerate() {
            let got = self.read(result)?;
            if let Some(difference) = compare(&got, expected, |scale| tolerance(terms, functions, scale)) {
                return Ok(Some(format!("result {number}: {difference}")));
            }
        }
        Ok(None)
    }

    fn verify_backward(&self, section: &Section, backward: &BackwardSection) -> Result<Option<String>> {
        let node = &self.tape.nodes()[section.node];
        let inputs = self.read_all(&node.inputs)?;
        let dy = self.read(backward.dy)?;
        let read_before = |written: &WrittenGradient| written.add.then(|| self.read(written.dx)).transpose();
        let before: Vec<Option<Array>> = backward.written.iter().map(read_before).collect::<Result<_>>()?;
        self.run(section)?;
        let terms = node.op.terms(&shapes(&inputs));
        let functions = node.op.function_error(&inputs);
        let reference = GradientReference {
            node,
            step: &self.step,
            inputs: &inputs,
            dy: &dy,
            terms,
            functions,
            details: self.details,
        };
        for (&WrittenGradient { x, dx, .. }, before) in backward.written.iter().zip(before) {
            let Some(input) = node.inputs.iter().position(|&input| input == x) else { continue };
            let mut dx = self.read(dx)?;
            let mut scale = dx.max_abs().max(node.op.gradient_scale(&inputs, &dy, input));
            if let Some(before) = before {
                dx.data.iter_mut().zip(&before.data).for_each(|(a, b)| *a -= b);
                scale = scale.max(before.max_abs());
            }
            if let Some(what) = reference.compare(input, &dx, scale) {
                return Ok(Some(format!("gradient of input {input} {}: {what}", inputs[input].shape)));
            }
        }
        Ok(None)
    }
}

fn shapes(arrays: &[Array]) -> Vec<Shape> {
    arrays.iter().map(|a| a.shape).collect()
}

/// A number that is not finite is right where the reference has the same, except [`POISON`], which was not
/// written. The tolerance follows from the finite numbers.
fn compare(got: &Array, expected: &Array, tolerance: impl Fn(f64) -> f64) -> Option<String> {
    assert_eq!(got.shape, expected.shape, "the reference has another shape");
    let largest = expected.data.iter().filter(|x| x.is_finite()).fold(0.0, |m: f64, x| m.max(x.abs()));
    let allowed = if got.shape.dtype == Dtype::U32 { 0.0 } else { tolerance(largest.max(f64::MIN_POSITIVE)) };
    let difference = |(a, b): (&f64, &f64)| {
        let written = (*a as f32).to_bits() != POISON;
        if !b.is_finite() && written && (a == b || a.is_nan() && b.is_nan()) { 0.0 } else { (a - b).abs() }
    };
    let differences = got.data.iter().zip(&expected.data).map(difference).enumerate();
    let (at, difference) = differences.max_by(|a, b| or_infinite(a.1).total_cmp(&or_infinite(b.1)))?;
    (difference.is_nan() || difference > allowed).then(|| {
        format!(
            "element {at} of {}: kernel {}, reference {}, off by {difference:.3e}, allowed {allowed:.3e}",
            got.shape, got.data[at], expected.data[at]
        )
    })
}

/// The gradients of a node by central differences of its reference.
struct GradientReference<'a> {
    node: &'a Node,
    step: &'a Step,
    inputs: &'a [Array],
    /// Gradient of the first output.
    dy: &'a Array,
    /// Number of terms of the longest sum behind a gradient.
    terms: usize,
    /// Error of the functions behind a gradient, in units in the last place.
    functions: f64,
    details: Details,
}

impl GradientReference<'_> {
    fn output(&self, inputs: &[Array]) -> Array {
        self.node.op.reference(inputs, self.step).swap_remove(0)
    }

    /// Compares `dx`, the gradient of an input. `scale` is the largest magnitude that was rounded.
    fn compare(&self, input: usize, dx: &Array, scale: f64) -> Option<String> {
        let here = self.node.op.piecewise_linear().then(|| self.output(self.inputs));
        let probe = Probe { input, dx, scale, length: 1e-5 * spread(&self.inputs[input]), here };
        for direction in directions(dx.data.len()) {
            let found = self.along(&probe, &direction);
            if found.is_wrong() {
                let mut moved = direction.iter().enumerate().filter(|&(_, &v)| v != 0.0).map(|(element, _)| element);
                return Some(match (moved.next(), moved.next()) {
                    (Some(element), None) => self.describe_element(&probe, element),
                    _ if self.details == Details::Brief => format!("along a random direction: {found}"),
                    _ => {
                        let worst = self.describe_element(&probe, self.find_wrong_element(&probe, direction));
                        format!("along a random direction: {found}\n  the worst element found: {worst}")
                    }
                });
            }
        }
        None
    }

    /// The derivative along a direction.
    fn along(&self, probe: &Probe<'_>, direction: &[f64]) -> Slopes {
        let &Probe { input, dx, scale, length, ref here } = probe;
        let dy = &self.dy.data;
        let moved = |sign: f64| {
            let mut inputs = self.inputs.to_vec();
            inputs[input].data.iter_mut().zip(direction).for_each(|(x, v)| *x += sign * length * v);
            self.output(&inputs)
        };
        let up = moved(1.0);
        let down = moved(-1.0);
        let slopes = up.data.iter().zip(&down.data).zip(dy).map(|((u, d), g)| g * (u - d) / (2.0 * length));
        let (reference, squares) =
            slopes.fold((0.0, 0.0), |(sum, squares), slope| (sum + slope, squares + slope * slope));
        let kernel: f64 = dx.data.iter().zip(direction).map(|(g, v)| g * v).sum();
        let norm = direction.iter().map(|v| v * v).sum::<f64>().sqrt();
        let bend = |here: &Array| {
            let sides = up.data.iter().zip(&down.data).zip(&here.data).map(|((u, d), x)| (u + d - 2.0 * x).abs());
            sides.zip(dy).map(|(bend, g)| g.abs() * bend / (2.0 * length)).sum()
        };
        // Where slopes cancel, their sum does not show the size of the rounded numbers. The root of
        // their squares does.
        let allowed =
            tolerance(self.terms, self.functions, (scale * norm).max(f64::sqrt(squares)).max(f64::MIN_POSITIVE))
                + here.as_ref().map_or(0.0, bend);
        Slopes { kernel, reference, allowed }
    }

    /// An element whose derivative is wrong, for a direction along which the derivative is wrong.
    /// Halves the direction and follows the larger difference, because the reference is too slow
    /// for a comparison of every element.
    fn find_wrong_element(&self, probe: &Probe<'_>, mut direction: Vec<f64>) -> usize {
        let (mut start, mut end) = (0, direction.len());
        while end - start > 1 {
            let middle = start.midpoint(end);
            let half = |range: Range<usize>| {
                let mut half = vec![0.0; direction.len()];
                half[range.clone()].copy_from_slice(&direction[range]);
                half
            };
            let (low, high) = (half(start..middle), half(middle..end));
            let [below, above] = [&low, &high].map(|half| or_infinite(self.along(probe, half).difference()));
            if below >= above {
                (end, direction) = (middle, low);
            } else {
                (start, direction) = (middle, high);
            }
        }
        start
    }

    fn describe_element(&self, probe: &Probe<'_>, element: usize) -> String {
        let mut direction = vec![0.0; probe.dx.data.len()];
        direction[element] = 1.0;
        let value = self.inputs[probe.input].data[element];
        format!("element {element} (its input is {value}): {}", self.along(probe, &direction))
    }
}

/// What the derivatives of one input are computed from.
struct Probe<'a> {
    input: usize,
    /// The gradient that the kernel computed.
    dx: &'a Array,
    /// Largest magnitude that was rounded.
    scale: f64,
    /// Step of the central differences.
    length: f64,
    /// The output at the inputs, for piecewise linear operators.
    here: Option<Array>,
}

/// A derivative along a direction: the kernel's and the reference's.
struct Slopes {
    kernel: f64,
    reference: f64,
    allowed: f64,
}

impl Slopes {
    fn difference(&self) -> f64 {
        (self.kernel - self.reference).abs()
    }

    fn is_wrong(&self) -> bool {
        let difference = self.difference();
        difference.is_nan() || difference > self.allowed
    }
}

impl fmt::Display for Slopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Slopes { kernel, reference, allowed } = self;
        write!(f, "kernel {kernel}, reference {reference}, off by {:.3e}, allowed {allowed:.3e}", self.difference())
    }
}

fn or_infinite(difference: f64) -> f64 {
    if difference.is_nan() { f64::INFINITY } else { difference }
}

/// Largest distance from the mean. The step of a central difference is relative to it, because
/// inputs far from zero may be close to each other. It has a minimum, so that the rounding of the
/// inputs does not matter.
fn spread(x: &Array) -> f64 {
    let mean = x.data.iter().sum::<f64>() / x.data.len() as f64;
    let distance = x.data.iter().map(|x| (x - mean).abs()).fold(0.0, f64::max);
    distance.max(1e-4 * x.max_abs()).max(1e-3)
}

/// Two dense directions and up to eight single elements, including the first and the last.
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
