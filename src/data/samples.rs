//! Samples of a model, from numpy's `.npz` as guided-diffusion's sampling scripts write it: `arr_0`
//! u8 `[N, H, W, C]`, `arr_1` their classes.

use super::npz::{Npz, NpzArray};
use crate::error::Result;
use std::path::Path;

/// Bytes `[N, C, H, W]` of images of the given shape, and their classes if the archive has them.
///
/// # Errors
/// An archive that cannot be read, an array of another shape or type, or a label that is not a
/// class.
pub fn images_of_npz(path: &Path, image: [u32; 3], classes: u32) -> Result<(Vec<u8>, Option<Vec<u32>>)> {
    let mut npz = Npz::open(path)?;
    let mut images = pixels(&mut npz.array("arr_0")?, image)?;
    let [channels, height, width] = image.map(|n| n as usize);
    let each = channels * height * width;
    let count = images.len() / each;
    let labels = if npz.has("arr_1") { Some(labels(&mut npz.array("arr_1")?, count, classes)?) } else { None };
    // One image at a time, so that memory holds the images once.
    let mut interleaved = vec![0; each];
    for planar in images.chunks_exact_mut(each) {
        interleaved.copy_from_slice(planar);
        for (channel, plane) in planar.chunks_exact_mut(height * width).enumerate() {
            plane.iter_mut().zip(interleaved.iter().skip(channel).step_by(channels)).for_each(|(to, &from)| *to = from);
        }
    }
    Ok((images, labels))
}

/// The shape `[C, H, W]` of the images in an archive; `None` if its array is of another kind, which
/// [`images_of_npz`] refuses.
///
/// # Errors
/// An archive that cannot be read.
pub fn image_shape_of_npz(path: &Path) -> Result<Option<[u32; 3]>> {
    let mut npz = Npz::open(path)?;
    let array = npz.array("arr_0")?;
    let shape = array.header.shape.iter().map(|&n| u32::try_from(n).ok()).collect::<Option<Vec<_>>>();
    Ok(match shape.as_deref() {
        Some(&[_, height, width, channels @ (1 | 3)]) => Some([channels, height, width]),
        _ => None,
    })
}

fn pixels(array: &mut NpzArray<'_>, [channels, height, width]: [u32; 3]) -> Result<Vec<u8>> {
    if array.header.element != "|u1" {
        let element = &array.header.element;
        return Err(array.problem(format!("holds elements of type `{element}`, not unsigned bytes (`|u1`)")));
    }
    let wanted = [height, width, channels].map(|n| n as usize);
    if array.header.shape.len() != 4 || array.header.shape[1..] != wanted || array.header.shape[0] == 0 {
        let shape = &array.header.shape;
        return Err(array.problem(format!(
            "has the shape {shape:?}, but images of this data set have the shape \
             [images, {height}, {width}, {channels}] (rows, columns, channels)"
        )));
    }
    let (length, mut bytes) = (array.length(1)?, vec![]);
    array.read(length, &mut bytes)?;
    Ok(bytes)
}

fn labels(array: &mut NpzArray<'_>, count: usize, classes: u32) -> Result<Vec<u32>> {
    if array.header.shape != [count] {
        let shape = &array.header.shape;
        return Err(array.problem(format!("has the shape {shape:?}, but `arr_0` holds {count} images")));
    }
    let (_, numbers) = array.integers()?;
    match numbers.iter().find(|number| !(0..i128::from(classes)).contains(number)) {
        Some(label) => {
            Err(array.problem(format!("has the label {label}, and classes are 0 to {}", classes.max(1) - 1)))
        }
        None => Ok(numbers.into_iter().map(|number| number as u32).collect()),
    }
}
