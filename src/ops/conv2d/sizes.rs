//! Values that both variants of the convolution share.

use crate::tape::{Shape, Tape, Tensor};

/// All sizes of one convolution.
#[derive(Clone, Copy)]
pub(super) struct ConvSizes {
    pub batch: u32,
    pub channels_in: u32,
    pub height_in: u32,
    pub width_in: u32,
    pub channels_out: u32,
    pub height: u32,
    pub width: u32,
    pub kernel: u32,
    pub stride: u32,
    /// Zeros at the top and at the left. Those at the bottom and at the right follow from the size
    /// of the output.
    pub pad: u32,
}

impl ConvSizes {
    /// Shape of the result.
    pub fn result(&self) -> Shape {
        Shape::f32([self.batch, self.channels_out, self.height, self.width])
    }

    /// Whether it is 3x3 with stride 1 and a border of zeros that keeps the size of the image.
    pub fn is_3x3_of_same_size(&self) -> bool {
        let same = (self.height, self.width) == (self.height_in, self.width_in);
        self.kernel == 3 && self.stride == 1 && self.pad == 1 && same
    }

    pub fn weights(&self) -> u32 {
        self.channels_out * self.channels_in * self.kernel * self.kernel
    }

    pub fn flops(&self) -> u64 {
        2 * u64::from(self.batch * self.height * self.width) * u64::from(self.weights())
    }
}

/// Partial sums of the gradients of weights and bias, one per split of the batch.
pub(super) struct Partial {
    pub splits: u32,
    pub w: Tensor,
    pub b: Tensor,
}

impl Partial {
    pub fn new(t: &mut Tape, s: ConvSizes, splits: u32) -> Partial {
        let [w, b] = t.rows_to_sum([s.weights(), s.channels_out].map(|size| Shape::f32([splits, size])));
        Partial { splits, w, b }
    }
}
