//! Images of any size in networks whose levels halve them.
//!
//! A network pads its images below and on the right to a size that can be halved between all
//! levels, and crops its output to the size of the images. So losses, samplers and metrics only see
//! real pixels. The padding is zero, which is what the first convolution reads outside of an image
//! anyway. It takes part in everything between: attention attends to it, and the statistics of
//! group and batch normalizations include it. Images whose size fits are not padded.

use crate::ops::pad;
use crate::tape::{Tape, Tensor};

/// Height and width rounded up to sides that `levels` levels can halve.
pub(in crate::nn) fn halvable(levels: usize, size: [u32; 2]) -> [u32; 2] {
    size.map(|side| side.next_multiple_of(1 << (levels - 1)))
}

/// x `[B, C, H, W]`, padded or cropped to the height and width `size`, or unchanged if it has them.
#[track_caller]
pub(in crate::nn) fn resized(t: &mut Tape, x: Tensor, size: [u32; 2]) -> Tensor {
    if height_width(t, x) == size { x } else { pad(t, x, size) }
}

/// Height and width of x `[B, C, H, W]`.
pub(in crate::nn) fn height_width(t: &Tape, x: Tensor) -> [u32; 2] {
    let [_, _, height, width] = t.shape(x).as_array();
    [height, width]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_rounds_up_to_sides_that_can_be_halved() {
        assert_eq!(halvable(3, [30, 45]), [32, 48]);
        assert_eq!(halvable(3, [28, 32]), [28, 32]);
        assert_eq!(halvable(1, [1, 7]), [1, 7]);
        assert_eq!(halvable(4, [1, 9]), [8, 16]);
        assert_eq!(halvable(15, [16_384, 1]), [16_384, 16_384]);
    }
}
