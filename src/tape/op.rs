//! The interface between the tape and operators.

use super::array::Array;
use super::record::Tape;
use super::shape::Shape;
use super::step::Step;
use super::tensor::Tensor;
use std::fmt::Debug;
use std::rc::Rc;

/// An operator: shape rule, kernels forward and backward, and the f64 reference that specifies it.
pub trait Op: Debug {
    /// Shapes of the results. `Err` holds the rule that the inputs break.
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String>;

    /// Indices of the inputs that the operator overwrites: Adam, running statistics and samplers
    /// update state in place.
    fn updates(&self) -> &'static [usize] {
        &[]
    }

    /// Emits the forward calls, and returns the tensors that backward needs in addition to inputs
    /// and outputs.
    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor>;

    /// Whether gradients flow through.
    fn differentiable(&self) -> bool {
        true
    }

    /// Indices of the inputs of a differentiable operator that are constants: they get no gradient.
    fn constants(&self) -> &'static [usize] {
        &[]
    }

    /// Emits the calls that compute the gradients of the inputs from `dy`, the gradient of the
    /// first output. Each is written through [`Tape::grad`].
    fn backward(&self, _t: &mut Tape, _node: &Node, _dy: Tensor) {
        unreachable!("{self:?} is not differentiable");
    }

    /// The specification: the outputs, then the new values of the inputs that [`Op::updates`]
    /// names, computed by plain loops in f64.
    fn reference(&self, x: &[Array], step: &Step) -> Vec<Array>;

    /// Whether it is piecewise linear, as a maximum is. Where two pieces meet, every slope between
    /// their two slopes is a valid gradient.
    fn piecewise_linear(&self) -> bool {
        false
    }

    /// Number of terms in the longest sum behind a result or a gradient. The tolerance of a
    /// comparison with the reference follows from it.
    fn terms(&self, inputs: &[Shape]) -> usize;

    /// Error that WGSL allows the functions behind a result or a gradient, in units in the last
    /// place of the largest result: the sum over the functions that follow each other
    /// (`src/tape/accuracy.rs`). `inputs` are those of the comparison. The tolerance of a
    /// comparison with the reference includes it.
    fn function_error(&self, _inputs: &[Array]) -> f64 {
        0.0
    }

    /// Largest magnitude of a term in the sums behind the gradient of an input, for gradients whose
    /// terms may cancel: the result then does not show how large the rounded numbers are. `dy` is
    /// the gradient of the first output. The tolerance of a comparison is relative to the larger of
    /// this and the gradient.
    fn gradient_scale(&self, _inputs: &[Array], _dy: &Array, _input: usize) -> f64 {
        0.0
    }

    /// Floating-point operations of the forward calls. A multiply-add counts as two.
    fn flops(&self, inputs: &[Shape]) -> u64;
}

/// An operator applied to tensors.
#[derive(Clone, Debug)]
pub struct Node {
    /// The operator.
    pub op: Rc<dyn Op>,
    /// Its inputs.
    pub inputs: Vec<Tensor>,
    /// Its results.
    pub outputs: Vec<Tensor>,
    /// Tensors that forward saved for backward.
    pub saved: Vec<Tensor>,
}
