//! Names of the subfolders that hold the splits of a folder of images. The case of letters does not
//! matter.

/// Names of the subfolder of the training images.
pub(super) const TRAIN_FOLDERS: [&str; 2] = ["train", "training"];
/// Names of the subfolder of the test images, in the order in which they are looked for.
pub(super) const TEST_FOLDERS: [&str; 5] = ["test", "testing", "val", "valid", "validation"];

/// Whether a path begins with the folder of a split.
pub(super) fn is_of_split(path: &str) -> bool {
    let first = path.split_once('/').map(|(first, _)| first.to_ascii_lowercase());
    first.is_some_and(|first| TRAIN_FOLDERS.contains(&&*first) || TEST_FOLDERS.contains(&&*first))
}
