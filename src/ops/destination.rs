//! Where a kernel writes.

use crate::tape::Tensor;

/// A tensor that a kernel writes, or adds to.
#[derive(Clone, Copy)]
pub(super) struct Destination {
    pub tensor: Tensor,
    /// Whether the result is added to what the tensor holds.
    pub add: bool,
}

impl Destination {
    /// A tensor that the result replaces.
    pub fn store(tensor: Tensor) -> Destination {
        Destination { tensor, add: false }
    }
}
