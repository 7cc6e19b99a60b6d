//! Reads every file of a listing once: its checksum, and what its header says. The size and the
//! channels of the data set follow from the headers.

use super::decode::{Decoding, Header, Target, read_header};
use super::listing::Listing;
use super::parallel::{self, Bar};
use crate::data::load_options::{ChannelChoice, LoadOptions, Resolution};
use crate::data::source::sum;
use crate::error::{Error, Result};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// Images of one size are kept if no side is longer.
const LONGEST_KEPT: u32 = 128;
/// Side of other images.
const SIDE: u32 = 64;
/// Bytes that hold the headers of most files.
const HEADER: u64 = 1 << 18;

/// One file.
pub(super) struct Surveyed {
    /// SHA-256 of the content.
    pub sha256: String,
    /// Its header, or what is wrong with the file.
    pub header: Decoding<Header>,
}

/// Reads all files. A file that cannot be read has no checksum.
pub(super) fn survey(listing: &Listing) -> Vec<Surveyed> {
    let bar = Bar::new(listing.names.len(), "reading");
    parallel::map(&listing.names, &bar, |name| match fs::read(listing.path(name)) {
        Ok(bytes) => Surveyed { sha256: sum(&[&bytes]), header: read_header(&bytes) },
        Err(error) => Surveyed { sha256: String::new(), header: Err(unreadable(&error)) },
    })
}

/// Reads the headers only.
pub(super) fn headers(listing: &Listing) -> Vec<Decoding<Header>> {
    let bar = Bar::new(listing.names.len(), "reading");
    parallel::map(&listing.names, &bar, |name| {
        let path = listing.path(name);
        let start = start_of(&path)?;
        // A long preview or comment can stand before the header.
        read_header(&start).or_else(|_| read_header(&fs::read(&path).map_err(|error| unreadable(&error))?))
    })
}

fn start_of(path: &Path) -> Decoding<Vec<u8>> {
    let mut bytes = vec![];
    let read = File::open(path).and_then(|file| file.take(HEADER).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|error| unreadable(&error))
}

fn unreadable(error: &std::io::Error) -> String {
    format!("cannot be read ({error}): make it readable or remove it")
}

/// Sizes and colors of the files of a folder.
pub(super) struct Sizes {
    /// `[height, width]` of each readable image, sorted.
    sizes: Vec<[u32; 2]>,
    gray: bool,
}

impl Sizes {
    /// # Errors
    /// A folder without a readable image.
    pub fn new<'a>(place: &Path, headers: impl Iterator<Item = &'a Decoding<Header>>) -> Result<Sizes> {
        let headers: Vec<&Header> = headers.filter_map(|header| header.as_ref().ok()).collect();
        if headers.is_empty() {
            return Err(Error::file(place, "holds no image that can be read"));
        }
        let mut sizes: Vec<[u32; 2]> = headers.iter().map(|header| [header.height, header.width]).collect();
        sizes.sort_unstable();
        Ok(Sizes { sizes, gray: headers.iter().all(|header| header.gray) })
    }

    /// Size and channels of the data set.
    pub fn target(&self, options: &LoadOptions) -> Target {
        let channels = match options.channels {
            ChannelChoice::Gray => 1,
            ChannelChoice::Rgb => 3,
            ChannelChoice::Auto if self.gray => 1,
            ChannelChoice::Auto => 3,
        };
        let [height, width] = match options.resolution {
            Resolution::Fixed { height, width } => [height, width],
            Resolution::Auto => self.default_size(options.default_size),
        };
        Target { channels, height: height as usize, width: width as usize, resize: options.resize }
    }

    fn default_size(&self, without_common: Option<[u32; 2]>) -> [u32; 2] {
        let (first, last) = (self.sizes[0], self.sizes[self.sizes.len() - 1]);
        if first == last && first.iter().all(|&side| side <= LONGEST_KEPT) {
            return first;
        }
        if let Some(size) = without_common {
            return size;
        }
        let mut short: Vec<u32> = self.sizes.iter().map(|[height, width]| *height.min(width)).collect();
        short.sort_unstable();
        // Half of the images are not enlarged.
        [short[short.len() / 2].min(SIDE); 2]
    }

    /// What was done to the images, for the user; `None` if all have the target's size.
    pub fn describe_resize(&self, target: &Target) -> Option<String> {
        let wanted = [target.height as u32, target.width as u32];
        let (first, last) = (self.sizes[0], self.sizes[self.sizes.len() - 1]);
        if [first, last] == [wanted, wanted] {
            return None;
        }
        let show = |[height, width]: [u32; 2]| format!("{height}x{width}");
        let sizes = if first == last { show(first) } else { format!("{} to {}", show(first), show(last)) };
        use crate::data::load_options::Resize;
        let how = match target.resize {
            Resize::Crop => "scaled until they cover it, then cut to their center",
            Resize::Pad => "scaled until they fit into it, with black borders",
            Resize::Stretch => "stretched to it",
        };
        Some(format!(
            "images of {sizes} pixels (height x width) are brought to {}: {how} (options: --resize, and --resolution of train)",
            show(wanted)
        ))
    }
}
