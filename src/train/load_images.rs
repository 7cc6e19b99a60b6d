//! Reads the images of a run.

use super::config::{Settings, Size};
use crate::data::{Dataset, LoadOptions, Split, is_image_folder, load_with};
use crate::{Error, Result};
use std::path::Path;

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
    check_effect(&options, &folder)?;
    Ok(dataset)
}

/// Refuses options for folders of image files, if `folder` holds another format.
fn check_effect(options: &LoadOptions, folder: &Path) -> Result<()> {
    let default = LoadOptions::default();
    let given = [
        ("resolution", options.resolution != default.resolution),
        ("resize", options.resize != default.resize),
        ("channels", options.channels != default.channels),
        ("skip-damaged", options.skip_damaged),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((option, _)) if !is_image_folder(folder)? => Err(Error::Config(format!(
            "--{option} has no effect here: it is for folders of image files, and {} holds another format",
            folder.display()
        ))),
        _ => Ok(()),
    }
}
