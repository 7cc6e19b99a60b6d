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

    /// Opens a classifier that can guide this denoiser on images `[C, H, W]`.
    ///
    /// # Errors
    /// The errors of [`Checkpoint::open`], and a classifier that was trained on another data set or
    /// with another process.
    pub fn open_guide(&self, path: &Path, image: [u32; 3]) -> Result<Checkpoint> {
        let guide = Checkpoint::open(path)?;
        let network = guide.classifier()?;
        let (ours, theirs) = (&self.metadata, &guide.metadata);
        let other_content =
            ours.data_sha256.is_some() && theirs.data_sha256.is_some() && ours.data_sha256 != theirs.data_sha256;
        if theirs.dataset != ours.dataset
            || other_content
            || theirs.class_names != ours.class_names
            || network.image_shape() != Some(image)
        {
            let problem = format!(
                "the classifier was trained on {} ({}), and the model on {} ({}){}: use a classifier of the same data",
                theirs.dataset,
                counted(theirs.class_names.len(), "class"),
                ours.dataset,
                counted(ours.class_names.len(), "class"),
                if other_content { " with other content" } else { "" }
            );
            return Err(Error::file(&guide.folder, problem));
        }
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
        Ok(guide)
    }
}
