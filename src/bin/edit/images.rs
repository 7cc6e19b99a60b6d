//! Reads images of the model's size from a data set or a file.

use super::model::Loaded;
use clap::Args;
use degrain::data::{ImageFileOptions, Split, check_image_options, load_with};
use degrain::output::{Picture, counted, note};
use degrain::{Error, Result};
use std::path::{Path, PathBuf};

/// The data set whose test images are edited.
#[derive(Args)]
pub struct DataOptions {
    /// Folder of the data set whose test images are used [default: the run's]
    #[arg(long)]
    data: Option<PathBuf>,
    #[command(flatten)]
    files: ImageFileOptions,
}

/// Which images of a test split to read.
pub struct TestImages<'a> {
    /// The data set.
    pub data: &'a DataOptions,
    /// The option that chose the first image.
    pub option: &'static str,
    /// Number of the first image.
    pub first: usize,
    /// Number of images.
    pub count: usize,
}

impl Loaded {
    /// Images of the test split of a data set, in [-1, 1], with their classes in the model's order.
    /// `labeled` says whether the model gets the classes.
    pub fn test_images(&self, wanted: &TestImages<'_>, labeled: bool) -> Result<(Vec<f32>, Vec<u32>)> {
        let DataOptions { data, files } = wanted.data;
        let (data, is_guessed) = self.data(data.as_deref())?;
        let set = load_with(&data, Split::Test, &files.or(self.load_options()?))?;
        check_image_options(&data, &files.given())?;
        set.notes.iter().for_each(note);
        let trained_on = &self.checkpoint.metadata.dataset;
        if is_guessed && !trained_on.is_empty() && *trained_on != set.name {
            let problem = format!(
                "the model was trained on {trained_on}, and {} holds {}: give the folder of its data set with --data",
                data.display(),
                set.name
            );
            return Err(Error::file(&self.checkpoint.folder, problem));
        }
        if set.shape() != self.image {
            let [ours, theirs] = [self.image, set.shape()].map(|[c, h, w]| format!("{c}x{h}x{w}"));
            return Err(Error::file(&data, format!("its images are {theirs}, but the model's are {ours}")));
        }
        let &TestImages { option, first, count, .. } = wanted;
        let there = counted(set.count, "test image");
        let Some(left) = set.count.checked_sub(first).filter(|&left| left > 0) else {
            let last = set.count.saturating_sub(1);
            return Err(Error::Config(format!("{option} {first}: {} has {there}, 0 to {last}", data.display())));
        };
        if count > left {
            return Err(Error::Config(format!(
                "--count {count}: {} has {there}, {left} of them from {option} {first}",
                data.display()
            )));
        }
        let bytes = &set.images[first * set.pixels()..][..count * set.pixels()];
        let labels = set.labels[first..first + count].iter();
        let labels = labels.map(|&label| match self.class {
            Some(class) => Ok(class),
            None if !labeled => Ok(0),
            None => self.own_class(label, &set.class_names, &data),
        });
        Ok((bytes.iter().map(|&b| f32::from(b) / 127.5 - 1.0).collect(), labels.collect::<Result<_>>()?))
    }

    /// The model's number of a class of the data. Classes are compared by their names. The files of
    /// other programs have no names, so their classes are those of the data in order.
    fn own_class(&self, label: u32, names: &[String], data: &Path) -> Result<u32> {
        let own = &self.checkpoint.metadata.class_names;
        let name = &names[label as usize];
        let found = if self.checkpoint.has_metadata {
            own.iter().position(|class| class == name).map(|class| class as u32)
        } else {
            Some(label).filter(|&label| (label as usize) < own.len())
        };
        found.ok_or_else(|| {
            let own = own.join(", ");
            Error::file(data, format!("the model does not know its class {name}: give one of {own} with --class"))
        })
    }
}

/// Root mean square difference of two sets of values of equal length.
pub fn rms_difference(a: &[f32], b: &[f32]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
    (squares / a.len() as f64).sqrt()
}

/// A PNG file of the model's size, `[C, H, W]` in bytes.
pub fn read_png(path: &Path, [channels, height, width]: [u32; 3], what: &str) -> Result<Vec<u8>> {
    let picture = Picture::load_png(path)?;
    let found = [picture.channels, picture.height, picture.width].map(|n| n as u32);
    if found[1..] != [height, width] {
        let problem = format!("the {what} is {}x{}, but the model's images are {height}x{width}", found[1], found[2]);
        return Err(Error::file(path, problem));
    }
    if found[0] != channels {
        let problem = format!(
            "the {what} has {}, and the {what} for this model must have {channels}",
            counted(found[0], "channel")
        );
        return Err(Error::file(path, problem));
    }
    let (plane, channels) = (picture.height * picture.width, picture.channels);
    Ok((0..plane * channels).map(|i| picture.bytes[i % plane * channels + i / plane]).collect())
}
