//! What the ruler says of a data set, kept on the disk: it is the same for every model that is evaluated.

use super::progress::Progress;
use crate::data::Dataset;
use crate::files::write_atomically;
use crate::gpu::Context;
use crate::metrics::feature_extractor::{FeatureExtractor, FeatureReader, Features};
use crate::{Error, Result};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// What the ruler says of a data set: from a file of `folder` named by the sums of both, or by reading the images, and then that file is written.
///
/// # Errors
/// The device's and the disk's; a damaged file.
pub fn readings(
    ctx: &Context,
    (ruler, reader): (&FeatureExtractor, &FeatureReader),
    data: &Dataset,
    what: &str,
    folder: &Path,
) -> Result<Features> {
    let sum: String = Sha256::digest(&data.images).iter().map(|byte| format!("{byte:02x}")).collect();
    let path = folder.join(format!("{}-{}.safetensors", &ruler.sha256[..16], &sum[..16]));
    if path.is_file() {
        return read(&path, ruler.width(), data.count);
    }
    let part = Progress::begin(&format!("features of {} {what} images, to be kept in {}", data.count, path.display()));
    let readings = reader.read(ctx, &data.images, &mut |count| {
        part.done(count as f64 / data.count as f64);
        Ok(())
    })?;
    write(&path, &readings)?;
    Ok(readings)
}

const FEATURES: &str = "features";
const CLASSES: &str = "classes";

fn write(path: &Path, readings: &Features) -> Result<()> {
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    let shape = vec![readings.count(), readings.width];
    let features = TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(&readings.features));
    let classes = TensorView::new(Dtype::U32, vec![readings.count()], bytemuck::cast_slice(&readings.classes));
    let bytes = match (features, classes) {
        (Ok(features), Ok(classes)) => safetensors::serialize([(FEATURES, features), (CLASSES, classes)], None),
        (Err(error), _) | (_, Err(error)) => Err(error),
    };
    write_atomically(path, &bytes.map_err(|e| Error::file(path, e.to_string()))?)
}

fn read(path: &Path, width: usize, count: usize) -> Result<Features> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let damaged = || Error::file(path, "is damaged: remove it, and it is made anew");
    let file = SafeTensors::deserialize(&bytes).map_err(|_| damaged())?;
    let (features, classes) =
        (file.tensor(FEATURES).map_err(|_| damaged())?, file.tensor(CLASSES).map_err(|_| damaged())?);
    let fits = features.shape() == [count, width] && features.dtype() == Dtype::F32;
    if !fits || classes.shape() != [count] || classes.dtype() != Dtype::U32 {
        return Err(damaged());
    }
    Ok(Features {
        features: bytemuck::pod_collect_to_vec(features.data()),
        width,
        classes: bytemuck::pod_collect_to_vec(classes.data()),
    })
}
