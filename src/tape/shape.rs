//! Shapes of tensors.

use std::fmt;

/// Type of a tensor's elements on the device. Both types have four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 32-bit floating point.
    F32,
    /// 32-bit unsigned integer: labels, timesteps, indices, packed bytes.
    U32,
}

/// Dimensions (at most four, outermost first, row-major) and element type of a tensor.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [u32; 4],
    rank: u8,
    /// Type of the elements.
    pub dtype: Dtype,
}

impl Shape {
    /// Floating-point numbers, such as `Shape::f32([batch, channels, height, width])`.
    ///
    /// # Panics
    /// As [`Shape::new`].
    #[track_caller]
    pub fn f32<const N: usize>(dims: [u32; N]) -> Shape {
        Shape::new(&dims, Dtype::F32)
    }

    /// Unsigned integers.
    ///
    /// # Panics
    /// As [`Shape::new`].
    #[track_caller]
    pub fn u32<const N: usize>(dims: [u32; N]) -> Shape {
        Shape::new(&dims, Dtype::U32)
    }

    /// The given dimensions and type.
    ///
    /// # Panics
    /// For more than four dimensions, or a dimension of zero.
    #[track_caller]
    pub fn new(given: &[u32], dtype: Dtype) -> Shape {
        assert!(given.len() <= 4, "a tensor has at most four dimensions, not {given:?}");
        assert!(given.iter().all(|&d| d > 0), "a dimension is zero: {given:?}");
        let mut dims = [1; 4];
        dims[..given.len()].copy_from_slice(given);
        Shape { dims, rank: given.len() as u8, dtype }
    }

    /// The dimensions.
    pub fn dims(&self) -> &[u32] {
        &self.dims[..self.rank as usize]
    }

    /// The dimensions of a tensor that must have `N` of them.
    ///
    /// # Panics
    /// If the number of dimensions is not `N`.
    #[track_caller]
    pub fn as_array<const N: usize>(&self) -> [u32; N] {
        match self.dims().try_into() {
            Ok(dims) => dims,
            Err(_) => panic!("{self} should have {N} dimensions"),
        }
    }

    /// Number of elements.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.dims().iter().map(|&d| d as usize).product()
    }

    /// Bytes of its storage, padded to a multiple of
    /// [`STORAGE_PADDING`](crate::gpu::STORAGE_PADDING).
    pub fn bytes(&self) -> u64 {
        (self.len() as u64 * 4).next_multiple_of(crate::gpu::STORAGE_PADDING)
    }

    /// Number of `vec4`s that hold it. Elementwise kernels run one invocation for each.
    pub fn vec4s(&self) -> u32 {
        (self.bytes() / 16) as u32
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.dtype == Dtype::U32 { "u32" } else { "" };
        write!(f, "{prefix}{:?}", self.dims())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
