//! What an operator is to the tape, and what it offers to tests and benches.

use super::array::Array;
use super::record::{Tape, Tensor};
use super::shape::Shape;
use super::step::Step;
use std::fmt::Debug;
use std::rc::Rc;

/// An operator: shape rule, kernels forward and backward, and the f64 reference that specifies it.
pub trait Op: Debug {
    /// Shapes of the results; `Err` says which rule of the operator the inputs break.
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String>;

    /// Numbers of the inputs that the operator overwrites, for those that update state in place (Adam, running statistics, a sampler).
    fn updates(&self) -> &'static [usize] {
        &[]
    }

    /// Emits the forward calls, and returns what backward needs besides inputs and outputs.
    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor>;

    /// Whether gradients flow through.
    fn differentiable(&self) -> bool {
        true
    }

    /// Numbers of the inputs that are constants of a differentiable operator: no gradient flows to them.
    fn constants(&self) -> &'static [usize] {
        &[]
    }

    /// Emits the calls that turn `dy`, the gradient of the first output, into gradients of the inputs, each through [`Tape::grad`].
    fn backward(&self, _t: &mut Tape, _node: &Node, _dy: Tensor) {
        unreachable!("{self:?} is not differentiable");
    }

    /// The specification: outputs, then the new values of the inputs named by [`Op::updates`], from plain loops in f64.
    fn reference(&self, x: &[Array], step: &Step) -> Vec<Array>;

    /// Whether it is linear but for kinks, as a maximum is: at a kink every slope between those of the two sides is a gradient.
    fn piecewise_linear(&self) -> bool {
        false
    }

    /// Number of terms in the longest sum that a result or a gradient goes through: what the tolerance is computed from.
    fn terms(&self, inputs: &[Shape]) -> usize;

    /// Floating-point operations of the forward calls, counted as the field does (a multiply-add is two).
    fn flops(&self, inputs: &[Shape]) -> u64;
}

/// An operator applied to tensors: a place in the record.
#[derive(Clone, Debug)]
pub struct Node {
    /// The operator.
    pub op: Rc<dyn Op>,
    /// Its inputs.
    pub inputs: Vec<Tensor>,
    /// Its results.
    pub outputs: Vec<Tensor>,
    /// What it saved for backward.
    pub saved: Vec<Tensor>,
}

/// What an input of a test case is filled with. All values are exactly representable in f32.
#[derive(Clone, Copy, Debug)]
pub enum Fill {
    /// Normal numbers times a scale.
    Normal(f32),
    /// Normal numbers times a scale, every second one replaced by zero.
    Alternating(f32),
    /// Normal numbers moved away from zero by a margin, for functions with a kink there.
    Kinked,
    /// Numbers in [-2, 2) of which no two among the first 65,536 are nearer than 2^-14, for functions with a kink where two are equal.
    Distinct,
    /// Uniform in [low, high).
    Uniform(f32, f32),
    /// Integers below a bound.
    Below(u32),
    /// Any 32-bit words.
    Words,
    /// Rising numbers in (0, 1): a cumulative distribution.
    Rising,
}

/// An operator with inputs to try it on.
#[derive(Clone, Debug)]
pub struct Case {
    /// The operator.
    pub op: Rc<dyn Op>,
    /// Shape and content of each input.
    pub inputs: Vec<(Shape, Fill)>,
}

/// What an operator's file offers to tests, benches and the README's table.
pub struct Operator {
    /// Its formula in one line, for the table of operators.
    pub formula: &'static str,
    /// A case drawn from all that the operator allows; smaller draws give smaller cases.
    pub case: fn(&mut Draw) -> Case,
    /// The shapes at which the U-Net uses it (batch 64), for the bench.
    pub bench: fn() -> Vec<Case>,
}

/// A source of choices for test cases, driven by a property test (which shrinks them) or by a seed.
pub struct Draw {
    choices: Vec<u32>,
    next: usize,
}

impl Draw {
    /// Choices from a list; zeros after its end.
    pub fn new(choices: Vec<u32>) -> Draw {
        Draw { choices, next: 0 }
    }

    /// A number in `low..=high`; low when the choices are used up.
    pub fn range(&mut self, low: u32, high: u32) -> u32 {
        let choice = self.choices.get(self.next).copied().unwrap_or(0);
        self.next += 1;
        low + choice % (high - low + 1)
    }

    /// One of the options; the first when the choices are used up.
    pub fn one_of<T: Clone>(&mut self, options: &[T]) -> T {
        options[self.range(0, options.len() as u32 - 1) as usize].clone()
    }

    /// True or false; false when the choices are used up.
    pub fn flag(&mut self) -> bool {
        self.range(0, 1) == 1
    }
}
