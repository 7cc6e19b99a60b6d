//! Operators that read some columns of rows `[B, E]`, such as the part of a block in the
//! projections of the time embedding for all blocks.

use super::fill;
use crate::tape::{Shape, Tape, Tensor};

/// Whether `e` is `[B, E]` with `batch` rows and at least `count` columns.
pub(super) fn has_columns(e: Shape, batch: u32, count: u32) -> bool {
    matches!(*e.dims(), [rows, columns] if rows == batch && columns >= count)
}

/// Calls `write(t, de, add)` to write `count` columns of the gradient of `e` `[B, E]`, if it is
/// needed. If there are more columns, and no other operator has written the gradient yet, it is
/// filled with zeros first.
pub(super) fn grad_columns(t: &mut Tape, e: Tensor, count: u32, write: impl FnOnce(&mut Tape, Tensor, bool)) {
    let part = t.shape(e).dims()[1] > count;
    t.grad(e, |t, de, add| {
        if part && !add {
            fill::record(t, 0.0, de);
        }
        write(t, de, part || add);
    });
}
