//! Emission: operators append kernel calls to the tape.

use super::kernel::{Dispatch, Kernel};
use super::record::{Call, Tape};
use super::shape::Dtype;
use super::step::FLAT;
use super::tensor::{Storage, Tensor};
use crate::gpu::{Access, Entry, MAX_WORKGROUPS};

impl Tape {
    /// Records a call of `groups` workgroups that does `flops` operations. More than 65,535
    /// workgroups are folded into two dimensions.
    ///
    /// # Panics
    /// If a written and a read operand are in one buffer, because devices cannot bind that. If the
    /// grid is folded and the kernel does not compare its index with a count, because a folded grid
    /// has workgroups past the end.
    #[track_caller]
    pub fn emit(&mut self, kernel: impl Kernel, groups: u32, flops: u64) {
        self.emit_folded(kernel, [groups, 1], flops);
    }

    /// [`Tape::emit`] with `[groups, depth]` workgroups, of which the first dimension is folded
    /// into the first two of the grid.
    ///
    /// # Panics
    /// As [`Tape::emit`].
    #[track_caller]
    pub fn emit_folded(&mut self, kernel: impl Kernel, [groups, depth]: [u32; 2], flops: u64) {
        let [x, y] = self.target().fold(groups);
        let Entry { label, folds, .. } = *kernel.call().entry;
        assert!(y == 1 || folds, "{label} compares no index with a count, so its grid of {groups} cannot be folded");
        self.emit_grid(kernel, [x, y, depth], flops);
    }

    /// [`Tape::emit`] for elementwise kernels: as many workgroups as `invocations` need.
    ///
    /// # Panics
    /// As [`Tape::emit`]. Also if the kernel's workgroups do not have the size of elementwise ones:
    /// the size of others depends on the target.
    #[track_caller]
    pub fn emit_flat(&mut self, kernel: impl Kernel, invocations: u32, flops: u64) {
        let Entry { label, workgroup_size, .. } = *kernel.call().entry;
        assert_eq!(workgroup_size, [FLAT, 1, 1], "{label} is not elementwise: its workgroups have another size");
        self.emit(kernel, invocations.div_ceil(FLAT), flops);
    }

    /// [`Tape::emit`] with a grid of three dimensions.
    ///
    /// A dimension over 65,535 makes [`Tape::check_size`] fail.
    ///
    /// # Panics
    /// If a dimension is zero, or if an operand contains integers where the kernel reads f32.
    /// Also in the cases that [`Tape::emit`] lists.
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
        self.assert_types(&dispatch);
        self.calls.push(Call { dispatch, groups, flops, repeated: 0, moved: vec![] });
    }

    /// Says that the kernel of the last recorded call does these operations again, because it does not
    /// keep their results. They take time on the device, and are not a part of the FLOPs that are
    /// reported.
    ///
    /// # Panics
    /// If no call was recorded.
    #[track_caller]
    pub fn repeats(&mut self, flops: u64) {
        let Some(call) = self.calls.last_mut() else { panic!("no call was recorded") };
        call.repeated = flops;
    }

    /// Says that the last recorded call reads or writes only this many bytes of an operand, such as
    /// a few rows of a table. Other operands count as a whole.
    ///
    /// # Panics
    /// If the call has no such operand.
    #[track_caller]
    pub fn moves(&mut self, x: Tensor, bytes: u64) {
        let Some(call) = self.calls.last_mut() else { panic!("no call was recorded") };
        assert!(call.dispatch.operands.contains(&x), "{} has no such operand", call.dispatch.entry.label);
        call.moved.push((x, bytes));
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

    /// An operator that forgets to check the type of an input would compute with the bits of integers.
    #[track_caller]
    fn assert_types(&self, dispatch: &Dispatch) {
        for (&x, binding) in dispatch.operands.iter().zip(dispatch.entry.bindings) {
            let (label, name, shape) = (dispatch.entry.label, binding.name, self.shape(x));
            assert!(
                !binding.floats || shape.dtype == Dtype::F32,
                "{label}: `{name}` holds f32, and its operand is {shape}"
            );
        }
    }

    pub(super) fn same_buffer(&self, a: Tensor, b: Tensor) -> bool {
        match (&self.root_info(a).storage, &self.root_info(b).storage) {
            (Storage::Named(a), Storage::Named(b)) => a.buffer == b.buffer,
            _ => self.root(a) == self.root(b),
        }
    }
}
