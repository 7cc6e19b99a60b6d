//! Tensors with constant content, such as tables that a kernel reads.

use super::record::Tape;
use super::shape::Shape;
use super::tensor::Tensor;
use std::hash::{DefaultHasher, Hash, Hasher};

impl Tape {
    /// A tensor u32 `[n]` with these words. Programs write them when they are compiled. It is in a
    /// named buffer, named after its content.
    pub fn constant(&mut self, words: Vec<u32>) -> Tensor {
        let mut hasher = DefaultHasher::new();
        words.hash(&mut hasher);
        let name = format!("constant {:016x}", hasher.finish());
        let tensor = self.named(&name, Shape::u32([words.len() as u32]));
        let known = self.constants.entry(name).or_insert_with(|| words.clone());
        assert_eq!(*known, words, "two constants have one name");
        tensor
    }
}
