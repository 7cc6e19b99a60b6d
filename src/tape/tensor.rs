//! Tensors of a tape: ids, storage and shapes.

use super::shape::Shape;
use std::rc::Rc;

/// A tensor of one tape, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tensor(pub(super) u32);

/// A position in a named buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferOffset {
    /// Name of the buffer.
    pub buffer: Rc<str>,
    /// Offset in bytes, a multiple of [`OFFSET_ALIGNMENT`](crate::gpu::OFFSET_ALIGNMENT).
    pub offset: u64,
}

impl BufferOffset {
    /// A position `offset` bytes after the start of a named buffer.
    ///
    /// # Panics
    /// If the offset is not a multiple of 256.
    #[track_caller]
    pub fn new(buffer: &str, offset: u64) -> BufferOffset {
        assert_eq!(
            offset % crate::gpu::OFFSET_ALIGNMENT,
            0,
            "`{buffer}` at {offset}: a binding must begin at a multiple of 256 bytes"
        );
        BufferOffset { buffer: buffer.into(), offset }
    }
}

/// Where a tensor is stored.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Storage {
    /// In a transient buffer that the memory plan chooses, shared with tensors of disjoint
    /// lifetimes.
    Transient,
    /// In a named buffer.
    Named(BufferOffset),
    /// In the storage of another tensor, under another shape, from an offset in bytes on.
    Part(Tensor, u64),
}

/// The properties of a tensor on the tape.
#[derive(Clone, Debug)]
pub(super) struct TensorInfo {
    pub shape: Shape,
    pub storage: Storage,
    /// Whether its gradient, or the gradient of a tensor it was computed from, is needed.
    pub needs_gradient: bool,
    /// Where its gradient is stored, if in a named buffer.
    pub gradient: Option<BufferOffset>,
    /// Whether its gradient is read after the run.
    pub watched: bool,
}
