//! The interface of the file formats of data sets.

use super::dataset::{Dataset, Split};
use crate::error::Result;
use std::path::Path;

/// One file format of data sets.
pub(super) struct Format {
    /// Names or patterns of its files, for [`matching`](super::source::matching).
    pub(super) names: fn(Split) -> Vec<String>,
    /// Reads one split of a folder.
    pub(super) load: fn(&Path, Split) -> Result<Dataset>,
}
