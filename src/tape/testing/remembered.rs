//! An operator whose reference is computed once for each set of inputs. A case is compared in every form
//! of its kernels, and the references in f64 take most of the time of a comparison.

use super::case::Case;
use crate::tape::array::Array;
use crate::tape::op::{Node, Op};
use crate::tape::record::Tape;
use crate::tape::shape::Shape;
use crate::tape::step::Step;
use crate::tape::tensor::Tensor;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

/// Most numbers that the results of one case may take. Later results are computed again.
const MOST_NUMBERS: usize = 16 << 20;

struct Remembered {
    op: Rc<dyn Op>,
    memory: RefCell<Memory>,
    /// Factor of the operator's error of functions.
    error_factor: f64,
}

#[derive(Default)]
struct Memory {
    results: HashMap<u64, Vec<Array>>,
    numbers: usize,
}

impl Case {
    /// The case with an operator that keeps the results of its reference in memory. All comparisons with
    /// it must use the same step.
    pub fn remembered(self) -> Case {
        self.remembered_with_errors(1.0)
    }

    /// [`Case::remembered`] with `factor` times the operator's error of functions: for a device whose
    /// functions are less exact than WGSL allows.
    pub fn remembered_with_errors(self, factor: f64) -> Case {
        let op = Rc::new(Remembered { op: self.op, memory: RefCell::default(), error_factor: factor });
        Case { op, ..self }
    }
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.op.fmt(f)
    }
}

/// Hash of the inputs.
fn key(inputs: &[Array]) -> u64 {
    // The hash of the standard library takes a tenth of the time of a mutation run.
    let numbers = inputs.iter().flat_map(|input| &input.data);
    numbers.fold(0, |hash: u64, number| (hash.rotate_left(5) ^ number.to_bits()).wrapping_mul(0x517c_c1b7_2722_0a95))
}

impl Op for Remembered {
    fn reference(&self, x: &[Array], step: &Step) -> Vec<Array> {
        let key = key(x);
        if let Some(known) = self.memory.borrow().results.get(&key) {
            return known.clone();
        }
        let results = self.op.reference(x, step);
        let mut memory = self.memory.borrow_mut();
        let numbers = memory.numbers + results.iter().map(|array| array.data.len()).sum::<usize>();
        if numbers <= MOST_NUMBERS {
            memory.numbers = numbers;
            memory.results.insert(key, results.clone());
        }
        results
    }

    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        self.op.outputs(inputs)
    }

    fn updates(&self) -> &'static [usize] {
        self.op.updates()
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        self.op.forward(t, x, y)
    }

    fn differentiable(&self) -> bool {
        self.op.differentiable()
    }

    fn constants(&self) -> &'static [usize] {
        self.op.constants()
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        self.op.backward(t, node, dy);
    }

    fn piecewise_linear(&self) -> bool {
        self.op.piecewise_linear()
    }

    fn terms(&self, inputs: &[Shape]) -> usize {
        self.op.terms(inputs)
    }

    fn function_error(&self, inputs: &[Array]) -> f64 {
        self.error_factor * self.op.function_error(inputs)
    }

    fn gradient_scale(&self, inputs: &[Array], dy: &Array, input: usize) -> f64 {
        self.op.gradient_scale(inputs, dy, input)
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        self.op.flops(inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::testing::run::TEST_STEP;
    use std::cell::Cell;

    /// Twice the input. Counts the evaluations.
    #[derive(Debug, Default)]
    struct Twice {
        evaluations: Cell<usize>,
    }

    impl Op for Twice {
        fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
            Ok(inputs.to_vec())
        }

        fn forward(&self, _: &mut Tape, _: &[Tensor], _: &[Tensor]) -> Vec<Tensor> {
            vec![]
        }

        fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
            self.evaluations.set(self.evaluations.get() + 1);
            vec![Array { shape: x[0].shape, data: x[0].data.iter().map(|x| 2.0 * x).collect() }]
        }

        fn terms(&self, _: &[Shape]) -> usize {
            1
        }

        fn function_error(&self, _: &[Array]) -> f64 {
            3e-7
        }

        fn flops(&self, _: &[Shape]) -> u64 {
            0
        }
    }

    #[test]
    fn remembered_reference_is_computed_once_for_each_input() {
        let twice = Rc::new(Twice::default());
        let case = Case { op: twice.clone(), inputs: vec![] }.remembered();
        let of = |data: [f64; 2]| {
            let x = Array { shape: Shape::f32([2]), data: data.to_vec() };
            case.op.reference(&[x], &TEST_STEP).swap_remove(0).data
        };
        assert_eq!([of([1.0, 2.0]), of([2.0, 1.0]), of([1.0, 2.0])], [[2.0, 4.0], [4.0, 2.0], [2.0, 4.0]]);
        assert_eq!(twice.evaluations.get(), 2);
    }

    #[test]
    fn function_errors_count_several_times() {
        let case = Case { op: Rc::new(Twice::default()), inputs: vec![] };
        assert_eq!(case.clone().remembered().op.function_error(&[]), 3e-7);
        assert_eq!(case.remembered_with_errors(2.0).op.function_error(&[]), 6e-7);
    }
}
