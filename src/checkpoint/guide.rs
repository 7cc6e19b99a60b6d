//! Opens a classifier that guides a denoiser, and checks that the two belong together.

use super::{AnyModel, Checkpoint};
use crate::diffusion::Process;
use crate::nn::{Classifier, Model, Network};
use crate::output::counted;
use crate::{Error, Result};
use std::path::Path;

impl Checkpoint {
    /// The classifier of this checkpoint.
    ///
    /// # Errors
    /// A model of another kind.
    pub fn classifier(&self) -> Result<&Classifier> {
        match &self.model {
            AnyModel::Classifier(classifier) => Ok(classifier),
            other => {
                let class = other.model().class();
                let problem = format!("holds a {class}, not a classifier: train one with --preset classifier");
                Err(Error::file(&self.folder, problem))
            }
        }
    }

    /// Opens a classifier that can guide this denoiser on images `[C, H, W]`. It has a warning if
    /// nothing says which data the denoiser was trained on, as in a folder not written by degrain.
    ///
    /// # Errors
    /// The errors of [`Checkpoint::open`], and a classifier of other images, or that was trained on
    /// another data set or with another process.
    pub fn open_guide(&self, path: &Path, image: [u32; 3]) -> Result<Checkpoint> {
        let mut guide = Checkpoint::open(path)?;
        let network = guide.classifier()?;
        if let Some(shape) = network.image_shape().filter(|&shape| shape != image) {
            let [theirs, ours] = [shape, image].map(|[c, h, w]| format!("{c}x{h}x{w}"));
            let problem = format!("the classifier is for images of {theirs}, and the model's are {ours}");
            return Err(Error::file(&guide.folder, problem));
        }
        let warning = self.check_same_data(&guide)?;
        if network.time_width() > 0 {
            let alphas = |process: &dyn Process| process.schedule().map(|noise| noise.alphas_cumprod().to_vec());
            let [ours, theirs] = [&self.process, &guide.process].map(Option::as_deref);
            if ours.map(alphas) != theirs.map(alphas) {
                let [ours, theirs] = [ours, theirs].map(|process| process.map_or("none".into(), Process::describe));
                let problem = format!(
                    "the classifier and the model were trained with different processes ({theirs} and {ours}): train it \
                     with the model's --schedule, --timesteps, --rescale-betas and --zero-terminal-snr, or with --noise-aware false"
                );
                return Err(Error::file(&guide.folder, problem));
            }
        }
        guide.warnings.extend(warning);
        Ok(guide)
    }

    /// Refuses a classifier of other data. Returns a warning if the data of this model is unknown.
    fn check_same_data(&self, guide: &Checkpoint) -> Result<Option<String>> {
        let (ours, theirs) = (&self.metadata, &guide.metadata);
        let [our_classes, their_classes] = [ours, theirs].map(|metadata| counted(metadata.class_names.len(), "class"));
        if ours.dataset.is_empty() {
            // A model with classes has made-up names here.
            if ours.class_names.is_empty() || ours.class_names.len() == theirs.class_names.len() {
                return Ok(Some(format!(
                    "{}: nothing says which data the model was trained on. The classifier was trained on {} ({their_classes})",
                    guide.folder.display(),
                    theirs.dataset
                )));
            }
            let problem = format!("the classifier was trained on {their_classes}, and the model on {our_classes}");
            return Err(Error::file(&guide.folder, problem));
        }
        let other_content =
            ours.data_sha256.is_some() && theirs.data_sha256.is_some() && ours.data_sha256 != theirs.data_sha256;
        if theirs.dataset == ours.dataset && !other_content && theirs.class_names == ours.class_names {
            return Ok(None);
        }
        let problem = format!(
            "the classifier was trained on {} ({their_classes}), and the model on {} ({our_classes}){}: use a classifier \
             of the same data",
            theirs.dataset,
            ours.dataset,
            if other_content { " with other content" } else { "" }
        );
        Err(Error::file(&guide.folder, problem))
    }
}
