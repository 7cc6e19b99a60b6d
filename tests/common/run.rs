//! Small data sets of real digits, and files.

use degrain::data::{Split, load};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tempfile::TempDir;

/// Folder of the real MNIST.
pub fn mnist() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mnist")
}

/// An IDX file.
pub fn idx(dimensions: &[u32], elements: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, dimensions.len() as u8];
    dimensions.iter().for_each(|n| file.extend(n.to_be_bytes()));
    file.extend(elements);
    file
}

/// Folder with the first 256 images of MNIST. It is read in a few milliseconds.
pub fn digits() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let make = || {
        let (all, folder) = (load(&mnist(), Split::Train).unwrap(), TempDir::new().unwrap());
        let labels: Vec<u8> = all.labels[..256].iter().map(|&label| label as u8).collect();
        fs::write(folder.path().join("train-images-idx3-ubyte"), idx(&[256, 28, 28], &all.images[..256 * 784]))
            .unwrap();
        fs::write(folder.path().join("train-labels-idx1-ubyte"), idx(&[256], &labels)).unwrap();
        folder
    };
    FOLDER.get_or_init(make).path()
}

/// Every file below a folder with its content, sorted by name.
pub fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    fn collect(root: &Path, folder: &Path, all: &mut Vec<(String, Vec<u8>)>) {
        for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(root, &path, all)
            } else {
                all.push((path.strip_prefix(root).unwrap().display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
    let mut all = Vec::new();
    collect(folder, folder, &mut all);
    all.sort();
    all
}

/// Copies a folder.
pub fn copy(from: &Path, to: &Path) {
    for (name, content) in files(from) {
        let path = to.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}
