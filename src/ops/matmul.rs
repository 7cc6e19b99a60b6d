//! Matrix product, and the products with transposed factors that [`linear`](super::linear())
//! consists of.
//!
//! c = a b, with `a` `[M, K]`, `b` `[K, N]` and c `[M, N]`. Differentiable in both inputs.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::matmul;
//!
//! let a = t.named("a", Shape::f32([64, 128]));
//! let b = t.named("b", Shape::f32([128, 32]));
//! let c = matmul(t, a, b);
//! assert_eq!(t.shape(c), Shape::f32([64, 32]));
//! ```

use super::destination::Destination;
use super::kernels::{matmul, matmul_subgroup};
use super::rows::row_groups;
use crate::gpu::KernelVariant;
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Node, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct Matmul;

/// Product of `a` `[M, K]` and `b` `[K, N]`.
#[track_caller]
pub fn matmul(t: &mut Tape, a: Tensor, b: Tensor) -> Tensor {
    t.apply1(Matmul, &[a, b])
}

/// A factor of a product: a matrix in row-major storage, or its transpose.
#[derive(Clone, Copy)]
pub(super) enum Factor {
    /// As stored.
    Plain(Tensor),
    /// Rows and columns exchanged.
    Transposed(Tensor),
}

impl Factor {
    /// The tensor, the rows and columns of the matrix, and the strides between rows and columns.
    fn layout(self, t: &Tape) -> (Tensor, [u32; 2], [u32; 2]) {
        match self {
            Factor::Plain(x) => {
                let [rows, columns] = t.shape(x).as_array();
                (x, [rows, columns], [columns, 1])
            }
            Factor::Transposed(x) => {
                let [columns, rows] = t.shape(x).as_array();
                (x, [rows, columns], [1, rows])
            }
        }
    }
}

/// Emits c = a b, plus `shift` in each row.
pub(super) fn product(t: &mut Tape, a: Factor, b: Factor, shift: Option<Tensor>, destination: Destination) {
    let Destination { tensor: c, add } = destination;
    let (a_along_k, b_along_k) = (matches!(a, Factor::Plain(_)), matches!(b, Factor::Transposed(_)));
    let (a, [m, k], [a_row, a_column]) = a.layout(t);
    let (b, [_, n], [b_row, b_column]) = b.layout(t);
    let flops = 2 * u64::from(m) * u64::from(n) * u64::from(k);
    let lanes = t.target().lanes();
    if t.target().variant == KernelVariant::Subgroup && [m, n, k].iter().all(|size| size % 4 == 0) {
        let groups = row_groups(m, lanes);
        let grid = [n.div_ceil(4 * lanes), m.div_ceil(4 * groups), 1];
        match shift {
            Some(shift) => {
                let kernel =
                    matmul_subgroup::ProductShifted { a, b, shift, c, groups, add, a_along_k, b_along_k, m, n, k };
                t.emit_grid(kernel, grid, flops);
            }
            None => {
                let kernel = matmul_subgroup::Product { a, b, c, groups, add, a_along_k, b_along_k, m, n, k };
                t.emit_grid(kernel, grid, flops);
            }
        }
        return;
    }
    let grid = [n.div_ceil(matmul::TILE), m.div_ceil(matmul::TILE), 1];
    match shift {
        Some(shift) => {
            let kernel = matmul::ProductShifted { a, b, shift, c, add, m, n, k, a_row, a_column, b_row, b_column };
            t.emit_grid(kernel, grid, flops);
        }
        None => {
            let kernel = matmul::Product { a, b, c, add, m, n, k, a_row, a_column, b_row, b_column };
            t.emit_grid(kernel, grid, flops);
        }
    }
}

impl Op for Matmul {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match inputs {
            [a, b] => match (a.dims(), b.dims()) {
                (&[m, k], &[rows, n]) if k == rows => Ok(vec![Shape::f32([m, n])]),
                _ => Err("takes matrices [M,K] and [K,N]".into()),
            },
            _ => Err("takes two matrices".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        product(t, Factor::Plain(x[0]), Factor::Plain(x[1]), None, Destination::store(y[0]));
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let (a, b) = (node.inputs[0], node.inputs[1]);
        t.grad(a, |t, da, add| {
            product(t, Factor::Plain(dy), Factor::Transposed(b), None, Destination { tensor: da, add })
        });
        t.grad(b, |t, db, add| {
            product(t, Factor::Transposed(a), Factor::Plain(dy), None, Destination { tensor: db, add })
        });
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let [m, k] = x[0].shape.as_array();
        let [_, n] = x[1].shape.as_array();
        let (n, k) = (n as usize, k as usize);
        vec![Array::from_fn(Shape::f32([m, n as u32]), |i| {
            (0..k).map(|j| x[0].data[i / n * k + j] * x[1].data[j * n + i % n]).sum()
        })]
    }

    fn terms(&self, inputs: &[Shape]) -> usize {
        inputs.iter().flat_map(|s| s.dims()).copied().max().unwrap_or(1) as usize
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        2 * inputs[0].len() as u64 * u64::from(inputs[1].dims()[1])
    }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "c = a b",
    case: |draw: &mut Choices| {
        let unit = draw.one_of(&[1, 4]); // multiples of 4 use a separate kernel
        case(unit * draw.range(1, 20), unit * draw.range(1, 20), unit * draw.range(1, 20))
    },
    edge: Vec::new,
    bench: || vec![case(1024, 1024, 1024), case(64, 128, 512)],
};

fn case(m: u32, k: u32, n: u32) -> Case {
    let inputs = vec![(Shape::f32([m, k]), Fill::Normal(1.0)), (Shape::f32([k, n]), Fill::Normal(1.0))];
    Case { op: Rc::new(Matmul), inputs }
}
