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

/// Reads the mixture in the file `path`. `None` if there is no such file.
///
/// # Errors
/// [`Error::Io`], or [`Error::File`] for a file that is damaged.
pub fn read(path: &Path) -> Result<Option<Mixture>> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    parse(&bytes).map(Some).map_err(|problem| refused(path, &problem))
}

/// [`read`] for a model with latents of `width` dimensions.
///
/// # Errors
/// As [`read`], and for a mixture of another model.
pub fn read_for(path: &Path, width: u32) -> Result<Option<Mixture>> {
    match read(path)? {
        Some(mixture) if mixture.width() != width as usize => {
            let own = mixture.width();
            Err(refused(path, &format!("has latents of {own} dimensions, and the model's have {width}")))
        }
        mixture => Ok(mixture),
    }
}

fn refused(path: &Path, problem: &str) -> Error {
    Error::file(path, format!("{problem}. Remove the file to draw latents from N(0, 1)"))
}

fn parse(bytes: &[u8]) -> std::result::Result<Mixture, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|problem| format!("not a safetensors file: {problem}"))?;
    let values = |name: &str, shape: &[usize]| -> std::result::Result<Vec<f64>, String> {
        let tensor = file.tensor(name).map_err(|_| format!("`{name}` is missing"))?;
        if tensor.dtype() != Dtype::F64 || tensor.shape() != shape {
            let (dtype, own) = (tensor.dtype(), tensor.shape());
            return Err(format!("`{name}` is {dtype:?} {own:?}, not F64 {shape:?}"));
        }
        Ok(bytemuck::pod_collect_to_vec(tensor.data()))
    };
    let [count, width] = match file.tensor("means").map_err(|_| "`means` is missing")?.shape() {
        &[count, width] if width > 0 => [count, width],
        shape => return Err(format!("`means` has the shape {shape:?}, not [components, latent]")),
    };
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
