//! Arrays in f64 on the host, for the references.

use super::shape::{Dtype, Shape};

/// A tensor in f64. Integers are exact.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its shape. The element type is the device's.
    pub shape: Shape,
    /// Elements, row-major.
    pub data: Vec<f64>,
}

impl Array {
    /// All zeros.
    pub fn zeros(shape: Shape) -> Array {
        Array { shape, data: vec![0.0; shape.len()] }
    }

    /// Element i is `f(i)`.
    pub fn from_fn(shape: Shape, f: impl FnMut(usize) -> f64) -> Array {
        Array { shape, data: (0..shape.len()).map(f).collect() }
    }

    /// Applies `f` to each element.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Array {
        Array { shape: self.shape, data: self.data.iter().map(|&x| f(x)).collect() }
    }

    /// Converts the device's words.
    pub fn from_words(shape: Shape, words: &[u32]) -> Array {
        let value = |&word: &u32| match shape.dtype {
            Dtype::F32 => f64::from(f32::from_bits(word)),
            Dtype::U32 => f64::from(word),
        };
        Array { shape, data: words[..shape.len()].iter().map(value).collect() }
    }

    /// Largest magnitude; NaN if any element is NaN.
    pub fn max_abs(&self) -> f64 {
        self.data.iter().fold(0.0, |m: f64, &x| if x.is_nan() || m.is_nan() { f64::NAN } else { m.max(x.abs()) })
    }
}
