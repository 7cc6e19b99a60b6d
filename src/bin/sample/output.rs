//! Writes samples as a grid, an animation, or an archive.

use super::Arguments;
use degrain::output::{Images, Layout, apng, grid, npz};
use degrain::{Error, Result};
use std::path::Path;

/// Samples and their description in the output.
pub struct Samples {
    pub images: Vec<f32>,
    /// Intermediate states, for an animation.
    pub frames: Vec<Vec<f32>>,
    pub labels: Option<Vec<u32>>,
    pub image: [u32; 3],
    pub classes: usize,
    pub description: String,
}

/// The kind of output, chosen by the extension of the file name.
#[derive(Clone, Copy, PartialEq)]
pub enum Output {
    Grid,
    Animation,
    Archive,
}

impl Output {
    pub fn from_path(path: &Path) -> Result<Output> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("png") => Ok(Output::Grid),
            Some("apng") => Ok(Output::Animation),
            Some("npz") => Ok(Output::Archive),
            _ => Err(Error::Config(format!("--out {}: the name must end in .png, .apng or .npz", path.display()))),
        }
    }
}

pub fn write(arguments: &Arguments, output: Output, samples: &Samples) -> Result<()> {
    let [channels, height, width] = samples.image;
    let shape = [arguments.count, channels, height, width].map(|n| n as usize);
    let classes = samples.classes.clamp(1, 10);
    let columns = if arguments.class.is_none() && classes > 1 {
        classes
    } else {
        (arguments.count as f64).sqrt().ceil() as usize
    };
    let layout = Layout { columns, scale: if height < 64 { 2 } else { 1 }, ..Layout::default() };
    let source = arguments.checkpoint.display().to_string();
    let text = [
        ("Software", concat!("degrain ", env!("CARGO_PKG_VERSION"))),
        ("Description", &samples.description),
        ("Source", &source),
    ];
    let images = Images::from_f32(&samples.images, shape);
    match output {
        Output::Grid => grid::grid(&images, layout).save_png(&arguments.out, &text),
        Output::Archive => npz::save_npz(&arguments.out, &images, samples.labels.as_deref()),
        Output::Animation => {
            let pictures: Vec<_> =
                samples.frames.iter().map(|frame| grid::grid(&Images::from_f32(frame, shape), layout)).collect();
            apng::save_apng(&arguments.out, &pictures, 60, 2000, &text)
        }
    }
}
