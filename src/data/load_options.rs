//! How a folder of images becomes a data set: size and channels of its images.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Settings for reading a folder of images. They have no effect on IDX, CIFAR-10 and ImageNet
/// files, whose images have one size.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadOptions {
    /// Height and width.
    pub resolution: Resolution,
    /// How an image of another size is brought to this size.
    pub resize: Resize,
    /// Height and width of images that have no common size, for [`Resolution::Auto`]; `None` for 64.
    pub default_size: Option<[u32; 2]>,
    /// Gray or RGB.
    pub channels: ChannelChoice,
    /// Whether damaged files are left out. If not, the first one is an error.
    pub skip_damaged: bool,
    /// Folder of the cache files, which keep decoded images. Without it, or if it cannot be written,
    /// the images are decoded into memory.
    pub cache: Option<PathBuf>,
}

impl LoadOptions {
    /// Options for images of the shape `[C, H, W]` of a model, if it is known. Decoded images are
    /// kept in the user's cache folder.
    pub fn of_model(image: Option<[u32; 3]>) -> LoadOptions {
        let cache = LoadOptions::user_cache();
        let options = LoadOptions { cache, ..LoadOptions::default() };
        let Some([channels, height, width]) = image else { return options };
        let channels = ChannelChoice::of(channels);
        // The shape of a damaged file can be anything.
        match Resolution::fixed(height, width) {
            Some(resolution) => LoadOptions { resolution, channels, ..options },
            None => LoadOptions { channels, ..options },
        }
    }

    /// Options for a model that may have been trained on other data, with images `[C, H, W]`: images
    /// of one size keep it, so that a difference is seen. Decoded images are kept in the user's cache
    /// folder.
    pub fn of_foreign_model(image: Option<[u32; 3]>) -> LoadOptions {
        let options = LoadOptions::of_model(image);
        match options.resolution {
            Resolution::Fixed { height, width } => {
                LoadOptions { resolution: Resolution::Auto, default_size: Some([height, width]), ..options }
            }
            Resolution::Auto => options,
        }
    }

    /// The folder for cache files: `degrain` in the user's cache folder (on Linux
    /// `$XDG_CACHE_HOME` or `~/.cache`). `None` if the system names no such folder.
    pub fn user_cache() -> Option<PathBuf> {
        dirs::cache_dir().map(|folder| folder.join("degrain"))
    }
}

/// Settings for reading a folder of images for a model that is trained already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
pub struct ImageFileOptions {
    /// How image files of another size are brought to the model's [default: as in training, or
    /// crop; `evaluate` keeps files of one size for a model that was not written by degrain]
    #[cfg_attr(feature = "cli", arg(long, value_enum))]
    pub resize: Option<Resize>,
    /// Skip damaged image files
    #[cfg_attr(feature = "cli", arg(long))]
    pub skip_damaged: bool,
}

impl ImageFileOptions {
    /// These settings where they are given, otherwise those of `defaults`.
    pub fn or(self, defaults: LoadOptions) -> LoadOptions {
        let resize = self.resize.unwrap_or(defaults.resize);
        LoadOptions { resize, skip_damaged: self.skip_damaged || defaults.skip_damaged, ..defaults }
    }

    /// Names of the options, and whether they are given.
    pub fn given(self) -> [(&'static str, bool); 2] {
        [("resize", self.resize.is_some()), ("skip-damaged", self.skip_damaged)]
    }
}

/// Height and width of the images of a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resolution {
    /// The size of the images, if all have one size with sides of at most 128 pixels. Otherwise a
    /// square of 64 pixels, or less for smaller images.
    #[default]
    Auto,
    /// Pixels.
    Fixed {
        /// Rows.
        height: u32,
        /// Columns.
        width: u32,
    },
}

impl Resolution {
    /// Longest accepted side.
    const LONGEST_SIDE: u32 = 8192;

    /// Height and width, if they are accepted.
    fn fixed(height: u32, width: u32) -> Option<Resolution> {
        let fits = |side| (1..=Resolution::LONGEST_SIDE).contains(&side);
        (fits(height) && fits(width)).then_some(Resolution::Fixed { height, width })
    }
}

/// `auto`, a side such as `64`, or height and width such as `48x64`.
///
/// ```
/// use degrain::data::Resolution;
///
/// assert_eq!("48x64".parse(), Ok(Resolution::Fixed { height: 48, width: 64 }));
/// assert_eq!("64".parse(), Ok(Resolution::Fixed { height: 64, width: 64 }));
/// assert!("0".parse::<Resolution>().is_err());
/// ```
impl FromStr for Resolution {
    type Err = String;

    fn from_str(text: &str) -> Result<Resolution, String> {
        if text.eq_ignore_ascii_case("auto") {
            return Ok(Resolution::Auto);
        }
        let (height, width) = text.split_once(['x', 'X']).unwrap_or((text, text));
        let sides = height.parse().ok().zip(width.parse().ok());
        sides.and_then(|(height, width)| Resolution::fixed(height, width)).ok_or_else(|| {
            format!(
                "{text} is not a resolution: use a side in pixels such as 64, height and width such as 48x64, or auto; \
                 sides have 1 to {} pixels",
                Resolution::LONGEST_SIDE
            )
        })
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resolution::Auto => f.write_str("auto"),
            Resolution::Fixed { height, width } if height == width => write!(f, "{height}"),
            Resolution::Fixed { height, width } => write!(f, "{height}x{width}"),
        }
    }
}

impl Serialize for Resolution {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Resolution {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Resolution, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Text {
            Side(u32),
            Text(String),
        }
        let text = match Text::deserialize(deserializer)? {
            Text::Side(side) => side.to_string(),
            Text::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How an image is brought to another size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// Scale until the image covers the size, then cut its center out.
    #[default]
    Crop,
    /// Scale until the image fits into the size, then fill the borders with black.
    Pad,
    /// Scale height and width independently.
    Stretch,
}

/// Number of channels of the images of a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum ChannelChoice {
    /// Gray if all files are gray, otherwise RGB.
    #[default]
    Auto,
    /// One channel.
    Gray,
    /// Three channels.
    Rgb,
}

impl ChannelChoice {
    /// The choice for a model with this number of channels, 1 or 3.
    pub fn of(channels: u32) -> ChannelChoice {
        if channels == 1 { ChannelChoice::Gray } else { ChannelChoice::Rgb }
    }
}
