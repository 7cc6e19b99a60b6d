//! The last step of gradients that are sums of partial sums: [`Tape::sum_rows`].

use super::kernels::prelude::common::FLAT;
use super::kernels::row_sums::Sum;
use crate::tape::{LateSum, Tape};

/// Records the sums, whose parts are in one buffer and whose results are in one buffer, as one
/// call.
pub(super) fn record(t: &mut Tape, sums: &[LateSum]) {
    let mut table = Vec::new();
    let mut invocations = 0;
    let [mut flops, mut read, mut moved] = [0; 3];
    let mut buffers = None;
    for LateSum { parts, sum, result, add } in sums {
        let size = t.shape(*result).len() as u32;
        let (buffer, first) = t.whole_buffer(*parts);
        let (results, to) = t.whole_buffer(*result);
        table.extend([invocations, size, sum.rows, sum.row]);
        table.extend([sum.step, first + sum.from, to, u32::from(*add)]);
        invocations += size.next_multiple_of(FLAT);
        flops += u64::from(sum.rows) * u64::from(size);
        read += 4 * u64::from(sum.rows) * u64::from(size);
        // The tape counts a result as read and written. One that is stored is not read, so half of
        // its bytes are counted.
        moved += if *add { 4 } else { 2 } * u64::from(size);
        let larger = |known: crate::tape::Tensor| t.shape(known).len() >= t.shape(results).len();
        buffers = match buffers {
            Some((parts, known)) if larger(known) => Some((parts, known)),
            _ => Some((buffer, results)),
        };
    }
    let Some((parts, result)) = buffers else { return };
    let table = t.constant(table);
    let kernel = Sum { parts, table, result, sums: sums.len() as u32, invocations };
    t.emit_flat(kernel, invocations, flops);
    t.moves(parts, read);
    t.moves(result, moved);
}
