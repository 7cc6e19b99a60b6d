//! Looks up rows of a table: embeddings of class labels, and features of timesteps.
//!
//! `y[b] = table[index[b]]`, with `index` u32 `[B]`, `table` `[N, E]` and y `[B, E]`. An index of N
//! or more takes the last row. Differentiable in `table`.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::embedding;
//!
//! let labels = t.named("labels", Shape::u32([64]));
//! let table = t.named("table", Shape::f32([11, 128]));
//! let y = embedding(t, labels, table);
//! assert_eq!(t.shape(y), Shape::f32([64, 128]));
//! ```

use super::kernels::embedding::{BACKWARD, Backward, Forward};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Node, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct EmbeddingOp;

/// Rows `index` u32 `[B]` of `table` `[N, E]`: `[B, E]`.
#[track_caller]
pub fn embedding(t: &mut Tape, index: Tensor, table: Tensor) -> Tensor {
    t.apply1(EmbeddingOp, &[index, table])
}

impl Op for EmbeddingOp {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let rule = "takes an index u32[B] and a table [N, E]";
        let [index, table] = inputs else { return Err(rule.into()) };
        match (index.dims(), index.dtype, table.dims(), table.dtype) {
            (&[batch], Dtype::U32, &[_, width], Dtype::F32) => Ok(vec![Shape::f32([batch, width])]),
            _ => Err(rule.into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let [rows, width] = t.shape(x[1]).as_array();
        let [batch] = t.shape(x[0]).as_array();
        t.emit_flat(Forward { index: x[0], table: x[1], y: y[0], rows, width, batch }, batch * width, 0);
        t.moves(x[1], 4 * u64::from(batch * width));
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let (index, table) = (node.inputs[0], node.inputs[1]);
        let [rows, width] = t.shape(table).as_array();
        let [batch] = t.shape(index).as_array();
        let groups = rows * width.div_ceil(BACKWARD.workgroup_size[0]);
        t.grad(table, |t, dtable, add| {
            let kernel = Backward { index, dy, dtable, add, rows, width, batch };
            t.emit(kernel, groups, u64::from(batch) * u64::from(width));
        });
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let ([batch], [rows, width]) = (x[0].shape.as_array(), x[1].shape.as_array());
        let width_of_row = width as usize;
        vec![Array::from_fn(Shape::f32([batch, width]), |i| {
            let row = (x[0].data[i / width_of_row] as usize).min(rows as usize - 1);
            x[1].data[row * width_of_row + i % width_of_row]
        })]
    }

    fn terms(&self, inputs: &[Shape]) -> usize {
        inputs[0].len()
    }

    fn flops(&self, _: &[Shape]) -> u64 {
        0
    }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "y[b] = table[index[b]]",
    case: |draw: &mut Choices| {
        let batch = draw.range(1, 40);
        let rows = draw.range(1, 14);
        let width = draw.range(1, 140);
        let index = (Shape::u32([batch]), Fill::Below(rows + 2)); // two past the end
        Case { op: Rc::new(EmbeddingOp), inputs: vec![index, (Shape::f32([rows, width]), Fill::Normal(1.0))] }
    },
    // Rows of exactly one and two workgroups.
    edge: || {
        let case = |width| {
            let inputs = vec![(Shape::u32([9]), Fill::Below(5)), (Shape::f32([4, width]), Fill::Normal(1.0))];
            Case { op: Rc::new(EmbeddingOp), inputs }
        };
        vec![case(64), case(128)]
    },
    bench: || {
        let case = |rows| {
            let inputs = vec![(Shape::u32([64]), Fill::Below(rows)), (Shape::f32([rows, 128]), Fill::Normal(1.0))];
            Case { op: Rc::new(EmbeddingOp), inputs }
        };
        vec![case(11), case(1000)]
    },
};
