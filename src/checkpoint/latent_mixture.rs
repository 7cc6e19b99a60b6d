//! The mixture of Gaussians that an autoencoder's latents are drawn from, as a file of a checkpoint:
//! safetensors with `weights` `[K]`, `means` `[K, latent]` and `factors` `[K, latent, latent]` (the
//! lower Cholesky factors of the covariances, row by row), all F64. Training writes it when it ends.

use crate::diffusion::latent_prior::{Component, Mixture};
use crate::files::write_atomically;
use crate::{Error, Result};
use nalgebra::{DMatrix, DVector};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::path::Path;

/// Its name in a checkpoint's folder.
pub const FILE: &str = "latent_mixture.safetensors";

/// Reads the mixture in the file `path`, for latents of `width` dimensions. `None` if there is no
/// such file.
///
/// # Errors
/// [`Error::Io`], or [`Error::File`] for a file that is damaged, or not of this model.
pub fn read(path: &Path, width: usize) -> Result<Option<Mixture>> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    parse(&bytes, width).map(Some).map_err(|problem| {
        let problem = format!("{problem}. Remove the file to draw latents from N(0, 1)");
        Error::file(path, problem)
    })
}

fn parse(bytes: &[u8], width: usize) -> std::result::Result<Mixture, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|problem| format!("not a safetensors file: {problem}"))?;
    let values = |name: &str, shape: &[usize]| -> std::result::Result<Vec<f64>, String> {
        let tensor = file.tensor(name).map_err(|_| format!("`{name}` is missing"))?;
        if tensor.dtype() != Dtype::F64 || tensor.shape() != shape {
            let (dtype, own) = (tensor.dtype(), tensor.shape());
            return Err(format!("`{name}` is {dtype:?} {own:?}, but this model needs F64 {shape:?}"));
        }
        Ok(bytemuck::pod_collect_to_vec(tensor.data()))
    };
    let count = file.tensor("weights").map_or(0, |tensor| tensor.shape().iter().product());
    let weights = values("weights", &[count])?;
    let means = values("means", &[count, width])?;
    let factors = values("factors", &[count, width, width])?;
    let components = weights.into_iter().zip(means.chunks(width)).zip(factors.chunks(width * width));
    let component = |((weight, mean), factor): ((f64, &[f64]), &[f64])| Component {
        weight,
        mean: DVector::from_column_slice(mean),
        factor: DMatrix::from_row_slice(width, width, factor),
    };
    Mixture::new(components.map(component).collect())
}

/// Writes a mixture to the file `path`.
///
/// # Errors
/// [`Error::Io`].
pub fn write(path: &Path, mixture: &Mixture) -> Result<()> {
    let (count, width) = (mixture.components().len(), mixture.width());
    let all = |part: fn(&Component) -> Vec<f64>| mixture.components().iter().flat_map(part).collect::<Vec<f64>>();
    let tensors = [
        ("weights", vec![count], all(|component| vec![component.weight])),
        ("means", vec![count, width], all(|component| component.mean.as_slice().to_vec())),
        // The transpose in order of columns is the matrix in order of rows.
        ("factors", vec![count, width, width], all(|component| component.factor.transpose().as_slice().to_vec())),
    ];
    let views = tensors.iter().map(|(name, shape, values)| {
        let view = TensorView::new(Dtype::F64, shape.clone(), bytemuck::cast_slice(values));
        view.map(|view| (*name, view))
    });
    let bytes = views
        .collect::<std::result::Result<Vec<_>, _>>()
        .and_then(|views| safetensors::serialize(views, None))
        .map_err(|problem| Error::file(path, problem.to_string()))?;
    write_atomically(path, &bytes)
}
