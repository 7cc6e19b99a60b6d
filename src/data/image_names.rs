//! Names of image files.

use std::path::Path;

/// Extensions of the formats that are read. The content of a file decides its format.
const EXTENSIONS: [&str; 6] = ["png", "jpg", "jpeg", "jfif", "webp", "bmp"];

/// The extension in lower case; empty without one.
pub(super) fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}

/// Whether a name has the extension of a format that is read.
pub(super) fn is_image_name(path: &Path) -> bool {
    EXTENSIONS.contains(&&*extension(path))
}
