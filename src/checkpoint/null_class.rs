//! The null class of models that were not written by degrain. Diffusers' files say how many classes
//! a model has, and not which of them means "no label".

use super::{AnyModel, Checkpoint};
use crate::diffusion::{Labels, SamplingOptions};
use crate::output::counted;
use crate::{Error, Result};

/// The parameter that holds a row for each class.
const TABLE: &str = "class_embedding.weight";

/// Probability of label dropout in training, which is not known. It is only important that it is
/// not 0.
const DROPOUT: f32 = 0.1;

impl Checkpoint {
    /// Sets the row `null` of the table of classes as the null class; the other rows stay classes,
    /// under their numbers. Without a row, or if degrain.json has the same null class, nothing
    /// changes.
    ///
    /// # Errors
    /// [`Error::Config`] for a model without classes, a row that the table does not have, and for
    /// another null class than in degrain.json.
    pub fn with_null_class(mut self, null: Option<u32>) -> Result<Checkpoint> {
        let Some(null) = null else { return Ok(self) };
        let refused = |problem: String| Err(Error::Config(format!("--null-class {null}: {problem}")));
        let AnyModel::Denoiser(network) = &self.model else {
            return refused(format!("a {} has no null class. Leave the option out", self.model.model().class()));
        };
        let Some(rows) = network.classes() else {
            return refused("the model was trained without classes. Leave the option out".into());
        };
        if self.has_metadata {
            let own = self.metadata.denoiser.labels.and_then(|labels| labels.null_class());
            return match own {
                Some(own) if own == null => Ok(self),
                Some(own) => refused(format!("degrain.json says that it is {own}. Leave the option out")),
                None => refused("degrain.json says that the model has no null class. Leave the option out".into()),
            };
        }
        if null >= rows || rows < 2 {
            let last = rows.saturating_sub(1);
            return refused(format!("the model has {}: use 0 to {last}", counted(rows, "class")));
        }
        let parameters = network.parameters();
        let Some(table) = parameters.find(TABLE) else {
            return refused(format!("a {} has no table of classes", network.class()));
        };
        // The samplers use the last row as the null class.
        let place = parameters.place(table);
        let width = place.len() / rows as usize;
        self.weights[place][null as usize * width..].rotate_left(width);
        self.metadata.class_names.remove(null as usize);
        self.metadata.denoiser.labels = Some(Labels { classes: rows - 1, dropout: DROPOUT });
        Ok(self)
    }

    /// Refuses guidance by the options `asked` if the null class is not known.
    pub(super) fn check_null_class(&self, asked: &SamplingOptions) -> Result<()> {
        let Some(scale) = asked.guidance.filter(|&scale| scale != 1.0) else { return Ok(()) };
        let Some(labels) = self.metadata.denoiser.labels.filter(|labels| labels.null_class().is_none()) else {
            return Ok(());
        };
        if self.has_metadata {
            return Ok(());
        }
        Err(Error::Config(format!(
            "--guidance {scale}: nothing says which class of this model means \"no label\". Name it with --null-class \
             (0 to {last}, often {last}), or leave out --guidance",
            last = labels.classes.saturating_sub(1)
        )))
    }
}
