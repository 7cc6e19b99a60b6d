//! Image files of many kinds, and folders of them.

use png::{BitDepth, ColorType, Encoder};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A temporary folder with files.
pub struct Pictures(TempDir);

impl Pictures {
    pub fn new(files: &[(&str, &[u8])]) -> Pictures {
        let folder = TempDir::new().unwrap();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        Pictures(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// A PNG file of `width` x `height` pixels, whose rows are these bytes.
pub fn png(width: u32, height: u32, color: ColorType, depth: BitDepth, bytes: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == ColorType::Indexed {
        encoder.set_palette(vec![0, 0, 0, 255, 0, 0]);
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(bytes).unwrap();
    writer.finish().unwrap();
    file
}

/// A grayscale PNG file, 2 pixels wide and 1 high.
pub fn gray(bytes: [u8; 2]) -> Vec<u8> {
    png(2, 1, ColorType::Grayscale, BitDepth::Eight, &bytes)
}

/// An RGB PNG file, 2 pixels wide and 1 high.
pub fn rgb(bytes: [u8; 6]) -> Vec<u8> {
    png(2, 1, ColorType::Rgb, BitDepth::Eight, &bytes)
}
