//! The order of a model's values in the files of training states. Files have the tensors in the
//! order of the model's list, also if tensors are joined on the device.

use super::parameters::{ALIGNMENT, Parameter, Parameters};
use std::ops::Range;

impl Parameters {
    /// The values of a flat buffer in the order of files: the tensors in the order of
    /// [`Parameters::iter`], each at a multiple of 256 bytes, with zeros between them.
    pub fn to_file_order(&self, values: &[f32]) -> Vec<f32> {
        let mut ordered = vec![0.0; self.file_length()];
        for (p, place) in self.file_places() {
            ordered[place].copy_from_slice(&values[p.range()]);
        }
        ordered
    }

    /// The opposite of [`Parameters::to_file_order`].
    ///
    /// # Panics
    /// If there are not [`Parameters::file_length`] values.
    pub fn from_file_order(&self, ordered: &[f32]) -> Vec<f32> {
        let mut values = vec![0.0; self.flat_shape().len()];
        for (p, place) in self.file_places() {
            values[p.range()].copy_from_slice(&ordered[place]);
        }
        values
    }

    /// Number of values in the order of files.
    pub fn file_length(&self) -> usize {
        self.file_places().last().map_or(0, |(_, place)| place.end.next_multiple_of(4))
    }

    fn file_places(&self) -> impl Iterator<Item = (&Parameter, Range<usize>)> {
        self.iter().filter(|p| !p.statistic).scan(0, |end: &mut usize, p| {
            let first = end.next_multiple_of(ALIGNMENT as usize / size_of::<f32>());
            *end = first + p.shape.len();
            Some((p, first..*end))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Initial, Initialization};
    use crate::tape::Shape;

    #[test]
    fn file_order_is_that_of_the_list() {
        let mut parameters = Parameters::new();
        let mut add =
            |name: &str, rows| parameters.add(name.into(), Shape::f32([rows, 5]), Initial::Uniform { fan_in: 5 });
        let tensors = [("a", 3), ("b", 20), ("c", 4)].map(|(name, rows)| add(name, rows));
        parameters.add_statistic("mean".into(), Shape::f32([3]), Initial::Ones);
        let flat = |p: &Parameters| p.initialize(7, Initialization::PyTorch)[..p.flat_shape().len()].to_vec();
        let before = flat(&parameters);
        assert_eq!(parameters.to_file_order(&before), before);
        parameters.join(&[tensors[2], tensors[0]]);
        let values = flat(&parameters);
        assert_ne!(values, before);
        assert_eq!(parameters.to_file_order(&values), before);
        assert_eq!(parameters.file_length(), before.len());
        assert_eq!(parameters.from_file_order(&before), values);
    }
}
