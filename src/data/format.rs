//! The interface of the file formats of data sets.

use super::dataset::{Dataset, Split};
use super::load_options::LoadOptions;
use crate::error::Result;
use std::path::Path;

/// One file format of data sets.
pub(super) struct Format {
    /// Names or patterns of its files, for [`matching`](super::source::matching).
    pub(super) names: fn(Split) -> Vec<String>,
    /// Whether its images can have several sizes, so that [`LoadOptions`] have an effect.
    pub(super) has_sizes: bool,
    /// Whether a folder holds images of this format, of either split.
    pub(super) holds: fn(&Path) -> Result<bool>,
    /// Reads one split of a folder.
    pub(super) load: fn(&Path, Split, &LoadOptions) -> Result<Dataset>,
}
