//! Images over time: one row per image, one column per timestep. Noising left to right, or
//! denoising.

use super::grid::{Layout, grid};
use super::images::{Images, Picture};

/// `steps[k]` is the whole batch at the `k`-th time. The picture has a row for each image and a
/// column for each step. `layout.columns` is not used.
///
/// # Panics
/// If there are no steps or they differ in shape.
#[track_caller]
pub fn strip(steps: &[Images], layout: Layout) -> Picture {
    let Some(first) = steps.first() else { panic!("strip: no steps to show") };
    if let Some(odd) = steps.iter().find(|step| step.shape() != first.shape()) {
        panic!("strip: steps of the shapes {:?} and {:?}", first.shape(), odd.shape());
    }
    let [count, channels, height, width] = first.shape();
    let size = channels * height * width;
    let mut bytes = Vec::with_capacity(steps.len() * count * size);
    for image in 0..count {
        steps.iter().for_each(|step| bytes.extend_from_slice(&step.bytes[image * size..][..size]));
    }
    let images = Images::new(bytes, [count * steps.len(), channels, height, width]);
    grid(&images, Layout { columns: steps.len(), ..layout })
}
