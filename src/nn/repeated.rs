//! Conditions for twice as many images.
//!
//! Classifier-free guidance evaluates a network without and with labels for each image. What does
//! not depend on the label is computed once: a map is repeated where a condition first meets it.

use crate::ops::duplicate;
use crate::tape::{Tape, Tensor};

/// Maps x `[B, ...]` for conditions of `images` images: x if that is B, or x twice if it is 2B.
///
/// # Panics
/// If `images` is another number, or if x would be repeated and needs a gradient.
#[track_caller]
pub(in crate::nn) fn repeated(t: &mut Tape, x: Tensor, images: u32) -> Tensor {
    let batch = t.shape(x).dims()[0];
    assert!([batch, 2 * batch].contains(&images), "conditions for {images} images, but there are {batch}");
    if images == batch {
        return x;
    }
    assert!(!t.needs_gradient(x), "conditions of two passes have no gradient: train with one for each image");
    duplicate(t, x)
}
