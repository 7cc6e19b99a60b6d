//! Sums of rows whose results nothing reads before the end of backward, such as the gradients of
//! weights of which kernels computed partial sums. A tape can compute them together in a few calls
//! at the end, instead of one small call for each: a GPU waits between two calls that depend on
//! each other.
//!
//! The rows of many sums are parts of one transient buffer, and so are the results.

use super::record::{EmitSums, Tape};
use super::row_sum::LateSum;
use super::shape::Shape;
use super::tensor::{Storage, Tensor};
use crate::gpu::OFFSET_ALIGNMENT;

/// Bytes of rows after which the sums are computed, because they take memory until then.
const MOST_BYTES: u64 = 64 << 20;

impl Tape {
    /// Computes sums of rows at the end of [`Tape::backward`] from now on. Until then the gradients
    /// that are such sums have no value, so the nodes of the tape cannot be verified one by one.
    pub fn sum_late(&mut self) {
        self.late_sums.wait = true;
    }

    /// Tensors for rows that [`Tape::sum_rows`] adds.
    pub fn rows_to_sum<const N: usize>(&mut self, shapes: [Shape; N]) -> [Tensor; N] {
        if !self.late_sums.wait {
            return shapes.map(|shape| self.transient(shape));
        }
        let mut open = self.late_sums.buffer.take();
        if open.is_some_and(|(_, bytes)| bytes >= MOST_BYTES) {
            self.record_sums();
            open = None;
        }
        let (buffer, mut end) = open.unwrap_or_else(|| (self.transient(Shape::f32([1])), 0));
        let parts = shapes.map(|shape| {
            let offset = end.next_multiple_of(OFFSET_ALIGNMENT);
            end = offset + shape.bytes();
            self.part(buffer, offset, shape)
        });
        self.tensors[buffer.0 as usize].shape = Shape::f32([(end / 4) as u32]);
        self.late_sums.buffer = Some((buffer, end));
        parts
    }

    /// Records sums by calls of `emit`, now or at the end of backward.
    pub fn sum_rows(&mut self, sums: &[LateSum], emit: EmitSums) {
        self.late_sums.waiting.extend(sums);
        self.emit_sums = Some(emit);
        if !self.late_sums.wait {
            self.record_sums();
        }
    }

    /// Records the sums that are waiting, if this gradient is one of them: it is now read or added
    /// to.
    pub(super) fn finish_gradient(&mut self, gradient: Tensor) {
        if self.late_sums.waiting.iter().any(|sum| self.same_place(sum.result, gradient)) {
            self.record_sums();
        }
    }

    /// Records all sums that are waiting, at the end of backward.
    pub(super) fn finish_sums(&mut self) {
        self.record_sums();
        self.late_sums.buffer = None;
    }

    /// Records the sums that are waiting.
    fn record_sums(&mut self) {
        let Some(emit) = self.emit_sums else { return };
        let mut waiting = std::mem::take(&mut self.late_sums.waiting);
        while let Some(&first) = waiting.first() {
            let (group, rest) = waiting.into_iter().partition(|sum| {
                self.root(sum.parts) == self.root(first.parts) && self.same_buffer(sum.result, first.result)
            });
            waiting = rest;
            let group: Vec<LateSum> = group;
            emit(self, &group);
        }
    }

    fn same_place(&self, a: Tensor, b: Tensor) -> bool {
        match (&self.root_info(a).storage, &self.root_info(b).storage) {
            (Storage::Named(a), Storage::Named(b)) => a == b,
            _ => self.root(a) == self.root(b),
        }
    }
}
