//! Reads the images of a run.

use super::config::{Settings, Size};
use crate::Result;
use crate::data::{Dataset, LoadOptions, Split, load_with};

impl Settings {
    /// How the data set is read. Decoded images are kept in the user's cache folder.
    pub fn load_options(&self) -> LoadOptions {
        LoadOptions {
            resolution: self.resolution.unwrap_or_default(),
            resize: self.resize.unwrap_or_default(),
            channels: self.channels.unwrap_or_default(),
            skip_damaged: self.skip_damaged.unwrap_or_default(),
            cache: LoadOptions::user_cache(),
        }
    }
}

/// Reads the training images of these settings.
pub(super) fn load_images(settings: &Settings) -> Result<Dataset> {
    // The folder is the same at all sizes.
    let folder = settings.clone().resolve(Size::Tiny)?.data;
    let options = settings.load_options();
    let dataset = load_with(&folder, Split::Train, &options)?;
    options.check_effect(&folder)?;
    Ok(dataset)
}
