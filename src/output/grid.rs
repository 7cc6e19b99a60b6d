//! Grids: many images in one picture, row by row.

use super::images::{Images, Picture};

/// Arrangement of images in a grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Images per row.
    pub columns: usize,
    /// Pixels between and around the images.
    pub padding: usize,
    /// Every pixel of an image becomes a square with this side, because 28 pixels are small on a
    /// screen.
    pub scale: usize,
    /// Value of the padding in every channel.
    pub background: u8,
}

/// 8 images per row, 2 dark gray pixels between them (black would hide the borders of black
/// images), original size.
impl Default for Layout {
    fn default() -> Layout {
        Layout { columns: 8, padding: 2, scale: 1, background: 48 }
    }
}

/// Image `n` goes to row `n / columns` and column `n % columns`; unused places keep the background.
///
/// # Panics
/// If `columns` or `scale` is 0.
#[track_caller]
pub fn grid(images: &Images, layout: Layout) -> Picture {
    let Layout { columns, padding, scale, background } = layout;
    assert!(columns > 0 && scale > 0, "grid: {columns} columns at scale {scale}; both must be at least 1");
    let Images { count, channels, height, width, .. } = *images;
    // A batch with fewer images than columns gives a narrower picture, without empty columns.
    let columns = columns.min(count);
    let (cell_height, cell_width) = (height * scale + padding, width * scale + padding);
    let mut picture = Picture {
        height: count.div_ceil(columns) * cell_height + padding,
        width: columns * cell_width + padding,
        channels,
        bytes: Vec::new(),
    };
    picture.bytes = vec![background; picture.height * picture.width * channels];
    for (n, image) in images.interleaved().chunks_exact(height * width * channels).enumerate() {
        let (top, left) = (n / columns * cell_height + padding, n % columns * cell_width + padding);
        for y in 0..height * scale {
            for x in 0..width * scale {
                let from = (y / scale * width + x / scale) * channels;
                let to = ((top + y) * picture.width + left + x) * channels;
                picture.bytes[to..to + channels].copy_from_slice(&image[from..from + channels]);
            }
        }
    }
    picture
}

/// Stacks pictures of equal width and channels vertically, with twice the padding of `layout`
/// between them.
///
/// # Panics
/// If there are none, or they differ in width or channels.
#[track_caller]
pub fn stack(pictures: &[Picture], layout: Layout) -> Picture {
    let first = pictures.first().expect("stack: no pictures");
    let (width, channels) = (first.width, first.channels);
    let gap = vec![layout.background; 2 * layout.padding * width * channels];
    let mut stacked = Picture { height: 0, width, channels, bytes: Vec::new() };
    for picture in pictures {
        assert!(
            picture.width == width && picture.channels == channels,
            "stack: pictures of different widths or channels"
        );
        if stacked.height > 0 {
            stacked.bytes.extend(&gap);
            stacked.height += 2 * layout.padding;
        }
        stacked.bytes.extend(&picture.bytes);
        stacked.height += picture.height;
    }
    stacked
}
