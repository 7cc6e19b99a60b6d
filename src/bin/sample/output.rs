//! Writes samples as a grid, an animation, or an archive.

use super::Arguments;
use super::drawing::Drawing;
use super::store::Store;
use degrain::output::grid::grid;
use degrain::output::{ClassGrid, Images, Layout, apng, npz};
use degrain::{Error, Result};
use std::path::Path;

/// Description of the samples in the output.
pub struct Description<'a> {
    /// Channels, height and width.
    pub image: [u32; 3],
    /// The class of each image, if the images were sampled with classes.
    pub label: Option<&'a dyn Fn(u32) -> u32>,
    /// Number of classes that take turns; 0 if they do not.
    pub classes: usize,
    /// The settings in one sentence.
    pub text: String,
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

/// Pixels per pixel of an image in a grid.
fn scale(image: [u32; 3]) -> usize {
    if image[1] < 64 { 2 } else { 1 }
}

/// Writes the images of a finished drawing.
pub fn write(arguments: &Arguments, drawing: &Drawing, store: &mut Store, samples: &Description<'_>) -> Result<()> {
    let [channels, height, width] = samples.image;
    let shape = [drawing.count, channels, height, width].map(|n| n as usize);
    let last = drawing.pixels * (drawing.states - 1);
    let out = &arguments.out;
    let source = arguments.model.path().display().to_string();
    let text = [
        ("Software", concat!("degrain ", env!("CARGO_PKG_VERSION"))),
        ("Description", &samples.text),
        ("Source", &source),
    ];
    let output = Output::from_path(out)?;
    if output == Output::Archive {
        let label = samples.label.map(|label| move |n: usize| label(n as u32));
        let mut image = |n: usize, bytes: &mut [u8]| store.read(n, last, bytes);
        return npz::stream_npz(out, shape, &mut image, label.as_ref().map(|label| label as &dyn Fn(usize) -> u32));
    }
    let columns = if samples.classes > 1 {
        ClassGrid::new(samples.classes).columns
    } else {
        f64::from(drawing.count).sqrt().ceil() as usize
    };
    let layout = Layout { columns, scale: scale(samples.image), ..Layout::default() };
    // A grid of state `state` of all images.
    let mut picture = |state: usize| {
        let mut bytes = vec![0; shape[0] * drawing.pixels];
        for (n, image) in bytes.chunks_exact_mut(drawing.pixels).enumerate() {
            store.read(n, state * drawing.pixels, image)?;
        }
        Ok(grid(&Images::new(bytes, shape), layout))
    };
    if output == Output::Grid {
        return picture(drawing.states - 1)?.save_png(out, &text);
    }
    let mut pictures = (0..drawing.states).map(&mut picture).collect::<Result<Vec<_>>>()?;
    // The images took the place of missing states.
    while drawing.whole_batches && pictures.len() > 1 && pictures[pictures.len() - 2] == pictures[pictures.len() - 1] {
        pictures.pop();
    }
    apng::save_apng(out, &pictures, 60, 2000, &text)
}

/// Refuses more images than the memory can hold. An archive is written from the file of finished
/// images.
pub fn check_memory(drawing: &Drawing, output: Output, image: [u32; 3]) -> Result<()> {
    let one = image.iter().map(|&n| u128::from(n)).product::<u128>();
    let pictures = match output {
        Output::Archive => return Ok(()),
        Output::Grid | Output::Animation => drawing.states as u128,
    };
    // The states of the images, twice, and the pictures.
    let states = if output == Output::Animation { drawing.states as u128 } else { 1 };
    let bytes = one * u128::from(drawing.count) * (states + 2 + (scale(image) as u128).pow(2) * pictures);
    if degrain::memory::fits(bytes) {
        return Ok(());
    }
    Err(Error::Config(format!(
        "--count {}: the pictures need {:.1} GB of memory, more than this system has. Sample fewer at once, each part \
         with another --seed, or choose an --out that ends in .npz",
        drawing.count,
        bytes as f64 * 1e-9
    )))
}
