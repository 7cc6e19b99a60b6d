//! Choices between forms of kernels: some operators have several sets of kernels for the same work.
//!
//! An operator names the class of its work and the forms that fit it. The tape answers with the
//! form of [`KernelChoices`](crate::gpu::KernelChoices), or else with the first one, and notes the
//! choice. [`record`](super::record) times the forms of classes that have no choice yet.

use super::shape::Shape;
use std::ops::Range;

/// Pixels of a batch on which forms are timed: 8 images of 28x28.
const TIMED_PIXELS: u32 = 8 * 28 * 28;
/// Fewest images of such a batch: the wide kernels process 8 at a time.
const FEWEST_TIMED: u32 = 8;
/// Most images of such a batch.
const MOST_TIMED: u32 = 64;

/// Most operations of a call that is timed: half a second of a slow integrated GPU. Windows resets a
/// device after two seconds.
const MOST_FLOPS: u64 = 50_000_000_000;

/// A class of work for which an operator has several forms of kernels.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelClass {
    /// Name of the class: the work and the sizes that decide which form is fastest.
    pub name: String,
    /// The forms that fit, by name. The first one is used if nothing was measured.
    pub forms: Vec<&'static str>,
    /// Small inputs of the operator in the same class, on which the forms are timed.
    pub inputs: Vec<Shape>,
}

impl KernelClass {
    /// Images of the batch on which forms are timed, given the pixels of an image: about as many
    /// pixels for small images as for large ones, because a form of several calls costs more for
    /// little work.
    pub fn timed_batch(pixels: u32) -> u32 {
        (TIMED_PIXELS / pixels).clamp(FEWEST_TIMED, MOST_TIMED)
    }

    /// Most images of a batch on which forms are timed on a GPU, given the operations of the longest
    /// call for one image. With 0, one image takes too long already.
    pub fn most_timed(flops: u64) -> u32 {
        u32::try_from(MOST_FLOPS / flops.max(1)).unwrap_or(u32::MAX)
    }
}

/// A choice that was made while a tape was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The class of the work.
    pub class: KernelClass,
    /// The chosen form.
    pub form: &'static str,
    /// The node whose work it is.
    pub node: usize,
    /// The calls that do the work.
    pub calls: Range<usize>,
}
