//! Padding between the images of a data set and the larger ones of a model.
//!
//! A model of 32 x 32 images can be trained on 28 x 28 digits with a black border. Metrics count
//! only the pixels of the data set.

use crate::ops::slice;
use crate::tape::{Shape, Tape, Tensor};
use crate::{Error, Result};

/// The black border between the shape of the data and the shape of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImagePadding {
    data: [u32; 3],
    model: [u32; 3],
}

impl ImagePadding {
    /// The border of images `[C, H, W]` of the data inside images of the model, equally wide on
    /// opposite sides. It is empty if both have the same shape.
    ///
    /// # Errors
    /// [`Error::Config`] if the images of the data do not fit.
    pub fn new(data: [u32; 3], model: [u32; 3]) -> Result<ImagePadding> {
        let fits = |i: usize| model[i] >= data[i] && (model[i] - data[i]).is_multiple_of(2);
        if data[0] == model[0] && fits(1) && fits(2) {
            return Ok(ImagePadding { data, model });
        }
        Err(Error::Config(format!(
            "images of shape {data:?} (channels, height, width) cannot be padded to the model's {model:?}: \
             the model was trained on other data"
        )))
    }

    /// Whether the model's images have a border that the data's do not have.
    pub fn has_border(&self) -> bool {
        self.data != self.model
    }

    /// `[C, H, W]` of the data.
    pub fn data_shape(&self) -> [u32; 3] {
        self.data
    }

    /// `[C, H, W]` of the model.
    pub fn model_shape(&self) -> [u32; 3] {
        self.model
    }

    /// Number of values of an image of the data.
    pub fn data_len(&self) -> usize {
        self.data.iter().product::<u32>() as usize
    }

    /// Number of values of an image of the model.
    pub fn model_len(&self) -> usize {
        self.model.iter().product::<u32>() as usize
    }

    /// Index in the model's image of each value of the data's image, in order.
    pub fn indices(&self) -> impl Iterator<Item = usize> + use<> {
        let [[channels, h, w], [_, height, width]] = [self.data, self.model].map(|shape| shape.map(|n| n as usize));
        let (top, left) = ((height - h) / 2, (width - w) / 2);
        (0..channels)
            .flat_map(move |c| (0..h).flat_map(move |y| (0..w).map(move |x| (c * height + top + y) * width + left + x)))
    }

    /// Converts bytes `[N, C, H, W]` of the data into the model's images: in [-1, 1], with a black
    /// border.
    pub fn pad(&self, bytes: &[u8]) -> Vec<f32> {
        let mut images = vec![-1.0; bytes.len() / self.data_len() * self.model_len()];
        for (image, bytes) in images.chunks_mut(self.model_len()).zip(bytes.chunks(self.data_len())) {
            for (at, &byte) in self.indices().zip(bytes) {
                image[at] = pixel_value(byte);
            }
        }
        images
    }

    /// Removes the border from images of the model.
    pub fn crop(&self, images: &[f32]) -> Vec<f32> {
        images.chunks(self.model_len()).flat_map(|image| self.indices().map(|at| image[at])).collect()
    }

    /// Records the removal of the border from x `[B, C, H, W]`.
    pub fn record_crop(&self, t: &mut Tape, x: Tensor) -> Tensor {
        let [batch, channels, height, width] = t.shape(x).as_array::<4>();
        let [_, h, w] = self.data;
        if [height, width] == [h, w] {
            return x;
        }
        // `slice` takes a range of channels, so rows and then columns are moved to that axis.
        let rows = t.reshape(x, Shape::f32([batch * channels, height, width]));
        let rows = slice(t, rows, (height - h) / 2, h);
        let columns = t.reshape(rows, Shape::f32([batch * channels * h, width, 1]));
        let columns = slice(t, columns, (width - w) / 2, w);
        t.reshape(columns, Shape::f32([batch, channels, h, w]))
    }
}

/// A byte on the scale of the models: 0 becomes -1 and 255 becomes 1.
pub fn pixel_value(byte: u8) -> f32 {
    f32::from(byte) / 127.5 - 1.0
}
