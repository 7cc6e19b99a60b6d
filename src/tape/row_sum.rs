//! Sums of rows, as operators name them.

use super::tensor::Tensor;

/// A sum of rows: element j of the result is the sum of elements `from + r row + j step` over the
/// rows r.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowSum {
    /// Number of rows.
    pub rows: u32,
    /// Elements from one row to the next.
    pub row: u32,
    /// Elements from one element of the result to the next.
    pub step: u32,
    /// The first element.
    pub from: u32,
}

/// A sum of rows with its tensors.
#[derive(Clone, Copy, Debug)]
pub struct LateSum {
    /// What is added: a tensor of [`Tape::rows_to_sum`](super::Tape::rows_to_sum).
    pub parts: Tensor,
    /// How it is added.
    pub sum: RowSum,
    /// The result.
    pub result: Tensor,
    /// Whether the sum is added to the result instead of replacing it.
    pub add: bool,
}

/// The sums that a tape has not recorded yet.
#[derive(Default)]
pub(super) struct LateSums {
    /// Whether sums wait for the end of backward.
    pub wait: bool,
    /// The buffer of the rows, and its bytes so far.
    pub buffer: Option<(Tensor, u64)>,
    pub waiting: Vec<LateSum>,
}
