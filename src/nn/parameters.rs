//! The parameters of a model: an ordered list of named tensors in one slab of memory, their first values, and their binding to a tape.
//!
//! Several slabs have this layout: the parameters, their gradients, Adam's moments, the moving average. So what treats all parameters alike
//! (Adam, clipping, averaging) is one kernel call over a slab, and a model can be sampled from any of them.

use crate::tape::philox::{key, normal, philox, uniform};
use crate::tape::{Shape, Tape, Tensor, purpose};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Name of the memory that training updates.
pub const PARAMETERS: &str = "parameters";
/// Name of the memory that backward writes.
pub const GRADIENTS: &str = "gradients";

/// Where a tensor begins in a slab: a multiple of this many bytes, so that a kernel can bind it.
const ALIGNMENT: u64 = 256;

/// A tensor of a model, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterId(usize);

/// How the first values of a tensor are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initial {
    /// All zero: biases of normalisations.
    Zeros,
    /// All one: weights of normalisations.
    Ones,
    /// Standard normal numbers: embeddings.
    Normal,
    /// Uniform in ±1/sqrt(n) for a layer whose outputs sum over n inputs: weights and biases of convolutions and linear layers (He et al.
    /// 2015 with a = sqrt(5), as PyTorch does).
    Uniform {
        /// Inputs that an output sums over.
        fan_in: u32,
    },
}

/// What a fresh model starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Initialization {
    /// Every layer as PyTorch draws it.
    #[serde(rename = "pytorch")]
    #[value(name = "pytorch")]
    PyTorch,
    /// The same, but the last layer of every residual branch and of the model is zero, so that blocks start as the identity and the model
    /// as zero (Ho et al. 2020).
    #[default]
    ZeroLast,
}

/// A named tensor of a model.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name in the state dict of diffusers.
    pub name: String,
    /// Its shape.
    pub shape: Shape,
    /// Bytes from the slab's beginning.
    pub offset: u64,
    /// How its first values are drawn.
    pub initial: Initial,
    /// Whether it belongs to the last layer of a residual branch or of the model.
    pub last: bool,
}

impl Parameter {
    /// Its place in a slab of f32.
    pub fn range(&self) -> std::ops::Range<usize> {
        let first = self.offset as usize / 4;
        first..first + self.shape.len()
    }
}

/// The list of a model's tensors.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    list: Vec<Parameter>,
}

impl Parameters {
    /// No tensors yet: layers add theirs.
    pub fn new() -> Parameters {
        Parameters::default()
    }

    /// Adds a tensor.
    ///
    /// # Panics
    /// If the name is taken.
    #[track_caller]
    pub fn add(&mut self, name: String, shape: Shape, initial: Initial) -> ParameterId {
        assert!(self.list.iter().all(|p| p.name != name), "two parameters are called `{name}`");
        let offset = self.bytes().next_multiple_of(ALIGNMENT);
        self.list.push(Parameter { name, shape, offset, initial, last: false });
        ParameterId(self.list.len() - 1)
    }

    /// Marks a tensor as belonging to the last layer of a branch: see [`Initialization::ZeroLast`].
    pub fn mark_last(&mut self, id: ParameterId) {
        self.list[id.0].last = true;
    }

    /// The tensors in the order of the slab.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Parameter> {
        self.list.iter()
    }

    /// A tensor by name.
    pub fn find(&self, name: &str) -> Option<&Parameter> {
        self.list.iter().find(|p| p.name == name)
    }

    /// Number of trained numbers.
    pub fn count(&self) -> usize {
        self.list.iter().map(|p| p.shape.len()).sum()
    }

    /// Bytes of a slab; between the tensors lie up to 252 bytes that stay zero.
    pub fn bytes(&self) -> u64 {
        self.list.last().map_or(0, |p| p.offset + p.shape.bytes())
    }

    /// A whole slab as one tensor's shape.
    pub fn slab(&self) -> Shape {
        Shape::f32([(self.bytes() / 4) as u32])
    }

    /// The first values of a slab. A tensor's depend on the seed and its number only.
    pub fn initialise(&self, seed: u64, how: Initialization) -> Vec<f32> {
        let mut slab = vec![0.0; self.bytes() as usize / 4];
        for (number, parameter) in self.list.iter().enumerate() {
            if !(parameter.last && how == Initialization::ZeroLast) {
                draw(&mut slab[parameter.range()], parameter.initial, seed, number as u32);
            }
        }
        slab
    }

    /// Makes the tensors known to a tape that trains them: read from [`PARAMETERS`], their gradients written to [`GRADIENTS`].
    pub fn trained(&self, t: &mut Tape) -> Weights {
        let bind = |p: &Parameter| t.parameter(PARAMETERS, p.offset, p.shape, GRADIENTS, p.offset);
        Weights { tensors: self.list.iter().map(bind).collect() }
    }

    /// Makes the tensors known to a tape that only reads them, from the slab of a given name.
    pub fn fixed(&self, t: &mut Tape, slab: &str) -> Weights {
        Weights { tensors: self.list.iter().map(|p| t.view(slab, p.offset, p.shape)).collect() }
    }
}

