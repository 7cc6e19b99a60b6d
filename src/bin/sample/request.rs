//! What is asked for, checked against what the checkpoint can do: scheduler, labels, guidance, given noise.

use super::Arguments;
use degrain::diffusion::pipeline::Pipeline;
use degrain::diffusion::{SamplerName, SchedulerConfig, Variance};
use degrain::{Error, Result};
use std::path::Path;

/// The checkpoint's scheduler with what the command line says.
pub fn scheduler(pipeline: &Pipeline, arguments: &Arguments) -> SchedulerConfig {
    let mut scheduler = pipeline.scheduler.clone();
    let own = pipeline.card.sampling.map(|sampling| sampling.sampler);
    // A folder of other makers is sampled by DDIM, unless a discrete process is not what it has.
    let sampler = arguments.sampler.or(own).unwrap_or(SamplerName::Ddim);
    if scheduler.sampler != sampler {
        scheduler.options = Default::default();
    }
    scheduler.sampler = sampler;
    if sampler == SamplerName::Ddim {
        scheduler.options.use_clipped_model_output = Some(true);
    }
    if sampler == SamplerName::Ddpm && pipeline.card.learned_variance {
        scheduler.options.variance_type = Some(Variance::LearnedRange);
    }
    scheduler.spacing = arguments.spacing.unwrap_or(scheduler.spacing);
    scheduler.options = arguments.options.or(scheduler.options);
    scheduler
}

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

pub fn guidance(pipeline: &Pipeline, wanted: Option<f32>) -> Result<f32> {
    let null_class = pipeline.card.labels.and_then(|labels| labels.null_class());
    let own = pipeline.card.sampling.map(|sampling| sampling.guidance);
    let scale = wanted.or(own).unwrap_or(if null_class.is_some() { 2.0 } else { 1.0 });
    match pipeline.card.labels {
        Some(labels) => labels.guided(scale).map(|_| scale),
        None if scale == 1.0 => Ok(scale),
        None => Err(Error::Config(format!(
            "--guidance {scale}: the model was trained without classes, so there is nothing to guide by"
        ))),
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
