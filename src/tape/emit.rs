//! Kernel calls as operators emit them: a kernel's face becomes a call of the record.

use super::record::{Call, Storage, Tape, Tensor};
use crate::gpu::{Access, Entry, MAX_WORKGROUPS};

/// A kernel with its operands and constants, before it has a place in a grid: what the faces of `build.rs` make.
pub struct Dispatch {
    /// The entry point.
    pub entry: &'static Entry,
    /// One tensor for each of its bindings.
    pub operands: Vec<Tensor>,
    /// One value for each of its constants.
    pub constants: Vec<f64>,
    /// The words of its uniform `dims`.
    pub dims: Vec<u32>,
}

/// The face of an entry point.
pub trait Kernel {
    /// The call that the face describes.
    fn call(&self) -> Dispatch;
}

impl Tape {
    /// Records a call of `groups` workgroups (folded into two dimensions if more than 65,535) that does `flops` operations.
    ///
    /// # Panics
    /// If an operand that is written lies in one buffer with one that is read: devices refuse to bind that.
    #[track_caller]
    pub fn emit(&mut self, kernel: impl Kernel, groups: u32, flops: u64) {
        let folded = if groups <= MAX_WORKGROUPS {
            [groups, 1, 1]
        } else {
            [MAX_WORKGROUPS, groups.div_ceil(MAX_WORKGROUPS), 1]
        };
        self.emit_grid(kernel, folded, flops);
    }

    /// [`Tape::emit`] for elementwise kernels: as many workgroups as cover `invocations`.
    ///
    /// # Panics
    /// As [`Tape::emit`].
    #[track_caller]
    pub fn emit_flat(&mut self, kernel: impl Kernel, invocations: u32, flops: u64) {
        let size = kernel.call().entry.workgroup_size[0];
        self.emit(kernel, invocations.div_ceil(size), flops);
    }

    /// [`Tape::emit`] with a grid of three dimensions, none over 65,535.
    ///
    /// # Panics
    /// As [`Tape::emit`], and for a dimension that is zero or over 65,535.
    #[track_caller]
    pub fn emit_grid(&mut self, kernel: impl Kernel, groups: [u32; 3], flops: u64) {
        let dispatch = kernel.call();
        let label = dispatch.entry.label;
        assert!(groups.iter().all(|g| (1..=MAX_WORKGROUPS).contains(g)), "{label}: a grid of {groups:?} workgroups");
        self.assert_hazard_free(&dispatch);
        let backward = self.gradients.active;
        let node = self.gradients.node.unwrap_or(self.nodes.len().saturating_sub(1));
        self.calls.push(Call { dispatch, groups, flops, node, backward });
    }

    /// A device refuses to bind a buffer as read and as written in one call; named memory at different offsets is one buffer.
    #[track_caller]
    fn assert_hazard_free(&self, dispatch: &Dispatch) {
        let operands: Vec<_> = dispatch.operands.iter().zip(dispatch.entry.bindings).collect();
        for (a, written) in operands.iter().filter(|(_, b)| b.access != Access::Read) {
            for (b, read) in operands.iter().filter(|(_, b)| b.access == Access::Read) {
                let label = dispatch.entry.label;
                assert!(
                    !self.same_buffer(**a, **b),
                    "{label}: `{}` and `{}` lie in one buffer",
                    written.name,
                    read.name
                );
            }
        }
    }

    fn same_buffer(&self, a: Tensor, b: Tensor) -> bool {
        let (a, b) = (self.root(a), self.root(b));
        match (&self.tensors[a.0 as usize].storage, &self.tensors[b.0 as usize].storage) {
            (Storage::Named { name: a, .. }, Storage::Named { name: b, .. }) => a == b,
            _ => a == b,
        }
    }
}
