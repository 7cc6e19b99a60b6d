//! The declarations of an operator for tests and benches.

use super::choices::Choices;
use super::fill::Fill;
use crate::tape::op::Op;
use crate::tape::shape::Shape;
use std::rc::Rc;

/// An operator with inputs for one test.
#[derive(Clone, Debug)]
pub struct Case {
    /// The operator.
    pub op: Rc<dyn Op>,
    /// Shape and content of each input.
    pub inputs: Vec<(Shape, Fill)>,
}

/// Declarations of an operator for tests, benches and the table of operators.
pub struct Operator {
    /// Its formula in one line, for the table of operators.
    pub formula: &'static str,
    /// Makes a case from arbitrary choices. Cases must reach everything that the operator allows,
    /// and smaller choices must give smaller cases.
    pub case: fn(&mut Choices) -> Case,
    /// Cases that random ones would miss; `Vec::new` if there are none.
    pub edge: fn() -> Vec<Case>,
    /// Cases with the shapes that the U-Net uses at batch 64, for the bench.
    pub bench: fn() -> Vec<Case>,
}
