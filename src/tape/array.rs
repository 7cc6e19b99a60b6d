//! Arrays in f64 on the host: what references compute with.

use super::shape::{Dtype, Shape};

/// A tensor in f64. Integers are held exactly.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its shape; the element type says how the device holds it.
    pub shape: Shape,
    /// Elements, row-major.
    pub data: Vec<f64>,
}

impl Array {
    /// All zeros.
    pub fn zeros(shape: Shape) -> Array {
        Array { shape, data: vec![0.0; shape.len()] }
    }

    /// Element number i computed by `f(i)`.
    pub fn from_fn(shape: Shape, f: impl FnMut(usize) -> f64) -> Array {
        Array { shape, data: (0..shape.len()).map(f).collect() }
    }

    /// The same array with each element mapped.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Array {
        Array { shape: self.shape, data: self.data.iter().map(|&x| f(x)).collect() }
    }

    /// From the device's words.
    pub fn from_words(shape: Shape, words: &[u32]) -> Array {
        let value = |&word: &u32| match shape.dtype {
            Dtype::F32 => f64::from(f32::from_bits(word)),
            Dtype::U32 => f64::from(word),
        };
        Array { shape, data: words[..shape.len()].iter().map(value).collect() }
    }

    /// To the device's words: rounded to f32, or as integers.
    pub fn to_words(&self) -> Vec<u32> {
        let word = |&x: &f64| match self.shape.dtype {
            Dtype::F32 => (x as f32).to_bits(),
            Dtype::U32 => x as u32,
        };
        self.data.iter().map(word).collect()
    }

    /// Largest magnitude; NaN if any element is.
    pub fn max_abs(&self) -> f64 {
        self.data.iter().fold(0.0, |m: f64, &x| if x.is_nan() || m.is_nan() { f64::NAN } else { m.max(x.abs()) })
    }
}
