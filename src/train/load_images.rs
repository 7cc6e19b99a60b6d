//! Reads the images of a run.

use super::config::{Config, Settings, Size};
use crate::data::{Dataset, LoadOptions, Split, check_image_options, is_image_folder, load_with};
use crate::files::is_inside;
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
            default_size: None,
            cache: LoadOptions::user_cache(),
        }
    }
}

/// Reads the training images of these settings.
pub(super) fn load_images(settings: &Settings) -> Result<Dataset> {
    // The folder is the same at all sizes.
    let Config { data: folder, out, .. } = settings.clone().resolve(Size::Tiny)?;
    check_apart(&folder, &out)?;
    let options = settings.load_options();
    let dataset = load_with(&folder, Split::Train, &options)?;
    check_effect(&options, &folder)?;
    Ok(dataset)
}

/// Refuses a run in a folder of images: its pictures would become images of the data set.
fn check_apart(folder: &Path, out: &Path) -> Result<()> {
    if !is_inside(out, folder)? || !is_image_folder(folder)? {
        return Ok(());
    }
    Err(Error::Config(format!(
        "--out {} is in the folder of the images, {}: the pictures of the run would become images of the data set. Choose \
         another --out",
        out.display(),
        folder.display()
    )))
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
    check_image_options(folder, &given)
}
