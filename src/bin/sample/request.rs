//! What is asked for, checked against what the checkpoint can do: labels and given noise.

use super::Arguments;
use degrain::diffusion::pipeline::Pipeline;
use degrain::{Error, Result};
use std::path::Path;

/// A label for each image.
pub fn labels(pipeline: &Pipeline, arguments: &Arguments) -> Result<Vec<u32>> {
    let names = &pipeline.card.class_names;
    if pipeline.network.classes().is_none() && arguments.classifier.is_none() {
        return match &arguments.class {
            None => Ok(vec![0; arguments.count as usize]),
            Some(class) => Err(Error::Config(format!("--class {class}: the model was trained without classes"))),
        };
    }
    let count = names.len() as u32;
    match &arguments.class {
        None => Ok((0..arguments.count).map(|k| k % count).collect()),
        Some(wanted) => Ok(vec![pipeline.card.class(wanted)?; arguments.count as usize]),
    }
}

pub fn read_noise(path: &Path, wanted: [u32; 4]) -> Result<Vec<f32>> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let file = safetensors::SafeTensors::deserialize(&bytes)
        .map_err(|e| Error::file(path, format!("no safetensors file: {e}")))?;
    let wanted = wanted.map(|n| n as usize);
    let fits = |tensor: &safetensors::tensor::TensorView<'_>| {
        tensor.shape() == wanted && tensor.dtype() == safetensors::Dtype::F32
    };
    match file.tensors().as_slice() {
        [(name, tensor)] if fits(tensor) => {
            let noise: Vec<f32> = bytemuck::pod_collect_to_vec(tensor.data());
            match noise.iter().all(|x| x.is_finite()) {
                true => Ok(noise),
                false => Err(Error::file(path, format!("`{name}` holds numbers that are not finite"))),
            }
        }
        [(name, tensor)] => Err(Error::file(
            path,
            format!(
                "`{name}` is {:?} {:?}, not {wanted:?} of F32 (--count and the model's size)",
                tensor.dtype(),
                tensor.shape()
            ),
        )),
        tensors => Err(Error::file(path, format!("holds {} tensors, not one", tensors.len()))),
    }
}

pub fn padded(values: &[f32], length: usize) -> Vec<f32> {
    let mut values = values.to_vec();
    values.resize(length, 0.0);
    values
}
