//! Files of noise: safetensors with one tensor `[N, C, H, W]` of F32, as `sample --noise` reads and
//! `edit invert` writes them.

use crate::files::write_atomically;
use crate::output::counted;
use crate::{Error, Result};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::path::Path;

/// Reads the noise of images `[C, H, W]`: `count` images, or as many as there are.
///
/// # Errors
/// [`Error::File`] for a file that is not a safetensors file, that does not have exactly one
/// tensor, whose tensor has another shape, or whose values are not all finite.
pub fn read(path: &Path, image: [u32; 3], count: Option<u32>) -> Result<Vec<f32>> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let file =
        SafeTensors::deserialize(&bytes).map_err(|e| Error::file(path, format!("not a safetensors file: {e}")))?;
    let image = image.map(|n| n as usize);
    let tensors = file.tensors();
    let [(name, tensor)] = tensors.as_slice() else {
        return Err(Error::file(path, format!("holds {} tensors, not one", tensors.len())));
    };
    let (dtype, shape) = (tensor.dtype(), tensor.shape());
    let fits = shape.len() == 4 && shape[1..] == image && shape[0] > 0 && dtype == Dtype::F32;
    if !fits {
        let problem = format!("`{name}` is {dtype:?} {shape:?}, but this model needs F32 [count, {}]", comma(&image));
        return Err(Error::file(path, problem));
    }
    if let Some(count) = count.filter(|&count| count as usize != shape[0]) {
        let there = shape[0];
        let problem = format!(
            "holds the noise of {}, {shape:?}, and --count is {count}: leave --count out, or use --count {there}",
            counted(there, "image")
        );
        return Err(Error::file(path, problem));
    }
    let noise: Vec<f32> = bytemuck::pod_collect_to_vec(tensor.data());
    if noise.iter().any(|x| !x.is_finite()) {
        return Err(Error::file(path, format!("`{name}` holds values that are not finite")));
    }
    Ok(noise)
}

fn comma(numbers: &[usize]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Writes noise of this shape.
pub fn write(path: &Path, noise: &[f32], shape: [u32; 4]) -> Result<()> {
    let damaged = |e: safetensors::SafeTensorError| Error::file(path, e.to_string());
    let shape = shape.map(|n| n as usize).to_vec();
    let view = TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(noise)).map_err(damaged)?;
    write_atomically(path, &safetensors::serialize([("noise", view)], None).map_err(damaged)?)
}
