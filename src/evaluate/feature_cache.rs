//! Cache of a data set's features on disk. They are the same for every evaluated model.

use super::progress::Phase;
use crate::data::Dataset;
use crate::files::{create_folder, write_atomically};
use crate::gpu::Context;
use crate::metrics::feature_extractor::{FeatureExtractor, FeatureProgram, Features};
use crate::output::{counted, note};
use crate::{Error, Result};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

const FEATURES: &str = "features";
const CLASSES: &str = "classes";

/// A folder of cached features, and the feature extractor that computes missing ones.
pub struct FeatureCache<'a> {
    /// The folder.
    pub folder: &'a Path,
    /// The feature extractor.
    pub extractor: &'a FeatureExtractor,
    /// The feature extractor on the device.
    pub program: &'a FeatureProgram,
}

impl FeatureCache<'_> {
    /// Features of a data set. Reads them from the folder, or computes and stores them. Only rank 0
    /// reads and stores. The file's name contains the SHA-256 of the feature extractor and of the
    /// images. `split` names the images in the progress message. A damaged file is a warning, and
    /// so are features that cannot be stored.
    ///
    /// # Errors
    /// Errors of the device.
    pub fn features(&self, ctx: &Context, data: &Dataset, split: &str) -> Result<Features> {
        let images: String = Sha256::digest(&data.images).iter().map(|byte| format!("{byte:02x}")).collect();
        let path = self.folder.join(format!("{}-{}.safetensors", &self.extractor.sha256[..16], &images[..16]));
        let mut kept = vec![];
        if ctx.ranks.is_first() && path.is_file() {
            match read(&path, self.extractor.width(), data.count) {
                Ok(features) => kept = bytes(&path, &features)?,
                Err(problem) => {
                    note(format_args!("warning: {problem}: the features are computed again, and the file is replaced"))
                }
            }
        }
        ctx.ranks.broadcast(&mut kept);
        if !kept.is_empty() {
            return parse(&kept, self.extractor.width(), data.count).ok_or_else(|| Error::file(&path, "is damaged"));
        }
        let bar = Phase::new(&format!(
            "computing features of {}, cached in {}",
            counted(data.count, &format!("{split} image")),
            path.display()
        ));
        let features = self.program.run(ctx, &data.images, &mut |count| {
            bar.set(count as f64 / data.count as f64);
            Ok(())
        })?;
        if ctx.ranks.is_first()
            && let Err(problem) = write(&path, &features)
        {
            note(format_args!("warning: the features are not kept for the next evaluation: {problem}"));
        }
        Ok(features)
    }
}

fn write(path: &Path, features: &Features) -> Result<()> {
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    create_folder(&folder)?;
    write_atomically(path, &bytes(path, features)?)
}

/// The content of a file.
fn bytes(path: &Path, features: &Features) -> Result<Vec<u8>> {
    let shape = vec![features.count(), features.width];
    let rows = TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(&features.features));
    let classes = TensorView::new(Dtype::U32, vec![features.count()], bytemuck::cast_slice(&features.classes));
    let bytes = match (rows, classes) {
        (Ok(rows), Ok(classes)) => safetensors::serialize([(FEATURES, rows), (CLASSES, classes)], None),
        (Err(error), _) | (_, Err(error)) => Err(error),
    };
    bytes.map_err(|e| Error::file(path, e.to_string()))
}

fn read(path: &Path, width: usize, count: usize) -> Result<Features> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    parse(&bytes, width, count).ok_or_else(|| Error::file(path, "is damaged"))
}

/// The features of a file's content; `None` if it is damaged or of other images.
fn parse(bytes: &[u8], width: usize, count: usize) -> Option<Features> {
    let file = SafeTensors::deserialize(bytes).ok()?;
    let features = file.tensor(FEATURES).ok()?;
    let classes = file.tensor(CLASSES).ok()?;
    let fits = features.shape() == [count, width] && features.dtype() == Dtype::F32;
    if !fits || classes.shape() != [count] || classes.dtype() != Dtype::U32 {
        return None;
    }
    Some(Features {
        features: bytemuck::pod_collect_to_vec(features.data()),
        width,
        classes: bytemuck::pod_collect_to_vec(classes.data()),
    })
}
