//! Emission: operators append kernel calls to the tape.

use super::kernel::{Dispatch, Kernel};
use super::record::{Call, Tape};
use super::tensor::{Storage, Tensor};
use crate::gpu::{Access, MAX_WORKGROUPS};

impl Tape {
    /// Records a call of `groups` workgroups that does `flops` operations. More than 65,535
    /// workgroups are folded into two dimensions.
    ///
    /// # Panics
    /// If a written and a read operand are in one buffer, because devices cannot bind that.
    #[track_caller]
    pub fn emit(&mut self, kernel: impl Kernel, groups: u32, flops: u64) {
        let folded = if groups <= MAX_WORKGROUPS {
            [groups, 1, 1]
        } else {
            [MAX_WORKGROUPS, groups.div_ceil(MAX_WORKGROUPS), 1]
        };
        self.emit_grid(kernel, folded, flops);
    }

    /// [`Tape::emit`] for elementwise kernels: as many workgroups as `invocations` need.
    ///
    /// # Panics
    /// As [`Tape::emit`].
    #[track_caller]
    pub fn emit_flat(&mut self, kernel: impl Kernel, invocations: u32, flops: u64) {
        let size = kernel.call().entry.workgroup_size[0];
        self.emit(kernel, invocations.div_ceil(size), flops);
    }

    /// [`Tape::emit`] with a grid of three dimensions.
    ///
    /// A dimension over 65,535 makes [`Tape::check_size`] fail.
    ///
    /// # Panics
    /// As [`Tape::emit`]. Also if a dimension is zero.
    #[track_caller]
    pub fn emit_grid(&mut self, kernel: impl Kernel, groups: [u32; 3], flops: u64) {
        let dispatch = kernel.call();
        let label = dispatch.entry.label;
        assert!(!groups.contains(&0), "{label}: a grid of {groups:?} workgroups");
        if groups.iter().any(|&count| count > MAX_WORKGROUPS) {
            self.excess.get_or_insert_with(|| {
                format!("{label} needs a grid of {groups:?} workgroups, and devices allow {MAX_WORKGROUPS} in each dimension")
            });
        }
        self.assert_hazard_free(&dispatch);
        self.calls.push(Call { dispatch, groups, flops });
    }

    /// A device cannot bind one buffer as read and as written in one call, even at different
    /// offsets.
    #[track_caller]
    fn assert_hazard_free(&self, dispatch: &Dispatch) {
        let operands: Vec<_> = dispatch.operands.iter().zip(dispatch.entry.bindings).collect();
        for (a, written) in operands.iter().filter(|(_, b)| b.access != Access::Read) {
            for (b, read) in operands.iter().filter(|(_, b)| b.access == Access::Read) {
                let label = dispatch.entry.label;
                assert!(
                    !self.same_buffer(**a, **b),
                    "{label}: `{}` and `{}` are in one buffer",
                    written.name,
                    read.name
                );
            }
        }
    }

    fn same_buffer(&self, a: Tensor, b: Tensor) -> bool {
        match (&self.root_info(a).storage, &self.root_info(b).storage) {
            (Storage::Named(a), Storage::Named(b)) => a.buffer == b.buffer,
            _ => self.root(a) == self.root(b),
        }
    }
}
