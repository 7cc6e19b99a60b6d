//! Classifier-free guidance (Ho and Salimans 2022): labels, the null class, and who may be guided.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// What a model knows of labels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Labels {
    /// Number of classes of the data, the null class not counted.
    pub classes: u32,
    /// Probability with which training replaced a label by the null class; 0 if the model has no null class.
    pub dropout: f32,
}

impl Labels {
    /// Number of the null class, which stands for no label; `None` for a model trained without label dropout.
    pub fn null_class(&self) -> Option<u32> {
        (self.dropout > 0.0).then_some(self.classes)
    }

    /// Rows of the model's table of classes (`num_class_embeds` in diffusers): one more than classes if there is a null class.
    pub fn embeddings(&self) -> u32 {
        self.null_class().map_or(self.classes, |null| null + 1)
    }

    /// Labels for the model's batch: `labels` `[B]` for a scale of 1, the null class for 0, else `[2B]`, the null class in the first half and `labels` in the second,
    /// whose outputs u and c the operator `guidance` turns into u + scale (c - u).
    ///
    /// # Errors
    /// [`Error::Config`] for a label that is no class, a scale that is negative or not finite, and a scale other than 1 with a model that was
    /// trained without label dropout.
    pub fn batch(&self, labels: &[u32], scale: f32) -> Result<Vec<u32>> {
        if let Some(label) = labels.iter().find(|&&label| label >= self.classes) {
            return Err(Error::Config(format!(
                "there is no class {label}: the model knows 0 to {}",
                self.classes.max(1) - 1
            )));
        }
        if !self.guided(scale)? {
            // No label is the null class alone.
            let none = self.null_class().filter(|_| scale == 0.0);
            return Ok(labels.iter().map(|&label| none.unwrap_or(label)).collect());
        }
        Ok([vec![self.classes; labels.len()], labels.to_vec()].concat())
    }

    /// Whether the model runs on a doubled batch for this scale: for any but 0 (no label) and 1 (no guidance).
    ///
    /// # Errors
    /// As [`Labels::batch`], for the scale.
    pub fn guided(&self, scale: f32) -> Result<bool> {
        if !(scale >= 0.0 && scale.is_finite()) {
            return Err(Error::Config(format!(
                "a guidance scale of {scale}: use 0 (no label), 1 (no guidance) or more, usually 1.5 to 4"
            )));
        }
        match self.null_class() {
            _ if scale == 1.0 => Ok(false),
            Some(_) => Ok(scale != 0.0),
            None => Err(Error::Config(format!(
                "a guidance scale of {scale} needs a model trained with label dropout, and this one was trained without (dropout 0): it never \
                 learnt the null class. Sample with scale 1, or train with a dropout of 0.1"
            ))),
        }
    }
}
