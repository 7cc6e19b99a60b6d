//! Images of the data within the larger ones of a model: 28 x 28 digits for a model of 32 x 32 are framed in black, and only their own pixels
//! count in any metric.

use crate::ops::slice;
use crate::tape::{Shape, Tape, Tensor};
use crate::{Error, Result};

/// The frame between two sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImagePadding {
    data: [u32; 3],
    model: [u32; 3],
}

impl ImagePadding {
    /// That of images `[C, H, W]` of the data in those of a model, the same width on both sides; of none, if they are of one size.
    ///
    /// # Errors
    /// [`Error::Config`]: they do not fit in each other.
    pub fn between(data: [u32; 3], model: [u32; 3]) -> Result<ImagePadding> {
        let fits = |i: usize| model[i] >= data[i] && (model[i] - data[i]).is_multiple_of(2);
        match data[0] == model[0] && fits(1) && fits(2) {
            true => Ok(ImagePadding { data, model }),
            false => Err(Error::Config(format!(
                "images of {data:?} (channels, rows, columns) cannot be framed to the model's {model:?}: it was trained on other data"
            ))),
        }
    }

    /// Channels, rows and columns inside.
    pub fn data(&self) -> [u32; 3] {
        self.data
    }

    /// Channels, rows and columns outside.
    pub fn model(&self) -> [u32; 3] {
        self.model
    }

    /// Values of an image of the data.
    pub fn pixels(&self) -> usize {
        self.data.iter().product::<u32>() as usize
    }

    /// Offsets, in images of the model, of the values of an image of the data in their order.
    pub fn inside(&self) -> impl Iterator<Item = usize> + use<> {
        let [[channels, h, w], [_, height, width]] = [self.data, self.model].map(|shape| shape.map(|n| n as usize));
        let (top, left) = ((height - h) / 2, (width - w) / 2);
        (0..channels)
            .flat_map(move |c| (0..h).flat_map(move |y| (0..w).map(move |x| (c * height + top + y) * width + left + x)))
    }

    /// Bytes `[N, C, H, W]` of the data as the model sees them, in [-1, 1] and framed in black.
    pub fn framed(&self, bytes: &[u8]) -> Vec<f32> {
        let (each, whole) = (self.pixels(), self.model.iter().product::<u32>() as usize);
        let mut images = vec![-1.0; bytes.len() / each * whole];
        for (image, bytes) in images.chunks_mut(whole).zip(bytes.chunks(each)) {
            for (at, &byte) in self.inside().zip(bytes) {
                image[at] = scaled(byte);
            }
        }
        images
    }

    /// What is inside the frame of images of the model.
    pub fn cropped(&self, images: &[f32]) -> Vec<f32> {
        let whole = self.model.iter().product::<u32>() as usize;
        images.chunks(whole).flat_map(|image| self.inside().map(|at| image[at])).collect()
    }

    /// Records what is inside the frame of x `[B, C, H, W]`.
    pub fn record_crop(&self, t: &mut Tape, x: Tensor) -> Tensor {
        let [batch, channels, height, width] = t.shape(x).as_array::<4>();
        let [_, h, w] = self.data;
        if [height, width] == [h, w] {
            return x;
        }
        // Rows, and then columns, in the place that slices take channels from.
        let rows = t.reshape(x, Shape::f32([batch * channels, height, width]));
        let rows = slice(t, rows, (height - h) / 2, h);
        let columns = t.reshape(rows, Shape::f32([batch * channels * h, width, 1]));
        let columns = slice(t, columns, (width - w) / 2, w);
        t.reshape(columns, Shape::f32([batch, channels, h, w]))
    }
}

/// A byte on the scale of the models: 0 is -1, 255 is 1.
pub fn scaled(byte: u8) -> f32 {
    f32::from(byte) / 127.5 - 1.0
}