/// A model's tensors on one tape: what layers compute with.
#[derive(Clone, Debug)]
pub struct Weights {
    tensors: Vec<Tensor>,
}

impl Weights {
    /// A tensor on the tape.
    pub fn get(&self, id: ParameterId) -> Tensor {
        self.tensors[id.0]
    }
}

fn draw(values: &mut [f32], initial: Initial, seed: u64, number: u32) {
    for (block, values) in values.chunks_mut(4).enumerate() {
        let words = || philox([purpose::PARAMETER, number, block as u32, 0], key(seed));
        let drawn = match initial {
            Initial::Zeros => [0.0; 4],
            Initial::Ones => [1.0; 4],
            Initial::Normal => {
                let [a, b, c, d] = words();
                let ([a, b], [c, d]) = (normal([a, b]), normal([c, d]));
                [a, b, c, d]
            }
            Initial::Uniform { fan_in } => words().map(|w| (2.0 * uniform(w) - 1.0) / f64::from(fan_in).sqrt()),
        };
        values.iter_mut().zip(drawn).for_each(|(value, drawn)| *value = drawn as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Target;

    fn three() -> Parameters {
        let mut parameters = Parameters::new();
        parameters.add("a.weight".into(), Shape::f32([8, 3, 3, 3]), Initial::Uniform { fan_in: 27 });
        let last = parameters.add("b.weight".into(), Shape::f32([5]), Initial::Uniform { fan_in: 27 });
        parameters.mark_last(last);
        parameters.add("c.weight".into(), Shape::f32([40, 10]), Initial::Normal);
        parameters
    }

    #[test]
    fn layout() {
        let parameters = three();
        let offsets: Vec<u64> = parameters.iter().map(|p| p.offset).collect();
        assert_eq!(offsets, [0, 1024, 1280]);
        assert_eq!((parameters.bytes(), parameters.count()), (1280 + 1600, 216 + 5 + 400));
        let mut tape = Tape::new(Target::SOFTWARE);
        parameters.trained(&mut tape);
        let sizes = tape.memory_sizes();
        assert_eq!(sizes[PARAMETERS], parameters.bytes());
        assert_eq!(sizes[GRADIENTS], parameters.bytes());
    }

    #[test]
    fn first_values() {
        let parameters = three();
        let slab = parameters.initialise(7, Initialization::PyTorch);
        let values = |slab: &[f32], name| slab[parameters.find(name).unwrap().range()].to_vec();
        let bound = 1.0 / 27f32.sqrt();
        let largest = |v: &[f32]| v.iter().fold(0f32, |m, x| m.max(x.abs()));
        let weight = values(&slab, "a.weight");
        assert!(largest(&weight) <= bound && largest(&weight) > 0.95 * bound);
        let mut distinct: Vec<u32> = slab.iter().filter(|&&x| x != 0.0).map(|x| x.to_bits()).collect();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), parameters.count(), "a number was drawn twice, or is zero");
        let gaps = slab.iter().enumerate().filter(|(i, _)| parameters.iter().all(|p| !p.range().contains(i)));
        assert!(gaps.map(|(_, x)| *x).all(|x| x == 0.0));

        let zero = parameters.initialise(7, Initialization::ZeroLast);
        assert_eq!(values(&zero, "b.weight"), [0.0; 5]);
        assert_eq!(values(&zero, "c.weight"), values(&slab, "c.weight"), "depends on another tensor");
        assert_ne!(values(&parameters.initialise(8, Initialization::PyTorch), "a.weight"), weight);
        assert_ne!(values(&parameters.initialise(7 + (1 << 32), Initialization::PyTorch), "a.weight"), weight);
    }

    #[test]
    #[should_panic(expected = "two parameters are called `a.weight`")]
    fn a_name_twice() {
        three().add("a.weight".into(), Shape::f32([1]), Initial::Zeros);
    }
}
